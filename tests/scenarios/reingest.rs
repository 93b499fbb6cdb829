//! A corrected configuration: what an object gives now replaces what it gave, once, in bronze and in silver (I2, I5).

use std::sync::Arc;
use std::time::Duration;

use globset::{Glob, GlobSet};
use silversmith::ambient::{Ambient, SharedAmbient};
use silversmith::bronze::BronzeReport;
use silversmith::dead_letters::queued::Action;
use silversmith::dead_letters::{self, Filter};
use silversmith::event::{ObjectEvent, parse};
use silversmith::queue::{EventQueue, Outgoing};
use silversmith::source::{RawObject, Requested, Reread, all};

use crate::support::deletes::Scope;
use crate::support::faulty::Fate;
use crate::support::queued::{self, QueuedWorld};
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

const BRONZE: &str =
    "SELECT id, name, _source_row, _source_uri FROM bronze.customers ORDER BY 4, 3";
const SILVER: &str = "SELECT id, name FROM silver.customers ORDER BY id";

/// Lines that begin with a 9 are comments, and `NA` is no name.
const CORRECTED: &str = "[pipeline.csv]\ncomment = \"9\"\nnull_values = [\"\", \"NA\"]\n";
const FIRST: &str = "id,name,updated\n1,a,1\n91,ghost,1\n2,NA,1\n";
const SECOND: &str = "id,name,updated\n3,c,1\n";

fn of(pattern: &str) -> GlobSet {
    GlobSet::builder().add(Glob::new(pattern).unwrap()).build().unwrap()
}

async fn again(world: &World, pattern: &str) -> BronzeReport {
    world.ambient.advance(Duration::from_secs(1));
    world.pipeline().bronze.read_again("raw/", &of(pattern), |_| {}).await.unwrap()
}

/// Two objects in one data file, in silver; then the configuration is corrected.
async fn misread() -> World {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", FIRST, 1);
    world.put("2.csv", SECOND, 2);
    world.bronze().await;
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|NA", "3|c", "91|ghost"]);
    world.reconfigured(&format!("{CUSTOMERS}{CORRECTED}"))
}

const RIGHT: [&str; 3] = ["1|a|1|raw/1.csv", "2|null|2|raw/1.csv", "3|c|1|raw/2.csv"];

#[tokio::test]
async fn what_an_object_gives_now_replaces_what_it_gave() {
    let world = misread().await;
    let report = again(&world, "raw/1.csv").await;
    assert_eq!((report.listed, report.ingested, report.rows), (1, 1, 2));
    assert_eq!(world.sql(BRONZE).await, RIGHT);
    let tip = world.table("bronze.customers").await.current().unwrap();
    assert_eq!(tip.operation, "overwrite");
    assert_eq!(tip.summary["silversmith.superseded"], "1");

    // A key that only the wrong reading had is gone; the position moves on, and nothing is merged twice.
    assert_eq!(world.silver().await.snapshots.len(), 1);
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|null", "3|c"]);
    assert_eq!(world.silver().await.snapshots, []);
    assert_eq!(world.bronze().await.ingested, 0, "a listing reads nothing again");

    let attempts = "SELECT source_uri, outcome, rows FROM bronze.customers_objects ORDER BY finished_at, source_uri";
    let attempts = world.sql(attempts).await;
    assert_eq!(attempts, ["raw/1.csv|ingested|3", "raw/2.csv|ingested|1", "raw/1.csv|ingested|2"]);

    // A commit after it is merged as any other.
    world.ingest("3.csv", "id,name,updated\n2,b,2\n", 3).await;
    let counts = world.silver().await.counts;
    assert_eq!((counts.inserted, counts.updated), (0, 1));
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|b", "3|c"]);
}

