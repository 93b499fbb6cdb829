//! Files again, without some of their rows.

use std::collections::BTreeSet;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;

use super::data::DataWriter;
use super::uncommitted::Uncommitted;
use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, LakeError, Table, TableSchema};

/// Which rows stay.
pub struct Staying<'a> {
    /// The columns that say it.
    pub columns: &'a [&'a str],
    /// What they say: for each row of a batch with these columns, and perhaps others, whether it stays.
    pub stays: &'a (dyn Fn(&RecordBatch) -> BooleanArray + Send + Sync),
    /// The columns that always have bounds.
    pub bounds: &'a [String],
}

impl std::fmt::Debug for Staying<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staying").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// The files that lose rows, and what replaces them.
#[derive(Debug)]
pub struct Filtered {
    /// Rows that go.
    pub gone: u64,
    /// The files that have one, by path.
    pub removed: BTreeSet<String>,
    /// Files with their other rows.
    pub files: Uncommitted,
}

impl Lake {
    /// Writes those of these live `files` again that have rows to go, without these rows; with `dry_run` the rows are
    /// only counted. A file without such rows stays as it is.
    pub async fn filtered(
        &self,
        table: &Table,
        files: Vec<FileTask>,
        staying: &Staying<'_>,
        dry_run: bool,
    ) -> Result<Filtered, LakeError> {
        let nothing = Uncommitted::nothing(self);
        let mut filtered = Filtered { gone: 0, removed: BTreeSet::new(), files: nothing };
        for file in files {
            let gone = self.count_gone(table, &file, staying).await?;
            if gone == 0 {
                continue;
            }
            filtered.gone += gone;
            filtered.removed.insert(file.path().to_owned());
            if !dry_run {
                let rest = self.rest_of(table, table.schema(), &file, staying).await?;
                filtered.files.extend(rest);
            }
        }
        Ok(filtered)
    }

    async fn count_gone(
        &self,
        table: &Table,
        file: &FileTask,
        Staying { columns, stays, .. }: &Staying<'_>,
    ) -> Result<u64, LakeError> {
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let mut rows = self.read_rows(table, table.schema(), file, &columns).await?;
        let mut gone = 0;
        while let Some(rows) = rows.try_next().await? {
            gone += stays(&rows.batch).false_count() as u64;
        }
        Ok(gone)
    }

    /// The rows of a file that stay, in new files of this schema.
    pub(crate) async fn rest_of(
        &self,
        table: &Table,
        schema: &TableSchema,
        file: &FileTask,
        Staying { stays, bounds, .. }: &Staying<'_>,
    ) -> Result<Uncommitted, LakeError> {
        let mut writer = DataWriter::new(self, table, schema)?.with_bounds_on(bounds);
        let mut rows = self.read_rows(table, schema, file, &schema.column_names()).await?;
        while let Some(rows) = rows.try_next().await? {
            let rest = filter_record_batch(&rows.batch, &stays(&rows.batch));
            let rest = rest.map_err(|source| LakeError::Arrow {
                table: table.name().clone(),
                doing: "leaving rows out",
                source,
            })?;
            writer.write(&rest).await?;
        }
        writer.close().await
    }
}
