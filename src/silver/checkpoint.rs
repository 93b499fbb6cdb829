//! The JSON checkpoint of silver: it follows the position in the commits, and holds a requested rewind.

use super::{Silver, SilverError};
use crate::checkpoint::{self, FORMAT_VERSION, Rewind, SilverCheckpoint};
use crate::lake::position::Position;

impl Silver {
    /// The rewind that was requested, if one was.
    pub(super) async fn rewind(&self) -> Result<Option<Rewind>, SilverError> {
        let stored =
            checkpoint::load::<SilverCheckpoint>(&*self.checkpoints, &self.settings.pipeline)
                .await?;
        Ok(stored.and_then(|(checkpoint, _)| checkpoint.rewind))
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
        checkpoint::update(&*self.checkpoints, &self.settings.pipeline, change).await?;
        Ok(())
    }
}
