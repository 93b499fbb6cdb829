//! Gathering: what became of each object of a batch, and its rows in shared files.

use std::collections::{HashMap, HashSet};

use super::stage::{Held, OWN_BOUNDS, Parsed, Staged, StagedFile};
use super::{Bronze, BronzeError, Fate, OnMissing};
use crate::format::CsvError;
use crate::lake::write::data::DataWriter;
use crate::lake::{Table, TableSchema};
use crate::ledger::{CHANGED, ObjectOutcome, ObjectRow, UNREADABLE, View};
use crate::source::{ObjectId, RawObject, ReadError, Requested};

/// Why an object of a batch goes no further.
pub(super) enum End {
    /// The ledger has it as ingested.
    Known(ObjectId),
    /// The batch has it already.
    Twice(ObjectId),
    /// It is gone. Whether it had been ingested before is looked up for all of them at once.
    Missing { wanted: Requested, error: String },
    /// It cannot be taken in, on its own account.
    Failed(Failed),
    /// It could not be read now, and nothing is said about it.
    Postponed { id: ObjectId, error: String },
}

/// An object that cannot be taken in, on its own account.
pub(super) struct Failed {
    id: ObjectId,
    size: Option<u64>,
    outcome: ObjectOutcome,
    reason: &'static str,
    error: String,
}

impl End {
    /// What an error of the raw store means for one object.
    pub(super) fn of(id: ObjectId, size: Option<u64>, error: ReadError) -> Self {
        let text = crate::error::chain(&error);
        let (outcome, reason) = match error {
            ReadError::Trouble { .. } => return Self::Postponed { id, error: text },
            ReadError::Missing(_) => (ObjectOutcome::Missing, "missing"),
            ReadError::Changed(_) => (ObjectOutcome::Missing, CHANGED),
            ReadError::Unreadable { .. } => (ObjectOutcome::Rejected, UNREADABLE),
        };
        Self::Failed(Failed { id, size, outcome, reason, error: text })
    }

    /// What an error of the parser means; one of the raw store may be inside.
    pub(super) fn unread(object: RawObject, error: CsvError) -> Self {
        let (id, size) = (object.id, Some(object.size));
        let error = match error {
            CsvError::Read(error) => match error.downcast::<ReadError>() {
                Ok(error) => return Self::of(id, size, error),
                Err(error) => CsvError::Read(error),
            },
            error => error,
        };
        let (outcome, reason) = (ObjectOutcome::Rejected, error.reason());
        let error = format!("{}: {}", id.uri, crate::error::chain(&error));
        Self::Failed(Failed { id, size, outcome, reason, error })
    }

    pub(super) fn panicked(object: RawObject, panic: &tokio::task::JoinError) -> Self {
        let error = format!("{}: reading it failed inside silversmith: {panic}", object.id.uri);
        let (id, size) = (object.id, Some(object.size));
        Self::Failed(Failed { id, size, outcome: ObjectOutcome::Rejected, reason: "defect", error })
    }
}

