//! What listings and merges read after a checkpoint, and rewinding.

use std::sync::Arc;

use silversmith::bronze::BronzeCheckpoint;
use silversmith::checkpoint::{self, MemoryCheckpoints};
use silversmith::pipeline::Intake;
use silversmith::silver::SilverCheckpoint;

use crate::support::{CUSTOMERS, LAKE, ORDERS, World, at, queued, settings, settings_of};

/// order1.csv of 2:00 and order2.csv of 3:00 are ingested, order3.csv arrives at 4:00, and the checkpoint is at
/// 3:00: only order3.csv is read.
#[tokio::test]
async fn only_the_object_after_the_checkpoint_is_read() {
    let world = World::new(ORDERS);
    world.raw.put("raw/order1.csv", "id,updated\n1,2026-01-31T02:00:00Z\n", at(2, 0));
    world.raw.put("raw/order2.csv", "id,updated\n2,2026-01-31T03:00:00Z\n", at(3, 0));
    assert_eq!(world.bronze().await.ingested, 2);
    let (stored, _) =
        checkpoint::load::<BronzeCheckpoint>(&*world.checkpoints, "orders").await.unwrap().unwrap();
    assert_eq!(stored.processed_through, Some(at(3, 0)));

    world.raw.put("raw/order3.csv", "id,updated\n3,2026-01-31T04:00:00Z\n", at(4, 0));
    let report = world.bronze().await;
    assert_eq!((report.listed, report.known, report.ingested), (3, 2, 1));
    let last = world.sql("SELECT _source_uri FROM bronze.orders ORDER BY _ingested_at, id").await;
    assert_eq!(last, ["raw/order1.csv", "raw/order2.csv", "raw/order3.csv"]);
    let batches = world.sql("SELECT count(DISTINCT batch_id) FROM bronze.orders_objects").await;
    assert_eq!(batches, ["2"]);
    let (stored, _) =
        checkpoint::load::<BronzeCheckpoint>(&*world.checkpoints, "orders").await.unwrap().unwrap();
    assert_eq!(stored.processed_through, Some(at(4, 0)));
}

/// Three bronze snapshots, the checkpoint at the second: only the third's rows are merged.
#[tokio::test]
async fn only_the_third_snapshot_is_merged() {
    let world = World::new(ORDERS);
    for (number, minute) in [(1, 0), (2, 1)] {
        world.put(&format!("{number}.csv"), &format!("id,updated\n{number},2026-01-31\n"), minute);
        world.bronze().await;
    }
    world.silver().await;
    let before = world.table("bronze.orders").await;
    let before: Vec<_> = before.ancestors().collect();
    let (stored, _) =
        checkpoint::load::<SilverCheckpoint>(&*world.checkpoints, "orders").await.unwrap().unwrap();
    assert_eq!(stored.bronze_snapshot_id, Some(before[0].id.0));

    world.put("3.csv", "id,updated\n3,2026-01-31\n", 2);
    world.bronze().await;
    let report = world.silver().await;
    assert_eq!(report.bronze_snapshots, 1);
    assert_eq!((report.counts.source, report.counts.inserted), (1, 1));
    let third = world.table("bronze.orders").await.current().unwrap().id;
    let (stored, _) =
        checkpoint::load::<SilverCheckpoint>(&*world.checkpoints, "orders").await.unwrap().unwrap();
    assert_eq!(stored.bronze_snapshot_id, Some(third.0));
    let summary = world.table("silver.orders").await.current().unwrap().summary;
    assert_eq!(summary["silversmith.bronze-snapshot-id"], third.to_string());
    assert_eq!(world.silver().await.snapshots, Vec::new(), "nothing to merge, nothing committed");
}

/// A rewind merges again, once, writes the rows again, and the position does not go back.
#[tokio::test]
async fn a_rewind_merges_again_once_and_the_position_stays() {
    let world = World::new(CUSTOMERS);
    for number in 1..4 {
        world.put(
            &format!("{number}.csv"),
            &format!("id,name,updated\n{number},n{number},2026-01-31\n"),
            number,
        );
        world.bronze().await;
        world.silver().await;
    }
    let first = world.table("bronze.customers").await.snapshots()[0].id;
    let before = world.sql("SELECT * FROM silver.customers ORDER BY id").await;
    let properties = world.table("silver.customers").await.own_properties();

    world.rewind(Some(first.0)).await;
    let report = world.silver().await;
    assert_eq!((report.bronze_snapshots, report.counts.updated), (2, 2));
    assert_eq!(world.sql("SELECT * FROM silver.customers ORDER BY id").await, before);
    assert_eq!(world.table("silver.customers").await.own_properties(), properties);
    assert_eq!(world.silver().await.snapshots, Vec::new(), "once");

    world.rewind(None).await;
    assert_eq!(world.silver().await.bronze_snapshots, 3);
    assert_eq!(world.sql("SELECT * FROM silver.customers ORDER BY id").await, before);
}

#[tokio::test]
async fn a_checkpoint_of_a_newer_format_is_refused() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,updated\n1,2026-01-31\n", 0);
    world.bronze().await;
    world.silver().await;
    let key = "customers/silver.json";
    let (_, version) = world.checkpoints.get(key).await.unwrap().unwrap();
    world.checkpoints.put(key, br#"{"format_version": 99}"#, Some(&version)).await.unwrap();
    let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    assert!(error.to_string().contains("upgrade silversmith"), "{error}");
}

/// The JSON of both checkpoints; none where there is none.
async fn stored(world: &World) -> [Option<String>; 2] {
    let json = |key| async move {
        let stored = world.checkpoints.get(key).await.unwrap();
        stored.map(|(bytes, _)| String::from_utf8(bytes).unwrap())
    };
    [json("customers/bronze.json").await, json("customers/silver.json").await]
}

/// Both are deleted: the next steps write the same again, and ingest and merge nothing twice.
#[tokio::test]
async fn a_lost_checkpoint_is_written_again() {
    let folder = (settings(CUSTOMERS), "raw/", Intake::Directory);
    let bucket = format!("{LAKE}{}", queued::CUSTOMERS);
    let bucket = (settings_of(&bucket), "s3://zone/raw/", Intake::Listing);
    for (settings, root, intake) in [folder, bucket] {
        let mut world = World::new(CUSTOMERS);
        let source = world.raw.clone();
        world.rewire(settings.clone(), source.clone(), intake.clone());
        for number in 1..4 {
            let (uri, row) = (format!("{root}{number}.csv"), format!("id,updated\n{number},1\n"));
            world.raw.put(&uri, row, at(9, number));
            assert_eq!(world.bronze().await.ingested, 1);
            assert_eq!(world.silver().await.counts.inserted, 1);
        }
        let before = stored(&world).await;
        assert!(before.iter().all(Option::is_some), "{before:?}");

        world.checkpoints = Arc::new(MemoryCheckpoints::new());
        world.rewire(settings, source, intake);
        assert_eq!(stored(&world).await, [None, None], "{root}");
        let report = world.bronze().await;
        assert_eq!((report.listed, report.known, report.ingested), (3, 3, 0), "{root}");
        assert_eq!(world.silver().await.snapshots, Vec::new(), "{root}");
        assert_eq!(stored(&world).await, before, "{root}");
    }
}
