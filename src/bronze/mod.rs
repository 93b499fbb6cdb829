//! Bronze: raw objects → rows, appended once and for good (I2).
//!
//! - `listing.rs`: which objects are new
//! - `read.rs`, `growing.rs`, `gather.rs`: a batch of objects → `staged.rs`, data files that no commit
//!   names yet, and how each object ended (`outcome.rs`); `windows.rs`: what unpacking may hold meanwhile
//! - `commit.rs`: the files become part of the table, checked against the ledger on exactly the state
//!   that the commit is based on; then the ledger is published
//! - `again.rs`: objects that were ingested are read again; `superseded.rs`: the rows of before, which go in the same
//!   commit
//! - `deliveries/`: where the objects of a folder belong together, when they are complete
//! - `provenance.rs`: silversmith's own columns; `checkpoint.rs`: the JSON that follows
//!
//! A crash between any two steps leaves a state from which the next run goes on.

mod again;
mod checkpoint;
mod commit;
pub mod deliveries;
mod error;
mod gather;
mod growing;
mod listing;
mod outcome;
mod provenance;
mod read;
mod report;
mod staged;
mod superseded;
mod windows;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::Instrument;

use crate::batch::{BatchId, BatchLimits};
use crate::checkpoint::CheckpointStore;
use crate::format::feed::Feed;
use crate::format::{FormatSettings, Limits};
use crate::lake::{Lake, PartitionField, TableName};
use crate::ledger::{IndexSettings, Ledger};
use crate::source::{RawStore, Requested};
use crate::telemetry::metrics;

pub use checkpoint::{BronzeCheckpoint, ListingProgress, Replay};
pub use commit::{BATCH, OBJECTS};
use deliveries::{Deliveries, Delivery, Objection};
pub use error::BronzeError;
pub use outcome::ObjectEnd;
pub use provenance::{OWN_BOUNDS, with_own_columns};
pub use report::{BronzeReport, IngestedBatch, Unrequested};
use staged::ReadBatch;

/// What a pipeline says about its bronze table.
#[derive(Debug, Clone)]
pub struct BronzeSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The bronze table.
    pub table: TableName,
    /// Which objects the pipeline ingests.
    pub source: globset::GlobSet,
    /// The glob as it was written.
    pub glob: String,
    /// What the URIs of all of them begin with.
    pub root: String,
    /// What becomes of a missing object.
    pub on_missing: OnMissing,
    /// How its files are written.
    pub format: FormatSettings,
    /// What is said about its columns.
    pub feed: Feed,
    /// How many rows of an object may be rescued, in percent, before it is rejected; none: all, unless each has
    /// another shape than the header.
    pub max_rescued: Option<u8>,
    /// When a batch closes.
    pub batch: BatchLimits,
    /// Bounds on what one file may demand.
    pub limits: Limits,
    /// Objects read at a time.
    pub read_concurrency: usize,
    /// Rows of an object stay in memory up to this many bytes; a larger one gets files of its own.
    pub buffer_bytes: usize,
    /// Bytes for the windows of compressed objects that are read at a time.
    pub unpacking_bytes: usize,
    /// How much the ledger's index may know, and where.
    pub ledger: IndexSettings,
    /// Where the objects of a folder are one delivery: when it is complete.
    pub deliveries: Option<Deliveries>,
    /// How new files are partitioned; none: as the table says.
    pub partition_by: Option<Vec<PartitionField>>,
}

impl BronzeSettings {
    /// Whether an object is one that the pipeline ingests.
    pub fn is_data(&self, uri: &str) -> bool {
        self.source.is_match(uri) && !self.is_marker(uri)
    }

    /// Whether an object says something of a delivery.
    pub fn is_marker(&self, uri: &str) -> bool {
        self.deliveries.as_ref().is_some_and(|deliveries| deliveries.is_marker(uri))
    }
}

/// What becomes of an object that an event named and that does not exist any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// It becomes a dead letter.
    DeadLetter,
    /// It is passed over, as where objects are meant to be deleted.
    Skip,
}

/// One pipeline's way from the raw zone to bronze.
#[derive(Debug, Clone)]
pub struct Bronze {
    lake: Lake,
    source: Arc<dyn RawStore>,
    checkpoints: Arc<dyn CheckpointStore>,
    ledger: Ledger,
    settings: BronzeSettings,
}

impl Bronze {
    /// See [`Bronze`].
    pub fn new(
        lake: &Lake,
        source: Arc<dyn RawStore>,
        checkpoints: Arc<dyn CheckpointStore>,
        settings: BronzeSettings,
    ) -> Self {
        let ledger =
            Ledger::new(lake, &settings.pipeline, &settings.table, settings.ledger.clone());
        Self { lake: lake.clone(), source, checkpoints, ledger, settings }
    }

    /// The pipeline's ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Creates the objects table and publishes what a crash has left unpublished.
    pub async fn prepare(&self) -> Result<(), BronzeError> {
        match self.lake.find(&self.settings.table).await? {
            Some(bronze) => {
                self.lake.check_writable(&bronze)?;
                self.ledger.publish(&bronze, &[]).await.map(drop)?;
            }
            None => self.ledger.open().await.map(drop)?,
        }
        Ok(())
    }

    /// Ingests one batch of objects, from events or from a listing. When this returns, every end but a
    /// postponement is durable. After an error nothing is known about any object; ingesting the batch
    /// again is harmless (I2).
    pub async fn ingest(&self, batch: &[Requested]) -> Result<IngestedBatch, BronzeError> {
        match &self.settings.deliveries {
            Some(deliveries) => Box::pin(self.ingest_by_folder(deliveries, batch)).await,
            None => self.ingest_batch(batch).await,
        }
    }

