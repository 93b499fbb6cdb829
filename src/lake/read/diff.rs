//! The snapshot diff: which files the commits to a table added and removed since a position.
//!
//! Only an entry that is `ADDED` or `DELETED` *by the snapshot in question* counts: manifests are carried from
//! snapshot to snapshot with their old entries (Iceberg spec, "Manifests").

use std::sync::Arc;

use iceberg::spec::{ManifestContentType, ManifestEntry, ManifestStatus};

use super::promoted::{promoted, types_now};
use super::scan::FileTask;
use crate::lake::position::{Position, Standing, standing};
use crate::lake::{Lake, LakeError, SequenceNumber, Snapshot, SnapshotId, Table};

/// The operation of a snapshot, by its summary (Iceberg spec, "Snapshots": `operation`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// Files were added, none removed.
    Append,
    /// Files were rewritten: the rows are the same.
    Replace,
    /// Files were added and removed.
    Overwrite,
    /// Files, or rows of files, were removed.
    Delete,
    /// An operation that this version does not know.
    Other(String),
}

impl Did {
    /// Reads the word of a snapshot's summary.
    pub fn parse(word: &str) -> Self {
        match word {
            "append" => Self::Append,
            "replace" => Self::Replace,
            "overwrite" => Self::Overwrite,
            "delete" => Self::Delete,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The word of a snapshot's summary.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Append => "append",
            Self::Replace => "replace",
            Self::Overwrite => "overwrite",
            Self::Delete => "delete",
            Self::Other(word) => word,
        }
    }

    /// Whether existing rows may be gone.
    pub fn removes_rows(&self) -> bool {
        !matches!(self, Self::Append | Self::Replace)
    }
}

/// What one snapshot did.
#[derive(Debug, Clone)]
pub struct Step {
    /// The position after it.
    pub end: Position,
    /// Its operation.
    pub did: Did,
    /// The data files that it added.
    pub added: Vec<FileTask>,
    /// The data files that it removed.
    pub removed: Vec<FileTask>,
}

impl Step {
    /// The files that hold rows which were not in the table before, where the snapshot only added rows.
    pub fn new_rows(self) -> Vec<FileTask> {
        match self.did {
            Did::Append => self.added,
            _ => vec![],
        }
    }
}

/// The steps from a position to the current snapshot, oldest first.
#[derive(Debug, Clone)]
pub struct Diff {
    /// See [`Step`].
    pub steps: Vec<Step>,
    /// Whether the start has expired. Then the one step is an append of the live files above its sequence number:
    /// a superset of what was added, with rows that were consumed before.
    pub superset: bool,
}

/// What there is after a position, before it is read.
#[derive(Debug)]
pub enum Since {
    /// These snapshots, oldest first: [`Lake::step`] reads one.
    Snapshots(Vec<Snapshot>),
    /// The start has expired: see [`Diff::superset`]. None where the table has no snapshot.
    Superset(Option<Step>),
}

impl Lake {
    /// What was added to `table` after `start` (`None`: ever).
    ///
    /// # Errors
    /// As of [`Lake::since`].
    pub async fn diff(&self, table: &Table, start: Option<&Position>) -> Result<Diff, LakeError> {
        let snapshots = match self.since(table, start).await? {
            Since::Snapshots(snapshots) => snapshots,
            Since::Superset(step) => {
                return Ok(Diff { steps: step.into_iter().collect(), superset: true });
            }
        };
        let mut steps = Vec::with_capacity(snapshots.len());
        for snapshot in &snapshots {
            steps.push(self.step(table, snapshot).await?);
        }
        Ok(Diff { steps, superset: false })
    }

