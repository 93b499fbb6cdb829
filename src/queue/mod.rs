//! The queue: where events come from, and where dead letters go.

mod heartbeat;
mod invocation;
mod memory;
mod sqs;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use heartbeat::Heartbeat;
pub use invocation::InvocationQueue;
pub use memory::MemoryQueue;
pub use sqs::SqsQueue;

/// The queue's id of a message: the same at every receive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub String);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a received message is deleted by. Another receive of the same message gives another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptHandle(pub String);

/// A message, received, and hidden from other receivers for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// See [`MessageId`].
    pub id: MessageId,
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
    /// In an ordered queue, messages with the same key are received in order.
    pub ordering_key: String,
    /// In an ordered queue, a second message with this id within some minutes is not delivered.
    pub deduplication_id: String,
}

/// What a backend allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one receive, entries of one `delete`, `hide` or `send`.
    pub batch: usize,
    /// Messages that are received and hidden at a time, of all receivers together.
    pub in_flight: usize,
    /// The longest time that a message stays hidden after its receive.
    pub longest_hidden: Duration,
    /// Bytes of a body, as UTF-8.
    pub body_bytes: usize,
}

/// A queue's settings and how full it is. Counts are approximate, and may lag by a minute.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Messages that a receive would get.
    pub visible: u64,
    /// Messages that were received, and are hidden for now.
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
    /// Its index in the batch.
    pub index: usize,
    /// What the queue said.
    pub why: String,
    /// Whether another attempt cannot succeed: the fault is in the entry, such as an old receipt.
    pub final_: bool,
}

/// A request that failed as a whole. Whether it had an effect is not known.
#[derive(Debug, thiserror::Error)]
#[error("queue {queue}: {doing} failed")]
pub struct QueueError {
    /// The queue.
    pub queue: String,
    /// The request.
    pub doing: &'static str,
    /// What the queue said.
    #[source]
    pub source: std::io::Error,
}

/// A queue that delivers at least once, in any order.
///
/// # Contract
/// - `receive` waits up to `wait` for a first message and returns at most [`Limits::batch`]; they are
///   hidden for `hide`, and received again after that unless they were deleted. An empty answer does
///   not mean that the queue is empty.
/// - `delete` of a message that is deleted already, or was received again since, is no error.
/// - `hide` sets how long messages stay hidden from now on; zero releases them. It is refused for
///   messages that are no longer hidden under that receipt.
/// - `delete`, `hide` and `send` take at most [`Limits::batch`] entries. Refused entries are returned,
///   the others are done.
/// - After an error the effect is unknown: everything may be repeated; a repeated `send` sends twice.
#[async_trait]
pub trait EventQueue: fmt::Debug + Send + Sync {
    /// What the queue allows: callers keep to it.
    fn limits(&self) -> Limits;

    /// Whether `describe` counts exactly, and a receive without messages proves that there are none.
    fn is_exact(&self) -> bool {
        false
    }

    /// Receives messages.
    async fn receive(&self, wait: Duration, hide: Duration) -> Result<Vec<Message>, QueueError>;

    /// Deletes messages for good.
    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<Refused>, QueueError>;

    /// Sets how long messages stay hidden from now on, within [`Limits::longest_hidden`].
    async fn hide(
        &self,
        receipts: &[(ReceiptHandle, Duration)],
    ) -> Result<Vec<Refused>, QueueError>;

    /// Sends messages.
    async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Refused>, QueueError>;

    /// The queue's settings and how full it is.
    async fn describe(&self) -> Result<Description, QueueError>;
}
