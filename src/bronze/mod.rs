//! Bronze: raw objects → rows, appended once and for good (I2).
//!
//! `stage` reads a batch into data files; `commit` makes it part of the table, checked against the
//! ledger on exactly the state that it commits to; then the ledger is published and the checkpoint
//! follows. A crash between any two of these leaves a state from which the next run goes on.

mod commit;
mod gather;
mod listing;
mod stage;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};
use tracing::Instrument;

use crate::batch::BatchLimits;
use crate::checkpoint::{self, BronzeCheckpoint, CheckpointError, CheckpointStore, FORMAT_VERSION};
use crate::error::Kind;
use crate::format::layout::SchemaChange;
use crate::format::{Dialect, Limits};
use crate::lake::{Lake, LakeError, TableName};
use crate::ledger::{Ledger, ObjectRow};
use crate::source::{RawStore, ReadError, Requested};
use crate::telemetry::metrics;

/// What a pipeline says about its bronze table.
#[derive(Debug, Clone)]
pub struct BronzeSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The bronze table.
    pub table: TableName,
    /// Which objects are its.
    pub source: globset::GlobSet,
    /// The glob as it was written.
    pub glob: String,
    /// What the URIs of all of them begin with.
    pub root: String,
    /// What becomes of an object that is gone.
    pub on_missing: OnMissing,
    /// How its CSV is written.
    pub dialect: Dialect,
    /// Declared types, by column name.
    pub declared: BTreeMap<String, DataType>,
    /// What to do about columns that come and go.
    pub schema_change: SchemaChange,
    /// When a batch closes.
    pub batch: BatchLimits,
    /// Bounds on what a file may ask for.
    pub limits: Limits,
    /// Objects read at a time.
    pub read_concurrency: usize,
    /// Rows of an object are held in memory up to this many bytes; a larger one gets files of its own.
    pub buffer_bytes: usize,
    /// Object versions of which the ledger's word is kept in memory.
    pub ledger_memory: usize,
}

/// What becomes of an object that an event announced and that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// It is told to somebody.
    DeadLetter,
    /// It is passed over, as where objects are meant to be deleted.
    Skip,
}

/// What became of an object of a batch, once the batch is committed: durable, unless it was postponed.
#[derive(Debug, Clone)]
pub enum Fate {
    /// Its rows are in bronze.
    Ingested,
    /// They had been before.
    Known,
    /// It was not taken in, and the ledger says why.
    Failed(Box<ObjectRow>),
    /// It could not be read now, and the ledger says nothing.
    Postponed {
        /// Why.
        error: String,
    },
}

impl Fate {
    /// The ledger's row of an object that was not taken in.
    pub fn failed(&self) -> Option<&ObjectRow> {
        match self {
            Self::Failed(row) => Some(row),
            _ => None,
        }
    }
}

/// A batch that was taken in.
#[derive(Debug, Clone)]
pub struct IngestedBatch {
    /// What was done.
    pub report: BronzeReport,
    /// What became of each object, in the order of the batch.
    pub fates: Vec<Fate>,
}

/// Trouble that concerns more than one object.
#[derive(Debug, thiserror::Error)]
pub enum BronzeError {
    /// A table.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The raw store.
    #[error(transparent)]
    Source(#[from] ReadError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Some objects could not be read; the others are in.
    #[error(
        "{count} of {listed} listed objects could not be read now, the others are taken in; the first: {error}"
    )]
    Postponed {
        /// How many.
        count: usize,
        /// Of how many.
        listed: usize,
        /// What was wrong with the first.
        error: String,
    },
}

impl BronzeError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Source(_) | Self::Postponed { .. } => Kind::Look,
            Self::Checkpoint(error) => error.kind(),
        }
    }
}

