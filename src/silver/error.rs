//! Why a merge failed, and what to do.

use std::time::Duration;

use crate::checkpoint::CheckpointError;
use crate::error::Kind;
use crate::lake::{LakeError, SnapshotId, TableName};
use crate::merge::MergeError;

/// Why a merge failed.
#[derive(Debug, thiserror::Error)]
pub enum SilverError {
    /// A table.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The merge.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The table was merged under other keys, order, select or delete_when.
    #[error(
        "silver table {0} was merged with other keys, order_by, select, delete_when or null_keys than the configuration has now; put them back, or run `silversmith silver --rebuild`"
    )]
    OtherConfiguration(TableName),
    /// The table was merged with another history.
    #[error(
        "silver table {table} was merged with history = \"{was}\", and the configuration says \"{now}\"; put it back, name another table, or run `silversmith silver --rebuild`, which computes all rows of this one anew"
    )]
    OtherHistory {
        /// The table.
        table: TableName,
        /// What it was merged with.
        was: String,
        /// What the configuration says.
        now: &'static str,
    },
    /// Bronze was rolled back behind what silver has merged.
    #[error(
        "bronze table {bronze} was rolled back or replaced: silver table {silver} has merged snapshot {snapshot}, which is not in its history; set bronze to that snapshot again, or run `silversmith repair`"
    )]
    BronzeRolledBack {
        /// Bronze.
        bronze: TableName,
        /// Silver.
        silver: TableName,
        /// The snapshot that is gone.
        snapshot: SnapshotId,
    },
    /// Rows were deleted from bronze.
    #[error(
        "rows were deleted from bronze table {bronze} (snapshot {snapshot}, operation {operation}); set silver.on_bronze_delete = \"ignore\" to keep them in silver, or run `silversmith silver --rebuild` to merge what bronze has now"
    )]
    BronzeDeleted {
        /// Bronze.
        bronze: TableName,
        /// The snapshot that deleted them.
        snapshot: SnapshotId,
        /// Its operation.
        operation: String,
    },
    /// A rebuild would remove rows that it cannot bring back.
    #[error(
        "a rebuild of silver table {silver} would remove {rows} of its {of} rows for good: they come from files of which bronze table {bronze} has no row; to keep them, run `silversmith repair`; to remove them, add --force"
    )]
    RebuildRemoves {
        /// Silver.
        silver: TableName,
        /// Bronze.
        bronze: TableName,
        /// Rows that would be gone.
        rows: u64,
        /// All rows.
        of: u64,
    },
    /// Other writers keep committing to silver.
    #[error(
        "silver table {table}: gave up after {attempts} conflicting commits in {elapsed:.1?}; no data was lost, run it again"
    )]
    Contended {
        /// The table.
        table: TableName,
        /// How many.
        attempts: u32,
        /// In which time.
        elapsed: Duration,
    },
}

impl SilverError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Merge(error) => error.kind(),
            Self::Checkpoint(error) => error.kind(),
            Self::OtherConfiguration(_)
            | Self::OtherHistory { .. }
            | Self::BronzeDeleted { .. } => Kind::Configuration,
            Self::BronzeRolledBack { .. } | Self::RebuildRemoves { .. } => Kind::Corrupt,
            Self::Contended { .. } => Kind::Retry,
        }
    }
}
