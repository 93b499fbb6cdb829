//! The JSON checkpoint of silver: it follows the position in the commits, and holds a requested rewind.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Silver, SilverError};
use crate::checkpoint::{self, Checkpoint, FORMAT_VERSION};
use crate::lake::position::Position;

/// How far bronze was merged into silver (`<pipeline>/silver.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilverCheckpoint {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The silver table.
    pub table: String,
    /// UUID of the bronze table.
    pub bronze_table_uuid: Option<String>,
    /// The bronze snapshot merged through.
    pub bronze_snapshot_id: Option<i64>,
    /// Its sequence number.
    pub bronze_sequence_number: Option<i64>,
    /// The next merge starts after this bronze snapshot instead, once (`checkpoint rewind`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewind: Option<Rewind>,
    /// When this was written.
    pub updated_at: DateTime<Utc>,
}

/// Where the next merge starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewind {
    /// After this bronze snapshot; none: from the beginning.
    pub after_snapshot_id: Option<i64>,
}

impl Checkpoint for SilverCheckpoint {
    const FILE: &'static str = "silver.json";
}

impl Silver {
    /// The rewind that was requested, if one was.
    pub(super) async fn rewind(&self) -> Result<Option<Rewind>, SilverError> {
        let stored =
            checkpoint::load::<SilverCheckpoint>(&*self.checkpoints, &self.settings.pipeline)
                .await?;
        Ok(stored.and_then(|(checkpoint, _)| checkpoint.rewind))
    }

    /// Asks for a rewind: the next merge carries it out.
    pub async fn request_rewind(&self, rewind: Rewind) -> Result<(), SilverError> {
        let now = self.lake.ambient().now();
        let change = |stored: Option<SilverCheckpoint>| {
            let stored = stored.unwrap_or_else(|| SilverCheckpoint {
                format_version: FORMAT_VERSION,
                table: self.settings.rules.table.to_string(),
                bronze_table_uuid: None,
                bronze_snapshot_id: None,
                bronze_sequence_number: None,
                rewind: None,
                updated_at: now,
            });
            Some(SilverCheckpoint { rewind: Some(rewind), updated_at: now, ..stored })
        };
        let (store, ambient) = (&*self.checkpoints, &**self.lake.ambient());
        Ok(checkpoint::update(store, ambient, &self.settings.pipeline, change).await?)
    }

    /// Writes the position to the checkpoint, and removes a rewind that was carried out.
    pub(super) async fn save_checkpoint(
        &self,
        through: Option<&Position>,
        carried_out: Option<Rewind>,
    ) -> Result<(), SilverError> {
        let now = self.lake.ambient().now();
        let change = |stored: Option<SilverCheckpoint>| {
            let requested = stored.as_ref().and_then(|s| s.rewind);
            let new = SilverCheckpoint {
                format_version: FORMAT_VERSION,
                table: self.settings.rules.table.to_string(),
                bronze_table_uuid: through.map(|p| p.table.clone()),
                bronze_snapshot_id: through.map(|p| p.snapshot.0),
                bronze_sequence_number: through.map(|p| p.sequence.0),
                rewind: requested.filter(|requested| Some(*requested) != carried_out),
                updated_at: now,
            };
            let same = stored.is_some_and(|s| SilverCheckpoint { updated_at: now, ..s } == new);
            (!same).then_some(new)
        };
        let (store, ambient) = (&*self.checkpoints, &**self.lake.ambient());
        checkpoint::update(store, ambient, &self.settings.pipeline, change).await?;
        Ok(())
    }
}
