//! Upkeep: what keeps tables fast and small. No row changes, but for deleted keys that the settings let go.
//!
//! - `plan.rs`: which files are rewritten together. Pure
//! - `compact.rs`: rewriting them, and the `replace` commit
//! - `forget.rs`: deleted keys that are remembered no longer
//! - this file: the steps for one table, in order
//! - `report.rs`, `error.rs`: what was done, and what can go wrong
//!
//! Nothing here holds up other writers: a commit that comes first wins, and what it did not touch is tried again on
//! top of it.

mod compact;
mod error;
mod forget;
mod plan;
mod report;

use std::time::Duration;

use crate::lake::{
    Change, CommitOutcome, CommitProperties, Lake, Replacement, Table, TableName, properties,
};
use crate::telemetry::metrics::Layer;

pub use compact::Limits;
pub use error::UpkeepError;
pub use forget::Forget;
pub use report::{Done, Step};

/// A table to look after.
#[derive(Debug, Clone)]
pub struct Target {
    /// The pipeline that it belongs to.
    pub pipeline: String,
    /// The layer that commits to it.
    pub layer: Layer,
    /// The table.
    pub table: TableName,
    /// The columns by which rewritten files are sorted; none to keep the order that the rows have.
    pub sort: Vec<String>,
    /// The columns that always have bounds.
    pub bounds: Vec<String>,
    /// Which of its rows are forgotten; none of almost all tables.
    pub forget: Option<Forget>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Whether files are rewritten, and manifests.
    pub compact: bool,
    /// Whether snapshots expire.
    pub expire: bool,
    /// How old files have to be that nothing names; `None`: they stay.
    pub orphans: Option<Duration>,
    /// Whether it is only found out what there is to do.
    pub dry_run: bool,
}

/// Small manifests above which they are merged.
const MOST_MANIFESTS: usize = 10;
/// The size up to which a manifest is small: half of Iceberg's target.
const SMALL_MANIFEST: u64 = 4 * 1024 * 1024;
/// Conflicts in a row after which a table is left for the next time.
const MAX_CONFLICTS: u32 = 10;

/// Looks after tables.
#[derive(Debug, Clone)]
pub struct Upkeep {
    lake: Lake,
    /// Bytes of memory for sorting.
    memory: usize,
}

impl Upkeep {
    /// Upkeep that sorts in at most `memory` bytes; the rest is spilled to disk.
    pub fn new(lake: &Lake, memory: usize) -> Self {
        Self { lake: lake.clone(), memory }
    }

    /// Everything that `work` asks for, for one table; nothing where the table does not exist. `seen` gets what was
    /// done, step by step.
    pub async fn table(
        &self,
        target: &Target,
        work: Work,
        limits: Limits,
        mut seen: impl FnMut(Done),
    ) -> Result<(), UpkeepError> {
        if self.lake.find(&target.table).await?.is_none() {
            return Ok(());
        }
        if let Some(forget) = &target.forget {
            seen(Box::pin(self.forget(target, forget, work.dry_run)).await?);
        }
        if work.compact {
            seen(Box::pin(self.compact(target, limits, work.dry_run)).await?);
            seen(Box::pin(self.merge_manifests(target, work.dry_run)).await?);
        }
        if work.expire {
            seen(Box::pin(self.expire(target, work.dry_run)).await?);
        }
        if let Some(age) = work.orphans {
            seen(Box::pin(self.remove_orphans(target, age, work.dry_run)).await?);
        }
        Ok(())
    }

    /// Merges small manifests where there are many.
    async fn merge_manifests(&self, target: &Target, dry_run: bool) -> Result<Done, UpkeepError> {
        let mut table = self.lake.load(&target.table).await?;
        let before = self.lake.manifest_sizes(&table).await?;
        let mut done = Done::unchanged(target, Step::Manifests, before.len(), before.iter().sum());
        let small = before.iter().filter(|bytes| **bytes < SMALL_MANIFEST);
        let (count, bytes) = small.fold((0, 0), |(n, sum), bytes| (n + 1, sum + bytes));
        if count <= MOST_MANIFESTS {
            return Ok(done);
        }
        if dry_run {
            let merged = (bytes / (2 * SMALL_MANIFEST) + 1) as usize;
            done.items_after = before.len() - count + merged.min(count);
            return Ok(done);
        }
        for conflicts in 1..=MAX_CONFLICTS {
            let replacement = Replacement::of_manifests(&self.lake);
            let change = Change::replace(replacement, properties_of(target, &table)?);
            match self.lake.commit(&table, change).await? {
                CommitOutcome::Committed { table, .. } => {
                    let after = self.lake.manifest_sizes(&table).await?;
                    done.items_after = after.len();
                    done.bytes_after = after.iter().sum();
                    return Ok(done);
                }
                CommitOutcome::Conflict { table: now, .. } => table = now,
                CommitOutcome::Unknown(unknown) => return Err(UpkeepError::Lake(unknown.into())),
            }
            self.lake.wait_after_conflict(conflicts).await;
        }
        // Other writers were faster: the next time.
        Ok(done)
    }

    async fn expire(&self, target: &Target, dry_run: bool) -> Result<Done, UpkeepError> {
        let table = self.lake.load(&target.table).await?;
        let mut done = Done::unchanged(target, Step::Snapshots, table.snapshots().len(), 0);
        if dry_run {
            done.items_after -= self.lake.count_due(&table).await?;
            return Ok(done);
        }
        let (_, expired) = self.lake.expire(table).await?;
        done.items_after = done.items_before.saturating_sub(expired.snapshots);
        done.files_deleted = expired.files;
        Ok(done)
    }

    async fn remove_orphans(
        &self,
        target: &Target,
        age: Duration,
        dry_run: bool,
    ) -> Result<Done, UpkeepError> {
        let orphans = self.lake.orphans(&target.table, age).await?;
        let mut done = Done::unchanged(target, Step::Orphans, orphans.0.len(), orphans.bytes());
        if !dry_run {
            self.lake.delete_orphans(&target.table, &orphans).await?;
            done.files_deleted = orphans.0.len();
        }
        (done.items_after, done.bytes_after) = (0, 0);
        Ok(done)
    }
}

/// What a commit of upkeep says of itself: what the table said before it.
fn properties_of(target: &Target, table: &Table) -> Result<CommitProperties, UpkeepError> {
    let mut summary = properties::of_pipeline(&target.pipeline);
    summary.extend(table.standing_properties()?);
    Ok(CommitProperties::of_snapshot(target.layer, summary))
}
