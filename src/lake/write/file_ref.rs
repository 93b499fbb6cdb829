//! Data files that a snapshot property names before they belong to their table.

use iceberg::scan::FileScanTask;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, Struct};

use crate::lake::read::scan::FileTask;
use crate::lake::{LakeError, Table};

/// A data file of a table partitioned by day, as a property names it: enough to read it, and to add it to its
/// table later.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileRef {
    /// Its location.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Its partition, in days since 1970-01-01.
    pub day: i32,
}

impl FileRef {
    /// Names a file that was written for a day.
    pub fn of(file: &DataFile, day: i32) -> Self {
        Self {
            path: file.file_path().to_owned(),
            bytes: file.file_size_in_bytes(),
            rows: file.record_count(),
            day,
        }
    }

    /// The file as an entry of `table`.
    pub fn to_data_file(&self, table: &Table) -> Result<DataFile, LakeError> {
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(self.path.clone())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::from_iter([Some(Literal::int(self.day))]))
            .partition_spec_id(table.metadata().default_partition_spec_id())
            .record_count(self.rows)
            .file_size_in_bytes(self.bytes)
            .build()
            .map_err(|e| table.bad_property(format!("file {}: {e}", self.path)))
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
                .with_partition(Some(Struct::from_iter([Some(Literal::int(self.day))])))
                .with_case_sensitive(true)
                .build(),
        )
    }
}
