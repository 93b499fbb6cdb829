//! The worker on a queue: I1, the growing delay, the breaker, several pipelines, an unreliable queue.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::Value;
use silversmith::ambient::Ambient;
use silversmith::queue::EventQueue;
use silversmith::worker::Until;

use crate::support::at;
use crate::support::queued::{CUSTOMERS, QueuedWorld, event};
use crate::support::queues::Unreliable;

const ROW: &str = "id,name,updated\n1,a,2026-01-01\n";
const SECOND: Duration = Duration::from_secs(1);

fn row(id: usize) -> String {
    ROW.replace('1', &id.to_string())
}

/// A second pipeline, for objects below `other/`.
fn with_another() -> String {
    let other = CUSTOMERS
        .replace("\"customers\"", "\"other\"")
        .replace("s3://zone/raw/", "s3://zone/other/")
        .replace("bronze.customers", "bronze.other")
        .replace("silver.customers", "silver.other");
    format!("{CUSTOMERS}{other}")
}

async fn put_other(queued: &QueuedWorld, number: usize) {
    queued.world.raw.put(&format!("s3://zone/other/{number}.csv"), row(number), at(11, 3));
    queued.send_event(&format!("other/{number}.csv")).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_of_an_event_is_in_silver_and_its_message_is_deleted() {
    let queued = QueuedWorld::new(CUSTOMERS);
    for number in 0..25 {
        queued.put(&format!("{number}.csv"), &row(number), 1).await;
    }
    queued.send(r#"{"Event":"s3:TestEvent"}"#).await;
    queued.drain().await.unwrap();
    assert_eq!(queued.world.sql("SELECT count(*) FROM silver.customers").await, ["25"]);
    assert_eq!(queued.queue.describe().await.unwrap().messages(), 0);
    assert!(queued.dead_letters().await.is_empty());
}

/// An unreadable object stays away for a delay that doubles with every receive, and is dead-lettered after
/// the eighth.
#[tokio::test(start_paused = true)]
async fn an_unreadable_object_comes_again_after_a_growing_delay_and_is_dead_lettered_in_the_end() {
    let (queued, store) = QueuedWorld::failing(CUSTOMERS);
    store.locked.store(true, Ordering::SeqCst);
    queued.put("1.csv", ROW, 1).await;
    queued.work_while(queued.until_empty()).await;
    let letters = queued.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["reason"], "unreadable");
    assert_eq!(letters[0]["message"]["receive_count"], 8);
    let attempts = queued
        .world
        .sql("SELECT reason, finished_at FROM bronze.customers_objects ORDER BY finished_at")
        .await;
    let times: Vec<chrono::NaiveDateTime> = attempts
        .iter()
        .map(|attempt| attempt.strip_prefix("unreadable|").unwrap().trim_end_matches('Z'))
        .map(|time| time.parse().unwrap())
        .collect();
    let away: Vec<i64> = times.windows(2).map(|pair| (pair[1] - pair[0]).num_seconds()).collect();
    assert_eq!(away.len(), 7, "{attempts:?}");
    for (away, delay) in away.iter().zip([5, 10, 20, 40, 80, 160, 320]) {
        // Received as soon as it is back, read and committed.
        assert!((delay..delay + 5).contains(away), "{away} s instead of {delay} s: {attempts:?}");
    }
}

/// The others of its batch do not wait for an unreadable object.
#[tokio::test(start_paused = true)]
async fn an_unreadable_object_does_not_hold_up_the_others() {
    let (queued, store) = QueuedWorld::failing(CUSTOMERS);
    *store.locked_part.lock().unwrap() = "locked.csv";
    store.locked.store(true, Ordering::SeqCst);
    queued.put("1.csv", ROW, 1).await;
    queued.put("locked.csv", &row(2), 1).await;
    queued.put("3.csv", &row(3), 1).await;
    let began = queued.clock().now();
    let others = async || queued.count("bronze.customers").await == 2;
    queued.work_while(queued.until("the others are ingested", others)).await;
    assert!(queued.clock().now() - began < TimeDelta::seconds(5));
    assert_eq!(queued.queue.describe().await.unwrap().messages(), 1);
    store.locked.store(false, Ordering::SeqCst);
    queued.drain().await.unwrap();
    assert_eq!(queued.count("bronze.customers").await, 3);
}

/// While nothing can be read nothing is received: receive counts are not consumed.
#[tokio::test(start_paused = true)]
async fn the_breaker_keeps_messages_in_the_queue_during_a_shared_outage() {
    let (queued, store) = QueuedWorld::failing(CUSTOMERS);
    store.down.store(true, Ordering::SeqCst);
    queued.put("0.csv", &row(0), 1).await;
    queued
        .work_while(async {
            let failed = async || !queued.health.reasons().is_empty();
            queued.until("the first batch has failed", failed).await;
            for number in 1..40 {
                queued.put(&format!("{number}.csv"), &row(number), 1).await;
            }
            queued.clock().sleep(600 * SECOND).await;
            let described = queued.queue.describe().await.unwrap();
            assert!(described.visible >= 29, "one receive was under way: {described:?}");
            assert!(described.in_flight >= 1, "{described:?}");
            store.down.store(false, Ordering::SeqCst);
            queued.until_empty().await;
            assert!(queued.health.reasons().is_empty(), "{:?}", queued.health.reasons());
        })
        .await;
    assert!(queued.dead_letters().await.is_empty());
    assert_eq!(queued.count("bronze.customers").await, 40);
    let attempts = queued.count("bronze.customers_objects").await;
    assert_eq!(attempts, 40, "no attempt was recorded as a failure");
}

/// An object for two pipelines, one of which rejects it: one dead letter, for that pipeline alone.
#[tokio::test(start_paused = true)]
async fn each_pipeline_has_its_own_outcome_and_a_replay_goes_to_the_one_that_failed() {
    let strict = CUSTOMERS
        .replace("\"customers\"", "\"strict\"")
        .replace("bronze.customers\"", "bronze.strict\"\nschema_change = \"fail\"")
        .replace("silver.customers", "silver.strict");
    let queued = QueuedWorld::new(&format!("{CUSTOMERS}{strict}"));
    queued.put("1.csv", ROW, 1).await;
    queued.drain().await.unwrap();
    queued.put("2.csv", "id,name,updated,more\n2,b,2026-01-02,x\n", 2).await;
    queued.drain().await.unwrap();
    assert_eq!(queued.count("bronze.customers").await, 2);
    assert_eq!(queued.count("bronze.strict").await, 1);
    let letters = queued.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["pipeline"], "strict");
    queued.send(&letters[0].to_string()).await;
    queued.drain().await.unwrap();
    let attempts =
        queued.world.sql("SELECT outcome FROM bronze.strict_objects ORDER BY finished_at").await;
    assert_eq!(attempts, ["ingested", "rejected", "rejected"]);
    let other = queued.world.sql("SELECT outcome FROM bronze.customers_objects").await;
    assert_eq!(other, ["ingested", "ingested"], "the other pipeline did not get it again");
}

