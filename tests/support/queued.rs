//! A worker on queues in memory, with a clock that is moved by hand, and a queue that fails by a seed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use silversmith::ambient::ManualAmbient;
use silversmith::config::settings::{OnUnmatched, QueueSettings};
use silversmith::pipeline::{Intake, Queues};
use silversmith::queue::{
    Description, EventQueue, MemoryQueue, Message, Outgoing, QueueError, ReceiptHandle, Refused,
};
use silversmith::source::RawStore;
use silversmith::worker::{self, Until};

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

/// See the module.
pub struct QueuedWorld {
    pub world: World,
    pub queue: Arc<MemoryQueue>,
    pub dlq: Arc<MemoryQueue>,
}

impl QueuedWorld {
    pub fn new(pipelines: &str) -> Self {
        Self::reading(pipelines, |world| world.raw.clone(), |queue| queue)
    }

    /// With a raw zone and a way to the queue of one's own.
    pub fn reading(
        pipelines: &str,
        source: impl FnOnce(&World) -> Arc<dyn RawStore>,
        queue: impl FnOnce(Arc<dyn EventQueue>) -> Arc<dyn EventQueue>,
    ) -> Self {
        let mut world = World::new(super::CUSTOMERS);
        let events = Arc::new(MemoryQueue::new(world.ambient.clone()));
        let dlq = Arc::new(MemoryQueue::new(world.ambient.clone()));
        let queues = Queues {
            settings: QueueSettings {
                queue: "https://queue".into(),
                dlq: "https://dlq".into(),
                visibility: Duration::from_secs(60),
                on_unmatched: OnUnmatched::Skip,
            },
            queue: queue(events.clone()),
            dlq: dlq.clone(),
        };
        let source = source(&world);
        let settings = settings_of(&format!("{LAKE}{SOURCE}{pipelines}"));
        world.rewire(settings, source, Intake::Queue(queues));
        Self { world, queue: events, dlq }
    }

    pub fn clock(&self) -> &ManualAmbient {
        &self.world.ambient
    }

    /// Puts an object and announces it.
    pub async fn put(&self, name: &str, content: &str, minute: u32) {
        let uri = format!("s3://zone/raw/{name}");
        self.world.raw.put(&uri, content.as_bytes(), at(11, minute));
        self.announce(name).await;
    }

    pub async fn announce(&self, name: &str) {
        self.announce_key(&format!("raw/{name}")).await;
    }

    pub async fn announce_key(&self, key: &str) {
        let body = serde_json::json!({"Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "eventTime": "2026-01-31T11:00:00Z",
            "s3": {"bucket": {"name": "zone"}, "object": {"key": key, "size": 9}}
        }]});
        self.send(&body.to_string()).await;
    }

    pub async fn send(&self, body: &str) {
        let message = Outgoing { body: body.into(), group: "g".into(), deduplication: "d".into() };
        assert_eq!(self.queue.send(&[message]).await.unwrap(), []);
    }

    /// Works until the queue is empty.
    pub async fn work_off(&self) -> Result<(), worker::WorkerError> {
        let grace = Duration::from_secs(5);
        worker::run(&self.world.wired, Until::Idle, grace, std::future::pending(), |_| {}).await
    }

    /// Works while something else happens, and stops then.
    pub async fn work_while(&self, happening: impl Future<Output = ()>) {
        let grace = Duration::from_secs(5);
        let worked = worker::run(&self.world.wired, Until::Stopped, grace, happening, |_| {});
        tokio::time::timeout(Duration::from_secs(60), worked).await.unwrap().unwrap();
    }

    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        for _ in 0..3_000 {
            if so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never came true: {what}");
    }

    /// The dead letters, taken out.
    pub async fn dead_letters(&self) -> Vec<serde_json::Value> {
        let mut all = Vec::new();
        loop {
            let some = self.dlq.receive(Duration::ZERO, Duration::from_secs(600)).await.unwrap();
            if some.is_empty() {
                return all;
            }
            all.extend(some.iter().map(|m| serde_json::from_str(&m.body).unwrap()));
        }
    }
}

/// A queue of which requests fail, before or after they had their effect, or are refused in part.
#[derive(Debug)]
pub struct Unreliable {
    inner: Arc<dyn EventQueue>,
    random: Mutex<StdRng>,
    /// Of ten requests, so many go wrong.
    often: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Before,
    After,
    Part,
}

impl Unreliable {
    pub fn seeded(inner: Arc<dyn EventQueue>, seed: u64, often: u32) -> Arc<Self> {
        Arc::new(Self { inner, random: Mutex::new(StdRng::seed_from_u64(seed)), often })
    }

    fn fault(&self) -> Fault {
        let mut random = self.random.lock().unwrap();
        if random.random_range(0..10) >= self.often {
            return Fault::None;
        }
        [Fault::Before, Fault::After, Fault::Part][random.random_range(0..3)]
    }

    fn failed(&self, doing: &'static str) -> QueueError {
        let source = std::io::Error::other("the connection was reset");
        QueueError { queue: "unreliable".into(), doing, source }
    }
}

fn refuse_last(count: usize) -> Vec<Refused> {
    let why = "InternalError".to_owned();
    if count == 0 { vec![] } else { vec![Refused { index: count - 1, why, final_: false }] }
}

#[async_trait]
impl EventQueue for Unreliable {
    async fn receive(&self, wait: Duration, hide: Duration) -> Result<Vec<Message>, QueueError> {
        match self.fault() {
            Fault::None | Fault::Part => self.inner.receive(wait, hide).await,
            Fault::Before => Err(self.failed("receiving")),
            Fault::After => {
                self.inner.receive(wait, hide).await?;
                Err(self.failed("receiving"))
            }
        }
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError> {
        match self.fault() {
            Fault::None => self.inner.delete(receipts).await,
            Fault::Before => Err(self.failed("deleting")),
            Fault::After => {
                self.inner.delete(receipts).await?;
                Err(self.failed("deleting"))
            }
            Fault::Part => {
                self.inner.delete(&receipts[..receipts.len().saturating_sub(1)]).await?;
                Ok(refuse_last(receipts.len()))
            }
        }
    }

    async fn hide(
        &self,
        receipts: &[(ReceiptHandle, Duration)],
    ) -> Result<Vec<Refused>, QueueError> {
        match self.fault() {
            Fault::None => self.inner.hide(receipts).await,
            Fault::Before => Err(self.failed("hiding")),
            Fault::After => {
                self.inner.hide(receipts).await?;
                Err(self.failed("hiding"))
            }
            Fault::Part => {
                self.inner.hide(&receipts[..receipts.len().saturating_sub(1)]).await?;
                Ok(refuse_last(receipts.len()))
            }
        }
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError> {
        self.inner.send(messages).await
    }

    async fn describe(&self) -> Result<Description, QueueError> {
        self.inner.describe().await
    }
}
