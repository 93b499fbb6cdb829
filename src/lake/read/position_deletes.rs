//! Files of position deletes (Iceberg spec, "Position Delete Files").

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use iceberg::expr::{Bind, Reference};
use iceberg::metadata_columns::{delete_file_path_field, delete_file_pos_field};
use iceberg::scan::FileScanTask;
use iceberg::spec::{
    DataContentType, DataFileFormat, Datum, ManifestContentType, ManifestFile, Schema, Struct,
};

use super::promoted::{promoted, types_now};
use super::scan::{Batches, FileTask, Part};
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, Table, TableSchema};

/// A live file of position deletes.
#[derive(Debug, Clone)]
pub struct PositionDeletes {
    /// Its location.
    pub path: String,
    /// The rows that it deletes, of all its data files.
    pub rows: u64,
    /// The one data file that it is for, where it says so.
    pub only: Option<String>,
    bytes: u64,
    spec: i32,
    partition: Struct,
}

impl PositionDeletes {
    /// The partition that it is in.
    pub fn part(&self) -> Part {
        Part { spec: self.spec, values: Some(self.partition.clone()) }
    }

    /// Whether it applies to a data file.
    pub fn applies_to(&self, file: &FileTask) -> bool {
        file.0.deletes.iter().any(|delete| delete.file_path == self.path)
    }
}

impl Lake {
    /// The live files of position deletes of a table.
    pub async fn position_deletes(&self, table: &Table) -> Result<Vec<PositionDeletes>, LakeError> {
        let Some(snapshot) = table.metadata().current_snapshot() else { return Ok(vec![]) };
        let is_live = |manifest: &ManifestFile| {
            manifest.content == ManifestContentType::Deletes
                && (manifest.has_added_files() || manifest.has_existing_files())
        };
        let mut found = Vec::new();
        for manifest in self.manifests_of(table, snapshot).await?.into_iter().filter(is_live) {
            let loaded = self.manifest(table, &manifest).await?;
            let types = types_now(table, loaded.metadata().partition_spec());
            let live = loaded.entries().iter().filter(|entry| entry.is_alive());
            let files = live.map(|entry| entry.data_file());
            let files = files.filter(|f| f.content_type() == DataContentType::PositionDeletes);
            found.extend(files.map(|file| PositionDeletes {
                path: file.file_path().to_owned(),
                rows: file.record_count(),
                only: file.referenced_data_file(),
                bytes: file.file_size_in_bytes(),
                spec: manifest.partition_spec_id,
                partition: promoted(file.partition(), types.as_ref()),
            }));
        }
        Ok(found)
    }

    /// The positions in a file of position deletes, by the path of the data file, in the order of the file.
    pub async fn positions_in(
        &self,
        table: &Table,
        deletes: &PositionDeletes,
    ) -> Result<BTreeMap<String, Vec<u64>>, LakeError> {
        let mut by_file: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut batches = self.read_positions(table, (&deletes.path, deletes.bytes), None)?;
        while let Some(batch) = batches.try_next().await? {
            let paths = batch.column(0).as_string::<i32>();
            let positions = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let (path, position) = (paths.value(row), positions.value(row).max(0) as u64);
                match by_file.get_mut(path) {
                    Some(positions) => positions.push(position),
                    None => drop(by_file.insert(path.to_owned(), vec![position])),
                }
            }
        }
        Ok(by_file)
    }

    /// The rows of a file of position deletes, paths and positions: all, or those of one data file.
    pub(super) fn read_positions(
        &self,
        table: &Table,
        deletes: (&str, u64),
        only: Option<&str>,
    ) -> Result<Batches, LakeError> {
        let schema = schema(table)?;
        let columns = schema.column_names();
        let mut task = task(deletes, &schema);
        if let Some(path) = only {
            let is_for = Reference::new(delete_file_path_field().name.clone());
            let is_for = is_for.equal_to(Datum::string(path)).bind(schema.iceberg().clone(), true);
            task.0.predicate = Some(is_for.doing(table.name(), "reading deletes")?);
        }
        self.read_file(table, &schema, &task, &columns)
    }
}

/// The columns of position deletes, under the ids that the spec reserves for them.
pub(in crate::lake) fn schema(table: &Table) -> Result<TableSchema, LakeError> {
    let fields = [delete_file_path_field().clone(), delete_file_pos_field().clone()];
    let schema = Schema::builder().with_fields(fields).build();
    TableSchema::new(table.name(), schema.doing(table.name(), "reading deletes")?.into())
}

/// A delete file, to be read whole.
pub(super) fn task((path, bytes): (&str, u64), schema: &TableSchema) -> FileTask {
    FileTask(
        FileScanTask::builder()
            .with_file_size_in_bytes(bytes)
            .with_start(0)
            .with_length(0)
            .with_data_file_path(path.to_owned())
            .with_data_file_format(DataFileFormat::Parquet)
            .with_schema(schema.iceberg().clone())
            .with_project_field_ids(vec![])
            .with_case_sensitive(true)
            .build(),
    )
}
