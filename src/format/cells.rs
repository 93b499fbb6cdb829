//! Fields of records → columns of text, and JSON of what does not fit them.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::damage::{is_one_line, lenient, without_end};
use super::split::{Field, Record, Sign, Splitter};
use super::{BATCH_BYTES, BATCH_ROWS, RawBatch};

/// Texts that mean null.
#[derive(Debug, Clone)]
pub(super) struct Nulls {
    texts: Vec<String>,
    quoted_empty: bool,
}

impl Nulls {
    /// `texts` as they stand in the file: the empty one means a cell of nothing, two quotes mean a cell of
    /// nothing in quotes.
    pub(super) fn new(texts: &[String], quote: Option<u8>) -> Self {
        let quotes = quote.map(|quote| char::from(quote).to_string().repeat(2));
        let quoted_empty = quotes.is_some_and(|quotes| texts.contains(&quotes));
        Self { texts: texts.to_vec(), quoted_empty }
    }

    fn hold(&self, written: &str, text: &str, quoted: bool) -> bool {
        match quoted {
            true if text.is_empty() => self.quoted_empty,
            true => self.texts.iter().any(|null| null == text),
            false => self.texts.iter().any(|null| null == written),
        }
    }
}

/// The rows of a batch while they are collected.
pub(super) struct Cells<'a> {
    names: &'a [String],
    nulls: &'a Nulls,
    columns: Vec<StringBuilder>,
    misfits: StringBuilder,
    rows: usize,
    bytes: usize,
    misshapen: usize,
}

impl<'a> Cells<'a> {
    pub(super) fn new(names: &'a [String], nulls: &'a Nulls) -> Self {
        let columns = names.iter().map(|_| StringBuilder::new()).collect();
        let misfits = StringBuilder::new();
        Self { names, nulls, columns, misfits, rows: 0, bytes: 0, misshapen: 0 }
    }

    /// Whether the batch takes another row.
    pub(super) fn has_room(&self) -> bool {
        self.rows < BATCH_ROWS && self.bytes < BATCH_BYTES
    }

    /// Adds a record. `suspicion`: what is odd about it, although each cell of it fits.
    pub(super) fn record(&mut self, bytes: &[u8], record: &Record, suspicion: Option<String>) {
        self.rows += 1;
        // Fields without text cost something, too.
        self.bytes += bytes.len() + 8 * record.count;
        let text = std::str::from_utf8(bytes).ok().filter(|_| !record.has_nul);
        let rewritten = std::str::from_utf8(&record.rewritten);
        match (text, rewritten) {
            (Some(text), Ok(rewritten)) if suspicion.is_none() && self.fits(record) => {
                // Fields begin and end beside ASCII bytes, which are characters of their own.
                for (column, field) in self.columns.iter_mut().zip(&record.fields) {
                    let written = &text[field.start..field.end];
                    let cell = match field.rewritten {
                        Some((start, end)) => &rewritten[start as usize..end as usize],
                        None => written,
                    };
                    match self.nulls.hold(written, cell, field.quoted) {
                        true => column.append_null(),
                        false => column.append_value(cell),
                    }
                }
                self.misfits.append_null();
            }
            _ => self.misfit(bytes, record, suspicion),
        }
    }

    /// Whether a record has the header's fields.
    fn fits(&self, record: &Record) -> bool {
        record.has_width(self.names.len())
    }

    /// A record that does not fit: its cells go to the columns as far as they do.
    fn misfit(&mut self, bytes: &[u8], record: &Record, suspicion: Option<String>) {
        let (width, mut json) = (self.names.len(), Map::new());
        let mut problem = suspicion;
        if !self.fits(record) {
            self.misshapen += 1;
            problem = Some(format!("{} fields where the header has {width}", record.count));
            let fields = record.fields.iter().map(|field| value(record.text(bytes, field)));
            json.insert("_record".to_owned(), fields.collect());
        }
        for (index, name) in self.names.iter().enumerate() {
            let field = record.fields.get(index);
            let cell = field.map(|field| cell(bytes, record, field, self.nulls));
            match cell {
                None | Some(Ok(None)) => self.columns[index].append_null(),
                Some(Ok(Some(text))) => self.columns[index].append_value(text),
                Some(Err(why)) => {
                    self.columns[index].append_null();
                    problem.get_or_insert_with(|| why.to_owned());
                    let field = field.map(|field| value(record.text(bytes, field)));
                    json.extend(field.map(|value| (name.clone(), value)));
                }
            }
        }
        self.rescue(problem, json);
    }

