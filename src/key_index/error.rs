//! Why an index was of no use. Its caller goes on without it.

use std::io;
use std::path::{Path, PathBuf};

/// Why an index was of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyIndexError {
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
    /// Rows that cannot be sorted in memory.
    #[error("more than {most} rows fall into one range of hashes: many have the same key")]
    Crowded {
        /// The most that are sorted.
        most: u64,
    },
}

impl KeyIndexError {
    /// Whether what was written is gone or wrong. What a disk refuses may be there still.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Disk { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Crowded { .. } => false,
        }
    }
}

/// An error of the disk.
pub(super) fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyIndexError {
    let path = path.to_owned();
    move |source| KeyIndexError::Disk { doing, path, source }
}