    /// The same, whatever belongs together.
    async fn ingest_batch(&self, batch: &[Requested]) -> Result<IngestedBatch, BronzeError> {
        match Box::pin(self.ingest_one(batch, None)).await? {
            Ingested::Batch(ingested) => Ok(ingested),
            // Only a delivery has any.
            Ingested::Not(objection) => {
                let error = format!("it was not committed: {objection:?}");
                let ends = vec![ObjectEnd::Postponed { error }; batch.len()];
                let report = BronzeReport { postponed: batch.len(), ..BronzeReport::default() };
                Ok(IngestedBatch { report, ends, unrequested: vec![], released: 0 })
            }
        }
    }

    /// Ingests objects in one commit.
    async fn ingest_one(
        &self,
        batch: &[Requested],
        delivery: Option<&Delivery>,
    ) -> Result<Ingested, BronzeError> {
        let id = BatchId::new(self.lake.ambient().uuid().to_string());
        let (pipeline, objects) = (self.settings.pipeline.as_str(), batch.len());
        let span = tracing::info_span!("batch", pipeline, batch = %id, objects);
        let ingested = self.ingest_as(&id, batch, delivery).instrument(span).await?;
        if let Ingested::Batch(ingested) = &ingested {
            self.measure(batch, ingested);
        }
        Ok(ingested)
    }

    async fn ingest_as(
        &self,
        id: &BatchId,
        batch: &[Requested],
        delivery: Option<&Delivery>,
    ) -> Result<Ingested, BronzeError> {
        let began = self.lake.ambient().now();
        let requested: u64 = batch.iter().map(Requested::size).sum();
        tracing::debug!(batch = %id, table = %self.settings.table, objects = batch.len(), bytes = requested, "reading a batch");
        let mut columns = BTreeSet::new();
        loop {
            let mut staged = match self.read(id, batch, &columns).await? {
                ReadBatch::Staged(staged) => *staged,
                ReadBatch::Needs(more) => {
                    tracing::info!(batch = %id, table = %self.settings.table, columns = ?more,
                        "cells do not fit their types; reading the batch again with columns for them");
                    columns.extend(more);
                    continue;
                }
            };
            let read = self.lake.ambient().now();
            if let Some(delivery) = delivery {
                if let Some(objection) = delivery.objection(&staged) {
                    staged.files.discard().await;
                    return Ok(Ingested::Not(objection));
                }
                delivery.attach(&mut staged, id, read);
            }
            let bytes = staged.ingested.iter().filter_map(|row| row.size).sum();
            let done = match self.commit(id, staged).await? {
                commit::Committed::Done(done) => done,
                commit::Committed::SchemaMoved => {
                    tracing::info!(batch = %id, table = %self.settings.table,
                        "another writer changed the table's schema; reading the batch again");
                    continue;
                }
                commit::Committed::Overtaken => return Ok(Ingested::Not(Objection::Overtaken)),
            };
            let report = report(batch.len(), bytes, &done);
            let now = self.lake.ambient().now();
            metrics::step(&self.settings.pipeline, metrics::Layer::Bronze, now - began);
            tracing::info!(
                pipeline = self.settings.pipeline, batch = %id, table = %self.settings.table,
                snapshot = done.snapshot.map(|id| id.0), objects = report.ingested, known = report.known,
                failed = report.failed, postponed = report.postponed, rows = report.rows,
                rescued = report.rescued, bytes, read_ms = (read - began).num_milliseconds(),
                commit_ms = (now - read).num_milliseconds(), "bronze committed"
            );
            let (ends, unrequested, released) = (done.ends, vec![], 0);
            return Ok(Ingested::Batch(IngestedBatch { report, ends, unrequested, released }));
        }
    }

    fn measure(&self, batch: &[Requested], ingested: &IngestedBatch) {
        let (pipeline, now) = (self.settings.pipeline.as_str(), self.lake.ambient().now());
        for (requested, end) in batch.iter().zip(&ingested.ends) {
            metrics::objects(pipeline, end.as_str(), 1);
            if let (ObjectEnd::Ingested, Some(written)) = (end, requested.last_modified()) {
                metrics::latency(pipeline, metrics::Layer::Bronze, now - written);
            }
        }
        metrics::rows(pipeline, metrics::Layer::Bronze, ingested.report.rows);
        metrics::rescued(pipeline, ingested.report.rescued);
    }

    /// Notes the newest object that an event brought (`<pipeline>/bronze.json`). The low watermark of
    /// listings stays where it is.
    pub async fn note_newest_event(&self, newest: DateTime<Utc>) -> Result<(), BronzeError> {
        self.save_checkpoint(|checkpoint| {
            checkpoint.newest_event = checkpoint.newest_event.max(Some(newest));
        })
        .await
    }
}

/// How an attempt to ingest objects in one commit ended.
enum Ingested {
    /// They were.
    Batch(IngestedBatch),
    /// The delivery that they are was not committed.
    Not(Objection),
}

fn report(objects: usize, bytes: u64, done: &commit::Done) -> BronzeReport {
    let count = |which: fn(&ObjectEnd) -> bool| done.ends.iter().filter(|e| which(e)).count();
    BronzeReport {
        listed: objects,
        // What another worker ingested meanwhile is known, too.
        known: objects - done.ingested - count(|end| !end.is_in_bronze()),
        ingested: done.ingested,
        failed: done.failed,
        rows: done.rows,
        rescued: done.rescued,
        postponed: count(|end| matches!(end, ObjectEnd::Postponed { .. })),
        waiting: 0,
        bytes,
        snapshots: done.snapshot.into_iter().collect(),
    }
}
