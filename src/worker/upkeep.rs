//! Upkeep beside the work: tables with many small files are compacted, a part at a time, and once a day files that
//! nothing names are deleted. Snapshots expire in the commits of the work itself.
//!
//! It waits for nothing and holds up nothing: a commit of the work that comes first wins.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::round::Until;
use crate::error::chain;
use crate::lake::{SnapshotId, TableName};
use crate::pipeline::{Pipeline, Wired};
use crate::upkeep::{Done, Limits, Target, UpkeepError, Work};

/// The time between two looks at all tables.
const PACE: Duration = Duration::from_secs(10 * 60);
/// The time between two searches for orphans.
const ORPHANS_EVERY: TimeDelta = TimeDelta::days(1);

/// By table: the snapshot at which there was nothing to rewrite.
type Seen = HashMap<TableName, SnapshotId>;

/// Runs until it is dropped. A worker that ends when it is idle leaves upkeep to others.
pub(super) async fn watch(wired: &Wired, until: Until) {
    if until != Until::Stopped {
        return std::future::pending().await;
    }
    let ambient = wired.lake.ambient();
    let (mut searched, mut seen) = (ambient.now(), Seen::new());
    loop {
        ambient.sleep(ambient.jitter(PACE)).await;
        let work = due(wired, searched, ambient.now());
        if work.orphans.is_some() {
            searched = ambient.now();
        }
        Box::pin(look(wired, work, &mut seen)).await;
    }
}

/// What is to be done now.
fn due(wired: &Wired, searched: DateTime<Utc>, now: DateTime<Utc>) -> Work {
    let settings = wired.settings.lake.upkeep;
    let orphans = settings.orphans.filter(|_| now - searched >= ORPHANS_EVERY);
    Work { compact: settings.compact, expire: false, orphans, dry_run: false }
}

/// One look at all tables. A table that fails does not hold up the others.
async fn look(wired: &Wired, work: Work, seen: &mut Seen) {
    for target in wired.pipelines.iter().flat_map(Pipeline::targets) {
        match Box::pin(look_at(wired, &target, work, seen)).await {
            Ok(()) => {}
            Err(kept) if kept.keeps_all() => {
                tracing::debug!(table = %target.table, %kept, "no orphans are deleted");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(table = %target.table, error, "upkeep failed; it is tried again later");
            }
        }
    }
}

/// A table is planned again when another snapshot has come.
async fn look_at(
    wired: &Wired,
    target: &Target,
    work: Work,
    seen: &mut Seen,
) -> Result<(), UpkeepError> {
    let table = wired.lake.find(&target.table).await?;
    let Some(tip) = table.and_then(|table| table.current()) else { return Ok(()) };
    let is_new = seen.get(&target.table) != Some(&tip.id);
    let work = Work { compact: work.compact && is_new, ..work };
    let mut nothing = true;
    let upkeep = wired.upkeep();
    let ended = upkeep.table(target, work, Limits::WORKER, |done| {
        nothing &= done.is_nothing();
        log(done);
    });
    ended.await?;
    if work.compact && nothing {
        seen.insert(target.table.clone(), tip.id);
    }
    Ok(())
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
