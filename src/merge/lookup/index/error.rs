//! Why an index was of no use. A merge goes on without it.

use std::io;
use std::path::{Path, PathBuf};

use crate::lake::LakeError;
use crate::merge::MergeError;

/// Why an index was of no use.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The disk.
    #[error("{doing} {}", path.display())]
    Disk {
        /// What was done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file does not hold what was written to it.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
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
    /// Rows that cannot be sorted in memory.
    #[error("more than {most} rows fall into one range of hashes: many have the same key")]
    Crowded {
        /// The most that are sorted.
        most: u64,
    },
    /// Reading the table, or a panic: the merge fails.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

impl IndexError {
    /// Whether what was written is gone or wrong. What a disk refuses may be there still.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Disk { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Rows { .. } | Self::Crowded { .. } | Self::Merge(_) => false,
        }
    }
}

impl From<LakeError> for IndexError {
    fn from(error: LakeError) -> Self {
        Self::Merge(error.into())
    }
}

/// An error of the disk.
pub(super) fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IndexError {
    let path = path.to_owned();
    move |source| IndexError::Disk { doing, path, source }
}