    /// Adds what a broken quote has damaged. Of one line with the header's fields, the fields that are not broken
    /// fit; of anything else nothing is sure.
    pub(super) fn damaged(&mut self, splitter: &Splitter, bytes: &[u8], sign: Sign) {
        self.rows += 1;
        self.bytes += bytes.len();
        self.misshapen += 1;
        let problem = Some(sign.problem().to_owned());
        let line = without_end(bytes);
        let mut record = Record::default();
        let broken = lenient(splitter, line, &mut record);
        if !self.fits(&record) || !is_one_line(splitter, bytes) {
            return self.whole(problem, "_text", value(line));
        }
        let mut json = Map::new();
        for (index, (name, field)) in self.names.iter().zip(&record.fields).enumerate() {
            let is_broken = broken.contains(&index);
            // Delimiters at the end of the line may be a part of what is broken.
            let text = match is_broken && index + 1 == self.names.len() {
                true => &line[field.start..],
                false => record.text(line, field),
            };
            match cell(line, &record, field, self.nulls) {
                Ok(Some(text)) if !is_broken => {
                    self.columns[index].append_value(text);
                }
                Ok(None) => self.columns[index].append_null(),
                _ => {
                    self.columns[index].append_null();
                    json.insert(name.clone(), value(text));
                }
            }
        }
        self.rescue(problem, json);
    }

    /// Adds a record that is the header once more, as in files that were put together.
    pub(super) fn header_again(&mut self, bytes: &[u8], record: &Record) {
        self.rows += 1;
        self.bytes += bytes.len();
        self.misshapen += 1;
        let fields = record.fields.iter().map(|field| value(record.text(bytes, field))).collect();
        self.whole(Some("the header again".to_owned()), "_record", fields);
    }

    fn whole(&mut self, problem: Option<String>, key: &str, value: Value) {
        self.columns.iter_mut().for_each(StringBuilder::append_null);
        self.rescue(problem, Map::from_iter([(key.to_owned(), value)]));
    }

    fn rescue(&mut self, problem: Option<String>, mut json: Map<String, Value>) {
        json.extend(problem.map(|problem| ("_problem".to_owned(), problem.into())));
        let json = Value::Object(json).to_string();
        self.bytes += json.len();
        self.misfits.append_value(json);
    }

    /// The batch; none without rows.
    pub(super) fn finish(mut self, first_row: u64) -> Option<RawBatch> {
        let columns = self.columns.into_iter().map(|mut c| Arc::new(c.finish()) as ArrayRef);
        (self.rows > 0).then(|| RawBatch {
            columns: columns.collect(),
            said: vec![],
            late: vec![],
            misfits: self.misfits.finish(),
            misshapen: self.misshapen,
            first_row,
        })
    }
}

/// The text of a field, none where that means null; or why it is no text.
fn cell<'a>(
    bytes: &'a [u8],
    record: &'a Record,
    field: &Field,
    nulls: &Nulls,
) -> Result<Option<&'a str>, &'static str> {
    let text = record.text(bytes, field);
    if text.contains(&0) {
        return Err("a NUL byte");
    }
    let text = std::str::from_utf8(text).map_err(|_| "not UTF-8")?;
    let written = std::str::from_utf8(&bytes[field.start..field.end]).map_err(|_| "not UTF-8")?;
    Ok((!nulls.hold(written, text, field.quoted)).then_some(text))
}

/// Bytes as JSON, without loss.
pub(super) fn value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": BASE64.encode(bytes) }),
    }
}
