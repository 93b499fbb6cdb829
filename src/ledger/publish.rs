//! Publishing: ledger files named by bronze's snapshots are appended to the objects table.
//!
//! All unpublished ones go in one commit, pinned to the state of the objects table that they were
//! computed on, with the bronze position that they reach to; after a conflict they are computed
//! again, so that no ledger file is added twice. Where snapshots have expired before they were
//! published, or a ledger file is gone, their rows are rebuilt from what bronze says of itself (I3).

use std::collections::HashMap;

use futures::TryStreamExt;

use super::origin::Origins;
use super::{Ledger, ObjectOutcome, ObjectRow, PUBLISHED, READ_FILES, View};
use crate::batch::BatchId;
use crate::lake::position::{Position, Standing, standing};
use crate::lake::read::scan::FileTask;
use crate::lake::{
    Change, CommitOutcome, CommitProperties, DataFile, LakeError, SequenceNumber, Table, properties,
};
use crate::source::ObjectId;
use crate::telemetry::metrics::Layer;

/// Conflicts in a row after which publishing gives up; the next batch publishes.
const MAX_CONFLICTS: u32 = 100;
/// The batch that rebuilt rows name.
const REBUILT: &str = "rebuilt";

impl Ledger {
    /// Brings the objects table up to `bronze`. Returns how many ledger files were added. Of files just `written`
    /// more is known than the snapshot properties say. Harmless when repeated, or done by two at once.
    pub async fn publish(&self, bronze: &Table, written: &[DataFile]) -> Result<usize, LakeError> {
        let mut objects = self.open().await?;
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        loop {
            let mut adopted = Vec::new();
            let through = self.published_through(bronze, &objects).await?;
            let unpublished = self.unpublished(bronze, &objects, through.as_ref(), written).await?;
            for file in &unpublished.files {
                let written = written.iter().find(|written| written.file_path() == file.path);
                adopted.push(match written {
                    Some(written) => file.to_adopt_as(written.clone(), &objects)?,
                    None => file.to_adopt(&objects)?,
                });
            }
            let gap = unpublished.gone > 0 || gap(bronze, through.as_ref());
            let lost = match gap {
                true => {
                    let view = self.view_of(objects.clone(), &unpublished.files);
                    self.lost_rows(bronze, through.as_ref(), &view).await?
                }
                false => vec![],
            };
            let (rebuilt, _) = self.write(&objects, &lost).await?;
            // A gap that holds nothing is closed, too: it would be looked through every time.
            let nothing = adopted.is_empty() && rebuilt.is_empty() && !gap;
            let (Some(tip), false) = (bronze.current(), nothing) else { return Ok(0) };

            let count = adopted.len() + rebuilt.files().len();
            let own = self.published(&Position::of(bronze, &tip));
            match self.lake.commit(&objects, Change::adopt(rebuilt, adopted, own)).await? {
                CommitOutcome::Committed { .. } => return Ok(count),
                CommitOutcome::Conflict { table, files } => {
                    files.discard().await;
                    objects = table;
                }
                CommitOutcome::Unknown(unknown) => return Err(unknown.into()),
            }
            conflicts += 1;
            if conflicts == MAX_CONFLICTS {
                return Err(self.lake.contended(&self.objects, conflicts, began));
            }
            self.lake.wait_after_conflict(conflicts).await;
        }
    }

    /// What a commit says that publishes bronze up to a position.
    pub(super) fn published(&self, through: &Position) -> CommitProperties {
        let mut own = properties::of_pipeline(&self.pipeline);
        properties::set_position(&mut own, PUBLISHED, through);
        CommitProperties::of_both(Layer::Ledger, own)
    }

    /// Rows for the objects that bronze's live files above the published position hold, and that are
    /// known in no other way.
    async fn lost_rows(
        &self,
        bronze: &Table,
        through: Option<&Position>,
        view: &View,
    ) -> Result<Vec<ObjectRow>, LakeError> {
        let diff = self
            .lake
            .live_above(bronze, through.map_or(SequenceNumber::default(), |p| p.sequence))
            .await?;
        let files = diff.map(|step| step.added).unwrap_or_default();
        let mut counted = self.count_rows(bronze, files).await?;
        let wanted = counted.keys().cloned().collect();
        let known = view.known(&wanted).await?;
        counted
            .retain(|id, _| !known.get(id).is_some_and(|a| a.outcome == ObjectOutcome::Ingested));
        let now = self.lake.ambient().now();
        Ok(counted
            .into_iter()
            .map(|(id, rows)| ObjectRow {
                id,
                size: None,
                outcome: ObjectOutcome::Ingested,
                reason: None,
                error: None,
                rows,
                rescued: None,
                batch: BatchId::new(REBUILT),
                finished_at: now,
            })
            .collect())
    }

    /// The object versions whose rows these bronze files hold, with their rows counted.
    async fn count_rows(
        &self,
        bronze: &Table,
        files: Vec<FileTask>,
    ) -> Result<HashMap<ObjectId, u64>, LakeError> {
        let columns = Origins::COLUMNS.map(str::to_owned);
        let mut batches =
            self.lake.read_files(bronze, bronze.schema(), files, &columns, READ_FILES);
        let mut counted: HashMap<ObjectId, u64> = HashMap::new();
        while let Some(batch) = batches.try_next().await? {
            let Some(origins) = Origins::of(&batch) else { continue };
            for id in (0..batch.num_rows()).filter_map(|row| origins.id(row)) {
                *counted.entry(id).or_insert(0) += 1;
            }
        }
        Ok(counted)
    }
}

/// Whether snapshots may have expired before they were published.
fn gap(bronze: &Table, through: Option<&Position>) -> bool {
    if bronze.has_whole_history() {
        return false;
    }
    through.is_none_or(|p| {
        standing(bronze, p) != Standing::InHistory && p.sequence.next() < bronze.oldest_sequence()
    })
}
