//! Replacing files.

use std::collections::BTreeSet;

use crate::lake::write::Uncommitted;

/// What an overwrite removes from the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// These data files and delete files, by path. Each must be live in the state that the change is prepared on.
    Files(BTreeSet<String>),
    /// Everything.
    All,
}

/// Files are added, and others removed.
#[derive(Debug)]
pub(in crate::lake) struct Overwrite {
    pub(in crate::lake) files: Uncommitted,
    pub(in crate::lake) removed: Removed,
}
