//! Events as the source.
//!
//! ```text
//!  queue ──► intake ──► lane of each pipeline ──► bronze ──► settle ──► release: delete, or release
//!            (parse,    (batches; one at a time)             (dead letters first)
//!             route)           │
//!                              └──► merging: silver, under its lock ──► refreshing: gold
//! ```
//! A message is deleted when every ticket for it, one for each obligation, is settled as durable (I1);
//! `delivery.rs` makes anything else not compile. What is in flight is bounded lane by lane
//! (`admission.rs`), and kept hidden by a heartbeat. A shared outage opens a breaker (`breaker.rs`).

mod admission;
mod breaker;
mod dead_letters;
mod delivery;
mod intake;
mod lane;
mod merging;
mod newest;
mod refreshing;
mod release;
mod routing;
mod settle;
mod shared;
mod wake;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::WorkerError;
use super::failure::{FailurePolicy, STALLED};
use super::round::{Round, Until};
use crate::ambient::timeout;
use crate::pipeline::{Pipeline, Queues, Wired};
use routing::Route;
use shared::Shared;
use wake::Wake;

/// Of the time to stop, what is kept for releasing messages.
const LAST: Duration = Duration::from_secs(3);
/// How often a worker that ends when it is idle looks whether it is.
const LOOK: Duration = Duration::from_millis(500);
/// The same on a queue that counts exactly.
const QUICK_LOOK: Duration = Duration::from_millis(10);
/// Empty looks in a row that count as idle: the queue's own counts lag.
const LOOKS: usize = 2;

/// Runs the worker on a queue. See [`super::run`].
pub(super) async fn run(
    wired: &Wired,
    queues: &Queues,
    policy: FailurePolicy,
    until: Until,
    grace: Duration,
    stop: impl Future<Output = ()>,
    mut seen: impl FnMut(&Round),
) -> Result<(), WorkerError> {
    if until == Until::Idle {
        // Before anything is received: else each start in an outage would consume a receive.
        for pipeline in &wired.pipelines {
            let name = pipeline.settings.name.clone();
            let prepared = pipeline.bronze.prepare().await;
            prepared.map_err(|source| WorkerError::Bronze { pipeline: name, source })?;
        }
    }
    let (rounds_sender, mut rounds) = mpsc::unbounded_channel();
    let (errors_sender, mut errors) = mpsc::unbounded_channel();
    let shared = Shared::new(wired, queues, until, policy, rounds_sender, errors_sender);
    let shared = Arc::new(shared);
    let mut tasks = Tasks::start(&shared, &wired.pipelines);
    let mut stop = std::pin::pin!(stop);
    let mut idle = std::pin::pin!(idle(&shared, until, tasks.wakes.clone()));
    let ended = loop {
        tokio::select! {
            biased;
            () = &mut stop => {
                tracing::info!("shutting down: finishing or releasing messages in flight");
                break Ok(());
            }
            Some(error) = errors.recv() => break Err(error),
            Some(round) = rounds.recv() => seen(&round),
            Some(ended) = tasks.all.join_next() => {
                let why = ended.map_or_else(|panic| panic.to_string(), |()| "no error".to_owned());
                break Err(WorkerError::TaskEnded(why));
            }
            () = &mut idle => break Ok(()),
        }
    };
    shared.stop.receiving.cancel();
    tasks.finish(&shared, grace, &mut rounds, &mut seen).await;
    ended
}

/// The tasks of a worker; all of them end when this is dropped.
struct Tasks {
    all: JoinSet<()>,
    /// Ends by itself once no delivery is open and none can be opened.
    release: JoinSet<()>,
    /// Goes on until it is aborted.
    _heartbeat: JoinSet<()>,
    wakes: Vec<Arc<Wake>>,
}

