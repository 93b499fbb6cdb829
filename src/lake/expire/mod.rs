//! Expiry as a part of commits: a commit takes snapshots out of the metadata that it writes anyway, so that its
//! cost does not grow with the table's history (Iceberg spec, "Snapshot Retention Policy").
//!
//! - `due.rs`: which snapshots a commit takes out
//! - `files.rs`: the files that only they named, deleted after the commit
//!
//! Where the catalog writes the metadata, nothing expires: it applies the updates of a commit to what it has, which
//! may hold a tag that the commit has not seen.

mod due;
mod files;

use std::fmt::Debug;

use async_trait::async_trait;

use super::{Lake, SequenceNumber, Table};
use crate::error::chain;
pub(super) use due::MAX_AGE;
use due::{References, due};
pub(super) use files::DELETE_METADATA;

/// Whatever kept a consumer from answering.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

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

impl Lake {
    /// The snapshots that the next commit to a table takes out.
    pub(super) async fn due(&self, table: &Table) -> Vec<i64> {
        let Some(consumers) = self.consumers.get() else { return vec![] };
        if self.catalog.writes_metadata() {
            return vec![];
        }
        let (metadata, now) = (table.metadata(), self.ambient.now().timestamp_millis());
        // Most commits end here, and ask no consumer.
        if due(metadata, None, SequenceNumber(i64::MAX), now).is_empty() {
            return vec![];
        }
        let needed = async {
            let consumed = consumers.consumed(table).await?;
            if due(metadata, None, consumed, now).is_empty() {
                return Ok(vec![]);
            }
            let references = References::of(metadata)?;
            Ok::<_, BoxedError>(due(metadata, Some(&references), consumed, now))
        };
        needed.await.unwrap_or_else(|error| {
            let error = chain(error.as_ref());
            tracing::warn!(
                table = %table.name(), error,
                "could not see which snapshots are still needed; the next commit expires the old ones"
            );
            vec![]
        })
    }
}
