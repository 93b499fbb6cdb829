//! The catalog port: where a table's current metadata file is named, and where commits meet.
//!
//! | backend | token | what a swap compares | who writes metadata files |
//! |---|---|---|---|
//! | [`JdbcCatalog`]: SQLite, Postgres | the metadata location | the row's location | silversmith |
//! | `S3TablesCatalog` | version token | the token | silversmith |
//! | `GlueCatalog` | `VersionId` | the version | silversmith |
//! | [`RestCatalog`] | what the requirements assert | the requirements | the catalog |
//! | [`MemoryCatalog`]: the fake | a counter | the counter | silversmith |

#[cfg(any(feature = "glue", feature = "s3tables"))]
mod aws;
mod deadline;
#[cfg(feature = "glue")]
mod glue;
mod jdbc;
mod memory;
mod rest;
#[cfg(feature = "s3tables")]
mod s3tables;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use iceberg::{TableRequirement, TableUpdate};

pub use deadline::WithDeadline;
#[cfg(feature = "glue")]
pub use glue::GlueCatalog;
pub use jdbc::JdbcCatalog;
pub use memory::MemoryCatalog;
pub use rest::{Login, RestCatalog, RestSettings, Secret};
#[cfg(feature = "s3tables")]
pub use s3tables::S3TablesCatalog;

use super::TableName;
use crate::error::Kind;

/// A table's current metadata file, and the token that a swap must present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Location of the current metadata file.
    pub metadata_location: String,
    /// What the catalog compares at the swap: opaque to all others.
    pub token: Token,
}

/// A catalog's version of a table's pointer, opaque outside the backend that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(pub(super) String);

/// A table's entry in its catalog.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its pointer.
    pub pointer: Pointer,
    /// The metadata, from catalogs that send it with the entry.
    pub metadata: Option<TableMetadata>,
}

/// A table's next state in both forms: as a metadata file, and as steps from the state before.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The next state.
    pub metadata: Arc<TableMetadata>,
    /// Its file. It is written before the proposal is sent, unless the catalog writes it ([`Catalog::writes_metadata`]).
    pub metadata_location: String,
    /// What must be true of the state before (Iceberg REST specification, `TableRequirement`).
    pub requirements: Vec<TableRequirement>,
    /// The steps from the state before to the next (Iceberg REST specification, `TableUpdate`).
    pub updates: Vec<TableUpdate>,
}

/// The answer of a catalog to a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The pointer now names the proposed metadata.
    Swapped,
    /// The pointer was not what the token says (or, for a creation, the table exists).
    ///
    /// SUBTLE: this does not prove that the proposal did not win earlier: a retry in a lower layer may have sent
    /// it twice. So the commit protocol loads the table before it decides (I6).
    Refused,
}

/// A failed catalog request. Whether it may have been carried out decides what a commit does next (I6).
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// The catalog said no, or nothing was sent: the request was not carried out, and will not be.
    #[error(transparent)]
    Determinate(RequestFailure),
    /// Unreachable, timed out or cut off, or an answer that does not say: the request may have been carried out,
    /// now or later.
    #[error(transparent)]
    Indeterminate(RequestFailure),
}

/// What went wrong with a catalog request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("catalog {catalog}: {doing}: {message}")]
pub struct RequestFailure {
    /// The catalog, without secrets.
    pub catalog: String,
    /// The request.
    pub doing: &'static str,
    /// The detail.
    pub message: String,
    /// What an operator does next.
    pub kind: Kind,
}

impl RequestFailure {
    /// Of a request to a catalog.
    pub fn new(
        catalog: impl Into<String>,
        doing: &'static str,
        message: impl Into<String>,
        kind: Kind,
    ) -> Self {
        Self { catalog: catalog.into(), doing, message: message.into(), kind }
    }

    /// As an error of which it is known whether the request was carried out, or not.
    pub fn determinate(self, determinate: bool) -> CatalogError {
        match determinate {
            true => CatalogError::Determinate(self),
            false => CatalogError::Indeterminate(self),
        }
    }
}

impl CatalogError {
    /// The request was not carried out, and will not be.
    pub fn refused(
        catalog: impl Into<String>,
        doing: &'static str,
        message: impl Into<String>,
        kind: Kind,
    ) -> Self {
        Self::Determinate(RequestFailure::new(catalog, doing, message, kind))
    }

    /// There was no answer, or none that says whether the request was carried out.
    pub fn unanswered(
        catalog: impl Into<String>,
        doing: &'static str,
        message: impl Into<String>,
        kind: Kind,
    ) -> Self {
        Self::Indeterminate(RequestFailure::new(catalog, doing, message, kind))
    }

    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        let (Self::Determinate(failure) | Self::Indeterminate(failure)) = self;
        failure.kind
    }
}

/// Names tables and swaps their metadata pointer by compare-and-swap.
///
/// # Contract
/// - `load` returns the newest state that any successful `create` or `swap` has set, sooner or later where
///   [`Catalog::may_lag`]; two reads with no swap between return equal tokens; `None` means that there is no such
///   table.
/// - `place` returns the location of a new table's files, before its first metadata is made. `None` leaves the
///   choice to the caller. Repeating it is harmless; a table that was placed and not created does not exist for
///   `load`.
/// - `swap` and `create` are sent **once**: an implementation must not retry by itself. Of any
///   number of concurrent calls with equal tokens at most one is carried out.
/// - `Ok(Swap::Swapped)`: durable. `Ok(Swap::Refused)`: this call changed nothing.
/// - [`CatalogError::Indeterminate`] from `swap` or `create`: *unknown*. It may have been carried out, now or later;
///   the caller calls `load` before it does anything else. `Err(_)` from the reading calls
///   has no effect.
/// - Repeating a `swap` with the same token and proposal after `Err` is safe: it succeeds at most once.
/// - Once `load` returns a token other than the one that a swap was sent with, that swap will never be carried
///   out.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// Whether the catalog writes metadata files itself, from the updates of a proposal.
    fn writes_metadata(&self) -> bool {
        false
    }

    /// Whether `load` may read from a replica, and show for some seconds a state from before the newest one.
    fn may_lag(&self) -> bool {
        self.writes_metadata()
    }

    /// The location of a new table's files, if the catalog chooses it.
    async fn place(&self, _table: &TableName) -> Result<Option<String>, CatalogError> {
        Ok(None)
    }

    /// The table's current state.
    async fn load(&self, table: &TableName) -> Result<Option<Entry>, CatalogError>;

    /// Creates the entry of a new table (and its namespace) with its first state.
    async fn create(&self, table: &TableName, first: &Proposal) -> Result<Swap, CatalogError>;

    /// Moves the table from `base` to its next state.
    async fn swap(
        &self,
        table: &TableName,
        base: &Pointer,
        next: &Proposal,
    ) -> Result<Swap, CatalogError>;

    /// All tables, sorted by name.
    async fn tables(&self) -> Result<Vec<TableName>, CatalogError>;
}
