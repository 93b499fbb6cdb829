//! Silver: the newest row of each key, or every version of it, merged from what bronze gained (I4, I5).
//!
//! - this file: the step, and the rebuild
//! - `range.rs`: where the merge starts and ends
//! - `commit.rs`: the merge's files → one commit with its position
//! - `quarantine.rs`: the rows that silver refuses: storing them, and judging them again
//! - `checkpoint.rs`: the JSON that follows the position
//! - `repair.rs`: what a rebuild would lose, and how silver goes on after bronze was set back
//! - `settings.rs`, `error.rs`: what the pipeline says, and what can go wrong
//! - `lag.rs`: how long bronze has waited

mod checkpoint;
mod commit;
mod error;
mod lag;
mod quarantine;
mod range;
mod repair;
mod settings;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::Instrument;

use crate::checkpoint::CheckpointStore;
use crate::lake::position::{Position, consumed, has_same_rows};
use crate::lake::{Lake, Properties, SequenceNumber, SnapshotId, Table, properties};
use crate::merge::{Counts, History, MergeEngine, MergeTask, Scope};
use range::{Range, Way};

pub use checkpoint::{Rewind, SilverCheckpoint};
pub use error::SilverError;
pub use quarantine::{BY_RULE, JUDGED, ReplayReport};
pub use repair::Bereft;
pub use settings::{MOST_MERGED, OnBronzeDelete, REPEATED, SilverSettings, whole_order};

/// The prefix of silver's position in bronze: how far bronze is merged.
pub const MERGED: &str = "silversmith.bronze";
/// The newest rebuild of silver, as a property of it and of quarantine. They differ while a rebuild is not complete.
const REBUILD: &str = "silversmith.rebuild";

/// What a step did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SilverReport {
    /// Bronze snapshots merged.
    pub bronze_snapshots: usize,
    /// What the merges counted.
    pub counts: Counts,
    /// Silver snapshots committed.
    pub snapshots: Vec<SnapshotId>,
    /// The start had expired: rows that were merged before were merged again.
    pub healed: bool,
}

/// What a step did, and the state that it ended with.
#[derive(Debug, Default)]
pub struct SilverStep {
    /// What it did.
    pub report: SilverReport,
    /// Bronze as far as it is merged.
    pub through: Option<Position>,
}

/// One pipeline's way from bronze to silver.
#[derive(Debug, Clone)]
pub struct Silver {
    lake: Lake,
    checkpoints: Arc<dyn CheckpointStore>,
    engine: Arc<dyn MergeEngine>,
    settings: SilverSettings,
}

/// The tables of a merge, each loaded once.
#[derive(Debug)]
struct Tables {
    silver: Option<Table>,
    tombstones: Option<Table>,
    quarantine: Option<Table>,
    bronze: Option<Table>,
}

