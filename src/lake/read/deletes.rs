//! Deleted rows of a data file: what its delete files say (Iceberg spec, "Delete Formats").

use std::collections::HashSet;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::row::{OwnedRow, RowConverter, SortField};
use futures::TryStreamExt;
use iceberg::scan::FileScanTaskDeleteFile;
use iceberg::spec::DataContentType;

use super::position_deletes::task;
use super::scan::FileTask;
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, Table, TableSchema};

const DOING: &str = "reading deletes";

/// Which rows of one data file are deleted.
#[derive(Default)]
pub(super) struct Deleted {
    /// Ascending.
    positions: Vec<u64>,
    equal: Vec<EqualRows>,
}

/// Rows whose values in some columns equal one of these are deleted. Null equals null.
struct EqualRows {
    columns: Vec<String>,
    converter: RowConverter,
    values: HashSet<OwnedRow>,
}

impl Deleted {
    /// Reads the delete files that apply to `file`.
    pub(super) async fn of(
        lake: &Lake,
        table: &Table,
        schema: &TableSchema,
        file: &FileTask,
    ) -> Result<Self, LakeError> {
        let mut deleted = Self::default();
        for delete in &file.0.deletes {
            match delete.file_type {
                DataContentType::EqualityDeletes => {
                    deleted.equal.push(EqualRows::read(lake, table, schema, delete).await?);
                }
                _ => deleted.read_positions(lake, table, delete, file.path()).await?,
            }
        }
        deleted.positions.sort_unstable();
        Ok(deleted)
    }

    /// The columns to read to know which rows are deleted.
    pub(super) fn columns(&self) -> impl Iterator<Item = &String> {
        self.equal.iter().flat_map(|rows| &rows.columns)
    }

    async fn read_positions(
        &mut self,
        lake: &Lake,
        table: &Table,
        delete: &FileScanTaskDeleteFile,
        path: &str,
    ) -> Result<(), LakeError> {
        let file = (delete.file_path.as_str(), delete.file_size_in_bytes);
        let mut batches = lake.read_positions(table, file, Some(path))?;
        while let Some(batch) = batches.try_next().await? {
            let paths = batch.column(0).as_string::<i32>();
            let positions = batch.column(1).as_primitive::<Int64Type>();
            let of_file = (0..batch.num_rows()).filter(|row| paths.value(*row) == path);
            self.positions.extend(of_file.map(|row| positions.value(row).max(0) as u64));
        }
        Ok(())
    }

    /// Which rows of a batch that begins at a position are live.
    pub(super) fn live(
        &self,
        table: &Table,
        batch: &RecordBatch,
        first: u64,
    ) -> Result<BooleanArray, LakeError> {
        let mut live = vec![true; batch.num_rows()];
        let from = self.positions.partition_point(|position| *position < first);
        let end = first + live.len() as u64;
        for position in self.positions[from..].iter().take_while(|position| **position < end) {
            live[(position - first) as usize] = false;
        }
        for equal in &self.equal {
            let found = equal.values_of(batch).doing(table.name(), DOING)?;
            for (row, live) in live.iter_mut().enumerate() {
                *live = *live && !equal.values.contains(&found.row(row).owned());
            }
        }
        Ok(live.into())
    }
}

impl EqualRows {
    async fn read(
        lake: &Lake,
        table: &Table,
        schema: &TableSchema,
        delete: &FileScanTaskDeleteFile,
    ) -> Result<Self, LakeError> {
        let ids = delete.equality_ids.clone().unwrap_or_default();
        let named = ids.iter().map(|id| schema.iceberg().name_by_field_id(*id).map(str::to_owned));
        let columns = named.collect::<Option<Vec<String>>>().ok_or_else(|| LakeError::Schema {
            table: table.name().clone(),
            column: format!("{ids:?}"),
            is: "missing".to_owned(),
            requested: format!("the columns of the equality deletes in {}", delete.file_path),
        })?;
        let fields = columns.iter().filter_map(|c| schema.arrow().field_with_name(c).ok());
        let fields = fields.map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(fields).doing(table.name(), DOING)?;
        let mut equal = Self { columns, converter, values: HashSet::new() };
        let task = task((&delete.file_path, delete.file_size_in_bytes), schema);
        let mut batches = lake.read_file(table, schema, &task, &equal.columns)?;
        while let Some(batch) = batches.try_next().await? {
            let values = equal.values_of(&batch).doing(table.name(), DOING)?;
            let values: Vec<OwnedRow> = values.iter().map(|row| row.owned()).collect();
            equal.values.extend(values);
        }
        Ok(equal)
    }

    fn values_of(&self, batch: &RecordBatch) -> Result<arrow::row::Rows, arrow::error::ArrowError> {
        let columns = self.columns.iter().filter_map(|c| batch.column_by_name(c).cloned());
        self.converter.convert_columns(&columns.collect::<Vec<_>>())
    }
}
