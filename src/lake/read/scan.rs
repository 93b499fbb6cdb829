//! Reading: the live files of a snapshot, and the rows of files.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::expr::BoundPredicate;
use iceberg::scan::{FileScanTask, FileScanTaskDeleteFile};
use iceberg::spec::{DataContentType, DataFile, Datum, PartitionSpec, Struct};

use super::arrow::conform;
use super::promoted::promoted;
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, SnapshotId, Table, TableSchema};

/// Rows of a batch as they are read. Several batches are in memory at a time, and rows may be wide (I7).
pub const BATCH_ROWS: usize = 2 * 1024;

/// A data file to be read whole, with the deletes that apply to it.
#[derive(Debug, Clone)]
pub struct FileTask(pub(in crate::lake) FileScanTask);

impl FileTask {
    /// A whole file that was written under `schema`, before it belongs to a table.
    pub fn whole(file: &DataFile, schema: &TableSchema) -> Self {
        Self(
            FileScanTask::builder()
                .with_file_size_in_bytes(file.file_size_in_bytes())
                .with_start(0)
                .with_length(0)
                .with_record_count(Some(file.record_count()))
                .with_data_file_path(file.file_path().to_owned())
                .with_data_file_format(file.file_format())
                .with_schema(schema.iceberg().clone())
                .with_project_field_ids(vec![])
                .with_case_sensitive(true)
                .build(),
        )
    }

    /// A live file of a table, with the deletes that apply to it.
    pub(in crate::lake) fn live(
        file: &DataFile,
        schema: &TableSchema,
        (spec, partition): (&Arc<PartitionSpec>, Struct),
        deletes: Vec<FileScanTaskDeleteFile>,
    ) -> Self {
        let mut task = Self::whole(file, schema);
        task.0.deletes = deletes;
        task.0.partition = Some(partition);
        task.0.partition_spec = Some(spec.clone());
        task
    }

    /// The files of deletes that apply to it, in order: with the same ones it has the same rows.
    pub fn deletes(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.0.deletes.iter().map(|d| d.file_path.clone()).collect();
        paths.sort();
        paths
    }

    /// The file without its deletes: all of its rows, in the order of their positions.
    pub fn without_deletes(&self) -> Self {
        let mut task = self.clone();
        task.0.deletes = vec![];
        task
    }

    /// The file's location.
    pub fn path(&self) -> &str {
        &self.0.data_file_path
    }

    /// Whether rows are deleted by their values, not by their positions.
    pub fn has_equality_deletes(&self) -> bool {
        self.0.deletes.iter().any(|delete| delete.file_type == DataContentType::EqualityDeletes)
    }

    /// The file's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.file_size_in_bytes
    }

    /// About how many bytes of memory its rows cost a merge. Narrow rows are small in Parquet, and still cost
    /// their key, their order and their location.
    pub fn merge_cost(&self) -> u64 {
        const ROW: u64 = 160;
        self.bytes().max(self.rows().unwrap_or(0) * ROW)
    }

    /// Rows in the file, deleted ones included, where the manifest has the count.
    pub fn rows(&self) -> Option<u64> {
        self.0.record_count
    }

    /// Path, bytes and rows: what says that a file is the one that an index has read.
    pub fn identity(&self) -> (&str, u64, u64) {
        (self.path(), self.bytes(), self.rows().unwrap_or_default())
    }

    /// Its rows, where an index may cover them: 32 bits number them, and none is deleted by its values, which no index
    /// has.
    pub fn indexable_rows(&self) -> Option<u64> {
        let fits = self.rows().filter(|rows| *rows <= u64::from(u32::MAX));
        fits.filter(|_| !self.has_equality_deletes())
    }

    /// The id of the partition spec that it was written under.
    pub(in crate::lake) fn spec(&self) -> i32 {
        self.0.partition_spec.as_ref().map_or(0, |spec| spec.spec_id())
    }

    /// Its partition, where it belongs to a table.
    pub(in crate::lake) fn partition(&self) -> Option<&Struct> {
        self.0.partition.as_ref()
    }

    /// The partition that it is in.
    pub fn part(&self) -> Part {
        Part { spec: self.spec(), values: self.partition().cloned() }
    }

    /// Whether rows of it are deleted by delete files.
    pub fn has_deletes(&self) -> bool {
        !self.0.deletes.is_empty()
    }

    /// From now on only rows that meet a predicate are read of it: their positions are not known any more.
    pub(super) fn only(&mut self, predicate: &BoundPredicate) {
        self.0.predicate = Some(predicate.clone());
    }

    /// The paths of the delete files that apply to it.
    pub fn delete_paths(&self) -> BTreeSet<String> {
        self.0.deletes.iter().map(|delete| delete.file_path.clone()).collect()
    }
}

/// A partition of one of the specs of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    pub(super) spec: i32,
    /// None where the file belongs to no table yet.
    pub(super) values: Option<Struct>,
}

/// A stream of batches.
pub type Batches = BoxStream<'static, Result<RecordBatch, LakeError>>;

/// The least and the greatest requested value of a column, each an array of one value; none where a side is open.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The column.
    pub column: String,
    /// Its least value.
    pub least: Option<ArrayRef>,
    /// Its greatest value.
    pub greatest: Option<ArrayRef>,
}

