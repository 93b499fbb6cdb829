//! A crash point between any two effects of a worker while a delivery waits and while it is ingested: it is one commit
//! all the same, with every object once, no message is deleted before its outcome is durable, and what is rejected with
//! it has a dead letter (I1, I2, I3).

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use silversmith::bronze::deliveries::DELIVERY;
use silversmith::queue::MemoryQueue;

use super::zone::Zone;
use crate::support::World;
use crate::support::faulty::Fuse;
use crate::support::queued::{CUSTOMERS, event};

const MARKER: &str = "raw/1/_SUCCESS";
const BAD: &str = "raw/1/bad.csv";

fn zone() -> Zone {
    let section = "[pipeline.deliveries]\ncomplete_when = \"_SUCCESS\"\n[pipeline.bronze]";
    Zone::new(&CUSTOMERS.replace("[pipeline.bronze]", section), is_durable)
}

async fn put(zone: &Zone, key: &str, text: &str, minute: u32) {
    zone.store(key, text, minute);
    zone.send(event(key)).await;
}

async fn put_first(zone: &Zone) {
    put(zone, "raw/1/a.csv", "id,name,updated\n1,a,1\n", 0).await;
    put(zone, BAD, "id\0", 0).await;
}

async fn put_second(zone: &Zone) {
    put(zone, "raw/1/b.csv", "id,name,updated\n2,b,1\n3,c,1\n", 1).await;
    put(zone, MARKER, "", 2).await;
}

/// Whether a message may be deleted: its object is in the ledger, and of a marker, all that it brings is durable.
fn is_durable(world: Arc<World>, dlq: Arc<MemoryQueue>, body: String) -> BoxFuture<'static, bool> {
    async move {
        let event: Value = serde_json::from_str(&body).unwrap();
        let key = event["Records"][0]["s3"]["object"]["key"].as_str().unwrap();
        let said = outcome(&world, key).await;
        match key {
            MARKER => {
                let dead = dlq.bodies().iter().any(|letter| letter.contains(BAD));
                said.as_deref() == Some("ingested") && dead
            }
            _ => said.is_some(),
        }
    }
    .boxed()
}

async fn ends_right(zone: &Zone, when: &str) {
    let (world, bronze, silver) = zone.ended(when).await;
    assert_eq!(bronze, ["s3://zone/raw/1/a.csv|1", "s3://zone/raw/1/b.csv|2"], "{when}");
    assert_eq!(silver, ["1|a", "2|b", "3|c"], "{when}");
    let table = world.table("bronze.customers").await;
    let commits: Vec<_> = table.ancestors().collect();
    assert_eq!(commits.len(), 1, "{when}");
    assert_eq!(commits[0].summary[DELIVERY], "s3://zone/raw/1/", "{when}");
    assert!(zone.queues.dlq.bodies().iter().any(|letter| letter.contains(BAD)), "{when}");
    assert_eq!(outcome(&world, BAD).await.as_deref(), Some("rejected (not-text)"), "{when}");
    let waiting = world.pipeline().bronze.waiting_deliveries(64 << 20).await;
    assert_eq!(waiting.unwrap(), [], "{when}");
}

/// What the ledger says of an object.
async fn outcome(world: &World, key: &str) -> Option<String> {
    let table = world.lake().find(&"bronze.customers".parse().unwrap()).await.unwrap();
    let uri = format!("s3://zone/{key}");
    let view = world.pipeline().bronze.ledger().view(table.as_ref()).await.unwrap();
    view.newest(std::slice::from_ref(&uri)).await.unwrap().remove(&uri)
}

async fn crash_everywhere(done: bool) {
    let counted = zone();
    put_first(&counted).await;
    let first = Fuse::counting();
    counted.life(&first).await;
    put_second(&counted).await;
    let second = Fuse::counting();
    counted.life(&second).await;
    ends_right(&counted, "no crash").await;
    let (first, second) = (first.effects(), second.effects());
    assert!(first > 10 && second > 30, "{first} and {second} effects");
    for effect in 0..first {
        let zone = zone();
        put_first(&zone).await;
        zone.life(&Fuse::blowing(effect, done)).await;
        put_second(&zone).await;
        ends_right(&zone, &format!("waiting, effect {effect} of {first}, done: {done}")).await;
    }
    for effect in 0..second {
        let zone = zone();
        put_first(&zone).await;
        zone.life(&Fuse::counting()).await;
        put_second(&zone).await;
        zone.life(&Fuse::blowing(effect, done)).await;
        ends_right(&zone, &format!("complete, effect {effect} of {second}, done: {done}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_any_effect_of_a_delivery_is_harmless() {
    crash_everywhere(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_right_after_any_effect_of_a_delivery_is_harmless() {
    crash_everywhere(true).await;
}
