//! `maintain`: compaction, manifests, expiry, orphans.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use clap::Args;

use super::FormatArgs;
use super::exit::Usage;
use super::output::{print, say};
use super::progress::{Progress, watched_with_progress};
use crate::config::settings::{KeepSnapshots, old_enough};
use crate::error::chain;
use crate::lake::TableName;
use crate::pipeline::{Pipeline, Wired};
use crate::upkeep::{Done, Limits, Step, Target, UpkeepError, Work};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  silversmith maintain --dry-run
  silversmith maintain
  silversmith maintain silver.orders --older-than 7d --format json")]
pub(super) struct MaintainArgs {
    /// Tables, as namespace.table; by default, all tables of all pipelines
    #[arg(value_name = "TABLE")]
    tables: Vec<TableName>,
    /// Change nothing: show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Delete files that nothing names if they are older than this; at least a day
    #[arg(long, value_name = "AGE", value_parser = old_enough)]
    older_than: Option<Duration>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(wired: &Wired, args: MaintainArgs) -> anyhow::Result<()> {
    let targets = targets(wired, &args.tables)?;
    let settings = wired.settings.lake.upkeep;
    let work = Work {
        compact: true,
        expire: settings.snapshots != KeepSnapshots::Always,
        orphans: args.older_than.or(settings.orphans),
        dry_run: args.dry_run,
    };
    let (all, failed) =
        watched_with_progress("upkeep", |progress| look_after(wired, &targets, work, progress))
            .await;
    if args.dry_run {
        say("dry run: nothing was changed")?;
    }
    print(&[rows(&all)?], args.format.format)?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The tables that are named; all of them where none is.
fn targets(wired: &Wired, named: &[TableName]) -> anyhow::Result<Vec<Target>> {
    let all: Vec<Target> = wired.pipelines.iter().flat_map(Pipeline::targets).collect();
    if let Some(unknown) = named.iter().find(|name| all.iter().all(|t| t.table != **name)) {
        let names: Vec<String> = all.iter().map(|target| target.table.to_string()).collect();
        let why =
            format!("no pipeline writes table {unknown}; the tables are {}", names.join(", "));
        return Err(Usage(why).into());
    }
    Ok(all.into_iter().filter(|t| named.is_empty() || named.contains(&t.table)).collect())
}

/// What was done, and the first failure. A table that fails does not hold up the others.
async fn look_after(
    wired: &Wired,
    targets: &[Target],
    work: Work,
    progress: Progress,
) -> (Vec<Done>, Option<UpkeepError>) {
    let (mut all, mut first_error) = (Vec::new(), None);
    let upkeep = wired.upkeep();
    for (index, target) in targets.iter().enumerate() {
        progress.set(format!("table {} ({} of {})", target.table, index + 1, targets.len()));
        match Box::pin(upkeep.table(target, work, Limits::COMMAND, |done| all.push(done))).await {
            Ok(()) => {}
            Err(kept) if kept.keeps_all() => {
                drop(say(&format!("note: {kept}")));
            }
            Err(error) => {
                drop(say(&format!("{}: failed: {}", target.table, chain(&error))));
                first_error.get_or_insert(error);
            }
        }
    }
    (all, first_error)
}

fn rows(all: &[Done]) -> anyhow::Result<RecordBatch> {
    let texts = |value: &dyn Fn(&Done) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(all.iter().map(value)))
    };
    let numbers = |value: &dyn Fn(&Done) -> Option<u64>| -> ArrayRef {
        Arc::new(all.iter().map(value).collect::<UInt64Array>())
    };
    // Keys and snapshots have no size of their own.
    let sized = |done: &Done, bytes: u64| match done.step {
        Step::DeletedKeys | Step::Snapshots => None,
        Step::Files | Step::Manifests | Step::Orphans => Some(bytes),
    };
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("table", texts(&|done| done.table.clone()), false),
        ("what", texts(&|done| done.step.as_str().to_owned()), false),
        ("before", numbers(&|done| Some(done.items_before as u64)), false),
        ("after", numbers(&|done| Some(done.items_after as u64)), false),
        ("bytes_before", numbers(&|done| sized(done, done.bytes_before)), true),
        ("bytes_after", numbers(&|done| sized(done, done.bytes_after)), true),
        ("files_deleted", numbers(&|done| Some(done.files_deleted as u64)), false),
    ])?)
}
