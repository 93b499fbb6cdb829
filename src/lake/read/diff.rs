//! The snapshot diff: which files appends added to a table since a position.
//!
//! Only an entry that is `ADDED` *by the snapshot in question* counts: manifests are carried from
//! snapshot to snapshot with their old `ADDED` entries (Iceberg spec, "Manifests").

use iceberg::spec::{ManifestContentType, ManifestEntry, ManifestStatus};

use super::scan::FileTask;
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, Snapshot, Table};

/// A place in a table's history: everything up to and including that snapshot was consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The table's UUID.
    pub table: String,
    /// The snapshot.
    pub snapshot: i64,
    /// Its sequence number.
    pub sequence: i64,
}

impl Position {
    /// The position of a snapshot of `table`.
    pub fn of(table: &Table, snapshot: &Snapshot) -> Self {
        Self { table: table.uuid(), snapshot: snapshot.id, sequence: snapshot.sequence }
    }
}

/// What one snapshot brought.
#[derive(Debug, Clone)]
pub struct Step {
    /// The position after it.
    pub end: Position,
    /// The operation that took rows away, where there was one.
    pub removed_rows: Option<String>,
    /// The files that it added; none for a compaction (`replace`).
    pub files: Vec<FileTask>,
}

/// The steps from a position to the current snapshot, oldest first.
#[derive(Debug, Clone)]
pub struct Diff {
    /// See [`Step`].
    pub steps: Vec<Step>,
    /// The start has expired: the one step holds the live files above its sequence number, a
    /// superset of what was added, rows already consumed among them.
    pub superset: bool,
}

/// Where a position stands in a table's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is in the line of ancestors: the diff is exact.
    InHistory,
    /// The line was cut off above it by expiry.
    Expired,
    /// It is newer than the state of the table that was loaded: somebody committed since.
    Ahead,
    /// It is not in the line although the line reaches that far: rolled back, or another table.
    RolledBack,
}

/// Where `position` stands in the table's history.
pub fn standing(table: &Table, position: &Position) -> Standing {
    let line = table.ancestry();
    if position.table != table.uuid() {
        return Standing::RolledBack;
    }
    if line.snapshots.iter().any(|s| s.id == position.snapshot) {
        return Standing::InHistory;
    }
    // A rollback leaves last-sequence-number where it was (Iceberg spec, "Sequence Numbers").
    if position.sequence > table.last_sequence() {
        return Standing::Ahead;
    }
    match line.snapshots.last() {
        Some(oldest) if !line.complete && position.sequence < oldest.sequence => Standing::Expired,
        _ => Standing::RolledBack,
    }
}

impl Lake {
    /// What was added to `table` after `start` (`None`: ever).
    ///
    /// # Errors
    /// [`LakeError::RolledBack`] when `start` was consumed but is not in the table's history.
    pub async fn diff(&self, table: &Table, start: Option<&Position>) -> Result<Diff, LakeError> {
        let line = table.ancestry();
        let exact = match start {
            None => line.complete,
            Some(position) => match standing(table, position) {
                Standing::Ahead => return Ok(Diff { steps: vec![], superset: false }),
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
            let above = start.map_or(0, |p| p.sequence);
            let mut steps: Vec<Step> = self.live_above(table, above).await?.into_iter().collect();
            // What took rows away and is still in the line is told all the same.
            let appends = |s: &Snapshot| matches!(s.operation.as_str(), "append" | "replace");
            let removed = line.snapshots.iter().rev().find(|s| s.sequence > above && !appends(s));
            if let (Some(step), Some(snapshot)) = (steps.first_mut(), removed) {
                step.removed_rows = Some(snapshot.operation.clone());
            }
            return Ok(Diff { steps, superset: true });
        }
        let mut steps = Vec::new();
        for snapshot in line.snapshots {
            if start.is_some_and(|p| p.snapshot == snapshot.id) {
                break;
            }
            steps.push(self.step(table, &snapshot).await?);
        }
        steps.reverse();
        Ok(Diff { steps, superset: false })
    }

    /// What one snapshot brought.
    pub async fn step(&self, table: &Table, snapshot: &Snapshot) -> Result<Step, LakeError> {
        let end = Position::of(table, snapshot);
        Ok(match snapshot.operation.as_str() {
            "append" => {
                let mine = |entry: &ManifestEntry| {
                    entry.status() == ManifestStatus::Added
                        && entry.snapshot_id() == Some(snapshot.id)
                };
                let only = Some(snapshot.id);
                let files = self.entries(table, snapshot.id, only, mine).await?;
                Step { end, removed_rows: None, files }
            }
            "replace" => Step { end, removed_rows: None, files: vec![] },
            other => Step { end, removed_rows: Some(other.to_owned()), files: vec![] },
        })
    }

    /// The live data files whose data sequence number is above `above`, as one step.
    pub async fn live_above(&self, table: &Table, above: i64) -> Result<Option<Step>, LakeError> {
        let Some(current) = table.current() else { return Ok(None) };
        let newer = |entry: &ManifestEntry| {
            entry.is_alive() && entry.sequence_number().is_some_and(|s| s > above)
        };
        let files = self.entries(table, current.id, None, newer).await?;
        Ok(Some(Step { end: Position::of(table, &current), removed_rows: None, files }))
    }

    async fn entries(
        &self,
        table: &Table,
        snapshot: i64,
        added_by: Option<i64>,
        wanted: impl Fn(&ManifestEntry) -> bool,
    ) -> Result<Vec<FileTask>, LakeError> {
        let name = table.name();
        let Some(snapshot) = table.metadata().snapshot_by_id(snapshot) else {
            return Ok(vec![]);
        };
        let list = table
            .inner()
            .manifest_list_reader(snapshot)
            .load()
            .await
            .doing(name, "reading a manifest list")?;
        let mut files = Vec::new();
        for manifest in list.entries() {
            let relevant = manifest.content == ManifestContentType::Data
                && added_by.is_none_or(|id| manifest.added_snapshot_id == id);
            if !relevant {
                continue;
            }
            let loaded =
                manifest.load_manifest(&self.files).await.doing(name, "reading a manifest")?;
            let spec = std::sync::Arc::new(loaded.metadata().partition_spec().clone());
            for entry in loaded.entries().iter().filter(|entry| wanted(entry)) {
                files.push(FileTask::live(entry.data_file(), table.schema(), &spec, vec![]));
            }
        }
        Ok(files)
    }
}
