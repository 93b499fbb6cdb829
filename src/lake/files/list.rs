//! Listing the files of a table: what the `iceberg` crate's storage cannot do.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;

/// A file, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its location.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub modified: DateTime<Utc>,
}

/// A folder that cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("the files below {folder} cannot be listed")]
pub struct ListingError {
    /// The folder.
    pub folder: String,
    /// The detail.
    #[source]
    pub source: std::io::Error,
}

/// Lists the files of tables.
///
/// # Contract
/// `list` returns every file below `folder`, at any depth, that was there before the call and was not deleted since;
/// newer ones may be among them. A location is written as `folder` is, with what follows it. A folder that does not
/// exist is empty. After an error the listing is incomplete: nothing may be concluded from what is missing.
pub trait FileListing: Debug + Send + Sync {
    /// See the contract. `folder` is without a slash at its end.
    fn list(&self, folder: &str) -> BoxStream<'static, Result<Listed, ListingError>>;
}
