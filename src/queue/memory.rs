//! A queue in memory: the fake. Time goes by the clock that is passed in.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::{
    Description, EventQueue, Limits, Message, MessageId, Outgoing, QueueError, ReceiptHandle,
    Refused,
};
use crate::ambient::SharedAmbient;

/// What the fake allows by default: as little as the strictest queue.
const LIMITS: Limits = Limits {
    batch: 10,
    in_flight: 20_000,
    longest_hidden: Duration::from_secs(12 * 3_600),
    body_bytes: 256 * 1024,
};

/// See the module.
#[derive(Debug)]
pub struct MemoryQueue {
    ambient: SharedAmbient,
    limits: Limits,
    stored: Mutex<VecDeque<Stored>>,
    changed: Notify,
}

#[derive(Debug)]
struct Stored {
    id: MessageId,
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
        Self::with(ambient, LIMITS)
    }

    /// An empty queue with limits of its own.
    pub fn with(ambient: SharedAmbient, limits: Limits) -> Self {
        Self { ambient, limits, stored: Mutex::default(), changed: Notify::new() }
    }

    /// The bodies of all messages, hidden ones included.
    pub fn bodies(&self) -> Vec<String> {
        self.lock().iter().map(|message| message.body.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, hide: Duration) -> Vec<Message> {
        let now = self.ambient.now();
        let mut stored = self.lock();
        let in_flight = stored.iter().filter(|message| message.hidden_until > now).count();
        let room = self.limits.in_flight.saturating_sub(in_flight).min(self.limits.batch);
        let visible = stored.iter_mut().filter(|message| message.hidden_until <= now).take(room);
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

    /// How long until another message becomes visible by itself.
    fn next_visible(&self) -> Option<Duration> {
        let now = self.ambient.now();
        let hidden = |message: &Stored| (message.hidden_until - now).to_std().ok();
        self.lock().iter().filter_map(hidden).filter(|left| !left.is_zero()).min()
    }
}

fn refused(index: usize, why: &str) -> Refused {
    Refused { index, why: why.to_owned(), final_: true }
}

#[async_trait]
impl EventQueue for MemoryQueue {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn is_exact(&self) -> bool {
        true
    }

    async fn receive(&self, wait: Duration, hide: Duration) -> Result<Vec<Message>, QueueError> {
        let deadline = self.ambient.now() + wait;
        loop {
            let changed = self.changed.notified();
            let messages = self.take(hide);
            let left = (deadline - self.ambient.now()).to_std().unwrap_or_default();
            if !messages.is_empty() || left.is_zero() {
                return Ok(messages);
            }
            let pause = self.next_visible().unwrap_or(left).min(left);
            tokio::select! {
                () = changed => {}
                () = self.ambient.sleep(pause) => {}
            }
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
        let mut all = Vec::new();
        {
            let mut stored = self.lock();
            for (index, (receipt, time)) in receipts.iter().enumerate() {
                let hidden = |m: &&mut Stored| m.receipt() == *receipt && m.hidden_until > now;
                match stored.iter_mut().find(hidden) {
                    _ if *time > self.limits.longest_hidden => {
                        all.push(refused(index, "that is longer than a message may be hidden"));
                    }
                    Some(message) => message.hidden_until = now + *time,
                    None => all.push(refused(index, "it is not hidden under this receipt")),
                }
            }
        }
        self.changed.notify_waiters();
        Ok(all)
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError> {
        let now = self.ambient.now();
        let mut all = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            if message.body.len() > self.limits.body_bytes {
                all.push(refused(index, "the body is too long"));
                continue;
            }
            self.lock().push_back(Stored {
                id: MessageId(self.ambient.uuid().to_string()),
                body: message.body.clone(),
                sent_at: now,
                hidden_until: now,
                receive_count: 0,
            });
        }
        self.changed.notify_waiters();
        Ok(all)
    }

    async fn describe(&self) -> Result<Description, QueueError> {
        let now = self.ambient.now();
        let stored = self.lock();
        let in_flight = stored.iter().filter(|m| m.hidden_until > now).count() as u64;
        let visible = stored.len() as u64 - in_flight;
        Ok(Description { visible, in_flight, delayed: 0, max_receive_count: None })
    }
}
