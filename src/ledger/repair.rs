//! After bronze was set back: the ledger forgets the objects whose rows bronze no longer has, so that they are ingested
//! when they are seen again.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::folder::{WHOLE, folder_of, id_of};
use super::origin::Origins;
use super::rows::{LAST_MODIFIED, OUTCOME, ROWS, SOURCE_URI, SOURCE_VERSION};
use super::{Ledger, ObjectOutcome, PUBLISHED, READ_FILES};
use crate::lake::position::Position;
use crate::lake::write::filtered::{Filtered, Staying};
use crate::lake::{Change, CommitOutcome, LakeError, Removed, Table};

/// A hash of an object version, as bronze names it.
type Print = [u8; 16];

impl Ledger {
    /// Whether what is published is no longer in bronze's history.
    pub async fn is_ahead_of_bronze(&self) -> Result<bool, LakeError> {
        // Bronze after it: whatever was published by then is in bronze.
        let Some(objects) = self.lake.find(&self.objects).await? else { return Ok(false) };
        let Some(bronze) = self.bronze().await? else { return Ok(false) };
        match objects.position(PUBLISHED)? {
            Some(position) => Ok(self.lake.set_back(bronze, &position).await?.1),
            None => Ok(false),
        }
    }

    /// Forgets the objects that are known as ingested and have no row in bronze, and takes bronze as it is for what is
    /// published. Returns how many there are; with `dry_run` nothing is changed. Memory follows the number of objects
    /// in bronze, 16 bytes for each.
    pub async fn forget_lost(&self, bronze: &Table, dry_run: bool) -> Result<u64, LakeError> {
        let held = self.held_by(bronze).await?;
        let stays = |rows: &RecordBatch| stays(rows, &held);
        let columns = [SOURCE_URI, SOURCE_VERSION, LAST_MODIFIED, OUTCOME, ROWS];
        let staying = Staying { columns: &columns, stays: &stays, bounds: &[] };
        let mut objects = self.open().await?;
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        loop {
            let live = self.lake.files_of(&objects, None, &[]).await?;
            let Filtered { gone, removed, files } =
                self.lake.filtered(&objects, live, &staying, dry_run).await?;
            let (Some(tip), false) = (bronze.current(), dry_run) else { return Ok(gone) };
            let own = self.published(&Position::of(bronze, &tip));
            let change = Change::overwrite(files, Removed::Files(removed), own);
            match self.lake.commit(&objects, change).await? {
                CommitOutcome::Committed { .. } => return Ok(gone),
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

    /// The object versions of which bronze has rows, and their folders: a delivery whose objects are all gone was not
    /// committed any more.
    async fn held_by(&self, bronze: &Table) -> Result<HashSet<Print>, LakeError> {
        let columns = Origins::COLUMNS.map(str::to_owned);
        let files = self.lake.files_of(bronze, None, &[]).await?;
        let mut batches =
            self.lake.read_files(bronze, bronze.schema(), files, &columns, READ_FILES);
        let mut held = HashSet::new();
        while let Some(batch) = batches.try_next().await? {
            let Some(origins) = Origins::of(&batch) else { continue };
            let mut last = None;
            for version in (0..batch.num_rows()).filter_map(|row| origins.at(row)) {
                held.insert(print(version));
                let folder = folder_of(version.0);
                if last.replace(folder) != Some(folder) {
                    held.insert(print_of_folder(folder));
                }
            }
        }
        Ok(held)
    }
}

/// Conflicts in a row after which it gives up.
const MAX_CONFLICTS: u32 = 10;

/// The rows that stay: all but those of objects that are said to have rows in bronze, and have none.
fn stays(batch: &RecordBatch, held: &HashSet<Print>) -> BooleanArray {
    let column = |name: &str| batch.column_by_name(name);
    let outcome = column(OUTCOME).and_then(|c| c.as_string_opt::<i32>());
    let count = column(ROWS).and_then(|c| c.as_primitive_opt::<Int64Type>());
    let origins = Origins::named(batch, [SOURCE_URI, SOURCE_VERSION, LAST_MODIFIED]);
    let (Some(origins), Some(outcome), Some(count)) = (origins, outcome, count) else {
        return BooleanArray::from(vec![true; batch.num_rows()]);
    };
    let ingested = ObjectOutcome::Ingested.as_str();
    let has_rows =
        |row: usize| outcome.value(row) == ingested && count.is_valid(row) && count.value(row) > 0;
    let is_held = |row| origins.at(row).is_none_or(|version| held.contains(&print(version)));
    (0..batch.num_rows()).map(|row| Some(!has_rows(row) || is_held(row))).collect()
}

/// The print of the row that says that a folder was committed.
fn print_of_folder(folder: &str) -> Print {
    let id = id_of(folder, WHOLE);
    print((&id.uri, &id.version, id.last_modified.timestamp()))
}

/// The print of an object version: of its URI, its version and the second of its LastModified.
fn print((uri, version, second): (&str, &str, i64)) -> Print {
    let mut digest = Sha256::new();
    for text in [uri, version] {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    digest.update(second.to_le_bytes());
    let mut print = [0; 16];
    print.copy_from_slice(&digest.finalize()[..16]);
    print
}
