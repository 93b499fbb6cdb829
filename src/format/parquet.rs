//! Parquet: columns with types. Row groups are read a few blocks at a time, and their values are never made text
//! unless the table has no type for them.
//!
//! `chunks.rs` fetches the bytes, `description.rs` checks what the file says of itself, `kinds.rs` converts the types.
//! What is wrong with a file else is an error of the crate that reads it, or, where that gives up, a panic, which is
//! caught.

mod chunks;
mod description;
mod kinds;
#[cfg(test)]
mod tests;

use std::io::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::LogicalType;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::reader::ChunkReader;
use serde_json::{Map, Value};

use self::chunks::Chunks;
use self::kinds::{converted, kind_of, read_as};
use super::names::column_names;
use super::read_at::ReadAt;
use super::said::Said;
use super::{BATCH_BYTES, BATCH_ROWS, Format, FormatError, Limits, RawBatch, RowReader};

/// The largest description of a file that is read (I7).
const FOOTER: u64 = 32 * 1024 * 1024;
/// The memory of a file that is read: blocks of its bytes, and as much for the pages in them.
pub(super) const MEMORY: u64 = 2 * chunks::KEPT as u64;
/// The least that is taken for a cell.
const CELL: usize = 16;

/// See [`RowReader`].
pub(super) struct ParquetReader {
    chunks: Chunks,
    batches: Option<ParquetRecordBatchReader>,
    /// What was read, and is not returned yet.
    pending: Option<RecordBatch>,
    columns: Vec<Column>,
    originals: Vec<String>,
    names: Vec<String>,
    sample: Option<RawBatch>,
    limits: Limits,
    /// Rows returned so far.
    rows: u64,
}

/// The type of a column in a table, and whether its bytes are a UUID.
struct Column {
    kind: DataType,
    is_uuid: bool,
}

impl std::fmt::Debug for ParquetReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetReader").field("names", &self.names).finish_non_exhaustive()
    }
}

impl RowReader for ParquetReader {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn originals(&self) -> &[String] {
        &self.originals
    }

    fn format(&self) -> Format {
        Format::Parquet
    }

    fn sample(&self) -> Option<&RawBatch> {
        self.sample.as_ref()
    }

    fn next_batch(&mut self) -> Result<Option<RawBatch>, FormatError> {
        match self.sample.take() {
            Some(sample) => Ok(Some(sample)),
            None => self.read_batch(),
        }
    }
}

