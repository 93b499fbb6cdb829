//! The rows of the objects table: written, and read back.
//!
//! Silversmith decides by outcomes and reasons, and a newer version may have written words that this
//! one does not know. An unknown *outcome* is an error wherever silversmith decides by it: the object's
//! rows may be in bronze or not (I2). An unknown *reason* of a rejected object stops no ingestion: the
//! object is not in bronze, so another attempt is harmless, and a low watermark that passed it would
//! lose it. Where people only look (`objects`, `dlq list`), words are shown as they are.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, TimeZone, Utc};

use super::outcome::ObjectOutcome;
use crate::batch::BatchId;
use crate::lake::read::arrow::conform;
use crate::lake::{LakeError, TableName};
use crate::reason::{Reason, UnknownWord};
use crate::source::ObjectId;

/// One finished attempt at an object version.
#[derive(Debug, Clone)]
pub struct ObjectRow {
    /// Which version.
    pub id: ObjectId,
    /// Its size in bytes; unknown when the row was rebuilt from bronze.
    pub size: Option<u64>,
    /// How the attempt ended.
    pub outcome: ObjectOutcome,
    /// Why it was not ingested.
    pub reason: Option<Reason>,
    /// The error in full.
    pub error: Option<String>,
    /// Rows in bronze.
    pub rows: u64,
    /// How many of them had something rescued; unknown when the row was rebuilt from bronze.
    pub rescued: Option<u64>,
    /// The batch of the attempt.
    pub batch: BatchId,
    /// When the attempt ended.
    pub finished_at: DateTime<Utc>,
}

/// What decides about an object version, out of its row: small, as memory holds many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended. `Ingested` is final.
    pub outcome: ObjectOutcome,
    /// Whether a listing that shows the object tries again: the object was missing, or could not be
    /// read, or was replayed.
    pub again: bool,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}

/// Of the rows of one object version the greatest counts: `ingested` before all others, then the
/// newest.
pub(super) type Rank = (bool, DateTime<Utc>);

impl Attempt {
    pub(super) fn rank(&self) -> Rank {
        (self.outcome == ObjectOutcome::Ingested, self.finished_at)
    }
}

pub(super) const SOURCE_URI: &str = "source_uri";
pub(super) const SOURCE_VERSION: &str = "source_version";
/// The column that look-ups are bounded by.
pub(super) const LAST_MODIFIED: &str = "last_modified";
const SIZE: &str = "size";
pub(super) const OUTCOME: &str = "outcome";
const REASON: &str = "reason";
const ERROR: &str = "error";
pub(super) const ROWS: &str = "rows";
const RESCUED: &str = "rescued";
const BATCH_ID: &str = "batch_id";
pub(super) const FINISHED_AT: &str = "finished_at";

/// The columns that an [`Attempt`] is made of.
pub(super) const ATTEMPT_COLUMNS: [&str; 6] =
    [SOURCE_URI, SOURCE_VERSION, LAST_MODIFIED, OUTCOME, FINISHED_AT, REASON];

pub(super) fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let required = |name: &str, kind| Field::new(name, kind, false);
    let optional = |name: &str, kind| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        required(SOURCE_URI, DataType::Utf8),
        required(SOURCE_VERSION, DataType::Utf8),
        required(LAST_MODIFIED, time()),
        optional(SIZE, DataType::Int64),
        required(OUTCOME, DataType::Utf8),
        optional(REASON, DataType::Utf8),
        optional(ERROR, DataType::Utf8),
        required(ROWS, DataType::Int64),
        optional(RESCUED, DataType::Int64),
        required(BATCH_ID, DataType::Utf8),
        required(FINISHED_AT, time()),
    ]))
}

/// Rows as the table has them.
pub(super) fn batch(
    rows: &[ObjectRow],
    schema: &SchemaRef,
    table: &TableName,
) -> Result<RecordBatch, LakeError> {
    fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
        Arc::new(values.collect::<StringArray>())
    }
    fn numbers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
        Arc::new(values.map(|v| v.map(|v| v as i64)).collect::<Int64Array>())
    }
    fn times(values: impl Iterator<Item = DateTime<Utc>>) -> ArrayRef {
        let micros = values.map(|v| v.timestamp_micros());
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("+00:00"))
    }
    let all = || rows.iter();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (SOURCE_URI, texts(all().map(|r| Some(r.id.uri.as_str())))),
        (SOURCE_VERSION, texts(all().map(|r| Some(r.id.version.as_str())))),
        (LAST_MODIFIED, times(all().map(|r| r.id.last_modified))),
        (SIZE, numbers(all().map(|r| r.size))),
        (OUTCOME, texts(all().map(|r| Some(r.outcome.as_str())))),
        (REASON, texts(all().map(|r| r.reason.map(Reason::as_str)))),
        (ERROR, texts(all().map(|r| r.error.as_deref()))),
        (ROWS, numbers(all().map(|r| Some(r.rows)))),
        (RESCUED, numbers(all().map(|r| r.rescued))),
        (BATCH_ID, texts(all().map(|r| Some(r.batch.as_str())))),
        (FINISHED_AT, times(all().map(|r| r.finished_at))),
    ];
    let batch = RecordBatch::try_from_iter(columns).map_err(|source| LakeError::Arrow {
        table: table.clone(),
        doing: "making its rows",
        source,
    })?;
    conform(table, batch, schema)
}

