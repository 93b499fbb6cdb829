//! The choice of a reader.

use std::io::Read;

use super::compression::{self, unpacked};
use super::csv::{CsvReader, Dialect};
use super::encoding::{Encoding, decoded};
use super::formats::Format;
use super::json::JsonReader;
use super::parquet::{self, ParquetReader};
use super::path_columns::with_path_columns;
use super::peek::Peeked;
use super::read_at::Input;
use super::{FormatError, Limits, RowReader, magic};

/// How a pipeline's files are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatSettings {
    /// CSV.
    Csv(Dialect),
    /// JSON.
    Json,
    /// Parquet.
    Parquet,
    /// What the name of a file ends with; CSV in this dialect where that says nothing.
    ByName(Dialect),
}

impl FormatSettings {
    /// Bytes of memory that reading a file takes beside its rows; 0 where they are few.
    pub fn memory(&self) -> u64 {
        match self {
            Self::Parquet => parquet::MEMORY,
            Self::Csv(_) | Self::Json | Self::ByName(_) => 0,
        }
    }

    /// Files of one format; `dialect` is that of CSV.
    pub fn in_format(format: Format, dialect: Dialect) -> Self {
        match format {
            Format::Csv => Self::Csv(dialect),
            Format::Json => Self::Json,
            Format::Parquet => Self::Parquet,
        }
    }

    /// The same for one file.
    pub fn of(&self, uri: &str) -> Self {
        match self {
            Self::ByName(dialect) => Self::in_format(Format::of_name(uri), dialect.clone()),
            known => known.clone(),
        }
    }
}

impl Default for FormatSettings {
    fn default() -> Self {
        Self::ByName(Dialect::default())
    }
}

/// The same file, and the bytes of memory that unpacking it takes, as far as its first bytes show that; 0 where they
/// are few. It may block, as `input` does.
pub fn weighed(input: Box<dyn Read + Send>) -> (Box<dyn Read + Send>, u64) {
    let input = Peeked::new(input);
    let memory = compression::memory(input.head());
    (Box::new(input), memory)
}

/// Opens a file of text, whatever it is called, without columns of its path: see [`open_at`].
pub fn open(
    settings: &FormatSettings,
    input: Box<dyn Read + Send>,
    limits: Limits,
) -> Result<Box<dyn RowReader>, FormatError> {
    opened_text(settings, input, limits)
}

/// Opens a file: unpacks and decodes it, reads its names and its sample. See [`RowReader`]. It may block, as
/// `input` does. The `key=value` folders of `path` are columns, too, where that is set.
pub fn open_at(
    settings: &FormatSettings,
    input: Input,
    limits: Limits,
    path: Option<&str>,
) -> Result<Box<dyn RowReader>, FormatError> {
    let reader = match settings {
        FormatSettings::Parquet => Box::new(ParquetReader::open(input.at, input.size, limits)?),
        text => opened_text(text, input.bytes, limits)?,
    };
    Ok(match path {
        Some(path) => with_path_columns(reader, path),
        None => reader,
    })
}

fn opened_text(
    settings: &FormatSettings,
    input: Box<dyn Read + Send>,
    limits: Limits,
) -> Result<Box<dyn RowReader>, FormatError> {
    let input = unpacked(Peeked::new(input), limits).map_err(FormatError::of_read)?;
    if let Some(kind) = magic::kind(input.head()) {
        return Err(FormatError::Binary(kind));
    }
    match settings {
        FormatSettings::Csv(dialect) | FormatSettings::ByName(dialect) => {
            let text = decoded(input, dialect.encoding);
            Ok(Box::new(CsvReader::open(text, dialect, limits)?))
        }
        FormatSettings::Json => {
            Ok(Box::new(JsonReader::open(decoded(input, Encoding::Utf8), limits)?))
        }
        FormatSettings::Parquet => Err(FormatError::NotParquet),
    }
}
