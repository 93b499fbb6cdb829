//! A crash point between any two effects of a worker on a queue, each followed by a restart that ends right:
//! every object is ingested once, and no message is deleted before its outcomes are durable (I1, I2).
//!
//! The run is first counted, then repeated once for every effect, dying before it and right after it; receives,
//! deletes, releases and dead letters are effects like those on catalog, files and checkpoints.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use silversmith::queue::MemoryQueue;

use super::zone::Zone;
use crate::support::World;
use crate::support::faulty::Fuse;
use crate::support::queued::{CUSTOMERS, event};

const NO_EVENT: &str = "no event";

/// Three objects, one of them announced twice and one that cannot be ingested, and a message that is no event.
async fn zone() -> Zone {
    let zone = Zone::new(CUSTOMERS, is_durable);
    for (name, text) in [
        ("1.csv", "id,name,updated\n1,a,1\n2,b,1\n"),
        ("2.csv", "id,name,updated\n2,c,2\n3,d,2\n"),
        ("bad.csv", "id\0"),
    ] {
        zone.store(&format!("raw/{name}"), text, 0);
    }
    let bodies = ["1.csv", "2.csv", "1.csv", "bad.csv"].map(|name| event(&format!("raw/{name}")));
    for body in bodies.into_iter().chain([NO_EVENT.to_owned()]) {
        zone.send(body).await;
    }
    zone
}

/// Whether the objects of a message are in bronze or dead-lettered, by its body.
fn is_durable(world: Arc<World>, dlq: Arc<MemoryQueue>, body: String) -> BoxFuture<'static, bool> {
    async move {
        let letters = dlq.bodies();
        let Ok(event) = serde_json::from_str::<Value>(&body) else {
            return letters.iter().any(|letter| letter.contains(NO_EVENT));
        };
        let key = event["Records"][0]["s3"]["object"]["key"].as_str().unwrap();
        let dead = letters.iter().any(|letter| letter.contains(key));
        dead || uris(&world).await.contains(&format!("s3://zone/{key}"))
    }
    .boxed()
}

async fn ends_right(zone: &Zone, when: &str) {
    let (_, bronze, silver) = zone.ended(when).await;
    assert_eq!(bronze, ["s3://zone/raw/1.csv|2", "s3://zone/raw/2.csv|2"], "{when}");
    assert_eq!(silver, ["1|a", "2|c", "3|d"], "{when}");
    // At least one dead letter for each: one whose answer was lost is sent again.
    let letters = zone.queues.dlq.bodies();
    let letters = letters.iter().map(|body| serde_json::from_str::<Value>(body).unwrap());
    let reasons: BTreeSet<String> = letters.map(|l| l["reason"].to_string()).collect();
    assert_eq!(reasons, BTreeSet::from(["\"not-an-event\"", "\"not-text\""].map(String::from)));
}

async fn uris(world: &World) -> BTreeSet<String> {
    let table = "bronze.customers".parse().unwrap();
    if world.lake().find(&table).await.unwrap().is_none() {
        return BTreeSet::new();
    }
    world.sql("SELECT DISTINCT _source_uri FROM bronze.customers").await.into_iter().collect()
}

/// Dies at each effect of a run, before it or right after it.
async fn crash_everywhere(done: bool) {
    let counted = zone().await;
    let fuse = Fuse::counting();
    counted.life(&fuse).await;
    ends_right(&counted, "no crash").await;
    let effects = fuse.effects();
    assert!(effects > 30, "{effects} effects");
    for effect in 0..effects {
        let zone = zone().await;
        zone.life(&Fuse::blowing(effect, done)).await;
        ends_right(&zone, &format!("effect {effect} of {effects}, done: {done}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_a_worker_on_a_queue_before_any_effect_is_harmless() {
    crash_everywhere(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_a_worker_on_a_queue_right_after_any_effect_is_harmless() {
    crash_everywhere(true).await;
}

/// The watch that `is_durable` keeps sees a message that is deleted too early.
#[tokio::test(start_paused = true)]
async fn a_message_deleted_before_its_outcome_is_durable_is_noticed() {
    let zone = zone().await;
    let worker = zone.worker(&Fuse::counting());
    let silversmith::pipeline::Intake::Queue(queues) = &worker.world.wired.intake else { panic!() };
    let received = queues.queue.receive(Duration::ZERO, Duration::from_secs(60)).await.unwrap();
    queues.queue.delete(std::slice::from_ref(&received[0].receipt)).await.unwrap();
    assert_eq!(*zone.early.lock().unwrap(), [event("raw/1.csv")]);
}
