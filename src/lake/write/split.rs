//! Rows by partition: a batch → the partitions of its rows, each with its rows.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use iceberg::arrow::{PartitionValueCalculator, arrow_struct_to_literal};
use iceberg::spec::{Literal, PartitionSpecRef, Struct};
use iceberg::{Error, ErrorKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::lake::TableSchema;

/// What a folder name may have as it is: values come from strangers.
const FOLDER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'=');

/// Bytes of a folder name at most; longer values share a folder, which harms nothing.
const FOLDER_BYTES: usize = 120;

/// Splits batches of one schema by one partition spec.
pub(super) struct Splitter {
    spec: PartitionSpecRef,
    schema: TableSchema,
    values: PartitionValueCalculator,
}

impl Splitter {
    /// For batches of `schema`; `spec` has at least one field.
    pub(super) fn new(spec: &PartitionSpecRef, schema: &TableSchema) -> Result<Self, Error> {
        let values = PartitionValueCalculator::try_new(spec, schema.iceberg())?;
        Ok(Self { spec: spec.clone(), schema: schema.clone(), values })
    }

    /// The partitions of a batch in the order of their first rows, each with its rows in their order.
    pub(super) fn split(&self, batch: &RecordBatch) -> Result<Vec<(Struct, RecordBatch)>, Error> {
        let values = self.values.calculate(batch)?;
        let groups = groups(&values).map_err(arrow_error)?;
        if let [_] = groups.as_slice() {
            return Ok(vec![(self.partition(&values, 0)?, batch.clone())]);
        }
        let mut split = Vec::with_capacity(groups.len());
        for rows in groups {
            let first = rows.first().copied().unwrap_or_default();
            let partition = self.partition(&values, first as usize)?;
            let rows = take_record_batch(batch, &UInt32Array::from(rows)).map_err(arrow_error)?;
            split.push((partition, rows));
        }
        Ok(split)
    }

    /// The folder of a partition, as `field=value/field=value`.
    pub(super) fn folder(&self, partition: &Struct) -> String {
        let path = self.spec.partition_to_path(partition, self.schema.iceberg().clone());
        // A value may hold anything, slashes too: the fields are known by their number.
        let parts = path.splitn(self.spec.fields().len(), '/');
        let escaped = parts.map(|part| {
            let mut folder = utf8_percent_encode(part, FOLDER).to_string();
            folder.truncate(FOLDER_BYTES);
            folder
        });
        escaped.collect::<Vec<_>>().join("/")
    }

    fn partition(&self, values: &ArrayRef, row: usize) -> Result<Struct, Error> {
        let one = values.slice(row, 1);
        let literal = arrow_struct_to_literal(&one, self.values.partition_type())?;
        match literal.into_iter().next().flatten() {
            Some(Literal::Struct(partition)) => Ok(partition),
            _ => Err(Error::new(ErrorKind::DataInvalid, "a partition value is no struct")),
        }
    }
}

/// The rows of each distinct value, in the order of their first rows.
fn groups(values: &ArrayRef) -> Result<Vec<Vec<u32>>, ArrowError> {
    let columns = values.as_struct().columns();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut of_value: HashMap<&[u8], usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let group = *of_value.entry(row.data()).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index as u32);
    }
    Ok(groups)
}

fn arrow_error(error: ArrowError) -> Error {
    Error::new(ErrorKind::Unexpected, "splitting rows by partition").with_source(error)
}
