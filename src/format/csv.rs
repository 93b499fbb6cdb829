//! CSV: records of fields, after a header.

use std::io::Read;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use csv::ByteRecord;
use serde_json::{Value, json};

use super::guard::{Guard, Records, Refused};
use super::names::column_names;
use super::preamble::{self, Preamble};
use super::{BATCH_BYTES, BATCH_ROWS, FormatError, Limits, RawBatch, RowReader};

/// How a CSV file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// The byte between fields.
    pub delimiter: u8,
    /// Whether the first record names the columns.
    pub header: bool,
    /// Texts that mean null, compared as they stand in the file.
    pub null_values: Vec<String>,
    /// Lines before the header, or else before the first record, that are skipped.
    pub skip_lines: u64,
    /// The byte at the start of lines that are skipped.
    pub comment: Option<u8>,
}

impl Default for Dialect {
    fn default() -> Self {
        let null_values = vec![String::new()];
        Self { delimiter: b',', header: true, null_values, skip_lines: 0, comment: None }
    }
}

/// See [`RowReader`].
pub(super) struct CsvReader {
    inner: csv::Reader<Preamble<Guard<Box<dyn Read + Send>>>>,
    records: Records,
    dialect: Dialect,
    limits: Limits,
    originals: Vec<String>,
    names: Vec<String>,
    /// A record that was read ahead, where the file has no header.
    ahead: Option<ByteRecord>,
    sample: Option<RawBatch>,
    /// Rows read so far.
    rows: u64,
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
    /// Reads the header and the sample.
    pub(super) fn open(
        input: Box<dyn Read + Send>,
        dialect: &Dialect,
        limits: Limits,
    ) -> Result<Self, FormatError> {
        let (guard, records) = Guard::new(input, limits.record_bytes);
        let (input, delimiter) = preamble::begin(guard, dialect.skip_lines, dialect.delimiter);
        let inner = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .comment(dialect.comment)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(64 * 1024)
            .from_reader(input);
        let mut reader = Self {
            inner,
            records,
            dialect: dialect.clone(),
            limits,
            originals: vec![],
            names: vec![],
            ahead: None,
            sample: None,
            rows: 0,
        };
        reader.read_header()?;
        reader.sample = reader.read_batch()?;
        Ok(reader)
    }

    fn read_header(&mut self) -> Result<(), FormatError> {
        let mut record = ByteRecord::new();
        if !self.read_record(&mut record)? {
            return Ok(());
        }
        if self.dialect.header {
            self.originals = record
                .iter()
                .map(|field| std::str::from_utf8(field).map(str::to_owned))
                .collect::<Result<_, _>>()
                .map_err(|_| FormatError::NotText("its header is not UTF-8"))?;
            self.names = column_names(self.originals.iter().map(String::as_str));
        } else {
            self.originals = (1..=record.len()).map(|n| format!("column_{n}")).collect();
            self.names = self.originals.clone();
            self.ahead = Some(record);
        }
        Ok(())
    }

    /// `false` at the end of the file.
    fn read_record(&mut self, record: &mut ByteRecord) -> Result<bool, FormatError> {
        if let Some(ahead) = self.ahead.take() {
            *record = ahead;
            return Ok(true);
        }
        self.records.begin();
        let read = self.inner.read_byte_record(record).map_err(|error| self.failed(error))?;
        if record.len() > self.limits.columns {
            let (found, limit) = (record.len(), self.limits.columns);
            return Err(FormatError::TooManyColumns { found, limit });
        }
        Ok(read)
    }

    fn failed(&self, error: csv::Error) -> FormatError {
        let error = match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => std::io::Error::other(format!("{other:?}")),
        };
        match Refused::of(error) {
            Ok(Refused::NotText) => FormatError::NotText("it contains a NUL byte or is UTF-16"),
            Ok(Refused::RecordTooLong) => {
                FormatError::RecordTooLong { limit: self.limits.record_bytes, row: self.rows }
            }
            Err(error) => FormatError::Read(error),
        }
    }

    fn read_batch(&mut self) -> Result<Option<RawBatch>, FormatError> {
        let (width, first_row) = (self.names.len(), self.rows + 1);
        let mut columns: Vec<_> = (0..width).map(|_| StringBuilder::new()).collect();
        let mut misfits = StringBuilder::new();
        let (mut rows, mut bytes) = (0, 0);
        let mut record = ByteRecord::new();
        let nulls = self.dialect.null_values.clone();
        let is_null = |field: &str| nulls.iter().any(|null| null == field);
        while rows < BATCH_ROWS && bytes < BATCH_BYTES && self.read_record(&mut record)? {
            // Fields without text cost something, too.
            bytes += record.as_slice().len() + 8 * record.len();
            rows += 1;
            self.rows += 1;
            let Some(text) = whole_text(&record).filter(|_| record.len() == width) else {
                let json = misfit(&record, width);
                columns.iter_mut().for_each(StringBuilder::append_null);
                bytes += json.len();
                misfits.append_value(json);
                continue;
            };
            for (index, column) in columns.iter_mut().enumerate() {
                match record.range(index).and_then(|range| text.get(range)) {
                    Some(field) if !is_null(field) => column.append_value(field),
                    _ => column.append_null(),
                }
            }
            misfits.append_null();
        }
        if rows == 0 {
            return Ok(None);
        }
        Ok(Some(RawBatch {
            columns: columns.into_iter().map(|mut c| Arc::new(c.finish()) as ArrayRef).collect(),
            misfits: misfits.finish(),
            first_row,
        }))
    }
}

/// All fields of a record, one after the other, where each of them is UTF-8: validated once, not
/// field by field.
fn whole_text(record: &ByteRecord) -> Option<&str> {
    let text = std::str::from_utf8(record.as_slice()).ok()?;
    // A character must not be made of the end of one field and the start of the next.
    let whole = |index| record.range(index).is_some_and(|range| text.is_char_boundary(range.start));
    (0..record.len()).all(whole).then_some(text)
}

/// A record that does not fit the header, as JSON: another number of fields, or not UTF-8.
fn misfit(record: &ByteRecord, width: usize) -> String {
    let is_text = whole_text(record).is_some();
    let fields: Vec<Value> = record
        .iter()
        .map(|field| match std::str::from_utf8(field) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": BASE64.encode(field) }),
        })
        .collect();
    let problem = if is_text {
        format!("{} fields where the header has {width}", record.len())
    } else {
        "not UTF-8".to_owned()
    };
    json!({ "_problem": problem, "_record": fields }).to_string()
}