impl Bounds {
    /// Of some texts; none of no text.
    pub fn of_texts<'a>(
        column: &str,
        texts: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<Self> {
        let value =
            |text: &str| -> Option<ArrayRef> { Some(Arc::new(StringArray::from(vec![text]))) };
        let (least, greatest) = texts.clone().min().zip(texts.max())?;
        Some(Self { column: column.to_owned(), least: value(least), greatest: value(greatest) })
    }

    /// Of all times within some seconds; none of no second.
    pub fn of_seconds(column: &str, seconds: impl Iterator<Item = i64> + Clone) -> Option<Self> {
        let value = |second: i64| -> Option<ArrayRef> {
            let micros = TimestampMicrosecondArray::from(vec![second * 1_000_000]);
            Some(Arc::new(micros.with_timezone("+00:00")))
        };
        let (first, last) = seconds.clone().min().zip(seconds.max())?;
        Some(Self { column: column.to_owned(), least: value(first), greatest: value(last + 1) })
    }
}

impl Lake {
    /// The schema of the table as it was at a snapshot.
    pub fn schema_at(&self, table: &Table, snapshot: SnapshotId) -> Result<TableSchema, LakeError> {
        let found = table.metadata().snapshot_by_id(snapshot.0).ok_or_else(|| {
            LakeError::NoSnapshot { table: table.name().clone(), what: snapshot.to_string() }
        })?;
        let schema = found.schema(table.metadata()).doing(table.name(), "reading its schema")?;
        TableSchema::new(table.name(), schema)
    }

    /// The rows of one file, in the order of the file, as `schema` describes them by field id, with these
    /// `columns` only, in that order.
    pub fn read_file(
        &self,
        table: &Table,
        schema: &TableSchema,
        file: &FileTask,
        columns: &[String],
    ) -> Result<Batches, LakeError> {
        self.read_by_one_reader(table, schema, vec![file.clone()], columns, 1)
    }

    /// A reader reads a delete file once, however many of its data files that is for.
    fn read_by_one_reader(
        &self,
        table: &Table,
        schema: &TableSchema,
        files: Vec<FileTask>,
        columns: &[String],
        concurrency: usize,
    ) -> Result<Batches, LakeError> {
        // A file is read by some column even where only its rows are counted.
        let first = schema.arrow().fields().first().map(|f| f.name().clone());
        let read: Vec<&str> = if columns.is_empty() {
            first.iter().map(String::as_str).collect()
        } else {
            columns.iter().map(String::as_str).collect()
        };
        let ids: Vec<i32> = read.iter().filter_map(|c| schema.id_of(c)).collect();
        let iceberg = schema.iceberg().clone();
        let tasks = files.into_iter().map(move |file| {
            let mut task = file.0;
            // The schema may have a wider type than the table had when the file was found.
            let types = task.partition_spec.as_ref().map(|spec| spec.partition_type(&iceberg));
            let types = types.and_then(Result::ok);
            task.partition = task.partition.map(|values| promoted(&values, types.as_ref()));
            task.schema = iceberg.clone();
            task.project_field_ids = ids.clone();
            Ok(task)
        });
        let rows = table
            .inner()
            .reader_builder()
            .with_data_file_concurrency_limit(concurrency)
            .with_batch_size(BATCH_ROWS)
            .build()
            .read(futures::stream::iter(tasks).boxed())
            .doing(table.name(), "opening a data file")?
            .stream();
        let shape = projected(schema.arrow(), columns);
        let name = table.name().clone();
        Ok(rows
            .map(move |batch| conform(&name, batch.doing(&name, "reading a data file")?, &shape))
            .boxed())
    }

    /// The rows of many files, `concurrency` files at a time, in no particular order.
    pub fn read_files(
        &self,
        table: &Table,
        schema: &TableSchema,
        files: Vec<FileTask>,
        columns: &[String],
        concurrency: usize,
    ) -> Batches {
        match self.read_by_one_reader(table, schema, files, columns, concurrency.max(1)) {
            Ok(batches) => batches,
            Err(error) => futures::stream::once(async move { Err(error) }).boxed(),
        }
    }
}

/// The fields of `schema` named by `columns`, in that order.
fn projected(schema: &SchemaRef, columns: &[String]) -> SchemaRef {
    let fields = columns.iter().filter_map(|c| schema.field_with_name(c).ok().cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The value as Iceberg compares it with a file's metrics; `None` where pruning by it is not safe
/// (floats with their NaN, types without bounds).
pub(in crate::lake) fn datum(value: &ArrayRef) -> Option<Datum> {
    if value.len() != 1 || value.is_null(0) {
        return None;
    }
    Some(match value.data_type() {
        DataType::Int32 => Datum::int(value.as_primitive::<Int32Type>().value(0)),
        DataType::Int64 => Datum::long(value.as_primitive::<Int64Type>().value(0)),
        DataType::Date32 => Datum::date(value.as_primitive::<Date32Type>().value(0)),
        DataType::Utf8 => Datum::string(value.as_string::<i32>().value(0)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = value.as_primitive::<TimestampMicrosecondType>().value(0);
            match zone {
                Some(_) => Datum::timestamptz_micros(micros),
                None => Datum::timestamp_micros(micros),
            }
        }
        _ => return None,
    })
}
