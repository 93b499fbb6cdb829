//! Why the index could not answer.

use tokio::task::JoinError;

use crate::key_index::KeyIndexError;
use crate::lake::LakeError;

/// Why the index could not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// The table: without it nothing is known.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The index on disk.
    #[error(transparent)]
    Disk(#[from] KeyIndexError),
    /// An error before has closed the index on disk.
    #[error("it was closed after an error")]
    Closed,
    /// A file has not the rows that its manifest says.
    #[error("{file} has {found} rows or more, and its manifest says {expected}")]
    Rows {
        /// The file.
        file: String,
        /// By the manifest.
        expected: u64,
        /// Read.
        found: u64,
    },
    /// A reader has ended early, without an error.
    #[error("not all rows of its files came")]
    Cut,
    /// An entry that silversmith did not write.
    #[error("an entry says {0} of its attempt, which means nothing")]
    Word(u8),
    /// A bug.
    #[error("a task of it panicked: {0}")]
    Panicked(#[from] JoinError),
}
