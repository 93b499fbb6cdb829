//! The choice of a reader.

use std::io::Read;

use super::compression::unpacked;
use super::csv::{CsvReader, Dialect};
use super::encoding::decoded;
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

/// Opens a file: unpacks and decodes it, reads its names and its sample. See [`RowReader`]. It may block, as
/// `input` does.
pub fn open(
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