/// The columns of a batch of the objects table, by name. A column that was not read has no values.
struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn text(&self, name: &str, row: usize) -> Option<&'a str> {
        let column = self.0.column_by_name(name)?.as_string::<i32>();
        column.is_valid(row).then(|| column.value(row))
    }

    fn number(&self, name: &str, row: usize) -> Option<u64> {
        let column = self.0.column_by_name(name)?.as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row).max(0) as u64)
    }

    fn time(&self, name: &str, row: usize) -> DateTime<Utc> {
        let column = self.0.column_by_name(name);
        let column = column.map(|values| values.as_primitive::<TimestampMicrosecondType>());
        column.map(|values| time(values.value(row))).unwrap_or_default()
    }

    fn id(&self, row: usize) -> ObjectId {
        let text = |name| self.text(name, row).unwrap_or_default().to_owned();
        let last_modified = self.time(LAST_MODIFIED, row);
        ObjectId { uri: text(SOURCE_URI), version: text(SOURCE_VERSION), last_modified }
    }

    fn outcome(&self, row: usize) -> Result<ObjectOutcome, UnknownWord> {
        ObjectOutcome::parse(self.text(OUTCOME, row).unwrap_or_default())
    }

    fn reason(&self, row: usize) -> Result<Option<Reason>, UnknownWord> {
        self.text(REASON, row).map(Reason::parse).transpose()
    }

    /// The rows whose URI is one of `uris`; all of them without any.
    fn chosen(&self, uris: Option<&HashSet<&str>>) -> impl Iterator<Item = usize> {
        let is_chosen = move |row: &usize| {
            let uri = self.text(SOURCE_URI, *row);
            uris.is_none_or(|uris| uri.is_some_and(|uri| uris.contains(uri)))
        };
        (0..self.0.num_rows()).filter(is_chosen)
    }
}

/// All rows of a batch that has every column.
///
/// # Errors
/// An outcome or a reason that this version does not know.
pub(super) fn read(table: &TableName, batch: &RecordBatch) -> Result<Vec<ObjectRow>, LakeError> {
    let columns = Columns(batch);
    let row = |row| {
        let unknown = |error| unknown(table, &columns.id(row), &error);
        Ok(ObjectRow {
            id: columns.id(row),
            size: columns.number(SIZE, row),
            outcome: columns.outcome(row).map_err(unknown)?,
            reason: columns.reason(row).map_err(unknown)?,
            error: columns.text(ERROR, row).map(str::to_owned),
            rows: columns.number(ROWS, row).unwrap_or_default(),
            rescued: columns.number(RESCUED, row),
            batch: BatchId::new(columns.text(BATCH_ID, row).unwrap_or_default()),
            finished_at: columns.time(FINISHED_AT, row),
        })
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The attempts in a batch of [`ATTEMPT_COLUMNS`] at objects whose URI is one of `uris`; all of them
/// without any.
///
/// # Errors
/// An outcome that this version does not know.
pub(super) fn attempts(
    table: &TableName,
    batch: &RecordBatch,
    uris: Option<&HashSet<&str>>,
) -> Result<Vec<(ObjectId, Attempt)>, LakeError> {
    let columns = Columns(batch);
    let attempt = |row| {
        let id = columns.id(row);
        let outcome = columns.outcome(row).map_err(|error| unknown(table, &id, &error))?;
        let again = match outcome {
            ObjectOutcome::Ingested | ObjectOutcome::Skipped | ObjectOutcome::Waiting => false,
            ObjectOutcome::Missing | ObjectOutcome::Replayed => true,
            ObjectOutcome::Rejected => match columns.reason(row) {
                Ok(reason) => reason == Some(Reason::Unreadable),
                Err(error) => {
                    tracing::warn!(uri = id.uri, %error, "a rejected object is tried again");
                    true
                }
            },
        };
        Ok((id, Attempt { outcome, again, finished_at: columns.time(FINISHED_AT, row) }))
    };
    columns.chosen(uris).map(attempt).collect()
}

/// For people: the URI, the rank and the words (`rejected (unreadable)`) of each row in a batch of
/// [`ATTEMPT_COLUMNS`] whose URI is one of `uris`. Words of newer versions are shown as they are.
pub(super) fn words(batch: &RecordBatch, uris: &HashSet<&str>) -> Vec<(String, Rank, String)> {
    let columns = Columns(batch);
    let words = |row| {
        let outcome = columns.text(OUTCOME, row).unwrap_or_default();
        let said = match columns.text(REASON, row) {
            Some(reason) => format!("{outcome} ({reason})"),
            None => outcome.to_owned(),
        };
        let is_ingested = outcome == ObjectOutcome::Ingested.as_str();
        (columns.id(row).uri, (is_ingested, columns.time(FINISHED_AT, row)), said)
    };
    columns.chosen(Some(uris)).map(words).collect()
}

fn unknown(table: &TableName, id: &ObjectId, error: &UnknownWord) -> LakeError {
    LakeError::Property { table: table.clone(), what: format!("its row of {id}: {error}") }
}

pub(super) fn time(micros: i64) -> DateTime<Utc> {
    Utc.timestamp_micros(micros).single().unwrap_or_default()
}
