//! What fails leaves no file behind that no table names, and the next try succeeds.

use std::sync::Arc;

use silversmith::checkpoint::MemoryCheckpoints;
use silversmith::error::chain;
use silversmith::lake::catalog::MemoryCatalog;
use silversmith::source::MemoryStore;

use crate::support::faulty::Fate;
use crate::support::rivals::Rivals;
use crate::support::warehouse::Warehouse;
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
    pipeline.gold[0].step(None).await.map(drop).map_err(|e| chain(&e))
}

async fn ended_right(world: &World, case: &str) {
    let rows = world.sql("SELECT id, name FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|new", "3|c"], "{case}");
    assert_eq!(world.sql("SELECT n FROM gold.count").await, ["2"], "{case}");
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["5"], "{case}");
}

/// A file cannot be written: data, manifest, manifest list, metadata, of each table.
#[tokio::test]
async fn a_file_that_cannot_be_written_leaves_no_others_behind() {
    let tables = ["silver/customers", "silver/customers_deletes", "gold/count", "bronze/customers"];
    let files = [("data", ".parquet"), ("metadata", "-m.avro"), ("metadata/snap-", ".avro")];
    for table in tables {
        for (folder, end) in files.into_iter().chain([("metadata", ".metadata.json")]) {
            for rebuild in [false, true] {
                let case = format!("{table}/{folder}, {end}, rebuild: {rebuild}");
                let (warehouse, raw) = (Warehouse::default(), Arc::new(MemoryStore::new()));
                let checkpoints = Arc::new(MemoryCheckpoints::new());
                let catalog = Arc::new(MemoryCatalog::new());
                let world = World::on(&pipeline(), catalog, warehouse.files(), raw, checkpoints);
                world.put("1.csv", FIRST, 0);
                steps(&world, false).await.unwrap();
                world.put("2.csv", SECOND, 1);
                warehouse.refuse(&format!("/{table}/{folder}"), end);
                let error = steps(&world, rebuild).await.expect_err(&case);
                assert!(error.contains("the disk is full"), "{case}: {error}");
                assert_eq!(
                    warehouse.orphans(&*world.catalog).await,
                    Vec::<String>::new(),
                    "{case}"
                );
                warehouse.accept();
                steps(&world, rebuild).await.expect(&case);
                ended_right(&world, &case).await;
                assert_eq!(
                    warehouse.orphans(&*world.catalog).await,
                    Vec::<String>::new(),
                    "{case}"
                );
            }
        }
    }
}

/// The catalog refuses a commit, of each table: as where a permission is missing.
#[tokio::test]
async fn a_commit_that_is_refused_leaves_no_file_behind() {
    for table in ["silver.customers", "silver.customers_deletes", "gold.count", "bronze.customers"]
    {
        for rebuild in [false, true] {
            let case = format!("{table}, rebuild: {rebuild}");
            let rivals = Rivals::new(&pipeline(), table, &[Fate::Forbidden], |_, _| async {});
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
}
