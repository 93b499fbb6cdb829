//! The one comparator: keys and orders as bytes that compare as the values do.
//!
//! Nulls are oldest, NaN is one value above all others, −0.0 is 0.0. Deduplication and match use
//! the same bytes, so they cannot disagree.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

/// Turns some columns of a batch into comparable bytes, row by row.
#[derive(Debug)]
pub struct Encoder {
    columns: Vec<String>,
    converter: RowConverter,
}

impl Encoder {
    /// An encoder of these columns of batches with this schema.
    pub fn new(schema: &SchemaRef, columns: &[String]) -> Result<Self, ArrowError> {
        let oldest_null = SortOptions { descending: false, nulls_first: true };
        let fields = columns
            .iter()
            .map(|column| {
                let kind = schema.field_with_name(column)?.data_type().clone();
                Ok(SortField::new_with_options(kind, oldest_null))
            })
            .collect::<Result<Vec<_>, ArrowError>>()?;
        Ok(Self { columns: columns.to_vec(), converter: RowConverter::new(fields)? })
    }

    /// The bytes of each row.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        self.converter.convert_columns(&self.values(batch)?)
    }

    /// The values of the first column of rows, of which these are the bytes.
    pub(super) fn first_column<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<ArrayRef, ArrowError> {
        let parser = self.converter.parser();
        let rows = rows.into_iter().map(|bytes| parser.parse(bytes));
        let columns = self.converter.convert_rows(rows)?;
        let none = || ArrowError::InvalidArgumentError("rows of no column".to_owned());
        columns.into_iter().next().ok_or_else(none)
    }

    /// Whether any of the columns is null in a row.
    pub fn has_null(&self, batch: &RecordBatch) -> Result<Vec<bool>, ArrowError> {
        let values = self.values(batch)?;
        Ok((0..batch.num_rows()).map(|row| values.iter().any(|v| v.is_null(row))).collect())
    }

    fn values(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
        self.columns
            .iter()
            .map(|column| {
                let values = batch.column_by_name(column).ok_or_else(|| {
                    ArrowError::SchemaError(format!("column {column} is not in the batch"))
                })?;
                Ok(normal(values))
            })
            .collect()
    }
}

/// Floats with one NaN and one zero; everything else as it is.
pub(super) fn normal(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Arc::new(values.unary::<_, Float32Type>(one)) as Arc<Float32Array>
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Arc::new(values.unary::<_, Float64Type>(one)) as Arc<Float64Array>
        }
        _ => values.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    /// A version is identified by its key and order together, and ends at the first column of the next one's order.
    #[test]
    fn the_bytes_of_several_columns_are_those_of_each_and_are_read_back() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(-7), Some(1 << 40), None]));
        let columns = [("t", texts.clone(), true), ("n", numbers, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let encoder = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Encoder::new(&batch.schema(), &names).unwrap()
        };
        let (both, first, second) = (encoder(&["t", "n"]), encoder(&["t"]), encoder(&["n"]));
        let rows = both.encode(&batch).unwrap();
        let (texts_of, numbers_of) =
            (first.encode(&batch).unwrap(), second.encode(&batch).unwrap());
        for row in 0..batch.num_rows() {
            let apart = [texts_of.row(row).data(), numbers_of.row(row).data()].concat();
            assert_eq!(rows.row(row).data(), apart);
        }
        let bytes: Vec<&[u8]> = (0..batch.num_rows()).map(|row| rows.row(row).data()).collect();
        assert_eq!(&both.first_column(bytes).unwrap(), &texts);
        assert_eq!(both.first_column([]).unwrap().len(), 0);
    }

    #[test]
    fn nulls_are_oldest_and_floats_are_normal() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![
            None,
            Some(f64::NEG_INFINITY),
            Some(-0.0),
            Some(0.0),
            Some(1.0),
            Some(f64::NAN),
            Some(-f64::NAN),
        ]));
        let batch = RecordBatch::try_from_iter_with_nullable([("x", values, true)]).unwrap();
        let rows =
            Encoder::new(&batch.schema(), &["x".to_owned()]).unwrap().encode(&batch).unwrap();
        let row = |i| rows.row(i);
        assert!(row(0) < row(1) && row(1) < row(2) && row(3) < row(4) && row(4) < row(5));
        assert_eq!(row(2), row(3), "-0.0 is 0.0");
        assert_eq!(row(5), row(6), "there is one NaN");
    }
}
