//! Forgetting deleted keys: rows of their table that are older than the settings keep them.
//!
//! This is the one step that takes rows out of a table. Silver's rows stay as they are: only an older row of such a key
//! that comes later is no longer known to be deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use futures::TryStreamExt;

use super::report::{Done, Step};
use super::{MAX_CONFLICTS, Target, Upkeep, UpkeepError, properties_of};
use crate::lake::read::scan::{Bounds, FileTask};
use crate::lake::write::data::DataWriter;
use crate::lake::{Change, CommitOutcome, LakeError, Removed, Table, Uncommitted};

/// Which rows are forgotten.
#[derive(Debug, Clone)]
pub struct Forget {
    /// A column of times.
    pub column: String,
    /// How long before now a row's time has to be.
    pub after: Duration,
}

impl Forget {
    /// Rows whose file is older than this.
    pub fn by_event_time(after: Duration) -> Self {
        Self { column: "_event_time".to_owned(), after }
    }
}

/// The files that hold a row to forget, and what replaces them.
struct Rest {
    gone: u64,
    removed: BTreeSet<String>,
    files: Uncommitted,
}

impl Upkeep {
    pub(super) async fn forget(
        &self,
        target: &Target,
        forget: &Forget,
        dry_run: bool,
    ) -> Result<Done, UpkeepError> {
        let now = self.lake.ambient().now();
        let until = now.timestamp_micros().saturating_sub(forget.after.as_micros() as i64);
        let mut table = self.lake.load(&target.table).await?;
        let mut done = Done::unchanged(target, Step::DeletedKeys, 0, 0);
        for conflicts in 1..=MAX_CONFLICTS {
            let live = self.lake.live(&table).await?;
            done.items_before =
                live.data.iter().filter_map(|file| file.task.rows()).sum::<u64>() as usize;
            let Rest { gone, mut removed, files } =
                self.rest(target, &table, (&forget.column, until), dry_run).await?;
            done.items_after = done.items_before.saturating_sub(gone as usize);
            if gone == 0 || dry_run {
                return Ok(done);
            }
            let unused: Vec<String> = live.deletes_of_none_but(&removed).cloned().collect();
            removed.extend(unused);
            let properties = properties_of(target, &table)?;
            let change = Change::overwrite(files, Removed::Files(removed), properties);
            match self.lake.commit(&table, change).await? {
                CommitOutcome::Committed { .. } => return Ok(done),
                CommitOutcome::Conflict { table: now, files } => {
                    files.discard().await;
                    table = now;
                }
                CommitOutcome::Unknown(unknown) => return Err(UpkeepError::Lake(unknown.into())),
            }
            self.lake.wait_after_conflict(conflicts).await;
        }
        // Other writers were faster: the next time.
        done.items_after = done.items_before;
        Ok(done)
    }

    async fn rest(
        &self,
        target: &Target,
        table: &Table,
        (column, until): (&str, i64),
        dry_run: bool,
    ) -> Result<Rest, UpkeepError> {
        let files = Uncommitted::nothing(&self.lake);
        let mut rest = Rest { gone: 0, removed: BTreeSet::new(), files };
        if table.schema().arrow().field_with_name(column).is_err() {
            return Ok(rest);
        }
        let bounds =
            Bounds { column: column.to_owned(), least: time(i64::MIN), greatest: time(until) };
        for file in self.lake.files_of(table, None, &[bounds]).await? {
            let gone = self.count_older(table, &file, (column, until)).await?;
            if gone == 0 {
                continue;
            }
            rest.gone += gone;
            rest.removed.insert(file.path().to_owned());
            if !dry_run {
                rest.files.extend(self.newer(target, table, &file, (column, until)).await?);
            }
        }
        Ok(rest)
    }

    async fn count_older(
        &self,
        table: &Table,
        file: &FileTask,
        (column, until): (&str, i64),
    ) -> Result<u64, LakeError> {
        let columns = [column.to_owned()];
        let mut rows = self.lake.read_rows(table, table.schema(), file, &columns).await?;
        let mut older = 0;
        while let Some(rows) = rows.try_next().await? {
            older += stays(&rows.batch, column, until).false_count() as u64;
        }
        Ok(older)
    }

    /// Writes the rows of a file that stay.
    async fn newer(
        &self,
        target: &Target,
        table: &Table,
        file: &FileTask,
        (column, until): (&str, i64),
    ) -> Result<Uncommitted, LakeError> {
        let schema = table.schema();
        let columns: Vec<String> =
            schema.arrow().fields().iter().map(|field| field.name().clone()).collect();
        let mut writer = DataWriter::new(&self.lake, table, schema)?.with_bounds_on(&target.bounds);
        let mut rows = self.lake.read_rows(table, schema, file, &columns).await?;
        while let Some(rows) = rows.try_next().await? {
            let newer = filter_record_batch(&rows.batch, &stays(&rows.batch, column, until));
            let newer = newer.map_err(|source| LakeError::Arrow {
                table: target.table.clone(),
                doing: "forgetting deleted keys",
                source,
            })?;
            writer.write(&newer).await?;
        }
        writer.close().await
    }
}

fn time(micros: i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("+00:00"))
}

/// The rows of `until` and later, and those without a time.
fn stays(batch: &RecordBatch, column: &str, until: i64) -> BooleanArray {
    let times = batch
        .column_by_name(column)
        .and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    match times {
        Some(times) => (0..times.len())
            .map(|row| Some(times.is_null(row) || times.value(row) >= until))
            .collect(),
        None => BooleanArray::from(vec![true; batch.num_rows()]),
    }
}
