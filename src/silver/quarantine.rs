//! Quarantine: the rows of bronze that silver refuses, each with its rule and reason.
//!
//! A merge stores refused rows before it commits to silver, as it does with deleted keys. A replay commits to silver
//! first, and then takes out of quarantine what is merged. So a crash between the two commits loses no row: a merge is
//! done again, and finds its refused rows stored; a replay that is done again finds its rows merged.

use std::collections::BTreeSet;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use futures::TryStreamExt;

use super::commit::{discard, rebuild_of};
use super::range::{Range, Way};
use super::{REBUILD, Silver, SilverError, Tables};
use crate::lake::position::Position;
use crate::lake::read::scan::FileTask;
use crate::lake::write::filtered::{Filtered, Staying};
use crate::lake::{Change, CommitProperties, LakeError, Removed, SnapshotId, Table, properties};
use crate::merge::{Counts, QUARANTINE_BOUNDS, Quarantined, ROWS, Scope};
use crate::sql::times::Times;
use crate::telemetry::metrics::{self, Layer};

/// The prefix of the position in bronze up to which rows were judged, in the commits of quarantine.
pub const JUDGED: &str = "silversmith.judged";
/// The rows that a commit added to quarantine, by rule, as JSON: a snapshot property.
pub const BY_RULE: &str = "silversmith.quarantined-by-rule";
/// Rows of quarantine that a replay takes at a time (I7).
const REPLAYED: u64 = 1_000_000;

/// What a replay did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// Rows that were in quarantine and were tried.
    pub tried: u64,
    /// Rows that went from quarantine: they are merged.
    pub merged: u64,
    /// What the merges counted.
    pub counts: Counts,
    /// Silver snapshots committed.
    pub snapshots: Vec<SnapshotId>,
}

impl Silver {
    /// Which rows of a range are compared with quarantine.
    pub(super) fn scope(&self, tables: &Tables, range: &Range) -> Result<Scope, SilverError> {
        let Some(quarantine) = &tables.quarantine else { return Ok(Scope::New) };
        // A merge whose commit to silver failed has judged its rows, perhaps under other rules.
        let judged = quarantine.position(JUDGED)?.map(|judged| judged.sequence);
        let merged = range.from.as_ref().map(|merged| merged.sequence);
        let again = range.way != Way::Onward || range.superset || judged > merged;
        Ok(if again { Scope::All } else { Scope::New })
    }

    /// Whether a rebuild has replaced quarantine and not silver.
    pub(super) fn rebuild_is_incomplete(tables: &Tables) -> bool {
        let of_quarantine = rebuild_of(tables.quarantine.as_ref());
        of_quarantine.is_some() && of_quarantine != rebuild_of(tables.silver.as_ref())
    }

    /// Commits what changes in quarantine. None: another commit came first.
    pub(super) async fn store(
        &self,
        quarantined: Quarantined,
        judged: Option<&Position>,
        rebuild: Option<&str>,
    ) -> Result<Option<Table>, SilverError> {
        let came = quarantined.came();
        let Quarantined { table, add, removed, refused, changed, gone } = quarantined;
        let mut own = properties::of_pipeline(&self.settings.pipeline);
        if let Some(position) = judged {
            properties::set_position(&mut own, JUDGED, position);
        }
        let mut summary = own.clone();
        let before = table.current().filter(|_| removed != Removed::All);
        summary.extend(properties::live_rows(before.as_ref(), came + changed, gone));
        if came > 0 {
            summary.insert(format!("{ROWS}-quarantined"), came.to_string());
            summary.insert(BY_RULE.to_owned(), serde_json::json!(refused).to_string());
        }
        own.extend(rebuild.map(|id| (REBUILD.to_owned(), id.to_owned())));
        let properties = CommitProperties { layer: Layer::Silver, summary, table: own };
        let change = match &removed {
            Removed::Files(files) if files.is_empty() => Change::append(add, properties),
            _ => Change::overwrite(add, removed, properties),
        };
        let committed = self.lake.commit(&table, change).await?.or_discard().await?;
        let Some((table, _)) = committed else { return Ok(None) };
        for (rule, rows) in &refused {
            metrics::quarantined(&self.settings.pipeline, rule, *rows);
        }
        if came > 0 {
            tracing::warn!(
                table = %table.name(), rows = came, by_rule = serde_json::json!(refused).to_string(),
                "refused rows are in quarantine, not in silver"
            );
        }
        Ok(Some(table))
    }

    /// Judges the rows in quarantine again, those that `rule` refused or all: what passes is merged, and goes from
    /// quarantine. Repeating it is harmless.
    pub async fn replay(&self, rule: Option<&str>) -> Result<ReplayReport, SilverError> {
        let (mut report, mut rewritten) = (ReplayReport::default(), 0);
        let began = self.lake.ambient().now();
        while !self.replay_all(rule, &mut report).await? {
            rewritten += 1;
            self.give_way(rewritten, began).await?;
        }
        Ok(report)
    }

    /// The same with the files that quarantine has now. `false`: compaction has rewritten some of them meanwhile.
    async fn replay_all(
        &self,
        rule: Option<&str>,
        report: &mut ReplayReport,
    ) -> Result<bool, SilverError> {
        let Some(quarantine) = self.lake.find(&self.settings.rules.quarantine).await? else {
            return Ok(true);
        };
        let (mut group, mut rows, mut whole) = (BTreeSet::new(), 0, true);
        for file in self.lake.files_of(&quarantine, None, &[]).await? {
            rows += file.rows().unwrap_or(REPLAYED);
            group.insert(file.path().to_owned());
            if rows >= REPLAYED {
                whole &=
                    Box::pin(self.replay_files(std::mem::take(&mut group), rule, report)).await?;
                rows = 0;
            }
        }
        if !group.is_empty() {
            whole &= Box::pin(self.replay_files(group, rule, report)).await?;
        }
        Ok(whole)
    }

