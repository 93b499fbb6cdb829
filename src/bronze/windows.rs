//! The memory for the windows of compressed objects that are read at a time (I7).
//!
//! It is reserved in the order of the batch, before an object is opened: an object that waits for its turn holds
//! nothing that an earlier one needs.

use std::io::{Read, Result};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::staged::PackedObject;

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
            packed.input = Box::new(Reserved { input: packed.input, _memory: reserved });
        }
        packed
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// An input, and the memory for unpacking it, which is free again once the input is dropped.
struct Reserved {
    input: Box<dyn Read + Send>,
    _memory: OwnedSemaphorePermit,
}

impl Read for Reserved {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.input.read(buffer)
    }
}
