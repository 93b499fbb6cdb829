//! SQL, by DataFusion: sessions with bounded memory, the row-wise `select` of a silver table, and queries with
//! time travel.

pub mod between;
pub mod changes;
mod dialect;
pub mod expect;
pub mod keys;
mod lake_tables;
pub mod metadata_tables;
pub(crate) mod parse;
mod pinned;
mod references;
pub mod select;
pub mod session;
pub mod statement;
pub mod table_query;
pub mod times;
pub mod tolerant;

use datafusion::error::DataFusionError;

use crate::error::Kind;
use crate::lake::LakeError;
use crate::lake::catalog::CatalogError;

/// The subject of errors in what a person or a program asks.
pub const WHAT: &str = "the query";

fn not_allowed(why: &str) -> SqlError {
    SqlError::not_allowed(WHAT, why)
}

/// What can go wrong with SQL. `what` is its subject: `the query`, `silver table x: its SQL`.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It cannot be parsed, planned or run.
    #[error("{what} failed")]
    Sql {
        /// Whose SQL.
        what: String,
        /// The detail from DataFusion.
        #[source]
        source: Box<datafusion::error::DataFusionError>,
    },
    /// It uses something that is not allowed there.
    #[error("{what} is not allowed: {why}")]
    NotAllowed {
        /// Whose SQL.
        what: String,
        /// Why not.
        why: String,
    },
    /// It names a table that does not exist.
    #[error("there is no table `{name}`{}", meant(.alike))]
    NoTable {
        /// As it was written.
        name: String,
        /// Tables that may have been meant.
        alike: Vec<String>,
    },
    /// A table that it reads.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The list of tables.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl SqlError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sql { source, .. } => kind(source.find_root()),
            Self::NotAllowed { .. } | Self::NoTable { .. } => Kind::Configuration,
            Self::Lake(error) => error.kind(),
            Self::Catalog(error) => error.kind(),
        }
    }

    /// Something that is not allowed there.
    pub(crate) fn not_allowed(what: &str, why: impl Into<String>) -> Self {
        Self::NotAllowed { what: what.to_owned(), why: why.into() }
    }

    /// An error of DataFusion, with its subject.
    pub(crate) fn of(what: &str, source: datafusion::error::DataFusionError) -> Self {
        Self::Sql { what: what.to_owned(), source: Box::new(source) }
    }
}

fn meant(alike: &[String]) -> String {
    match alike {
        [] => String::new(),
        [rest @ .., last] if !rest.is_empty() => {
            format!(": did you mean {} or {last}?", rest.join(", "))
        }
        alike => format!(": did you mean {}?", alike.concat()),
    }
}

fn kind(root: &DataFusionError) -> Kind {
    match root {
        DataFusionError::External(cause) => match cause.downcast_ref::<LakeError>() {
            Some(lake) => lake.kind(),
            None => Kind::Look,
        },
        // Rows that do not fit the SQL, memory, files: not the text of the SQL.
        DataFusionError::ArrowError(..)
        | DataFusionError::Execution(_)
        | DataFusionError::ResourcesExhausted(_)
        | DataFusionError::IoError(_) => Kind::Look,
        _ => Kind::Configuration,
    }
}
