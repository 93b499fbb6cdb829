//! Where a merge starts and ends: what bronze gained since silver's position, as much as one commit takes.

use std::collections::HashSet;

use super::checkpoint::Rewind;
use super::{Bereft, OnBronzeDelete, Silver, SilverError, Tables};
use crate::lake::position::{Position, Standing, has_same_rows, standing};
use crate::lake::read::diff::{Did, Since, Step};
use crate::lake::read::scan::FileTask;
use crate::lake::{LakeError, SequenceNumber, Snapshot, SnapshotId, Table};

/// What a merge does with the rows of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// They are new: a row that silver has already stays as it is.
    Onward,
    /// Some replace what the same rows said before.
    Again,
    /// They are all of bronze: silver is computed from them alone.
    Anew,
    /// The same, on request: whatever silver was computed from before.
    Rebuilt,
}

/// What one commit merges.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) files: Vec<FileTask>,
    pub(super) end: Position,
    pub(super) snapshots: usize,
    pub(super) superset: bool,
    pub(super) way: Way,
    /// The position that it was planned from.
    pub(super) from: Option<Position>,
}

impl Range {
    fn empty(end: Position) -> Self {
        Self { files: vec![], end, snapshots: 0, superset: false, way: Way::Onward, from: None }
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
        if let (true, Some(tip)) = (Self::rebuild_is_incomplete(tables), bronze.current()) {
            let mut range = Range::empty(Position::of(bronze, &tip));
            range.snapshots = bronze.history_length();
            range.files = self.lake.files_of(bronze, None, &[]).await?;
            return Ok(Some(Range { from: position, way: Way::Anew, ..range }));
        }
        let merged = position.as_ref().is_some_and(|position| has_same_rows(bronze, position));
        if rewind.is_none() && merged {
            return Ok(None);
        }
        let start = match rewind {
            Some(rewind) => rewound(bronze, rewind)?,
            None => position.clone(),
        };
        let reached = position.as_ref().map_or(SequenceNumber::default(), |p| p.sequence);
        let mut range = self.over_superseded(tables, bronze, start.as_ref()).await?;
        if range.is_none() {
            let since = self.lake.since(bronze, start.as_ref()).await?;
            range = self.first_share(bronze, since, reached).await?;
        }
        // The position never goes back (I4): only a rewind merges a range that does not reach it.
        let range = range.filter(|r| r.end.sequence > reached || rewind.is_some());
        Ok(range.map(|range| Range {
            from: position,
            way: if rewind.is_some() && range.way == Way::Onward { Way::Again } else { range.way },
            ..range
        }))
    }

    /// The range up to the tip where rows of bronze were superseded after `start`: what was merged of them may be the
    /// newest row of its key, so silver is computed anew. Rows of silver that bronze lost otherwise would go with it:
    /// where it has any, all rows of bronze above `start` are merged instead, over what they said before.
    async fn over_superseded(
        &self,
        tables: &Tables,
        bronze: &Table,
        start: Option<&Position>,
    ) -> Result<Option<Range>, SilverError> {
        let above = start.map_or(SequenceNumber::default(), |position| position.sequence);
        let newer: Vec<Snapshot> = bronze.newer_than(above).collect();
        let first = newer.iter().rposition(Snapshot::supersedes);
        if first.is_none() && (start.is_none() || !bronze.superseded_before_history(above)) {
            return Ok(None);
        }
        let Some(tip) = bronze.current() else { return Ok(None) };
        for snapshot in newer.iter().filter(|snapshot| !snapshot.supersedes()) {
            let did = Did::parse(&snapshot.operation);
            self.check_removal(bronze, &did, snapshot.id)?;
        }
        let before = first.and_then(|first| newer.get(first + 1)).map(|snapshot| snapshot.id);
        let before = before.or(start.map(|position| position.snapshot));
        let mut range = Range::empty(Position::of(bronze, &tip));
        range.snapshots = newer.len();
        range.files = self.lake.files_of(bronze, None, &[]).await?;
        range.way = Way::Anew;
        let bereft = match &tables.silver {
            Some(silver) => Box::pin(self.bereft_of(silver, bronze, before)).await?,
            None => Bereft::default(),
        };
        if bereft.rows > 0 {
            tracing::warn!(
                table = %self.settings.rules.table, bronze = %bronze.name(), rows = bereft.rows,
                "objects were read again, and silver has rows of other objects that bronze no longer has: it is not computed anew. What the earlier reading gave may stay in it, until `silversmith silver --rebuild --force`"
            );
            let above = self.lake.live_above(bronze, above).await?;
            let above: HashSet<String> = above
                .into_iter()
                .flat_map(|step| step.added)
                .map(|f| f.path().to_owned())
                .collect();
            range.files.retain(|file| above.contains(file.path()));
            range.way = Way::Again;
        }
        Ok(Some(range))
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
            let (end, files) = match snapshot.is_rewrite() {
                // Its files have no new rows: their manifests need not be read.
                true => (Position::of(bronze, snapshot), vec![]),
                false => {
                    let step = self.lake.step(bronze, snapshot).await?;
                    self.check_step(bronze, &step)?;
                    (step.end.clone(), step.new_rows())
                }
            };
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

    fn check_step(&self, bronze: &Table, step: &Step) -> Result<(), SilverError> {
        self.check_removal(bronze, &step.did, step.end.snapshot)
    }

    /// Rows that bronze lost are not silently missed.
    fn check_removal(
        &self,
        bronze: &Table,
        did: &Did,
        snapshot: SnapshotId,
    ) -> Result<(), SilverError> {
        if did.removes_rows() && self.settings.on_bronze_delete == OnBronzeDelete::Fail {
            return Err(SilverError::BronzeDeleted {
                bronze: bronze.name().clone(),
                snapshot,
                operation: did.as_str().to_owned(),
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
