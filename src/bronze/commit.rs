//! The bronze commit: the one point at which a batch becomes part of the table (I3), checked
//! against the ledger on exactly the state that it commits to (I2).

use std::collections::HashSet;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use futures::TryStreamExt;

use super::stage::{OWN_BOUNDS, Staged, StagedFile};
use super::{Bronze, BronzeError, Fate};
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::{DataWriter, FileRef};
use crate::lake::{Change, Facts, LakeError, Outcome, Table, TableSchema, properties};
use crate::ledger::ObjectOutcome;
use crate::source::ObjectId;

/// How the commit of a batch ended.
pub(super) enum Committed {
    /// All outcomes of the batch are durable.
    Done(Done),
    /// The table's schema changed in a way that the files do not fit: nothing was committed, and
    /// nothing is left behind.
    SchemaMoved,
}

/// What a batch brought.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) snapshot: Option<i64>,
    pub(super) ingested: usize,
    pub(super) failed: usize,
    pub(super) rows: u64,
    pub(super) rescued: u64,
    /// What became of each object of the batch, in its order.
    pub(super) fates: Vec<Fate>,
}

impl Bronze {
    pub(super) async fn commit(
        &self,
        batch_id: &str,
        mut staged: Staged,
    ) -> Result<Committed, BronzeError> {
        let mut done = Done { failed: staged.failed.len(), ..Done::default() };
        if !staged.files.is_empty() {
            match self.append(batch_id, &mut staged).await? {
                Appended::Snapshot(snapshot) => done.snapshot = Some(snapshot),
                Appended::Nothing => {}
                Appended::SchemaMoved => return Ok(Committed::SchemaMoved),
            }
        }
        done.ingested = staged.ingested.len();
        done.rows = staged.ingested.iter().map(|row| row.rows).sum();
        done.rescued = staged.ingested.iter().filter_map(|row| row.rescued).sum();
        // Outcomes that no bronze commit carries.
        let mut rest = staged.failed;
        if done.snapshot.is_none() {
            rest.append(&mut staged.ingested);
        }
        self.ledger.record(&rest).await?;
        done.fates = staged.fates;
        Ok(Committed::Done(done))
    }

    async fn append(&self, batch_id: &str, staged: &mut Staged) -> Result<Appended, BronzeError> {
        let objects = self.ledger.open().await?;
        let ids: HashSet<ObjectId> = staged.ingested.iter().map(|row| row.id.clone()).collect();
        let mut base = self.lake.load(&self.settings.table).await?;
        loop {
            let schema = match schema_change(staged, &base) {
                Some(change) => change,
                None => {
                    self.drop_files(&staged.files).await;
                    return Ok(Appended::SchemaMoved);
                }
            };
            let mut known = self.ledger.known(Some(&base), &ids).await?;
            known.retain(|_, attempt| attempt.outcome == ObjectOutcome::Ingested);
            let known: HashSet<ObjectId> = known.into_keys().collect();
            self.drop_known(staged, &known).await?;
            if staged.files.is_empty() {
                return Ok(Appended::Nothing);
            }
            let ledger_files = self.ledger.write(&objects, &staged.ingested).await?;
            let named: Vec<FileRef> = ledger_files.into_iter().map(|(_, named)| named).collect();
            let change = self.change(batch_id, staged, &named, schema)?;
            match self.lake.commit(&base, &change).await {
                Ok(Outcome::Committed(table)) => {
                    self.ledger.publish(&table).await?;
                    return Ok(Appended::Snapshot(committed_as(&table, batch_id)));
                }
                Ok(Outcome::Conflict(newer)) => {
                    self.lake.discard(named.into_iter().map(|f| f.path).collect()).await;
                    base = newer;
                }
                // What may have been committed is not deleted (I6).
                Err(error @ LakeError::Unknown { .. }) => return Err(error.into()),
                Err(error) => {
                    self.lake.discard(named.into_iter().map(|f| f.path).collect()).await;
                    self.drop_files(&staged.files).await;
                    return Err(error.into());
                }
            }
        }
    }

    fn change(
        &self,
        batch_id: &str,
        staged: &Staged,
        ledger_files: &[FileRef],
        schema: Option<TableSchema>,
    ) -> Result<Change, LakeError> {
        let named = serde_json::to_string(ledger_files).map_err(|e| LakeError::Mark {
            table: self.settings.table.clone(),
            what: e.to_string(),
        })?;
        let mut facts: Facts = properties::marks(&self.settings.pipeline);
        facts.insert(properties::BATCH.to_owned(), batch_id.to_owned());
        facts.insert(properties::OBJECTS.to_owned(), staged.ingested.len().to_string());
        facts.insert(properties::LEDGER.to_owned(), named);
        Ok(Change {
            add: staged.files.iter().map(|f| f.file.clone()).collect(),
            schema,
            property_marks: facts.clone(),
            marks: facts,
            ..Change::default()
        })
    }

