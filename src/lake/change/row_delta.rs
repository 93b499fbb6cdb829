//! Deleting rows by position, with new rows in the same snapshot.

use std::collections::BTreeSet;

use iceberg::spec::Operation;

use crate::lake::write::Uncommitted;
use crate::lake::write::position_deletes::DeleteFiles;

/// Data files and position deletes are added, and files removed.
#[derive(Debug)]
pub(in crate::lake) struct RowDelta {
    pub(in crate::lake) files: Uncommitted,
    /// Each data file that they are for must be live: a file that was written again since would keep its rows.
    pub(in crate::lake) deletes: DeleteFiles,
    /// Data files and delete files, by path. Each must be live in the state that the change is prepared on.
    pub(in crate::lake) removed: BTreeSet<String>,
}

impl RowDelta {
    /// All files that it adds.
    pub(in crate::lake) fn into_files(self) -> Uncommitted {
        let mut files = self.files;
        files.extend(self.deletes.into_files());
        files
    }

    /// The operation of the snapshot, as Iceberg's own row delta chooses it.
    pub(in crate::lake) fn operation(&self) -> Operation {
        match (self.files.is_empty(), self.deletes.is_empty(), self.removed.is_empty()) {
            (_, true, true) => Operation::Append,
            (true, false, _) => Operation::Delete,
            _ => Operation::Overwrite,
        }
    }
}
