//! Publishing the ledger comes after the bronze commit, which is durable: where it fails, nothing is lost (I3).

use silversmith::bronze::{IngestedBatch, ObjectEnd};
use silversmith::ledger::FILE;
use silversmith::source::{Requested, all};

use crate::support::faulty::Fate;
use crate::support::logged::Log;
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

const OBJECTS: &str = "SELECT source_uri FROM bronze.customers_objects ORDER BY 1";

/// One batch of all that is in the raw zone, as events bring it.
async fn ingest_all(world: &World) -> IngestedBatch {
    let objects = all(&*world.raw, "raw/").await.unwrap();
    let batch: Vec<Requested> = objects.into_iter().map(Requested::Listed).collect();
    world.pipeline().bronze.ingest(&batch).await.unwrap()
}

/// The first batch is in bronze, and the catalog has refused to publish its ledger.
async fn unpublished() -> Rivals {
    // The creation of the table is fine.
    let fates = [Fate::Fine, Fate::Forbidden];
    let rivals = Rivals::new(CUSTOMERS, "bronze.customers_objects", &fates, |_, _| async {});
    let world = &rivals.world;
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    let (log, logging) = Log::open();
    let report = ingest_all(world).await.report;
    drop(logging);
    assert_eq!((report.ingested, report.rows, report.snapshots.len()), (1, 1, 1));
    let warned = log.lines_with("the ledger was not published");
    assert_eq!(warned.len(), 1, "{warned:?}");
    for text in ["WARN", "bronze.customers", "the connection was reset"] {
        assert!(warned[0].contains(text), "{warned:?}");
    }
    assert_eq!(world.table("bronze.customers_objects").await.snapshots().len(), 0);
    assert_eq!(rivals.orphans().await, Vec::<String>::new(), "bronze names the ledger's file");
    rivals
}

#[tokio::test]
async fn a_ledger_that_was_not_published_is_published_with_the_next_batch() {
    let rivals = unpublished().await;
    let world = &rivals.world;
    world.put("2.csv", "id,updated\n2,2026-01-01\n", 1);
    let batch = ingest_all(world).await;
    assert!(matches!(batch.ends[..], [ObjectEnd::Known, ObjectEnd::Ingested]), "{:?}", batch.ends);
    assert_eq!(world.table("bronze.customers_objects").await.snapshots().len(), 1);
    assert_eq!(world.sql(OBJECTS).await, ["raw/1.csv", "raw/2.csv"]);
    assert_eq!(world.sql("SELECT id FROM bronze.customers ORDER BY 1").await, ["1", "2"]);
    assert_eq!(ingest_all(world).await.report.known, 2);
    assert_eq!(world.sql(OBJECTS).await, ["raw/1.csv", "raw/2.csv"], "each once");
    assert_eq!(rivals.orphans().await, Vec::<String>::new());
}

/// Another program deletes what no table lists, and only a property of bronze names the ledger's file.
#[tokio::test]
async fn a_ledger_file_that_another_program_deleted_is_rebuilt_from_bronze() {
    let rivals = unpublished().await;
    let world = &rivals.world;
    let bronze = world.table("bronze.customers").await;
    let named = &bronze.current().unwrap().summary[FILE];
    let named: serde_json::Value = serde_json::from_str(named).unwrap();
    rivals.warehouse.files().delete(named["path"].as_str().unwrap()).await.unwrap();
    assert_eq!(rivals.rival.sql(OBJECTS).await, Vec::<String>::new());
    let (log, logging) = Log::open();
    let report = rivals.rival.bronze().await;
    drop(logging);
    assert_eq!((report.listed, report.known, report.ingested), (1, 1, 0));
    assert_eq!(log.lines_with("ledger files are gone").len(), 1);
    let rebuilt = "SELECT source_uri, outcome, rows, batch_id FROM bronze.customers_objects";
    assert_eq!(rivals.rival.sql(rebuilt).await, ["raw/1.csv|ingested|1|rebuilt"]);
    assert_eq!(ingest_all(world).await.report.known, 1);
    assert_eq!(world.sql("SELECT id FROM bronze.customers").await, ["1"]);
    assert_eq!(rivals.orphans().await, Vec::<String>::new());
}

/// The worker is gone. Another one, which has only the tables, ingests nothing twice.
#[tokio::test]
async fn a_ledger_that_was_not_published_is_known_to_every_other_worker() {
    let rivals = unpublished().await;
    let report = rivals.rival.bronze().await;
    assert_eq!((report.listed, report.known, report.ingested), (1, 1, 0));
    assert_eq!(rivals.rival.sql(OBJECTS).await, ["raw/1.csv"]);
    assert_eq!(rivals.rival.sql("SELECT id FROM bronze.customers").await, ["1"]);
    assert_eq!(rivals.orphans().await, Vec::<String>::new());
}