/// Conflicts in a row after which a merge gives up.
const MAX_CONFLICTS: u32 = 10;

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

    /// Loads the tables. Silver first: its position is then never ahead of bronze as it is loaded, unless bronze was
    /// set back.
    async fn load(&self) -> Result<Tables, SilverError> {
        let silver = self.lake.find(&self.settings.rules.table).await?;
        let tombstones = self.lake.find(&self.settings.rules.tombstones).await?;
        let quarantine = self.lake.find(&self.settings.rules.quarantine).await?;
        let bronze = match self.lake.find(&self.settings.bronze).await? {
            Some(bronze) => {
                let merged = silver.as_ref().map(|silver| silver.position(MERGED)).transpose()?;
                Some(self.lake.caught_up(bronze, merged.flatten().as_ref()).await?)
            }
            None => None,
        };
        Ok(Tables { silver, tombstones, quarantine, bronze })
    }

    /// Merges the rows that bronze has gained since silver's position. Nothing to merge is a success.
    pub async fn step(&self) -> Result<SilverStep, SilverError> {
        let span = tracing::info_span!("merge", pipeline = self.settings.pipeline, table = %self.settings.rules.table);
        let (began, mut since) = (self.lake.ambient().now(), None);
        let step = self.step_since(&mut since).instrument(span).await?;
        if !step.report.snapshots.is_empty() {
            self.measure(since, self.lake.ambient().now() - began, &step.report);
        }
        Ok(step)
    }

    async fn step_since(
        &self,
        since: &mut Option<DateTime<Utc>>,
    ) -> Result<SilverStep, SilverError> {
        let mut report = SilverReport::default();
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        let mut tables = self.load().await?;
        loop {
            let rewind = self.rewind().await?;
            let Some(range) = self.range(&tables, rewind).await? else {
                let through = match &tables.silver {
                    Some(silver) => silver.position(MERGED)?,
                    None => None,
                };
                if tables.bronze.is_some() {
                    self.save_checkpoint(through.as_ref(), rewind).await?;
                }
                return Ok(SilverStep { report, through });
            };
            *since = since.or_else(|| {
                tables.bronze.as_ref().and_then(|b| lag::waiting_since(b, range.from.as_ref()))
            });
            let scope = self.scope(&tables, &range)?;
            let Some(task) = self.task(&tables, &range, scope) else {
                return Ok(SilverStep { report, ..SilverStep::default() });
            };
            if let Some((snapshot, counts)) =
                Box::pin(self.merge(task, &mut tables, &range)).await?
            {
                conflicts = 0;
                report.snapshots.push(snapshot);
                report.counts.add(&counts);
                report.bronze_snapshots += range.snapshots;
                report.healed |= range.superset;
                self.save_checkpoint(Some(&range.through()), rewind).await?;
                // A rival that has merged since may know a newer bronze than the one loaded here.
                if !self.stands_at(&tables, &range.through())? {
                    tables = self.load().await?;
                }
            } else {
                conflicts += 1;
                self.give_way(conflicts, began).await?;
                tables = self.load().await?;
            }
        }
    }

    fn stands_at(&self, tables: &Tables, position: &Position) -> Result<bool, SilverError> {
        let stands = self.position(tables.silver.as_ref(), tables.tombstones.as_ref())?;
        Ok(stands.as_ref() == Some(position))
    }

    /// After a conflict: waits a little, or gives up.
    async fn give_way(&self, conflicts: u32, began: DateTime<Utc>) -> Result<(), SilverError> {
        if conflicts < MAX_CONFLICTS {
            self.lake.wait_after_conflict(conflicts).await;
            return Ok(());
        }
        Err(SilverError::Contended {
            table: self.settings.rules.table.clone(),
            attempts: conflicts,
            elapsed: (self.lake.ambient().now() - began).to_std().unwrap_or_default(),
        })
    }

    /// Recomputes silver from all of bronze, in one commit: under another configuration, or after another program
    /// changed bronze.
    pub async fn rebuild(&self) -> Result<SilverReport, SilverError> {
        let mut report = SilverReport::default();
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        loop {
            let mut tables = self.load().await?;
            let Some(bronze) = &tables.bronze else { return Ok(report) };
            let Some(tip) = bronze.current() else { return Ok(report) };
            let range = Range {
                files: self.lake.files_of(bronze, None, &[]).await?,
                end: Position::of(bronze, &tip),
                snapshots: bronze.history_length(),
                superset: false,
                way: Way::Rebuilt,
                from: None,
            };
            let Some(task) = self.task(&tables, &range, Scope::All) else { return Ok(report) };
            let merged = Box::pin(self.merge(task, &mut tables, &range)).await?;
            if let Some((snapshot, counts)) = merged {
                report.bronze_snapshots = range.snapshots;
                report.counts.add(&counts);
                report.snapshots.push(snapshot);
                self.save_checkpoint(Some(&range.end), None).await?;
                return Ok(report);
            }
            conflicts += 1;
            self.give_way(conflicts, began).await?;
        }
    }

    /// Whether silver, if it is there, was merged under this configuration.
    ///
    /// # Errors
    /// [`SilverError::OtherConfiguration`] or [`SilverError::OtherHistory`] when it was not.
    pub async fn check_configuration(&self) -> Result<(), SilverError> {
        let silver = self.lake.find(&self.settings.rules.table).await?;
        let tombstones = self.lake.find(&self.settings.rules.tombstones).await?;
        self.position(silver.as_ref(), tombstones.as_ref()).map(drop)
    }

    /// Whether bronze has moved beyond a position.
    pub async fn has_moved(&self, through: Option<&Position>) -> Result<bool, SilverError> {
        let Some(bronze) = self.lake.find(&self.settings.bronze).await? else { return Ok(false) };
        let merged = through.is_some_and(|position| has_same_rows(&bronze, position));
        Ok(bronze.current().is_some() && !merged)
    }

    /// How far this state of bronze is merged: what is above it, silver still needs snapshot by snapshot. Nothing is
    /// consumed where bronze was rolled back or made anew: expiry must not hide that.
    pub async fn consumed(&self, bronze: &Table) -> Result<SequenceNumber, SilverError> {
        // A requested rewind needs older ones again.
        if self.rewind().await?.is_some() {
            return Ok(SequenceNumber::default());
        }
        let silver = self.lake.find(&self.settings.rules.table).await?;
        let merged = silver.map(|silver| silver.position(MERGED)).transpose()?.flatten();
        Ok(consumed(bronze, merged.as_ref()))
    }

    fn task(&self, tables: &Tables, range: &Range, scope: Scope) -> Option<MergeTask> {
        Some(MergeTask {
            source: tables.bronze.clone()?,
            files: range.files.clone(),
            target: tables.silver.clone(),
            tombstones: tables.tombstones.clone(),
            quarantine: tables.quarantine.clone(),
            quarantine_scope: scope,
            source_snapshot: Some(range.end.snapshot),
            rules: self.settings.rules.clone(),
            from_nothing: matches!(range.way, Way::Anew | Way::Rebuilt),
            refresh_equal: range.way != Way::Onward,
        })
    }

    /// What differs from the configuration that a table was merged under. Tables of before there were any have no
    /// history.
    fn other_configuration(&self, merged: &Properties) -> SilverError {
        let (table, now) =
            (self.settings.rules.table.clone(), self.settings.rules.history.as_str());
        let was = merged.get(properties::HISTORY).map_or(History::None.as_str(), String::as_str);
        match was == now {
            true => SilverError::OtherConfiguration(table),
            false => SilverError::OtherHistory { table, was: was.to_owned(), now },
        }
    }

    /// Silver's position, after a check that silver was merged under this configuration.
    fn position(
        &self,
        silver: Option<&Table>,
        tombstones: Option<&Table>,
    ) -> Result<Option<Position>, SilverError> {
        let Some(silver) = silver else { return Ok(None) };
        for table in [Some(silver), tombstones].into_iter().flatten() {
            let newest = table.newest_properties(properties::CONFIGURATION)?.unwrap_or_default();
            let hash = newest.get(properties::CONFIGURATION);
            if hash.is_some_and(|hash| *hash != self.settings.hash()) {
                return Err(self.other_configuration(&newest));
            }
        }
        Ok(silver.position(MERGED)?)
    }
}
