//! A bus in memory: the fake.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{BusError, EventBus, Notice, Refused};

/// Keeps what was published, in order.
#[derive(Debug, Default)]
pub struct MemoryBus {
    published: Mutex<Vec<Notice>>,
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
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn probe(&self) -> Result<(), BusError> {
        Ok(())
    }

    async fn publish(&self, notices: &[Notice]) -> Result<Vec<Refused>, BusError> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.extend_from_slice(notices);
        Ok(vec![])
    }
}
