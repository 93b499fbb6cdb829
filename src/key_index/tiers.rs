//! Tiers: eight runs of a size become one, so that a look-up reads few runs and an entry is written again seldom.

use super::entry::Entry;
use super::error::KeyIndexError;
use super::run::{Cursor, Run, RunWriter};

/// Runs of a tier that are merged.
const MERGED: usize = 8;
/// Entries of the largest run of the first tier.
const FIRST: u64 = 16 * 1024;
/// Below this, dead entries are not worth a rewrite of their own.
const FEW: u64 = 64 * 1024;
/// A run of which more than this part is dead is rewritten.
const DEAD_PART: u64 = 3;
/// More runs than there ever are.
const MANY_RUNS: u64 = 32;

/// A run, as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Its entries.
    pub(super) entries: u64,
    /// Those of live files.
    pub(super) live: u64,
}

fn tier(entries: u64) -> u32 {
    (entries / FIRST).checked_ilog(MERGED as u64).map_or(0, |log| log + 1)
}

/// The runs to merge next, as indexes; none: all is well.
///
/// A run that is dead for a third is rewritten alone, so that an index has at most about one and a half times the
/// entries of live rows.
pub(super) fn due(runs: &[Size]) -> Option<Vec<usize>> {
    let dead = |size: &Size| {
        let dead = size.entries - size.live.min(size.entries);
        size.live == 0 || (dead > FEW && dead > size.entries / DEAD_PART)
    };
    if let Some(index) = runs.iter().position(dead) {
        return Some(vec![index]);
    }
    let highest = runs.iter().map(|size| tier(size.entries)).max()?;
    (0..=highest).find_map(|number| {
        let of_tier = |(_, size): &(usize, &Size)| tier(size.entries) == number;
        let all: Vec<usize> = runs.iter().enumerate().filter(of_tier).map(|(i, _)| i).collect();
        (all.len() >= MERGED).then_some(all)
    })
}

/// Whether some run is due for its dead entries, in a table of so many rows: all live files are covered at most.
pub(super) fn many_dead(runs: &[Size], rows: u64) -> bool {
    let entries: u64 = runs.iter().map(|size| size.entries).sum();
    let dead = entries.saturating_sub(rows);
    dead > FEW * MANY_RUNS && dead > entries / DEAD_PART
}

/// Writes the entries of live files of some runs.
pub(super) fn merge(
    runs: &[&Run],
    out: &mut RunWriter,
    is_live: impl Fn(u32) -> bool,
) -> Result<(), KeyIndexError> {
    let mut cursors: Vec<Cursor> = runs.iter().map(|run| run.cursor()).collect();
    let mut heads: Vec<(Entry, usize)> = Vec::new();
    for (index, cursor) in cursors.iter_mut().enumerate() {
        heads.extend(cursor.next()?.map(|entry| (entry, index)));
    }
    // Few runs are merged at a time: to compare all heads costs less than a heap.
    while let Some(least) = (0..heads.len()).min_by(|a, b| heads[*a].0.cmp(&heads[*b].0)) {
        let (entry, index) = heads[least];
        if is_live(entry.file()) {
            out.push(&entry)?;
        }
        match cursors[index].next()? {
            Some(next) => heads[least].0 = next,
            None => drop(heads.swap_remove(least)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(entries: u64) -> Size {
        Size { entries, live: entries }
    }

    #[test]
    fn eight_of_a_tier_are_due_and_the_smallest_first() {
        assert_eq!(due(&[]), None);
        assert_eq!(due(&[alive(10); 7]), None);
        assert_eq!(due(&[alive(10); 8]), Some((0..8).collect()));
        let mut runs = vec![alive(50_000_000)];
        runs.extend([alive(200_000); 8]);
        runs.extend([alive(10_000); 8]);
        assert_eq!(due(&runs), Some((9..17).collect()));
    }

    #[test]
    fn dead_runs_go_and_those_that_are_dead_for_a_third_are_rewritten() {
        assert_eq!(due(&[alive(10), Size { entries: 10, live: 0 }]), Some(vec![1]));
        assert_eq!(due(&[Size { entries: 0, live: 0 }]), Some(vec![0]));
        assert_eq!(due(&[Size { entries: 1_000_000, live: 700_000 }]), None);
        assert_eq!(due(&[Size { entries: 1_000_000, live: 600_000 }]), Some(vec![0]));
        assert_eq!(due(&[Size { entries: 1_000, live: 1 }]), None, "few");
    }

    /// A table that another engine has written again is covered twice: that shows without its files.
    #[test]
    fn many_dead_entries_show_in_the_rows_of_the_table() {
        let twice = [alive(50_000_000), alive(50_000_000)];
        assert!(many_dead(&twice, 50_000_000) && !many_dead(&twice, 100_000_000));
        assert!(!many_dead(&[alive(100_000); 2], 100_000), "few");
        // Then at least one run is due, wherever the dead ones are.
        let spread = Size { entries: 50_000_000, live: 30_000_000 };
        assert!(many_dead(&[spread; 2], 60_000_000) && due(&[spread; 2]).is_some());
    }

    /// 10,000 rows a merge, 1,000 merges: the runs stay few, and an entry is rewritten a few times.
    #[test]
    fn runs_stay_few() {
        let (mut runs, mut rewritten, mut most) = (vec![alive(1_000_000)], 0, 0);
        for _ in 0..1_000 {
            runs.push(alive(10_000));
            while let Some(group) = due(&runs) {
                let sum: u64 = group.iter().map(|index| runs[*index].entries).sum();
                rewritten += sum;
                for index in group.iter().rev() {
                    runs.remove(*index);
                }
                runs.push(alive(sum));
            }
            most = most.max(runs.len());
        }
        assert!(most <= 25, "{most} runs");
        assert!(rewritten < 4 * 11_000_000, "{rewritten} entries were rewritten");
    }
}
