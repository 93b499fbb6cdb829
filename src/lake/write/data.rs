//! Writing Parquet data files: zstd, field ids, metrics, and a new file when one is large enough.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use iceberg::io::FileWrite;
use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, Literal, Struct};
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::metrics::{self, MetricsConfig};
use super::uncommitted::{Uncommitted, Written};
use crate::lake::error::Doing;
use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, LakeError, Table, TableName, TableSchema};

/// The table property for the size of a file …
const TARGET_FILE_PROPERTY: &str = "write.target-file-size-bytes";
/// … and its default in Iceberg.
const TARGET_FILE_BYTES: u64 = 512 * 1024 * 1024;
/// Rows of a row group: what a writer holds in memory, and what a reader can skip.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// The table property for the size of row groups; no larger than [`ROW_GROUP_BYTES`].
const ROW_GROUP_PROPERTY: &str = "write.parquet.row-group-size-bytes";
/// Bytes of a row group, where rows are wide: the writer's memory does not follow them (I7).
const ROW_GROUP_BYTES: usize = 32 * 1024 * 1024;

/// Writes batches to one or more data files of one table and one partition.
///
/// It owns the files until [`DataWriter::close`] hands them over; a writer that is dropped deletes them.
pub struct DataWriter {
    lake: Lake,
    table: TableName,
    folder: String,
    schema: TableSchema,
    spec_id: i32,
    partition: Struct,
    properties: HashMap<String, String>,
    metrics: MetricsConfig,
    target_bytes: u64,
    open: Option<OpenFile>,
    closed: Uncommitted,
}

/// A Parquet file being written.
struct OpenFile {
    /// Its path; deleted unless the file is closed.
    written: Written,
    path: String,
    writer: AsyncArrowWriter<Output>,
    /// NaN values so far, by field id.
    nans: HashMap<i32, u64>,
}

/// A file of the lake as Parquet writes it.
struct Output(Box<dyn FileWrite>);

impl AsyncFileWriter for Output {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), ParquetError>> {
        self.0.write(bytes).map(|done| done.map_err(external)).boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), ParquetError>> {
        self.0.close().map(|done| done.map_err(external)).boxed()
    }
}

fn external(error: iceberg::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl std::fmt::Debug for DataWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataWriter").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Table {
    /// The size at which a data file is large enough.
    pub fn target_file_bytes(&self) -> u64 {
        let property = self.property(TARGET_FILE_PROPERTY).and_then(|text| text.parse().ok());
        property.filter(|bytes| *bytes > 0).unwrap_or(TARGET_FILE_BYTES)
    }
}

impl DataWriter {
    /// A writer of files for the unpartitioned `table`, under `schema` (the table's own, or the
    /// one that the same commit will give it).
    ///
    /// # Errors
    /// [`LakeError::Partitioned`]: another program has partitioned the table.
    pub fn new(lake: &Lake, table: &Table, schema: &TableSchema) -> Result<Self, LakeError> {
        if !table.metadata().default_partition_spec().is_unpartitioned() {
            return Err(LakeError::Partitioned(table.name().clone()));
        }
        Ok(Self::any(lake, table, schema))
    }

    fn any(lake: &Lake, table: &Table, schema: &TableSchema) -> Self {
        Self {
            lake: lake.clone(),
            table: table.name().clone(),
            folder: format!("{}/data", table.location()),
            schema: schema.clone(),
            spec_id: table.metadata().default_partition_spec_id(),
            partition: Struct::empty(),
            properties: table.metadata().properties().clone(),
            metrics: MetricsConfig::of(table.metadata().properties(), schema, &[]),
            target_bytes: table.target_file_bytes(),
            open: None,
            closed: Uncommitted::nothing(lake),
        }
    }

    /// The same, with bounds on these columns, however many columns the table has: lookups use them.
    pub fn with_bounds_on(mut self, columns: &[String]) -> Self {
        self.metrics = MetricsConfig::of(&self.properties, &self.schema, columns);
        self
    }

