//! The rows of a history: new versions, and rows of the target that end otherwise than they say.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::error::ArrowError;
use futures::{StreamExt, TryStreamExt};

use crate::lake::Lake;
use crate::lake::read::rows::Rows;
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;
use crate::merge::lookup::Target;
use crate::merge::newest::{Newest, Winner};
use crate::merge::order::{Encoder, normal};
use crate::merge::output::{WRITE_ROWS, arrow_error, shaped};
use crate::merge::plan::RowAt;
use crate::merge::rules::{IS_CURRENT, VALID_FROM, VALID_TO};
use crate::merge::{MergeError, MergeRules};

/// What ends the rows of a file that end otherwise, by their position: the order of the next row.
type Ends<'a> = BTreeMap<u64, &'a [u8]>;

/// Writes new versions, each with the order of what ends it.
pub(super) async fn write_versions(
    writer: &mut DataWriter,
    target: &Target,
    newest: &Newest,
    versions: &[(&Winner, Option<&[u8]>)],
) -> Result<(), MergeError> {
    let Target { schema, rules, .. } = target;
    let order = order(target)?;
    for share in versions.chunks(WRITE_ROWS) {
        let winners: Vec<&Winner> = share.iter().map(|(winner, _)| *winner).collect();
        let ends: Vec<Option<&[u8]>> = share.iter().map(|(_, end)| *end).collect();
        let rows = newest.rows_of(&winners).map_err(|e| arrow_error(rules, e))?;
        let rows = shaped(rows, (rules, schema.arrow()))?;
        let rows = begun(rows, rules).and_then(|rows| ended(rows, &ends, &order));
        writer.write(&rows.map_err(|e| arrow_error(rules, e))?).await?;
    }
    Ok(())
}

/// Writes rows of the target again, with another end.
pub(super) async fn write_ended(
    writer: &mut DataWriter,
    (lake, threads): (&Lake, usize),
    target: &Target,
    files: &[FileTask],
    rows: &[(RowAt, &[u8])],
) -> Result<(), MergeError> {
    let mut of_files: BTreeMap<usize, Ends<'_>> = BTreeMap::new();
    for (at, end) in rows {
        of_files.entry(at.file).or_default().insert(at.position, end);
    }
    let order = order(target)?;
    let work = of_files.iter().filter_map(|(file, ends)| Some((files.get(*file)?, ends)));
    let reading = futures::stream::iter(work).map(|(file, ends)| {
        let Target { table, schema, .. } = target;
        async move {
            let rows = lake.read_rows(table, schema, file, &schema.column_names()).await?;
            let last = ends.last_key_value().map(|(position, _)| *position);
            // Behind the last one nothing is read.
            let rows = rows.try_take_while(move |rows| {
                let first = rows.positions.values().first().copied();
                ready(Ok(first.is_none_or(|first| Some(first) <= last)))
            });
            Ok::<_, MergeError>(rows.err_into::<MergeError>().map_ok(move |rows| (rows, ends)))
        }
    });
    // In which order they come does not matter.
    let threads = threads.max(1);
    let mut read = reading.buffer_unordered(threads).try_flatten_unordered(threads).boxed();
    while let Some((rows, ends)) = read.try_next().await? {
        let rows = otherwise_ended(&rows, ends, &order);
        if let Some(rows) = rows.map_err(|e| arrow_error(&target.rules, e))? {
            writer.write(&rows).await?;
        }
    }
    Ok(())
}

fn order(target: &Target) -> Result<Encoder, MergeError> {
    let Target { schema, rules, .. } = target;
    Encoder::new(schema.arrow(), &rules.order).map_err(|e| arrow_error(rules, e))
}

/// The rows of a batch that end otherwise, with their new end; none where there are none.
fn otherwise_ended(
    rows: &Rows,
    of_file: &Ends<'_>,
    order: &Encoder,
) -> Result<Option<RecordBatch>, ArrowError> {
    let (mut indexes, mut ends) = (vec![], vec![]);
    for (index, position) in (0..).zip(rows.positions.values()) {
        if let Some(end) = of_file.get(position) {
            indexes.push(index);
            ends.push(Some(*end));
        }
    }
    if indexes.is_empty() {
        return Ok(None);
    }
    let some = take_record_batch(&rows.batch, &UInt32Array::from(indexes))?;
    ended(some, &ends, order).map(Some)
}

/// Rows with when they begin: with the first column of their order, as what ends other rows is written.
fn begun(rows: RecordBatch, rules: &MergeRules) -> Result<RecordBatch, ArrowError> {
    let first = rules.order.first().and_then(|first| rows.column_by_name(first));
    let first = first.ok_or_else(|| ArrowError::SchemaError("rows without an order".to_owned()))?;
    let first = normal(first);
    replaced(rows, &[(VALID_FROM, first)])
}

/// Rows with when they end: where the row of that order begins; none: they are current.
fn ended(
    rows: RecordBatch,
    ends: &[Option<&[u8]>],
    order: &Encoder,
) -> Result<RecordBatch, ArrowError> {
    let known = order.first_column(ends.iter().copied().flatten())?;
    let mut next = 0..;
    let indexes: UInt32Array = ends.iter().map(|end| end.and_then(|_| next.next())).collect();
    let current: BooleanArray = ends.iter().map(|end| Some(end.is_none())).collect();
    let ends = take(&known, &indexes, None)?;
    replaced(rows, &[(VALID_TO, ends), (IS_CURRENT, Arc::new(current))])
}

fn replaced(rows: RecordBatch, others: &[(&str, ArrayRef)]) -> Result<RecordBatch, ArrowError> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        let other = others.iter().find(|(name, _)| *name == field.name());
        other.map_or_else(|| column.clone(), |(_, other)| other.clone())
    });
    RecordBatch::try_new(schema.clone(), columns.collect())
}
