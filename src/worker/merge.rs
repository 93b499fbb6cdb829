//! Silver and gold of a pipeline, whenever bronze has moved, under the silver table's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Round;
use super::queue::Common;
use crate::ambient::SharedAmbient;
use crate::backoff::retry_delay;
use crate::checkpoint::lock::{Lock, TTL};
use crate::error::chain;
use crate::pipeline::Pipeline;
use crate::telemetry::readiness;
use crate::worker::{WorkerError, merge as merge_now};

/// How often it is looked whether another worker, that has died since, has left something to merge.
const LOOK: Duration = Duration::from_secs(30);
/// The pause while another worker merges: it may merge what we committed, too.
const WAIT: Duration = Duration::from_millis(300);

/// Asks for merges, and knows whether they were done.
#[derive(Debug, Default)]
pub(in crate::worker) struct Wake {
    wanted: AtomicU64,
    done: AtomicU64,
    woken: Notify,
}

impl Wake {
    /// Bronze has moved: whoever moved it is responsible until silver has.
    pub(in crate::worker) fn wake(&self) {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        self.woken.notify_one();
    }

    /// Whether all that was asked for was done.
    pub(in crate::worker) fn is_done(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) == self.done.load(Ordering::SeqCst)
    }
}

/// Runs until the lane has ended, and what it has committed is merged.
pub(in crate::worker) async fn run(
    common: Arc<Common>,
    pipeline: Pipeline,
    wake: Arc<Wake>,
    lane_ended: CancellationToken,
) {
    let mut lock = lock_of(&pipeline, &common.ambient);
    let part = format!("silver of {}", pipeline.settings.name);
    let mut failures = 0_u32;
    loop {
        let wanted = wake.wanted.load(Ordering::SeqCst);
        if wanted == wake.done.load(Ordering::SeqCst) {
            tokio::select! {
                () = lane_ended.cancelled() => if wake.is_done() { return },
                () = wake.woken.notified() => {}
                () = tokio::time::sleep(LOOK) => wake.wake(),
            }
            continue;
        }
        let pause = match merge_once(&pipeline, &mut lock).await {
            Ok(merged) => {
                if let Some(round) = merged.round {
                    // Nobody listens once the worker is cut off.
                    drop(common.told.send(round));
                }
                readiness::well(&part);
                if merged.done {
                    failures = 0;
                    wake.done.store(wanted, Ordering::SeqCst);
                    continue;
                }
                WAIT
            }
            Err(error) => {
                failures += 1;
                let again_in = retry_delay(failures);
                tracing::error!(
                    pipeline = pipeline.settings.name,
                    failures,
                    ?again_in,
                    error = chain(&error),
                    "silver or gold in trouble; bronze goes on"
                );
                readiness::trouble(&part, &chain(&error));
                if let Some(trouble) = &common.trouble {
                    drop(trouble.send(error));
                }
                if common.gives_up(failures) {
                    // The next worker tries again; this one has nothing else to wait for.
                    wake.done.store(wanted, Ordering::SeqCst);
                    continue;
                }
                again_in
            }
        };
        tokio::select! {
            // Another worker is at it, and looks again when it is done; or the next start does.
            () = lane_ended.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn lock_of(pipeline: &Pipeline, ambient: &SharedAmbient) -> Lock {
    Lock::new(
        pipeline.checkpoints.clone(),
        format!("{}/silver.lock", pipeline.settings.name),
        ambient.uuid().to_string(),
        TTL,
        ambient.clone(),
    )
}

/// See [`crate::worker::merge_alone`].
pub(in crate::worker) async fn alone(
    pipeline: &Pipeline,
    ambient: &SharedAmbient,
) -> Result<Option<Round>, WorkerError> {
    let mut lock = lock_of(pipeline, ambient);
    let mut round = None;
    loop {
        let merged = merge_once(pipeline, &mut lock).await?;
        round = merged.round.or(round);
        if merged.done {
            return Ok(round);
        }
        tokio::time::sleep(WAIT).await;
    }
}

/// How a merge ended.
struct Merged {
    /// What was done.
    round: Option<Round>,
    /// Nothing is left to merge; else another worker is at it.
    done: bool,
}

/// Merges what there is to merge, unless another worker is at it.
async fn merge_once(pipeline: &Pipeline, lock: &mut Lock) -> Result<Merged, WorkerError> {
    let name = || pipeline.settings.name.clone();
    let silver = |source| WorkerError::Silver { pipeline: name(), source };
    let ended = |round, done| Ok(Merged { round, done });
    let Some(of) = &pipeline.silver else { return ended(None, true) };
    if of.is_up_to_date().await.map_err(silver)? && gold_is_up_to_date(pipeline).await? {
        return ended(None, true);
    }
    let held = lock.acquire().await.map_err(|error| silver(error.into()))?;
    let Some(held) = held else { return ended(None, false) };
    let round = lock.hold(held, merge_now(pipeline)).await?;
    // After the lock is released: what was committed meanwhile is somebody's who waited for it.
    let done = of.is_up_to_date().await.map_err(silver)?;
    ended(Some(round).filter(|round| !round.idle()), done)
}

async fn gold_is_up_to_date(pipeline: &Pipeline) -> Result<bool, WorkerError> {
    for gold in &pipeline.gold {
        let up_to_date = gold.is_up_to_date().await.map_err(|source| {
            let pipeline = pipeline.settings.name.clone();
            WorkerError::Gold { pipeline, source }
        })?;
        if up_to_date == Some(false) {
            return Ok(false);
        }
    }
    Ok(true)
}