/// A dead letter whose pipeline was renamed goes where its object belongs. One that matches no pipeline any
/// more is dead-lettered again: it is all that is left of the object's event.
#[tokio::test(start_paused = true)]
async fn a_replayed_dead_letter_is_not_lost_when_the_configuration_has_changed() {
    let queued = QueuedWorld::new(CUSTOMERS);
    queued.world.raw.put("s3://zone/raw/1.csv", ROW, at(11, 1));
    let letter = |pipeline: &str, key: &str| {
        serde_json::json!({
            "silversmith_dead_letter": 1, "id": "x", "at": "2026-01-31T11:00:00Z",
            "reason": "schema-changed", "error": "e", "pipeline": pipeline,
            "object": {"bucket": "zone", "key": key}, "message": {"id": "m", "receive_count": 1}
        })
        .to_string()
    };
    queued.send(&letter("its old name", "raw/1.csv")).await;
    queued.send(&letter("customers", "moved/2.csv")).await;
    queued.drain().await.unwrap();
    assert_eq!(queued.count("bronze.customers").await, 1);
    let letters = queued.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (&letters[0]["reason"], &letters[0]["object"]["key"]),
        (&"unmatched".into(), &"moved/2.csv".into())
    );
}

/// However much is wrong with a message, it makes one dead letter.
#[tokio::test(start_paused = true)]
async fn a_message_full_of_nonsense_makes_one_dead_letter() {
    let queued = QueuedWorld::new(CUSTOMERS);
    let records = vec!["0"; 120_000].join(",");
    queued.send(&format!("{{\"Records\":[{records}]}}")).await;
    let huge = r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put",
        "s3":{"bucket":{"name":"zone"},"object":{"key":"raw/1.csv","size":18446744073709551615}}}]}"#;
    queued.world.raw.put("s3://zone/raw/1.csv", ROW, at(11, 1));
    queued.send(huge).await;
    queued.send(huge).await;
    queued.drain().await.unwrap();
    let letters = queued.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0]["error"].as_str().unwrap().ends_with("and 119995 more"));
    assert!(letters[0].to_string().len() <= queued.dlq.limits().body_bytes);
    assert_eq!(queued.count("bronze.customers").await, 1);
}

