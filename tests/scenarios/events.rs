//! The worker on a queue: I1, the growing delay, the breaker, several pipelines, an unreliable queue.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use silversmith::queue::EventQueue;
use silversmith::source::RawStore;

use crate::support::failing_store::FailingStore;
use crate::support::queued::{CUSTOMERS, QueuedWorld, Unreliable};

const ROW: &str = "id,name,updated\n1,a,2026-01-01\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_object_is_in_silver_and_its_message_gone() {
    let queued = QueuedWorld::new(CUSTOMERS);
    for number in 0..25 {
        queued.put(&format!("{number}.csv"), &ROW.replace('1', &number.to_string()), 1).await;
    }
    queued.send(r#"{"Event":"s3:TestEvent"}"#).await;
    queued.work_off().await.unwrap();
    assert_eq!(queued.world.sql("SELECT count(*) FROM silver.customers").await, ["25"]);
    assert_eq!(queued.queue.describe().await.unwrap().messages(), 0);
    assert!(queued.dead_letters().await.is_empty());
}

/// An object that cannot be read is given back with a growing delay, eight times, and then told. The
/// others of its batch do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_object_comes_again_after_a_growing_delay_and_is_told_in_the_end() {
    let locked = std::sync::Mutex::new(None);
    let queued = QueuedWorld::reading(
        CUSTOMERS,
        |world| {
            let store = FailingStore::new(&world.raw, |_| {});
            *locked.lock().unwrap() = Some(store.clone());
            store
        },
        |queue| queue,
    );
    let store = locked.lock().unwrap().clone().unwrap();
    store.locked.store(true, Ordering::SeqCst);
    queued.put("1.csv", ROW, 1).await;
    queued
        .work_while(async {
            for (place, delay) in [5, 10, 20, 40, 80, 160, 320].into_iter().enumerate() {
                let away = async || {
                    let described = queued.queue.describe().await.unwrap();
                    (described.visible, described.in_flight) == (0, 1)
                };
                queued.until("it is away", away).await;
                // Given back: it is no longer kept hidden by the heartbeat, and there after its delay.
                queued
                    .until("it comes back", async || {
                        queued.clock().advance(Duration::from_millis(delay * 100));
                        let rows = outcomes(&queued).await;
                        rows.len() > place + 1
                    })
                    .await;
            }
            queued
                .until("it is told", async || {
                    queued.queue.describe().await.unwrap().messages() == 0
                })
                .await;
        })
        .await;
    let letters = queued.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["reason"], "unreadable");
    assert_eq!(letters[0]["message"]["receive_count"], 8);
    assert!(outcomes(&queued).await.iter().all(|row| row == "rejected|unreadable"));
}

async fn outcomes(queued: &QueuedWorld) -> Vec<String> {
    let table = "bronze.customers_objects".parse().unwrap();
    if queued.world.lake().find(&table).await.unwrap().is_none() {
        return vec![];
    }
    queued.world.sql("SELECT outcome, reason FROM bronze.customers_objects").await
}

/// While nothing can be read nothing is received: receive counts are not used up.
#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_keeps_messages_in_the_queue_while_trouble_is_shared() {
    let down = std::sync::Mutex::new(None);
    let queued = QueuedWorld::reading(
        CUSTOMERS,
        |world| {
            let store = FailingStore::new(&world.raw, |_| {});
            *down.lock().unwrap() = Some(store.clone());
            store as std::sync::Arc<dyn RawStore>
        },
        |queue| queue,
    );
    let store = down.lock().unwrap().clone().unwrap();
    store.down.store(true, Ordering::SeqCst);
    queued.put("0.csv", &ROW.replace('1', "0"), 1).await;
    queued
        .work_while(async {
            let in_flight = async || queued.queue.describe().await.unwrap().in_flight == 1;
            queued.until("the first is in hand", in_flight).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            for number in 1..40 {
                let text = ROW.replace('1', &number.to_string());
                queued.put(&format!("{number}.csv"), &text, 1).await;
            }
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let described = queued.queue.describe().await.unwrap();
            assert!(described.visible >= 19, "receives that were under way aside: {described:?}");
            store.down.store(false, Ordering::SeqCst);
            let empty = async || queued.queue.describe().await.unwrap().messages() == 0;
            queued.until("all is worked off", empty).await;
        })
        .await;
    assert!(queued.dead_letters().await.is_empty());
    assert_eq!(queued.world.sql("SELECT count(*) FROM bronze.customers").await, ["40"]);
    let messages = queued.world.sql("SELECT count(*) FROM bronze.customers_objects").await;
    assert_eq!(messages, ["40"], "no attempt was recorded as a failure");
}