/// An object that gave all rows of its data files takes these with it.
#[tokio::test]
async fn a_data_file_that_loses_all_rows_goes() {
    let world = misread().await;
    assert_eq!(again(&world, "raw/*.csv").await.ingested, 2);
    assert_eq!(world.sql(BRONZE).await, RIGHT);
    assert_eq!(world.delete_files("bronze.customers").await, Vec::<String>::new());
    let table = world.table("bronze.customers").await;
    assert_eq!(world.lake().files_of(&table, None, &[]).await.unwrap().len(), 1);
    // And once more: rows that are deleted already stay so.
    assert_eq!(again(&world, "raw/1.csv").await.ingested, 1);
    assert_eq!(again(&world, "raw/1.csv").await.ingested, 1);
    assert_eq!(world.sql(BRONZE).await, RIGHT);
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|null", "3|c"]);
}

/// The wrong row of a key hid an older row, and a wrong delete buried one: both come back.
#[tokio::test]
async fn what_a_wrong_row_hid_comes_back() {
    for mode in ["copy-on-write", "merge-on-read"] {
        let pipeline = format!("{CUSTOMERS}delete_when = \"op = 'D'\"\nmode = \"{mode}\"\n");
        let world = World::new(&pipeline);
        world.ingest("1.csv", "id,name,op,updated\n91,a,U,1\n92,b,U,1\n", 1).await;
        world.silver().await;
        world.ingest("2.csv", "id,name,op,updated\n91,wrong,U,9\n92,wrong,D,9\n3,c,U,1\n", 2).await;
        world.silver().await;
        assert_eq!(world.sql(SILVER).await, ["3|c", "91|wrong"], "{mode}");
        // The first file is not read again: its rows stay.
        let world = world.reconfigured(&format!("{pipeline}{CORRECTED}"));
        again(&world, "raw/2.csv").await;
        world.silver().await;
        assert_eq!(world.sql(SILVER).await, ["3|c", "91|a", "92|b"], "{mode}");
        // The delete is forgotten, too.
        world.ingest("3.csv", "id,name,op,updated\n3,d,U,2\n", 3).await;
        world.silver().await;
        assert_eq!(world.sql(SILVER).await, ["3|d", "91|a", "92|b"], "{mode}");
    }
}

/// Silver that was not up to date merges nothing of what was superseded before it came so far.
#[tokio::test]
async fn silver_that_is_behind_never_merges_superseded_rows() {
    let world = World::new(CUSTOMERS);
    world.ingest("1.csv", FIRST, 1).await;
    let world = world.reconfigured(&format!("{CUSTOMERS}{CORRECTED}"));
    again(&world, "raw/1.csv").await;
    world.ingest("2.csv", SECOND, 2).await;
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|null", "3|c"]);
    // Nor does a merge that was asked to start before it.
    world.rewind(None).await;
    assert_eq!(world.silver().await.snapshots.len(), 1);
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|null", "3|c"]);
}

/// Another program expires the snapshot that superseded rows before silver has merged it.
#[tokio::test]
async fn rows_are_superseded_even_where_the_snapshot_that_says_so_has_expired() {
    let world = misread().await;
    again(&world, "raw/1.csv").await;
    world.ingest("3.csv", "id,name,updated\n4,d,2\n", 3).await;
    world.expire_all_but_current("bronze.customers").await;
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|null", "3|c", "4|d"]);
    assert_eq!(world.silver().await.snapshots, []);
}

/// An object without a row now: what it gave goes all the same.
#[tokio::test]
async fn an_object_that_has_no_rows_now_leaves_none() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n91,ghost,1\n", 1);
    world.put("2.csv", SECOND, 2);
    world.bronze().await;
    world.silver().await;
    let world = world.reconfigured(&format!("{CUSTOMERS}{CORRECTED}"));
    let report = again(&world, "raw/1.csv").await;
    assert_eq!((report.ingested, report.rows), (1, 0));
    assert_eq!(world.sql(BRONZE).await, ["3|c|1|raw/2.csv"]);
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["3|c"]);
    // It gave nothing before either: nothing is committed to bronze.
    let tip = world.table("bronze.customers").await.current().unwrap().id;
    assert_eq!(again(&world, "raw/1.csv").await.ingested, 1);
    assert_eq!(world.table("bronze.customers").await.current().unwrap().id, tip);
}

