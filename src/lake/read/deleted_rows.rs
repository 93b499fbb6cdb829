//! Which of some rows are deleted by position, without reading their data files.

use std::collections::{HashMap, HashSet};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::{FutureExt, StreamExt, TryStreamExt};
use iceberg::scan::FileScanTaskDeleteFile;
use iceberg::spec::DataContentType;

use super::scan::FileTask;
use crate::lake::{Lake, LakeError, Table};

/// A row: its file, as an index into a list of files, and its position.
pub type FileRow = (usize, u64);

impl Lake {
    /// Those of the `rows` that position deletes of their `files` delete. Each file of deletes is read once, however
    /// many data files it is for, `at_once` at a time.
    pub async fn deleted_among(
        &self,
        table: &Table,
        files: &[FileTask],
        rows: &HashSet<FileRow>,
        at_once: usize,
    ) -> Result<HashSet<FileRow>, LakeError> {
        let touched: HashSet<usize> = rows.iter().map(|(file, _)| *file).collect();
        let mut by_delete: HashMap<&str, Applied<'_>> = HashMap::new();
        for index in touched {
            let Some(file) = files.get(index) else { continue };
            for delete in &file.0.deletes {
                if delete.file_type == DataContentType::PositionDeletes {
                    let new = || Applied { delete, to: HashMap::new() };
                    let applied = by_delete.entry(&delete.file_path).or_insert_with(new);
                    applied.to.insert(file.path(), index);
                }
            }
        }
        let reads: Vec<_> = by_delete
            .into_values()
            .map(|applied| applied.among(self, table, rows).boxed())
            .collect();
        let found: Vec<HashSet<FileRow>> =
            futures::stream::iter(reads).buffer_unordered(at_once.max(1)).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// A file of deletes, and the data files that it applies to, by path.
struct Applied<'a> {
    delete: &'a FileScanTaskDeleteFile,
    to: HashMap<&'a str, usize>,
}

impl Applied<'_> {
    async fn among(
        self,
        lake: &Lake,
        table: &Table,
        rows: &HashSet<FileRow>,
    ) -> Result<HashSet<FileRow>, LakeError> {
        let mut deleted = HashSet::new();
        let file = (self.delete.file_path.as_str(), self.delete.file_size_in_bytes);
        let mut batches = lake.read_positions(table, file, None)?;
        while let Some(batch) = batches.try_next().await? {
            let paths = batch.column(0).as_string::<i32>();
            let positions = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let Some(file) = self.to.get(paths.value(row)) else { continue };
                let row = (*file, positions.value(row).max(0) as u64);
                if rows.contains(&row) {
                    deleted.insert(row);
                }
            }
        }
        Ok(deleted)
    }
}