/// Collects parsed objects into shared files.
pub(super) struct Gathering<'a> {
    bronze: &'a Bronze,
    batch_id: &'a str,
    shared: Option<(DataWriter, TableSchema, HashSet<ObjectId>)>,
    files: Vec<StagedFile>,
    ingested: Vec<ObjectRow>,
    /// For each object of the batch, in its order: under which identity it is dealt with.
    order: Vec<ObjectId>,
    fates: HashMap<ObjectId, Fate>,
    /// The objects that are gone, and their place in the order.
    missing: Vec<(usize, Requested, String)>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(bronze: &'a Bronze, batch_id: &'a str) -> Self {
        Self {
            bronze,
            batch_id,
            shared: None,
            files: vec![],
            ingested: vec![],
            order: vec![],
            fates: HashMap::new(),
            missing: vec![],
        }
    }

    pub(super) async fn ingest(&mut self, parsed: Parsed) -> Result<(), BronzeError> {
        let id = parsed.object.id.clone();
        match (parsed.held, parsed.place) {
            (Held::Files(files), Some((_, schema))) => {
                self.files.extend(files.into_iter().map(|file| StagedFile {
                    file,
                    schema: schema.clone(),
                    objects: HashSet::from([id.clone()]),
                }));
            }
            (Held::Memory(batches), Some((table, schema))) => {
                // Files are written under one schema: a column more means another file.
                let grown = self.shared.as_ref().is_some_and(|(_, s, _)| !schema.fits_into(s));
                if grown {
                    self.close_shared().await?;
                }
                if self.shared.is_none() {
                    let writer = DataWriter::new(&self.bronze.lake, &table, &schema)?;
                    let writer = writer.with_bounds_on(&OWN_BOUNDS.map(str::to_owned));
                    self.shared = Some((writer, schema.clone(), HashSet::new()));
                }
                let Some((writer, _, objects)) = &mut self.shared else { return Ok(()) };
                for batch in &batches {
                    writer.write(batch).await?;
                }
                if parsed.rows > 0 {
                    objects.insert(id);
                }
            }
            _ => {}
        }
        self.order.push(parsed.object.id.clone());
        self.fates.insert(parsed.object.id.clone(), Fate::Ingested);
        self.ingested.push(ObjectRow {
            id: parsed.object.id,
            size: Some(parsed.object.size),
            outcome: ObjectOutcome::Ingested,
            reason: None,
            error: None,
            rows: parsed.rows,
            rescued: Some(parsed.rescued),
            batch: self.batch_id.to_owned(),
            finished_at: self.bronze.lake.ambient().now(),
        });
        Ok(())
    }

    pub(super) fn end(&mut self, end: End) {
        match end {
            End::Known(id) => {
                self.order.push(id.clone());
                self.fates.insert(id, Fate::Known);
            }
            End::Twice(id) => self.order.push(id),
            End::Failed(failed) => {
                self.order.push(failed.id.clone());
                self.note(failed);
            }
            End::Postponed { id, error } => {
                self.order.push(id.clone());
                self.fates.insert(id, Fate::Postponed { error });
            }
            End::Missing { wanted, error } => {
                let id = wanted.presumed(self.bronze.lake.ambient().now());
                self.missing.push((self.order.len(), wanted, error));
                self.order.push(id);
            }
        }
    }

    /// An object that is gone was dealt with if its version had been ingested before (its message came
    /// again, and the object was deleted since); else it is missing.
    pub(super) async fn settle_missing(&mut self, view: &View) -> Result<(), BronzeError> {
        let missing = std::mem::take(&mut self.missing);
        let version = |id: &ObjectId| (id.uri.clone(), id.version.clone());
        let wanted: Vec<_> = missing.iter().map(|(place, ..)| self.order[*place].clone()).collect();
        let ingested = view.ingested_once(&wanted).await?;
        for (place, wanted, error) in missing {
            let id = self.order[place].clone();
            if ingested.contains(&version(&id)) {
                self.fates.insert(id, Fate::Known);
                continue;
            }
            let outcome = match self.bronze.settings.on_missing {
                OnMissing::DeadLetter => ObjectOutcome::Missing,
                OnMissing::Skip => ObjectOutcome::Skipped,
            };
            let size = Some(wanted.size());
            self.note(Failed { id, size, outcome, reason: "missing", error });
        }
        Ok(())
    }

    fn note(&mut self, failed: Failed) {
        tracing::warn!(
            batch = self.batch_id,
            uri = failed.id.uri,
            reason = failed.reason,
            "object not ingested"
        );
        let row = ObjectRow {
            id: failed.id.clone(),
            size: failed.size,
            outcome: failed.outcome,
            reason: Some(failed.reason),
            error: Some(failed.error),
            rows: 0,
            rescued: Some(0),
            batch: self.batch_id.to_owned(),
            finished_at: self.bronze.lake.ambient().now(),
        };
        self.fates.insert(failed.id, Fate::Failed(Box::new(row)));
    }

    async fn close_shared(&mut self) -> Result<(), BronzeError> {
        if let Some((writer, schema, objects)) = self.shared.take() {
            for file in writer.close().await? {
                let objects = objects.clone();
                self.files.push(StagedFile { file, schema: schema.clone(), objects });
            }
        }
        Ok(())
    }

    pub(super) async fn finish(
        mut self,
        base: Option<Table>,
        schema: Option<TableSchema>,
    ) -> Result<Staged, BronzeError> {
        self.close_shared().await?;
        let Self { files, ingested, order, fates, .. } = self;
        let failed = fates.values().filter_map(Fate::failed).cloned().collect();
        let fates = order.iter().map(|id| fates.get(id).cloned().unwrap_or(Fate::Known)).collect();
        Ok(Staged { base, schema, files, ingested, failed, fates })
    }

    pub(super) async fn abandon(mut self) {
        if let Some((writer, _, _)) = self.shared.take() {
            writer.abandon().await;
        }
        let paths = self.files.iter().map(|f| f.file.file_path().to_owned());
        self.bronze.lake.discard(paths.collect()).await;
    }
}