    /// What there is in `table` after `start` (`None`: all of it). No manifest is read, unless the start has
    /// expired.
    ///
    /// # Errors
    /// [`LakeError::RolledBack`] when `start` was consumed but is not in the table's history.
    pub async fn since(&self, table: &Table, start: Option<&Position>) -> Result<Since, LakeError> {
        let exact = match start {
            None => table.has_whole_history(),
            Some(position) => match standing(table, position) {
                Standing::Ahead => return Ok(Since::Snapshots(vec![])),
                Standing::InHistory => true,
                Standing::Expired => false,
                Standing::RolledBack => {
                    return Err(LakeError::RolledBack {
                        table: table.name().clone(),
                        snapshot: position.snapshot,
                        sequence: position.sequence,
                    });
                }
            },
        };
        if !exact {
            let above = start.map_or(SequenceNumber::default(), |p| p.sequence);
            let mut step = match start {
                Some(_) => self.live_above(table, above).await?,
                None => self.all_live(table).await?,
            };
            // A snapshot that removed rows, and is still in the line, is reported all the same.
            let newer = table.newer_than(above).map(|s| Did::parse(&s.operation));
            let removed = newer.filter(Did::removes_rows).last();
            if let (Some(step), Some(did)) = (&mut step, removed) {
                step.did = did;
            }
            return Ok(Since::Superset(step));
        }
        let after = |snapshot: &Snapshot| start.is_none_or(|p| p.snapshot != snapshot.id);
        let mut snapshots: Vec<Snapshot> = table.ancestors().take_while(after).collect();
        snapshots.reverse();
        Ok(Since::Snapshots(snapshots))
    }

    /// What one snapshot did.
    pub async fn step(&self, table: &Table, snapshot: &Snapshot) -> Result<Step, LakeError> {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        self.entries(table, snapshot.id, Some(snapshot.id), |entry, file| {
            if entry.snapshot_id() == Some(snapshot.id.0) {
                match entry.status() {
                    ManifestStatus::Added => added.push(file()),
                    ManifestStatus::Deleted => removed.push(file()),
                    ManifestStatus::Existing => {}
                }
            }
        })
        .await?;
        let did = Did::parse(&snapshot.operation);
        Ok(Step { end: Position::of(table, snapshot), did, added, removed })
    }

    /// All live data files with their deletes, as one step that appends them.
    async fn all_live(&self, table: &Table) -> Result<Option<Step>, LakeError> {
        let Some(current) = table.current() else { return Ok(None) };
        let added = self.files_of(table, None, &[]).await?;
        let end = Position::of(table, &current);
        Ok(Some(Step { end, did: Did::Append, added, removed: vec![] }))
    }

    /// The live data files whose data sequence number is above `above`, as one step that appends them.
    pub async fn live_above(
        &self,
        table: &Table,
        above: SequenceNumber,
    ) -> Result<Option<Step>, LakeError> {
        let Some(current) = table.current() else { return Ok(None) };
        let mut added = Vec::new();
        self.entries(table, current.id, None, |entry, file| {
            if entry.is_alive() && entry.sequence_number().is_some_and(|s| s > above.0) {
                added.push(file());
            }
        })
        .await?;
        let end = Position::of(table, &current);
        Ok(Some(Step { end, did: Did::Append, added, removed: vec![] }))
    }

    /// Passes the entries of a snapshot's data manifests to `seen`, each with its file; with `added_by`, only
    /// those of the manifests that this snapshot wrote.
    async fn entries(
        &self,
        table: &Table,
        snapshot: SnapshotId,
        added_by: Option<SnapshotId>,
        mut seen: impl FnMut(&ManifestEntry, &dyn Fn() -> FileTask),
    ) -> Result<(), LakeError> {
        let Some(snapshot) = table.metadata().snapshot_by_id(snapshot.0) else { return Ok(()) };
        for manifest in &self.manifests_of(table, snapshot).await? {
            let relevant = manifest.content == ManifestContentType::Data
                && added_by.is_none_or(|id| manifest.added_snapshot_id == id.0);
            if !relevant {
                continue;
            }
            let loaded = self.manifest(table, manifest).await?;
            let spec = Arc::new(loaded.metadata().partition_spec().clone());
            let types = types_now(table, &spec);
            for entry in loaded.entries() {
                let file = || {
                    let partition = promoted(entry.data_file().partition(), types.as_ref());
                    FileTask::live(entry.data_file(), table.schema(), (&spec, partition), vec![])
                };
                seen(entry, &file);
            }
        }
        Ok(())
    }
}
