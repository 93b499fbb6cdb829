//! A worker on queues in memory, with a clock of its own. With tokio's clock paused, waiting takes no
//! time: the clock goes on once every task waits for it.

use std::sync::Arc;
use std::time::Duration;

use silversmith::ambient::{Ambient, ManualAmbient, SharedAmbient, timeout};
use silversmith::config::settings::{OnUnmatched, QueueSettings};
use silversmith::pipeline::{Intake, Queues};
use silversmith::queue::{EventQueue, MemoryQueue, Outgoing};
use silversmith::source::RawStore;
use silversmith::telemetry::readiness::Health;
use silversmith::worker::{self, Until, WorkerError};
use tokio::sync::oneshot;

use super::failing_store::FailingStore;
use super::{LAKE, World, at, settings_of};

/// Queues as the source; pipelines follow.
const SOURCE: &str = r#"
[source]
queue = "https://queue"
dlq = "https://dlq"
"#;

/// One pipeline of customers, newest by `updated`.
pub const CUSTOMERS: &str = r#"
[[pipeline]]
name = "customers"
source = "s3://zone/raw/**/*.csv"
[pipeline.bronze]
table = "bronze.customers"
[pipeline.silver]
table = "silver.customers"
keys = ["id"]
order_by = ["updated"]
"#;

/// Nothing takes longer on the tests' clock.
const PATIENCE: Duration = Duration::from_secs(24 * 3_600);

/// The queues that outlive a worker.
#[derive(Debug, Clone)]
pub struct MemoryQueues {
    pub events: Arc<MemoryQueue>,
    pub dlq: Arc<MemoryQueue>,
}

impl MemoryQueues {
    pub fn new(clock: &Arc<ManualAmbient>) -> Self {
        let queue = || Arc::new(MemoryQueue::new(clock.clone()));
        Self { events: queue(), dlq: queue() }
    }
}

/// What a worker's queues are replaced by: the one of events, and the one of dead letters.
pub type Ways = (Arc<dyn EventQueue>, Arc<dyn EventQueue>);

/// See the module.
pub struct QueuedWorld {
    pub world: World,
    pub queue: Arc<MemoryQueue>,
    pub dlq: Arc<MemoryQueue>,
    pub health: Health,
}

impl QueuedWorld {
    pub fn new(pipelines: &str) -> Self {
        Self::by_ways(pipelines, |queues| (queues.events, queues.dlq))
    }

    /// With ways to the queues of the test's own.
    pub fn by_ways(pipelines: &str, ways: impl FnOnce(MemoryQueues) -> Ways) -> Self {
        let world = World::new(super::CUSTOMERS);
        let queues = MemoryQueues::new(&world.ambient);
        let raw = world.raw.clone();
        let ways = ways(queues.clone());
        Self::on(world, pipelines, raw, queues, ways)
    }

    /// With a raw zone that can be made to fail.
    pub fn failing(pipelines: &str) -> (Self, Arc<FailingStore>) {
        let world = World::new(super::CUSTOMERS);
        let store = FailingStore::new(&world.raw, |_| {});
        let queues = MemoryQueues::new(&world.ambient);
        let ways: Ways = (queues.events.clone(), queues.dlq.clone());
        (Self::on(world, pipelines, store.clone(), queues, ways), store)
    }

    /// On a given lake and given queues.
    pub fn on(
        mut world: World,
        pipelines: &str,
        source: Arc<dyn RawStore>,
        queues: MemoryQueues,
        (queue, dlq): Ways,
    ) -> Self {
        let settings = QueueSettings {
            queue: "https://queue".into(),
            dlq: "https://dlq".into(),
            visibility: Duration::from_secs(60),
            on_unmatched: OnUnmatched::Skip,
        };
        let intake = Intake::Queue(Queues { settings, queue, dlq });
        world.rewire(settings_of(&format!("{LAKE}{SOURCE}{pipelines}")), source, intake);
        let health = Health::new(world.ambient.clone());
        Self { world, queue: queues.events, dlq: queues.dlq, health }
    }

    pub fn clock(&self) -> &ManualAmbient {
        &self.world.ambient
    }

    /// Puts an object and sends its event.
    pub async fn put(&self, name: &str, content: &str, minute: u32) {
        let uri = format!("s3://zone/raw/{name}");
        self.world.raw.put(&uri, content.as_bytes(), at(11, minute));
        self.send_event(&format!("raw/{name}")).await;
    }

    /// Sends the event of an object.
    pub async fn send_event(&self, key: &str) {
        self.send(&event(key)).await;
    }

    pub async fn send(&self, body: &str) {
        let message =
            Outgoing { body: body.into(), ordering_key: "g".into(), deduplication_id: "d".into() };
        assert_eq!(self.queue.send(&[message]).await.unwrap(), []);
    }

    /// Works until the queue is empty.
    pub async fn drain(&self) -> Result<(), WorkerError> {
        self.run(Until::Idle, std::future::pending()).await
    }

    /// Works while something else happens, and stops then.
    pub async fn work_while(&self, happening: impl Future<Output = ()>) {
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            stopped.await.unwrap();
        };
        // Boxed, and beside each other: unoptimised futures within futures take much of a stack.
        let happening = Box::pin(async {
            happening.await;
            stop.send(()).unwrap();
        });
        let (worked, ()) = tokio::join!(Box::pin(self.run(Until::Stopped, stopped)), happening);
        worked.unwrap();
    }

    pub async fn run(
        &self,
        until: Until,
        stop: impl Future<Output = ()>,
    ) -> Result<(), WorkerError> {
        let ambient: SharedAmbient = self.world.ambient.clone();
        let grace = Duration::from_secs(5);
        let ran = worker::run(&self.world.wired, &self.health, until, grace, stop, |_| {});
        timeout(&ambient, PATIENCE, Box::pin(ran)).await.expect("it ends")
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let began = self.clock().now();
        let mut pause = Duration::from_millis(20);
        while !so().await {
            let waited = (self.clock().now() - began).to_std().unwrap();
            assert!(waited < PATIENCE / 2, "never came true: {what}");
            self.clock().sleep(pause).await;
            pause = (pause + pause / 8).min(Duration::from_secs(5));
        }
    }

    /// Waits until every message is deleted.
    pub async fn until_empty(&self) {
        let empty = async || self.queue.describe().await.unwrap().messages() == 0;
        self.until("the queue is empty", empty).await;
    }

    /// The rows of a table, which need not exist.
    pub async fn count(&self, table: &str) -> u64 {
        if self.world.lake().find(&table.parse().unwrap()).await.unwrap().is_none() {
            return 0;
        }
        let rows = self.world.sql(&format!("SELECT count(*) FROM {table}")).await;
        rows[0].parse().unwrap()
    }

    /// The dead letters, taken out.
    pub async fn dead_letters(&self) -> Vec<serde_json::Value> {
        let mut all = Vec::new();
        loop {
            let some = self.dlq.receive(Duration::ZERO, PATIENCE / 2).await.unwrap();
            if some.is_empty() {
                return all;
            }
            all.extend(some.iter().map(|m| serde_json::from_str(&m.body).unwrap()));
        }
    }
}

/// The event of an object with this key.
pub fn event(key: &str) -> String {
    let event = serde_json::json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "eventTime": "2026-01-31T11:00:00Z",
        "s3": {"bucket": {"name": "zone"}, "object": {"key": key, "size": 9}}
    }]});
    event.to_string()
}
