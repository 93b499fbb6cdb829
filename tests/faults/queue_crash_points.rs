//! A crash point between any two effects of a worker on a queue, each followed by a restart that ends right:
//! every object is ingested once, and no message is deleted before its outcomes are durable (I1, I2).
//!
//! The run is first counted, then repeated once for every effect, dying before it and right after it; receives,
//! deletes, releases and dead letters are effects like those on catalog, files and checkpoints.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use silversmith::queue::{EventQueue, Outgoing};

use super::crash_points::{Merges, Remains};
use crate::support::World;
use crate::support::faulty::Fuse;
use crate::support::queued::{CUSTOMERS, MemoryQueues, QueuedWorld, event};
use crate::support::queues::{FusedQueue, IsDurable};

/// What outlives a worker, and what its messages say.
struct Zone {
    remains: Remains,
    queues: MemoryQueues,
    /// Bodies of messages that were deleted too early.
    early: Arc<Mutex<Vec<String>>>,
}

const NO_EVENT: &str = "no event";

impl Zone {
    async fn new() -> Self {
        let remains = Remains::of(Merges::COPY_ON_WRITE);
        let queues = MemoryQueues::new(&remains.ambient);
        for (name, text) in [
            ("1.csv", "id,name,updated\n1,a,1\n2,b,1\n"),
            ("2.csv", "id,name,updated\n2,c,2\n3,d,2\n"),
            ("bad.csv", "id\0"),
        ] {
            remains.raw.put(&format!("s3://zone/raw/{name}"), text, crate::support::at(11, 0));
        }
        let bodies =
            ["1.csv", "2.csv", "1.csv", "bad.csv"].map(|name| event(&format!("raw/{name}")));
        for body in bodies.into_iter().chain([NO_EVENT.to_owned()]) {
            let (ordering_key, deduplication_id) = ("g".to_owned(), "d".to_owned());
            let message = Outgoing { body, ordering_key, deduplication_id };
            assert_eq!(queues.events.send(&[message]).await.unwrap(), []);
        }
        Self { remains, queues, early: Arc::default() }
    }

    /// The lake, without a fuse.
    fn world(&self) -> World {
        self.remains.process(&Fuse::counting())
    }

    /// A worker on what is there, behind a fuse.
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
        QueuedWorld::on(world, CUSTOMERS, source, self.queues.clone(), ways)
    }

    /// Whether the objects of a message are in bronze or dead-lettered, by its body.
    fn is_durable(&self) -> IsDurable {
        let (world, dlq) = (Arc::new(self.world()), self.queues.dlq.clone());
        Box::new(move |body| {
            let (world, dlq) = (world.clone(), dlq.clone());
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
        let world = self.world();
        let bronze = world
            .sql("SELECT _source_uri, count(*) FROM bronze.customers GROUP BY 1 ORDER BY 1")
            .await;
        assert_eq!(bronze, ["s3://zone/raw/1.csv|2", "s3://zone/raw/2.csv|2"], "{when}");
        let silver = world.sql("SELECT id, name FROM silver.customers ORDER BY id").await;
        assert_eq!(silver, ["1|a", "2|c", "3|d"], "{when}");
        // At least one dead letter for each: one whose answer was lost is sent again.
        let letters = self.queues.dlq.bodies();
        let letters = letters.iter().map(|body| serde_json::from_str::<Value>(body).unwrap());
        let reasons: BTreeSet<String> = letters.map(|l| l["reason"].to_string()).collect();
        assert_eq!(reasons, BTreeSet::from(["\"not-an-event\"", "\"not-text\""].map(String::from)));
    }
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
    let counted = Zone::new().await;
    let fuse = Fuse::counting();
    counted.life(&fuse).await;
    counted.ends_right("no crash").await;
    let effects = fuse.effects();
    assert!(effects > 30, "{effects} effects");
    for effect in 0..effects {
        let zone = Zone::new().await;
        zone.life(&Fuse::blowing(effect, done)).await;
        zone.ends_right(&format!("effect {effect} of {effects}, done: {done}")).await;
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
    let zone = Zone::new().await;
    let worker = zone.worker(&Fuse::counting());
    let silversmith::pipeline::Intake::Queue(queues) = &worker.world.wired.intake else { panic!() };
    let received = queues.queue.receive(Duration::ZERO, Duration::from_secs(60)).await.unwrap();
    queues.queue.delete(std::slice::from_ref(&received[0].receipt)).await.unwrap();
    assert_eq!(*zone.early.lock().unwrap(), [event("raw/1.csv")]);
}
