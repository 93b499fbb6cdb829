//! The worker: bronze, silver and gold of every pipeline, as objects come, until it is told to stop or,
//! with `--until-idle`, until there is nothing left to do.
//!
//! - `folder.rs`: a folder is listed, round after round
//! - `lag.rs`: how far silver is behind is watched, too
//! - `announcing.rs`: what was committed is announced beside the work
//! - [`mod@queue`]: messages of a queue are received, batched, committed and only then deleted (I1)

mod announcing;
mod folder;
mod lag;
pub mod merge;
pub mod queue;
pub(crate) mod report;

use std::future::Future;
use std::time::Duration;

use crate::ambient::SharedAmbient;
use crate::announce::AnnounceError;
use crate::bronze::{BronzeError, BronzeReport};
use crate::gold::{GoldError, GoldReport};
use crate::pipeline::{Intake, Pipeline, Wired};
use crate::queue::QueueError;
use crate::silver::{SilverError, SilverReport};
use crate::telemetry::readiness;
use announcing::Announcing;
pub use announcing::announced;

/// Why a worker, or a round of it, did not end well.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Bronze.
    #[error("pipeline {pipeline}, bronze")]
    Bronze {
        /// Whose.
        pipeline: String,
        /// Why.
        #[source]
        source: BronzeError,
    },
    /// Silver.
    #[error("pipeline {pipeline}, silver")]
    Silver {
        /// Whose.
        pipeline: String,
        /// Why.
        #[source]
        source: SilverError,
    },
    /// Gold.
    #[error("pipeline {pipeline}, gold")]
    Gold {
        /// Whose.
        pipeline: String,
        /// Why.
        #[source]
        source: GoldError,
    },
    /// Announcements cannot be begun.
    #[error("pipeline {pipeline}, announcements")]
    Announce {
        /// Whose.
        pipeline: String,
        /// Why.
        #[source]
        source: AnnounceError,
    },
    /// The queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A part of the worker ended by itself.
    #[error(
        "a part of the worker ended by itself ({0}): start it again; what it had in hand comes again"
    )]
    TaskEnded(String),
    /// There is no queue and no folder to watch.
    #[error(
        "there is nothing to watch: `run` needs source.queue or source.directory; objects on S3 without events are taken in by `silversmith bronze`"
    )]
    NothingToWatch,
}

/// What was done for one pipeline.
#[derive(Debug, Clone)]
pub struct Round {
    /// The pipeline.
    pub pipeline: String,
    /// Raw → bronze.
    pub bronze: BronzeReport,
    /// Bronze → silver.
    pub silver: Option<SilverReport>,
    /// Silver → gold, by table.
    pub gold: Vec<(String, GoldReport)>,
}

impl Round {
    /// Whether nothing was there to be done.
    pub fn idle(&self) -> bool {
        let took_in = self.bronze.ingested + self.bronze.failed + self.bronze.postponed > 0;
        let merged = self.silver.as_ref().is_some_and(|s| !s.snapshots.is_empty());
        let refreshed = self.gold.iter().any(|(_, g)| *g != GoldReport::UpToDate);
        !(took_in || merged || refreshed)
    }
}

/// When a worker ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Stopped,
    /// When there is nothing left to do, and at once where something is in trouble.
    Idle,
    /// When there is nothing left to do; what is in trouble is tried a few times and given back, and holds up
    /// nobody else.
    Done,
}

/// Runs until `stop` is done, or as `until` says. A stop lets what is
/// in hand end within `grace`; what is cut off then is safe to be cut off anywhere. `seen` is told
/// whenever something was done.
pub async fn run(
    wired: &Wired,
    until: Until,
    grace: Duration,
    stop: impl Future<Output = ()>,
    mut seen: impl FnMut(&Round),
) -> Result<(), WorkerError> {
    let mut stop = std::pin::pin!(stop);
    let announcing = tokio::select! {
        begun = Announcing::start(&wired.pipelines, until) => begun?,
        () = &mut stop => return Ok(()),
    };
    let seen = |round: &Round| {
        announcing.wake(&round.pipeline);
        seen(round);
    };
    let work = async {
        match &wired.intake {
            Intake::Directory => {
                folder::run(wired, until != Until::Stopped, grace, stop, seen).await
            }
            Intake::Queue(queues) => queue::run(wired, queues, until, grace, stop, seen).await,
            Intake::Listing => Err(WorkerError::NothingToWatch),
        }
    };
    readiness::set_working(true);
    let ended = tokio::select! {
        ended = work => ended,
        () = lag::watch(&wired.pipelines) => Ok(()),
    };
    readiness::set_working(false);
    announcing.finish().await;
    ended
}

/// Silver and gold of one pipeline, when nobody else merges it; waits for whoever does.
pub async fn merge_alone(
    pipeline: &Pipeline,
    ambient: &SharedAmbient,
) -> Result<Option<Round>, WorkerError> {
    merge::alone(pipeline, ambient).await
}

/// Silver and gold of one pipeline, once.
async fn merge(pipeline: &Pipeline) -> Result<Round, WorkerError> {
    let name = || pipeline.settings.name.clone();
    let silver = match &pipeline.silver {
        Some(silver) => {
            let merged = silver.step().await;
            Some(merged.map_err(|source| WorkerError::Silver { pipeline: name(), source })?)
        }
        None => None,
    };
    let loaded = silver.as_ref().and_then(|step| step.silver.as_ref());
    let (mut refreshed, mut trouble) = (Vec::new(), None);
    for gold in &pipeline.gold {
        match gold.step(loaded).await {
            Ok(report) => refreshed.push((gold.table().to_string(), report)),
            // One table's trouble does not hold up those listed after it.
            Err(source) => {
                trouble.get_or_insert(WorkerError::Gold { pipeline: name(), source });
            }
        }
    }
    match trouble {
        Some(trouble) => Err(trouble),
        None => {
            let bronze = BronzeReport::default();
            let silver = silver.map(|step| step.report);
            Ok(Round { pipeline: name(), bronze, silver, gold: refreshed })
        }
    }
}
