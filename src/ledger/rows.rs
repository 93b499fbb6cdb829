//! The rows of the objects table.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, TimeZone, Utc};

use super::Attempt;
use crate::lake::read::arrow::conform;
use crate::lake::{LakeError, TableName};
use crate::source::ObjectId;

/// How an attempt at an object version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectOutcome {
    /// Its rows (or none, if it has none) are in bronze. Final.
    Ingested,
    /// It was read and cannot be taken in; the reason says why.
    Rejected,
    /// It was gone, or another version, when it was to be read.
    Missing,
    /// It is not to be taken in: it was gone and that is allowed, or somebody gave it up.
    Skipped,
    /// Somebody has asked to have it tried again.
    Replayed,
}

impl ObjectOutcome {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingested => "ingested",
            Self::Rejected => "rejected",
            Self::Missing => "missing",
            Self::Skipped => "skipped",
            Self::Replayed => "replayed",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "ingested" => Self::Ingested,
            "missing" => Self::Missing,
            "skipped" => Self::Skipped,
            "replayed" => Self::Replayed,
            _ => Self::Rejected,
        }
    }
}

impl fmt::Display for ObjectOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finished attempt at an object version.
#[derive(Debug, Clone)]
pub struct ObjectRow {
    /// Which version.
    pub id: ObjectId,
    /// Its size in bytes; unknown when the row was rebuilt from bronze.
    pub size: Option<u64>,
    /// How it ended.
    pub outcome: ObjectOutcome,
    /// A short word for why, where it was not ingested.
    pub reason: Option<&'static str>,
    /// The whole account of why.
    pub error: Option<String>,
    /// Rows in bronze.
    pub rows: u64,
    /// How many of them had something rescued; unknown when the row was rebuilt from bronze.
    pub rescued: Option<u64>,
    /// The batch.
    pub batch: String,
    /// When the attempt ended.
    pub finished_at: DateTime<Utc>,
}

/// The column by whose day the table is partitioned.
pub(super) const LAST_MODIFIED: &str = "last_modified";
/// The columns that make up an object's state.
pub(super) const STATE_COLUMNS: [&str; 6] =
    ["source_uri", "source_version", LAST_MODIFIED, "outcome", "finished_at", "reason"];
/// The reason of an object that was there and could not be read.
pub const UNREADABLE: &str = "unreadable";
/// The reason of an object that was another version before it was read to its end.
pub const CHANGED: &str = "changed";

/// Whether another attempt at an object that was not ingested for this reason may go otherwise.
pub fn may_pass(reason: Option<&str>) -> bool {
    matches!(reason, Some(UNREADABLE | CHANGED))
}

/// Days since 1970-01-01, in UTC: Iceberg's `day` transform.
pub fn day_of(time: DateTime<Utc>) -> i32 {
    time.timestamp().div_euclid(86_400) as i32
}

pub(super) fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let required = |name: &str, kind| Field::new(name, kind, false);
    let optional = |name: &str, kind| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        required("source_uri", DataType::Utf8),
        required("source_version", DataType::Utf8),
        required(LAST_MODIFIED, time()),
        optional("size", DataType::Int64),
        required("outcome", DataType::Utf8),
        optional("reason", DataType::Utf8),
        optional("error", DataType::Utf8),
        required("rows", DataType::Int64),
        optional("rescued", DataType::Int64),
        required("batch_id", DataType::Utf8),
        required("finished_at", time()),
    ]))
}

pub(super) fn batch(
    rows: &[&ObjectRow],
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
        ("source_uri", texts(all().map(|r| Some(r.id.uri.as_str())))),
        ("source_version", texts(all().map(|r| Some(r.id.version.as_str())))),
        (LAST_MODIFIED, times(all().map(|r| r.id.last_modified))),
        ("size", numbers(all().map(|r| r.size))),
        ("outcome", texts(all().map(|r| Some(r.outcome.as_str())))),
        ("reason", texts(all().map(|r| r.reason))),
        ("error", texts(all().map(|r| r.error.as_deref()))),
        ("rows", numbers(all().map(|r| Some(r.rows)))),
        ("rescued", numbers(all().map(|r| r.rescued))),
        ("batch_id", texts(all().map(|r| Some(r.batch.as_str())))),
        ("finished_at", times(all().map(|r| r.finished_at))),
    ];
    let batch = RecordBatch::try_from_iter(columns).map_err(|source| LakeError::Arrow {
        table: table.clone(),
        doing: "making its rows",
        source,
    })?;
    conform(table, batch, schema)
}

/// An object's state, as one row tells it.
pub(super) struct State {
    pub(super) id: ObjectId,
    pub(super) outcome: ObjectOutcome,
    pub(super) finished_at: i64,
    pub(super) again: bool,
    pub(super) reason: Option<String>,
}

impl State {
    /// What of it counts, and how much.
    pub(super) fn ranked(&self) -> ((bool, i64), Attempt) {
        let rank = (self.outcome == ObjectOutcome::Ingested, self.finished_at);
        let finished_at = time(self.finished_at);
        (rank, Attempt { outcome: self.outcome, again: self.again, finished_at })
    }
}

/// The states in a batch of [`STATE_COLUMNS`] whose URI is one of `uris`; all of them without any.
pub(super) fn states<'a>(
    batch: &'a RecordBatch,
    uris: Option<&'a HashSet<&str>>,
) -> impl Iterator<Item = State> + 'a {
    let (uri, version) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
    let modified = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    let outcome = batch.column(3).as_string::<i32>();
    let finished = batch.column(4).as_primitive::<TimestampMicrosecondType>();
    let reason = batch.column(5).as_string::<i32>();
    let wanted = move |row: &usize| uris.is_none_or(|uris| uris.contains(uri.value(*row)));
    (0..batch.num_rows()).filter(wanted).map(move |row| {
        let state = ObjectOutcome::parse(outcome.value(row));
        State {
            id: ObjectId {
                uri: uri.value(row).to_owned(),
                version: version.value(row).to_owned(),
                last_modified: time(modified.value(row)),
            },
            outcome: state,
            finished_at: finished.value(row),
            reason: reason.is_valid(row).then(|| reason.value(row).to_owned()),
            again: matches!(state, ObjectOutcome::Missing | ObjectOutcome::Replayed)
                || (reason.is_valid(row) && reason.value(row) == UNREADABLE),
        }
    })
}

pub(super) fn time(micros: i64) -> DateTime<Utc> {
    Utc.timestamp_micros(micros).single().unwrap_or_default()
}
