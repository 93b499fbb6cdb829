//! The merge's files → one commit with its position (I4).

use super::range::{Range, Way};
use super::{MERGED, Silver, SilverError, Tables};
use crate::lake::position::Position;
use crate::lake::write::position_deletes::DeleteFiles;
use crate::lake::{
    Change, CommitOutcome, CommitProperties, Properties, Removed, SnapshotId, Table, Uncommitted,
    properties,
};
use crate::merge::{Counts, History, MergeTask, Merged, Tombstones};
use crate::telemetry::metrics::Layer;

/// Rows that were not merged since silver was built, as a cell of their key or order does not fit: a table property.
const MISFITS: &str = "silversmith.misfits";
/// Rows that were not merged since silver was built, as the SQL failed on them: a table property.
const FAILED: &str = "silversmith.failed";

/// What happened to the deleted keys of a merge.
enum Remembered {
    /// They are in their table, if there were any; this is its newest state.
    Yes(Option<Box<Table>>),
    /// A rebuild empties the table first, and another writer added keys meanwhile, which must not be lost.
    Overtaken,
}

impl Silver {
    /// Merges and commits, with the position in the commit. The tables move on with it.
    /// None: another commit came first; plan again from its position.
    pub(super) async fn merge(
        &self,
        task: MergeTask,
        tables: &mut Tables,
        range: &Range,
    ) -> Result<Option<(SnapshotId, Counts)>, SilverError> {
        let rebuild = task.from_nothing;
        tracing::info!(
            table = %self.settings.rules.table, bronze_snapshots = range.snapshots,
            files = task.files.len(), "merging"
        );
        let Merged { target, schema, add, deletes, remove, tombstones, counts } =
            self.engine.merge(task).await?;
        // The state that the engine made, or that came with the last pass, may hold another writer's merge: the
        // plan is void then, and the position would go back (I4).
        if range.way != Way::Rebuilt
            && self.position(Some(&target), tables.tombstones.as_ref())? != range.from
        {
            discard(add, deletes).await;
            if let Some(tombstones) = tombstones {
                tombstones.add.discard().await;
            }
            return Ok(None);
        }
        // Deleted keys are stored first: they follow from bronze alone, whatever happens to silver.
        match self.remember(tombstones, rebuild).await? {
            Remembered::Yes(newest) => {
                tables.tombstones = newest.map(|table| *table).or(tables.tombstones.take());
            }
            Remembered::Overtaken => {
                discard(add, deletes).await;
                return Ok(None);
            }
        }
        let properties = self.properties(&counts, &range.end, (&target, rebuild));
        self.warn_of_misfits(&counts);
        let change = match rebuild {
            true => Change::overwrite(add, Removed::All, properties),
            false => Change::row_delta(add, deletes, remove, properties),
        };
        match self.lake.commit(&target, change.with_schema(schema)).await? {
            CommitOutcome::Committed { table, snapshot } => {
                tracing::info!(
                    table = %self.settings.rules.table, snapshot = snapshot.0,
                    bronze_snapshot = range.end.snapshot.0, inserted = counts.inserted,
                    updated = counts.updated, deleted = counts.deleted, late = counts.late,
                    null_keys = counts.null_keys, misfits = counts.misfits,
                    failed = counts.failed, "silver merged"
                );
                tables.silver = Some(table);
                Ok(Some((snapshot, counts)))
            }
            CommitOutcome::Conflict { files, .. } => {
                files.discard().await;
                Ok(None)
            }
            CommitOutcome::Unknown(unknown) => Err(SilverError::Lake(unknown.into())),
        }
    }

    fn own_properties(&self, table: &Table) -> Properties {
        let mut own = properties::of_pipeline(&self.settings.pipeline);
        own.insert(properties::CONFIGURATION.to_owned(), self.settings.hash());
        // Tables without a history do not say so, but those that had one.
        let history = self.settings.rules.history;
        if history != History::None || table.property(properties::HISTORY).is_some() {
            own.insert(properties::HISTORY.to_owned(), history.as_str().to_owned());
        }
        own
    }

    fn warn_of_misfits(&self, counts: &Counts) {
        if counts.misfits > 0 {
            tracing::warn!(
                table = %self.settings.rules.table, bronze = %self.settings.bronze, rows = counts.misfits,
                "rows are not merged: a cell of their key or order_by does not fit its type and is in _rescued; declare the type that fits, or fix the files"
            );
        }
    }

    /// Of the table, whether it is rebuilt: what it counts begins anew then.
    pub(super) fn properties(
        &self,
        counts: &Counts,
        end: &Position,
        (target, rebuild): (&Table, bool),
    ) -> CommitProperties {
        let mut table = self.own_properties(target);
        properties::set_position(&mut table, MERGED, end);
        let mut summary = table.clone();
        summary.extend(counts.properties());
        let before = target.current().filter(|_| !rebuild);
        let added = counts.inserted + counts.updated;
        summary.extend(properties::live_rows(before.as_ref(), added, counts.gone));
        for (name, more) in [(MISFITS, counts.misfits), (FAILED, counts.failed)] {
            let before = counted(target, name);
            let count = before.filter(|_| !rebuild).unwrap_or_default() + more;
            if before.is_some() || count > 0 {
                table.insert(name.to_owned(), count.to_string());
            }
        }
        CommitProperties { layer: Layer::Silver, summary, table }
    }

    /// Adds deleted keys to their table; a rebuild empties it first.
    async fn remember(
        &self,
        tombstones: Option<Tombstones>,
        rebuild: bool,
    ) -> Result<Remembered, SilverError> {
        let Some(Tombstones { table, schema, add }) = tombstones else {
            return Ok(Remembered::Yes(None));
        };
        if add.is_empty() && !rebuild {
            return Ok(Remembered::Yes(Some(Box::new(table))));
        }
        let properties = CommitProperties::of_both(Layer::Silver, self.own_properties(&table));
        if !rebuild {
            let (table, _) = self.lake.append_until_in(table, add, schema, properties).await?;
            return Ok(Remembered::Yes(Some(Box::new(table))));
        }
        let change = Change::overwrite(add, Removed::All, properties).with_schema(schema);
        match self.lake.commit(&table, change).await? {
            CommitOutcome::Committed { table, .. } => Ok(Remembered::Yes(Some(Box::new(table)))),
            CommitOutcome::Conflict { files, .. } => {
                files.discard().await;
                Ok(Remembered::Overtaken)
            }
            CommitOutcome::Unknown(unknown) => Err(SilverError::Lake(unknown.into())),
        }
    }
}

async fn discard(add: Uncommitted, deletes: DeleteFiles) {
    add.discard().await;
    deletes.into_files().discard().await;
}

/// The rows of bronze that were not merged into this silver table, because a cell of their key or order was
/// rescued; none where no merge has counted them.
pub fn misfits(silver: &Table) -> Option<u64> {
    counted(silver, MISFITS)
}

/// The rows of bronze that were not merged into this silver table, because its SQL failed on them; none where no merge
/// has counted them.
pub fn failed(silver: &Table) -> Option<u64> {
    counted(silver, FAILED)
}

fn counted(silver: &Table, name: &str) -> Option<u64> {
    silver.property(name)?.parse().ok()
}
