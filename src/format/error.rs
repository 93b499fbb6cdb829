//! Why a file is rejected.

use super::compression::Refused;
use crate::reason::Reason;

/// Why silversmith rejects a file. The whole object is rejected, and nothing of it is in bronze (I8).
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A NUL byte, or a header that is not UTF-8: not a text file.
    #[error("not a UTF-8 text file: {0}")]
    NotText(&'static str),
    /// It does not begin as a Parquet file does.
    #[error("not a Parquet file; fix the file or its name, or set pipeline.format")]
    NotParquet,
    /// A key of the writer's is needed to read it.
    #[error(
        "an encrypted Parquet file: silversmith has no keys for such files; upload it without encryption"
    )]
    Encrypted,
    /// It begins like a file of another kind.
    #[error("not a text file: it is {0}")]
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
    /// It is no JSON, and nothing shows where the next record begins.
    #[error(
        "the record after row {row} is not JSON, and nothing shows where the next one begins: {why}; fix the file, or \
         set pipeline.format"
    )]
    NotJson {
        /// Rows read before it.
        row: u64,
        /// The detail.
        why: &'static str,
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
    /// Lines of the footer longer than records may be.
    #[error("a line of the last lines, which csv.skip_footer drops, is longer than {limit} bytes")]
    FooterTooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A record with too many fields.
    #[error("a record has {found} fields, the limit is {limit}: check the delimiter")]
    TooManyColumns {
        /// Fields of the record.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// JSON objects with too many different keys.
    #[error(
        "its objects have more than {limit} different keys, of which each would be a column: are they values, as ids are?"
    )]
    TooManyKeys {
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
    /// Another delimiter parts the fields.
    #[error(
        "its first line is one field with the delimiter {used:?}, and {columns} fields with {found:?}: set csv.delimiter, or fix the file"
    )]
    OtherDelimiter {
        /// The delimiter of the configuration.
        used: char,
        /// The one that the file seems to have.
        found: char,
        /// The fields that it gives.
        columns: usize,
    },
    /// The first line is data.
    #[error(
        "its first line names no columns, it looks like data: {first}; set csv.header = false, or fix the file"
    )]
    NoHeader {
        /// The line's fields.
        first: String,
    },
    /// It shares no column with the table.
    #[error(
        "it has none of the table's columns, so it is of another feed: {found}; narrow pipeline.source, or map its headers in [pipeline.columns]"
    )]
    OtherColumns {
        /// Its headers.
        found: String,
    },
    /// It lacks a key.
    #[error(
        "it lacks column `{key}`, a key of silver; its columns are {found}; fix silver.keys or the file, or map a header in [pipeline.columns]"
    )]
    KeyMissing {
        /// The column.
        key: String,
        /// Its headers.
        found: String,
    },
    /// Its columns would be too many for the table.
    #[error("it adds {new} columns to the table's {present}: {setting} is {limit}")]
    TableTooWide {
        /// Columns that it adds.
        new: usize,
        /// Columns that the table has.
        present: usize,
        /// The setting that limits them.
        setting: &'static str,
        /// Its value.
        limit: usize,
    },
    /// A cell does not fit the type of its column, and the pipeline's configuration refuses that.
    #[error(
        "column `{column}` has a value of another type in row {row}; bronze.on_type_change = \"fail\" refuses that"
    )]
    TypeChanged {
        /// The column.
        column: String,
        /// The row.
        row: u64,
    },
    /// What was rescued cannot be read again: a bug.
    #[error("rescued cells are no JSON")]
    Json(#[source] serde_json::Error),
    /// Arrow refused the data.
    #[error("the rows cannot be represented as columns")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl FormatError {
    /// A failure of the input, or what reading it refused.
    pub(super) fn of_read(error: std::io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        match error.downcast::<Refused>() {
            Ok(Refused::Corrupt { kind, source }) => Self::Corrupt { kind, source },
            Ok(refused) => Self::Expands(refused.to_string()),
            Err(error) => Self::Read(error),
        }
    }

    /// The word for it in the objects table and in dead letters.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotText(_) | Self::Binary(_) | Self::NotParquet => Reason::NotText,
            Self::Encrypted => Reason::Encrypted,
            Self::BrokenQuote { .. } => Reason::BrokenQuote,
            Self::NotJson { .. } => Reason::NotJson,
            Self::Rescued { .. } => Reason::Rescued,
            Self::Corrupt { .. } => Reason::Corrupt,
            Self::Expands(_) => Reason::Expands,
            Self::Json(_) => Reason::Defect,
            Self::RecordTooLong { .. } | Self::FooterTooLong { .. } => Reason::RecordTooLong,
            Self::TooManyColumns { .. } | Self::TooManyKeys { .. } | Self::TableTooWide { .. } => {
                Reason::TooManyColumns
            }
            Self::OtherDelimiter { .. } => Reason::OtherDelimiter,
            Self::NoHeader { .. } => Reason::NoHeader,
            Self::OtherColumns { .. } => Reason::OtherColumns,
            Self::KeyMissing { .. } => Reason::KeyMissing,
            Self::Read(_) => Reason::Unreadable,
            Self::SchemaChanged(_) => Reason::SchemaChanged,
            Self::TypeChanged { .. } => Reason::TypeChanged,
            Self::Arrow(_) => Reason::NotRepresentable,
        }
    }
}
