//! Complete deliveries, found by listings: a folder is ingested as a whole, once it is complete.

use std::time::Duration;

use silversmith::bronze::BronzeCheckpoint;
use silversmith::checkpoint;
use silversmith::pipeline::Intake;

use crate::support::deliveries::{MARKER, delivering, pipeline, row};
use crate::support::{CUSTOMERS, LAKE, World, at, queued, settings_of};

#[tokio::test]
async fn a_folder_is_ingested_in_one_commit_once_its_marker_is_there() {
    let world = delivering(MARKER);
    world.put("1/a.csv", &row(1), 1);
    world.put("1/b.csv", &row(2), 2);
    world.put("2/c.csv", &row(3), 3);
    assert_eq!(world.counts().await, (0, 3, 0));
    assert_eq!(world.ids().await, Vec::<String>::new());
    assert_eq!(world.waits().await, ["raw/1/: 2 for _SUCCESS", "raw/2/: 1 for _SUCCESS"]);
    assert_eq!(
        world.outcomes().await,
        ["raw/1/a.csv|waiting|null", "raw/1/b.csv|waiting|null", "raw/2/c.csv|waiting|null"]
    );
    let again = world.look().await;
    assert_eq!((again.listed, again.known, again.waiting), (3, 3, 0), "held once");

    world.put("1/_SUCCESS", "", 4);
    let report = world.look().await;
    assert_eq!((report.listed, report.ingested, report.known), (3, 2, 1), "one waits");
    assert_eq!(world.ids().await, ["1", "2"]);
    assert_eq!(world.commits().await, ["raw/1/"]);
    let bronze = world.table("bronze.customers").await;
    assert_eq!(bronze.current().unwrap().summary["silversmith.objects"], "2");
    assert_eq!(world.waits().await, ["raw/2/: 1 for _SUCCESS"]);
    assert_eq!(world.silver().await.snapshots.len(), 1);

    world.put("2/_SUCCESS", "", 5);
    world.put("3/_SUCCESS", "", 5);
    assert_eq!(world.counts().await, (1, 0, 0));
    assert_eq!(world.ids().await, ["1", "2", "3"]);
    assert_eq!(world.commits().await, ["raw/1/", "raw/2/"], "nothing is no commit");
    assert_eq!(world.counts().await, (0, 0, 0));
    assert_eq!(world.waits().await, Vec::<String>::new());
    assert_eq!(
        world.outcomes().await,
        [
            "raw/1/_SUCCESS|ingested|null",
            "raw/1/a.csv|ingested|null",
            "raw/1/b.csv|ingested|null",
            "raw/2/_SUCCESS|ingested|null",
            "raw/2/c.csv|ingested|null",
            "raw/3/_SUCCESS|ingested|null"
        ]
    );
}

#[tokio::test]
async fn the_limits_of_a_batch_split_no_delivery_and_two_of_them_are_two_commits() {
    let batch = "[pipeline.batch]\nmax_objects = 2\nmax_bytes = \"10B\"\n[pipeline.deliveries]";
    let world = World::new(&pipeline(MARKER).replace("[pipeline.deliveries]", batch));
    for id in 0..7 {
        world.put(&format!("{}/{id}.csv", id % 2), &row(id), 1);
    }
    world.put("0/_SUCCESS", "", 2);
    world.put("1/_SUCCESS", "", 2);
    let report = world.look().await;
    assert_eq!((report.ingested, report.listed, report.known), (7, 7, 0));
    assert_eq!(world.commits().await, ["raw/0/", "raw/1/"]);
    assert_eq!(world.table("bronze.customers").await.ancestors().count(), 2);
    assert_eq!(world.ids().await.len(), 7);
}

#[tokio::test]
async fn the_newest_version_counts_of_an_object_that_changes_while_it_waits() {
    let world = delivering(MARKER);
    world.put("1/a.csv", &row(1), 1);
    world.put("1/b.csv", &row(2), 1);
    world.put("1/c.csv", &row(3), 1);
    assert_eq!(world.counts().await, (0, 3, 0));
    world.put("1/a.csv", &row(10), 2);
    world.raw.delete("raw/1/b.csv");
    assert_eq!(world.counts().await, (0, 1, 0));
    world.put("1/a.csv", &row(11), 3);
    world.put("1/_SUCCESS", "", 4);
    assert_eq!(world.counts().await, (2, 0, 0));
    assert_eq!(world.ids().await, ["3", "11"]);
    assert_eq!(world.waits().await, Vec::<String>::new());
    assert_eq!(
        world.outcomes().await,
        [
            "raw/1/_SUCCESS|ingested|null",
            "raw/1/a.csv|ingested|null",
            "raw/1/a.csv|skipped|changed",
            "raw/1/a.csv|skipped|changed",
            "raw/1/b.csv|skipped|missing",
            "raw/1/c.csv|ingested|null"
        ]
    );
}

