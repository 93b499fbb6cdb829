//! The live rows of a data file, each with its position in the file.

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::deletes::Deleted;
use super::scan::FileTask;
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, Table, TableSchema};

/// Live rows.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The rows.
    pub batch: RecordBatch,
    /// The position of each in its file, from 0, deleted rows counted (Iceberg spec, "Position Delete
    /// Files").
    pub positions: UInt64Array,
}

impl Lake {
    /// The live rows of a file, in the order of the file, with these `columns` only, in that order.
    pub async fn read_rows(
        &self,
        table: &Table,
        schema: &TableSchema,
        file: &FileTask,
        columns: &[String],
    ) -> Result<BoxStream<'static, Result<Rows, LakeError>>, LakeError> {
        let deleted = Deleted::of(self, table, schema, file).await?;
        let mut read = columns.to_vec();
        read.extend(deleted.columns().filter(|c| !columns.contains(c)).cloned());
        read.dedup();
        // Without the deletes every row of the file is read: their order is their position.
        let batches = self.read_file(table, schema, &file.without_deletes(), &read)?;
        let (table, requested) = (table.clone(), columns.len());
        let mut next = 0;
        Ok(batches
            .and_then(move |batch| {
                let first = next;
                next += batch.num_rows() as u64;
                let rows = live(&table, &deleted, batch, first, requested);
                async move { rows }
            })
            .boxed())
    }
}

fn live(
    table: &Table,
    deleted: &Deleted,
    batch: RecordBatch,
    first: u64,
    requested: usize,
) -> Result<Rows, LakeError> {
    const DOING: &str = "leaving out deleted rows";
    let name = table.name();
    let live = deleted.live(table, &batch, first)?;
    let positions = UInt64Array::from_iter_values(first..first + batch.num_rows() as u64);
    let columns: Vec<usize> = (0..requested).collect();
    let batch = batch.project(&columns).doing(name, DOING)?;
    if live.true_count() == live.len() {
        return Ok(Rows { batch, positions });
    }
    let batch = filter_record_batch(&batch, &live).doing(name, DOING)?;
    let kept = arrow::compute::filter(&positions, &live).doing(name, DOING)?;
    let positions = arrow::array::AsArray::as_primitive(&kept).clone();
    Ok(Rows { batch, positions })
}
