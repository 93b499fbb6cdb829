//! Events as the source.
//!
//! ```text
//!  queue ──► intake ──► lane of each pipeline ──► bronze ──► settle ──► closing: delete, or give back
//!            (parse,    (batches; one at a time)             (dead letters first)
//!             route)           │
//!                              └──► merging: silver, gold, under the silver table's lock
//! ```
//! A message is deleted when every ticket for it, one for each of its objects and pipelines, is settled
//! as durable (I1); `delivery.rs` makes anything else not compile. What is in hand is bounded by count
//! and bytes (`admission.rs`), and kept hidden by a heartbeat. Shared trouble opens a breaker (`breaker.rs`).

mod admission;
mod breaker;
mod dead_letters;
mod delivery;
mod intake;
mod lane;
mod release;
pub mod routing;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::merge::{self, Wake};
use super::{Round, Until, WorkerError};
use crate::ambient::SharedAmbient;
use crate::config::settings::OnUnmatched;
use crate::lake::Lake;
use crate::pipeline::{Pipeline, Queues, Wired};
use crate::queue::{EventQueue, Heartbeat};
use admission::Admission;
use breaker::Breaker;
use dead_letters::DeadLetters;

/// Messages that are in flight at most: SQS allows 20,000 for a FIFO queue.
const MOST_IN_HAND: usize = 18_000;
/// Of the time to stop, what is kept for giving messages back.
const LAST: Duration = Duration::from_secs(3);
/// How often a worker that is to stop when it is idle looks whether it is.
const LOOK: Duration = Duration::from_millis(500);
/// The same for a queue that knows exactly.
const QUICK_LOOK: Duration = Duration::from_millis(10);
/// Empty looks in a row that count as idle: the queue's own counts lag.
const LOOKS: usize = 2;

/// What the tasks of a worker share.
#[derive(Debug)]
pub(in crate::worker) struct Common {
    pub(in crate::worker) queue: Arc<dyn EventQueue>,
    pub(in crate::worker) dead_letters: DeadLetters,
    pub(in crate::worker) in_hand: Arc<Heartbeat>,
    pub(in crate::worker) admission: Arc<Admission>,
    pub(in crate::worker) breaker: Breaker,
    pub(in crate::worker) ambient: SharedAmbient,
    pub(in crate::worker) on_unmatched: OnUnmatched,
    /// How long a poll waits for a message.
    pub(in crate::worker) poll: Duration,
    pub(in crate::worker) told: mpsc::UnboundedSender<Round>,
    pub(in crate::worker) until: Until,
    /// With [`Until::Idle`], trouble ends the worker.
    pub(in crate::worker) trouble: Option<mpsc::UnboundedSender<WorkerError>>,
    /// Polls since the last message that brought none.
    pub(in crate::worker) empty_polls: AtomicUsize,
    pub(in crate::worker) lake: Lake,
    pub(in crate::worker) lanes: usize,
    /// Nothing more is received.
    pub(in crate::worker) stop: CancellationToken,
    /// After it: what is not begun is given back. Not before, or an open poll would take it again.
    pub(in crate::worker) give_back: CancellationToken,
}

/// Failures in a row after which a worker that is to end gives up.
const PATIENCE: u32 = 3;

impl Common {
    /// Whether what has failed so often is left to the next worker.
    pub(in crate::worker) fn gives_up(&self, failures: u32) -> bool {
        self.until == Until::Done && failures >= PATIENCE
    }

    fn note_poll(&self, empty: bool) {
        match empty {
            true => drop(self.empty_polls.fetch_add(1, Ordering::SeqCst)),
            false => self.empty_polls.store(0, Ordering::SeqCst),
        }
    }
}

/// Runs the worker on a queue. See [`super::run`].
pub(super) async fn run(
    wired: &Wired,
    queues: &Queues,
    until: Until,
    grace: Duration,
    stop: impl Future<Output = ()>,
    mut seen: impl FnMut(&Round),
) -> Result<(), WorkerError> {
    if until == Until::Idle {
        // Before anything is received: else each start in an outage would use up a receive.
        for pipeline in &wired.pipelines {
            let name = pipeline.settings.name.clone();
            let prepared = pipeline.bronze.prepare().await;
            prepared.map_err(|source| WorkerError::Bronze { pipeline: name, source })?;
        }
    }
    let (told, mut rounds) = mpsc::unbounded_channel();
    let (trouble, mut troubles) = mpsc::unbounded_channel();
    let common = Arc::new(common(wired, queues, until, told, trouble));
    let mut tasks = Tasks::start(&common, &wired.pipelines);
    let wakes = tasks.wakes.clone();
    let mut stop = std::pin::pin!(stop);
    let mut idle = std::pin::pin!(idle(&common, &wakes));
    let ended = loop {
        tokio::select! {
            () = &mut stop => {
                tracing::info!("stopping: what is in hand is finished or given back");
                break Ok(());
            }
            Some(error) = troubles.recv() => break Err(error),
            Some(round) = rounds.recv() => seen(&round),
            ended = &mut idle => break ended,
            Some(ended) = tasks.all.join_next() => {
                let why = ended.map_or_else(|panic| panic.to_string(), |()| "no error".to_owned());
                break Err(WorkerError::TaskEnded(why));
            }
        }
    };
    common.stop.cancel();
    tasks.finish(grace, &mut rounds, &mut seen).await;
    ended
}

