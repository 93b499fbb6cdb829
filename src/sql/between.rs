//! Which changes of a table are asked for.

use crate::lake::{SnapshotId, TableName};

/// The states of a table that are compared. No start: before the first row; no end: as it is now.
#[derive(Debug, Clone)]
pub struct Between {
    /// The table.
    pub table: TableName,
    /// Changes after this snapshot,
    pub from: Option<SnapshotId>,
    /// up to this one.
    pub to: Option<SnapshotId>,
}