/// A correction that is wrong itself loses nothing: the object is not read, and what it gave stays.
#[tokio::test]
async fn an_object_that_cannot_be_read_now_keeps_what_it_gave() {
    let world = misread().await;
    let before = world.sql(BRONZE).await;
    let worse = world.reconfigured(&format!("{CUSTOMERS}[pipeline.csv]\ndelimiter = \";\"\n"));
    let report = again(&worse, "raw/*.csv").await;
    assert_eq!((report.ingested, report.failed), (0, 2));
    assert_eq!(world.sql(BRONZE).await, before);
    assert_eq!(worse.bronze().await.listed, 2);
    assert_eq!(world.sql(BRONZE).await, before, "a rejection does not undo that they are ingested");
    let right = world.reconfigured(&format!("{CUSTOMERS}{CORRECTED}"));
    assert_eq!(again(&right, "raw/*.csv").await.ingested, 2);
    assert_eq!(world.sql(BRONZE).await, RIGHT);
}

/// An object that was rejected, and one that was never seen, are ingested.
#[tokio::test]
async fn objects_that_gave_nothing_are_ingested() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id;name;updated\n1;A;1\n", 0);
    assert_eq!(world.bronze().await.failed, 1);
    world.put("2.csv", "id;name;updated\n2;B;1\n", 1);
    let world = world.reconfigured(&format!("{CUSTOMERS}[pipeline.csv]\ndelimiter = \";\"\n"));
    let report = again(&world, "raw/*.csv").await;
    assert_eq!((report.listed, report.ingested), (2, 2));
    assert_eq!(world.sql("SELECT id FROM bronze.customers ORDER BY id").await, ["1", "2"]);
    let tip = world.table("bronze.customers").await.current().unwrap();
    assert_eq!(tip.operation, "append", "nothing was superseded");
}

async fn request(world: &World, uri: &str) -> Requested {
    let objects = all(&*world.raw, "raw/").await.unwrap();
    let object: RawObject = objects.into_iter().find(|o| o.id.uri == uri).unwrap();
    let asked_at = world.ambient.now() + chrono::TimeDelta::seconds(1);
    Requested::Again(Reread { object, asked_at, sequence: None })
}

/// A request takes effect once, however often it is carried out, and whatever clocks say.
#[tokio::test]
async fn a_request_that_comes_twice_takes_effect_once() {
    let world = misread().await;
    let request = request(&world, "raw/1.csv").await;
    let ingest = || world.pipeline().bronze.ingest(std::slice::from_ref(&request));
    assert_eq!(ingest().await.unwrap().report.ingested, 1);
    let tip = world.table("bronze.customers").await.current().unwrap().id;
    let report = ingest().await.unwrap().report;
    assert_eq!((report.ingested, report.known), (0, 1));
    assert_eq!(world.table("bronze.customers").await.current().unwrap().id, tip);
    assert_eq!(world.sql(BRONZE).await, RIGHT);
}