/// A pipeline that fails by a fault of its own, and not of the catalog or the warehouse, does not hold up
/// the others.
#[tokio::test(start_paused = true)]
async fn a_failing_pipeline_does_not_hold_up_the_others() {
    let queued = QueuedWorld::new(&with_another());
    queued.put("1.csv", ROW, 1).await;
    queued.drain().await.unwrap();
    // Another program commits to the table, and deletes a file of it.
    queued.world.set_property("bronze.customers", "owner", "someone").await;
    let table = "bronze.customers".parse().unwrap();
    let entry = queued.world.catalog.load(&table).await.unwrap().unwrap();
    queued.world.files.delete(&entry.pointer.metadata_location).await.unwrap();
    queued.put("2.csv", &row(2), 2).await;
    queued
        .work_while(async {
            let failed = async || !queued.health.reasons().is_empty();
            queued.until("the pipeline fails", failed).await;
            for number in 0..12 {
                put_other(&queued, number).await;
                queued.clock().sleep(SECOND).await;
            }
            let all = async || queued.count("bronze.other").await == 12;
            queued.until("the other goes on", all).await;
        })
        .await;
    assert!(queued.dead_letters().await.is_empty());
    assert_eq!(queued.queue.describe().await.unwrap().messages(), 1, "the first one's stays");
}

/// A pipeline whose bronze is stuck holds its share of messages and no more. Objects of another pipeline
/// that lie behind a hundred of its own are found and ingested all the same.
#[tokio::test(start_paused = true)]
async fn a_stuck_pipeline_does_not_hold_up_the_dispatch_of_others() {
    let few = CUSTOMERS
        .replace("[pipeline.bronze]", "[pipeline.batch]\nmax_objects = 5\n[pipeline.bronze]");
    let (queued, store) = QueuedWorld::failing(&with_another().replace(CUSTOMERS, &few));
    store.stuck.send_replace(Some("/raw/"));
    for number in 0..100 {
        queued.put(&format!("{number}.csv"), &row(number), 1).await;
    }
    for number in 0..10 {
        put_other(&queued, number).await;
    }
    queued
        .work_while(async {
            let began = queued.clock().now();
            let all = async || queued.count("bronze.other").await == 10;
            queued.until("the other goes on", all).await;
            let took = queued.clock().now() - began;
            assert!(took < TimeDelta::minutes(5), "{took}");
            assert_eq!(queued.count("bronze.customers").await, 0);
            // Nothing has failed, and the worker is not ready: the part that hangs is named.
            queued.clock().sleep(300 * SECOND).await;
            let reasons = queued.health.reasons();
            assert_eq!(reasons.len(), 1, "{reasons:?}");
            assert!(reasons[0].starts_with("bronze of customers: no progress for "), "{reasons:?}");
            store.stuck.send_replace(None);
            queued.until_empty().await;
            assert!(queued.health.reasons().is_empty());
        })
        .await;
    assert_eq!(queued.count("bronze.customers").await, 100);
    assert_eq!(queued.count("bronze.customers_objects").await, 100);
    assert!(queued.dead_letters().await.is_empty());
}

