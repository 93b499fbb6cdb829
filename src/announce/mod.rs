//! Announcements: each commit is told on an event bus, after it and never before, with one id per commit.
//!
//! ```text
//!  tables' snapshots, newer than announced.json says ──► notice (pure) ──► EventBus ──► announced.json
//! ```
//! The tables are the outbox: a snapshot is there exactly if its commit was carried out, so nothing that was
//! committed is forgotten in a crash, and nothing is told that was not. What was told and not yet noted is
//! told again, under the same id. A bus in trouble holds up nobody.

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

/// Notices of one request, at most: EventBridge's limit for PutEvents.
pub const BATCH: usize = 10;

/// A notice that was refused while others were not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the batch.
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
    /// The bus's account.
    #[source]
    pub source: std::io::Error,
}

/// Where notices are published.
///
/// # Contract
/// - `publish` takes at most [`BATCH`] notices; those refused are returned, the others are durable and will be
///   delivered at least once, in any order.
/// - Publishing to a bus that does not exist is an error; events are never dropped silently.
/// - After an error the effect is unknown: everything may be published again. Receivers tell repetitions by the
///   notice's id.
#[async_trait]
pub trait EventBus: Debug + Send + Sync {
    /// Whether the bus is there. It publishes nothing.
    async fn probe(&self) -> Result<(), BusError>;

    /// Publishes notices.
    async fn publish(&self, notices: &[Notice]) -> Result<Vec<Refused>, BusError>;
}