/// Between the reading of one worker and its commit, another carries out the same request, ingests, or compacts.
#[tokio::test]
async fn two_workers_supersede_once() {
    for deed in ["supersedes", "ingests another", "compacts"] {
        let pipeline = format!("{CUSTOMERS}{CORRECTED}");
        let act = move |rival: Arc<World>, _| async move {
            match deed {
                "supersedes" => {
                    let request = request(&rival, "raw/1.csv").await;
                    let ingested = rival.pipeline().bronze.ingest(&[request]).await.unwrap();
                    assert_eq!(ingested.report.ingested, 1);
                }
                "ingests another" => rival.ingest("3.csv", "id,name,updated\n4,d,1\n", 3).await,
                _ => drop(rival.upkeep(super::upkeep::COMPACT).await),
            }
        };
        let fates = [Fate::Fine, Fate::Fine, Fate::Fine, Fate::Overtaken];
        let rivals = Rivals::new(&pipeline, "bronze.customers", &fates, act);
        let world = &rivals.world;
        let wrong = world.reconfigured(CUSTOMERS);
        wrong.ingest("1.csv", FIRST, 1).await;
        wrong.ingest("2.csv", SECOND, 2).await;
        world.silver().await;
        let request = request(world, "raw/1.csv").await;
        world.pipeline().bronze.ingest(&[request]).await.unwrap();
        assert_eq!(rivals.acted(), 1, "{deed}");
        let mut right = RIGHT.to_vec();
        if deed == "ingests another" {
            right.push("4|d|1|raw/3.csv");
        }
        assert_eq!(world.sql(BRONZE).await, right, "{deed}");
        world.silver().await;
        assert_eq!(world.sql("SELECT count(*) FROM silver.customers WHERE id = 91").await, ["0"]);
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{deed}");
    }
}

/// The answer to the commit is lost, or it never arrives: rows are there once.
#[tokio::test]
async fn a_commit_without_an_answer_supersedes_once() {
    for fate in [Fate::DoneAnswerLost, Fate::DoneThenRefused, Fate::LostOnTheWay] {
        let fates = [Fate::Fine, Fate::Fine, fate];
        let pipeline = format!("{CUSTOMERS}{CORRECTED}");
        let rivals = Rivals::new(&pipeline, "bronze.customers", &fates, |_, _| async {});
        let world = &rivals.world;
        let wrong = world.reconfigured(CUSTOMERS);
        wrong.put("1.csv", FIRST, 1);
        wrong.put("2.csv", SECOND, 2);
        wrong.bronze().await;
        assert_eq!(again(world, "raw/1.csv").await.ingested, 1, "{fate:?}");
        assert_eq!(world.sql(BRONZE).await, RIGHT, "{fate:?}");
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{fate:?}");
    }
}

/// Rows of silver that bronze lost otherwise are not lost with the superseded ones.
#[tokio::test]
async fn rows_that_only_silver_has_stay() {
    let world = World::new(CUSTOMERS);
    world.ingest("1.csv", "id,name,updated\n1,a,1\n2,NA,1\n91,ghost,1\n", 1).await;
    world.ingest("2.csv", SECOND, 2).await;
    world.silver().await;
    let pipeline = format!("{CUSTOMERS}on_bronze_delete = \"ignore\"\n");
    let table = world.table("bronze.customers").await;
    let files = world.lake().files_of(&table, None, &[]).await.unwrap();
    let file = files.iter().find(|file| file.rows() == Some(1)).unwrap().path().to_owned();
    world.delete_positions("bronze.customers", &file, &[0], Scope::File).await;
    let world = world.reconfigured(&pipeline);
    world.silver().await;
    let world = world.reconfigured(&format!("{pipeline}{CORRECTED}"));
    again(&world, "raw/1.csv").await;
    world.silver().await;
    // The new rows are merged. Key 91 stays: it may also come from a file that bronze has lost.
    assert_eq!(world.sql(SILVER).await, ["1|a", "2|null", "3|c", "91|ghost"]);
    assert_eq!(world.silver().await.snapshots, []);
}

