//! Writing Parquet data files: field ids, metrics, a file for each partition, and a new file when one is large enough.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;
use iceberg::spec::Struct;

use super::file_properties::{ROW_GROUP_BYTES, target_file_bytes, writer_properties};
use super::metrics::MetricsConfig;
use super::open_file::{FileKind, OpenFile};
use super::split::Splitter;
use super::uncommitted::Uncommitted;
use super::waiting::Waiting;
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, Table, TableSchema};

/// Files open at a time, one for each partition: each holds a row group in memory, and buffers for each column.
const OPEN_FILES: usize = 32;
/// Bytes of rows that wait for a file of their partition, where there are more partitions than that.
const WAITING_BYTES: usize = 32 * 1024 * 1024;
/// Bytes that the uploads of open files may hold back, together.
const HELD_BACK_BYTES: usize = 64 * 1024 * 1024;

/// Writes batches to data files of one table: one or more for each partition that a row is in.
///
/// The files have the table's default partition spec. It owns them until [`DataWriter::close`] hands them over; a
/// writer that is dropped deletes them.
pub struct DataWriter {
    lake: Lake,
    folder: String,
    kind: FileKind,
    properties: HashMap<String, String>,
    splitter: Option<Splitter>,
    /// The partition of every row, where there is no splitter: a null for each field that has been dropped.
    nowhere: Struct,
    /// The last one was written to last.
    open: Vec<OpenFile>,
    waiting: Waiting,
    closed: Uncommitted,
}

impl std::fmt::Debug for DataWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataWriter").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl DataWriter {
    /// A writer of files for `table`, under `schema` (the table's own, or the one that the same commit will give
    /// it).
    ///
    /// # Errors
    /// [`LakeError::NotWritable`]; a partition spec that this version does not understand.
    pub fn new(lake: &Lake, table: &Table, schema: &TableSchema) -> Result<Self, LakeError> {
        lake.check_writable(table)?;
        let spec = table.metadata().default_partition_spec();
        let splitter = match spec.is_unpartitioned() {
            true => None,
            false => Some(Splitter::new(spec, schema).doing(table.name(), "partitioning rows")?),
        };
        let properties = table.metadata().properties().clone();
        let kind = FileKind {
            table: table.name().clone(),
            schema: schema.clone(),
            spec_id: spec.spec_id(),
            parquet: writer_properties(table.name(), &properties)?,
            metrics: MetricsConfig::of(&properties, schema, &[]),
        };
        Ok(Self {
            lake: lake.clone(),
            folder: format!("{}/data", table.location()),
            kind,
            properties,
            splitter,
            nowhere: spec.fields().iter().map(|_| None).collect(),
            open: vec![],
            waiting: Waiting::default(),
            closed: Uncommitted::nothing(lake),
        })
    }

    /// The same, with bounds on these columns, however many columns the table has: lookups use them.
    pub fn with_bounds_on(mut self, columns: &[String]) -> Self {
        self.kind.metrics = MetricsConfig::of(&self.properties, &self.kind.schema, columns);
        self
    }

    /// Writes the rows; their schema must be the table's Arrow schema.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let Some(splitter) = &self.splitter else {
            return self.write_to(self.nowhere.clone(), batch).await;
        };
        let split = splitter.split(batch).doing(&self.kind.table, "partitioning rows")?;
        for (partition, rows) in split {
            let is_open = self.open.iter().any(|file| file.partition == partition);
            if is_open || self.open.len() < OPEN_FILES {
                self.write_to(partition, &rows).await?;
            } else {
                self.waiting.push(partition, rows);
            }
        }
        while self.waiting.bytes() > WAITING_BYTES {
            self.write_waiting().await?;
        }
        Ok(())
    }

    /// Writes the rows of the partition of which most are waiting, in place of a file that is open.
    async fn write_waiting(&mut self) -> Result<(), LakeError> {
        let Some((partition, batches)) = self.waiting.take_largest() else { return Ok(()) };
        if self.open.len() >= OPEN_FILES {
            self.roll_oldest().await?;
        }
        for rows in batches {
            self.write_to(partition.clone(), &rows).await?;
        }
        Ok(())
    }

    async fn write_to(&mut self, partition: Struct, rows: &RecordBatch) -> Result<(), LakeError> {
        let open = self.open.iter().position(|file| file.partition == partition);
        let mut file = match open {
            Some(index) => self.open.remove(index),
            None => self.open_file(partition).await?,
        };
        file.write(&self.kind, rows).await?;
        if file.size() >= target_file_bytes(&self.properties) {
            return self.roll(file).await;
        }
        self.open.push(file);
        self.bound_memory().await
    }

    async fn open_file(&mut self, partition: Struct) -> Result<OpenFile, LakeError> {
        let uuid = self.lake.ambient.uuid();
        let path = match &self.splitter {
            Some(splitter) => {
                format!("{}/{}/{uuid}.parquet", self.folder, splitter.folder(&partition))
            }
            None => format!("{}/{uuid}.parquet", self.folder),
        };
        OpenFile::create(&self.lake, &self.kind, partition, path).await
    }

    /// The row groups in memory are about as large as that of one file, together, and so is what uploads hold back
    /// (I7).
    async fn bound_memory(&mut self) -> Result<(), LakeError> {
        let sum =
            |of: fn(&OpenFile) -> usize, open: &[OpenFile]| open.iter().map(of).sum::<usize>();
        if self.open.len() > 1 && sum(OpenFile::in_memory, &self.open) > ROW_GROUP_BYTES {
            let largest = (0..self.open.len()).max_by_key(|index| self.open[*index].in_memory());
            if let Some(index) = largest {
                self.open[index].flush(&self.kind).await?;
            }
        }
        while self.open.len() > 1 && sum(OpenFile::held_back, &self.open) > HELD_BACK_BYTES {
            self.roll_oldest().await?;
        }
        Ok(())
    }

    /// Closes the file that was not written to for the longest time.
    async fn roll_oldest(&mut self) -> Result<(), LakeError> {
        let oldest = self.open.remove(0);
        self.roll(oldest).await
    }

    async fn roll(&mut self, file: OpenFile) -> Result<(), LakeError> {
        self.closed.extend(file.close(&self.lake, &self.kind).await?);
        Ok(())
    }

    /// Closes the last files and hands over all of them.
    pub async fn close(mut self) -> Result<Uncommitted, LakeError> {
        while self.waiting.bytes() > 0 {
            self.write_waiting().await?;
        }
        for file in std::mem::take(&mut self.open) {
            self.roll(file).await?;
        }
        Ok(self.closed)
    }
}
