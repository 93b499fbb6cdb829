//! Merge-on-read: rows that go are named in delete files, and new rows come in a file of their own.
//!
//! What readers have to apply stays small. A merge that touches few data files writes a delete file for each, and
//! folds the one that the data file has into it. A merge that touches many writes one for each partition, and folds
//! the smaller ones of the partition into it. A data file that has lost most of its rows is written again. What a
//! shared delete file says of it counts when that is folded: one that is too large for it stays, and does not count.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt};

use super::{Applied, copy_on_write};
use crate::lake::read::position_deletes::PositionDeletes;
use crate::lake::read::scan::{FileTask, Part};
use crate::lake::write::data::DataWriter;
use crate::lake::write::position_deletes::{DeleteFiles, DeletedRows};
use crate::lake::{Lake, Table};
use crate::merge::MergeError;
use crate::merge::lookup::Target;

/// Data files of a merge up to which each gets a delete file of its own.
const FEW: usize = 32;
/// Groups of one data file each that are written at a time: most of it is waiting.
const AT_ONCE: usize = 8;
/// A data file that keeps less than this share of its rows is written again.
const KEPT: u64 = 2;
/// Positions that are folded at most: they are in memory together (I7).
const MOST_FOLDED: u64 = 1024 * 1024;

/// Rows that go, by the path of their data file: those that one delete file names.
type Group = BTreeMap<String, DeletedRows>;

/// Names the rows that go; the writer of the new rows is closed.
pub(super) async fn delete(
    lake: &Lake,
    target: &Target,
    gone: Vec<DeletedRows>,
    new: DataWriter,
    threads: usize,
) -> Result<Applied, MergeError> {
    let table = &target.table;
    let has_deletes = gone.iter().any(|gone| gone.file.has_deletes());
    let stored = if has_deletes { lake.position_deletes(table).await? } else { vec![] };
    let stored = Stored::of(&stored);
    let groups = groups(gone);
    let shares = groups.iter().any(|group| group.len() > 1);
    let all = match shares && !stored.shared.is_empty() {
        true => lake.files_of(table, None, &[]).await?,
        false => vec![],
    };
    let live = all.iter().map(|file| (file.path(), file)).collect();
    // Of a partition there may be as many positions as memory allows.
    let at_once = if shares { 1 } else { AT_ONCE };
    let written = groups.into_iter().map(|group| write(lake, table, (&stored, &live), group));
    let mut written = futures::stream::iter(written.collect::<Vec<_>>()).buffered(at_once);
    let (mut lost, mut folded, mut deletes) = (vec![], vec![], DeleteFiles::nothing(lake));
    while let Some(of_group) = written.try_next().await? {
        lost.extend(of_group.lost);
        folded.extend(of_group.folded);
        deletes.extend(of_group.deletes);
    }
    drop(written);
    let (add, mut remove) = copy_on_write::rewrite(lake, target, lost, new, threads).await?;
    remove.extend(folded);
    Ok(Applied { add, deletes, remove })
}

/// What became of a group.
struct OfGroup {
    deletes: DeleteFiles,
    /// Delete files that go.
    folded: Vec<String>,
    /// Data files that are to be written again.
    lost: Vec<DeletedRows>,
}