/// A backlog of many small batches, and messages with more objects than the lane has room for: nothing is
/// sent away while the lane works.
#[tokio::test(start_paused = true)]
async fn a_lane_that_works_keeps_its_objects() {
    let small = CUSTOMERS
        .replace("[pipeline.bronze]", "[pipeline.batch]\nmax_objects = 2\n[pipeline.bronze]");
    let queued = QueuedWorld::new(&small);
    let began = queued.clock().now();
    for number in 0..40 {
        queued.put(&format!("{number}.csv"), &row(number), 1).await;
    }
    let mut records = Vec::new();
    for number in 40..80 {
        queued.world.raw.put(&format!("s3://zone/raw/{number}.csv"), row(number), at(11, 1));
        let event: Value = serde_json::from_str(&event(&format!("raw/{number}.csv"))).unwrap();
        records.push(event["Records"][0].clone());
    }
    queued.send(&serde_json::json!({"Records": records}).to_string()).await;
    queued.drain().await.unwrap();
    assert_eq!(queued.count("bronze.customers").await, 80);
    let took = queued.clock().now() - began;
    assert!(took < TimeDelta::minutes(5), "{took}");
}

/// I1 and I2 on queues that lose requests and answers, whatever the seed.
#[tokio::test(start_paused = true)]
async fn unreliable_queues_lose_nothing_and_double_nothing() {
    for seed in 0..8 {
        let queued = QueuedWorld::by_ways(CUSTOMERS, |queues| {
            let dlq = Unreliable::seeded(queues.dlq, seed + 100, 3);
            (Unreliable::seeded(queues.events, seed, 3), dlq)
        });
        for number in 0..30 {
            queued.put(&format!("{number}.csv"), &row(number), 1).await;
        }
        queued.put("bad.csv", "id\0", 1).await;
        queued.send("no event").await;
        queued.work_while(queued.until_empty()).await;
        let rows =
            queued.world.sql("SELECT count(*), count(DISTINCT id) FROM bronze.customers").await;
        assert_eq!(rows, ["30|30"], "seed {seed}");
        let letters = queued.dead_letters().await;
        let reasons: BTreeSet<&str> = letters.iter().filter_map(|l| l["reason"].as_str()).collect();
        assert_eq!(reasons, BTreeSet::from(["not-an-event", "not-text"]), "seed {seed}");
    }
}

/// A worker that is to end once the queue is empty asks again where it cannot see whether it is.
#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_looks_again_at_a_queue_that_does_not_answer() {
    let mut ended = 0;
    for seed in 0..8 {
        let queued = QueuedWorld::by_ways(CUSTOMERS, |queues| {
            (Unreliable::seeded(queues.events, seed, 2), queues.dlq)
        });
        queued.put("1.csv", ROW, 1).await;
        // Three failures in a row end it; what it did is done.
        ended += usize::from(queued.run(Until::Done, std::future::pending()).await.is_ok());
        queued.drain().await.ok();
        queued.work_while(queued.until_empty()).await;
        assert_eq!(queued.count("bronze.customers").await, 1, "seed {seed}");
    }
    assert!(ended >= 6, "only {ended} of 8 came to their end");
}
