//! Announcements: an event on a bus for each commit, published after it and never before, with one id per commit.
//!
//! ```text
//!  tables' snapshots, newer than announced.json says ──► notice (pure) ──► EventBus ──► announced.json
//! ```
//! The tables are the outbox: a snapshot exists exactly if its commit was carried out. So a crash forgets no
//! commit, and nothing is announced that was not committed. What was published and not yet recorded is
//! published again, under the same id. A bus that fails holds up no other work.

mod eventbridge;
mod memory;
mod notice;
mod outbox;

use std::fmt::Debug;

use async_trait::async_trait;

pub use eventbridge::EventBridge;
pub use memory::MemoryBus;
pub use notice::{Notice, NoticeKind};
pub use outbox::{AnnounceError, Announcer};

/// Maximum number of notices in one request: EventBridge's limit for PutEvents.
pub const BATCH: usize = 10;

/// A notice that was refused while others were not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its index in the batch.
    pub index: usize,
    /// What the bus said.
    pub why: String,
}

/// A request that failed as a whole. Whether it had an effect is not known.
#[derive(Debug, thiserror::Error)]
#[error("event bus {bus}: {doing} failed")]
pub struct BusError {
    /// The bus.
    pub bus: String,
    /// What was being done.
    pub doing: &'static str,
    /// The detail from the bus.
    #[source]
    pub source: std::io::Error,
}

/// Where notices are published.
///
/// # Contract
/// - `publish` takes at most [`BATCH`] notices and returns those refused. The others are durable and will be
///   delivered at least once, in any order.
/// - Publishing to a bus that does not exist is an error; events are never dropped silently.
/// - After an error the effect is unknown: everything may be published again. Receivers recognise repetitions by
///   the notice's id.
#[async_trait]
pub trait EventBus: Debug + Send + Sync {
    /// Checks that the bus exists. It publishes nothing.
    async fn probe(&self) -> Result<(), BusError>;

    /// Publishes notices.
    async fn publish(&self, notices: &[Notice]) -> Result<Vec<Refused>, BusError>;
}
