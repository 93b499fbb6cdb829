//! Adding files.

use crate::lake::write::{AdoptedFile, Uncommitted};

/// Files are added, none removed.
#[derive(Debug)]
pub(in crate::lake) struct Append {
    pub(in crate::lake) files: Uncommitted,
    /// Files that another commit names already: they stay, however this commit ends.
    pub(in crate::lake) adopted: Vec<AdoptedFile>,
}
