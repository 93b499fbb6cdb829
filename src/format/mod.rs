//! Files of rows → record batches. Rows and cells that do not fit are kept as JSON in `_rescued`.
//!
//! [`RowReader`] is the port: a format splits bytes into rows of columns, of text or with types ([`RawBatch`]), within
//! [`Limits`]. [`mod@csv`], `json` and `parquet` are its backends; [`open_at`] chooses one by the settings and the
//! file's name. All else is free of formats: [`infer`] and [`said`] find types, `matching` finds the table's column for
//! each header, `plausible` refuses files of another feed, [`layout`] says which column goes where, and `late`
//! which one that the file shows late, [`typed`] casts and rescues, [`names`] makes column names, [`rescued`]
//! refuses a file of which too much does not fit.
//! `compression` and [`encoding`] come first: packed bytes → text in UTF-8. All of it is synchronous, and
//! knows neither stores nor tables.

mod blocks;
mod cast;
mod cells;
mod compression;
pub mod csv;
#[cfg(test)]
mod csv_tests;
mod damage;
#[cfg(test)]
mod dialect_tests;
pub mod encoding;
mod epilogue;
mod error;
pub mod feed;
mod formats;
pub mod infer;
mod json;
mod late;
pub mod layout;
mod magic;
mod matching;
pub mod names;
pub mod notation;
mod open;
mod parquet;
mod path_columns;
mod peek;
mod plausible;
mod preamble;
mod read_at;
pub mod rescued;
pub mod said;
mod split;
pub mod typed;

use std::fmt::Debug;

use arrow::array::{Array, ArrayRef, StringArray};

pub use error::FormatError;
pub use formats::{Format, is_compressed};
pub use late::Lacking;
pub use open::{FormatSettings, open, open_at, weighed};
pub use read_at::{FileAt, Input, ReadAt};
use said::Said;

/// The most rows of a [`RawBatch`].
pub const BATCH_ROWS: usize = 8 * 1024;
/// The size of a [`RawBatch`] in bytes of text at which it takes no further row (I7).
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Bounds on what one file may demand (I7, I8).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one record: an unclosed quote would otherwise read the file into memory.
    pub record_bytes: u64,
    /// Columns of a file.
    pub columns: usize,
    /// Bytes of a compressed file once it is unpacked.
    pub expanded_bytes: u64,
    /// How many times larger a compressed file may become; that of small files does not matter.
    pub expansion: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: 4 * 1024 * 1024,
            columns: 4_096,
            expanded_bytes: 100 * 1024 * 1024 * 1024,
            expansion: 200,
        }
    }
}

/// Some rows of a file as columns, by their index in the file.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// One array per name of the reader: of strings, which are cast to the types of the table, or of values that have
    /// a type already. A cell is null where the format's settings say that its text means null.
    pub columns: Vec<ArrayRef>,
    /// What the batch says about the types of the first of them.
    pub said: Vec<Said>,
    /// Columns that the file shows only now: they are none of the reader's names.
    pub late: Vec<LateColumn>,
    /// For each row: a JSON object of what of it does not fit, with a word about it in `_problem`. The
    /// cells that do fit are in their columns, the others are null there. Null for rows that fit.
    pub misfits: StringArray,
    /// Rows that have not the shape of the file's records.
    pub misshapen: usize,
    /// The `_source_row` of the first row.
    pub first_row: u64,
}

/// A column that is not in the sample of its file.
#[derive(Debug, Clone)]
pub struct LateColumn {
    /// Its header.
    pub header: String,
    /// Its values, one for each row of the batch, and not all of them null.
    pub values: ArrayRef,
    /// What the batch says about its type.
    pub said: Said,
}

impl RawBatch {
    /// Rows in the batch.
    pub fn rows(&self) -> usize {
        self.misfits.len()
    }
}

/// An opened file, read row by row.
///
/// # Contract
/// - `names` and `originals` are known once the reader is open, have the same length, and never
///   change. `originals` are the columns as the file names them, their headers; `names` are those of a new
///   table, each unique and plain (see [`names::column_names`]). A file without any content has none.
/// - The first [`own`](RowReader::own) of them are in the file, and say whether it is of a feed; those behind them
///   stand in its path.
/// - A format whose rows name their own columns shows some of them only behind the sample: they are the `late` ones
///   of a batch, each with a header of its own.
/// - `sample` is the first batch, read by opening; `None` means that the file has no rows. It stays
///   readable until the first `next_batch`, and does not consume any row.
/// - `next_batch` returns the rows in the order of the file, the sample first, and `None` at the end.
///   No batch is empty. Each has one column per name and at most [`BATCH_ROWS`] rows, and takes no
///   further row once it holds [`BATCH_BYTES`] of text.
/// - `first_row` counts *rows of data* in the file from 1, without gaps, misfits included: it is
///   `_source_row`. In CSV, row 1 is the first record after the header, and a record with line breaks
///   inside quotes is one row. Blank lines are no rows. In JSON, each object is a row, and each thing else in its
///   stead; in Parquet each row is one.
/// - Nothing is dropped: what does not fit of a record is in the `misfits` of its row.
/// - An error rejects the whole file, rows of earlier batches included; the caller drops the reader.
///   A record longer than the [`Limits`] allow is an error before all of it is in memory; so is one
///   of too many columns. A failure of the input is [`FormatError::Read`], with the input's error as
///   its source.
/// - The same bytes under the same settings give the same names, batches and errors each time,
///   in whatever pieces the input delivers them.
pub trait RowReader: Debug + Send {
    /// The names of the columns in a new table, by index.
    fn names(&self) -> &[String];

    /// The headers: the columns as the file names them, by index.
    fn originals(&self) -> &[String];

    /// How many of them are the file's own: the first ones. The others stand in its path.
    fn own(&self) -> usize {
        self.originals().len()
    }

    /// The format of the file.
    fn format(&self) -> Format {
        Format::Csv
    }

    /// The first rows, to infer types from.
    fn sample(&self) -> Option<&RawBatch>;

    /// The next rows.
    fn next_batch(&mut self) -> Result<Option<RawBatch>, FormatError>;
}
