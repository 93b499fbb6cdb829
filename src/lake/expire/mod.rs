//! Expiry as a part of commits: a commit takes snapshots out of the metadata that it writes anyway, so that its
//! cost does not grow with the table's history (Iceberg spec, "Snapshot Retention Policy").
//!
//! [`Lake::expire`] does it by itself.
//!
//! - `alone.rs`: that
//! - `due.rs`: which snapshots a commit takes out
//! - `files.rs`: the files that only they named, deleted after the commit
//!
//! Where the catalog writes the metadata, nothing expires: it applies the updates of a commit to what it has, which
//! may hold a tag that the commit has not seen.

mod alone;
mod due;
mod files;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BoxedError, Lake, LakeError, SequenceNumber, Table};
use crate::error::chain;
use due::{Asked, AtATime, References, due};
pub(super) use due::{MAX_AGE, may_delete};
pub(super) use files::DELETE_METADATA;

/// Who reads a table snapshot by snapshot, and must find each of them.
///
/// # Contract
/// `consumed` returns the highest sequence number up to which all of them have consumed the table; nothing above it
/// expires. It may be lower than what they have reached, and never higher. An error means that it is not known:
/// then nothing expires.
#[async_trait]
pub trait Consumers: Debug + Send + Sync {
    /// See the contract.
    async fn consumed(&self, table: &Table) -> Result<SequenceNumber, BoxedError>;
}

/// What an expiry did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Snapshots that were taken out.
    pub snapshots: usize,
    /// Files that were deleted.
    pub files: usize,
}

/// Expiry as the caller of a lake asked for it.
#[derive(Debug)]
pub(super) struct Expiring {
    consumers: Arc<dyn Consumers>,
    kept_ms: Option<i64>,
}

impl Lake {
    /// From now on commits expire snapshots that all of these have consumed, and that are older than `kept`, or than
    /// the table says: see [`Consumers`]. The lake and its clones have one such port; a second one is ignored.
    pub fn expire_behind(&self, consumers: Arc<dyn Consumers>, kept: Option<Duration>) {
        let kept_ms = kept.map(|kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
        drop(self.expiring.set(Expiring { consumers, kept_ms }));
    }

    /// The snapshots that the next commit to a table takes out.
    pub(super) async fn due(&self, table: &Table) -> Vec<i64> {
        self.due_now(table, AtATime::IN_COMMITS).await.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::warn!(
                table = %table.name(), error,
                "could not see which snapshots are still needed; the next commit expires the old ones"
            );
            vec![]
        })
    }

    /// How many snapshots of a table are due.
    pub async fn count_due(&self, table: &Table) -> Result<usize, LakeError> {
        Ok(self.due_now(table, AtATime::ALL).await?.len())
    }

    async fn due_now(&self, table: &Table, at_a_time: AtATime) -> Result<Vec<i64>, LakeError> {
        let Some(Expiring { consumers, kept_ms }) = self.expiring.get() else { return Ok(vec![]) };
        if self.catalog.writes_metadata() {
            return Ok(vec![]);
        }
        let metadata = table.metadata();
        let asked = |consumed| Asked {
            consumed,
            now_ms: self.ambient.now().timestamp_millis(),
            kept_ms: *kept_ms,
            at_a_time,
        };
        // Most commits end here, and ask no consumer.
        if due(metadata, None, asked(SequenceNumber(i64::MAX))).is_empty() {
            return Ok(vec![]);
        }
        let unknown = |source| LakeError::Consumers { table: table.name().clone(), source };
        let consumed = consumers.consumed(table).await.map_err(unknown)?;
        if due(metadata, None, asked(consumed)).is_empty() {
            return Ok(vec![]);
        }
        let references = References::of(metadata).map_err(|error| unknown(error.into()))?;
        Ok(due(metadata, Some(&references), asked(consumed)))
    }
}
