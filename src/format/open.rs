//! The choice of a reader.

use std::io::Read;

use super::compression::{self, unpacked};
use super::csv::{CsvReader, Dialect};
use super::encoding::decoded;
use super::path_columns::with_path_columns;
use super::peek::Peeked;
use super::{FormatError, Limits, RowReader, magic};

/// How a pipeline's files are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatSettings {
    /// CSV.
    Csv(Dialect),
}

impl Default for FormatSettings {
    fn default() -> Self {
        Self::Csv(Dialect::default())
    }
}

/// The same file, and the bytes of memory that unpacking it takes, as far as its first bytes show that; 0 where they
/// are few. It may block, as `input` does.
pub fn weighed(input: Box<dyn Read + Send>) -> (Box<dyn Read + Send>, u64) {
    let input = Peeked::new(input);
    let memory = compression::memory(input.head());
    (Box::new(input), memory)
}

/// Opens a file, without columns of its path: see [`open_at`].
pub fn open(
    settings: &FormatSettings,
    input: Box<dyn Read + Send>,
    limits: Limits,
) -> Result<Box<dyn RowReader>, FormatError> {
    open_at(settings, input, limits, None)
}

/// Opens a file: unpacks and decodes it, reads its names and its sample. See [`RowReader`]. It may block, as
/// `input` does. The `key=value` folders of `path` are columns, too, where that is set.
pub fn open_at(
    settings: &FormatSettings,
    input: Box<dyn Read + Send>,
    limits: Limits,
    path: Option<&str>,
) -> Result<Box<dyn RowReader>, FormatError> {
    let reader = opened(settings, input, limits)?;
    Ok(match path {
        Some(path) => with_path_columns(reader, path),
        None => reader,
    })
}

fn opened(
    settings: &FormatSettings,
    input: Box<dyn Read + Send>,
    limits: Limits,
) -> Result<Box<dyn RowReader>, FormatError> {
    let input = unpacked(Peeked::new(input), limits).map_err(FormatError::of_read)?;
    if let Some(kind) = magic::kind(input.head()) {
        return Err(FormatError::Binary(kind));
    }
    match settings {
        FormatSettings::Csv(dialect) => {
            let text = decoded(input, dialect.encoding);
            Ok(Box::new(CsvReader::open(text, dialect, limits)?))
        }
    }
}
