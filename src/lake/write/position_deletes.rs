//! Writing files of position deletes (Iceberg spec, "Position Delete Files").

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Struct};
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use roaring::RoaringTreemap;

use super::metrics::{self, MetricsConfig};
use super::open_file::Output;
use super::uncommitted::{Uncommitted, Written};
use crate::lake::error::Doing;
use crate::lake::read::position_deletes::schema;
use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, LakeError, Table};

const DOING: &str = "writing position deletes";
/// Rows written at a time.
const ROWS: usize = 8 * 1024;
/// Rows of a row group: what is read to find the rows of one data file.
const ROW_GROUP_ROWS: usize = 32 * 1024;

/// Files of position deletes that no commit names yet.
#[derive(Debug)]
#[must_use = "files that no commit takes are deleted"]
pub struct DeleteFiles {
    files: Uncommitted,
    deleted_from: BTreeSet<String>,
}

impl DeleteFiles {
    /// No files.
    pub fn nothing(lake: &Lake) -> Self {
        Self { files: Uncommitted::nothing(lake), deleted_from: BTreeSet::new() }
    }

    /// Adds others.
    pub fn extend(&mut self, others: Self) {
        self.files.extend(others.files);
        self.deleted_from.extend(others.deleted_from);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The data files that they are for, by path.
    pub fn deleted_from(&self) -> &BTreeSet<String> {
        &self.deleted_from
    }

    /// The paths of the files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.files().iter().map(DataFile::file_path)
    }

    /// The files alone.
    pub fn into_files(self) -> Uncommitted {
        self.files
    }

    pub(in crate::lake) fn by_spec(&self) -> BTreeMap<i32, Vec<&DataFile>> {
        let mut by_spec: BTreeMap<i32, Vec<&DataFile>> = BTreeMap::new();
        for (file, spec) in self.files.with_specs() {
            by_spec.entry(spec).or_default().push(file);
        }
        by_spec
    }
}

/// Rows of one data file that are deleted.
#[derive(Debug)]
pub struct DeletedRows {
    /// The data file.
    pub file: FileTask,
    /// Positions in it.
    pub positions: RoaringTreemap,
}

impl Lake {
    /// Writes the deleted rows of data files of one partition to one file. For a single data file it says so, and
    /// readers of others pass it over.
    pub async fn write_position_deletes(
        &self,
        table: &Table,
        mut rows: Vec<DeletedRows>,
    ) -> Result<DeleteFiles, LakeError> {
        rows.retain(|of_file| !of_file.positions.is_empty());
        // The spec requires the order of path and position.
        rows.sort_by(|a, b| a.file.path().cmp(b.file.path()));
        let Some(first) = rows.first().map(|of_file| of_file.file.clone()) else {
            return Ok(DeleteFiles::nothing(self));
        };
        let path = format!("{}/data/{}-deletes.parquet", table.location(), self.ambient.uuid());
        let mut written = Written::nothing(self);
        written.push(path.clone());
        let mut file = self.write_rows(table, &path, &rows).await?;
        let file = file
            .partition(first.partition().cloned().unwrap_or_else(Struct::empty))
            .partition_spec_id(first.spec())
            .referenced_data_file((rows.len() == 1).then(|| first.path().to_owned()))
            .build()
            .map_err(|e| iceberg::Error::new(iceberg::ErrorKind::Unexpected, e.to_string()))
            .doing(table.name(), DOING)?;
        drop(written.keep());
        Ok(DeleteFiles {
            files: Uncommitted::of(self, (vec![file], vec![first.spec()])),
            deleted_from: rows.iter().map(|of_file| of_file.file.path().to_owned()).collect(),
        })
    }

    async fn write_rows(
        &self,
        table: &Table,
        path: &str,
        rows: &[DeletedRows],
    ) -> Result<DataFileBuilder, LakeError> {
        let name = table.name();
        let schema = schema(table)?;
        // Readers see from equal bounds that a file is for one data file: bounds are never cut.
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
            .set_statistics_truncate_length(None)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let output = self.files.new_output(path).doing(name, DOING)?;
        let output = Output::new(output.writer().await.doing(name, DOING)?);
        let arrow = schema.arrow();
        let mut writer = AsyncArrowWriter::try_new(output, arrow.clone(), Some(properties))
            .doing(name, DOING)?;
        for DeletedRows { file, positions } in rows {
            let mut left = positions.iter().map(|position| position as i64);
            loop {
                let positions = Int64Array::from_iter_values(left.by_ref().take(ROWS));
                if positions.is_empty() {
                    break;
                }
                let paths = std::iter::repeat_n(file.path(), positions.len());
                let paths = StringArray::from_iter_values(paths);
                let columns: Vec<ArrayRef> = vec![Arc::new(paths), Arc::new(positions)];
                let batch = RecordBatch::try_new(arrow.clone(), columns).doing(name, DOING)?;
                writer.write(&batch).await.doing(name, DOING)?;
            }
        }
        let metadata = writer.finish().await.doing(name, DOING)?;
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::PositionDeletes)
            .file_path(path.to_owned())
            .file_format(DataFileFormat::Parquet)
            .record_count(metadata.file_metadata().num_rows().max(0) as u64)
            .file_size_in_bytes(writer.bytes_written() as u64);
        let config = MetricsConfig::full(&schema);
        metrics::describe(&mut builder, &metadata, &schema, &config, &HashMap::new())
            .doing(name, DOING)?;
        Ok(builder)
    }
}
