//! CSV: records of fields, after a header.
//!
//! `blocks.rs` reads the bytes, `split.rs` finds the fields of a record in them, `damage.rs` says where records
//! go on behind a broken quote, and `cells.rs` makes columns of the fields. Before the first of them,
//! `preamble.rs` skips lines, and behind the last `epilogue.rs`.

use std::io::Read;

use super::blocks::Blocks;
use super::cells::{Cells, Nulls};
use super::damage::{Resync, lines_like_records, resync};
use super::encoding::Encoding;
use super::epilogue::Epilogue;
use super::names::column_names;
use super::preamble;
use super::split::{Record, Scan, Sign, Splitter};
use super::{FormatError, Limits, RawBatch, RowReader};

/// How a CSV file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// The byte between fields.
    pub delimiter: u8,
    /// The byte around fields that hold delimiters or line breaks; inside them it is doubled. None: every byte
    /// stands for itself.
    pub quote: Option<u8>,
    /// The byte that makes the next one stand for itself.
    pub escape: Option<u8>,
    /// How its text is written as bytes, unless a byte order mark says it.
    pub encoding: Encoding,
    /// Whether the first record names the columns.
    pub header: bool,
    /// Texts that mean null, compared as they stand in the file: the empty text is a cell without any byte, and
    /// not one of two quotes.
    pub null_values: Vec<String>,
    /// Lines before the header, or else before the first record, that are skipped.
    pub skip_lines: u64,
    /// Lines at the end that are skipped, blank ones not counted.
    pub skip_footer: usize,
    /// The byte at the start of lines that are skipped.
    pub comment: Option<u8>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            encoding: Encoding::Utf8,
            header: true,
            null_values: vec![String::new()],
            skip_lines: 0,
            skip_footer: 0,
            comment: None,
        }
    }
}

/// Bytes that the search for the end of broken records may look through, beyond four times what was read. A file
/// made for it would keep the reader busy for hours.
const SEARCHED: u64 = 64 * 1024 * 1024;

/// See [`RowReader`].
pub(super) struct CsvReader {
    blocks: Blocks,
    splitter: Splitter,
    record: Record,
    dialect: Dialect,
    nulls: Nulls,
    limits: Limits,
    originals: Vec<String>,
    names: Vec<String>,
    sample: Option<RawBatch>,
    /// Rows read so far.
    rows: u64,
    /// Bytes consumed so far.
    consumed: u64,
    /// Bytes looked through for the end of broken records.
    searched: u64,
}

/// What the unread bytes begin with.
enum Found {
    /// A record, whose fields are in `record`.
    Record {
        length: usize,
        /// How many lines it has, if they look like records of their own.
        suspicious: Option<usize>,
    },
    /// Lines with a broken quote.
    Damaged { length: usize, sign: Sign },
}

impl std::fmt::Debug for CsvReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvReader").field("names", &self.names).finish_non_exhaustive()
    }
}

impl RowReader for CsvReader {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn originals(&self) -> &[String] {
        &self.originals
    }

    fn sample(&self) -> Option<&RawBatch> {
        self.sample.as_ref()
    }

    fn next_batch(&mut self) -> Result<Option<RawBatch>, FormatError> {
        match self.sample.take() {
            Some(sample) => Ok(Some(sample)),
            None => self.read_batch(),
        }
    }
}

impl CsvReader {
    /// Reads the header and the sample of a text in UTF-8.
    pub(super) fn open(
        input: Box<dyn Read + Send>,
        dialect: &Dialect,
        limits: Limits,
    ) -> Result<Self, FormatError> {
        let Dialect { delimiter, quote, escape, skip_lines, skip_footer, comment, .. } = *dialect;
        let input = Epilogue::new(input, skip_footer, limits.record_bytes);
        let (input, delimiter) = preamble::begin(input, skip_lines, (delimiter, quote));
        let splitter = Splitter::new(delimiter, quote, escape, limits.columns);
        let mut reader = Self {
            blocks: Blocks::new(Box::new(input)),
            splitter: splitter.with_comment(comment),
            record: Record::default(),
            dialect: dialect.clone(),
            nulls: Nulls::new(&dialect.null_values, quote),
            limits,
            originals: vec![],
            names: vec![],
            sample: None,
            rows: 0,
            consumed: 0,
            searched: 0,
        };
        reader.read_header()?;
        reader.sample = reader.read_batch()?;
        Ok(reader)
    }

    fn read_header(&mut self) -> Result<(), FormatError> {
        let Some(found) = self.find()? else { return Ok(()) };
        let Found::Record { length, .. } = found else {
            return Err(FormatError::BrokenQuote { row: 0 });
        };
        let bytes = &self.blocks.unread()[..length];
        self.splitter.first_ended(bytes);
        if self.record.has_nul {
            return Err(FormatError::NotText(
                "its first record holds a NUL byte; is it UTF-16? set csv.encoding",
            ));
        }
        if self.dialect.header {
            let fields = self.record.fields.iter();
            self.originals = fields
                .map(|field| std::str::from_utf8(self.record.text(bytes, field)).map(str::to_owned))
                .collect::<Result<_, _>>()
                .map_err(|_| FormatError::NotText("its header is not; set csv.encoding"))?;
            self.names = column_names(self.originals.iter().map(String::as_str));
            self.consume(length);
        } else {
            self.originals = (1..=self.record.count).map(|n| format!("column_{n}")).collect();
            self.names = self.originals.clone();
        }
        Ok(())
    }

