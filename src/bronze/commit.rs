//! The bronze commit: the one point at which a batch becomes part of the table (I3), checked
//! against the ledger on exactly the state that it commits to (I2).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::deliveries::DELIVERY;
use super::provenance::OWN_BOUNDS;
use super::staged::{FileContents, Staged};
use super::superseded::{self, Found, Superseded, Versions};
use super::{Bronze, BronzeError, ObjectEnd};
use crate::batch::BatchId;
use crate::lake::properties::{self, LAST_SUPERSEDED, LIVE_ROWS, SUPERSEDED};
use crate::lake::read::scan::FileTask;
use crate::lake::write::FileRef;
use crate::lake::write::filtered::Staying;
use crate::lake::{
    Change, CommitOutcome, CommitProperties, DataFile, LakeError, SnapshotId, Table, TableSchema,
    Uncommitted,
};
use crate::ledger::origin::Origins;
use crate::ledger::{self, ObjectRow};
use crate::source::ObjectId;
use crate::telemetry::metrics::Layer;

/// The id of the batch: a snapshot property.
pub const BATCH: &str = "silversmith.batch-id";
/// Objects of the batch: a snapshot property.
pub const OBJECTS: &str = "silversmith.objects";
/// Conflicts in a row after which a batch is given up; it is ingested again.
const MAX_CONFLICTS: u32 = 100;

/// How the commit of a batch ended.
pub(super) enum Committed {
    /// All outcomes of the batch are durable.
    Done(Done),
    /// The table's schema changed in a way that the files do not fit: nothing was committed, and
    /// nothing is left behind.
    SchemaMoved,
    /// Another worker has committed the delivery: nothing was committed, and nothing is left behind.
    Overtaken,
}

/// What a batch brought.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) ingested: usize,
    pub(super) failed: usize,
    pub(super) rows: u64,
    pub(super) rescued: u64,
    /// How each object of the batch ended, in its order.
    pub(super) ends: Vec<ObjectEnd>,
}

impl Bronze {
    pub(super) async fn commit(
        &self,
        batch_id: &BatchId,
        mut staged: Staged,
    ) -> Result<Committed, BronzeError> {
        let failed = staged.failed.len() + staged.attached.as_ref().map_or(0, |a| a.failed);
        let mut done = Done { failed, ..Done::default() };
        if !staged.files.is_empty() || !staged.again.is_empty() {
            match self.append(batch_id, &mut staged).await? {
                Appended::Snapshot(snapshot) => done.snapshot = Some(snapshot),
                Appended::Nothing => {}
                Appended::SchemaMoved => return Ok(Committed::SchemaMoved),
                Appended::Overtaken => return Ok(Committed::Overtaken),
            }
        }
        done.ingested = staged.ingested.len();
        done.rows = staged.ingested.iter().map(|row| row.rows).sum();
        done.rescued = staged.ingested.iter().filter_map(|row| row.rescued).sum();
        // Outcomes that no bronze commit carries.
        let mut rest = staged.failed;
        if done.snapshot.is_none() {
            rest.append(&mut staged.ingested);
            rest.extend(staged.attached.into_iter().flat_map(|attached| attached.rows));
        }
        self.ledger.record(&rest).await?;
        done.ends = staged.ends;
        Ok(Committed::Done(done))
    }

    async fn append(
        &self,
        batch_id: &BatchId,
        staged: &mut Staged,
    ) -> Result<Appended, BronzeError> {
        let delivery = staged.attached.as_ref().map(|attached| attached.id.clone());
        let ids = staged.ingested.iter().map(|row| row.id.clone()).chain(delivery.clone());
        let ids: HashSet<ObjectId> = ids.collect();
        let Some(mut base) = self.base(staged).await? else { return Ok(Appended::Nothing) };
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        let mut found = Found::default();
        loop {
            let Some(schema) = schema_change(staged, &base) else {
                self.taken(staged).discard().await;
                return Ok(Appended::SchemaMoved);
            };
            let view = self.ledger.whole_view(Some(&base)).await?;
            let (known, again) = staged.known(view.known(&ids).await?);
            if delivery.as_ref().is_some_and(|delivery| known.contains(delivery)) {
                self.taken(staged).discard().await;
                return Ok(Appended::Overtaken);
            }
            self.drop_known(&base, staged, &known).await?;
            let old = self.superseded(&base, &again, &mut found).await?;
            if staged.files.is_empty() && old.is_empty() {
                return Ok(Appended::Nothing);
            }
            let rows = staged.attached.iter().flat_map(|attached| &attached.rows);
            let rows: Vec<ObjectRow> = staged.ingested.iter().chain(rows).cloned().collect();
            let (ledger_file, named) = self.ledger.write(view.objects(), &rows).await?;
            let properties = self.properties(batch_id, staged, named.as_ref(), (&base, &old))?;
            let (recorded, deletes) = (ledger_file.files().to_vec(), old.paths());
            let new = self.taken(staged);
            let change = Change::row_delta(new, old.deletes, old.removed, properties)
                .with_schema(schema)
                .with_attached(ledger_file);
            match self.lake.commit(&base, change).await? {
                CommitOutcome::Committed { table, snapshot } => {
                    self.publish(&table, &recorded).await;
                    return Ok(Appended::Snapshot(snapshot));
                }
                CommitOutcome::Conflict { table, files } => {
                    (base, staged.files) = (table, *files);
                    superseded::discard(&mut staged.files, &deletes).await;
                }
                CommitOutcome::Unknown(unknown) => return Err(LakeError::from(unknown).into()),
            }
            conflicts += 1;
            if conflicts == MAX_CONFLICTS {
                return Err(self.lake.contended(base.name(), conflicts, began).into());
            }
            self.lake.wait_after_conflict(conflicts).await;
        }
    }

