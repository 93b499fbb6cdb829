//! Deleted rows of a data file: what its delete files say (Iceberg spec, "Delete Formats").

use std::collections::HashSet;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::row::{OwnedRow, RowConverter, SortField};
use futures::TryStreamExt;
use iceberg::metadata_columns::{delete_file_path_field, delete_file_pos_field};
use iceberg::scan::{FileScanTask, FileScanTaskDeleteFile};
use iceberg::spec::{DataContentType, DataFileFormat, Schema};

use super::scan::{Batches, FileTask};
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, Table, TableSchema};

const DOING: &str = "reading deletes";

/// Which rows of one data file are deleted.
#[derive(Default)]
pub(super) struct Deleted {
    positions: HashSet<u64>,
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
        let mut batches = position_deletes(lake, table, delete)?;
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
        let rows = 0..batch.num_rows();
        let mut live: Vec<bool> =
            rows.map(|row| !self.positions.contains(&(first + row as u64))).collect();
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
        let mut batches = lake.read_file(table, schema, &task(delete, schema), &equal.columns)?;
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

/// The rows of a file of position deletes: the path of a data file, and a position in it.
pub(super) fn position_deletes(
    lake: &Lake,
    table: &Table,
    delete: &FileScanTaskDeleteFile,
) -> Result<Batches, LakeError> {
    let fields = [delete_file_path_field().clone(), delete_file_pos_field().clone()];
    let columns = fields.each_ref().map(|field| field.name.clone());
    let schema = Schema::builder().with_fields(fields).build().doing(table.name(), DOING)?;
    let schema = TableSchema::new(table.name(), schema.into())?;
    lake.read_file(table, &schema, &task(delete, &schema), &columns)
}

fn task(delete: &FileScanTaskDeleteFile, schema: &TableSchema) -> FileTask {
    FileTask(
        FileScanTask::builder()
            .with_file_size_in_bytes(delete.file_size_in_bytes)
            .with_start(0)
            .with_length(0)
            .with_data_file_path(delete.file_path.clone())
            .with_data_file_format(DataFileFormat::Parquet)
            .with_schema(schema.iceberg().clone())
            .with_project_field_ids(vec![])
            .with_case_sensitive(true)
            .build(),
    )
}