    /// What the unread bytes begin with, blank lines and comments passed over; none at the end of the file.
    fn find(&mut self) -> Result<Option<Found>, FormatError> {
        loop {
            let (bytes, last) = (self.blocks.unread(), self.blocks.is_last());
            let scan = match (bytes.is_empty(), last) {
                (true, true) => return Ok(None),
                (true, false) => Scan::Cut { in_quotes: false },
                _ => self.splitter.split(bytes, last, &mut self.record),
            };
            let is_long = bytes.len() as u64 > self.limits.record_bytes;
            let looked = scan.looked(bytes) as u64;
            match scan {
                Scan::Blank(length) => self.consume(length),
                Scan::Record(length) => return self.record_of(length).map(Some),
                Scan::Cut { .. } if !is_long => self.more()?,
                Scan::Cut { in_quotes: true } => {
                    self.searched += looked;
                    return self.damaged(Sign::Unclosed).map(Some);
                }
                Scan::Cut { in_quotes: false } => return Err(self.too_long()),
                Scan::Broken { sign, .. } => {
                    self.searched += looked;
                    return self.damaged(sign).map(Some);
                }
            }
        }
    }

    /// A record whose quotes are in order; whether they are its own is another question.
    fn record_of(&mut self, length: usize) -> Result<Found, FormatError> {
        if length as u64 > self.limits.record_bytes {
            return Err(self.too_long());
        }
        if self.record.count > self.limits.columns {
            let (found, limit) = (self.record.count, self.limits.columns);
            return Err(FormatError::TooManyColumns { found, limit });
        }
        let width = self.names.len();
        let mut suspicious = None;
        if self.record.has_lines && width > 0 {
            if self.record.has_width(width) {
                let bytes = &self.blocks.unread()[..length];
                suspicious = lines_like_records(&self.splitter, bytes, width);
            } else if let Some(length) = self.resync()? {
                return Ok(Found::Damaged { length, sign: Sign::Unclosed });
            } else {
                // The search may have moved the bytes and used the record.
                let (bytes, last) = (self.blocks.unread(), self.blocks.is_last());
                self.splitter.split(bytes, last, &mut self.record);
            }
        }
        Ok(Found::Record { length, suspicious })
    }

    fn damaged(&mut self, sign: Sign) -> Result<Found, FormatError> {
        match self.resync()? {
            Some(length) => Ok(Found::Damaged { length, sign }),
            None => Err(FormatError::BrokenQuote { row: self.rows }),
        }
    }

    /// The length of the broken record that the unread bytes begin with; none where that cannot be known.
    fn resync(&mut self) -> Result<Option<usize>, FormatError> {
        loop {
            let (bytes, last) = (self.blocks.unread(), self.blocks.is_last());
            if self.names.is_empty() || self.searched > SEARCHED + 4 * self.consumed {
                return Ok(None);
            }
            let (width, searched) = (self.names.len(), &mut self.searched);
            match resync(&self.splitter, bytes, last, width, searched) {
                Resync::At(length) if length as u64 > self.limits.record_bytes => {
                    return Err(self.too_long());
                }
                Resync::At(length) => return Ok(Some(length)),
                Resync::Unsure => return Ok(None),
                Resync::More if bytes.len() as u64 > 2 * self.limits.record_bytes => {
                    return Ok(None);
                }
                Resync::More => self.more()?,
            }
        }
    }

    fn read_batch(&mut self) -> Result<Option<RawBatch>, FormatError> {
        let (names, nulls, first_row) = (self.names.clone(), self.nulls.clone(), self.rows + 1);
        let mut cells = Cells::new(&names, &nulls);
        while cells.has_room()
            && let Some(found) = self.find()?
        {
            self.rows += 1;
            let length = match found {
                Found::Record { length, suspicious } => {
                    let bytes = &self.blocks.unread()[..length];
                    if self.is_header(bytes) {
                        cells.header_again(bytes, &self.record);
                    } else {
                        let why =
                            |lines| format!("quotes around {lines} lines, each like a record");
                        cells.record(bytes, &self.record, suspicious.map(why));
                    }
                    length
                }
                Found::Damaged { length, sign } => {
                    cells.damaged(&self.splitter, &self.blocks.unread()[..length], sign);
                    length
                }
            };
            self.consume(length);
        }
        Ok(cells.finish(first_row))
    }

    /// Whether a record is the header once more. One value alone may be that of a cell.
    fn is_header(&self, bytes: &[u8]) -> bool {
        let same = |(field, name): (_, &String)| self.record.text(bytes, field) == name.as_bytes();
        self.dialect.header
            && self.originals.len() > 1
            && self.record.count == self.originals.len()
            && self.record.fields.iter().zip(&self.originals).all(same)
    }

    fn more(&mut self) -> Result<(), FormatError> {
        self.blocks.more().map_err(FormatError::of_read)
    }

    fn consume(&mut self, length: usize) {
        self.blocks.consume(length);
        self.consumed += length as u64;
    }

    fn too_long(&self) -> FormatError {
        FormatError::RecordTooLong { limit: self.limits.record_bytes, row: self.rows }
    }
}
