//! Why a merge could not be planned or run.

use crate::error::Kind;
use crate::lake::{LakeError, TableName};
use crate::sql::SqlError;

/// Why a merge could not be planned or run. Nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A table.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// `select` or `delete_when`.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A column that the merge needs.
    #[error("table {table}: {why}")]
    Columns {
        /// The table.
        table: TableName,
        /// What is wrong.
        why: String,
    },
    /// Rows do not meet an expectation that holds up the merge.
    #[error(
        "silver table {table}: {rows} of the rows to merge do not meet the expectation `{name}`, the first is {first}; nothing was merged. Correct the rows or the rule, or set its on_fail to \"quarantine\" or \"warn\""
    )]
    Unmet {
        /// The table.
        table: TableName,
        /// The expectation.
        name: String,
        /// How many rows.
        rows: u64,
        /// One of them, by its file and its number there.
        first: String,
    },
    /// The disk for rows that do not fit into memory.
    #[error(
        "table {table}: rows that do not fit into memory could not be kept in the temporary folder; free disk space there, or set TMPDIR to a larger disk"
    )]
    Spill {
        /// The table.
        table: TableName,
        /// What failed.
        source: arrow::error::ArrowError,
    },
    /// A task of the merge panicked.
    #[error("table {table}: a merge failed inside silversmith: {why}")]
    Panicked {
        /// The table.
        table: TableName,
        /// The panic's message.
        why: String,
    },
}

impl MergeError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Sql(error) => error.kind(),
            Self::Columns { .. } => Kind::Configuration,
            Self::Unmet { .. } => Kind::Look,
            Self::Spill { .. } => Kind::Look,
            Self::Panicked { .. } => Kind::Bug,
        }
    }
}