impl Tasks {
    fn start(shared: &Arc<Shared>, pipelines: &[Pipeline]) -> Self {
        let mut all = JoinSet::new();
        let (release, closed) = mpsc::unbounded_channel();
        let releasing = JoinSet::from_iter([release::run(shared.clone(), closed)]);
        let (mut lanes, mut wakes) = (Vec::new(), Vec::new());
        for (index, pipeline) in pipelines.iter().enumerate() {
            let wake = Arc::new(Wake::default());
            // What the last worker left.
            wake.wake();
            let lane_ended = CancellationToken::new();
            let share = shared.receiving.admission.lane(index);
            let (lane, entrance) = lane::Lane::new(shared, pipeline, share, wake.clone());
            let ending = lane_ended.clone().drop_guard();
            let running = Box::pin(lane.run());
            all.spawn(async move {
                running.await;
                drop(ending);
            });
            let (gold, merges_ended) = (Arc::new(Wake::default()), CancellationToken::new());
            gold.wake();
            let ending = merges_ended.clone().drop_guard();
            let (bronze, woken) = (wake.clone(), gold.clone());
            let merging = merging::run(shared.clone(), pipeline.clone(), bronze, woken, lane_ended);
            let merging = Box::pin(merging);
            all.spawn(async move {
                merging.await;
                drop(ending);
            });
            all.spawn(refreshing::run(
                shared.clone(),
                pipeline.clone(),
                gold.clone(),
                merges_ended,
            ));
            let settings = &pipeline.settings;
            let source = settings.bronze.source.clone();
            let deliveries = settings.bronze.deliveries.as_ref();
            let markers = deliveries.and_then(|deliveries| deliveries.marker());
            let markers = markers.map(|marker| marker.uris.clone()).unwrap_or_default();
            lanes.push((Route { name: settings.name.clone(), source, markers }, entrance));
            wakes.extend([wake, gold]);
        }
        let (dead_letters, unsent) = mpsc::unbounded_channel();
        all.spawn(settle::run(shared.clone(), unsent));
        let (ended, receiving) = (shared.stop.working.clone().drop_guard(), shared.clone());
        all.spawn(async move {
            intake::run(receiving, lanes, release, dead_letters).await;
            drop(ended);
        });
        let queue = shared.receiving.queue.clone();
        let heartbeat = JoinSet::from_iter([shared.receiving.heartbeat.keep_hidden(queue)]);
        Self { all, release: releasing, _heartbeat: heartbeat, wakes }
    }

    /// Lets the tasks finish, and cuts off those that take too long.
    async fn finish(
        mut self,
        shared: &Shared,
        grace: Duration,
        rounds: &mut mpsc::UnboundedReceiver<Round>,
        seen: &mut impl FnMut(&Round),
    ) {
        let joined = async { while self.all.join_next().await.is_some() {} };
        if timeout(&shared.ambient, grace.saturating_sub(LAST), joined).await.is_err() {
            tracing::warn!(
                ?grace,
                "work in progress took too long; its messages will be redelivered"
            );
            self.all.shutdown().await;
        }
        // What was cut off is released, too.
        let released = async { while self.release.join_next().await.is_some() {} };
        if timeout(&shared.ambient, LAST, released).await.is_err() {
            tracing::warn!("could not release every message in time; they will be redelivered");
        }
        while let Ok(round) = rounds.try_recv() {
            seen(&round);
        }
    }
}

/// Returns when the queue is empty, nothing is in flight and silver has caught up.
async fn idle(shared: &Shared, until: Until, wakes: Vec<Arc<Wake>>) {
    if until == Until::Stopped {
        return std::future::pending().await;
    }
    let receiving = &shared.receiving;
    let mut retry = shared.failures.part("idle check", None);
    let mut looks = 0;
    let look = if receiving.queue.is_exact() { QUICK_LOOK } else { LOOK };
    let mut pause = look;
    while looks < LOOKS {
        shared.ambient.sleep(std::mem::replace(&mut pause, look)).await;
        let nothing_here = receiving.admission.is_empty()
            && receiving.heartbeat.is_empty()
            && receiving.empty_polls() >= LOOKS
            && wakes.iter().all(|wake| wake.is_done());
        if !nothing_here {
            looks = 0;
            continue;
        }
        let begun = retry.begin(STALLED);
        let described = receiving.queue.describe().await;
        drop(begun);
        looks = match described {
            Ok(described) if described.messages() == 0 && receiving.heartbeat.is_empty() => {
                retry.succeeded();
                looks + 1
            }
            Ok(_) => 0,
            Err(error) => {
                let consequence = "could not see whether the queue is empty";
                match shared.failures.pause_of_all(&mut retry, error.into(), consequence) {
                    Some(longer) => pause = longer,
                    None => return std::future::pending().await,
                }
                0
            }
        };
    }
}
