//! JSON: objects, whose members are the cells of a row.
//!
//! `records.rs` finds the objects of a file, in lines, in arrays or one after the other, `scan.rs` the members of
//! one, `text.rs` the characters of a text, and `cells.rs` makes columns of the members. Numbers stay the text that
//! they are written as, until they are cast to a type that holds all of it.
//!
//! The columns of a file are the keys of its first rows. One that comes later is a
//! [`LateColumn`](super::LateColumn): where it goes is the layout's question.

mod cells;
mod records;
mod scan;
#[cfg(test)]
mod tests;
mod text;

use std::io::Read;

use self::cells::Cells;
use self::records::{Found, Records};
use self::scan::Member;
use super::blocks::Blocks;
use super::names::column_names;
use super::{Format, FormatError, Limits, RawBatch, RowReader};

/// See [`RowReader`].
pub(super) struct JsonReader {
    records: Records,
    members: Vec<Member>,
    limits: Limits,
    originals: Vec<String>,
    names: Vec<String>,
    sample: Option<RawBatch>,
}

impl std::fmt::Debug for JsonReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonReader").field("names", &self.names).finish_non_exhaustive()
    }
}

impl RowReader for JsonReader {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn originals(&self) -> &[String] {
        &self.originals
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn sample(&self) -> Option<&RawBatch> {
        self.sample.as_ref()
    }

    fn next_batch(&mut self) -> Result<Option<RawBatch>, FormatError> {
        match self.sample.take() {
            Some(sample) => Ok(Some(sample)),
            None => Ok(self.read_batch(false)?.map(|(batch, _)| batch)),
        }
    }
}

impl JsonReader {
    /// Reads the sample of a text in UTF-8.
    pub(super) fn open(input: Box<dyn Read + Send>, limits: Limits) -> Result<Self, FormatError> {
        let mut reader = Self {
            records: Records::new(Blocks::new(input), limits),
            members: vec![],
            limits,
            originals: vec![],
            names: vec![],
            sample: None,
        };
        let Some((sample, keys)) = reader.read_batch(true)? else { return Ok(reader) };
        // Nothing of it would say that it is of a feed.
        if sample.misshapen == sample.rows() {
            return Err(FormatError::NotJson { row: 0, why: "it has no object" });
        }
        reader.originals = keys;
        reader.names = column_names(reader.originals.iter().map(String::as_str));
        reader.sample = Some(sample);
        Ok(reader)
    }

    fn read_batch(
        &mut self,
        is_sample: bool,
    ) -> Result<Option<(RawBatch, Vec<String>)>, FormatError> {
        let first_row = self.records.rows() + 1;
        let mut cells = Cells::new(&self.originals);
        while cells.has_room(0)
            && let Some(found) = self.records.next(&mut self.members)?
        {
            let length = match found {
                Found::Object { length } => {
                    if !cells.has_room(self.members.len()) {
                        break;
                    }
                    cells.object(&self.records.bytes()[..length], &self.members);
                    length
                }
                Found::Odd { length, why } => {
                    cells.odd(&self.records.bytes()[..length], why);
                    length
                }
            };
            self.records.consume(length);
            if cells.width() > self.limits.columns {
                return Err(FormatError::TooManyKeys { limit: self.limits.columns });
            }
        }
        cells.finish(first_row, is_sample)
    }
}
