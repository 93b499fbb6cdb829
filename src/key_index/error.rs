//! Why an index was of no use. Its caller goes on without it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an index is left alone after a failure: a full disk would be filled again at each look-up.
pub const AFTER_FAILURE: Duration = Duration::from_secs(3_600);

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
}

impl KeyIndexError {
    /// Whether what was written is gone or wrong, so that the index begins anew. What a disk refuses may be there still.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Disk { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Crowded { .. } | Self::Rows { .. } => false,
        }
    }
}

/// An error of the disk.
pub(super) fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyIndexError {
    let path = path.to_owned();
    move |source| KeyIndexError::Disk { doing, path, source }
}
