//! The merge's files → one commit with its position (I4).

use super::range::{Range, Way};
use super::{MERGED, REBUILD, Silver, SilverError, Tables};
use crate::lake::position::Position;
use crate::lake::{Change, CommitProperties, Properties, Removed, SnapshotId, Table, properties};
use crate::merge::{Counts, History, MergeTask, Merged, Tombstones};
use crate::telemetry::metrics::Layer;

/// What happened to the deleted keys of a merge.
pub(super) enum Remembered {
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
        let mut merged = self.engine.merge(task).await?;
        // The state that the engine made, or that came with the last pass, may hold another writer's merge: the
        // plan is void then, and the position would go back (I4).
        if range.way != Way::Rebuilt
            && self.position(Some(&merged.target), tables.tombstones.as_ref())? != range.from
        {
            discard(merged).await;
            return Ok(None);
        }
        // Deleted keys are stored first: they follow from bronze alone, whatever happens to silver.
        match self.remember(merged.tombstones.take(), rebuild).await? {
            Remembered::Yes(newest) => {
                tables.tombstones = newest.map(|table| *table).or(tables.tombstones.take());
            }
            Remembered::Overtaken => {
                discard(merged).await;
                return Ok(None);
            }
        }
        // So are refused rows: after a crash here the range is merged again, and finds them stored.
        let of_rebuild = match (rebuild, &merged.quarantine) {
            (false, _) => None,
            (true, Some(_)) => Some(self.lake.ambient().uuid().to_string()),
            // Quarantine is what this rebuild makes of it.
            (true, None) => rebuild_of(tables.quarantine.as_ref()).map(str::to_owned),
        };
        if let Some(refused) = merged.quarantine.take() {
            let stored = self.store(refused, Some(&range.end), of_rebuild.as_deref()).await?;
            let Some(stored) = stored else {
                discard(merged).await;
                return Ok(None);
            };
            tables.quarantine = Some(stored);
        }
        let mut properties = self.properties(&merged.counts, &range.end, (&merged.target, rebuild));
        properties.table.extend(of_rebuild.map(|id| (REBUILD.to_owned(), id)));
        let counts = merged.counts.clone();
        let Some((table, snapshot)) = self.commit_rows(merged, rebuild, properties).await? else {
            return Ok(None);
        };
        self.log(&counts, snapshot, range);
        tables.silver = Some(table);
        Ok(Some((snapshot, counts)))
    }

    /// Commits what a merge has written to silver. None: another commit came first.
    pub(super) async fn commit_rows(
        &self,
        merged: Merged,
        rebuild: bool,
        properties: CommitProperties,
    ) -> Result<Option<(Table, SnapshotId)>, SilverError> {
        let Merged { target, schema, add, deletes, remove, .. } = merged;
        let change = match rebuild {
            true => Change::overwrite(add, Removed::All, properties),
            false => Change::row_delta(add, deletes, remove, properties),
        };
        let committed = self.lake.commit(&target, change.with_schema(schema)).await?;
        Ok(committed.or_discard().await?)
    }

    fn log(&self, counts: &Counts, snapshot: SnapshotId, range: &Range) {
        tracing::info!(
            table = %self.settings.rules.table, snapshot = snapshot.0,
            bronze_snapshot = range.end.snapshot.0, inserted = counts.inserted,
            updated = counts.updated, deleted = counts.deleted, late = counts.late,
            null_keys = counts.null_keys, misfits = counts.misfits,
            failed = counts.failed, quarantined = counts.refused(), "silver merged"
        );
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
        CommitProperties { layer: Layer::Silver, summary, table }
    }

    /// Adds deleted keys to their table; a rebuild empties it first.
    pub(super) async fn remember(
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
        Ok(match self.lake.commit(&table, change).await?.or_discard().await? {
            Some((table, _)) => Remembered::Yes(Some(Box::new(table))),
            None => Remembered::Overtaken,
        })
    }
}

/// The newest rebuild that a table is of.
pub(super) fn rebuild_of(table: Option<&Table>) -> Option<&str> {
    table.and_then(|table| table.property(REBUILD))
}

/// Deletes what a merge has written and no commit takes.
pub(super) async fn discard(merged: Merged) {
    let Merged { add, deletes, tombstones, quarantine, .. } = merged;
    add.discard().await;
    deletes.into_files().discard().await;
    if let Some(tombstones) = tombstones {
        tombstones.add.discard().await;
    }
    if let Some(refused) = quarantine {
        refused.add.discard().await;
    }
}
