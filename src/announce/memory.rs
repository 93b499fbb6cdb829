//! A bus in memory: the fake.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{BusError, EventBus, Notice, Refused};

/// Keeps what was published, in order.
#[derive(Debug, Default)]
pub struct MemoryBus {
    published: Mutex<Vec<Notice>>,
    deleted: AtomicBool,
}

impl MemoryBus {
    /// An empty bus.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that was published.
    pub fn published(&self) -> Vec<Notice> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Deletes the bus. What was published stays published.
    pub fn delete(&self) {
        self.deleted.store(true, Ordering::SeqCst);
    }

    fn look(&self, doing: &'static str) -> Result<(), BusError> {
        match self.deleted.load(Ordering::SeqCst) {
            false => Ok(()),
            true => {
                let source = std::io::Error::new(std::io::ErrorKind::NotFound, "it was deleted");
                Err(BusError { bus: "memory".to_owned(), doing, source })
            }
        }
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn probe(&self) -> Result<(), BusError> {
        self.look("describing it")
    }

    async fn publish(&self, notices: &[Notice]) -> Result<Vec<Refused>, BusError> {
        self.look("publishing")?;
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.extend_from_slice(notices);
        Ok(vec![])
    }
}
