//! The one way to merge: silver of a pipeline under the lock of its table, for every caller: the queue
//! worker, the folder worker, the commands, Lambda and the steps of Step Functions.
//!
//! The lock saves work and is no guarantee: where two mergers believe that they hold it, the commit's
//! own check decides (I4). A merger that waits reads the lock object only, and never the tables.

use std::time::Duration;

use super::error::WorkerError;
use super::round::Round;
use crate::ambient::SharedAmbient;
use crate::checkpoint::lock::{self, Held, Lock, TTL};
use crate::lake::{LakeError, Table};
use crate::pipeline::Pipeline;
use crate::silver::{Bereft, ReplayReport, SilverError, SilverReport};

/// How a merge ended.
#[derive(Debug)]
pub struct MergeOutcome {
    /// What was done; nothing where there was nothing to do.
    pub round: Option<Round>,
    /// Whether nothing is left to merge. Otherwise another merger holds the lock, or bronze has moved
    /// on: merge again, after [`Merger::pause`].
    pub done: bool,
}

/// What was lost with a rollback of bronze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollback {
    /// Objects that are known as ingested and have no row in bronze.
    pub objects: u64,
    /// Rows of silver that come from such objects; none where there is no silver.
    pub silver: Option<Bereft>,
}

/// Merges one pipeline. See the module.
#[derive(Debug)]
pub struct Merger {
    pipeline: Pipeline,
    lock: Lock,
    ambient: SharedAmbient,
    /// Whether the lock was held by another merger when it was last tried.
    waiting: bool,
    /// Attempts in a row that merged nothing and left something to merge.
    idle_attempts: u32,
}

impl Merger {
    /// A merger of a pipeline, as an owner of the lock of its own.
    pub fn new(pipeline: &Pipeline, ambient: &SharedAmbient) -> Self {
        let key = format!("{}/silver.lock", pipeline.settings.name);
        let owner = ambient.uuid().to_string();
        let lock = Lock::new(pipeline.checkpoints.clone(), key, owner, TTL, ambient.clone());
        let (pipeline, ambient) = (pipeline.clone(), ambient.clone());
        Self { pipeline, lock, ambient, waiting: false, idle_attempts: 0 }
    }

    /// Merges what there is to merge, unless another merger holds the lock.
    pub async fn merge_once(&mut self) -> Result<MergeOutcome, WorkerError> {
        let Some(silver) = self.pipeline.silver.clone() else { return Ok(self.ended(None, true)) };
        let Some(held) = self.acquire().await? else { return Ok(self.ended(None, false)) };
        let step = self.lock.hold(held, Box::pin(silver.step())).await;
        let step = step.map_err(|error| silver_error(&self.pipeline, error))?;
        // After the release: who committed to bronze meanwhile may have waited for this merge.
        let moved = silver.has_moved(step.through.as_ref()).await;
        let moved = moved.map_err(|error| silver_error(&self.pipeline, error))?;
        let name = &self.pipeline.settings.name;
        let round = Round { silver: Some(step.report), ..Round::of(name) };
        Ok(self.ended(Some(round).filter(|round| !round.idle()), !moved))
    }

    /// Merges until nothing is left, and waits for other mergers meanwhile.
    pub async fn merge_until_done(&mut self) -> Result<Option<Round>, WorkerError> {
        let mut round = None;
        loop {
            let merged = self.merge_once().await?;
            round = merged.round.or(round);
            if merged.done {
                return Ok(round);
            }
            self.ambient.sleep(self.pause()).await;
        }
    }

    /// The pause before the next attempt after one that was not the last.
    pub fn pause(&self) -> Duration {
        match self.idle_attempts {
            0 => Duration::ZERO,
            attempts => lock::pause(&self.ambient, attempts),
        }
    }

    /// Merges into silver alone, once the lock is free. `None`: the pipeline has no silver table.
    pub async fn silver(&mut self) -> Result<Option<SilverReport>, WorkerError> {
        let Some(silver) = self.pipeline.silver.clone() else { return Ok(None) };
        let held = self.acquire_patiently().await?;
        let merged = self.lock.hold(held, Box::pin(silver.step())).await;
        let merged = merged.map_err(|error| silver_error(&self.pipeline, error))?;
        Ok(Some(merged.report))
    }

    /// Rebuilds silver, once the lock is free. `None`: the pipeline has no silver table. With `force` even if that
    /// removes rows for good.
    ///
    /// # Errors
    /// [`SilverError::RebuildRemoves`]: it does, and there is no `force`.
    pub async fn rebuild(&mut self, force: bool) -> Result<Option<SilverReport>, WorkerError> {
        let Some(silver) = self.pipeline.silver.clone() else { return Ok(None) };
        let held = self.acquire_patiently().await?;
        let rebuild = async {
            if !force {
                silver.check_rebuild().await?;
            }
            silver.rebuild().await
        };
        let rebuilt = self.lock.hold(held, Box::pin(rebuild)).await;
        rebuilt.map(Some).map_err(|error| silver_error(&self.pipeline, error))
    }

