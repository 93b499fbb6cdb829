//! The queue: where events come from, and where dead letters go.

mod heartbeat;
mod invocation;
mod memory;
mod sqs;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use heartbeat::Heartbeat;
pub use invocation::InvocationQueue;
pub use memory::MemoryQueue;
pub use sqs::SqsQueue;

use crate::error::Kind;

/// Messages of one request, at most: SQS's limit for receiving, deleting, sending alike.
pub const BATCH: usize = 10;

/// What a message that was received is deleted by. Another receive of the same message gives another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReceiptHandle(pub String);

/// A message, received, and hidden from others for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The queue's id for it.
    pub id: String,
    /// See [`ReceiptHandle`].
    pub receipt: ReceiptHandle,
    /// What was sent.
    pub body: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
    /// When it was sent.
    pub sent_at: Option<DateTime<Utc>>,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What is sent.
    pub body: String,
    /// In a FIFO queue: messages of one group are received in order.
    pub group: String,
    /// In a FIFO queue: a second message with this id within five minutes is not delivered.
    pub deduplication: String,
}

/// A queue's settings and how full it is. Counts are approximate, and may lag by a minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that were received and are hidden.
    pub in_flight: u64,
    /// Messages that cannot be received yet.
    pub delayed: u64,
    /// After so many receives the queue's own redrive policy moves a message to its dead-letter queue.
    pub max_receive_count: Option<u32>,
}

impl Description {
    /// All messages there are.
    pub fn messages(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// One entry of a batch that was refused while others were not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the batch.
    pub index: usize,
    /// What the queue said.
    pub why: String,
    /// Whether it makes no sense to try again: the fault is in the entry, such as an old receipt.
    pub final_: bool,
}

/// A request that failed as a whole. Whether it had an effect is not known.
#[derive(Debug, thiserror::Error)]
#[error("queue {queue}: {doing} failed")]
pub struct QueueError {
    /// The queue.
    pub queue: String,
    /// What was being done.
    pub doing: &'static str,
    /// The queue's account.
    #[source]
    pub source: std::io::Error,
}

impl QueueError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        Kind::Look
    }
}

/// A queue that delivers at least once, in any order.
///
/// # Contract
/// - `receive` waits up to `wait` for a first message and returns at most [`BATCH`]; they are hidden for
///   `hide`, and received again after that unless they were deleted. None is an answer, not an end.
/// - `delete` of what is deleted already, or was received again since, is no error.
/// - `hide` sets from now on how long messages stay hidden; zero gives them back. It is refused for
///   messages that are no longer hidden under that receipt.
/// - `delete`, `hide` and `send` take at most [`BATCH`] entries; those refused are returned, the others are done.
/// - After an error the effect is unknown: everything may be repeated, a repeated `send` sends twice.
#[async_trait]
pub trait EventQueue: Debug + Send + Sync {
    /// Whether `describe` counts exactly, and a receive without messages proves that there are none.
    fn is_exact(&self) -> bool {
        false
    }

    /// Receives messages.
    async fn receive(&self, wait: Duration, hide: Duration) -> Result<Vec<Message>, QueueError>;

    /// Deletes messages for good.
    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError>;

    /// Sets how long messages stay hidden from now on, at most 12 hours.
    async fn hide(
        &self,
        receipts: &[(ReceiptHandle, Duration)],
    ) -> Result<Vec<Refused>, QueueError>;

    /// Sends messages.
    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError>;

    /// The queue's settings and how full it is.
    async fn describe(&self) -> Result<Description, QueueError>;
}
