//! Why an index was of no use. A merge goes on without it.

use crate::key_index::KeyIndexError;
use crate::lake::LakeError;
use crate::merge::MergeError;

/// Why an index was of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// The index itself, or a file that it was to cover.
    #[error(transparent)]
    Index(#[from] KeyIndexError),
    /// Reading the table, or a panic: the merge fails.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

impl From<LakeError> for IndexError {
    fn from(error: LakeError) -> Self {
        Self::Merge(error.into())
    }
}