/// An object for two pipelines, one of which refuses it: one dead letter, for that pipeline alone.
#[tokio::test(flavor = "multi_thread")]
async fn each_pipeline_has_its_own_outcome_and_a_replay_goes_to_the_one_that_failed() {
    let strict = CUSTOMERS
        .replace("\"customers\"", "\"strict\"")
        .replace("bronze.customers\"", "bronze.strict\"\nschema_change = \"fail\"")
        .replace("silver.customers", "silver.strict");
    let queued = QueuedWorld::new(&format!("{CUSTOMERS}{strict}"));
    queued.put("1.csv", ROW, 1).await;
    queued.work_off().await.unwrap();
    queued.put("2.csv", "id,name,updated,more\n2,b,2026-01-02,x\n", 2).await;
    queued.work_off().await.unwrap();
    assert_eq!(queued.world.sql("SELECT count(*) FROM bronze.customers").await, ["2"]);
    assert_eq!(queued.world.sql("SELECT count(*) FROM bronze.strict").await, ["1"]);
    let letters = queued.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["pipeline"], "strict");
    queued.send(&letters[0].to_string()).await;
    queued.work_off().await.unwrap();
    let attempts =
        queued.world.sql("SELECT outcome FROM bronze.strict_objects ORDER BY finished_at").await;
    assert_eq!(attempts, ["ingested", "rejected", "rejected"]);
    let other = queued.world.sql("SELECT outcome FROM bronze.customers_objects").await;
    assert_eq!(other, ["ingested", "ingested"], "it was not asked again");
}

/// A dead letter whose pipeline has another name by now goes where its object belongs, and one that
/// belongs nowhere any more is told again: nobody else knows of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_letter_is_not_lost_when_the_configuration_has_moved_on() {
    let queued = QueuedWorld::new(CUSTOMERS);
    queued.world.raw.put("s3://zone/raw/1.csv", ROW, crate::support::at(11, 1));
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
    queued.work_off().await.unwrap();
    assert_eq!(queued.world.sql("SELECT count(*) FROM bronze.customers").await, ["1"]);
    let letters = queued.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (&letters[0]["reason"], &letters[0]["object"]["key"]),
        (&"unmatched".into(), &"moved/2.csv".into())
    );
}

/// However much is wrong with a message, it makes one dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_full_of_nonsense_makes_one_small_letter() {
    let queued = QueuedWorld::new(CUSTOMERS);
    let records = vec!["0"; 120_000].join(",");
    queued.send(&format!("{{\"Records\":[{records}]}}")).await;
    let huge = r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put",
        "s3":{"bucket":{"name":"zone"},"object":{"key":"raw/1.csv","size":18446744073709551615}}}]}"#;
    queued.world.raw.put("s3://zone/raw/1.csv", ROW, crate::support::at(11, 1));
    queued.send(huge).await;
    queued.send(huge).await;
    queued.work_off().await.unwrap();
    let letters = queued.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0]["error"].as_str().unwrap().ends_with("and 119995 more"));
    assert!(letters[0].to_string().len() < 250 * 1024);
    assert_eq!(queued.world.sql("SELECT count(*) FROM bronze.customers").await, ["1"]);
}

/// A pipeline in trouble of its own, and not of the catalog or the warehouse, does not hold up the others.
#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_one_pipeline_does_not_hold_up_the_others() {
    let other = CUSTOMERS
        .replace("\"customers\"", "\"other\"")
        .replace("s3://zone/raw/", "s3://zone/other/")
        .replace("bronze.customers", "bronze.other")
        .replace("silver.customers", "silver.other");
    let queued = QueuedWorld::new(&format!("{CUSTOMERS}{other}"));
    queued.put("1.csv", ROW, 1).await;
    queued.work_off().await.unwrap();
    // Somebody drops a file of the table: that is nobody else's trouble.
    let table = queued.world.table("bronze.customers").await;
    queued.world.files.delete(table.metadata_location()).await.unwrap();
    queued.put("2.csv", ROW, 2).await;
    queued
        .work_while(async {
            let mut number = 0;
            queued
                .until("the other goes on", async || {
                    number += 1;
                    let uri = format!("s3://zone/other/{number}.csv");
                    queued.world.raw.put(&uri, ROW, crate::support::at(11, 3));
                    queued.announce_key(&format!("other/{number}.csv")).await;
                    let objects = "bronze.other".parse().unwrap();
                    let there = queued.world.lake().find(&objects).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    there.and_then(|t| t.current()).is_some_and(|s| s.sequence.0 > 2) && number > 60
                })
                .await;
        })
        .await;
    assert!(queued.dead_letters().await.is_empty());
}

/// I1 and I2 on a queue that loses requests and answers, whatever the seed.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreliable_queue_loses_nothing_and_doubles_nothing() {
    for seed in 0..8 {
        let queued = QueuedWorld::reading(
            CUSTOMERS,
            |world| world.raw.clone(),
            |queue| Unreliable::seeded(queue, seed, 3),
        );
        for number in 0..30 {
            let text = ROW.replace('1', &number.to_string());
            queued.put(&format!("{number}.csv"), &text, 1).await;
        }
        queued.send("no event").await;
        queued
            .work_while(async {
                queued
                    .until("all is worked off", async || {
                        // What a lost answer has hidden comes back in time.
                        queued.clock().advance(Duration::from_secs(7));
                        queued.queue.describe().await.unwrap().messages() == 0
                    })
                    .await;
            })
            .await;
        let rows =
            queued.world.sql("SELECT count(*), count(DISTINCT id) FROM bronze.customers").await;
        assert_eq!(rows, ["30|30"], "seed {seed}");
        let letters = queued.dead_letters().await;
        let reasons: BTreeSet<&str> = letters.iter().filter_map(|l| l["reason"].as_str()).collect();
        assert_eq!(reasons, BTreeSet::from(["not-an-event"]), "seed {seed}");
    }
}
