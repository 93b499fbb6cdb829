//! Data files that a snapshot property names before they belong to their table.

use std::collections::HashMap;

use iceberg::scan::FileScanTask;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, PrimitiveLiteral,
    Struct, Transform,
};

use crate::lake::read::scan::FileTask;
use crate::lake::{LakeError, Table};

/// A data file of a table, as a property names it: enough to read it, and to add it to its table later.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileRef {
    /// Its location.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The bounds of one column, of timestamps with a time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<TimeBounds>,
    /// Its partition, in days since 1970-01-01: only in properties of older versions, whose objects tables were
    /// partitioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<i32>,
}

/// The bounds of a column of timestamps with a time zone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimeBounds {
    /// The column's field id.
    pub field: i32,
    /// The least value, in microseconds since 1970.
    pub first: i64,
    /// The greatest value, in microseconds since 1970.
    pub last: i64,
}

/// A file that another commit names already, as an entry of its table.
#[derive(Debug)]
pub struct AdoptedFile {
    pub(in crate::lake) file: DataFile,
    pub(in crate::lake) spec_id: i32,
}

impl FileRef {
    /// Names a file that was written for `table`, with the bounds of its column `time`.
    pub fn of(table: &Table, file: &DataFile, time: &str) -> Self {
        let bounds = table.schema().id_of(time).and_then(|field| {
            let micros = |bounds: &HashMap<i32, Datum>| match bounds.get(&field)?.literal() {
                PrimitiveLiteral::Long(micros) => Some(*micros),
                _ => None,
            };
            let (first, last) = (micros(file.lower_bounds())?, micros(file.upper_bounds())?);
            Some(TimeBounds { field, first, last })
        });
        Self {
            path: file.file_path().to_owned(),
            bytes: file.file_size_in_bytes(),
            rows: file.record_count(),
            bounds,
            day: None,
        }
    }

    /// The file as an entry of `table`.
    ///
    /// # Errors
    /// The table never had the partition spec that the file was written under.
    pub fn to_adopt(&self, table: &Table) -> Result<AdoptedFile, LakeError> {
        let metadata = table.metadata();
        let by_day = |transform| transform == Transform::Day;
        let spec = metadata.partition_specs_iter().find(|spec| match self.day {
            Some(_) => matches!(spec.fields(), [field] if by_day(field.transform)),
            None => spec.is_unpartitioned(),
        });
        let spec = spec.ok_or_else(|| {
            table.bad_property(format!("file {}: no partition spec fits it", self.path))
        })?;
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::Data)
            .file_path(self.path.clone())
            .file_format(DataFileFormat::Parquet)
            .partition(self.partition())
            .partition_spec_id(spec.spec_id())
            .record_count(self.rows)
            .file_size_in_bytes(self.bytes);
        if let Some(TimeBounds { field, first, last }) = self.bounds {
            let bound = |micros| HashMap::from([(field, Datum::timestamptz_micros(micros))]);
            builder.lower_bounds(bound(first)).upper_bounds(bound(last));
        }
        let file =
            builder.build().map_err(|e| table.bad_property(format!("file {}: {e}", self.path)))?;
        Ok(AdoptedFile { file, spec_id: spec.spec_id() })
    }

    /// The file, with all that its writer knows of it, as an entry of `table`: `written` is of the same path.
    ///
    /// # Errors
    /// As [`FileRef::to_adopt`].
    pub fn to_adopt_as(&self, written: DataFile, table: &Table) -> Result<AdoptedFile, LakeError> {
        Ok(AdoptedFile { file: written, ..self.to_adopt(table)? })
    }

    /// The file for reading, before it belongs to `table`.
    pub fn to_task(&self, table: &Table) -> FileTask {
        FileTask(
            FileScanTask::builder()
                .with_file_size_in_bytes(self.bytes)
                .with_start(0)
                .with_length(0)
                .with_record_count(Some(self.rows))
                .with_data_file_path(self.path.clone())
                .with_data_file_format(DataFileFormat::Parquet)
                .with_schema(table.schema().iceberg().clone())
                .with_project_field_ids(vec![])
                .with_partition(Some(self.partition()))
                .with_case_sensitive(true)
                .build(),
        )
    }

    fn partition(&self) -> Struct {
        match self.day {
            Some(day) => Struct::from_iter([Some(Literal::int(day))]),
            None => Struct::empty(),
        }
    }
}
