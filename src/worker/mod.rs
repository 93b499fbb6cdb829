//! The worker: bronze, silver and gold of every pipeline, as objects come, until it is stopped or
//! until there is nothing left to do.
//!
//! - [`mod@queue`]: messages of a queue are received, batched, committed and only then deleted (I1)
//! - `folder.rs`: a folder is listed, round after round
//! - [`merge`], [`refresh`]: silver, and gold that follows it, each table under its lock, for every caller
//! - `announcing.rs`, `lag.rs`, `upkeep.rs`: beside the work, commits are announced, the lag is measured, and tables
//!   are looked after
//! - `failure.rs`: the one policy for failures, and what it reports to `/readyz`

mod announcing;
mod error;
mod failure;
mod folder;
mod lag;
pub mod merge;
pub mod queue;
pub mod refresh;
pub(crate) mod report;
mod round;
mod upkeep;

use std::future::Future;
use std::time::Duration;

use crate::pipeline::{Intake, Wired};
use crate::telemetry::readiness::Health;
use announcing::Announcing;
use failure::FailurePolicy;

pub use announcing::announced;
pub use error::WorkerError;
pub use merge::{MergeOutcome, Merger, Rollback};
pub use refresh::Refresher;
pub use round::{Round, Until};

/// Runs until `stop` is done, or as `until` says. A stop lets work in progress finish within `grace`;
/// cutting it off is safe at any point. `health` follows; `seen` gets every round that did something.
pub async fn run(
    wired: &Wired,
    health: &Health,
    until: Until,
    grace: Duration,
    stop: impl Future<Output = ()>,
    mut seen: impl FnMut(&Round),
) -> Result<(), WorkerError> {
    let ambient = wired.lake.ambient();
    let policy = FailurePolicy::new(until, ambient, health);
    let mut stop = std::pin::pin!(stop);
    let announcing = tokio::select! {
        begun = Announcing::start(&wired.pipelines, &policy, ambient) => begun?,
        () = &mut stop => return Ok(()),
    };
    let seen = |round: &Round| {
        announcing.wake(&round.pipeline);
        if !round.gold.is_empty() {
            // Gold of other pipelines may be among it.
            announcing.wake_all();
        }
        seen(round);
    };
    let work = async {
        match &wired.intake {
            Intake::Directory => {
                Box::pin(folder::run(wired, &policy, until, grace, stop, seen)).await
            }
            Intake::Queue(queues) => {
                Box::pin(queue::run(wired, queues, policy.clone(), until, grace, stop, seen)).await
            }
            Intake::Listing => Err(WorkerError::NothingToWatch),
        }
    };
    health.set_working(true);
    let ended = tokio::select! {
        ended = work => ended,
        () = lag::watch(&wired.pipelines, ambient) => Ok(()),
        () = upkeep::watch(wired, until) => Ok(()),
    };
    health.set_working(false);
    announcing.finish().await;
    ended
}
