//! A Parquet data file that is being written.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use iceberg::io::FileWrite;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Struct};
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::metrics::{self, MetricsConfig};
use super::uncommitted::{Uncommitted, Written};
use crate::lake::error::Doing;
use crate::lake::files::PART_BYTES;
use crate::lake::{Lake, LakeError, TableName, TableSchema};

/// A file of the lake as Parquet writes it.
pub(super) struct Output(Box<dyn FileWrite>);

impl Output {
    pub(super) fn new(file: Box<dyn FileWrite>) -> Self {
        Self(file)
    }
}

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

/// What the files of one writer have in common.
pub(super) struct FileKind {
    pub(super) table: TableName,
    pub(super) schema: TableSchema,
    pub(super) spec_id: i32,
    pub(super) parquet: WriterProperties,
    pub(super) metrics: MetricsConfig,
}

/// A file that is being written, with its path: deleted unless the file is closed.
pub(super) struct OpenFile {
    pub(super) partition: Struct,
    written: Written,
    path: String,
    writer: AsyncArrowWriter<Output>,
    /// NaN values so far, by field id.
    nans: HashMap<i32, u64>,
}

impl OpenFile {
    pub(super) async fn create(
        lake: &Lake,
        kind: &FileKind,
        partition: Struct,
        path: String,
    ) -> Result<Self, LakeError> {
        const DOING: &str = "opening a data file";
        let output = lake.files.new_output(&path).doing(&kind.table, DOING)?;
        let output = Output::new(output.writer().await.doing(&kind.table, DOING)?);
        let schema = kind.schema.arrow().clone();
        let writer = AsyncArrowWriter::try_new(output, schema, Some(kind.parquet.clone()))
            .doing(&kind.table, DOING)?;
        let mut written = Written::nothing(lake);
        written.push(path.clone());
        Ok(Self { partition, written, path, writer, nans: HashMap::new() })
    }

    pub(super) async fn write(
        &mut self,
        kind: &FileKind,
        batch: &RecordBatch,
    ) -> Result<(), LakeError> {
        metrics::count_nans(&kind.schema, batch, &mut self.nans);
        self.writer.write(batch).await.doing(&kind.table, "writing a data file")
    }

    /// Bytes of the row group that is in memory.
    pub(super) fn in_memory(&self) -> usize {
        self.writer.in_progress_size()
    }

    /// Bytes that an upload may hold back until a part of it is full.
    pub(super) fn held_back(&self) -> usize {
        self.writer.bytes_written().min(PART_BYTES)
    }

    /// Bytes so far, about.
    pub(super) fn size(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Writes the row group that is in memory.
    pub(super) async fn flush(&mut self, kind: &FileKind) -> Result<(), LakeError> {
        self.writer.flush().await.doing(&kind.table, "writing a data file")
    }

    pub(super) async fn close(
        mut self,
        lake: &Lake,
        kind: &FileKind,
    ) -> Result<Uncommitted, LakeError> {
        const DOING: &str = "closing a data file";
        let metadata = self.writer.finish().await.doing(&kind.table, DOING)?;
        let file = self.describe(kind, &metadata).doing(&kind.table, DOING)?;
        self.written.keep();
        Ok(Uncommitted::of(lake, (vec![file], vec![kind.spec_id])))
    }

    fn describe(
        &self,
        kind: &FileKind,
        metadata: &parquet::file::metadata::ParquetMetaData,
    ) -> Result<DataFile, iceberg::Error> {
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::Data)
            .file_path(self.path.clone())
            .file_format(DataFileFormat::Parquet)
            .partition(self.partition.clone())
            .partition_spec_id(kind.spec_id)
            .record_count(metadata.file_metadata().num_rows().max(0) as u64)
            .file_size_in_bytes(self.writer.bytes_written() as u64);
        metrics::describe(&mut builder, metadata, &kind.schema, &kind.metrics, &self.nans)?;
        builder
            .build()
            .map_err(|e| iceberg::Error::new(iceberg::ErrorKind::Unexpected, e.to_string()))
    }
}