    /// Takes objects out of the batch that somebody else has ingested meanwhile. Only the files
    /// that hold their rows are written again.
    async fn drop_known(
        &self,
        staged: &mut Staged,
        known: &HashSet<ObjectId>,
    ) -> Result<(), BronzeError> {
        if known.is_empty() {
            return Ok(());
        }
        staged.ingested.retain(|row| !known.contains(&row.id));
        for file in std::mem::take(&mut staged.files) {
            if file.objects.is_disjoint(known) {
                staged.files.push(file);
                continue;
            }
            let path = file.file.file_path().to_owned();
            staged.files.extend(self.without(file, known).await?);
            self.lake.discard(vec![path]).await;
        }
        Ok(())
    }

    async fn without(
        &self,
        file: StagedFile,
        known: &HashSet<ObjectId>,
    ) -> Result<Vec<StagedFile>, BronzeError> {
        let kept: HashSet<ObjectId> = file.objects.difference(known).cloned().collect();
        if kept.is_empty() {
            return Ok(vec![]);
        }
        let table = self.lake.load(&self.settings.table).await?;
        let columns: Vec<String> =
            file.schema.arrow().fields().iter().map(|f| f.name().clone()).collect();
        let task = FileTask::whole(&file.file, &file.schema);
        let mut rows = self.lake.read_file(&table, &file.schema, &task, &columns)?;
        let writer = DataWriter::new(&self.lake, &table, &file.schema)?;
        let mut writer = writer.with_bounds_on(&OWN_BOUNDS.map(str::to_owned));
        while let Some(batch) = rows.try_next().await? {
            let (Some(uri), Some(version), Some(time)) = (
                batch.column_by_name("_source_uri"),
                batch.column_by_name("_source_version"),
                batch.column_by_name("_event_time"),
            ) else {
                continue;
            };
            let (uri, version) = (uri.as_string::<i32>(), version.as_string::<i32>());
            let time = time.as_primitive::<TimestampMicrosecondType>();
            let keep: BooleanArray = (0..batch.num_rows())
                .map(|row| {
                    let seconds = time.value(row).div_euclid(1_000_000);
                    Some(!known.iter().any(|id| {
                        id.last_modified.timestamp() == seconds
                            && id.uri == uri.value(row)
                            && id.version == version.value(row)
                    }))
                })
                .collect();
            let batch = filter_record_batch(&batch, &keep).map_err(|source| LakeError::Arrow {
                table: self.settings.table.clone(),
                doing: "dropping known rows",
                source,
            })?;
            writer.write(&batch).await?;
        }
        let schema = file.schema;
        let files = writer.close().await?.into_iter().map(|file| StagedFile {
            file,
            schema: schema.clone(),
            objects: kept.clone(),
        });
        Ok(files.collect())
    }

    async fn drop_files(&self, files: &[StagedFile]) {
        self.lake.discard(files.iter().map(|f| f.file.file_path().to_owned()).collect()).await;
    }
}

enum Appended {
    Snapshot(i64),
    Nothing,
    SchemaMoved,
}

/// The schema that the commit has to bring: `Some(None)` for none; `None` when the files do not
/// fit the table as it is now, whatever is brought.
fn schema_change(staged: &Staged, base: &Table) -> Option<Option<TableSchema>> {
    let (Some(before), Some(schema)) = (&staged.base, &staged.schema) else { return Some(None) };
    if schema.fits_into(base.schema()) {
        return Some(None);
    }
    // Ours adds columns: their ids are free only if nobody has assigned any since.
    let unmoved = base.uuid() == before.uuid()
        && before.schema().fits_into(base.schema())
        && base.last_column_id() == before.last_column_id()
        && base.schema().fits_into(schema);
    unmoved.then(|| Some(schema.clone()))
}

fn committed_as(table: &Table, batch_id: &str) -> i64 {
    let is_ours = |s: &&crate::lake::Snapshot| {
        s.summary.get(properties::BATCH).is_some_and(|b| b == batch_id)
    };
    let snapshots = table.snapshots();
    snapshots.iter().find(is_ours).map_or(0, |s| s.id)
}
