//! Texts that many rows have: held once, as dictionaries that stay small.
//!
//! Rows that are put together from several batches bring the dictionaries of all of them, and every look at a row costs
//! what its dictionary has: with one value for each file that would be little, with one for each row it is too much.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

/// The same rows, whose dictionaries have each value once and none that no row has.
pub(super) fn compact(rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let is_repeated = |column: &ArrayRef| matches!(column.data_type(), DataType::Dictionary(..));
    if !rows.columns().iter().any(is_repeated) {
        return Ok(rows);
    }
    let columns =
        rows.columns().iter().map(|column| match column.as_dictionary_opt::<Int32Type>() {
            Some(repeated) => of_few_values(repeated),
            None => Ok(column.clone()),
        });
    RecordBatch::try_new(rows.schema(), columns.collect::<Result<Vec<_>, _>>()?)
}

fn of_few_values(repeated: &DictionaryArray<Int32Type>) -> Result<ArrayRef, ArrowError> {
    let Some(values) = repeated.values().as_string_opt::<i32>() else {
        return Ok(Arc::new(repeated.clone()));
    };
    // By a value's index now: its index from now on. A value that no row has gets none.
    let mut index_of: Vec<Option<i32>> = vec![None; values.len()];
    let (mut kept, mut known) = (Vec::new(), HashMap::new());
    let mut moved = |key: i32| {
        let at = key as usize;
        *index_of[at].get_or_insert_with(|| {
            let value = values.is_valid(at).then(|| values.value(at));
            *known.entry(value).or_insert_with(|| {
                kept.push(value);
                (kept.len() - 1) as i32
            })
        })
    };
    let keys: Int32Array = repeated.keys().iter().map(|key| key.map(&mut moved)).collect();
    let values: StringArray = kept.into_iter().collect();
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(values))?))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::compute::{cast, concat_batches};

    use super::*;

    #[test]
    fn rows_of_many_batches_have_each_value_once() {
        let texts = |texts: &[Option<&str>]| -> RecordBatch {
            let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            let plain: ArrayRef = Arc::new(texts.iter().copied().collect::<StringArray>());
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
            let columns = [("uri", cast(&plain, &kind).unwrap()), ("n", numbers)];
            RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
        };
        let some =
            [texts(&[Some("a"), None, Some("b")]), texts(&[Some("b"), Some("c"), Some("b")])];
        let all = concat_batches(&some[0].schema(), &some).unwrap().slice(1, 5);
        let small = compact(all.clone()).unwrap();
        let plain = |rows: &RecordBatch| cast(rows.column(0), &DataType::Utf8).unwrap();
        assert_eq!(&plain(&small), &plain(&all));
        assert_eq!(small.column(1), all.column(1));
        assert_eq!(small.column(0).as_dictionary::<Int32Type>().values().len(), 2, "b and c");
        assert_eq!(compact(all.slice(0, 0)).unwrap().num_rows(), 0);
    }
}