#[tokio::test]
async fn what_comes_late_is_ingested_by_itself_or_rejected() {
    for (rule, outcome) in [("ingest", "ingested|null"), ("reject", "rejected|late")] {
        let world = delivering(&format!("{MARKER}\nlate_objects = \"{rule}\""));
        world.put("1/a.csv", &row(1), 1);
        world.put("1/_SUCCESS", "", 2);
        assert_eq!(world.counts().await, (1, 0, 0));
        world.put("1/late.csv", &row(2), 3);
        let (ingested, _, failed) = world.counts().await;
        assert_eq!((ingested, failed), if rule == "ingest" { (1, 0) } else { (0, 1) });
        let of = |line: &String| line.strip_prefix("raw/1/late.csv|").map(str::to_owned);
        assert_eq!(world.outcomes().await.iter().find_map(of).unwrap(), outcome);
        assert_eq!(world.commits().await, ["raw/1/"]);
        // A second marker changes nothing.
        world.put("1/_SUCCESS", "again", 4);
        assert_eq!(world.counts().await, (0, 0, 0));
        assert_eq!(world.look().await.known, 2);
        if rule == "reject" {
            assert_eq!(world.replay("late").await, 1);
            assert_eq!(world.counts().await, (1, 0, 0), "an operator decides");
        }
        assert_eq!(world.ids().await, ["1", "2"], "{rule}");
    }
}

#[tokio::test]
async fn a_number_of_objects_makes_a_delivery_complete() {
    let world = delivering("count = 3");
    world.put("1/a.csv", &row(1), 1);
    world.put("1/b.csv", &row(2), 1);
    assert_eq!(world.counts().await, (0, 2, 0));
    world.put("1/b.csv", &row(20), 2);
    assert_eq!(world.counts().await, (0, 1, 0), "the same object");
    assert_eq!(world.waits().await, ["raw/1/: 2 for 1 of 3 objects"]);
    world.put("1/c.csv", &row(3), 2);
    assert_eq!(world.counts().await, (3, 0, 0));
    assert_eq!(
        (world.ids().await, world.commits().await.len()),
        (vec!["1".into(), "3".into(), "20".into()], 1)
    );
}

#[tokio::test]
async fn an_object_that_cannot_be_ingested_does_not_hold_up_its_delivery() {
    let world = delivering(MARKER);
    world.put("1/a.csv", &row(1), 1);
    world.put("1/bad.csv", "id\0", 1);
    world.put("1/empty.csv", "", 1);
    world.put("1/_SUCCESS", "", 2);
    assert_eq!(world.counts().await, (2, 0, 1));
    assert_eq!(world.ids().await, ["1"]);
    assert_eq!(
        world.outcomes().await,
        [
            "raw/1/_SUCCESS|ingested|null",
            "raw/1/a.csv|ingested|null",
            "raw/1/bad.csv|rejected|not-text",
            "raw/1/empty.csv|ingested|null"
        ]
    );
    assert_eq!(world.counts().await, (0, 0, 0));
}

#[tokio::test]
async fn a_folder_belongs_together_without_the_folders_below_it() {
    let world = delivering(MARKER);
    world.put("1/a.csv", &row(1), 1);
    world.put("1/deep/b.csv", &row(2), 1);
    world.put("1/_SUCCESS", "", 2);
    assert_eq!(world.counts().await, (1, 1, 0));
    assert_eq!(world.waits().await, ["raw/1/deep/: 1 for _SUCCESS"]);
}

/// A glob for markers: any of them completes the folder, and each has its outcome.
#[tokio::test]
async fn a_marker_may_have_any_name_that_matches() {
    let world = delivering("complete_when = \"*.done\"");
    world.put("1/a.csv", &row(1), 1);
    world.put("1/1.done", "", 2);
    world.put("1/2.done", "", 3);
    assert_eq!(world.counts().await, (1, 0, 0));
    assert_eq!(world.counts().await, (0, 0, 0));
    let markers = ["raw/1/1.done|ingested|null", "raw/1/2.done|ingested|null"];
    assert_eq!(world.outcomes().await[..2], markers);
}