/// The sequence of an upload, which an event brought, outlives a reading that has no event.
#[tokio::test]
async fn rows_keep_the_sequence_of_their_upload() {
    let queued = QueuedWorld::new(queued::CUSTOMERS);
    let world = &queued.world;
    world.raw.put("s3://zone/raw/a.csv", FIRST.as_bytes(), crate::support::at(11, 0));
    let uploaded = all(&*world.raw, "s3://").await.unwrap().remove(0);
    let event = ObjectEvent {
        bucket: "zone".into(),
        key: "raw/a.csv".into(),
        etag: Some(uploaded.id.version),
        version_id: None,
        size: None,
        sequencer: Some("A1".into()),
        event_time: None,
        again: None,
        replayed: false,
    };
    world.pipeline().bronze.ingest(&[Requested::ByEvent(event)]).await.unwrap();
    world.ambient.advance(Duration::from_secs(1));
    let every = of("s3://zone/raw/*");
    let report = world.pipeline().bronze.read_again("s3://zone/", &every, |_| {}).await.unwrap();
    assert_eq!(report.ingested, 1);
    let rows = world.sql("SELECT id, _source_sequence FROM bronze.customers ORDER BY id").await;
    assert_eq!(rows, ["1|A1", "2|A1", "91|A1"]);
}

/// Replays the dead letters: each is sent to the queue, as it is or with the request to replace.
async fn replay(world: &QueuedWorld, again: Option<chrono::DateTime<chrono::Utc>>) -> Vec<String> {
    let action = Action::Replay { to: world.queue.clone(), again };
    let ambient: SharedAmbient = world.world.ambient.clone();
    let dlq: Arc<dyn EventQueue> = world.dlq.clone();
    let all = Filter::default();
    let done = dead_letters::queued::work(&dlq, &all, &action, &ambient, |_| {}, |_| {}).await;
    assert_eq!(done.unwrap().done, 1);
    let sent = world.queue.receive(Duration::ZERO, Duration::ZERO).await.unwrap();
    sent.into_iter().map(|message| message.body).collect()
}

/// `dlq replay --again`: a dead letter that asks to replace what its object gave, delivered twice.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_asks_for_it_replaces_what_its_object_gave() {
    let first = QueuedWorld::new(queued::CUSTOMERS);
    first.put("1.csv", FIRST, 1).await;
    first.drain().await.unwrap();
    let queues = queued::MemoryQueues { events: first.queue.clone(), dlq: first.dlq.clone() };
    let ways: queued::Ways = (first.queue.clone(), first.dlq.clone());
    let raw = first.world.raw.clone();
    let corrected = format!("{}{CORRECTED}", queued::CUSTOMERS);
    let world = QueuedWorld::on(first.world, &corrected, raw, queues, ways);
    let letter = serde_json::json!({
        "silversmith_dead_letter": 1, "id": "l", "at": "2026-01-31T12:00:00Z",
        "reason": "redriven", "error": "", "pipeline": "customers",
        "object": {"bucket": "zone", "key": "raw/1.csv"},
        "message": {"id": "m", "receive_count": 1}, "truncated": false
    });
    let died = async || {
        let body = letter.to_string();
        let (ordering_key, deduplication_id) = ("g".to_owned(), "d".to_owned());
        let message = Outgoing { body, ordering_key, deduplication_id };
        assert_eq!(world.dlq.send(&[message]).await.unwrap(), []);
    };
    let rows = "SELECT id, name FROM bronze.customers ORDER BY id";

    died().await;
    assert_eq!(replay(&world, None).await, [letter.to_string()]);
    world.drain().await.unwrap();
    assert_eq!(world.world.sql(rows).await, ["1|a", "2|NA", "91|ghost"], "a replay alone does not");

    died().await;
    let asked = replay(&world, Some(world.clock().now())).await.remove(0);
    assert_eq!(parse(&asked).unwrap().len(), 1);
    world.drain().await.unwrap();
    assert_eq!(world.world.sql(rows).await, ["1|a", "2|null"]);
    world.send(&asked).await;
    world.drain().await.unwrap();
    assert_eq!(world.world.sql(rows).await, ["1|a", "2|null"]);
    assert_eq!(world.world.sql(SILVER).await, ["1|a", "2|null"]);
    let ingested = "SELECT count(*) FROM bronze.customers_objects WHERE outcome = 'ingested'";
    assert_eq!(world.world.sql(ingested).await, ["2"], "delivered twice, read once");
    assert_eq!(world.dead_letters().await, Vec::<serde_json::Value>::new());
}
