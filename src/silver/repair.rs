//! After bronze was set back, or lost rows: what a rebuild would lose, and how silver goes on without one.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::checkpoint::Rewind;
use super::{MERGED, Silver, SilverError};
use crate::lake::position::Position;
use crate::lake::read::provider::LakeTable;
use crate::lake::{Change, CommitOutcome, SnapshotId, Table, Uncommitted};
use crate::ledger::origin::Origins;
use crate::merge::{Counts, MergeError};
use crate::sql::SqlError;
use crate::sql::session::{query, session};

/// Rows of silver that come from files of which bronze has no row.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Bereft {
    /// How many.
    pub rows: u64,
    /// Of how many.
    pub of: u64,
}

/// Rows of silver, and those of them whose object version has no row in bronze. Both are grouped by object version
/// before the join: what it sorts follows the number of objects, not of rows.
const ORPHANED: &str = "SELECT lost, whole FROM
  (SELECT coalesce(sum(held), 0) AS lost
    FROM (SELECT DISTINCT _source_uri AS uri, _source_version AS version,
      CAST(date_trunc('second', _event_time) AS BIGINT) AS second FROM bronze)
    RIGHT ANTI JOIN (SELECT _source_uri AS of_uri, _source_version AS of_version,
      CAST(date_trunc('second', _event_time) AS BIGINT) AS of_second, count(*) AS held
      FROM silver GROUP BY 1, 2, 3)
    ON uri = of_uri AND version = of_version AND second = of_second)
  CROSS JOIN (SELECT count(*) AS whole FROM silver)";
/// The same where rows do not say where they come from: they may come from anywhere.
const ALL: &str = "SELECT count(*) AS lost, count(*) AS whole FROM silver";

impl Silver {
    /// Whether bronze was set back behind what silver has merged.
    pub async fn is_ahead_of_bronze(&self) -> Result<bool, SilverError> {
        Ok(self.lost_position().await?.is_some())
    }

    /// What silver has merged through where bronze was set back behind it, and bronze.
    async fn lost_position(&self) -> Result<Option<(Position, Table)>, SilverError> {
        // Bronze after it: whatever was merged by then is in bronze.
        let silver = self.lake.find(&self.settings.rules.table).await?;
        let Some(bronze) = self.lake.find(&self.settings.bronze).await? else { return Ok(None) };
        let merged = silver.map(|silver| silver.position(MERGED)).transpose()?.flatten();
        let Some(position) = merged else { return Ok(None) };
        let (bronze, set_back) = self.lake.set_back(bronze, &position).await?;
        Ok(set_back.then_some((position, bronze)))
    }

    /// The rows that a rebuild from bronze would not bring back.
    pub async fn bereft(&self) -> Result<Bereft, SilverError> {
        let Some(silver) = self.lake.find(&self.settings.rules.table).await? else {
            return Ok(Bereft::default());
        };
        let Some(bronze) = self.lake.find(&self.settings.bronze).await? else {
            return Ok(Bereft::default());
        };
        self.bereft_of(&silver, &bronze, None).await
    }

    /// The same of tables as they were loaded. Files of which bronze had rows in its snapshot `before`, where it still
    /// has that, count as files that it has.
    pub(super) async fn bereft_of(
        &self,
        silver: &Table,
        bronze: &Table,
        before: Option<SnapshotId>,
    ) -> Result<Bereft, SilverError> {
        if silver.current().is_none() {
            return Ok(Bereft::default());
        }
        let known = |table: &Table| {
            let schema = table.schema().arrow();
            Origins::COLUMNS.iter().all(|column| schema.field_with_name(column).is_ok())
        };
        let sql = if known(silver) && known(bronze) { ORPHANED } else { ALL };
        let before = before.filter(|id| bronze.snapshot(*id).is_some());
        self.count(silver, (bronze, before), sql).await
    }

    /// Checks that a rebuild brings back all rows.
    ///
    /// # Errors
    /// [`SilverError::RebuildRemoves`] when it does not.
    pub async fn check_rebuild(&self) -> Result<(), SilverError> {
        let Bereft { rows, of } = Box::pin(self.bereft()).await?;
        if rows == 0 {
            return Ok(());
        }
        let silver = self.settings.rules.table.clone();
        let bronze = self.settings.bronze.clone();
        Err(SilverError::RebuildRemoves { silver, bronze, rows, of })
    }

    async fn count(
        &self,
        silver: &Table,
        (bronze, before): (&Table, Option<SnapshotId>),
        sql: &str,
    ) -> Result<Bereft, SilverError> {
        let what = format!("silver table {}: counting its rows", self.settings.rules.table);
        let failed = |e| SilverError::from(MergeError::from(SqlError::of(&what, e)));
        let context = session(self.settings.memory).map_err(MergeError::from)?;
        // A join by sorting spills to disk; one by hashing does not.
        let set = "SET datafusion.optimizer.prefer_hash_join = false";
        context.sql(set).await.map_err(failed)?;
        for (name, table) in [("silver", silver), ("bronze", bronze)] {
            // What is in a file that is gone is lost already: a rebuild is what brings it back.
            let gone = self.lake.missing(table).await?.unwrap_or_default();
            let mut files = self.lake.files_of(table, None, &[]).await?;
            if let (Some(before), "bronze") = (before, name) {
                files.extend(self.lake.files_of(table, Some(before), &[]).await?);
            }
            files.retain(|file| !gone.iter().any(|path| path == file.path()));
            let rows = LakeTable::of_files(&self.lake, table, table.schema().clone(), files);
            context.register_table(name, Arc::new(rows)).map_err(failed)?;
        }
        let frame = query(&context, &what, sql).await.map_err(MergeError::from)?;
        let batches = frame.collect().await.map_err(failed)?;
        let of_column = |column: usize| -> u64 {
            let rows = batches.iter().filter(|batch| batch.num_rows() > 0);
            let counts = rows.map(|b| b.column(column).as_primitive::<Int64Type>().value(0));
            counts.sum::<i64>().max(0) as u64
        };
        Ok(Bereft { rows: of_column(0), of: of_column(1) })
    }

    /// Where bronze was set back: silver goes on from the newest snapshot of bronze that it has merged. No row changes:
    /// those of silver that bronze no longer has stay. Of another table under bronze's name, all is merged.
    pub async fn accept(&self) -> Result<(), SilverError> {
        let Some((lost, bronze)) = self.lost_position().await? else { return Ok(()) };
        let Some(tip) = bronze.current() else { return Ok(()) };
        // A rollback gives no sequence number back: what came after it is above the position.
        let merged = bronze.ancestors().find(|snapshot| snapshot.sequence <= lost.sequence);
        let merged = merged.filter(|_| lost.table == bronze.uuid());
        if merged.is_none() {
            self.request_rewind(Rewind { after_snapshot_id: None }).await?;
        }
        let name = &self.settings.rules.table;
        let end = Position::of(&bronze, &merged.unwrap_or(tip));
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        while let Some(silver) = self.lake.find(name).await? {
            self.position(Some(&silver), None)?;
            let properties = self.properties(&Counts::default(), &end, (&silver, false));
            let change = Change::append(Uncommitted::nothing(&self.lake), properties);
            match self.lake.commit(&silver, change).await? {
                CommitOutcome::Committed { .. } => {
                    return self.save_checkpoint(Some(&end), None).await;
                }
                CommitOutcome::Conflict { .. } => {
                    conflicts += 1;
                    self.give_way(conflicts, began).await?;
                }
                CommitOutcome::Unknown(unknown) => return Err(SilverError::Lake(unknown.into())),
            }
        }
        Ok(())
    }
}
