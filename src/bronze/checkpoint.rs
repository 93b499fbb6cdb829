//! The checkpoint of bronze: how far listings came, as JSON for people and for the next listing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Bronze, BronzeError};
use crate::checkpoint::{self, Checkpoint, FORMAT_VERSION};
use crate::source::Reached;

/// How far listings of a pipeline have processed its raw objects (`<pipeline>/bronze.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BronzeCheckpoint {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The bronze table.
    pub table: String,
    /// The newest LastModified among the objects that were processed.
    pub processed_through: Option<DateTime<Utc>>,
    /// The bronze snapshot that was current after it.
    pub snapshot_id: Option<i64>,
    /// Its sequence number.
    pub sequence_number: Option<i64>,
    /// The low watermark: the next listing of S3 passes over older objects, which were processed.
    /// Only listings move it.
    #[serde(rename = "floor", default, skip_serializing_if = "Option::is_none")]
    pub low_watermark: Option<DateTime<Utc>>,
    /// The newest object that an event brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_event: Option<DateTime<Utc>>,
    /// The glob that the low watermark holds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The listing that is running, or was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<ListingProgress>,
    /// A request (`dlq replay`): a listing of the whole pipeline that begins after it goes back as far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// When this was written.
    pub updated_at: DateTime<Utc>,
}

/// How far the next listing goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// To objects of this time.
    pub from: DateTime<Utc>,
    /// When it was requested.
    pub asked_at: DateTime<Utc>,
}

/// How far a listing has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingProgress {
    /// What is listed.
    pub root: String,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// Older objects are passed over.
    pub since: Option<DateTime<Utc>>,
    /// The newest object that was listed.
    pub newest: Option<DateTime<Utc>>,
    /// The oldest object, or upload, that a later listing has to show again.
    pub unresolved: Option<DateTime<Utc>>,
    /// How far each prefix was listed, and what it showed was processed.
    pub reached: BTreeMap<String, Reached>,
}

impl Checkpoint for BronzeCheckpoint {
    const FILE: &'static str = "bronze.json";
}

impl BronzeCheckpoint {
    fn first(table: String, now: DateTime<Utc>) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            table,
            processed_through: None,
            snapshot_id: None,
            sequence_number: None,
            low_watermark: None,
            newest_event: None,
            source: None,
            listing: None,
            replay: None,
            updated_at: now,
        }
    }
}

impl Bronze {
    pub(super) async fn load_checkpoint(&self) -> Result<Option<BronzeCheckpoint>, BronzeError> {
        let stored = checkpoint::load(&*self.checkpoints, &self.settings.pipeline).await?;
        Ok(stored.map(|(checkpoint, _)| checkpoint))
    }

    /// Changes the checkpoint, and brings it up to the table.
    pub(super) async fn save_checkpoint(
        &self,
        change: impl Fn(&mut BronzeCheckpoint) + Send + Sync,
    ) -> Result<(), BronzeError> {
        let tip = self.lake.find(&self.settings.table).await?.and_then(|t| t.current());
        let (now, table) = (self.lake.ambient().now(), self.settings.table.to_string());
        let change = |stored: Option<BronzeCheckpoint>| {
            let first = || BronzeCheckpoint::first(table.clone(), now);
            let mut new = stored.clone().unwrap_or_else(first);
            new.table = table.clone();
            new.snapshot_id = tip.as_ref().map(|s| s.id.0);
            new.sequence_number = tip.as_ref().map(|s| s.sequence.0);
            change(&mut new);
            let same = stored
                .is_some_and(|s| s == BronzeCheckpoint { updated_at: s.updated_at, ..new.clone() });
            new.updated_at = now;
            (!same).then_some(new)
        };
        let (store, ambient) = (&*self.checkpoints, &**self.lake.ambient());
        checkpoint::update(store, ambient, &self.settings.pipeline, change).await?;
        Ok(())
    }
}
