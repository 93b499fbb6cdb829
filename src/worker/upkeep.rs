//! Upkeep beside the work: tables with many small files are compacted, a part at a time, and once a day files that
//! nothing names are deleted. Snapshots expire in the commits of the work itself.
//!
//! It waits for nothing and holds up nothing: a commit of the work that comes first wins.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::round::Until;
use crate::error::chain;
use crate::lake::LakeError;
use crate::pipeline::{Pipeline, Wired};
use crate::upkeep::{Done, Limits, UpkeepError, Work};

/// The time between two looks at all tables.
const PACE: Duration = Duration::from_secs(10 * 60);
/// The time between two searches for orphans.
const ORPHANS_EVERY: TimeDelta = TimeDelta::days(1);

/// Runs until it is dropped. A worker that ends when it is idle leaves upkeep to others.
pub(super) async fn watch(wired: &Wired, until: Until) {
    if until != Until::Stopped {
        return std::future::pending().await;
    }
    let ambient = wired.lake.ambient();
    let mut searched = ambient.now();
    loop {
        ambient.sleep(ambient.jitter(PACE)).await;
        let work = due(wired, searched, ambient.now());
        if work.orphans.is_some() {
            searched = ambient.now();
        }
        Box::pin(look(wired, work)).await;
    }
}

/// What is to be done now.
fn due(wired: &Wired, searched: DateTime<Utc>, now: DateTime<Utc>) -> Work {
    let settings = wired.settings.lake.upkeep;
    let orphans = settings.orphans.filter(|_| now - searched >= ORPHANS_EVERY);
    Work { compact: settings.compact, expire: false, orphans, dry_run: false }
}

/// One look at all tables. A table that fails does not hold up the others.
async fn look(wired: &Wired, work: Work) {
    let upkeep = wired.upkeep();
    for target in wired.pipelines.iter().flat_map(Pipeline::targets) {
        let ended = upkeep.table(&target, work, Limits::WORKER, log).await;
        match ended {
            Ok(()) => {}
            // It says itself that its files stay: that is no failure.
            Err(UpkeepError::Lake(kept @ LakeError::KeepsAll { .. })) => {
                tracing::debug!(table = %target.table, %kept, "no orphans are deleted");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(table = %target.table, error, "upkeep failed; it is tried again later");
            }
        }
    }
}

fn log(done: Done) {
    if done.is_nothing() {
        return;
    }
    let Done { table, step, items_before, items_after, bytes_before, bytes_after, files_deleted } =
        done;
    let step = step.as_str();
    tracing::info!(
        table,
        step,
        items_before,
        items_after,
        bytes_before,
        bytes_after,
        files_deleted,
        "upkeep"
    );
}
