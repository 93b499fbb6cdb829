//! CSV bytes → record batches, and the rows and cells that do not fit kept as JSON in `_rescued`.
//!
//! [`mod@csv`] splits bytes into records and string columns, within limits; [`infer`] finds types;
//! [`layout`] maps a file's columns to the table's; [`typed`] casts and rescues; [`names`] makes
//! column names. All of it is synchronous and knows neither files nor tables.

pub mod csv;
pub mod infer;
pub mod layout;
pub mod names;
pub mod typed;

/// How a pipeline's CSV is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// The byte between fields.
    pub delimiter: u8,
    /// Whether the first record names the columns.
    pub header: bool,
    /// Texts that mean null, compared as they stand in the file.
    pub null_values: Vec<String>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: b',', header: true, null_values: vec![String::new()] }
    }
}

/// Bounds on what a stranger's file may ask of us (I7, I8).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one record: an unclosed quote would otherwise swallow the file into memory.
    pub record_bytes: u64,
    /// Columns of a file.
    pub columns: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { record_bytes: 4 * 1024 * 1024, columns: 4_096 }
    }
}

/// Why a file is not CSV that can be ingested. The whole object is rejected, with this as the reason.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// A NUL byte, or a header that is not UTF-8: not a text file.
    #[error("it is not a UTF-8 text file: {0}")]
    NotText(&'static str),
    /// A record longer than the limit.
    #[error("a record is longer than {limit} bytes (an unclosed quote?), after row {row}")]
    RecordTooLong {
        /// The limit, in bytes.
        limit: u64,
        /// Rows read before it.
        row: u64,
    },
    /// A record with too many fields.
    #[error("a record has {found} fields; at most {limit} are read")]
    TooManyColumns {
        /// Fields of the record.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes could not be read to the end.
    #[error("it could not be read to its end")]
    Read(#[source] std::io::Error),
    /// Its columns differ from the table's, and the pipeline says that they must not.
    #[error("its columns changed: {0} (bronze.schema_change = \"fail\")")]
    SchemaChanged(String),
    /// Arrow refused the data.
    #[error("its rows could not be made into columns")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl CsvError {
    /// A short, stable word for the reason, by which dead letters are selected.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotText(_) => "not-text",
            Self::RecordTooLong { .. } => "record-too-long",
            Self::TooManyColumns { .. } => "too-many-columns",
            Self::Read(_) => "unreadable",
            Self::SchemaChanged(_) => "schema-changed",
            Self::Arrow(_) => "not-representable",
        }
    }
}
