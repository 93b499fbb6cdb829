//! Silver: the newest row of each key, merged from what bronze gained (I4, I5).
//!
//! - `settings.rs`, `error.rs`: what the pipeline says, and what can go wrong
//! - `lag.rs`: how long bronze has waited
//! - this file: where the merge starts and ends, the mark, conflicts, the checkpoint

mod error;
mod lag;
mod settings;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::Instrument;

use crate::checkpoint::{self, CheckpointStore, FORMAT_VERSION, Rewind, SilverCheckpoint};
use crate::lake::read::diff::{Position, Standing, Step, standing};
use crate::lake::read::scan::FileTask;
use crate::lake::{Change, Facts, Lake, LakeError, Outcome, Removal, Table, properties};
use crate::merge::newest::Share;
use crate::merge::{self, MAX_PASSES, MergeEngine, MergeTask, Merged};

pub use error::SilverError;
pub use settings::{OWN_ORDER, OnBronzeDelete, SilverSettings, whole_order};

/// What a step did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SilverReport {
    /// Bronze snapshots merged.
    pub bronze_snapshots: usize,
    /// What the merges counted.
    pub counts: merge::Counts,
    /// Silver snapshots committed.
    pub snapshots: Vec<i64>,
    /// The start had expired: rows already merged were offered again.
    pub healed: bool,
}

/// One pipeline's way from bronze to silver.
#[derive(Debug, Clone)]
pub struct Silver {
    lake: Lake,
    checkpoints: Arc<dyn CheckpointStore>,
    engine: Arc<dyn MergeEngine>,
    settings: SilverSettings,
}

/// Merges in a row that may meet another commit before the step gives up.
const MAX_ATTEMPTS: usize = 10;

impl Silver {
    /// See [`Silver`].
    pub fn new(
        lake: &Lake,
        checkpoints: Arc<dyn CheckpointStore>,
        engine: Arc<dyn MergeEngine>,
        settings: SilverSettings,
    ) -> Self {
        Self { lake: lake.clone(), checkpoints, engine, settings }
    }

    /// Merges what bronze gained since the mark. Nothing to merge is fine.
    pub async fn step(&self) -> Result<SilverReport, SilverError> {
        let span = tracing::info_span!("merge", pipeline = self.settings.pipeline, table = %self.settings.rules.table);
        let (began, mut since) = (self.lake.ambient().now(), None);
        let report = self.step_since(&mut since).instrument(span).await?;
        if !report.snapshots.is_empty() {
            self.measure(since, self.lake.ambient().now() - began, &report);
        }
        Ok(report)
    }

    async fn step_since(
        &self,
        since: &mut Option<DateTime<Utc>>,
    ) -> Result<SilverReport, SilverError> {
        let mut report = SilverReport::default();
        let mut conflicts = 0;
        loop {
            // Silver first: the mark that is read is then never ahead of bronze as it is read.
            let silver = self.lake.find(&self.settings.rules.table).await?;
            let Some(bronze) = self.lake.find(&self.settings.bronze).await? else {
                return Ok(report);
            };
            let rewind = self.rewind().await?;
            let Some(range) = self.range(&bronze, silver.as_ref(), rewind).await? else {
                self.save_checkpoint(rewind).await?;
                return Ok(report);
            };
            *since = since.or_else(|| lag::waiting_since(&bronze, range.from.as_ref()));
            match self.merge_in_passes(&bronze, silver, &range, rewind.is_some()).await? {
                Some((snapshots, counts)) => {
                    conflicts = 0;
                    report.bronze_snapshots += range.snapshots;
                    report.counts.add(&counts);
                    report.healed |= range.superset;
                    report.snapshots.extend(snapshots);
                    self.save_checkpoint(rewind).await?;
                }
                None if conflicts + 1 == MAX_ATTEMPTS => {
                    let table = self.settings.rules.table.clone();
                    return Err(SilverError::Contended { table, attempts: MAX_ATTEMPTS });
                }
                None => conflicts += 1,
            }
        }
    }