fn common(
    wired: &Wired,
    queues: &Queues,
    until: Until,
    told: mpsc::UnboundedSender<Round>,
    trouble: mpsc::UnboundedSender<WorkerError>,
) -> Common {
    let ambient = wired.lake.ambient().clone();
    let limits = || wired.pipelines.iter().map(|p| p.settings.bronze.batch);
    let objects: usize = limits().map(|batch| batch.max_objects).sum();
    let bytes = limits().fold(0_u64, |sum, batch| sum.saturating_add(batch.max_bytes));
    Common {
        queue: queues.queue.clone(),
        dead_letters: DeadLetters::new(queues.dlq.clone(), ambient.clone()),
        in_hand: Arc::new(Heartbeat::new(queues.settings.visibility, ambient.clone())),
        // One batch in work, and the next one gathered.
        admission: Admission::new((2 * objects).clamp(20, MOST_IN_HAND), bytes.saturating_mul(2)),
        breaker: Breaker::default(),
        ambient,
        on_unmatched: queues.settings.on_unmatched,
        poll: Duration::from_secs(if until == Until::Stopped { 20 } else { 1 }),
        told,
        trouble: (until == Until::Idle).then_some(trouble),
        until,
        empty_polls: AtomicUsize::new(0),
        lake: wired.lake.clone(),
        lanes: wired.pipelines.len(),
        stop: CancellationToken::new(),
        give_back: CancellationToken::new(),
    }
}

/// The tasks of a worker.
struct Tasks {
    all: JoinSet<()>,
    /// Ends by itself once nobody is left who could end a message.
    closing: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
    wakes: Vec<Arc<Wake>>,
}

impl Tasks {
    fn start(common: &Arc<Common>, pipelines: &[Pipeline]) -> Self {
        let mut all = JoinSet::new();
        let (closing, closed) = mpsc::unbounded_channel();
        let closed = tokio::spawn(release::run(common.clone(), closed));
        let (mut lanes, mut wakes) = (Vec::new(), Vec::new());
        for pipeline in pipelines {
            let wake = Arc::new(Wake::default());
            // What was left when the last worker went away.
            wake.wake();
            let lane_ended = CancellationToken::new();
            let (lane, entrance) = lane::Lane::new(common, pipeline, wake.clone());
            let ending = lane_ended.clone().drop_guard();
            all.spawn(async move {
                lane.run().await;
                drop(ending);
            });
            all.spawn(merge::run(common.clone(), pipeline.clone(), wake.clone(), lane_ended));
            lanes.push(entrance);
            wakes.push(wake);
        }
        let (ended, taking) = (common.give_back.clone().drop_guard(), common.clone());
        all.spawn(async move {
            intake::run(taking, lanes, closing).await;
            drop(ended);
        });
        let heartbeat = common.in_hand.keep_hidden(common.queue.clone());
        Self { all, closing: closed, heartbeat, wakes }
    }

    /// Lets the tasks come to their end, and cuts off what does not.
    async fn finish(
        mut self,
        grace: Duration,
        rounds: &mut mpsc::UnboundedReceiver<Round>,
        seen: &mut impl FnMut(&Round),
    ) {
        let joined = async { while self.all.join_next().await.is_some() {} };
        if tokio::time::timeout(grace.saturating_sub(LAST), joined).await.is_err() {
            tracing::warn!(
                "what is in hand takes too long and is cut off; its messages come again"
            );
            self.all.shutdown().await;
        }
        // What was given up, too, is given back.
        if tokio::time::timeout(LAST, self.closing).await.is_err() {
            tracing::warn!(
                "messages could not be given back in time; they come again by themselves"
            );
        }
        self.heartbeat.abort();
        while let Ok(round) = rounds.try_recv() {
            seen(&round);
        }
    }
}

/// Returns when the queue is empty, nothing is in hand and silver has caught up.
async fn idle(common: &Common, wakes: &[Arc<Wake>]) -> Result<(), WorkerError> {
    if common.until == Until::Stopped {
        return std::future::pending().await;
    }
    let mut looks = 0;
    let pause = if common.queue.is_exact() { QUICK_LOOK } else { LOOK };
    while looks < LOOKS {
        tokio::time::sleep(pause).await;
        let nothing_here = common.admission.is_empty()
            && common.in_hand.is_empty()
            && common.empty_polls.load(Ordering::SeqCst) >= LOOKS
            && wakes.iter().all(|wake| wake.is_done());
        let empty = nothing_here && common.queue.describe().await?.messages() == 0;
        looks = if empty && common.in_hand.is_empty() { looks + 1 } else { 0 };
    }
    Ok(())
}
