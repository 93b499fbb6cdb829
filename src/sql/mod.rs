//! SQL, by DataFusion: sessions with bounded memory, the row-wise `select` of a silver table, and queries with
//! time travel.

pub mod changes;
pub mod expect;
pub mod metadata_tables;
mod parse;
pub mod select;
pub mod session;
pub mod time_travel;
pub mod times;
pub mod tolerant;

use datafusion::error::DataFusionError;

use crate::error::Kind;
use crate::lake::LakeError;

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
    /// A table that it reads.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl SqlError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sql { source, .. } => kind(source.find_root()),
            Self::NotAllowed { .. } => Kind::Configuration,
            Self::Lake(error) => error.kind(),
        }
    }

    /// An error of DataFusion, with its subject.
    pub(crate) fn of(what: &str, source: datafusion::error::DataFusionError) -> Self {
        Self::Sql { what: what.to_owned(), source: Box::new(source) }
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