    /// Merges a range. One that is too large for memory is worked off in shares of its keys, a commit
    /// each: only the last moves the mark, and what was merged before a crash is merged again (I5, I7).
    async fn merge_in_passes(
        &self,
        bronze: &Table,
        mut silver: Option<Table>,
        range: &Range,
        refresh_equal: bool,
    ) -> Result<Option<(Vec<i64>, merge::Counts)>, SilverError> {
        let cost: u64 = range.files.iter().map(FileTask::merge_cost).sum();
        let passes = cost.div_ceil(self.settings.rules.merge_cost.max(1)).clamp(1, MAX_PASSES);
        let (mut snapshots, mut counts) = (Vec::new(), merge::Counts::default());
        for index in 0..passes {
            let mut task = self.task(bronze, silver, range, refresh_equal);
            task.share = Share { index, of: passes };
            let mark = (index + 1 == passes).then_some(&range.end);
            let Some((table, merged)) = self.merge(task, range, mark, false).await? else {
                return Ok(None);
            };
            snapshots.extend(table.current().map(|s| s.id));
            counts.add(&merged);
            silver = Some(table);
        }
        Ok(Some((snapshots, counts)))
    }

    /// Makes silver anew from the whole of bronze, in one commit: under another configuration, or
    /// after bronze was changed by others.
    pub async fn rebuild(&self) -> Result<SilverReport, SilverError> {
        let mut report = SilverReport::default();
        for _ in 0..MAX_ATTEMPTS {
            let silver = self.lake.find(&self.settings.rules.table).await?;
            let Some(bronze) = self.lake.find(&self.settings.bronze).await? else {
                return Ok(report);
            };
            let Some(tip) = bronze.current() else { return Ok(report) };
            let range = Range {
                files: self.lake.files_of(&bronze, None, &[]).await?,
                end: Position::of(&bronze, &tip),
                snapshots: bronze.ancestry().snapshots.len(),
                superset: false,
                from: None,
            };
            let mut task = self.task(&bronze, silver, &range, true);
            task.from_nothing = true;
            if let Some((table, counts)) = self.merge(task, &range, Some(&range.end), true).await? {
                report.bronze_snapshots = range.snapshots;
                report.counts.add(&counts);
                report.snapshots.extend(table.current().map(|s| s.id));
                self.save_checkpoint(None).await?;
                return Ok(report);
            }
        }
        let table = self.settings.rules.table.clone();
        Err(SilverError::Contended { table, attempts: MAX_ATTEMPTS })
    }

    /// Whether silver, if it is there, was merged under this configuration.
    ///
    /// # Errors
    /// [`SilverError::OtherConfiguration`] when it was not.
    pub async fn check_configuration(&self) -> Result<(), SilverError> {
        if let Some(silver) = self.lake.find(&self.settings.rules.table).await? {
            self.mark(&silver).await?;
        }
        Ok(())
    }

    /// Whether all of bronze, as it is now, is merged. A rewind that was asked for is still to be done.
    pub async fn is_up_to_date(&self) -> Result<bool, SilverError> {
        // Silver first, as in a step.
        let silver = self.lake.find(&self.settings.rules.table).await?;
        let Some(bronze) = self.lake.find(&self.settings.bronze).await? else { return Ok(true) };
        let Some(tip) = bronze.current() else { return Ok(true) };
        let mark = match &silver {
            Some(silver) => self.mark(silver).await?,
            None => None,
        };
        Ok(mark == Some(Position::of(&bronze, &tip)) && self.rewind().await?.is_none())
    }

    fn task(
        &self,
        bronze: &Table,
        silver: Option<Table>,
        range: &Range,
        refresh_equal: bool,
    ) -> MergeTask {
        MergeTask {
            bronze: bronze.clone(),
            files: range.files.clone(),
            target: silver,
            rules: self.settings.rules.clone(),
            share: Share::ALL,
            from_nothing: false,
            refresh_equal,
        }
    }

    /// The next range to merge, or none when silver is up to date.
    async fn range(
        &self,
        bronze: &Table,
        silver: Option<&Table>,
        rewind: Option<Rewind>,
    ) -> Result<Option<Range>, SilverError> {
        let mark = match silver {
            Some(silver) => self.mark(silver).await?,
            None => None,
        };
        if bronze.current().is_none() {
            return Ok(None);
        }
        if let Some(mark) = &mark
            // Silver was loaded first: a mark ahead of bronze means that bronze was set back.
            && matches!(standing(bronze, mark), Standing::RolledBack | Standing::Ahead)
        {
            return Err(SilverError::BronzeRolledBack {
                bronze: bronze.name().clone(),
                silver: self.settings.rules.table.clone(),
                snapshot: mark.snapshot,
            });
        }
        let tip = bronze.current().map(|s| Position::of(bronze, &s));
        if rewind.is_none() && mark.is_some() && mark == tip {
            return Ok(None);
        }
        let start = match rewind {
            Some(rewind) => self.rewound(bronze, rewind)?,
            None => mark.clone(),
        };
        let diff = self.lake.diff(bronze, start.as_ref()).await?;
        let floor = mark.as_ref().map_or(0, |m| m.sequence);
        let range = self.first_share(bronze, diff.steps, diff.superset, floor)?;
        // The mark never goes back (I4): a merge that does not reach it is only wanted on a rewind.
        let range = range.filter(|r| r.end.sequence > floor || rewind.is_some());
        Ok(range.map(|range| Range { from: mark, ..range }))
    }

