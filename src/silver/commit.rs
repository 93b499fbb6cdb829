//! The merge's files → one commit with its position (I4).

use std::collections::BTreeSet;

use super::range::Range;
use super::{MERGED, Silver, SilverError, Tables};
use crate::lake::position::Position;
use crate::lake::{
    Change, CommitOutcome, CommitProperties, Properties, Removed, SnapshotId, Table, Uncommitted,
    properties,
};
use crate::merge::{Counts, MergeTask, Merged, Tombstones};
use crate::telemetry::metrics::Layer;

/// What happened to the deleted keys of a merge.
enum Remembered {
    /// They are in their table, if there were any; this is its newest state.
    Yes(Option<Box<Table>>),
    /// A rebuild empties the table first, and another writer added keys meanwhile, which must not be lost.
    Overtaken,
}

impl Silver {
    /// Merges and commits; the last share of a range, with the position in the commit. The tables move on with it.
    /// None: another commit came first; plan again from its position.
    pub(super) async fn merge(
        &self,
        task: MergeTask,
        tables: &mut Tables,
        range: &Range,
    ) -> Result<Option<(SnapshotId, Counts)>, SilverError> {
        let rebuild = task.from_nothing;
        let end = (task.share.index + 1 == task.share.of).then_some(&range.end);
        tracing::info!(
            table = %self.settings.rules.table, bronze_snapshots = range.snapshots,
            files = task.files.len(), pass = task.share.index + 1, passes = task.share.of, "merging"
        );
        let Merged { target, schema, add, remove, tombstones, counts } =
            self.engine.merge(task).await?;
        // The state that the engine made, or that came with the last pass, may hold another writer's merge: the
        // plan is void then, and the position would go back (I4).
        if !rebuild && self.position(Some(&target), tables.tombstones.as_ref())? != range.from {
            add.discard().await;
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
                add.discard().await;
                return Ok(None);
            }
        }
        let properties = self.properties(&counts, end);
        let change = changed(add, remove, rebuild, properties).with_schema(schema);
        match self.lake.commit(&target, change).await? {
            CommitOutcome::Committed { table, snapshot } => {
                tracing::info!(
                    table = %self.settings.rules.table, snapshot = snapshot.0,
                    bronze_snapshot = end.map(|end| end.snapshot.0), inserted = counts.inserted,
                    updated = counts.updated, deleted = counts.deleted, late = counts.late,
                    null_keys = counts.null_keys, "silver merged"
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

    fn own_properties(&self) -> Properties {
        let mut own = properties::of_pipeline(&self.settings.pipeline);
        own.insert(properties::CONFIGURATION.to_owned(), self.settings.hash());
        own
    }

    pub(super) fn properties(&self, counts: &Counts, end: Option<&Position>) -> CommitProperties {
        let mut table = self.own_properties();
        if let Some(end) = end {
            properties::set_position(&mut table, MERGED, end);
        }
        let mut summary = table.clone();
        summary.extend(counts.properties());
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
        let properties = CommitProperties::of_both(Layer::Silver, self.own_properties());
        if !rebuild {
            let (table, _) = self.lake.append_until_in(table, add, schema, properties).await?;
            return Ok(Remembered::Yes(Some(Box::new(table))));
        }
        let change = changed(add, BTreeSet::new(), true, properties).with_schema(schema);
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

fn changed(
    add: Uncommitted,
    remove: BTreeSet<String>,
    everything: bool,
    properties: CommitProperties,
) -> Change {
    match (everything, remove.is_empty()) {
        (true, _) => Change::overwrite(add, Removed::All, properties),
        (false, true) => Change::append(add, properties),
        (false, false) => Change::overwrite(add, Removed::Files(remove), properties),
    }
}
