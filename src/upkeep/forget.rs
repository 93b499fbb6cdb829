//! Forgetting deleted keys: rows of their table that are older than the settings keep them.
//!
//! This is the one step that takes rows out of a table. Silver's rows stay as they are: only an older row of such a key
//! that comes later is no longer known to be deleted.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::TimestampMicrosecondType;

use super::report::{Done, Step};
use super::{MAX_CONFLICTS, Target, Upkeep, UpkeepError, properties_of};
use crate::lake::read::scan::Bounds;
use crate::lake::write::filtered::{Filtered, Staying};
use crate::lake::{Change, CommitOutcome, LakeError, Removed, Table};

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
            done.items_before = table.rows().unwrap_or_default() as usize;
            let Filtered { gone, mut removed, files } =
                self.rest(target, &table, (&forget.column, until), dry_run).await?;
            done.items_after = done.items_before.saturating_sub(gone as usize);
            if gone == 0 || dry_run {
                return Ok(done);
            }
            let live = self.lake.live(&table).await?;
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
    ) -> Result<Filtered, LakeError> {
        let has_column = table.schema().arrow().field_with_name(column).is_ok();
        let files = match has_column {
            true => {
                let (least, greatest) = (None, Some(time(until)));
                let bounds = Bounds { column: column.to_owned(), least, greatest };
                self.lake.files_of(table, None, &[bounds]).await?
            }
            false => vec![],
        };
        let stays = |rows: &RecordBatch| stays(rows, column, until);
        let staying = Staying { columns: &[column], stays: &stays, bounds: &target.bounds };
        self.lake.filtered(table, files, &staying, dry_run).await
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
