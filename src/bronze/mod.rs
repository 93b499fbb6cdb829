//! Bronze: raw objects → rows, appended once and for good (I2).
//!
//! `stage` reads a batch into data files; `commit` makes it part of the table, checked against the
//! ledger on exactly the state that it commits to; then the ledger is published and the checkpoint
//! follows. A crash between any two of these leaves a state from which the next run goes on.

mod commit;
mod stage;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::TimeDelta;

use crate::batch::{BatchLimits, Batcher};
use crate::checkpoint::{self, BronzeCheckpoint, CheckpointError, CheckpointStore, FORMAT_VERSION};
use crate::csv::layout::SchemaChange;
use crate::csv::{Dialect, Limits};
use crate::error::Kind;
use crate::lake::{Lake, LakeError, TableName};
use crate::ledger::Ledger;
use crate::source::{RawObject, RawStore, ReadError};

/// What a pipeline says about its bronze table.
#[derive(Debug, Clone)]
pub struct BronzeSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The bronze table.
    pub table: TableName,
    /// Which objects are its.
    pub source: globset::GlobSet,
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
}

impl BronzeError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Source(_) => Kind::Look,
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

/// Listed objects are looked up in the ledger this many at a time, so that memory does not follow
/// the listing (I7).
const LOOKUP: usize = 10_000;
/// An object that could not be read is tried again no sooner: it may open, and fail further on.
const RETRY_PAUSE: TimeDelta = TimeDelta::minutes(1);

impl Bronze {
    /// See [`Bronze`].
    pub fn new(
        lake: &Lake,
        source: Arc<dyn RawStore>,
        checkpoints: Arc<dyn CheckpointStore>,
        settings: BronzeSettings,
    ) -> Self {
        let ledger = Ledger::new(lake, &settings.pipeline, &settings.table);
        Self { lake: lake.clone(), source, checkpoints, ledger, settings }
    }

    /// The pipeline's ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Lists the raw zone once and takes in what the ledger does not know.
    pub async fn step(&self) -> Result<BronzeReport, BronzeError> {
        let mut report = BronzeReport::default();
        self.ledger.open().await?;
        if let Some(bronze) = self.lake.find(&self.settings.table).await? {
            self.ledger.publish(&bronze).await?;
        }
        let mut objects = self.source.list().await?;
        objects.retain(|object| self.settings.source.is_match(&object.id.uri));
        report.listed = objects.len();
        let mut batcher = Batcher::new(self.settings.batch);
        for share in objects.chunks(LOOKUP) {
            for object in self.unknown(share, &mut report).await? {
                if let Some(batch) = batcher.push(object, self.lake.ambient().now()) {
                    self.ingest(batch, &mut report).await?;
                }
            }
        }
        if let Some(batch) = batcher.close_if_due(self.lake.ambient().now(), true) {
            self.ingest(batch, &mut report).await?;
        }
        self.save_checkpoint(&objects).await?;
        Ok(report)
    }

    /// Those that the ledger has no outcome for: a listing brings nothing up again, but for what was
    /// missing or could not be read, and is there now.
    async fn unknown(
        &self,
        objects: &[RawObject],
        report: &mut BronzeReport,
    ) -> Result<Vec<RawObject>, BronzeError> {
        let bronze = self.lake.find(&self.settings.table).await?;
        let wanted: HashSet<_> = objects.iter().map(|o| o.id.clone()).collect();
        let known = self.ledger.known(bronze.as_ref(), &wanted).await?;
        let now = self.lake.ambient().now();
        let mut unknown = Vec::new();
        for object in objects {
            match known.get(&object.id) {
                None => unknown.push(object.clone()),
                // It is there, so what kept it from being read may have passed. Asked without reading
                // it: an attempt that fails the same way is no news for the ledger.
                Some(attempt)
                    if attempt.again
                        && now - attempt.finished_at >= RETRY_PAUSE
                        && self.source.open(object).await.is_ok() =>
                {
                    unknown.push(object.clone());
                }
                Some(_) => report.known += 1,
            }
        }
        Ok(unknown)
    }

    /// Takes in one batch of objects, whatever brought them up.
    pub async fn take_in(&self, batch: Vec<RawObject>) -> Result<BronzeReport, BronzeError> {
        let mut report = BronzeReport { listed: batch.len(), ..BronzeReport::default() };
        self.ingest(batch, &mut report).await?;
        Ok(report)
    }

    async fn ingest(
        &self,
        batch: Vec<RawObject>,
        report: &mut BronzeReport,
    ) -> Result<(), BronzeError> {
        let id = self.lake.ambient().uuid().to_string();
        let bytes: u64 = batch.iter().map(|object| object.size).sum();
        tracing::info!(batch = %id, table = %self.settings.table, objects = batch.len(), bytes, "reading a batch");
        loop {
            let staged = self.stage(&id, &batch).await?;
            match self.commit(&id, staged).await? {
                commit::Committed::Done(done) => {
                    report.ingested += done.ingested;
                    report.failed += done.failed;
                    report.rows += done.rows;
                    report.rescued += done.rescued;
                    report.snapshots.extend(done.snapshot);
                    return Ok(());
                }
                commit::Committed::SchemaMoved => {
                    tracing::info!(batch = %id, table = %self.settings.table,
                        "the table's schema changed meanwhile; reading the batch again under it");
                }
            }
        }
    }

    async fn save_checkpoint(&self, objects: &[RawObject]) -> Result<(), BronzeError> {
        let newest = objects.iter().map(|o| o.id.last_modified).max();
        let tip = self.lake.find(&self.settings.table).await?.and_then(|t| t.current());
        let new = BronzeCheckpoint {
            format_version: FORMAT_VERSION,
            table: self.settings.table.to_string(),
            processed_through: newest,
            snapshot_id: tip.as_ref().map(|s| s.id),
            sequence_number: tip.as_ref().map(|s| s.sequence),
            updated_at: self.lake.ambient().now(),
        };
        let change = |stored: Option<BronzeCheckpoint>| {
            let mut new = new.clone();
            let before = stored.as_ref().and_then(|s| s.processed_through);
            new.processed_through = newest.max(before);
            let same =
                stored.is_some_and(|s| BronzeCheckpoint { updated_at: new.updated_at, ..s } == new);
            (!same).then_some(new)
        };
        checkpoint::update(&*self.checkpoints, &self.settings.pipeline, change).await?;
        Ok(())
    }
}