/// The objects of one pipeline that has deliveries, listed on S3.
fn on_s3(rules: &str) -> World {
    let section = format!("[pipeline.deliveries]\n{rules}\n[pipeline.bronze]");
    let deliveries = queued::CUSTOMERS.replace("[pipeline.bronze]", &section);
    let mut world = World::new(CUSTOMERS);
    let raw = world.raw.clone();
    world.rewire(settings_of(&format!("{LAKE}{deliveries}")), raw, Intake::Listing);
    world
}

#[tokio::test]
async fn the_low_watermark_passes_no_object_that_waits() {
    let world = on_s3(MARKER);
    let put = |name: &str, text: &str, minute| {
        world.raw.put(&format!("s3://zone/raw/{name}"), text.as_bytes(), at(9, minute));
    };
    let low = async || {
        let stored = checkpoint::load::<BronzeCheckpoint>(&*world.checkpoints, "customers").await;
        stored.unwrap().unwrap().0.low_watermark
    };
    put("1/a.csv", &row(1), 1);
    put("2/b.csv", &row(2), 5);
    put("2/_SUCCESS", "", 6);
    assert_eq!(world.counts().await, (1, 1, 0));
    assert_eq!(low().await, Some(at(9, 1)));
    assert_eq!(world.counts().await, (0, 0, 0));
    assert_eq!(low().await, Some(at(9, 1)), "as long as it waits");
    // Deliveries are configured no longer: it is ingested like any other.
    let mut plain = world.reconfigured(CUSTOMERS);
    let raw = world.raw.clone();
    plain.rewire(settings_of(&format!("{LAKE}{}", queued::CUSTOMERS)), raw, Intake::Listing);
    assert_eq!(plain.look().await.ingested, 1);
    assert_eq!(world.ids().await, ["1", "2"]);
}

/// The marker has another name than was configured: after the correction, a backfill looks at what waits.
#[tokio::test]
async fn a_backfill_looks_at_deliveries_that_wait_again() {
    let world = delivering("complete_when = \"_DONE\"");
    world.put("1/a.csv", &row(1), 1);
    world.put("1/_SUCCESS", "", 2);
    assert_eq!(world.counts().await, (0, 1, 0));
    let right = world.reconfigured(&pipeline(MARKER));
    right.ambient.advance(Duration::from_secs(1));
    let report = right.pipeline().bronze.backfill("raw/", |_| {}).await.unwrap();
    assert_eq!((report.ingested, report.listed), (1, 1));
    assert_eq!(right.commits().await, ["raw/1/"]);
}

/// Objects that were ingested before deliveries were configured.
#[tokio::test]
async fn what_is_ingested_is_not_ingested_with_a_delivery() {
    let plain = World::new(CUSTOMERS);
    plain.put("1/a.csv", &row(1), 1);
    assert_eq!(plain.look().await.ingested, 1);
    let world = plain.reconfigured(&pipeline(MARKER));
    world.put("1/b.csv", &row(2), 2);
    assert_eq!(world.counts().await, (0, 1, 0));
    world.put("1/_SUCCESS", "", 3);
    assert_eq!(world.counts().await, (1, 0, 0));
    assert_eq!(world.ids().await, ["1", "2"]);
}

/// A roll-back takes a delivery away: after the repair it is one again.
#[tokio::test]
async fn a_delivery_that_was_rolled_back_is_ingested_again_as_a_whole() {
    let world = delivering(&format!("{MARKER}\nlate_objects = \"reject\""));
    for folder in ["1", "2"] {
        world.put(&format!("{folder}/a.csv"), &row(1), 1);
        world.put(&format!("{folder}/b.csv"), &row(2), 1);
        world.put(&format!("{folder}/_SUCCESS"), "", 2);
    }
    assert_eq!(world.counts().await, (4, 0, 0));
    let first = world.table("bronze.customers").await.ancestors().last().unwrap().id;
    world.roll_back("bronze.customers", first).await;
    let (ledger, bronze) =
        (world.pipeline().bronze.ledger(), world.table("bronze.customers").await);
    let forgotten = ledger.forget_lost(&bronze, false).await.unwrap();
    assert_eq!(forgotten, 3, "two objects, and their delivery");
    let report = world.look().await;
    assert_eq!((report.ingested, report.failed), (2, 0));
    assert_eq!(world.commits().await, ["raw/1/", "raw/2/"]);
    assert_eq!(world.ids().await, ["1", "1", "2", "2"]);
}