    /// Judges the rows in quarantine again, those that `rule` refused or all, once the lock is free. `None`: the
    /// pipeline has no silver table.
    pub async fn replay(
        &mut self,
        rule: Option<&str>,
    ) -> Result<Option<ReplayReport>, WorkerError> {
        let Some(silver) = self.pipeline.silver.clone() else { return Ok(None) };
        let held = self.acquire_patiently().await?;
        let replayed = self.lock.hold(held, Box::pin(silver.replay(rule))).await;
        replayed.map(Some).map_err(|error| silver_error(&self.pipeline, error))
    }

    /// Deletes rows from quarantine, once the lock is free. Returns how many; with `dry_run` it only counts them.
    pub async fn purge(&mut self, rule: Option<&str>, dry_run: bool) -> Result<u64, WorkerError> {
        let Some(silver) = self.pipeline.silver.clone() else { return Ok(0) };
        let purged = match dry_run {
            true => silver.purge(rule, true).await,
            false => {
                let held = self.acquire_patiently().await?;
                self.lock.hold(held, Box::pin(silver.purge(rule, false))).await
            }
        };
        purged.map_err(|error| silver_error(&self.pipeline, error))
    }

    /// What was lost with a rollback of bronze; none where the ledger and silver agree with bronze.
    pub async fn rolled_back(&self) -> Result<Option<Rollback>, WorkerError> {
        let Some(bronze) = self.bronze().await? else { return Ok(None) };
        let ledger = self.pipeline.bronze.ledger();
        let of_ledger = ledger.is_ahead_of_bronze().await.map_err(|e| self.ledger_error(e))?;
        let mut is_ahead = of_ledger;
        let failed = |error| silver_error(&self.pipeline, error);
        if let Some(silver) = &self.pipeline.silver {
            is_ahead |= silver.is_ahead_of_bronze().await.map_err(failed)?;
        }
        if !is_ahead {
            return Ok(None);
        }
        let silver = match &self.pipeline.silver {
            Some(silver) => Some(Box::pin(silver.bereft()).await.map_err(failed)?),
            None => None,
        };
        let objects = match of_ledger {
            true => ledger.forget_lost(&bronze, true).await.map_err(|e| self.ledger_error(e))?,
            false => 0,
        };
        Ok(Some(Rollback { objects, silver }))
    }

    /// Ledger and silver go on from bronze as it is, once the lock is free. Returns how many objects the ledger has
    /// forgotten. A crash in between leaves the rest to the next repair.
    pub async fn accept_rollback(&mut self) -> Result<u64, WorkerError> {
        let (held, pipeline) = (self.acquire_patiently().await?, self.pipeline.clone());
        let accept = async {
            if let Some(silver) = &pipeline.silver {
                silver.accept().await?;
            }
            let ledger = pipeline.bronze.ledger();
            // What is not published yet is not lost, and must not be passed over.
            match (ledger.is_ahead_of_bronze().await?, ledger.bronze().await?) {
                (true, Some(bronze)) => {
                    Ok::<_, SilverError>(ledger.forget_lost(&bronze, false).await?)
                }
                _ => Ok(0),
            }
        };
        let accepted = self.lock.hold(held, Box::pin(accept)).await;
        accepted.map_err(|error| silver_error(&self.pipeline, error))
    }

    async fn bronze(&self) -> Result<Option<Table>, WorkerError> {
        let bronze = self.pipeline.bronze.ledger().bronze().await;
        bronze.map_err(|error| self.ledger_error(error))
    }

    fn ledger_error(&self, error: LakeError) -> WorkerError {
        let pipeline = self.pipeline.settings.name.clone();
        WorkerError::Bronze { pipeline, source: error.into() }
    }

    async fn acquire(&mut self) -> Result<Option<Held>, WorkerError> {
        let held = self.lock.acquire().await;
        let held = held.map_err(|error| silver_error(&self.pipeline, error.into()))?;
        if held.is_none() && !self.waiting {
            let pipeline = &self.pipeline.settings.name;
            tracing::debug!(pipeline, "another merger holds the lock of the silver table");
        }
        self.waiting = held.is_none();
        Ok(held)
    }

    async fn acquire_patiently(&mut self) -> Result<Held, WorkerError> {
        if let Some(held) = self.acquire().await? {
            return Ok(held);
        }
        let held = self.lock.wait().await;
        held.map_err(|error| silver_error(&self.pipeline, error.into()))
    }

    fn ended(&mut self, round: Option<Round>, done: bool) -> MergeOutcome {
        let idle = round.is_none() && !done;
        self.idle_attempts = if idle { self.idle_attempts + 1 } else { 0 };
        MergeOutcome { round, done }
    }
}

fn silver_error(pipeline: &Pipeline, source: SilverError) -> WorkerError {
    WorkerError::Silver { pipeline: pipeline.settings.name.clone(), source }
}
