//! The memory for the windows of compressed objects, and for the blocks of Parquet, that are read at a time (I7).
//!
//! It is reserved in the order of the batch, before an object is opened: an object that waits for its turn holds
//! nothing that an earlier one needs.

use std::fmt::Debug;
use std::io::{Read, Result};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::staged::PackedObject;
use crate::format::{Input, ReadAt};

/// Bytes for each permit.
const UNIT: u64 = 1024;

/// See the module.
pub(super) struct Windows {
    free: Arc<Semaphore>,
    /// All of it, in permits.
    whole: u32,
}

impl Windows {
    /// This many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        let whole = permits(bytes as u64).max(1);
        Self { free: Arc::new(Semaphore::new(whole as usize)), whole }
    }

    /// Waits until there is memory for an object, and reserves it for as long as the object is read. One that takes
    /// more than all of it is read alone.
    pub(super) async fn reserve(&self, mut packed: PackedObject) -> PackedObject {
        let permits = permits(packed.memory).min(self.whole);
        if let Ok(reserved) = self.free.clone().acquire_many_owned(permits).await {
            let (memory, Input { bytes, at, size }) = (Arc::new(reserved), packed.input);
            let bytes = Box::new(Reserved { input: bytes, _memory: memory.clone() });
            let at = Arc::new(Reserved { input: at, _memory: memory });
            packed.input = Input { bytes, at, size };
        }
        packed
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// An input, and the memory for unpacking it, which is free again once the input is dropped.
struct Reserved<I> {
    input: I,
    _memory: Arc<OwnedSemaphorePermit>,
}

impl<I> Debug for Reserved<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserved").finish_non_exhaustive()
    }
}

impl Read for Reserved<Box<dyn Read + Send>> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.input.read(buffer)
    }
}

impl ReadAt for Reserved<Arc<dyn ReadAt>> {
    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.input.read_at(offset, length)
    }
}
