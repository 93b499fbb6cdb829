//! Targets that keep every version of a key, with when it began and ended (`history = "scd2"`).
//!
//! - `columns.rs`: what a history adds to the columns
//! - `chain.rs`: the decisions, pure
//! - `scan.rs`: what the target has of the keys of a part
//! - `write.rs`: the rows that come

mod chain;
mod columns;
mod scan;
mod write;

use std::sync::Arc;

use chain::{Chains, Plan, Seen, Version};
use scan::Scan;

pub use columns::{check_free, taken};
pub(super) use columns::{check_types, with_history};

use super::apply::Changes;
use super::lookup::Target;
use super::newest::Winner;
use super::output::arrow_error;
use super::spill::Part;
use super::tombstones::TombstoneWriter;
use super::{Counts, MergeError, MergeTask};
use crate::lake::Lake;

/// Merges one part of the source.
pub(super) async fn merge_part(
    reader: (&Lake, usize),
    (task, target): (&MergeTask, &Target),
    Part { mut newest, continues, goes_on }: Part,
    (changes, tombstones): (&mut Changes, &mut Option<TombstoneWriter>),
    counts: &mut Counts,
) -> Result<(), MergeError> {
    let rules = &task.rules;
    let bounds = newest.bounds().map_err(|e| arrow_error(rules, e))?;
    let sorted = newest.sorted_versions();
    let versions = sorted.iter().map(|(key, winner)| {
        (*key, Version { order: winner.order.clone(), deleted: winner.deleted })
    });
    let chains = Arc::new(Chains::new(versions, continues, goes_on));
    let (mut files, mut seen) = (vec![], Seen::default());
    if !task.from_nothing {
        let scan = Scan::new(reader, target, &chains);
        files = scan.versions(&bounds).await?;
        if let Some(tombstones) = &tombstones {
            scan.deletes(&tombstones.target, &bounds).await?;
        }
        seen = std::mem::take(&mut *scan.seen());
    }
    let Plan { written, ended, mut gone, deletes } = chains.plan(&seen, task.refresh_equal, counts);
    let winner = |index: usize| -> &Winner { sorted[index].1 };
    let written: Vec<_> = written.into_iter().map(|(at, end)| (winner(at), end)).collect();
    write::write_versions(changes.new_rows(), target, &newest, &written).await?;
    write::write_ended(changes.new_rows(), reader, target, &files, &ended).await?;
    gone.extend(ended.iter().map(|(at, _)| *at));
    gone.sort_unstable();
    changes.take_out(&files, &gone);
    if let Some(tombstones) = tombstones {
        let deletes: Vec<&Winner> = deletes.into_iter().map(winner).collect();
        tombstones.write(&newest, &deletes, rules).await?;
    }
    Ok(())
}
