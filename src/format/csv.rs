//! Bytes → records → string columns, a bounded number of rows at a time.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use csv::ByteRecord;
use serde_json::{Value, json};

use super::names::column_names;
use super::{CsvError, Dialect, Limits};

/// Rows of a batch.
pub const BATCH_ROWS: usize = 8 * 1024;
/// Text bytes after which a batch is closed early, so that wide rows do not add up (I7).
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Some records as string columns, by position in the file.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// One array per column of the header. Null where the text is one of the dialect's nulls.
    pub columns: Vec<ArrayRef>,
    /// For each row: the whole record as JSON where it does not fit the header; its columns are null.
    pub misfits: StringArray,
    /// The number of the first row, counted from 1.
    pub first_row: u64,
}

impl RawBatch {
    /// Rows in the batch.
    pub fn rows(&self) -> usize {
        self.misfits.len()
    }
}

/// A CSV file opened: its header is read, and its first batch, to learn types from.
pub struct CsvReader {
    inner: csv::Reader<Guarded>,
    since_record: Arc<AtomicU64>,
    dialect: Dialect,
    limits: Limits,
    originals: Vec<String>,
    names: Vec<String>,
    /// A record that was read ahead, where the file has no header.
    ahead: Option<ByteRecord>,
    first: Option<RawBatch>,
    next_row: u64,
}

impl std::fmt::Debug for CsvReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvReader").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What is read from, counting bytes since the last record, and refusing NUL bytes.
struct Guarded {
    input: Box<dyn Read + Send>,
    since_record: Arc<AtomicU64>,
    limit: u64,
    at_start: bool,
}

/// Texts by which our own refusals are told from the input's.
const TOO_LONG: &str = "record too long";
const NUL: &str = "NUL byte";

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.since_record.load(Ordering::Relaxed) > self.limit {
            return Err(std::io::Error::other(TOO_LONG));
        }
        let mut read = self.input.read(buffer)?;
        if self.at_start && read > 0 {
            self.at_start = false;
            if buffer.starts_with(&[0xFF, 0xFE]) || buffer.starts_with(&[0xFE, 0xFF]) {
                return Err(std::io::Error::other(NUL));
            }
            // The byte order mark of UTF-8 is not part of the first name.
            if buffer[..read].starts_with(&[0xEF, 0xBB, 0xBF]) {
                buffer.copy_within(3..read, 0);
                read -= 3;
                if read == 0 {
                    return self.read(buffer);
                }
            }
        }
        if buffer[..read].contains(&0) {
            return Err(std::io::Error::other(NUL));
        }
        self.since_record.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl CsvReader {
    /// Reads the header and the first batch. An empty file has no columns and no rows.
    pub fn open(
        input: Box<dyn Read + Send>,
        dialect: &Dialect,
        limits: Limits,
    ) -> Result<Self, CsvError> {
        let since_record = Arc::new(AtomicU64::new(0));
        let guarded = Guarded {
            input,
            since_record: since_record.clone(),
            limit: limits.record_bytes,
            at_start: true,
        };
        let inner = csv::ReaderBuilder::new()
            .delimiter(dialect.delimiter)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(64 * 1024)
            .from_reader(guarded);
        let mut reader = Self {
            inner,
            since_record,
            dialect: dialect.clone(),
            limits,
            originals: vec![],
            names: vec![],
            ahead: None,
            first: None,
            next_row: 1,
        };
        reader.read_header()?;
        reader.first = reader.read_batch()?;
        Ok(reader)
    }

    fn read_header(&mut self) -> Result<(), CsvError> {
        let mut record = ByteRecord::new();
        if !self.read_record(&mut record)? {
            return Ok(());
        }
        if record.len() > self.limits.columns {
            return Err(CsvError::TooManyColumns {
                found: record.len(),
                limit: self.limits.columns,
            });
        }
        if self.dialect.header {
            self.originals = record
                .iter()
                .map(|field| std::str::from_utf8(field).map(str::to_owned))
                .collect::<Result<_, _>>()
                .map_err(|_| CsvError::NotText("its header is not UTF-8"))?;
            self.names = column_names(self.originals.iter().map(String::as_str));
        } else {
            self.originals = (1..=record.len()).map(|n| format!("column_{n}")).collect();
            self.names = self.originals.clone();
            self.ahead = Some(record);
        }
        Ok(())
    }

    /// The table's names for the columns, by position.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names as the header has them.
    pub fn originals(&self) -> &[String] {
        &self.originals
    }

    /// The first rows, to learn types from; `None` where there are none.
    pub fn sample(&self) -> Option<&RawBatch> {
        self.first.as_ref()
    }

    /// The next rows, the sample first; `None` at the end of the file.
    pub fn next_batch(&mut self) -> Result<Option<RawBatch>, CsvError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.read_batch(),
        }
    }

    fn read_record(&mut self, record: &mut ByteRecord) -> Result<bool, CsvError> {
        if let Some(ahead) = self.ahead.take() {
            *record = ahead;
            return Ok(true);
        }
        self.since_record.store(0, Ordering::Relaxed);
        let read = self.inner.read_byte_record(record);
        read.map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) if error.to_string() == NUL => {
                CsvError::NotText("it holds a NUL byte or is UTF-16")
            }
            csv::ErrorKind::Io(error) if error.to_string() == TOO_LONG => CsvError::RecordTooLong {
                limit: self.limits.record_bytes,
                row: self.next_row.saturating_sub(1),
            },
            csv::ErrorKind::Io(error) => CsvError::Read(error),
            other => CsvError::Read(std::io::Error::other(format!("{other:?}"))),
        })
    }

    fn read_batch(&mut self) -> Result<Option<RawBatch>, CsvError> {
        let width = self.names.len();
        let mut columns: Vec<_> = (0..width).map(|_| StringBuilder::new()).collect();
        let mut misfits = StringBuilder::new();
        let (mut rows, mut bytes) = (0, 0);
        let mut record = ByteRecord::new();
        let nulls = self.dialect.null_values.clone();
        let is_null = |field: &str| nulls.iter().any(|null| null == field);
        while rows < BATCH_ROWS && bytes < BATCH_BYTES && self.read_record(&mut record)? {
            // Fields without text cost something, too.
            bytes += record.as_slice().len() + 8 * record.len();
            if record.len() > self.limits.columns {
                let (found, limit) = (record.len(), self.limits.columns);
                return Err(CsvError::TooManyColumns { found, limit });
            }
            rows += 1;
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
        let first_row = self.next_row;
        self.next_row += rows as u64;
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
