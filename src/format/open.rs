//! The choice of a reader.

use std::io::Read;

use super::csv::{CsvReader, Dialect};
use super::{FormatError, Limits, RowReader};

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

/// Opens a file: reads its names and its sample. See [`RowReader`]. It may block, as `input` does.
pub fn open(
    settings: &FormatSettings,
    input: Box<dyn Read + Send>,
    limits: Limits,
) -> Result<Box<dyn RowReader>, FormatError> {
    match settings {
        FormatSettings::Csv(dialect) => Ok(Box::new(CsvReader::open(input, dialect, limits)?)),
    }
}