/// Folds the delete files of a group, and writes its own.
async fn write(
    lake: &Lake,
    table: &Table,
    (stored, live): (&Stored<'_>, &HashMap<&str, &FileTask>),
    mut group: Group,
) -> Result<OfGroup, MergeError> {
    let (is_one_file, mut folded) = (group.len() == 1, vec![]);
    for old in stored.to_fold(&group) {
        fold(lake, table, old, live, &mut group).await?;
        folded.push(old.path.clone());
    }
    let (named, lost) = stored.worth_keeping(group, is_one_file);
    let deletes = lake.write_position_deletes(table, named).await?;
    Ok(OfGroup { deletes, folded, lost })
}

/// A group for each data file where these are few, otherwise one for each partition.
fn groups(gone: Vec<DeletedRows>) -> Vec<Group> {
    let by_path = |of_file: DeletedRows| (of_file.file.path().to_owned(), of_file);
    if gone.len() <= FEW {
        return gone.into_iter().map(|of_file| Group::from([by_path(of_file)])).collect();
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut of_part: HashMap<Part, usize> = HashMap::new();
    for of_file in gone {
        let group = *of_part.entry(of_file.file.part()).or_insert_with(|| {
            groups.push(Group::new());
            groups.len() - 1
        });
        groups[group].extend([by_path(of_file)]);
    }
    groups
}

/// The delete files of a table.
#[derive(Default)]
struct Stored<'a> {
    /// Those for one data file, by its path.
    own: HashMap<&'a str, Vec<&'a PositionDeletes>>,
    /// The others, by their partition.
    shared: HashMap<Part, Vec<&'a PositionDeletes>>,
}

impl<'a> Stored<'a> {
    fn of(all: &'a [PositionDeletes]) -> Self {
        let mut stored = Self::default();
        for deletes in all {
            match &deletes.only {
                Some(path) => stored.own.entry(path).or_default().push(deletes),
                None => stored.shared.entry(deletes.part()).or_default().push(deletes),
            }
        }
        stored
    }

    /// Those that are folded into the delete file of a group.
    fn to_fold(&self, group: &Group) -> Vec<&'a PositionDeletes> {
        let Some(first) = group.values().next() else { return vec![] };
        if group.len() == 1 {
            return self.own(&first.file).collect();
        }
        let shared = self.shared.get(&first.file.part()).cloned().unwrap_or_default();
        smaller(shared, group.values().map(|of_file| of_file.positions.len()).sum())
    }

    /// The files of a group that keep enough of their rows, and the others.
    fn worth_keeping(
        &self,
        group: Group,
        is_one_file: bool,
    ) -> (Vec<DeletedRows>, Vec<DeletedRows>) {
        // Those of a data file alone are folded where it is the only one of its group.
        let apart = |of: &DeletedRows| match is_one_file {
            true => 0,
            false => self.own(&of.file).map(|deletes| deletes.rows).sum::<u64>(),
        };
        group
            .into_values()
            .partition(|of| keeps_enough(of.file.rows(), of.positions.len() + apart(of)))
    }

    /// Those for this data file alone.
    fn own(&self, file: &FileTask) -> impl Iterator<Item = &'a PositionDeletes> {
        let own = self.own.get(file.path()).into_iter().flatten().copied();
        own.filter(|deletes| deletes.applies_to(file))
    }
}

/// Whether a data file with that many deleted rows is worth reading.
fn keeps_enough(rows: Option<u64>, deleted: u64) -> bool {
    rows.is_none_or(|rows| rows.saturating_sub(deleted) >= rows.div_ceil(KEPT))
}

/// Adds what a delete file says about live data files.
async fn fold(
    lake: &Lake,
    table: &Table,
    deletes: &PositionDeletes,
    live: &HashMap<&str, &FileTask>,
    group: &mut Group,
) -> Result<(), MergeError> {
    for (path, positions) in lake.positions_in(table, deletes).await? {
        let of_file = match group.entry(path) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match live.get(new.key().as_str()) {
                Some(file) if deletes.applies_to(file) => {
                    let (file, positions) = ((*file).clone(), Default::default());
                    new.insert(DeletedRows { file, positions })
                }
                _ => continue,
            },
        };
        // Another program may name positions that the file does not have: they do not count.
        let rows = of_file.file.rows().unwrap_or(u64::MAX);
        of_file.positions.extend(positions.into_iter().filter(|position| *position < rows));
    }
    Ok(())
}

/// The delete files that are folded into one with `new` rows: the smallest, as long as each is not much larger than
/// what is folded before it. What is left grows by powers, so that there are few; and each row is folded few times.
fn smaller(mut shared: Vec<&PositionDeletes>, new: u64) -> Vec<&PositionDeletes> {
    shared.sort_by_key(|deletes| deletes.rows);
    let mut sum = new;
    shared.into_iter().take_while(|deletes| joins(&mut sum, deletes.rows)).collect()
}

fn joins(sum: &mut u64, rows: u64) -> bool {
    let joins = rows <= 2 * *sum && *sum + rows <= MOST_FOLDED;
    if joins {
        *sum += rows;
    }
    joins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_lost_most_of_its_rows_is_written_again() {
        assert!(keeps_enough(Some(10), 5));
        assert!(!keeps_enough(Some(10), 6));
        assert!(!keeps_enough(Some(1), 1));
        assert!(keeps_enough(None, 7), "without a count it is not known");
    }

    /// However many merges there are: few delete files stay, and a row is written few times.
    #[test]
    fn folding_leaves_few_delete_files_and_writes_a_row_few_times() {
        let (mut stored, mut written) = (Vec::<u64>::new(), 0);
        let merges = 1_000;
        for _ in 0..merges {
            stored.sort_unstable();
            let mut sum = 100;
            let folded = stored.iter().take_while(|rows| joins(&mut sum, **rows)).count();
            stored.drain(..folded);
            stored.push(sum);
            written += sum;
            assert!(stored.len() <= 8, "{stored:?}");
        }
        assert_eq!(stored.iter().sum::<u64>(), merges * 100);
        assert!(written <= merges * 100 * 8, "{written}");
        let mut sum = 100;
        assert!(!joins(&mut sum, MOST_FOLDED), "what does not fit into memory stays");
    }
}