    /// The table that a batch is committed to; none where it has no rows and there never were any.
    async fn base(&self, staged: &Staged) -> Result<Option<Table>, LakeError> {
        match staged.files.is_empty() {
            true => self.lake.find(&self.settings.table).await,
            false => self.lake.load(&self.settings.table).await.map(Some),
        }
    }

    /// Publishes the ledger. The batch is durable by then: where that fails, the next batch publishes, and
    /// until then the snapshots of bronze say what was ingested (I3).
    async fn publish(&self, bronze: &Table, recorded: &[DataFile]) {
        if let Err(error) = self.ledger.publish(bronze, recorded).await {
            let (table, error) = (&self.settings.table, crate::error::chain(&error));
            tracing::warn!(%table, error, "the ledger was not published; the next batch publishes it");
        }
    }

    /// The batch's files, for a commit to take.
    fn taken(&self, staged: &mut Staged) -> Uncommitted {
        std::mem::replace(&mut staged.files, Uncommitted::nothing(&self.lake))
    }

    /// Of the batch on a state of the table, with the rows of it that go.
    fn properties(
        &self,
        batch_id: &BatchId,
        staged: &Staged,
        ledger_file: Option<&FileRef>,
        (base, old): (&Table, &Superseded),
    ) -> Result<CommitProperties, LakeError> {
        let mut own = properties::of_pipeline(&self.settings.pipeline);
        own.insert(BATCH.to_owned(), batch_id.to_string());
        own.insert(OBJECTS.to_owned(), staged.ingested.len().to_string());
        if let Some(attached) = &staged.attached {
            own.insert(DELIVERY.to_owned(), attached.folder.clone());
        }
        if let Some(file) = ledger_file {
            let named = serde_json::to_string(file).map_err(|e| LakeError::Property {
                table: self.settings.table.clone(),
                what: e.to_string(),
            })?;
            own.insert(ledger::FILE.to_owned(), named);
        }
        let mut properties = CommitProperties::of_both(Layer::Bronze, own);
        let tip = base.current();
        let counts = tip.as_ref().is_some_and(|tip| tip.summary.contains_key(LIVE_ROWS));
        if counts || !old.is_empty() {
            let added = staged.ingested.iter().map(|row| row.rows).sum();
            properties.summary.extend(properties::live_rows(tip.as_ref(), added, old.rows));
        }
        if !old.is_empty() {
            let at = base.last_sequence().next().to_string();
            properties.summary.insert(SUPERSEDED.to_owned(), old.versions.to_string());
            properties.table.insert(LAST_SUPERSEDED.to_owned(), at);
        }
        Ok(properties)
    }

    /// Takes objects out of the batch that another worker has ingested meanwhile. Only the files
    /// that may hold their rows are written again.
    async fn drop_known(
        &self,
        base: &Table,
        staged: &mut Staged,
        known: &HashSet<ObjectId>,
    ) -> Result<(), BronzeError> {
        if known.is_empty() {
            return Ok(());
        }
        staged.ingested.retain(|row| !known.contains(&row.id));
        let versions = Versions::of(known);
        let stays = |rows: &RecordBatch| versions.others(rows);
        let (columns, bounds) = (Origins::COLUMNS, OWN_BOUNDS.map(str::to_owned));
        let staying = Staying { columns: &columns, stays: &stays, bounds: &bounds };
        for contents in std::mem::take(&mut staged.contents) {
            if contents.objects.is_disjoint(known) {
                staged.contents.push(contents);
                continue;
            }
            let Some(old) = staged.files.take(&contents.path) else { continue };
            let kept = contents.objects.difference(known).cloned().collect();
            let (files, rewritten) =
                self.rest(base, &old, (contents.schema, kept), &staying).await?;
            staged.files.extend(files);
            staged.contents.extend(rewritten);
            old.discard().await;
        }
        Ok(())
    }

    /// The rows that stay of one of the batch's files, in new files: of its schema, with these objects.
    async fn rest(
        &self,
        base: &Table,
        old: &Uncommitted,
        (schema, objects): (TableSchema, HashSet<ObjectId>),
        staying: &Staying<'_>,
    ) -> Result<(Uncommitted, Vec<FileContents>), LakeError> {
        let (Some(file), false) = (old.files().first(), objects.is_empty()) else {
            return Ok((Uncommitted::nothing(&self.lake), vec![]));
        };
        let task = FileTask::whole(file, &schema);
        let files = self.lake.rest_of(base, &schema, &task, staying).await?;
        let objects = Arc::new(objects);
        let contents = files.files().iter().map(|file| FileContents {
            path: file.file_path().to_owned(),
            schema: schema.clone(),
            objects: objects.clone(),
        });
        let contents = contents.collect();
        Ok((files, contents))
    }
}

enum Appended {
    Snapshot(SnapshotId),
    Nothing,
    SchemaMoved,
    Overtaken,
}

/// The schema that the commit has to bring: `Some(None)` for none; `None` when the files do not
/// fit the table as it is now, whatever is brought.
fn schema_change(staged: &Staged, base: &Table) -> Option<Option<TableSchema>> {
    let (Some(before), Some(schema)) = (&staged.base, &staged.schema) else { return Some(None) };
    if schema.fits_into(base.schema()) {
        return Some(None);
    }
    // This batch adds columns: their ids are free only if no other commit has assigned any since.
    let unmoved = base.uuid() == before.uuid()
        && before.schema().fits_into(base.schema())
        && base.last_column_id() == before.last_column_id()
        && base.schema().fits_into(schema);
    unmoved.then(|| Some(schema.clone()))
}
