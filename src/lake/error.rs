//! What can go wrong with a table.

use std::time::Duration;

use parquet::errors::ParquetError;

use crate::error::Kind;

use super::catalog::CatalogError;
use super::files::ListingError;
use super::{SequenceNumber, SnapshotId, TableName};

/// Whatever kept a port from answering.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with a table of the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The Iceberg library refused or failed: files, metadata, manifests.
    #[error("table {table}: {doing} failed")]
    Iceberg {
        /// The table.
        table: TableName,
        /// What was being done.
        doing: &'static str,
        /// The detail from the library.
        #[source]
        source: Box<iceberg::Error>,
    },
    /// Arrow refused the data.
    #[error("table {table}: {doing} failed")]
    Arrow {
        /// The table.
        table: TableName,
        /// What was being done.
        doing: &'static str,
        /// The detail from Arrow.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The catalog failed before any effect.
    #[error("table {table}: the catalog request failed")]
    Catalog {
        /// The table.
        table: TableName,
        /// The detail from the catalog.
        #[source]
        source: CatalogError,
    },
    /// A table that was expected is not in the catalog.
    #[error("table {0} does not exist")]
    NotFound(TableName),
    /// A commit was sent, and neither its success nor its failure could be established (I6).
    #[error(transparent)]
    Unknown(#[from] Box<UnknownCommit>),
    /// Other writers keep committing to the table.
    #[error(
        "table {table}: gave up after {attempts} conflicting commits in {elapsed:.1?}; no data was lost, run it again"
    )]
    Contended {
        /// The table.
        table: TableName,
        /// How many.
        attempts: u32,
        /// In which time.
        elapsed: Duration,
    },
    /// A change removes a file that is no longer live.
    #[error("table {table}: data file {path} is no longer part of the table")]
    FileGone {
        /// The table.
        table: TableName,
        /// The file.
        path: String,
    },
    /// A position belongs to another table, or to a history that was rolled back.
    #[error(
        "table {table} was rolled back or replaced: snapshot {snapshot} (sequence {sequence}), already consumed, is not in its history"
    )]
    RolledBack {
        /// The table.
        table: TableName,
        /// The consumed snapshot.
        snapshot: SnapshotId,
        /// Its sequence number.
        sequence: SequenceNumber,
    },
    /// Rows were removed from a table that is read as append-only.
    #[error("table {table}: snapshot {snapshot} has the operation `{operation}`, not `append`")]
    NotAppend {
        /// The table.
        table: TableName,
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its operation.
        operation: String,
    },
    /// A snapshot property that this version cannot read.
    #[error("table {table}: {what}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong with it.
        what: String,
    },
    /// Two schemas that cannot be combined.
    #[error("table {table}: column `{column}` is {is}, which cannot become {requested}")]
    Schema {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Its type in the table.
        is: String,
        /// The requested type.
        requested: String,
    },
    /// A table that silversmith cannot write right: another program made it, or changed it.
    #[error("table {table} {why}")]
    NotWritable {
        /// The table.
        table: TableName,
        /// What it has, and what to do.
        why: String,
    },
    /// A value that the type of its column cannot hold.
    #[error("table {table}: a value of column `{column}` does not fit its type {kind}")]
    Misfit {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Its type in the table.
        kind: String,
        /// The value, and its type.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The catalog has something else under the name of a table: a view.
    #[error(
        "table {0} cannot be created: the catalog has something under that name that is no Iceberg table, such as a view; drop it, or name another table in the configuration"
    )]
    NameTaken(TableName),
    /// It is not known which snapshots are still needed.
    #[error("table {table}: cannot see which snapshots are still needed")]
    Consumers {
        /// The table.
        table: TableName,
        /// What the consumer said.
        #[source]
        source: BoxedError,
    },
    /// The files of a table cannot be listed.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// Files of a table that the catalog does not know are where a new table would go.
    #[error(
        "table {table} is not in the catalog, but its folder {location} holds the files of a table: restore the catalog, or choose another warehouse or table name; to begin anew, move the folder away"
    )]
    Leftover {
        /// The table.
        table: TableName,
        /// Its folder.
        location: String,
    },
    /// It is not sure which files of a table are orphans.
    #[error("table {table}: no file is deleted, because {why}")]
    KeepsAll {
        /// The table.
        table: TableName,
        /// Why.
        why: String,
    },
    /// A snapshot or a time that the table does not have.
    #[error("table {table} has no snapshot {what}")]
    NoSnapshot {
        /// The table.
        table: TableName,
        /// What was requested.
        what: String,
    },
}

