//! Merges a pipeline beside its lane, whenever bronze has moved.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use super::wake::Wake;
use crate::pipeline::Pipeline;
use crate::worker::failure::MERGE_STALLED;
use crate::worker::merge::Merger;

/// How often merges are looked for that another worker left when it died.
const LOOK: Duration = Duration::from_secs(30);

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
        let look = || shared.ambient.sleep(LOOK);
        let Some(request) = wake.next(&lane_ended, look).await else { return };
        let begun = retry.begin(MERGE_STALLED);
        let merged = merger.merge_once().await;
        drop(begun);
        // Also where nothing was merged: a merge may commit and fail after that, or another worker may end before gold.
        // But not while another one merges. And before this is done: a worker that ends when it is idle waits for gold.
        if !merged.as_ref().is_ok_and(|merged| merged.round.is_none() && !merged.done) {
            gold.wake();
        }
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
