//! Back-pressure: how many objects and bytes may be in hand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::queue::BATCH;

/// What is in hand, and its bounds.
#[derive(Debug)]
pub(super) struct Admission {
    max_objects: usize,
    max_bytes: u64,
    held: Mutex<Load>,
    freed: Notify,
}

#[derive(Debug, Default, Clone, Copy)]
struct Load {
    objects: usize,
    bytes: u64,
    /// Objects that receives under way may bring.
    expected: usize,
}

impl Admission {
    pub(super) fn new(max_objects: usize, max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_objects, max_bytes, held: Mutex::default(), freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no message is in hand; one may be on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().objects == 0
    }

    /// Waits until a receive may bring a whole batch of messages more, and keeps room for them.
    pub(super) async fn reserve(self: &Arc<Self>) -> Held {
        loop {
            let freed = self.freed.notified();
            {
                let mut held = self.lock();
                // One larger than the bound is taken alone: it would never come otherwise.
                let objects = held.objects + held.expected + BATCH;
                if objects <= self.max_objects && held.bytes < self.max_bytes {
                    held.expected += BATCH;
                    let load = Load { expected: BATCH, ..Load::default() };
                    return Held { hand: self.clone(), load };
                }
            }
            freed.await;
        }
    }

    /// Counts a message of so many objects and bytes as held.
    pub(super) fn hold(self: &Arc<Self>, objects: usize, bytes: u64) -> Held {
        let load = Load { objects, bytes, expected: 0 };
        let mut held = self.lock();
        held.objects += load.objects;
        held.bytes += load.bytes;
        Held { hand: self.clone(), load }
    }
}

/// A share of what is in hand, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    hand: Arc<Admission>,
    load: Load,
}

impl Drop for Held {
    fn drop(&mut self) {
        {
            let mut held = self.hand.lock();
            held.objects -= self.load.objects;
            held.bytes -= self.load.bytes;
            held.expected -= self.load.expected;
        }
        self.hand.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn no_more_is_taken_than_there_is_room_for() {
        let hand = Admission::new(25, 100);
        let first = hand.reserve().await;
        let second = hand.reserve().await;
        assert!(hand.reserve().now_or_never().is_none(), "objects");
        drop(first);
        drop(hand.reserve().await);
        drop(second);
        assert!(hand.is_empty());
        let large = hand.hold(1, 1_000);
        assert!(hand.reserve().now_or_never().is_none(), "bytes");
        drop(large);
        assert!(hand.reserve().now_or_never().is_some());
    }
}
