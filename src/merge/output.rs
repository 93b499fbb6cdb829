//! What the steps of a merge share: writing rows, and dividing work among threads.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};

use super::newest::{Newest, Winner};
use super::{MergeError, MergeRules};
use crate::lake::LakeError;
use crate::lake::read::arrow::conform;
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;

/// Rows written at a time.
pub(super) const WRITE_ROWS: usize = 8 * 1024;

/// Writes winners' rows, in the order given.
pub(super) async fn write_winners(
    writer: &mut DataWriter,
    newest: &Newest,
    winners: &[&Winner],
    (rules, schema): (&MergeRules, &SchemaRef),
) -> Result<(), MergeError> {
    for share in winners.chunks(WRITE_ROWS) {
        let rows = newest.rows_of(share).map_err(|e| arrow_error(rules, e))?;
        writer.write(&shaped(rows, (rules, schema))?).await?;
    }
    Ok(())
}

/// Rows of the source in the shape of the target.
pub(super) fn shaped(
    rows: RecordBatch,
    (rules, schema): (&MergeRules, &SchemaRef),
) -> Result<RecordBatch, MergeError> {
    for field in schema.fields().iter().filter(|f| !f.is_nullable()) {
        if rows.column_by_name(field.name()).is_some_and(|c| c.null_count() > 0) {
            let why =
                format!("column `{}` is required, and a row has no value for it", field.name());
            return Err(MergeError::Columns { table: rules.table.clone(), why });
        }
    }
    Ok(conform(&rules.table, rows, schema)?)
}

pub(super) fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Divides files among threads, the largest first, each to the thread that has least. Each with its index.
pub(super) fn divided(files: &[FileTask], threads: usize) -> Vec<Vec<(usize, FileTask)>> {
    let mut sorted: Vec<(usize, &FileTask)> = files.iter().enumerate().collect();
    sorted.sort_by_key(|(_, file)| std::cmp::Reverse(file.bytes()));
    let count = threads.min(files.len()).max(1);
    let mut shares: Vec<(u64, Vec<(usize, FileTask)>)> = vec![(0, vec![]); count];
    for (index, file) in sorted {
        if let Some((bytes, share)) = shares.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.bytes();
            share.push((index, file.clone()));
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

/// The results of all threads; the first error ends the others.
pub(super) async fn joined<T: 'static>(
    mut running: tokio::task::JoinSet<Result<T, MergeError>>,
    rules: &MergeRules,
) -> Result<Vec<T>, MergeError> {
    let mut all = Vec::new();
    while let Some(ended) = running.join_next().await {
        let ended = ended.map_err(|panic| MergeError::Panicked {
            table: rules.table.clone(),
            why: panic.to_string(),
        })?;
        all.push(ended?);
    }
    Ok(all)
}

pub(super) fn arrow_error(rules: &MergeRules, source: arrow::error::ArrowError) -> MergeError {
    let table = rules.table.clone();
    LakeError::Arrow { table, doing: "merging rows", source }.into()
}
