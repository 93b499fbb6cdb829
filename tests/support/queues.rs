//! Faults of queues: one that fails by a seed, and one behind a fuse.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use silversmith::queue::{
    Description, EventQueue, Limits, Message, Outgoing, QueueError, ReceiptHandle, Refused,
};

use super::faulty::Fuse;

/// A queue whose requests fail, before or after they had their effect, or are refused in part.
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

    /// A request that is refused as a whole, not at all, or whose answer is lost.
    async fn whole<T>(
        &self,
        doing: &'static str,
        request: impl Future<Output = Result<T, QueueError>>,
    ) -> Result<T, QueueError> {
        let source = std::io::Error::other("the connection was reset");
        let lost = QueueError { queue: "unreliable".into(), doing, source };
        match self.fault() {
            Fault::None | Fault::Part => request.await,
            Fault::Before => Err(lost),
            Fault::After => {
                request.await?;
                Err(lost)
            }
        }
    }

    /// The same of a request with entries, of which the last may be refused.
    async fn entries<T, F>(
        &self,
        doing: &'static str,
        entries: &[T],
        request: impl FnOnce(Vec<T>) -> F,
    ) -> Result<Vec<Refused>, QueueError>
    where
        T: Clone,
        F: Future<Output = Result<Vec<Refused>, QueueError>>,
    {
        let part = self.random.lock().unwrap().random_range(0..30) < self.often;
        let Some((_, others)) = entries.split_last().filter(|_| part) else {
            return self.whole(doing, request(entries.to_vec())).await;
        };
        request(others.to_vec()).await?;
        let why = "InternalError".to_owned();
        Ok(vec![Refused { index: others.len(), why, final_: false }])
    }
}

#[async_trait]
impl EventQueue for Unreliable {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn receive(&self, wait: Duration, hide: Duration) -> Result<Vec<Message>, QueueError> {
        self.whole("receiving", self.inner.receive(wait, hide)).await
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError> {
        let delete = async |some: Vec<_>| self.inner.delete(&some).await;
        self.entries("deleting", receipts, delete).await
    }

    async fn hide(
        &self,
        receipts: &[(ReceiptHandle, Duration)],
    ) -> Result<Vec<Refused>, QueueError> {
        let hide = async |some: Vec<_>| self.inner.hide(&some).await;
        self.entries("hiding", receipts, hide).await
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError> {
        let send = async |some: Vec<_>| self.inner.send(&some).await;
        self.entries("sending", messages, send).await
    }

    async fn describe(&self) -> Result<Description, QueueError> {
        self.whole("describing", self.inner.describe()).await
    }
}

/// Whether a message's outcomes are durable, by its body.
pub type IsDurable = Box<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync>;

/// A queue behind a fuse. Each message that is to be deleted is looked at: its outcomes are durable by
/// then (I1).
pub struct FusedQueue {
    inner: Arc<dyn EventQueue>,
    fuse: Arc<Fuse>,
    is_durable: IsDurable,
    bodies: Mutex<HashMap<ReceiptHandle, String>>,
    /// Bodies of messages that were deleted too early.
    pub early: Arc<Mutex<Vec<String>>>,
}

impl std::fmt::Debug for FusedQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FusedQueue").finish_non_exhaustive()
    }
}

impl FusedQueue {
    pub fn new(
        inner: Arc<dyn EventQueue>,
        fuse: &Arc<Fuse>,
        is_durable: IsDurable,
        early: &Arc<Mutex<Vec<String>>>,
    ) -> Arc<Self> {
        let (fuse, bodies, early) = (fuse.clone(), Mutex::default(), early.clone());
        Arc::new(Self { inner, fuse, is_durable, bodies, early })
    }
}

#[async_trait]
impl EventQueue for FusedQueue {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn is_exact(&self) -> bool {
        self.inner.is_exact()
    }

    async fn receive(&self, wait: Duration, hide: Duration) -> Result<Vec<Message>, QueueError> {
        let messages = self.fuse.effect(self.inner.receive(wait, hide)).await?;
        let bodies = messages.iter().map(|m| (m.receipt.clone(), m.body.clone()));
        self.bodies.lock().unwrap().extend(bodies);
        Ok(messages)
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError> {
        for receipt in receipts {
            let body = self.bodies.lock().unwrap()[receipt].clone();
            if !(self.is_durable)(body.clone()).await {
                self.early.lock().unwrap().push(body);
            }
        }
        self.fuse.effect(self.inner.delete(receipts)).await
    }

    async fn hide(
        &self,
        receipts: &[(ReceiptHandle, Duration)],
    ) -> Result<Vec<Refused>, QueueError> {
        self.fuse.effect(self.inner.hide(receipts)).await
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError> {
        self.fuse.effect(self.inner.send(messages)).await
    }

    async fn describe(&self) -> Result<Description, QueueError> {
        self.fuse.alive().await;
        self.inner.describe().await
    }
}
