//! Merges a pipeline beside its lane, whenever bronze has moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::pipeline::Pipeline;
use crate::worker::failure::MERGE_STALLED;
use crate::worker::merge::Merger;

/// How often merges are looked for that another worker left when it died.
const LOOK: Duration = Duration::from_secs(30);

/// Asks for merges, and knows whether they were done.
#[derive(Debug, Default)]
pub(super) struct Wake {
    requested: AtomicU64,
    done: AtomicU64,
    woken: Notify,
}

/// A request of a [`Wake`]: what was asked for when it was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request(u64);

impl Wake {
    /// What is followed has moved. The worker that moved it is responsible until what follows is done.
    pub(super) fn wake(&self) {
        self.requested.fetch_add(1, Ordering::SeqCst);
        self.woken.notify_one();
    }

    /// What was asked for and is not done.
    pub(super) fn request(&self) -> Option<Request> {
        let requested = self.requested.load(Ordering::SeqCst);
        (requested != self.done.load(Ordering::SeqCst)).then_some(Request(requested))
    }

    /// What was asked for up to then is done.
    pub(super) fn done(&self, request: Request) {
        self.done.store(request.0, Ordering::SeqCst);
    }

    /// Completes when it is asked again.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Whether all that was asked for was done.
    pub(super) fn is_done(&self) -> bool {
        self.request().is_none()
    }
}

/// Runs until the lane has ended and what it committed is merged. `gold` is woken when silver has moved.
pub(super) async fn run(
    shared: Arc<Shared>,
    pipeline: Pipeline,
    wake: Arc<Wake>,
    gold: Arc<Wake>,
    lane_ended: CancellationToken,
) {
    let mut merger = Merger::new(&pipeline, &shared.ambient);
    let mut retry = shared.failures.part("silver", Some(&pipeline.settings.name));
    loop {
        let Some(request) = wake.request() else {
            tokio::select! {
                () = lane_ended.cancelled() => if wake.is_done() { return },
                () = wake.woken() => {}
                () = shared.ambient.sleep(LOOK) => wake.wake(),
            }
            continue;
        };
        let begun = retry.begin(MERGE_STALLED);
        let merged = merger.merge_once().await;
        drop(begun);
        // Whatever came of it: it may have committed and failed after that, or another worker may have merged and ended
        // before gold. And before this is done: a worker that ends when it is idle waits for gold, too.
        gold.wake();
        let pause = match merged {
            Ok(merged) => {
                retry.succeeded();
                if let Some(round) = merged.round {
                    // Without a receiver the worker was cut off.
                    drop(shared.rounds.send(round));
                }
                (!merged.done).then(|| merger.pause())
            }
            Err(error) => {
                const CONSEQUENCE: &str = "silver failed; bronze goes on";
                shared.failures.pause(&mut retry, error, CONSEQUENCE)
            }
        };
        let Some(pause) = pause else {
            // Done, or left to the next worker.
            wake.done(request);
            continue;
        };
        tokio::select! {
            // Another worker merges, and looks again when it is done; or the next start does.
            () = lane_ended.cancelled() => return,
            () = shared.ambient.sleep(pause) => {}
        }
    }
}