/// What a step did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BronzeReport {
    /// Objects that were listed and match the pipeline.
    pub listed: usize,
    /// Of these, known before: nothing was done about them.
    pub known: usize,
    /// Objects whose rows are in bronze now.
    pub ingested: usize,
    /// Objects that were rejected or gone.
    pub failed: usize,
    /// Rows appended.
    pub rows: u64,
    /// Of these, with something rescued.
    pub rescued: u64,
    /// Objects that could not be read now; the next listing tries again.
    pub postponed: usize,
    /// Bytes of the objects that were ingested, as they are stored.
    pub bytes: u64,
    /// The snapshots that were committed.
    pub snapshots: Vec<i64>,
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
        let ledger = Ledger::new(lake, &settings.pipeline, &settings.table, settings.ledger_memory);
        Self { lake: lake.clone(), source, checkpoints, ledger, settings }
    }

    /// The pipeline's ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Makes the objects table and publishes what a crash has left unpublished.
    pub async fn prepare(&self) -> Result<(), BronzeError> {
        self.ledger.open().await?;
        if let Some(bronze) = self.lake.find(&self.settings.table).await? {
            self.ledger.publish(&bronze).await?;
        }
        Ok(())
    }

    /// Takes in one batch of objects, whatever brought them up. When this returns, every fate but a
    /// postponement is durable. After an error nothing is known about any; taking the batch in again
    /// is harmless (I2).
    pub async fn ingest(&self, batch: &[Requested]) -> Result<IngestedBatch, BronzeError> {
        let id = self.lake.ambient().uuid().to_string();
        let (pipeline, objects) = (self.settings.pipeline.as_str(), batch.len());
        let span = tracing::info_span!("batch", pipeline, batch = %id, objects);
        let taken = self.ingest_as(&id, batch).instrument(span).await?;
        self.measure(batch, &taken);
        Ok(taken)
    }

    async fn ingest_as(&self, id: &str, batch: &[Requested]) -> Result<IngestedBatch, BronzeError> {
        let began = self.lake.ambient().now();
        let announced: u64 = batch.iter().map(Requested::size).sum();
        tracing::debug!(batch = id, table = %self.settings.table, objects = batch.len(), bytes = announced, "reading a batch");
        loop {
            let staged = self.stage(id, batch).await?;
            let read = self.lake.ambient().now();
            let bytes = staged.ingested.iter().filter_map(|row| row.size).sum();
            let done = match self.commit(id, staged).await? {
                commit::Committed::Done(done) => done,
                commit::Committed::SchemaMoved => {
                    tracing::info!(batch = id, table = %self.settings.table,
                        "the table's schema changed meanwhile; reading the batch again under it");
                    continue;
                }
            };
            let count = |which: fn(&Fate) -> bool| done.fates.iter().filter(|f| which(f)).count();
            let report = BronzeReport {
                listed: batch.len(),
                known: batch.len()
                    - done.ingested
                    - count(|f| !matches!(f, Fate::Ingested | Fate::Known)),
                ingested: done.ingested,
                failed: done.failed,
                rows: done.rows,
                rescued: done.rescued,
                postponed: count(|f| matches!(f, Fate::Postponed { .. })),
                bytes,
                snapshots: done.snapshot.into_iter().collect(),
            };
            let now = self.lake.ambient().now();
            metrics::step(&self.settings.pipeline, metrics::Layer::Bronze, now - began);
            tracing::info!(
                pipeline = self.settings.pipeline, batch = id, table = %self.settings.table,
                snapshot = done.snapshot, objects = report.ingested, known = report.known,
                failed = report.failed, postponed = report.postponed, rows = report.rows,
                rescued = report.rescued, bytes, read_ms = (read - began).num_milliseconds(),
                commit_ms = (now - read).num_milliseconds(), "bronze committed"
            );
            return Ok(IngestedBatch { report, fates: done.fates });
        }
    }

    fn measure(&self, batch: &[Requested], taken: &IngestedBatch) {
        let (pipeline, now) = (self.settings.pipeline.as_str(), self.lake.ambient().now());
        for (wanted, fate) in batch.iter().zip(&taken.fates) {
            let outcome = match fate {
                Fate::Ingested => "ingested",
                Fate::Known => "duplicate",
                Fate::Failed(row) => row.outcome.as_str(),
                Fate::Postponed { .. } => "postponed",
            };
            metrics::objects(pipeline, outcome, 1);
            if let (Fate::Ingested, Some(written)) = (fate, wanted.last_modified()) {
                metrics::latency(pipeline, metrics::Layer::Bronze, now - written);
            }
        }
        metrics::rows(pipeline, metrics::Layer::Bronze, taken.report.rows);
        metrics::rescued(pipeline, taken.report.rescued);
    }

    /// Notes the newest object that an event brought (`<pipeline>/bronze.json`). The listings' floor
    /// stays where it is.
    pub async fn note_newest_event(&self, newest: DateTime<Utc>) -> Result<(), BronzeError> {
        self.save_checkpoint(|checkpoint| {
            checkpoint.newest_event = checkpoint.newest_event.max(Some(newest));
        })
        .await
    }

    /// Changes the checkpoint, and brings it up to the table.
    async fn save_checkpoint(
        &self,
        change: impl Fn(&mut BronzeCheckpoint) + Send + Sync,
    ) -> Result<(), BronzeError> {
        let tip = self.lake.find(&self.settings.table).await?.and_then(|t| t.current());
        let now = self.lake.ambient().now();
        let change = |stored: Option<BronzeCheckpoint>| {
            let mut new = stored.clone().unwrap_or_else(|| BronzeCheckpoint {
                format_version: FORMAT_VERSION,
                table: self.settings.table.to_string(),
                processed_through: None,
                snapshot_id: None,
                sequence_number: None,
                floor: None,
                newest_event: None,
                source: None,
                listing: None,
                replay: None,
                updated_at: now,
            });
            new.table = self.settings.table.to_string();
            new.snapshot_id = tip.as_ref().map(|s| s.id);
            new.sequence_number = tip.as_ref().map(|s| s.sequence);
            change(&mut new);
            let same = stored
                .is_some_and(|s| s == BronzeCheckpoint { updated_at: s.updated_at, ..new.clone() });
            new.updated_at = now;
            (!same).then_some(new)
        };
        checkpoint::update(&*self.checkpoints, &self.settings.pipeline, change).await?;
        Ok(())
    }
}

impl BronzeReport {
    /// Adds what a batch of the same step did; what is listed is counted by the listing.
    fn add(&mut self, batch: BronzeReport) {
        self.known += batch.known;
        self.ingested += batch.ingested;
        self.failed += batch.failed;
        self.rows += batch.rows;
        self.rescued += batch.rescued;
        self.postponed += batch.postponed;
        self.bytes += batch.bytes;
        self.snapshots.extend(batch.snapshots);
    }
}
