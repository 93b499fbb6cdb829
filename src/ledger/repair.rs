//! After bronze was set back: the ledger forgets the objects whose rows bronze no longer has, so that they are ingested
//! when they are seen again.

use std::collections::{BTreeSet, HashSet};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::rows::{OUTCOME, ROWS, SOURCE_URI, SOURCE_VERSION};
use super::{Ledger, ObjectOutcome, PUBLISHED, READ_FILES};
use crate::lake::position::{Position, Standing, standing};
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;
use crate::lake::{
    Change, CommitOutcome, CommitProperties, LakeError, Removed, Table, Uncommitted, properties,
};
use crate::telemetry::metrics::Layer;

/// A hash of an object version, as bronze names it.
type Print = [u8; 16];

/// What is kept of the ledger.
struct Kept {
    /// Rows that go.
    lost: u64,
    /// The files that hold one, and what replaces them.
    removed: BTreeSet<String>,
    files: Uncommitted,
}

impl Ledger {
    /// Whether what is published is no longer in bronze's history.
    pub async fn is_ahead_of_bronze(&self) -> Result<bool, LakeError> {
        // Bronze after it: whatever was published by then is in bronze.
        let Some(objects) = self.lake.find(&self.objects).await? else { return Ok(false) };
        let Some(bronze) = self.bronze().await? else { return Ok(false) };
        let published = objects.position(PUBLISHED)?;
        Ok(published.is_some_and(|position| {
            matches!(standing(&bronze, &position), Standing::RolledBack | Standing::Ahead)
        }))
    }

    /// Forgets the objects that are known as ingested and have no row in bronze, and takes bronze as it is for what is
    /// published. Returns how many there are; with `dry_run` nothing is changed. Memory follows the number of objects
    /// in bronze, 16 bytes for each.
    pub async fn forget_lost(&self, bronze: &Table, dry_run: bool) -> Result<u64, LakeError> {
        let held = self.held_by(bronze).await?;
        let mut objects = self.open().await?;
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        loop {
            let Kept { lost, removed, files } = self.without_lost(&objects, &held, dry_run).await?;
            let (Some(tip), false) = (bronze.current(), dry_run) else { return Ok(lost) };
            let mut own = properties::of_pipeline(&self.pipeline);
            properties::set_position(&mut own, PUBLISHED, &Position::of(bronze, &tip));
            let own = CommitProperties::of_both(Layer::Ledger, own);
            let change = Change::overwrite(files, Removed::Files(removed), own);
            match self.lake.commit(&objects, change).await? {
                CommitOutcome::Committed { .. } => return Ok(lost),
                CommitOutcome::Conflict { table, files } => {
                    files.discard().await;
                    objects = table;
                }
                CommitOutcome::Unknown(unknown) => return Err(unknown.into()),
            }
            conflicts += 1;
            if conflicts == MAX_CONFLICTS {
                return Err(self.lake.contended(&self.objects, conflicts, began));
            }
            self.lake.wait_after_conflict(conflicts).await;
        }
    }

    /// The object versions of which bronze has rows.
    async fn held_by(&self, bronze: &Table) -> Result<HashSet<Print>, LakeError> {
        let columns = ["_source_uri", "_source_version"].map(str::to_owned);
        let files = self.lake.files_of(bronze, None, &[]).await?;
        let mut batches =
            self.lake.read_files(bronze, bronze.schema(), files, &columns, READ_FILES);
        let mut held = HashSet::new();
        while let Some(batch) = batches.try_next().await? {
            let uri = batch.column(0).as_string::<i32>();
            let version = batch.column(1).as_string::<i32>();
            held.extend((0..batch.num_rows()).map(|row| print(uri.value(row), version.value(row))));
        }
        Ok(held)
    }

    async fn without_lost(
        &self,
        objects: &Table,
        held: &HashSet<Print>,
        dry_run: bool,
    ) -> Result<Kept, LakeError> {
        let files = Uncommitted::nothing(&self.lake);
        let mut kept = Kept { lost: 0, removed: BTreeSet::new(), files };
        for file in self.lake.files_of(objects, None, &[]).await? {
            let lost = self.lost_in(objects, &file, held).await?;
            if lost == 0 {
                continue;
            }
            kept.lost += lost;
            kept.removed.insert(file.path().to_owned());
            if !dry_run {
                let writer = DataWriter::new(&self.lake, objects, objects.schema())?;
                kept.files.extend(self.rest_of(objects, &file, held, writer).await?);
            }
        }
        Ok(kept)
    }

    async fn lost_in(
        &self,
        objects: &Table,
        file: &FileTask,
        held: &HashSet<Print>,
    ) -> Result<u64, LakeError> {
        let columns = [SOURCE_URI, SOURCE_VERSION, OUTCOME, ROWS].map(str::to_owned);
        let mut rows = self.lake.read_rows(objects, objects.schema(), file, &columns).await?;
        let mut lost = 0;
        while let Some(rows) = rows.try_next().await? {
            lost += stays(&rows.batch, held).false_count() as u64;
        }
        Ok(lost)
    }

    async fn rest_of(
        &self,
        objects: &Table,
        file: &FileTask,
        held: &HashSet<Print>,
        mut writer: DataWriter,
    ) -> Result<Uncommitted, LakeError> {
        let schema = objects.schema();
        let columns: Vec<String> =
            schema.arrow().fields().iter().map(|field| field.name().clone()).collect();
        let mut rows = self.lake.read_rows(objects, schema, file, &columns).await?;
        while let Some(rows) = rows.try_next().await? {
            let rest = filter_record_batch(&rows.batch, &stays(&rows.batch, held));
            let rest = rest.map_err(|source| LakeError::Arrow {
                table: self.objects.clone(),
                doing: "forgetting objects",
                source,
            })?;
            writer.write(&rest).await?;
        }
        writer.close().await
    }
}

/// Conflicts in a row after which it gives up.
const MAX_CONFLICTS: u32 = 10;

/// The rows that stay: all but those of objects that are said to have rows in bronze, and have none.
fn stays(batch: &RecordBatch, held: &HashSet<Print>) -> BooleanArray {
    let text = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    let count = batch.column_by_name(ROWS).and_then(|c| c.as_primitive_opt::<Int64Type>());
    let (Some(uri), Some(version), Some(outcome), Some(count)) =
        (text(SOURCE_URI), text(SOURCE_VERSION), text(OUTCOME), count)
    else {
        return BooleanArray::from(vec![true; batch.num_rows()]);
    };
    let ingested = ObjectOutcome::Ingested.as_str();
    let stays = |row: usize| {
        let has_rows =
            outcome.value(row) == ingested && count.is_valid(row) && count.value(row) > 0;
        !has_rows || held.contains(&print(uri.value(row), version.value(row)))
    };
    (0..batch.num_rows()).map(|row| Some(stays(row))).collect()
}

fn print(uri: &str, version: &str) -> Print {
    let digest = Sha256::new().chain_update(uri).chain_update([0]).chain_update(version).finalize();
    let mut print = [0; 16];
    print.copy_from_slice(&digest[..16]);
    print
}
