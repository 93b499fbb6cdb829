//! Entries in memory: of files that no run on disk covers.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::entry::Row;
use crate::key_index::entry::KeyHash;
use crate::key_index::run::Covered;

/// What a file costs in memory, with its path, in rows.
const FILE: usize = 16;

/// What files and rows cost in memory, in rows.
pub(super) fn weight(files: usize, rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(files.saturating_mul(FILE))
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Held {
    rows: BTreeSet<Row>,
    /// The files of which all rows are here, by path.
    files: HashMap<String, Covered>,
}

impl Held {
    /// The number of a file, where all of its rows are here.
    pub(super) fn covers(&self, path: &str, bytes: u64, rows: u64) -> Option<u32> {
        let covered = self.files.get(path)?;
        (covered.bytes == bytes && covered.rows == rows).then_some(covered.id)
    }

    /// What it costs, in rows.
    pub(super) fn weight(&self) -> usize {
        weight(self.files.len(), self.rows.len() as u64)
    }

    /// Adds rows. They count once their file is [covered](Self::cover).
    pub(super) fn push(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// All rows of these files are here.
    pub(super) fn cover(&mut self, files: Vec<Covered>) {
        self.files.extend(files.into_iter().map(|file| (file.path.clone(), file)));
    }

    /// Keeps the rows of some files, by path. Rows of a file that was not read to its end go, too.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.files.retain(|path, _| is_kept(path));
        let rows: u64 = self.files.values().map(|file| file.rows).sum();
        if rows != self.rows.len() as u64 {
            let numbers: HashSet<u32> = self.files.values().map(|file| file.id).collect();
            self.rows.retain(|row| numbers.contains(&row.file));
        }
    }

    /// The rows of a key.
    pub(super) fn find(&self, key: &KeyHash) -> impl Iterator<Item = &Row> {
        self.rows.range(Row::all_of(key))
    }

    /// All files and their rows.
    pub(super) fn all(&self) -> (Vec<Covered>, Vec<Row>) {
        (self.files.values().cloned().collect(), self.rows.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::entry::key;
    use super::*;
    use crate::key_index::entry::Hasher;
    use crate::ledger::{Attempt, ObjectOutcome};
    use crate::source::ObjectId;

    fn id(number: u32) -> ObjectId {
        let (uri, version) = (format!("{number}.csv"), "1".to_owned());
        ObjectId { uri, version, last_modified: DateTime::UNIX_EPOCH }
    }

    fn rows(file: u32, numbers: std::ops::Range<u32>) -> Vec<Row> {
        let attempt = Attempt {
            outcome: ObjectOutcome::Ingested,
            again: false,
            finished_at: DateTime::UNIX_EPOCH,
        };
        let row = |(n, at)| Row::new(&Hasher::new("s"), &id(n), &attempt, (file, at));
        numbers.zip(0..).map(row).collect()
    }

    fn covered(number: u32, rows: u64) -> Covered {
        Covered { id: number, path: format!("file {number}"), bytes: 9, rows }
    }

    #[test]
    fn rows_of_files_that_are_not_kept_go_and_those_of_a_file_that_was_not_read_to_its_end() {
        let found = |held: &Held, number| -> Vec<u32> {
            held.find(&key(&Hasher::new("s"), &id(number))).map(|row| row.file).collect()
        };
        let mut held = Held::default();
        held.push(rows(1, 0..5));
        held.push(rows(2, 3..8));
        held.cover(vec![covered(1, 5), covered(2, 5)]);
        held.push(rows(3, 0..9));
        assert_eq!(found(&held, 4), [1, 2, 3]);
        held.keep(|path| path != "file 1");
        assert_eq!((found(&held, 4), found(&held, 0)), (vec![2], vec![]));
        assert_eq!(held.weight(), weight(1, 5));
        assert_eq!((held.covers("file 2", 9, 5), held.covers("file 2", 8, 5)), (Some(2), None));
        let (files, rows) = held.all();
        assert_eq!((files, rows.len()), (vec![covered(2, 5)], 5));
    }
}
