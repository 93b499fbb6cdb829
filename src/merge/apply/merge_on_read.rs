//! Merge-on-read: rows that go are named in delete files, and new rows come in a file of their own.
//!
//! What readers have to apply stays small. A merge that touches few data files writes a delete file for each, and
//! folds the one that the data file has into it. A merge that touches many writes one for each partition, and folds
//! the smaller ones of the partition into it. A data file that has lost most of its rows is written again.

use std::collections::{BTreeMap, HashMap};

use super::{Applied, copy_on_write};
use crate::lake::read::position_deletes::PositionDeletes;
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;
use crate::lake::write::position_deletes::{DeleteFiles, DeletedRows};
use crate::lake::{Lake, Table};
use crate::merge::MergeError;
use crate::merge::lookup::Target;

/// Data files of a merge up to which each gets a delete file of its own.
const FEW: usize = 32;
/// A data file that keeps less than this share of its rows is written again.
const KEPT: u64 = 2;
/// Positions that are folded at most: they are in memory together (I7).
const MOST_FOLDED: u64 = 1024 * 1024;

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
    let (named, rewritten): (Vec<DeletedRows>, Vec<DeletedRows>) =
        gone.into_iter().partition(|gone| {
            let own: u64 = own(&stored, &gone.file).map(|deletes| deletes.rows).sum();
            keeps_enough(gone.file.rows(), own + gone.positions.len())
        });
    let (add, mut remove) = copy_on_write::rewrite(lake, target, rewritten, new, threads).await?;
    let (files, folded) = if named.len() <= FEW {
        file_scoped(lake, table, &stored, named).await?
    } else {
        partition_scoped(lake, table, &stored, named).await?
    };
    remove.extend(folded);
    let mut deletes = DeleteFiles::nothing(lake);
    for rows in files {
        deletes.extend(lake.write_position_deletes(table, rows).await?);
    }
    Ok(Applied { add, deletes, remove })
}

/// The delete files for this data file alone.
fn own<'a>(
    stored: &'a [PositionDeletes],
    file: &'a FileTask,
) -> impl Iterator<Item = &'a PositionDeletes> {
    let is_own = |deletes: &&PositionDeletes| deletes.only.as_deref() == Some(file.path());
    stored.iter().filter(is_own).filter(|deletes| deletes.applies_to(file))
}

/// Whether a data file with that many deleted rows is worth reading.
fn keeps_enough(rows: Option<u64>, deleted: u64) -> bool {
    rows.is_none_or(|rows| rows.saturating_sub(deleted) >= rows.div_ceil(KEPT))
}

/// A delete file for each data file, with what its present ones delete.
async fn file_scoped(
    lake: &Lake,
    table: &Table,
    stored: &[PositionDeletes],
    rows: Vec<DeletedRows>,
) -> Result<(Vec<Vec<DeletedRows>>, Vec<String>), MergeError> {
    let (mut files, mut folded) = (Vec::new(), Vec::new());
    for mut of_file in rows {
        for deletes in own(stored, &of_file.file) {
            let positions = lake.positions_in(table, deletes).await?;
            of_file.positions.extend(positions.into_values().flatten());
            folded.push(deletes.path.clone());
        }
        files.push(vec![of_file]);
    }
    Ok((files, folded))
}

/// A delete file for each partition, with what its smaller ones delete.
async fn partition_scoped(
    lake: &Lake,
    table: &Table,
    stored: &[PositionDeletes],
    rows: Vec<DeletedRows>,
) -> Result<(Vec<Vec<DeletedRows>>, Vec<String>), MergeError> {
    let mut partitions: Vec<Vec<DeletedRows>> = Vec::new();
    for of_file in rows {
        let same = |rows: &&mut Vec<DeletedRows>| {
            rows.first().is_some_and(|first| first.file.is_beside(&of_file.file))
        };
        match partitions.iter_mut().find(same) {
            Some(rows) => rows.push(of_file),
            None => partitions.push(vec![of_file]),
        }
    }
    let live = match stored.iter().any(|deletes| deletes.only.is_none()) {
        true => lake.files_of(table, None, &[]).await?,
        false => vec![],
    };
    let live = live.iter().map(|file| (file.path(), file)).collect();
    let (mut files, mut folded) = (Vec::new(), Vec::new());
    for rows in partitions {
        let new = rows.iter().map(|of_file| of_file.positions.len()).sum();
        let Some(first) = rows.first().map(|of_file| of_file.file.clone()) else { continue };
        let shared = stored.iter().filter(|d| d.only.is_none() && d.is_beside(&first));
        let mut rows = rows.into_iter().map(|rows| (rows.file.path().to_owned(), rows)).collect();
        for deletes in smaller(shared.collect(), new) {
            fold(lake, table, deletes, &live, &mut rows).await?;
            folded.push(deletes.path.clone());
        }
        files.push(rows.into_values().collect());
    }
    Ok((files, folded))
}

/// Adds what a delete file says about live data files.
async fn fold(
    lake: &Lake,
    table: &Table,
    deletes: &PositionDeletes,
    live: &HashMap<&str, &FileTask>,
    rows: &mut BTreeMap<String, DeletedRows>,
) -> Result<(), MergeError> {
    for (path, positions) in lake.positions_in(table, deletes).await? {
        if let Some(of_file) = rows.get_mut(&path) {
            of_file.positions.extend(positions);
            continue;
        }
        if let Some(file) = live.get(&*path).filter(|file| deletes.applies_to(file)) {
            let positions = positions.into_iter().collect();
            rows.insert(path, DeletedRows { file: (*file).clone(), positions });
        }
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