/// A commit whose answer was lost: it may be in the table, now or later. Its files were kept (I6).
#[derive(Debug, thiserror::Error)]
#[error(
    "table {table}: no answer says whether snapshot {snapshot} was committed, after {attempts} attempts in {elapsed:.1?}; its files were kept, and a retry finds out"
)]
pub struct UnknownCommit {
    /// The table.
    pub table: TableName,
    /// The snapshot that may or may not be part of the table.
    pub snapshot: SnapshotId,
    /// How often the swap was sent.
    pub attempts: u32,
    /// For how long silversmith tried to find out.
    pub elapsed: Duration,
    /// What the catalog last said.
    #[source]
    pub source: CatalogError,
}

impl LakeError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Catalog { source, .. } => source.kind(),
            Self::Unknown(_) | Self::Contended { .. } | Self::FileGone { .. } => Kind::Retry,
            Self::Iceberg { source, .. } if source.retryable() => Kind::Retry,
            Self::Iceberg { .. } => Kind::Look,
            Self::NotFound(_)
            | Self::NoSnapshot { .. }
            | Self::NotWritable { .. }
            | Self::Misfit { .. }
            | Self::NameTaken(_)
            | Self::Leftover { .. }
            | Self::KeepsAll { .. }
            | Self::Schema { .. } => Kind::Configuration,
            Self::Consumers { .. } | Self::Listing(_) => Kind::Look,
            Self::RolledBack { .. } | Self::NotAppend { .. } => Kind::Corrupt,
            Self::Property { .. } => Kind::Corrupt,
            Self::Arrow { .. } => Kind::Bug,
        }
    }
}

/// Adds the table and the action to a library's error.
pub(super) trait Doing<T> {
    /// Names the table and what was being done to it.
    fn doing(self, table: &TableName, doing: &'static str) -> Result<T, LakeError>;
}

impl<T> Doing<T> for Result<T, iceberg::Error> {
    fn doing(self, table: &TableName, doing: &'static str) -> Result<T, LakeError> {
        self.map_err(|source| LakeError::Iceberg {
            table: table.clone(),
            doing,
            source: Box::new(source),
        })
    }
}

impl<T> Doing<T> for Result<T, arrow::error::ArrowError> {
    fn doing(self, table: &TableName, doing: &'static str) -> Result<T, LakeError> {
        self.map_err(|source| LakeError::Arrow { table: table.clone(), doing, source })
    }
}

impl<T> Doing<T> for Result<T, ParquetError> {
    fn doing(self, table: &TableName, doing: &'static str) -> Result<T, LakeError> {
        let failed = self.map_err(|error| match error {
            // The table's files failed below Parquet.
            ParquetError::External(source) => match source.downcast::<iceberg::Error>() {
                Ok(source) => *source,
                Err(source) => {
                    iceberg::Error::new(iceberg::ErrorKind::Unexpected, source.to_string())
                }
            },
            error => iceberg::Error::new(iceberg::ErrorKind::Unexpected, error.to_string()),
        });
        failed.doing(table, doing)
    }
}

impl<T> Doing<T> for Result<T, CatalogError> {
    fn doing(self, table: &TableName, _doing: &'static str) -> Result<T, LakeError> {
        self.map_err(|source| LakeError::Catalog { table: table.clone(), source })
    }
}
