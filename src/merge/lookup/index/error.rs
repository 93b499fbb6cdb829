//! Why an index was of no use. A merge goes on without it.

use crate::key_index::KeyIndexError;
use crate::lake::LakeError;
use crate::merge::MergeError;

/// Why an index was of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// The index itself.
    #[error(transparent)]
    Index(#[from] KeyIndexError),
    /// A file of the table has not the rows that its manifest says.
    #[error("{file} has {found} rows or more, and its manifest says {expected}")]
    Rows {
        /// The file.
        file: String,
        /// By the manifest.
        expected: u64,
        /// Read.
        found: u64,
    },
    /// Reading the table, or a panic: the merge fails.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

impl From<LakeError> for IndexError {
    fn from(error: LakeError) -> Self {
        Self::Merge(error.into())
    }
}
