//! Carrying out a plan: which files are written for it.

pub(super) mod copy_on_write;
pub(super) mod merge_on_read;

use std::collections::BTreeSet;

use crate::lake::write::position_deletes::DeleteFiles;
use crate::lake::{Lake, Uncommitted};

/// Files written, and the paths of those that go.
pub(super) struct Applied {
    pub(super) add: Uncommitted,
    pub(super) deletes: DeleteFiles,
    pub(super) remove: BTreeSet<String>,
}

impl Applied {
    /// New files alone.
    pub(super) fn added(lake: &Lake, add: Uncommitted) -> Self {
        Self { add, deletes: DeleteFiles::nothing(lake), remove: BTreeSet::new() }
    }
}