impl ParquetReader {
    /// Reads the description of a file and its sample.
    pub(super) fn open(
        at: Arc<dyn ReadAt>,
        size: u64,
        limits: Limits,
    ) -> Result<Self, FormatError> {
        let mut reader = Self {
            chunks: Chunks::new(at.clone(), size, 1),
            batches: None,
            pending: None,
            columns: vec![],
            originals: vec![],
            names: vec![],
            sample: None,
            limits,
            rows: 0,
        };
        if size == 0 {
            return Ok(reader);
        }
        let length = check_footer(&*at, size)?;
        let described = guarded(&reader.chunks, || {
            reader.chunks.get_bytes(size - 8 - length, length as usize)
        })?;
        description::check(&described).map_err(damaged)?;
        let metadata = guarded(&reader.chunks, || {
            let as_it_is = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let described = Arc::new(ParquetMetaDataReader::decode_metadata(&described)?);
            let found = ArrowReaderMetadata::try_new(described, as_it_is.clone())?;
            let fields = found
                .schema()
                .fields()
                .iter()
                .map(|field| Field::clone(field).with_data_type(read_as(field.data_type())));
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            ArrowReaderMetadata::try_new(found.metadata().clone(), as_it_is.with_schema(schema))
        })?;
        reader.describe(&metadata)?;
        let leaves = metadata.parquet_schema().num_columns();
        reader.chunks = Chunks::new(at, size, leaves);
        let rows = rows_at_once(&metadata);
        reader.batches = Some(guarded(&reader.chunks, || {
            let chunks = reader.chunks.clone();
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, metadata);
            builder.with_batch_size(rows).build()
        })?);
        reader.sample = reader.read_batch()?;
        Ok(reader)
    }

    fn describe(&mut self, metadata: &ArrowReaderMetadata) -> Result<(), FormatError> {
        let fields = metadata.schema().fields();
        let leaves = metadata.parquet_schema().num_columns();
        if leaves > self.limits.columns {
            let limit = self.limits.columns;
            return Err(FormatError::TooManyColumns { found: leaves, limit });
        }
        let described = metadata.parquet_schema().root_schema().get_fields();
        self.columns = fields
            .iter()
            .zip(described)
            .map(|(field, described)| {
                let logical = described.get_basic_info().logical_type_ref();
                let is_uuid = matches!(logical, Some(LogicalType::Uuid));
                Column { kind: kind_of(field.data_type()), is_uuid }
            })
            .collect();
        self.originals = fields.iter().map(|field| field.name().clone()).collect();
        self.names = column_names(self.originals.iter().map(String::as_str));
        Ok(())
    }

    fn read_batch(&mut self) -> Result<Option<RawBatch>, FormatError> {
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => match self.next_records()? {
                Some(records) => records,
                None => return Ok(None),
            },
        };
        let rows = self.fitting(&pending)?;
        let first_row = self.rows + 1;
        self.rows += rows as u64;
        if rows < pending.num_rows() {
            self.pending = Some(pending.slice(rows, pending.num_rows() - rows));
        }
        self.raw(&pending.slice(0, rows), first_row).map(Some)
    }

    fn next_records(&mut self) -> Result<Option<RecordBatch>, FormatError> {
        let Some(batches) = &mut self.batches else { return Ok(None) };
        let next = guarded(&self.chunks, || batches.next().transpose())?;
        if next.is_none() {
            self.batches = None;
        }
        Ok(next.filter(|records| records.num_rows() > 0))
    }

    /// How many of the first rows a batch takes.
    fn fitting(&self, records: &RecordBatch) -> Result<usize, FormatError> {
        let mut sizes = vec![CELL * records.num_columns(); records.num_rows()];
        for column in records.columns() {
            let mut add = |lengths: &mut dyn Iterator<Item = u32>| {
                sizes.iter_mut().zip(lengths).for_each(|(size, length)| *size += length as usize);
            };
            match column.data_type() {
                DataType::Utf8View => add(&mut column.as_string_view().lengths()),
                DataType::BinaryView => add(&mut column.as_binary_view().lengths()),
                _ => {}
            }
        }
        let mut bytes = 0;
        for (row, size) in sizes.into_iter().enumerate() {
            if size as u64 > self.limits.record_bytes {
                let (limit, row) = (self.limits.record_bytes, self.rows + row as u64);
                return Err(FormatError::RecordTooLong { limit, row });
            }
            if bytes > BATCH_BYTES {
                return Ok(row);
            }
            bytes += size;
        }
        Ok(records.num_rows())
    }

    fn raw(&self, records: &RecordBatch, first_row: u64) -> Result<RawBatch, FormatError> {
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut misfits: Vec<Map<String, Value>> = vec![Map::new(); records.num_rows()];
        for ((values, column), name) in records.columns().iter().zip(&self.columns).zip(&self.names)
        {
            let (values, lost) = converted(values, &column.kind, column.is_uuid)?;
            for (row, value) in lost {
                misfits[row].insert(name.clone(), value);
            }
            columns.push(values);
        }
        let misfits: StringArray = misfits
            .into_iter()
            .map(|cells| (!cells.is_empty()).then(|| Value::Object(cells).to_string()))
            .collect();
        let said = self.columns.iter().map(|column| Said::Type(column.kind.clone())).collect();
        Ok(RawBatch { columns, said, late: vec![], misfits, misshapen: 0, first_row })
    }
}

fn damaged(why: &'static str) -> FormatError {
    FormatError::Corrupt { kind: "Parquet", source: Error::other(why) }
}

/// Refuses what is no Parquet file, is encrypted, or describes itself at too great a length; else that length.
fn check_footer(at: &dyn ReadAt, size: u64) -> Result<u64, FormatError> {
    let read = |offset| at.read_at(offset, 4).map_err(FormatError::of_read);
    if size < 12 || !matches!(&read(0)?[..], b"PAR1" | b"PARE") {
        return Err(FormatError::NotParquet);
    }
    match &read(size - 4)?[..] {
        b"PAR1" => {}
        b"PARE" => return Err(FormatError::Encrypted),
        _ => return Err(damaged("its end is missing")),
    }
    let length = read(size - 8)?;
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    match length {
        length if length + 12 > size => Err(damaged("its description is longer than the file")),
        length if length > FOOTER => Err(damaged("its description is longer than 32 MiB")),
        length => Ok(length),
    }
}

/// Rows that are read at a time: as many as a batch may have, by the average of the row group with the largest rows.
fn rows_at_once(metadata: &ArrowReaderMetadata) -> usize {
    let groups = metadata.metadata().row_groups().iter();
    let of_row = groups.map(|group| group.total_byte_size().max(0) / group.num_rows().max(1)).max();
    let of_row = usize::try_from(of_row.unwrap_or_default()).unwrap_or(BATCH_BYTES);
    (BATCH_BYTES / of_row.max(1)).clamp(1, BATCH_ROWS)
}

/// Runs a step of the crate that reads Parquet. A failure of the input counts before what the crate makes of it.
fn guarded<T, E: std::error::Error + Send + Sync + 'static>(
    chunks: &Chunks,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, FormatError> {
    let done = catch_unwind(AssertUnwindSafe(step));
    if let Some(failure) = chunks.failure() {
        return Err(FormatError::of_read(failure));
    }
    let source = match done {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => Error::other(error),
        Err(_) => Error::other("its parts contradict each other"),
    };
    Err(FormatError::Corrupt { kind: "Parquet", source })
}
