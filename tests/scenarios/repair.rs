//! After a rollback of bronze: what a rebuild removes, and what a repair goes on from.

use silversmith::worker::Merger;

use super::upkeep::SILVER;
use crate::support::deletes::Scope;
use crate::support::{CUSTOMERS, World};

/// A world in which three commits of two rows each are merged.
async fn merged_thrice() -> World {
    let world = World::new(CUSTOMERS);
    for n in 0..3 {
        let rows = format!("id,name,updated\n{n},a,1\n{},b,1\n", n + 10);
        world.ingest(&format!("{n}.csv"), &rows, n).await;
        world.silver().await;
    }
    world
}

/// A rebuild does not remove rows for good, unless it must.
#[tokio::test]
async fn a_rebuild_after_a_rollback_counts_what_it_would_remove() {
    let world = merged_thrice().await;
    let mut merger = Merger::new(world.pipeline(), world.lake().ambient());
    assert_eq!(merger.rolled_back().await.unwrap(), None);
    assert_eq!(merger.rebuild(false).await.unwrap().unwrap().counts.inserted, 6);

    let first = world.table("bronze.customers").await.snapshots()[0].id;
    world.roll_back("bronze.customers", first).await;
    let error = silversmith::error::chain(&merger.rebuild(false).await.unwrap_err());
    assert!(error.contains("would remove 4 of its 6 rows"), "{error}");
    assert_eq!(world.sql(SILVER).await.len(), 6);
    assert_eq!(merger.rebuild(true).await.unwrap().unwrap().counts.inserted, 2);
    assert_eq!(world.sql(SILVER).await, ["0|a", "10|b"]);
}

#[tokio::test]
async fn after_a_repair_ledger_and_silver_go_on_from_what_bronze_has() {
    let world = merged_thrice().await;
    let rows = world.sql(SILVER).await;
    let first = world.table("bronze.customers").await.snapshots()[0].id;
    world.roll_back("bronze.customers", first).await;
    let mut merger = Merger::new(world.pipeline(), world.lake().ambient());
    let found = merger.rolled_back().await.unwrap().unwrap();
    assert_eq!((found.objects, found.silver.unwrap().rows), (2, 4));
    assert!(world.pipeline().bronze.step().await.is_err(), "looking changes nothing");

    assert_eq!(merger.accept_rollback().await.unwrap(), 2);
    assert_eq!(merger.rolled_back().await.unwrap(), None);
    assert_eq!(world.sql(SILVER).await, rows, "no row of silver is gone");
    let root = world.pipeline().settings.bronze.root.clone();
    let again = world.pipeline().bronze.backfill(&root, |_| {}).await.unwrap();
    assert_eq!((again.ingested, again.known), (2, 1));
    let counts = world.silver().await.counts;
    assert_eq!((counts.inserted, counts.updated, counts.source), (0, 0, 4));
    assert_eq!(world.sql(SILVER).await, rows);
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["6"]);
}

/// What came after the rollback is merged, whatever had passed by before it.
#[tokio::test]
async fn a_repair_passes_over_no_commit_after_the_rollback() {
    let pipeline = format!("{CUSTOMERS}on_bronze_delete = \"ignore\"\n");
    let world = World::new(&pipeline);
    world.ingest("1.csv", "id,name,updated\n1,a,1\n2,a,1\n", 1).await;
    world.silver().await;
    let table = world.table("bronze.customers").await;
    let (before, files) = (table.current().unwrap().id, world.lake().files_of(&table, None, &[]));
    let file = files.await.unwrap()[0].path().to_owned();
    world.delete_positions("bronze.customers", &file, &[0], Scope::File).await;
    world.silver().await;
    world.roll_back("bronze.customers", before).await;
    // The ledger has published only what is still there: bronze goes on.
    world.ingest("2.csv", "id,name,updated\n3,b,2\n", 2).await;
    assert!(world.pipeline().silver.as_ref().unwrap().step().await.is_err());
    let mut merger = Merger::new(world.pipeline(), world.lake().ambient());
    assert_eq!(merger.accept_rollback().await.unwrap(), 0);
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|a", "3|b"]);
}

/// A file that was uploaded again unchanged is another version by its time, for a repair, too.
#[tokio::test]
async fn a_repair_forgets_the_second_upload_of_the_same_bytes() {
    let world = World::new(CUSTOMERS);
    let rows = "id,name,updated\n1,a,1\n";
    world.ingest("1.csv", rows, 1).await;
    let first = world.table("bronze.customers").await.current().unwrap().id;
    world.ingest("1.csv", rows, 2).await;
    world.roll_back("bronze.customers", first).await;
    let mut merger = Merger::new(world.pipeline(), world.lake().ambient());
    assert_eq!(merger.accept_rollback().await.unwrap(), 1);
    let root = world.pipeline().settings.bronze.root.clone();
    assert_eq!(world.pipeline().bronze.backfill(&root, |_| {}).await.unwrap().ingested, 1);
}
