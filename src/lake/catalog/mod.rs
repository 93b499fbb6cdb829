//! The catalog port: where a table's current metadata file is named, and where commits meet.

mod jdbc;
mod memory;

use std::fmt::Debug;

use async_trait::async_trait;

pub use jdbc::JdbcCatalog;
pub use memory::MemoryCatalog;

use super::TableName;

/// Where a table stands, and the token that a swap must present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Location of the current metadata file.
    pub metadata_location: String,
    /// What the catalog compares at the swap: opaque to everybody else.
    pub token: Token,
}

/// A catalog's version of a table's pointer, opaque outside of the backend that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(pub(super) String);

impl Token {
    /// A token of a backend that lives outside this crate (fakes, decorators).
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The answer of a catalog that did answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The pointer now names the proposed metadata.
    Swapped,
    /// The pointer was not what the token says (or, for a creation, the table exists).
    ///
    /// SUBTLE: this does not prove that the proposal did not win earlier: a retry below us may
    /// have sent it twice. The commit protocol looks before it believes (I6).
    Refused,
}

/// A catalog that failed to answer: unreachable, timed out, broken off.
#[derive(Debug, Clone, thiserror::Error)]
#[error("catalog {catalog}: {doing}: {message}")]
pub struct CatalogError {
    /// The catalog, without secrets.
    pub catalog: String,
    /// What was asked.
    pub doing: &'static str,
    /// What came back.
    pub message: String,
}

/// Names tables and swaps their metadata pointer by compare-and-swap.
///
/// # Contract
/// - `pointer` returns the newest pointer that any successful `create` or `swap` has set; two
///   reads with no swap between return equal tokens; `None` means that there is no such table.
/// - `swap` and `create` are sent **once**: an implementation must not retry by itself. Of any
///   number of concurrent calls with equal tokens at most one is carried out.
/// - `Ok(Swap::Swapped)`: durable. `Ok(Swap::Refused)`: this call changed nothing.
/// - `Err(_)` from `swap` or `create`: *unknown*. It may have been carried out, now or later;
///   the caller looks (`pointer`) before it does anything else. `Err(_)` from the reading calls
///   has no effect.
/// - Repeating a `swap` with the same token and location after `Err` is safe: it succeeds at most once.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// The table's current pointer.
    async fn pointer(&self, table: &TableName) -> Result<Option<Pointer>, CatalogError>;

    /// Enters a new table (and its namespace) with its first metadata file.
    async fn create(
        &self,
        table: &TableName,
        metadata_location: &str,
    ) -> Result<Swap, CatalogError>;

    /// Moves the pointer from `base` to `metadata_location`.
    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        metadata_location: &str,
    ) -> Result<Swap, CatalogError>;

    /// All tables, sorted by name.
    async fn tables(&self) -> Result<Vec<TableName>, CatalogError>;
}