    /// As many steps as one commit takes: at least one, and always up to the mark.
    fn first_share(
        &self,
        bronze: &Table,
        steps: Vec<Step>,
        superset: bool,
        floor: i64,
    ) -> Result<Option<Range>, SilverError> {
        let mut range: Option<Range> = None;
        let mut bytes = 0;
        for step in steps {
            if let Some(operation) = step.removed_rows
                && self.settings.on_bronze_delete == OnBronzeDelete::Fail
            {
                return Err(SilverError::BronzeDeleted {
                    bronze: bronze.name().clone(),
                    snapshot: step.end.snapshot,
                    operation,
                });
            }
            let more: u64 = step.files.iter().map(FileTask::merge_cost).sum();
            let range = range.get_or_insert_with(|| Range {
                files: vec![],
                end: step.end.clone(),
                snapshots: 0,
                superset,
                from: None,
            });
            let full = range.snapshots > 0 && bytes + more > self.settings.rules.merge_cost;
            if full && range.end.sequence > floor {
                break;
            }
            bytes += more;
            range.files.extend(step.files);
            range.end = step.end;
            range.snapshots += 1;
        }
        Ok(range)
    }

    fn rewound(&self, bronze: &Table, rewind: Rewind) -> Result<Option<Position>, LakeError> {
        let Some(id) = rewind.after_snapshot_id else { return Ok(None) };
        let snapshot = bronze.snapshot(id).ok_or_else(|| LakeError::NoSnapshot {
            table: bronze.name().clone(),
            what: format!("{id}, to which the checkpoint was rewound"),
        })?;
        Ok(Some(Position::of(bronze, &snapshot)))
    }

    /// Where silver stands, once it is sure that it was merged under this configuration.
    async fn mark(&self, silver: &Table) -> Result<Option<Position>, SilverError> {
        let mark = silver.marked_position(properties::MERGED)?;
        let deletes = self.lake.find(&self.settings.rules.tombstones).await?;
        for table in [Some(silver), deletes.as_ref()].into_iter().flatten() {
            let facts = table.newest_marks(properties::CONFIGURATION)?;
            let hash = facts.and_then(|f| f.get(properties::CONFIGURATION).cloned());
            if hash.is_some_and(|hash| hash != self.settings.hash()) {
                return Err(SilverError::OtherConfiguration(self.settings.rules.table.clone()));
            }
        }
        Ok(mark)
    }

    /// Merges and commits, with the position that the mark moves to, if it does. `None`: another
    /// commit came first; plan again from its mark.
    async fn merge(
        &self,
        task: MergeTask,
        range: &Range,
        end: Option<&Position>,
        rebuild: bool,
    ) -> Result<Option<(Table, merge::Counts)>, SilverError> {
        tracing::info!(
            table = %self.settings.rules.table, bronze_snapshots = range.snapshots, files = task.files.len(),
            pass = task.share.index + 1, passes = task.share.of, "merging"
        );
        let merged = self.engine.merge(task).await?;
        // The state that the engine found, or made, or that came with the last pass may hold somebody
        // else's merge: the plan is void then, and the mark would go back (I4).
        if !rebuild && self.mark(&merged.target).await? != range.from {
            self.discard(&merged).await;
            return Ok(None);
        }
        // Deleted keys are remembered first: they are facts about bronze, whatever silver does.
        if !self.remember_deletes(&merged, rebuild).await? {
            self.discard(&merged).await;
            return Ok(None);
        }
        let mut facts = self.facts();
        if let Some(end) = end {
            properties::set_position(&mut facts, properties::MERGED, end);
        }
        let mut summary = facts.clone();
        summary.extend(merged.counts.facts());
        let change = Change {
            add: merged.add.clone(),
            remove: removal(&merged.remove, rebuild),
            schema: merged.schema.clone(),
            marks: summary,
            property_marks: facts,
        };
        match self.lake.commit(&merged.target, &change).await {
            Ok(Outcome::Committed(table)) => {
                let counts = &merged.counts;
                tracing::info!(
                    table = %self.settings.rules.table, snapshot = table.current().map(|s| s.id),
                    bronze_snapshot = end.map(|end| end.snapshot), inserted = counts.inserted,
                    updated = counts.updated, deleted = counts.deleted, late = counts.late,
                    null_keys = counts.null_keys, "silver merged"
                );
                Ok(Some((table, merged.counts)))
            }
            Ok(Outcome::Conflict(_)) => {
                self.discard(&merged).await;
                Ok(None)
            }
            Err(error @ LakeError::Unknown { .. }) => Err(error.into()),
            Err(error) => {
                self.discard(&merged).await;
                Err(error.into())
            }
        }
    }

