//! What fails leaves no file behind that no table names, and the next try succeeds.

use silversmith::error::chain;

use crate::support::faulty::Fate;
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

const FIRST: &str = "id,name,op,updated\n1,a,U,1\n2,b,U,1\n";
const SECOND: &str = "id,name,op,updated\n1,new,U,2\n2,,D,2\n3,c,U,2\n";

fn pipeline() -> String {
    let gold = "table = \"gold.count\"\nsql = \"SELECT count(*) AS n FROM silver\"\n";
    format!("{CUSTOMERS}delete_when = \"op = 'D'\"\n[[pipeline.gold]]\n{gold}")
}

/// Bronze, silver (or its rebuild) and gold, one after the other, as far as they go; why they went no further.
async fn steps(world: &World, rebuild: bool) -> Result<(), String> {
    let pipeline = world.pipeline();
    pipeline.bronze.step().await.map_err(|e| chain(&e))?;
    let silver = pipeline.silver.as_ref().unwrap();
    match rebuild {
        true => silver.rebuild().await.map(drop).map_err(|e| chain(&e))?,
        false => silver.step().await.map(drop).map_err(|e| chain(&e))?,
    }
    pipeline.gold[0].step().await.map(drop).map_err(|e| chain(&e))
}

async fn ended_right(world: &World, case: &str) {
    let rows = world.sql("SELECT id, name FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|new", "3|c"], "{case}");
    assert_eq!(world.sql("SELECT n FROM gold.count").await, ["2"], "{case}");
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["5"], "{case}");
}

/// The table whose files or commits fail, and whether silver is rebuilt.
const WAYS: [(&str, bool); 6] = [
    ("bronze/customers", false),
    ("silver/customers_deletes", false),
    ("silver/customers_deletes", true),
    ("silver/customers", false),
    ("silver/customers", true),
    ("gold/count", false),
];

/// A file cannot be written: data, manifest, manifest list, metadata, of each table.
#[tokio::test]
async fn a_file_that_cannot_be_written_leaves_no_others_behind() {
    for (table, rebuild) in WAYS {
        let rivals = Rivals::new(&pipeline(), "no.table", &[], |_, _| async {});
        let (world, warehouse) = (&rivals.rival, &rivals.warehouse);
        world.put("1.csv", FIRST, 0);
        steps(world, false).await.unwrap();
        world.put("2.csv", SECOND, 1);
        for (folder, end) in [
            ("data", ".parquet"),
            ("metadata", "-m.avro"),
            ("metadata/snap-", ".avro"),
            ("metadata", ".metadata.json"),
        ] {
            let case = format!("{table}/{folder}, {end}, rebuild: {rebuild}");
            warehouse.refuse(&format!("/{table}/{folder}"), end);
            let error = steps(world, rebuild).await.expect_err(&case);
            assert!(error.contains("the disk is full"), "{case}: {error}");
            assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{case}");
        }
        warehouse.accept();
        steps(world, rebuild).await.unwrap();
        ended_right(world, table).await;
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{table}");
    }
}

/// The catalog refuses a commit, of each table: as where a permission is missing.
#[tokio::test]
async fn a_commit_that_is_refused_leaves_no_file_behind() {
    for (table, rebuild) in WAYS {
        let case = format!("{table}, rebuild: {rebuild}");
        let table = table.replace('/', ".");
        let rivals = Rivals::new(&pipeline(), &table, &[Fate::Forbidden], |_, _| async {});
        rivals.rival.put("1.csv", FIRST, 0);
        steps(&rivals.rival, false).await.unwrap();
        rivals.rival.put("2.csv", SECOND, 1);
        let error = steps(&rivals.world, rebuild).await.expect_err(&case);
        assert!(error.contains("the catalog request failed"), "{case}: {error}");
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{case}");
        steps(&rivals.world, rebuild).await.expect(&case);
        ended_right(&rivals.world, &case).await;
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{case}");
    }
}
