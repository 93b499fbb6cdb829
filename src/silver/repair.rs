//! After bronze was set back, or lost rows: what a rebuild would lose, and how silver goes on without one.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::{MERGED, Silver, SilverError};
use crate::lake::position::{Position, Standing, standing};
use crate::lake::read::provider::LakeTable;
use crate::lake::{Change, CommitOutcome, SnapshotId, Table, Uncommitted};
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

/// The columns that name a row's file.
const ORIGIN: [&str; 2] = ["_source_uri", "_source_version"];

/// Rows whose file has no row in bronze.
const ORPHANED: &str = "SELECT count(*)
  FROM (SELECT DISTINCT _source_uri AS uri, _source_version AS version FROM bronze)
  RIGHT ANTI JOIN silver ON uri = _source_uri AND version = _source_version";
const ALL: &str = "SELECT count(*) FROM silver";

impl Silver {
    /// Whether bronze was set back behind what silver has merged.
    pub async fn is_ahead_of_bronze(&self) -> Result<bool, SilverError> {
        // Bronze after it: whatever was merged by then is in bronze.
        let silver = self.lake.find(&self.settings.rules.table).await?;
        let Some(bronze) = self.lake.find(&self.settings.bronze).await? else { return Ok(false) };
        let merged = silver.map(|silver| silver.position(MERGED)).transpose()?.flatten();
        Ok(merged.is_some_and(|position| {
            matches!(standing(&bronze, &position), Standing::RolledBack | Standing::Ahead)
        }))
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
            ORIGIN.iter().all(|column| table.schema().arrow().field_with_name(column).is_ok())
        };
        // Rows that do not say where they come from may come from anywhere.
        let lost = match known(silver) && known(bronze) {
            true => ORPHANED,
            false => ALL,
        };
        let before = before.filter(|id| bronze.snapshot(*id).is_some());
        let count = async |sql: &str| self.count(silver, (bronze, before), sql).await;
        Ok(Bereft { rows: count(lost).await?, of: count(ALL).await? })
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
    ) -> Result<u64, SilverError> {
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
        let counts = batches.iter().filter(|batch| batch.num_rows() > 0);
        let counts = counts.map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0));
        Ok(counts.sum::<i64>().max(0) as u64)
    }

    /// Takes bronze as it is for what is merged. No row changes: those of silver that bronze no longer has stay.
    pub async fn accept(&self, bronze: &Table) -> Result<(), SilverError> {
        let Some(tip) = bronze.current() else { return Ok(()) };
        let name = &self.settings.rules.table;
        let end = Position::of(bronze, &tip);
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