    async fn discard(&self, merged: &Merged) {
        let paths = merged.add.iter().map(|f| f.file_path().to_owned());
        self.lake.discard(paths.collect()).await;
    }

    fn facts(&self) -> Facts {
        let mut facts = properties::marks(&self.settings.pipeline);
        facts.insert(properties::CONFIGURATION.to_owned(), self.settings.hash());
        facts
    }

    /// Adds to the table of deleted keys. `false`: on a rebuild, which empties it first, somebody else
    /// has added to it meanwhile; what they know must not be lost.
    async fn remember_deletes(&self, merged: &Merged, rebuild: bool) -> Result<bool, SilverError> {
        let Some(deletes) = &merged.deletes else { return Ok(true) };
        if deletes.add.is_empty() && !rebuild {
            return Ok(true);
        }
        let facts = self.facts();
        let change = Change {
            add: deletes.add.clone(),
            remove: removal(&BTreeSet::new(), rebuild),
            schema: deletes.schema.clone(),
            marks: facts.clone(),
            property_marks: facts,
        };
        let mut base = deletes.table.clone();
        loop {
            match self.lake.commit(&base, &change).await? {
                Outcome::Committed(_) => return Ok(true),
                Outcome::Conflict(_) if rebuild => {
                    let paths = change.add.iter().map(|f| f.file_path().to_owned());
                    self.lake.discard(paths.collect()).await;
                    return Ok(false);
                }
                Outcome::Conflict(newer) => base = newer,
            }
        }
    }

    async fn rewind(&self) -> Result<Option<Rewind>, SilverError> {
        let stored =
            checkpoint::load::<SilverCheckpoint>(&*self.checkpoints, &self.settings.pipeline)
                .await?;
        Ok(stored.and_then(|(checkpoint, _)| checkpoint.rewind))
    }

    /// The checkpoint follows the mark. A rewind that was carried out is taken out of it.
    async fn save_checkpoint(&self, carried_out: Option<Rewind>) -> Result<(), SilverError> {
        let mark = match self.lake.find(&self.settings.rules.table).await? {
            Some(silver) => silver.marked_position(properties::MERGED)?,
            None => None,
        };
        let now = self.lake.ambient().now();
        let change = |stored: Option<SilverCheckpoint>| {
            let asked = stored.as_ref().and_then(|s| s.rewind);
            let new = SilverCheckpoint {
                format_version: FORMAT_VERSION,
                table: self.settings.rules.table.to_string(),
                bronze_table_uuid: mark.as_ref().map(|m| m.table.clone()),
                bronze_snapshot_id: mark.as_ref().map(|m| m.snapshot),
                bronze_sequence_number: mark.as_ref().map(|m| m.sequence),
                rewind: asked.filter(|asked| Some(*asked) != carried_out),
                updated_at: now,
            };
            let same = stored.is_some_and(|s| SilverCheckpoint { updated_at: now, ..s } == new);
            (!same).then_some(new)
        };
        checkpoint::update(&*self.checkpoints, &self.settings.pipeline, change).await?;
        Ok(())
    }
}

/// What one commit merges.
#[derive(Debug)]
struct Range {
    files: Vec<FileTask>,
    end: Position,
    snapshots: usize,
    superset: bool,
    /// The mark that it was planned from.
    from: Option<Position>,
}

fn removal(files: &BTreeSet<String>, everything: bool) -> Removal {
    match (everything, files.is_empty()) {
        (true, _) => Removal::All,
        (false, true) => Removal::Nothing,
        (false, false) => Removal::Files(files.clone()),
    }
}
