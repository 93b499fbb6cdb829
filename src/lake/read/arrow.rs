//! Arrow batches in the shape of a table's schema.

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use arrow::util::display::FormatOptions;

use crate::lake::error::Doing;
use crate::lake::{LakeError, TableName, type_name};

/// A value that does not fit is an error.
const EXACT: CastOptions<'static> =
    CastOptions { safe: false, format_options: FormatOptions::new() };

/// The batch with exactly the columns, types and field metadata of `schema`, matched by name;
/// a column that it lacks is null.
///
/// # Errors
/// [`LakeError::Misfit`]: a value does not fit the type of its column. It never becomes null.
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
            Some(column) => {
                cast_with_options(column, field.data_type(), &EXACT).map_err(|source| {
                    LakeError::Misfit {
                        table: table.clone(),
                        column: field.name().clone(),
                        kind: type_name(field.data_type()),
                        source,
                    }
                })
            }
            None => Ok(new_null_array(field.data_type(), rows)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .doing(table, "shaping rows")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, UInt64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_an_error_and_never_null() {
        let table = "silver.orders".parse().unwrap();
        let stored = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let shaped = |values: Vec<Option<u64>>| {
            let values: ArrayRef = Arc::new(UInt64Array::from(values));
            conform(&table, RecordBatch::try_from_iter([("n", values)]).unwrap(), &stored)
        };
        let fits = shaped(vec![Some(7), None]).unwrap();
        assert_eq!(fits.column(0).null_count(), 1);
        let error = shaped(vec![Some(u64::MAX)]).unwrap_err().to_string();
        assert_eq!(error, "table silver.orders: a value of column `n` does not fit its type long");
    }
}
