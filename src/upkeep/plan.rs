//! Which files are rewritten together. Pure.
//!
//! Small files of a partition are packed into groups of about the size of one large file. A file that is much larger
//! than all that is packed with it stays as it is: each row is rewritten some times in its life, and not once for
//! every few files that come. Files with many deleted rows are rewritten whatever their size.

use std::collections::HashMap;

use crate::lake::read::live::{LiveFile, Partition};

/// The share of the target from which on a file is large enough, in quarters.
const LARGE: u64 = 3;
/// A file up to this size is packed with whatever there is.
const TINY: u64 = 16 * 1024 * 1024;
/// Delete files of one file from which on it is rewritten.
const MANY_DELETES: usize = 8;
/// The part of a file's rows that may be deleted before it is rewritten: a tenth.
const DELETED_PART: u64 = 10;

/// Files that are rewritten together: their rows go into one file, or into few.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) files: Vec<LiveFile>,
    pub(super) bytes: u64,
    /// Whether one of them must be rewritten, however few they are.
    must: bool,
}

impl Group {
    fn push(&mut self, file: LiveFile) {
        self.bytes += file.task.bytes();
        self.must |= must(&file);
        self.files.push(file);
    }

    /// How many files fewer there are after it.
    pub(super) fn saves(&self, target: u64) -> usize {
        let after = usize::try_from(self.bytes.div_ceil(target)).unwrap_or(usize::MAX);
        self.files.len().saturating_sub(after)
    }

    /// Whether it is worth while: it has many files, or becomes a large one, which is not written again.
    fn is_worth(&self, least: usize, target: u64) -> bool {
        let is_full = self.files.len() > 1 && self.bytes >= target / 4 * LARGE;
        self.must || is_full || self.files.len() >= least.max(2)
    }

    /// Whether a file joins it: there is room, and the file is not rewritten for the sake of a few small ones.
    fn takes(&self, file: &LiveFile, target: u64) -> bool {
        let bytes = file.task.bytes();
        self.files.is_empty() || (self.bytes + bytes <= target && bytes <= self.bytes.max(TINY))
    }
}

/// The groups of a table's files; of at least so many files, unless they fill a large file or one of them must be
/// rewritten.
pub(super) fn plan(files: Vec<LiveFile>, target: u64, least: usize) -> Vec<Group> {
    let mut partitions: HashMap<Partition, Vec<LiveFile>> = HashMap::new();
    let mut order = Vec::new();
    for file in files {
        let is_small = file.task.bytes() < target / 4 * LARGE;
        if !is_small && !must(&file) {
            continue;
        }
        let partition = file.partition.clone();
        let of_partition = partitions.entry(partition.clone()).or_insert_with(|| {
            order.push(partition);
            vec![]
        });
        of_partition.push(file);
    }
    let packed = order.iter().filter_map(|partition| partitions.remove(partition));
    let groups = packed.flat_map(|files| pack(files, target));
    groups.filter(|group| group.is_worth(least, target)).collect()
}

/// The smallest first: each group is of files of about one size.
fn pack(mut files: Vec<LiveFile>, target: u64) -> Vec<Group> {
    files.sort_by(|a, b| (a.task.bytes(), a.task.path()).cmp(&(b.task.bytes(), b.task.path())));
    let mut groups: Vec<Group> = Vec::new();
    for file in files {
        match groups.last_mut() {
            Some(group) if group.takes(&file, target) => group.push(file),
            _ => {
                let mut group = Group::default();
                group.push(file);
                groups.push(group);
            }
        }
    }
    groups
}

/// Whether a file is rewritten by itself.
fn must(file: &LiveFile) -> bool {
    let rows = file.task.rows().unwrap_or(u64::MAX);
    let many_rows = file.deleted_rows > 0 && file.deleted_rows.saturating_mul(DELETED_PART) >= rows;
    many_rows || file.deletes.len() >= MANY_DELETES || file.has_unsure_bounds
}
