//! Arrow batches in the shape of a table's schema.

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;

use crate::lake::error::Doing;
use crate::lake::{LakeError, TableName};

/// The batch with exactly the columns, types and field metadata of `schema`, matched by name;
/// a column that it lacks is null.
pub(crate) fn conform(
    table: &TableName,
    batch: RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, LakeError> {
    let rows = batch.num_rows();
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), rows)),
        })
        .collect::<Result<Vec<_>, _>>()
        .doing(table, "shaping rows")?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .doing(table, "shaping rows")
}
