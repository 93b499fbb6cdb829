//! Why a file is rejected.

use crate::reason::Reason;

/// Why silversmith rejects a file. The whole object is rejected, and nothing of it is in bronze (I8).
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A NUL byte, or a header that is not UTF-8: not a text file.
    #[error("not a UTF-8 text file: {0}")]
    NotText(&'static str),
    /// A record longer than the limit.
    #[error("the record after row {row} is longer than {limit} bytes: look for an unclosed quote")]
    RecordTooLong {
        /// The limit, in bytes.
        limit: u64,
        /// Rows read before it.
        row: u64,
    },
    /// A record with too many fields.
    #[error("a record has {found} fields, the limit is {limit}: check the delimiter")]
    TooManyColumns {
        /// Fields of the record.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Reading the bytes failed. The source may hold an error of the raw store.
    #[error("could not be read to the end")]
    Read(#[source] std::io::Error),
    /// The columns differ from the table's, and the pipeline's configuration refuses that.
    #[error(
        "the columns differ from the table's: {0}; bronze.schema_change = \"fail\" refuses that"
    )]
    SchemaChanged(String),
    /// Arrow refused the data.
    #[error("the rows cannot be represented as columns")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl FormatError {
    /// The word for it in the objects table and in dead letters.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotText(_) => Reason::NotText,
            Self::RecordTooLong { .. } => Reason::RecordTooLong,
            Self::TooManyColumns { .. } => Reason::TooManyColumns,
            Self::Read(_) => Reason::Unreadable,
            Self::SchemaChanged(_) => Reason::SchemaChanged,
            Self::Arrow(_) => Reason::NotRepresentable,
        }
    }
}
