//! Checkpoints in memory: the fake.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{CheckpointError, CheckpointStore, Put, Version};

/// See the module. Versions count up.
#[derive(Debug, Default)]
pub struct MemoryCheckpoints {
    values: Mutex<HashMap<String, (Vec<u8>, u64)>>,
}

impl MemoryCheckpoints {
    /// No checkpoints.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl CheckpointStore for MemoryCheckpoints {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, CheckpointError> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(values.get(key).map(|(value, version)| (value.clone(), Version(version.to_string()))))
    }

    async fn put(
        &self,
        key: &str,
        value: &[u8],
        expected: Option<&Version>,
    ) -> Result<Put, CheckpointError> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let current = values.get(key).map(|(_, version)| *version);
        if current.map(|v| v.to_string()) != expected.map(|v| v.0.clone()) {
            return Ok(Put::Conflict);
        }
        let next = current.unwrap_or(0) + 1;
        values.insert(key.to_owned(), (value.to_vec(), next));
        Ok(Put::Stored(Version(next.to_string())))
    }
}
