//! The heartbeat: messages stay hidden for as long as they are worked on.
//!
//! Losing one is harmless: it comes again, and the ledger knows its objects (I2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio::task::JoinHandle;

use super::{BATCH, EventQueue, ReceiptHandle};
use crate::ambient::SharedAmbient;

/// Requests under way at a time.
const AT_ONCE: usize = 16;

/// The messages in hand, and until when each is hidden.
#[derive(Debug)]
pub struct Heartbeat {
    visibility: Duration,
    ambient: SharedAmbient,
    hidden_until: Mutex<HashMap<ReceiptHandle, DateTime<Utc>>>,
}

impl Heartbeat {
    /// None, each to be hidden for `visibility` at a time.
    pub fn new(visibility: Duration, ambient: SharedAmbient) -> Self {
        Self { visibility, ambient, hidden_until: Mutex::default() }
    }

    /// All of them.
    pub fn all(&self) -> Vec<ReceiptHandle> {
        self.lock().keys().cloned().collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ReceiptHandle, DateTime<Utc>>> {
        self.hidden_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message was received just now.
    pub fn add(&self, receipt: &ReceiptHandle) {
        let until = self.ambient.now() + self.visibility;
        self.lock().insert(receipt.clone(), until);
    }

    /// A message is about to be deleted or given back.
    pub fn remove(&self, receipt: &ReceiptHandle) {
        self.lock().remove(receipt);
    }

    /// How long messages are hidden at a time.
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// Starts the heartbeat: it goes on until it is aborted.
    pub fn keep_hidden(self: &Arc<Self>, queue: Arc<dyn EventQueue>) -> JoinHandle<()> {
        let held = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(held.beat()).await;
                held.extend(&*queue).await;
            }
        })
    }

    /// How long a round of [`Heartbeat::extend`] may be put off.
    fn beat(&self) -> Duration {
        self.visibility / 6
    }

    /// Extends what is hidden for less than two thirds of the visibility from now. Returns how many
    /// messages were extended.
    pub async fn extend(&self, queue: &dyn EventQueue) -> usize {
        let now = self.ambient.now();
        let due: Vec<_> = {
            let soon = now + self.visibility * 2 / 3;
            let held = self.lock();
            held.iter().filter(|(_, until)| **until < soon).map(|(r, _)| r.clone()).collect()
        };
        let mut extended = 0;
        for share in due.chunks(BATCH * AT_ONCE) {
            let tens = share.chunks(BATCH).map(|some| self.extend_some(queue, some));
            extended += join_all(tens).await.iter().sum::<usize>();
        }
        extended
    }

    async fn extend_some(&self, queue: &dyn EventQueue, some: &[ReceiptHandle]) -> usize {
        let wanted: Vec<_> = some.iter().map(|r| (r.clone(), self.visibility)).collect();
        // One that hangs must not hold up the next round.
        let refused = match tokio::time::timeout(self.beat(), queue.hide(&wanted)).await {
            Ok(Ok(refused)) => refused,
            failed => {
                let error = match failed {
                    Ok(Err(error)) => crate::error::chain(&error),
                    _ => "no answer".to_owned(),
                };
                tracing::warn!(
                    error,
                    messages = some.len(),
                    "messages in hand could not be kept hidden; if this goes on, they are delivered again"
                );
                return 0;
            }
        };
        let until = self.ambient.now() + self.visibility;
        let mut held = self.lock();
        for (index, receipt) in some.iter().enumerate() {
            let lost = refused.iter().find(|r| r.index == index && r.final_);
            match (lost, held.get_mut(receipt)) {
                (None, Some(hidden)) => *hidden = until,
                (Some(lost), Some(_)) => {
                    tracing::debug!(why = lost.why, "a message in hand is no longer ours");
                    held.remove(receipt);
                }
                (_, None) => {}
            }
        }
        some.len() - refused.len()
    }
}
