//! A queue in memory: the fake. Visibility goes by the clock that is passed in.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::{
    BATCH, Description, EventQueue, Message, Outgoing, QueueError, ReceiptHandle, Refused,
};
use crate::ambient::SharedAmbient;

/// How often a receive that waits looks again.
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct MemoryQueue {
    ambient: SharedAmbient,
    stored: Mutex<VecDeque<Stored>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Stored {
    id: String,
    body: String,
    sent_at: DateTime<Utc>,
    hidden_until: DateTime<Utc>,
    receive_count: u32,
}

impl Stored {
    fn receipt(&self) -> ReceiptHandle {
        ReceiptHandle(format!("{}#{}", self.id, self.receive_count))
    }
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new(ambient: SharedAmbient) -> Self {
        Self { ambient, stored: Mutex::default(), arrived: Notify::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Stored>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, hide: Duration) -> Vec<Message> {
        let now = self.ambient.now();
        let mut stored = self.lock();
        let visible = stored.iter_mut().filter(|m| m.hidden_until <= now).take(BATCH);
        visible
            .map(|message| {
                message.hidden_until = now + hide;
                message.receive_count += 1;
                Message {
                    id: message.id.clone(),
                    receipt: message.receipt(),
                    body: message.body.clone(),
                    receive_count: message.receive_count,
                    sent_at: Some(message.sent_at),
                }
            })
            .collect()
    }
}

#[async_trait]
impl EventQueue for MemoryQueue {
    fn is_exact(&self) -> bool {
        true
    }

    async fn receive(&self, wait: Duration, hide: Duration) -> Result<Vec<Message>, QueueError> {
        let mut left = wait;
        loop {
            let arrived = self.arrived.notified();
            let messages = self.take(hide);
            if !messages.is_empty() || left.is_zero() {
                return Ok(messages);
            }
            // The clock that is passed in tells nobody when it is moved: so it is looked at.
            let pause = left.min(LOOK);
            drop(tokio::time::timeout(pause, arrived).await);
            left -= pause;
        }
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError> {
        self.lock().retain(|message| !receipts.contains(&message.receipt()));
        Ok(vec![])
    }

    async fn hide(
        &self,
        receipts: &[(ReceiptHandle, Duration)],
    ) -> Result<Vec<Refused>, QueueError> {
        let now = self.ambient.now();
        let mut stored = self.lock();
        let mut refused = Vec::new();
        for (index, (receipt, time)) in receipts.iter().enumerate() {
            let held = |m: &&mut Stored| m.receipt() == *receipt && m.hidden_until > now;
            match stored.iter_mut().find(held) {
                Some(message) => message.hidden_until = now + *time,
                None => refused.push(Refused {
                    index,
                    why: "it is not hidden under this receipt".to_owned(),
                    final_: true,
                }),
            }
        }
        self.arrived.notify_waiters();
        Ok(refused)
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError> {
        let now = self.ambient.now();
        let sent = messages.iter().map(|message| Stored {
            id: self.ambient.uuid().to_string(),
            body: message.body.clone(),
            sent_at: now,
            hidden_until: now,
            receive_count: 0,
        });
        self.lock().extend(sent.collect::<Vec<_>>());
        self.arrived.notify_waiters();
        Ok(vec![])
    }

    async fn describe(&self) -> Result<Description, QueueError> {
        let now = self.ambient.now();
        let stored = self.lock();
        let in_flight = stored.iter().filter(|m| m.hidden_until > now).count() as u64;
        let visible = stored.len() as u64 - in_flight;
        Ok(Description { visible, in_flight, delayed: 0, max_receive_count: None })
    }
}
