//! Gathering: how each object of a batch ended, and its rows in files that objects share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::outcome::ObjectEnd;
use super::provenance::OWN_BOUNDS;
use super::staged::{FileContents, Parsed, ParsedRows, Staged};
use super::{Bronze, BronzeError, OnMissing};
use crate::batch::BatchId;
use crate::lake::write::data::DataWriter;
use crate::lake::{LakeError, Table, TableSchema, Uncommitted};
use crate::ledger::{ObjectOutcome, ObjectRow, View};
use crate::reason::Reason;
use crate::source::ObjectId;

/// Collects parsed objects, and the ends of the others.
pub(super) struct Gathering<'a> {
    bronze: &'a Bronze,
    batch_id: &'a BatchId,
    shared: Option<SharedFile>,
    files: Uncommitted,
    contents: Vec<FileContents>,
    ingested: Vec<ObjectRow>,
    again: HashMap<ObjectId, DateTime<Utc>>,
    /// For each object of the batch, in its order: the identity of its end.
    order: Vec<ObjectId>,
    /// Sizes and ends.
    ends: HashMap<ObjectId, (Option<u64>, ObjectEnd)>,
}

/// Files being written, of the rows of several objects: one for each partition.
struct SharedFile {
    writer: DataWriter,
    schema: TableSchema,
    objects: HashSet<ObjectId>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(bronze: &'a Bronze, batch_id: &'a BatchId) -> Self {
        Self {
            bronze,
            batch_id,
            shared: None,
            files: Uncommitted::nothing(&bronze.lake),
            contents: vec![],
            ingested: vec![],
            again: HashMap::new(),
            order: vec![],
            ends: HashMap::new(),
        }
    }

    /// An object was read.
    pub(super) async fn ingest(&mut self, parsed: Parsed) -> Result<(), BronzeError> {
        let id = parsed.object.id.clone();
        match (parsed.rows, parsed.target) {
            (ParsedRows::Files(files), Some((_, schema))) => {
                self.keep(files, &schema, HashSet::from([id.clone()]));
            }
            (ParsedRows::Memory(batches), Some((table, schema))) => {
                let shared = self.shared(&table, &schema).await?;
                for batch in &batches {
                    shared.writer.write(batch).await?;
                }
                if parsed.count > 0 {
                    shared.objects.insert(id.clone());
                }
            }
            // No rows.
            (_, None) => {}
        }
        let mut finished_at = self.bronze.lake.ambient().now();
        if let Some(again) = parsed.asked.again {
            // SUBTLE: after the request by any clock, or the request would replace this once more.
            let after = again.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(again);
            finished_at = finished_at.max(after);
            self.again.insert(id.clone(), again);
        }
        self.ingested.push(ObjectRow {
            id: id.clone(),
            size: Some(parsed.object.size),
            outcome: ObjectOutcome::Ingested,
            reason: None,
            error: None,
            rows: parsed.count,
            rescued: Some(parsed.rescued),
            batch: self.batch_id.clone(),
            finished_at,
        });
        self.end(id, Some(parsed.object.size), ObjectEnd::Ingested);
        Ok(())
    }

    /// An object goes no further. Two requests for one object version may end differently; what is in
    /// bronze stays so.
    pub(super) fn end(&mut self, id: ObjectId, size: Option<u64>, end: ObjectEnd) {
        self.order.push(id.clone());
        let is_in_bronze = self.ends.get(&id).is_some_and(|(_, before)| before.is_in_bronze());
        if !is_in_bronze {
            self.ends.insert(id, (size, end));
        }
    }

    /// The batch has the object version already.
    pub(super) fn repeated(&mut self, id: ObjectId) {
        self.order.push(id);
    }

