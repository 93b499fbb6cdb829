//! Where a merge starts and ends: what bronze gained since silver's position, as much as one commit takes.

use super::checkpoint::Rewind;
use super::{OnBronzeDelete, Silver, SilverError, Tables};
use crate::lake::position::{Position, Standing, has_same_rows, standing};
use crate::lake::read::diff::{Since, Step};
use crate::lake::read::scan::FileTask;
use crate::lake::{LakeError, SequenceNumber, SnapshotId, Table};

/// What one commit merges.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) files: Vec<FileTask>,
    pub(super) end: Position,
    pub(super) snapshots: usize,
    pub(super) superset: bool,
    /// The position that it was planned from.
    pub(super) from: Option<Position>,
}

impl Range {
    fn empty(end: Position) -> Self {
        Self { files: vec![], end, snapshots: 0, superset: false, from: None }
    }

    fn extend(&mut self, end: Position, files: Vec<FileTask>) {
        self.files.extend(files);
        self.end = end;
        self.snapshots += 1;
    }

    /// Silver's position after the commit: a rewound merge that ends before the position does not move it back.
    pub(super) fn through(&self) -> Position {
        match &self.from {
            Some(from) if from.sequence > self.end.sequence => from.clone(),
            _ => self.end.clone(),
        }
    }
}

impl Silver {
    /// The next range to merge, or none when silver is up to date.
    pub(super) async fn range(
        &self,
        tables: &Tables,
        rewind: Option<Rewind>,
    ) -> Result<Option<Range>, SilverError> {
        let position = self.position(tables.silver.as_ref(), tables.tombstones.as_ref())?;
        let Some(bronze) = &tables.bronze else { return Ok(None) };
        if bronze.current().is_none() {
            return Ok(None);
        }
        if let Some(position) = &position
            // Silver was loaded first: a position ahead of bronze means that bronze was set back.
            && matches!(standing(bronze, position), Standing::RolledBack | Standing::Ahead)
        {
            return Err(SilverError::BronzeRolledBack {
                bronze: bronze.name().clone(),
                silver: self.settings.rules.table.clone(),
                snapshot: position.snapshot,
            });
        }
        let merged = position.as_ref().is_some_and(|position| has_same_rows(bronze, position));
        if rewind.is_none() && merged {
            return Ok(None);
        }
        let start = match rewind {
            Some(rewind) => rewound(bronze, rewind)?,
            None => position.clone(),
        };
        let since = self.lake.since(bronze, start.as_ref()).await?;
        let reached = position.as_ref().map_or(SequenceNumber::default(), |p| p.sequence);
        let range = self.first_share(bronze, since, reached).await?;
        // The position never goes back (I4): only a rewind merges a range that does not reach it.
        let range = range.filter(|r| r.end.sequence > reached || rewind.is_some());
        Ok(range.map(|range| Range { from: position, ..range }))
    }

    /// The steps of one commit: at least one, and always up to the position. No more is read than that takes.
    async fn first_share(
        &self,
        bronze: &Table,
        since: Since,
        reached: SequenceNumber,
    ) -> Result<Option<Range>, SilverError> {
        let snapshots = match since {
            Since::Snapshots(snapshots) => snapshots,
            Since::Superset(None) => return Ok(None),
            Since::Superset(Some(step)) => {
                self.check_step(bronze, &step)?;
                let mut range = Range::empty(step.end.clone());
                range.superset = true;
                range.extend(step.end, step.added);
                return Ok(Some(range));
            }
        };
        let mut range: Option<Range> = None;
        let mut cost = 0;
        for snapshot in &snapshots {
            let step = self.lake.step(bronze, snapshot).await?;
            self.check_step(bronze, &step)?;
            let end = step.end.clone();
            let files = step.new_rows();
            let more: u64 = files.iter().map(FileTask::merge_cost).sum();
            let range = range.get_or_insert_with(|| Range::empty(end.clone()));
            let full = range.snapshots > 0 && cost + more > self.settings.most_merged;
            if full && range.end.sequence > reached {
                break;
            }
            cost += more;
            range.extend(end, files);
        }
        Ok(range)
    }

    /// Rows that bronze lost are not silently missed.
    fn check_step(&self, bronze: &Table, step: &Step) -> Result<(), SilverError> {
        if step.did.removes_rows() && self.settings.on_bronze_delete == OnBronzeDelete::Fail {
            return Err(SilverError::BronzeDeleted {
                bronze: bronze.name().clone(),
                snapshot: step.end.snapshot,
                operation: step.did.as_str().to_owned(),
            });
        }
        Ok(())
    }
}

fn rewound(bronze: &Table, rewind: Rewind) -> Result<Option<Position>, LakeError> {
    let Some(id) = rewind.after_snapshot_id.map(SnapshotId) else { return Ok(None) };
    let snapshot = bronze.snapshot(id).ok_or_else(|| LakeError::NoSnapshot {
        table: bronze.name().clone(),
        what: format!("{id}, to which the checkpoint was rewound"),
    })?;
    Ok(Some(Position::of(bronze, &snapshot)))
}
