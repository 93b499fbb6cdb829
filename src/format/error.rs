//! Why a file is rejected.

use super::compression::Refused;
use crate::reason::Reason;

/// Why silversmith rejects a file. The whole object is rejected, and nothing of it is in bronze (I8).
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A NUL byte, or a header that is not UTF-8: not a text file.
    #[error("not a UTF-8 text file: {0}")]
    NotText(&'static str),
    /// It begins like a file of another kind.
    #[error("not a CSV file: it is {0}")]
    Binary(&'static str),
    /// Its packed bytes are wrong, or end too early.
    #[error("its {kind} data is corrupt or ends too early: upload it again")]
    Corrupt {
        /// How it is packed.
        kind: &'static str,
        /// The detail.
        #[source]
        source: std::io::Error,
    },
    /// It is packed, and expands too much.
    #[error("{0}; bronze.max_expansion and bronze.max_expanded say how much it may")]
    Expands(String),
    /// A quote that is broken, and no line behind it that is surely a record.
    #[error(
        "the record after row {row} has a quote that is not closed, or text after a closing quote, and nothing \
         shows where the record ends: fix it, or set csv.quote"
    )]
    BrokenQuote {
        /// Rows read before it.
        row: u64,
    },
    /// Too many rows do not fit.
    #[error("{rescued} of {rows} rows do not fit the header or the types; the first: {first}")]
    Rescued {
        /// Rows that do not fit.
        rescued: u64,
        /// All rows.
        rows: u64,
        /// The first of them, in short.
        first: String,
    },
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
    /// What was rescued cannot be read again: a bug.
    #[error("rescued cells are no JSON")]
    Json(#[source] serde_json::Error),
    /// Arrow refused the data.
    #[error("the rows cannot be represented as columns")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl FormatError {
    /// A failure of the input, or what unpacking it refused.
    pub(super) fn of_read(error: std::io::Error) -> Self {
        match error.downcast::<Refused>() {
            Ok(Refused::Corrupt { kind, source }) => Self::Corrupt { kind, source },
            Ok(refused) => Self::Expands(refused.to_string()),
            Err(error) => Self::Read(error),
        }
    }

    /// The word for it in the objects table and in dead letters.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotText(_) | Self::Binary(_) => Reason::NotText,
            Self::BrokenQuote { .. } => Reason::BrokenQuote,
            Self::Rescued { .. } => Reason::Rescued,
            Self::Corrupt { .. } => Reason::Corrupt,
            Self::Expands(_) => Reason::Expands,
            Self::Json(_) => Reason::Defect,
            Self::RecordTooLong { .. } => Reason::RecordTooLong,
            Self::TooManyColumns { .. } => Reason::TooManyColumns,
            Self::Read(_) => Reason::Unreadable,
            Self::SchemaChanged(_) => Reason::SchemaChanged,
            Self::Arrow(_) => Reason::NotRepresentable,
        }
    }
}
