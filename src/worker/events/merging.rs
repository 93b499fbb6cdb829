//! Silver and gold of a pipeline, whenever bronze has moved, under the silver table's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Common;
use crate::backoff::in_trouble;
use crate::checkpoint::lock::{Lock, TTL};
use crate::error::chain;
use crate::wiring::Pipeline;
use crate::worker::{WorkerError, merge};

/// How often it is looked whether another worker, that has died since, has left something to merge.
const LOOK: Duration = Duration::from_secs(30);
/// The pause while another worker merges: it may merge what we committed, too.
const WAIT: Duration = Duration::from_millis(300);

/// Asks for merges, and knows whether they were done.
#[derive(Debug, Default)]
pub(super) struct Wake {
    wanted: AtomicU64,
    done: AtomicU64,
    woken: Notify,
}

impl Wake {
    /// Bronze has moved: whoever moved it is responsible until silver has.
    pub(super) fn wake(&self) {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        self.woken.notify_one();
    }

    /// Whether all that was asked for was done.
    pub(super) fn is_done(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) == self.done.load(Ordering::SeqCst)
    }
}

/// Runs until the lane has ended, and what it has committed is merged.
pub(super) async fn run(
    common: Arc<Common>,
    pipeline: Pipeline,
    wake: Arc<Wake>,
    lane_ended: CancellationToken,
) {
    let mut lock = Lock::new(
        pipeline.checkpoints.clone(),
        format!("{}/silver.lock", pipeline.settings.name),
        common.ambient.uuid().to_string(),
        TTL,
        common.ambient.clone(),
    );
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
        let pause = match merge_once(&common, &pipeline, &mut lock).await {
            Ok(true) => {
                failures = 0;
                wake.done.store(wanted, Ordering::SeqCst);
                continue;
            }
            Ok(false) => WAIT,
            Err(error) => {
                failures += 1;
                let again_in = in_trouble(failures);
                tracing::error!(
                    pipeline = pipeline.settings.name,
                    failures,
                    ?again_in,
                    error = chain(&error),
                    "silver or gold in trouble; bronze goes on"
                );
                if let Some(trouble) = &common.trouble {
                    drop(trouble.send(error));
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

/// Merges what there is to merge. `false`: another worker is at it.
async fn merge_once(
    common: &Common,
    pipeline: &Pipeline,
    lock: &mut Lock,
) -> Result<bool, WorkerError> {
    let name = || pipeline.settings.name.clone();
    let silver = |source| WorkerError::Silver { pipeline: name(), source };
    let Some(of) = &pipeline.silver else { return Ok(true) };
    if of.is_up_to_date().await.map_err(silver)? && gold_is_up_to_date(pipeline).await? {
        return Ok(true);
    }
    let held = lock.acquire().await.map_err(|error| silver(error.into()))?;
    let Some(held) = held else { return Ok(false) };
    let round = lock.hold(held, merge(pipeline)).await?;
    if !round.idle() {
        // Nobody listens once the worker is cut off.
        drop(common.told.send(round));
    }
    // After the lock is released: what was committed meanwhile is somebody's who waited for it.
    of.is_up_to_date().await.map_err(silver)
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
