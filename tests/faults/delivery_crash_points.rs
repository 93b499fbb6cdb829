//! A crash point between any two effects of a worker while a delivery waits and while it is ingested: it is one commit
//! all the same, with every object once, no message is deleted before its outcome is durable, and what is rejected with
//! it has a dead letter (I1, I2, I3).

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use serde_json::Value;
use silversmith::bronze::deliveries::DELIVERY;
use silversmith::queue::{EventQueue, Outgoing};

use super::crash_points::{Merges, Remains};
use crate::support::World;
use crate::support::faulty::Fuse;
use crate::support::queued::{CUSTOMERS, MemoryQueues, QueuedWorld, event};
use crate::support::queues::{FusedQueue, IsDurable};

/// What outlives a worker.
struct Zone {
    remains: Remains,
    queues: MemoryQueues,
    /// Bodies of messages that were deleted too early.
    early: Arc<Mutex<Vec<String>>>,
}

const MARKER: &str = "raw/1/_SUCCESS";
const BAD: &str = "raw/1/bad.csv";

fn pipeline() -> String {
    let section = "[pipeline.deliveries]\ncomplete_when = \"_SUCCESS\"\n[pipeline.bronze]";
    CUSTOMERS.replace("[pipeline.bronze]", section)
}

impl Zone {
    fn new() -> Self {
        let remains = Remains::of(Merges::COPY_ON_WRITE);
        let queues = MemoryQueues::new(&remains.ambient);
        Self { remains, queues, early: Arc::default() }
    }

    async fn put(&self, key: &str, text: &str, minute: u32) {
        self.remains.raw.put(&format!("s3://zone/{key}"), text, crate::support::at(11, minute));
        let (ordering_key, deduplication_id) = ("g".to_owned(), "d".to_owned());
        let message = Outgoing { body: event(key), ordering_key, deduplication_id };
        assert_eq!(self.queues.events.send(&[message]).await.unwrap(), []);
    }

    async fn put_first(&self) {
        self.put("raw/1/a.csv", "id,name,updated\n1,a,1\n", 0).await;
        self.put(BAD, "id\0", 0).await;
    }

    async fn put_second(&self) {
        self.put("raw/1/b.csv", "id,name,updated\n2,b,1\n3,c,1\n", 1).await;
        self.put(MARKER, "", 2).await;
    }

    fn worker(&self, fuse: &Arc<Fuse>) -> QueuedWorld {
        let world = self.remains.process(fuse);
        let fused = |queue: &Arc<_>, is_durable: IsDurable| -> Arc<dyn EventQueue> {
            let queue: Arc<dyn EventQueue> = Arc::<silversmith::queue::MemoryQueue>::clone(queue);
            FusedQueue::new(queue, fuse, is_durable, &self.early)
        };
        let ways = (
            fused(&self.queues.events, self.is_durable()),
            fused(&self.queues.dlq, Box::new(|_| async { false }.boxed())),
        );
        let source = self.remains.raw.clone();
        QueuedWorld::on(world, &pipeline(), source, self.queues.clone(), ways)
    }

    /// Whether a message may be deleted: its object is in the ledger, and of a marker, all that it brings is durable.
    fn is_durable(&self) -> IsDurable {
        let (world, dlq) =
            (Arc::new(self.remains.process(&Fuse::counting())), self.queues.dlq.clone());
        Box::new(move |body| {
            let (world, dlq) = (world.clone(), dlq.clone());
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
        })
    }

    /// One run of a worker; dies where the fuse says.
    async fn life(&self, fuse: &Arc<Fuse>) {
        let worker = self.worker(fuse);
        tokio::select! {
            ended = worker.drain() => ended.unwrap(),
            () = fuse.blown() => {}
        }
    }

    async fn ends_right(&self, when: &str) {
        self.life(&Fuse::counting()).await;
        let early = self.early.lock().unwrap().clone();
        assert!(early.is_empty(), "{when}: deleted too early: {early:?}");
        let left = self.queues.events.describe().await.unwrap().messages();
        assert_eq!(left, 0, "{when}");
        let world = self.remains.process(&Fuse::counting());
        let bronze = world
            .sql("SELECT _source_uri, count(*) FROM bronze.customers GROUP BY 1 ORDER BY 1")
            .await;
        assert_eq!(bronze, ["s3://zone/raw/1/a.csv|1", "s3://zone/raw/1/b.csv|2"], "{when}");
        let table = world.table("bronze.customers").await;
        let commits: Vec<_> = table.ancestors().collect();
        assert_eq!(commits.len(), 1, "{when}");
        assert_eq!(commits[0].summary[DELIVERY], "s3://zone/raw/1/", "{when}");
        let silver = world.sql("SELECT id, name FROM silver.customers ORDER BY id").await;
        assert_eq!(silver, ["1|a", "2|b", "3|c"], "{when}");
        assert!(self.queues.dlq.bodies().iter().any(|letter| letter.contains(BAD)), "{when}");
        assert_eq!(outcome(&world, BAD).await.as_deref(), Some("rejected (not-text)"), "{when}");
        let waiting = world.pipeline().bronze.waiting_deliveries(64 << 20).await;
        assert_eq!(waiting.unwrap(), [], "{when}");
    }
}

/// What the ledger says of an object.
async fn outcome(world: &World, key: &str) -> Option<String> {
    let table = world.lake().find(&"bronze.customers".parse().unwrap()).await.unwrap();
    let uri = format!("s3://zone/{key}");
    let view = world.pipeline().bronze.ledger().view(table.as_ref()).await.unwrap();
    view.newest(std::slice::from_ref(&uri)).await.unwrap().remove(&uri)
}

async fn crash_everywhere(done: bool) {
    let counted = Zone::new();
    counted.put_first().await;
    let first = Fuse::counting();
    counted.life(&first).await;
    counted.put_second().await;
    let second = Fuse::counting();
    counted.life(&second).await;
    counted.ends_right("no crash").await;
    let (first, second) = (first.effects(), second.effects());
    assert!(first > 10 && second > 30, "{first} and {second} effects");
    for effect in 0..first {
        let zone = Zone::new();
        zone.put_first().await;
        zone.life(&Fuse::blowing(effect, done)).await;
        zone.put_second().await;
        zone.ends_right(&format!("waiting, effect {effect} of {first}, done: {done}")).await;
    }
    for effect in 0..second {
        let zone = Zone::new();
        zone.put_first().await;
        zone.life(&Fuse::counting()).await;
        zone.put_second().await;
        zone.life(&Fuse::blowing(effect, done)).await;
        zone.ends_right(&format!("complete, effect {effect} of {second}, done: {done}")).await;
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