    /// A writer for one day (days since 1970-01-01) of a table partitioned by day.
    pub fn for_day(lake: &Lake, table: &Table, day: i32) -> Self {
        let mut writer = Self::any(lake, table, table.schema());
        writer.partition = Struct::from_iter([Some(Literal::int(day))]);
        let date = chrono::NaiveDate::from_epoch_days(day).unwrap_or_default();
        let field = table.metadata().default_partition_spec().fields().first();
        writer.folder =
            format!("{}/{}={date}", writer.folder, field.map_or("day", |f| f.name.as_str()));
        writer
    }

    /// A writer of files that replace others of `table`: of the same partition, beside the first of them.
    pub fn instead_of(lake: &Lake, table: &Table, file: &FileTask) -> Self {
        let mut writer = Self::any(lake, table, table.schema());
        if let Some(partition) = &file.0.partition {
            writer.partition = partition.clone();
        }
        let own = format!("{}/", writer.folder);
        if let Some((folder, _)) =
            file.path().rsplit_once('/').filter(|_| file.path().starts_with(&own))
        {
            writer.folder = folder.to_owned();
        }
        writer
    }

    /// Writes the rows; their schema must be the table's Arrow schema.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.open.is_none() {
            self.open_file().await?;
        }
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        metrics::count_nans(&self.schema, batch, &mut open.nans);
        open.writer.write(batch).await.doing(&self.table, "writing a data file")?;
        let bytes = open.writer.bytes_written() + open.writer.in_progress_size();
        if bytes as u64 >= self.target_bytes {
            self.roll().await?;
        }
        Ok(())
    }

    async fn open_file(&mut self) -> Result<(), LakeError> {
        const DOING: &str = "opening a data file";
        let path = format!("{}/{}.parquet", self.folder, self.lake.ambient.uuid());
        let group_bytes = self.properties.get(ROW_GROUP_PROPERTY).and_then(|v| v.parse().ok());
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(
                group_bytes.unwrap_or(ROW_GROUP_BYTES).clamp(1, ROW_GROUP_BYTES),
            ))
            .build();
        let output = self.lake.files.new_output(&path).doing(&self.table, DOING)?;
        let output = Output(output.writer().await.doing(&self.table, DOING)?);
        let schema = self.schema.arrow().clone();
        let writer = AsyncArrowWriter::try_new(output, schema, Some(properties))
            .doing(&self.table, DOING)?;
        let mut written = Written::nothing(&self.lake);
        written.push(path.clone());
        self.open = Some(OpenFile { written, path, writer, nans: HashMap::new() });
        Ok(())
    }

    async fn roll(&mut self) -> Result<(), LakeError> {
        const DOING: &str = "closing a data file";
        let Some(OpenFile { written: open, path, mut writer, nans }) = self.open.take() else {
            return Ok(());
        };
        let written = writer.finish().await.doing(&self.table, DOING)?;
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::Data)
            .file_path(path)
            .file_format(DataFileFormat::Parquet)
            .partition(self.partition.clone())
            .partition_spec_id(self.spec_id)
            .record_count(written.file_metadata().num_rows().max(0) as u64)
            .file_size_in_bytes(writer.bytes_written() as u64);
        metrics::describe(&mut builder, &written, &self.schema, &self.metrics, &nans)
            .doing(&self.table, DOING)?;
        let file = builder
            .build()
            .map_err(|e| iceberg::Error::new(iceberg::ErrorKind::Unexpected, e.to_string()))
            .doing(&self.table, DOING)?;
        open.keep();
        self.closed.extend(Uncommitted::of(&self.lake, vec![file]));
        Ok(())
    }

    /// Closes the last file and hands over all of them.
    pub async fn close(mut self) -> Result<Uncommitted, LakeError> {
        self.roll().await?;
        Ok(self.closed)
    }
}