    /// A missing object that was ingested in that version before is known: its message came again, and
    /// the object was deleted since.
    pub(super) async fn settle_missing(&mut self, view: &View) -> Result<(), BronzeError> {
        let missing: Vec<ObjectId> = self
            .ends
            .iter()
            .filter(|(_, (_, end))| {
                matches!(end, ObjectEnd::Failed { reason: Reason::Missing, .. })
            })
            .map(|(id, _)| id.clone())
            .collect();
        let ingested = view.ingested_once(&missing).await?;
        for id in missing {
            let Some((_, end)) = self.ends.get_mut(&id) else { continue };
            if ingested.contains(&(id.uri, id.version)) {
                *end = ObjectEnd::Known;
            } else if let ObjectEnd::Failed { outcome, .. } = end
                && self.bronze.settings.on_missing == OnMissing::Skip
            {
                *outcome = ObjectOutcome::Skipped;
            }
        }
        Ok(())
    }

    /// The files that objects of this schema share. A file is written under one schema: a column more
    /// means another file.
    async fn shared(
        &mut self,
        table: &Table,
        schema: &TableSchema,
    ) -> Result<&mut SharedFile, LakeError> {
        if self.shared.as_ref().is_some_and(|shared| !schema.fits_into(&shared.schema)) {
            self.close_shared().await?;
        }
        match &mut self.shared {
            Some(shared) => Ok(shared),
            none => {
                let writer = DataWriter::new(&self.bronze.lake, table, schema)?;
                let writer = writer.with_bounds_on(&OWN_BOUNDS.map(str::to_owned));
                let (schema, objects) = (schema.clone(), HashSet::new());
                Ok(none.insert(SharedFile { writer, schema, objects }))
            }
        }
    }

    async fn close_shared(&mut self) -> Result<(), LakeError> {
        if let Some(SharedFile { writer, schema, objects }) = self.shared.take() {
            let files = writer.close().await?;
            self.keep(files, &schema, objects);
        }
        Ok(())
    }

    fn keep(&mut self, files: Uncommitted, schema: &TableSchema, objects: HashSet<ObjectId>) {
        let objects = Arc::new(objects);
        self.contents.extend(files.files().iter().map(|file| FileContents {
            path: file.file_path().to_owned(),
            schema: schema.clone(),
            objects: objects.clone(),
        }));
        self.files.extend(files);
    }

    /// The batch, read: with the table's state and the schema that its files need.
    pub(super) async fn finish(
        mut self,
        base: Option<Table>,
        schema: Option<TableSchema>,
    ) -> Result<Staged, BronzeError> {
        self.close_shared().await?;
        let failed = self.failed();
        let Self { files, contents, ingested, again, order, ends, .. } = self;
        let end = |id| match ends.get(id) {
            Some((_, end)) => end.clone(),
            // Nothing may be claimed about it.
            None => ObjectEnd::Postponed { error: format!("{id} was not read") },
        };
        let ends = order.iter().map(end).collect();
        Ok(Staged { base, schema, files, contents, ingested, failed, again, ends, attached: None })
    }

    /// The ledger's rows of the objects that were not ingested, in the order of the batch.
    fn failed(&self) -> Vec<ObjectRow> {
        let (mut seen, finished_at) = (HashSet::new(), self.bronze.lake.ambient().now());
        let first = self.order.iter().filter(|id| seen.insert(*id));
        first
            .filter_map(|id| {
                let (size, end) = self.ends.get(id)?;
                let ObjectEnd::Failed { outcome, reason, error } = end else { return None };
                tracing::warn!(batch = %self.batch_id, uri = id.uri, %reason, "object not ingested");
                Some(ObjectRow {
                    id: id.clone(),
                    size: *size,
                    outcome: *outcome,
                    reason: Some(*reason),
                    error: Some(error.clone()),
                    rows: 0,
                    rescued: Some(0),
                    batch: self.batch_id.clone(),
                    finished_at,
                })
            })
            .collect()
    }

    /// Deletes what was written.
    pub(super) async fn abandon(self) {
        self.files.discard().await;
    }
}
