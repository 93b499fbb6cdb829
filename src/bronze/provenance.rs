//! The columns that silversmith adds to every bronze table: where a row came from, and what of it did
//! not fit.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use chrono::{DateTime, Utc};

use crate::format::typed::TypedBatch;
use crate::lake::read::arrow::conform;
use crate::lake::{LakeError, TableName, TableSchema};
use crate::source::RawObject;

/// Of silversmith's own columns, those by which readers look for rows.
pub const OWN_BOUNDS: [&str; 2] = ["_event_time", "_source_uri"];

/// New columns of a file, and silversmith's own.
pub fn with_own_columns(new: &[FieldRef]) -> Schema {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let own = [
        ("_source_uri", DataType::Utf8, "where the row came from"),
        ("_source_version", DataType::Utf8, "the version of the object: ETag, or size and time"),
        (
            "_source_sequence",
            DataType::Utf8,
            "which upload of its key the object was, as texts compare: S3's sequencer; null without an event",
        ),
        ("_source_row", DataType::Int64, "the row in the object; 1 is the first after the header"),
        ("_event_time", time.clone(), "the object's LastModified"),
        ("_ingested_at", time, "when silversmith read the row"),
        ("_rescued", DataType::Utf8, "what did not fit the columns, as JSON"),
    ];
    let own = own.into_iter().map(|(name, kind, doc)| {
        let metadata = [("doc".to_owned(), doc.to_owned())].into();
        Arc::new(Field::new(name, kind, true).with_metadata(metadata))
    });
    Schema::new(new.iter().cloned().chain(own).collect::<Vec<_>>())
}

/// Typed columns and silversmith's own, in the shape of a table's schema.
pub(super) fn rows(
    table: &TableName,
    batch: TypedBatch,
    (object, sequence): (&RawObject, Option<&str>),
    ingested_at: DateTime<Utc>,
    schema: &TableSchema,
) -> Result<RecordBatch, LakeError> {
    let count = batch.rescued.len();
    let text = |value: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, count)))
    };
    let time = |value: DateTime<Utc>| -> ArrayRef {
        let micros = std::iter::repeat_n(value.timestamp_micros(), count);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("+00:00"))
    };
    let first = batch.first_row as i64;
    let mut columns = batch.columns;
    columns.push(("_source_uri".to_owned(), text(&object.id.uri)));
    columns.push(("_source_version".to_owned(), text(&object.id.version)));
    let sequences = std::iter::repeat_n(sequence, count).collect::<StringArray>();
    columns.push(("_source_sequence".to_owned(), Arc::new(sequences)));
    let numbers = Int64Array::from_iter_values(first..first + count as i64);
    columns.push(("_source_row".to_owned(), Arc::new(numbers)));
    columns.push(("_event_time".to_owned(), time(object.id.last_modified)));
    columns.push(("_ingested_at".to_owned(), time(ingested_at)));
    columns.push(("_rescued".to_owned(), Arc::new(batch.rescued)));
    let columns = columns.into_iter().map(|(name, values)| (name, values, true));
    let rows = RecordBatch::try_from_iter_with_nullable(columns).map_err(|source| {
        LakeError::Arrow { table: table.clone(), doing: "making rows", source }
    })?;
    conform(table, rows, schema.arrow())
}
