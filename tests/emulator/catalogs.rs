//! The program on the catalogs of AWS and on a REST catalog, from CSV to silver; other engines open the tables there.

use std::process::Command;

use silversmith::lake::TableName;
use silversmith::lake::catalog::{Catalog, GlueCatalog, S3TablesCatalog};

use crate::cli::Folder;
use crate::contract::backings::{
    ministack, moto, new_bucket, new_name, rest_url, service_at, table_bucket,
};
use crate::engines::python;

/// A lake in a catalog, with the environment for the program.
struct Lake {
    folder: Folder,
    /// The prefix of its namespaces: catalogs are shared, and outlive a test.
    name: String,
    environment: Vec<(&'static str, String)>,
}

impl Lake {
    fn new(lake: &str, environment: &[(&'static str, &str)]) -> Self {
        let config = Folder::config("settle = \"0s\"", "max_objects = 1").replace(
            "catalog     = \"sqlite:lake/catalog.db\"\nwarehouse   = \"lake/warehouse\"\n",
            &format!("{lake}\n"),
        );
        let name = new_name();
        let config = ["bronze", "silver", "gold"].into_iter().fold(config, |config, layer| {
            config.replace(&format!("\"{layer}."), &format!("\"{name}_{layer}."))
        });
        let mut of = crate::emulator::stand::CREDENTIALS.to_vec();
        of.extend(environment);
        let environment = of.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Self { folder: Folder::new(&config), name, environment }
    }

    fn stdout(&self, args: &[&str]) -> String {
        let mut command = self.folder.command(args);
        let output = command.envs(self.environment.clone()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "silversmith {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Three waves, the last of them after an update of an older row.
    fn fill(&self) {
        for (wave, rows) in [
            "1,a,2026-01-01\n2,b,2026-01-01\n",
            "1,c,2026-01-02\n",
            "1,old,2025-12-31\n3,d,2026-01-01\n",
        ]
        .into_iter()
        .enumerate()
        {
            self.folder.write(&format!("raw/{wave}.csv"), &format!("id,name,updated\n{rows}"));
            self.stdout(&["run", "--until-idle", "--lenient"]);
        }
        let rows = self.stdout(&[
            "sql",
            "--format",
            "csv",
            &format!("SELECT id, name FROM {}_silver.orders ORDER BY id", self.name),
        ]);
        assert_eq!(rows, "id,name\n1,c\n2,b\n3,d\n");
        let sql = format!("SELECT n FROM {}_gold.orders", self.name);
        let gold = self.stdout(&["sql", "--format", "csv", &sql]);
        assert_eq!(gold, "n\n3\n");
        let found = self.stdout(&["check", "--format", "csv"]);
        assert!(!found.contains("failed"), "{found}");
    }
}

/// What PyIceberg finds in a table, by an expression of Python that opens it.
fn by_pyiceberg(table: &str) -> String {
    let script = format!(
        "from pyiceberg.catalog import load_catalog\nfrom pyiceberg.table import StaticTable\ntable = {table}\nrows = table.scan().to_arrow().sort_by('id').to_pylist()\nprint([(row['id'], row['name']) for row in rows])\nprint({{name: ref.max_snapshot_age_ms for name, ref in table.metadata.refs.items()}})"
    );
    let output = Command::new(python()).args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The table that a catalog points to, opened by its metadata file.
async fn pointed_to(lake: &Lake, catalog: impl Catalog, endpoint: &str) -> String {
    let silver = TableName::new(format!("{}_silver", lake.name), "orders");
    let location = catalog.load(&silver).await.unwrap().unwrap().pointer.metadata_location;
    format!(
        "StaticTable.from_metadata('{location}', {{'s3.endpoint': '{endpoint}', 's3.access-key-id': 'test', 's3.secret-access-key': 'test', 's3.region': 'eu-west-1'}})"
    )
}

const ROWS: &str = "[(1, 'c'), (2, 'b'), (3, 'd')]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_on_s3_tables() {
    let arn = table_bucket(&moto(), &new_name()).await;
    let lake = Lake::new(
        "catalog = \"s3tables:${TABLE_BUCKET_ARN}\"",
        &[("AWS_ENDPOINT_URL", moto().as_str()), ("TABLE_BUCKET_ARN", arn.as_str())],
    );
    lake.fill();
    let catalog = S3TablesCatalog::new(service_at(&moto(), "S3Tables").await, &arn);
    let found = by_pyiceberg(&pointed_to(&lake, catalog, &moto()).await);
    // No branch has a retention: with one, S3 Tables would never expire a snapshot.
    assert_eq!(found, format!("{ROWS}{{'main': None}}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_on_glue() {
    let name = new_name();
    new_bucket(&name).await;
    // The emulator has one Glue catalog: the lake's namespaces keep the tables of tests apart.
    let lake = Lake::new(
        &format!("catalog = \"glue:\"\nwarehouse = \"s3://{name}/lake\""),
        &[("AWS_ENDPOINT_URL", ministack().as_str())],
    );
    lake.fill();
    let catalog = GlueCatalog::new(service_at(&ministack(), "Glue").await, "");
    let found = by_pyiceberg(&pointed_to(&lake, catalog, &ministack()).await);
    assert!(found.starts_with(ROWS), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_on_a_rest_catalog_with_oauth2() {
    let uri = format!("{}/secured", rest_url());
    let lake = Lake::new(
        &format!(
            "catalog = \"rest:{uri}\"\nwarehouse = \"lake/warehouse\"\nrest = {{warehouse = \"lake\"}}"
        ),
        &[("SILVERSMITH_REST_CREDENTIAL", "silversmith:secret")],
    );
    lake.fill();
    let found = by_pyiceberg(&format!(
        "load_catalog('rest', **{{'uri': '{uri}', 'warehouse': 'lake', 'credential': 'silversmith:secret', 'scope': 'catalog'}}).load_table('{}_silver.orders')",
        lake.name
    ));
    assert!(found.starts_with(ROWS), "{found}");
}
