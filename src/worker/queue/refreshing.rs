//! Refreshes the gold tables that follow a pipeline, beside its merges: silver never waits for gold. What is asked for
//! while a refresh runs is done by the next one, together.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use super::wake::Wake;
use crate::pipeline::Pipeline;
use crate::worker::failure::MERGE_STALLED;
use crate::worker::refresh::{Refresher, parted};
use crate::worker::round::Round;

/// Runs until the merges have ended and gold follows them.
pub(super) async fn run(
    shared: Arc<Shared>,
    pipeline: Pipeline,
    wake: Arc<Wake>,
    merges_ended: CancellationToken,
) {
    let name = pipeline.settings.name.as_str();
    let mut refresher = Refresher::new(&pipeline, &shared.ambient);
    let mut retry = shared.failures.part("gold", Some(name));
    loop {
        // The merges ask every now and then, which is when changes by other programs are seen.
        let Some(request) = wake.next(&merges_ended, std::future::pending).await else { return };
        let begun = retry.begin(MERGE_STALLED);
        let (gold, failed) = parted(refresher.refresh().await, name);
        drop(begun);
        let round = Round { gold, ..Round::of(name) };
        if !round.idle() {
            // Without a receiver the worker was cut off.
            drop(shared.rounds.send(round));
        }
        let pause = match failed {
            None => {
                retry.succeeded();
                None
            }
            Some(error) => {
                const CONSEQUENCE: &str = "gold failed; bronze and silver go on";
                shared.failures.pause(&mut retry, error, CONSEQUENCE)
            }
        };
        let Some(pause) = pause else {
            // Done, or left to the next worker.
            wake.done(request);
            continue;
        };
        tokio::select! {
            () = merges_ended.cancelled() => return,
            () = shared.ambient.sleep(pause) => {}
        }
    }
}
