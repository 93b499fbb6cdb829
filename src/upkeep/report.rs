//! What upkeep did.

use super::Target;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Deleted keys were forgotten.
    DeletedKeys,
    /// Data files were rewritten.
    Files,
    /// Manifests were merged.
    Manifests,
    /// Snapshots expired.
    Snapshots,
    /// Files that nothing names were deleted.
    Orphans,
}

impl Step {
    /// The step in one word: what it is about.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeletedKeys => "deleted keys",
            Self::Files => "data files",
            Self::Manifests => "manifests",
            Self::Snapshots => "snapshots",
            Self::Orphans => "orphans",
        }
    }
}

/// What a step did to a table; in a dry run, about what it would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The table.
    pub table: String,
    /// The step.
    pub step: Step,
    /// How many there were: deleted keys, data files, manifests, snapshots, orphans.
    pub items_before: usize,
    /// How many there are now.
    pub items_after: usize,
    /// Their bytes before; 0 for deleted keys and snapshots.
    pub bytes_before: u64,
    /// Their bytes now.
    pub bytes_after: u64,
    /// Files that were deleted from storage. Those that were rewritten stay until their snapshots expire.
    pub files_deleted: usize,
}

impl Done {
    /// Nothing was done.
    pub(super) fn unchanged(target: &Target, step: Step, items: usize, bytes: u64) -> Self {
        Self {
            table: target.table.to_string(),
            step,
            items_before: items,
            items_after: items,
            bytes_before: bytes,
            bytes_after: bytes,
            files_deleted: 0,
        }
    }

    /// Whether nothing was done.
    pub fn is_nothing(&self) -> bool {
        self.items_before == self.items_after
            && self.bytes_before == self.bytes_after
            && self.files_deleted == 0
    }
}
