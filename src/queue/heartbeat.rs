//! The heartbeat: messages stay hidden for as long as they are worked on.
//!
//! Losing one is harmless: it is delivered again, and the ledger knows its objects (I2).

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;

use super::{EventQueue, ReceiptHandle, Refused};
use crate::ambient::{SharedAmbient, timeout};
use crate::error::chain;

/// Requests under way at a time.
const CONCURRENT: usize = 16;

/// The messages in flight, and until when each is hidden.
#[derive(Debug)]
pub struct Heartbeat {
    visibility: Duration,
    ambient: SharedAmbient,
    hidden_until: Mutex<HashMap<ReceiptHandle, DateTime<Utc>>>,
    /// Failed requests since the last success, and the time of the first.
    failures: Mutex<Option<(u32, DateTime<Utc>)>>,
}

impl Heartbeat {
    /// Without messages; each will be hidden for `visibility` at a time.
    pub fn new(visibility: Duration, ambient: SharedAmbient) -> Self {
        let (hidden_until, failures) = (Mutex::default(), Mutex::default());
        Self { visibility, ambient, hidden_until, failures }
    }

    /// The messages in flight.
    pub fn all(&self) -> Vec<ReceiptHandle> {
        self.lock().keys().cloned().collect()
    }

    /// Whether no message is in flight.
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

    /// A message is about to be deleted or released.
    pub fn remove(&self, receipt: &ReceiptHandle) {
        self.lock().remove(receipt);
    }

    /// How long messages are hidden at a time.
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// Extends what is due, for ever: run it beside the work.
    pub fn keep_hidden(
        self: &Arc<Self>,
        queue: Arc<dyn EventQueue>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let heartbeat = self.clone();
        async move {
            loop {
                heartbeat.ambient.sleep(heartbeat.beat()).await;
                heartbeat.extend(&*queue).await;
            }
        }
    }

    /// The time between two rounds of [`Heartbeat::extend`], and the longest that a request may take.
    fn beat(&self) -> Duration {
        self.visibility / 6
    }

    /// Extends what is hidden for less than two thirds of the visibility from now. Returns how many
    /// messages were extended.
    pub async fn extend(&self, queue: &dyn EventQueue) -> usize {
        let now = self.ambient.now();
        let batch = queue.limits().batch;
        let due: Vec<_> = {
            let soon = now + self.visibility * 2 / 3;
            let hidden = self.lock();
            hidden.iter().filter(|(_, until)| **until < soon).map(|(r, _)| r.clone()).collect()
        };
        let mut extended = 0;
        for some in due.chunks(batch * CONCURRENT) {
            let requests = some.chunks(batch).map(|receipts| self.extend_some(queue, receipts));
            extended += join_all(requests).await.iter().sum::<usize>();
        }
        extended
    }

    async fn extend_some(&self, queue: &dyn EventQueue, receipts: &[ReceiptHandle]) -> usize {
        let wanted: Vec<_> = receipts.iter().map(|r| (r.clone(), self.visibility)).collect();
        // A request that hangs must not hold up the next round.
        let answer = timeout(&self.ambient, self.beat(), queue.hide(&wanted)).await;
        let refused = match answer {
            Ok(Ok(refused)) => refused,
            Ok(Err(error)) => return self.failed(chain(&error), receipts.len()),
            Err(error) => return self.failed(error.to_string(), receipts.len()),
        };
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.note(receipts, &refused);
        receipts.len() - refused.len()
    }

    fn note(&self, receipts: &[ReceiptHandle], refused: &[Refused]) {
        let until = self.ambient.now() + self.visibility;
        let mut hidden = self.lock();
        for (index, receipt) in receipts.iter().enumerate() {
            let lost = refused.iter().find(|r| r.index == index && r.final_);
            let is_refused = refused.iter().any(|r| r.index == index);
            match (lost, hidden.get_mut(receipt)) {
                (Some(lost), Some(_)) => {
                    tracing::debug!(why = lost.why, "another receiver has a message in flight");
                    hidden.remove(receipt);
                }
                (None, Some(hidden)) if !is_refused => *hidden = until,
                // Not extended: it stays due.
                _ => {}
            }
        }
    }

    fn failed(&self, error: String, messages: usize) -> usize {
        let now = self.ambient.now();
        let (attempts, since) = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let (attempts, since) = failures.unwrap_or((0, now));
            *failures.insert((attempts + 1, since))
        };
        tracing::warn!(
            error,
            messages,
            attempts,
            elapsed = ?(now - since).to_std().unwrap_or_default(),
            "could not keep messages in flight hidden; if this goes on, they are delivered again"
        );
        0
    }
}
