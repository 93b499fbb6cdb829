//! Replacing files by others that hold the same rows: what compaction commits.

use std::collections::{BTreeMap, BTreeSet};

use crate::lake::write::Uncommitted;
use crate::lake::{Lake, SequenceNumber};

/// Files that replace others, row for row.
#[derive(Debug)]
pub struct Replacement {
    /// The files to add.
    pub files: Uncommitted,
    /// The data sequence numbers of added files, by path. A file that is not named gets the one of the commit.
    ///
    /// SUBTLE: a delete applies to files with a lower number (Iceberg spec, "Scan Planning"). A file made of others
    /// that have no deletes keeps the highest of their numbers, so that a delete that comes later still applies, and
    /// a reader that asks for what is above a position is not shown old rows as new. A file from which deleted rows
    /// were left out takes the commit's, which no earlier delete is above.
    pub sequences: BTreeMap<String, SequenceNumber>,
    /// The files to remove, by path: data files, and delete files that apply to no file any more. Each must be live
    /// in the state that the change is prepared on.
    pub removed: BTreeSet<String>,
    /// Whether small manifests are merged, however few they are.
    pub manifests: bool,
}

impl Replacement {
    /// No file is replaced: only small manifests are merged.
    pub fn of_manifests(lake: &Lake) -> Self {
        let (sequences, removed) = (BTreeMap::new(), BTreeSet::new());
        Self { files: Uncommitted::nothing(lake), sequences, removed, manifests: true }
    }

    /// The data sequence number of an added file; none for that of the commit.
    pub(in crate::lake) fn sequence_of(&self, path: &str) -> Option<SequenceNumber> {
        self.sequences.get(path).copied()
    }
}
