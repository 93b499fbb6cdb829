//! A raw zone with its queues, and the workers on it that die one after the other.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use silversmith::queue::{EventQueue, MemoryQueue, Outgoing};

use super::crash_points::{Merges, Remains};
use crate::support::World;
use crate::support::faulty::Fuse;
use crate::support::queued::{MemoryQueues, QueuedWorld};
use crate::support::queues::{FusedQueue, IsDurable};

/// Whether all that the message of a body brings is durable: asked with the lake, and the queue of dead letters.
pub(super) type Durable = fn(Arc<World>, Arc<MemoryQueue>, String) -> BoxFuture<'static, bool>;

/// What outlives a worker.
pub(super) struct Zone {
    pub(super) remains: Remains,
    pub(super) queues: MemoryQueues,
    /// Bodies of messages that were deleted too early.
    pub(super) early: Arc<Mutex<Vec<String>>>,
    pipeline: String,
    durable: Durable,
}

impl Zone {
    pub(super) fn new(pipeline: &str, durable: Durable) -> Self {
        let remains = Remains::of(Merges::COPY_ON_WRITE);
        let queues = MemoryQueues::new(&remains.ambient);
        let pipeline = pipeline.to_owned();
        Self { remains, queues, early: Arc::default(), pipeline, durable }
    }

    /// An object, without an event.
    pub(super) fn store(&self, key: &str, text: &str, minute: u32) {
        self.remains.raw.put(&format!("s3://zone/{key}"), text, crate::support::at(11, minute));
    }

    pub(super) async fn send(&self, body: String) {
        let (ordering_key, deduplication_id) = ("g".to_owned(), "d".to_owned());
        let message = Outgoing { body, ordering_key, deduplication_id };
        assert_eq!(self.queues.events.send(&[message]).await.unwrap(), []);
    }

    /// The lake, without a fuse.
    pub(super) fn world(&self) -> World {
        self.remains.process(&Fuse::counting())
    }

    /// A worker on what is there, behind a fuse.
    pub(super) fn worker(&self, fuse: &Arc<Fuse>) -> QueuedWorld {
        let world = self.remains.process(fuse);
        let fused = |queue: &Arc<MemoryQueue>, is_durable: IsDurable| -> Arc<dyn EventQueue> {
            FusedQueue::new(queue.clone(), fuse, is_durable, &self.early)
        };
        let (lake, dlq, durable) = (Arc::new(self.world()), self.queues.dlq.clone(), self.durable);
        let is_durable: IsDurable = Box::new(move |body| durable(lake.clone(), dlq.clone(), body));
        let ways = (
            fused(&self.queues.events, is_durable),
            fused(&self.queues.dlq, Box::new(|_| async { false }.boxed())),
        );
        let source = self.remains.raw.clone();
        QueuedWorld::on(world, &self.pipeline, source, self.queues.clone(), ways)
    }

    /// One run of a worker; dies where the fuse says.
    pub(super) async fn life(&self, fuse: &Arc<Fuse>) {
        let worker = self.worker(fuse);
        tokio::select! {
            ended = worker.drain() => ended.unwrap(),
            () = fuse.blown() => {}
        }
    }

    /// One more run, without a crash: no message was deleted too early, and none is left. The rows of each object in
    /// bronze, and those of silver.
    pub(super) async fn ended(&self, when: &str) -> (World, Vec<String>, Vec<String>) {
        self.life(&Fuse::counting()).await;
        let early = self.early.lock().unwrap().clone();
        assert!(early.is_empty(), "{when}: deleted too early: {early:?}");
        let left = self.queues.events.describe().await.unwrap().messages();
        assert_eq!(left, 0, "{when}");
        let world = self.world();
        let bronze = "SELECT _source_uri, count(*) FROM bronze.customers GROUP BY 1 ORDER BY 1";
        let bronze = world.sql(bronze).await;
        let silver = world.sql("SELECT id, name FROM silver.customers ORDER BY id").await;
        (world, bronze, silver)
    }
}