    /// The same with the rows of some files of quarantine. `false`: some are not there any more.
    async fn replay_files(
        &self,
        files: BTreeSet<String>,
        rule: Option<&str>,
        report: &mut ReplayReport,
    ) -> Result<bool, SilverError> {
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        loop {
            let tables = self.load().await?;
            let position = self.position(tables.silver.as_ref(), tables.tombstones.as_ref())?;
            let (Some(quarantine), Some(bronze), Some(position)) =
                (&tables.quarantine, &tables.bronze, position)
            else {
                return Ok(true);
            };
            let mut live = self.lake.files_of(quarantine, None, &[]).await?;
            live.retain(|file| files.contains(file.path()));
            if live.len() < files.len() {
                return Ok(false);
            }
            let (tried, times) = self.times(quarantine, live, rule).await?;
            if tried == 0 {
                return Ok(true);
            }
            let range = Range {
                files: self.lake.files_of(bronze, None, &times.bounds()).await?,
                snapshots: 0,
                superset: false,
                way: Way::Onward,
                from: Some(position.clone()),
                end: position,
            };
            let scope = Scope::Quarantined { files: files.clone(), rule: rule.map(str::to_owned) };
            if Box::pin(self.replay_range(&tables, &range, scope, report)).await? {
                report.tried += tried;
                return Ok(true);
            }
            conflicts += 1;
            self.give_way(conflicts, began).await?;
        }
    }

    /// Merges rows that are in quarantine, and then takes them out of it. Whether no other commit came first.
    async fn replay_range(
        &self,
        tables: &Tables,
        range: &Range,
        scope: Scope,
        report: &mut ReplayReport,
    ) -> Result<bool, SilverError> {
        let Some(task) = self.task(tables, range, scope) else { return Ok(true) };
        let mut merged = self.engine.merge(task).await?;
        if self.position(Some(&merged.target), tables.tombstones.as_ref())? != range.from {
            discard(merged).await;
            return Ok(false);
        }
        let refused = merged.quarantine.take();
        // Those that are refused again are counted where they are.
        let (misfits, failed, unordered, unmet) = (0, 0, 0, 0);
        let counts = Counts { misfits, failed, unordered, unmet, ..merged.counts.clone() };
        self.remember(merged.tombstones.take(), false).await?;
        let changes =
            !(merged.add.is_empty() && merged.deletes.is_empty() && merged.remove.is_empty());
        if changes {
            let properties = self.properties(&counts, &range.end, (&merged.target, false));
            let Some((_, snapshot)) = self.commit_rows(merged, false, properties).await? else {
                return Ok(false);
            };
            report.snapshots.push(snapshot);
            report.counts.add(&counts);
        }
        let Some(refused) = refused else { return Ok(true) };
        let merged = refused.gone.saturating_sub(refused.changed);
        if self.store(refused, None, None).await?.is_none() {
            return Ok(false);
        }
        report.merged += merged;
        Ok(true)
    }

    /// How many rows files of quarantine have, of a rule or of all, and the times of their objects.
    async fn times(
        &self,
        quarantine: &Table,
        files: Vec<FileTask>,
        rule: Option<&str>,
    ) -> Result<(u64, Times), LakeError> {
        let columns = ["rule", "_event_time"].map(str::to_owned);
        let (mut rows, mut times) = (0, Times::default());
        let mut batches = self.lake.read_files(quarantine, quarantine.schema(), files, &columns, 1);
        while let Some(batch) = batches.try_next().await? {
            for row in (0..batch.num_rows()).filter(|row| is_of(&batch, *row, rule)) {
                rows += 1;
                times.add(&batch, row);
            }
        }
        Ok((rows, times))
    }

    /// Deletes rows from quarantine, those that `rule` refused or all. They stay in bronze. Returns how many; with
    /// `dry_run` nothing is changed.
    pub async fn purge(&self, rule: Option<&str>, dry_run: bool) -> Result<u64, SilverError> {
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        while let Some(table) = self.lake.find(&self.settings.rules.quarantine).await? {
            let stays = |batch: &RecordBatch| -> BooleanArray {
                (0..batch.num_rows()).map(|row| Some(!is_of(batch, row, rule))).collect()
            };
            let bounds = QUARANTINE_BOUNDS.map(str::to_owned);
            let staying = Staying { columns: &["rule"], stays: &stays, bounds: &bounds };
            let files = self.lake.files_of(&table, None, &[]).await?;
            let Filtered { gone, removed, files } =
                self.lake.filtered(&table, files, &staying, dry_run).await?;
            if gone == 0 || dry_run {
                return Ok(gone);
            }
            let (removed, refused) = (Removed::Files(removed), Default::default());
            let purged = Quarantined { table, add: files, removed, refused, changed: 0, gone };
            if self.store(purged, None, None).await?.is_some() {
                return Ok(gone);
            }
            conflicts += 1;
            self.give_way(conflicts, began).await?;
        }
        Ok(0)
    }
}

/// Whether a rule, or any, refused a row.
fn is_of(batch: &RecordBatch, row: usize, rule: Option<&str>) -> bool {
    let rules = batch.column_by_name("rule").and_then(|rules| rules.as_string_opt::<i32>());
    rule.is_none_or(|rule| rules.is_some_and(|rules| rules.value(row) == rule))
}
