//! What the tasks of a queue worker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Share};
use super::breaker::Breaker;
use super::dead_letters::DeadLetters;
use crate::ambient::SharedAmbient;
use crate::config::settings::OnUnmatched;
use crate::lake::Lake;
use crate::pipeline::{Queues, Wired};
use crate::queue::{EventQueue, Heartbeat, Limits};
use crate::worker::error::WorkerError;
use crate::worker::failure::{FailurePolicy, Next, Retry};
use crate::worker::round::{Round, Until};

/// Messages in flight at most, whatever the queue allows: each takes some 2 KiB of memory.
const MOST_IN_FLIGHT: usize = 18_000;
/// Dead letters without a pipeline that wait to be sent, each with its message's body.
const DEAD_LETTERS: Share = Share { objects: 200, bytes: 16 * 1024 * 1024 };
/// How long a poll waits for a message.
const POLL: Duration = Duration::from_secs(20);
/// The same where the worker ends once the queue is empty.
const SHORT_POLL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) receiving: Receiving,
    pub(super) dead_letters: DeadLetters,
    pub(super) breaker: Breaker,
    pub(super) failures: Failures,
    pub(super) stop: Stop,
    /// What was done, for who started the worker.
    pub(super) rounds: mpsc::UnboundedSender<Round>,
    pub(super) lake: Lake,
    pub(super) pipelines: usize,
    pub(super) ambient: SharedAmbient,
}

/// The queue, and the messages of it that are in flight.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) queue: Arc<dyn EventQueue>,
    pub(super) limits: Limits,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) admission: Arc<Admission>,
    pub(super) on_unmatched: OnUnmatched,
    /// How long a poll waits for a message.
    pub(super) poll: Duration,
    /// Polls since the last message that brought none.
    empty_polls: AtomicUsize,
}

impl Receiving {
    pub(super) fn note_poll(&self, empty: bool) {
        match empty {
            true => drop(self.empty_polls.fetch_add(1, Ordering::SeqCst)),
            false => self.empty_polls.store(0, Ordering::SeqCst),
        }
    }

    pub(super) fn empty_polls(&self) -> usize {
        self.empty_polls.load(Ordering::SeqCst)
    }
}

/// The two steps of a stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// First, nothing more is received.
    pub(super) receiving: CancellationToken,
    /// Once no receive is under way, what has not begun is released: an open poll would receive it again.
    pub(super) working: CancellationToken,
}

/// What failures do to the worker.
#[derive(Debug)]
pub(super) struct Failures {
    policy: FailurePolicy,
    /// Errors that end the worker.
    errors: mpsc::UnboundedSender<WorkerError>,
}

impl Failures {
    /// See [`FailurePolicy::part`].
    pub(super) fn part(&self, what: &'static str, pipeline: Option<&str>) -> Retry {
        self.policy.part(what, pipeline)
    }

    /// The pause after the failure of a part that can leave its work to the next worker. `None`: it
    /// does, or the worker ends.
    pub(super) fn pause(
        &self,
        retry: &mut Retry,
        error: WorkerError,
        consequence: &str,
    ) -> Option<Duration> {
        match retry.failed(&error, consequence) {
            Next::Retry(pause) => Some(pause),
            Next::Leave => None,
            Next::End => self.end(error),
        }
    }

    /// The same of a part without which the worker can do nothing.
    pub(super) fn pause_of_all(
        &self,
        retry: &mut Retry,
        error: WorkerError,
        consequence: &str,
    ) -> Option<Duration> {
        match retry.failed(&error, consequence) {
            Next::Retry(pause) => Some(pause),
            Next::Leave | Next::End => self.end(error),
        }
    }

    fn end(&self, error: WorkerError) -> Option<Duration> {
        // Without a receiver it ends already.
        drop(self.errors.send(error));
        None
    }
}

impl Shared {
    pub(super) fn new(
        wired: &Wired,
        queues: &Queues,
        until: Until,
        policy: FailurePolicy,
        rounds: mpsc::UnboundedSender<Round>,
        errors: mpsc::UnboundedSender<WorkerError>,
    ) -> Self {
        let ambient = wired.lake.ambient().clone();
        let limits = queues.queue.limits();
        let visibility = queues.settings.visibility.min(limits.longest_hidden);
        let receiving = Receiving {
            queue: queues.queue.clone(),
            limits,
            heartbeat: Arc::new(Heartbeat::new(visibility, ambient.clone())),
            admission: admission(wired, limits, &ambient),
            on_unmatched: queues.settings.on_unmatched,
            poll: if until == Until::Stopped { POLL } else { SHORT_POLL },
            empty_polls: AtomicUsize::new(0),
        };
        Self {
            receiving,
            dead_letters: DeadLetters::new(queues.dlq.clone(), ambient.clone()),
            breaker: Breaker::default(),
            failures: Failures { policy, errors },
            stop: Stop::default(),
            rounds,
            lake: wired.lake.clone(),
            pipelines: wired.pipelines.len(),
            ambient,
        }
    }
}

/// Each pipeline has two batches in flight, as far as the queue allows it for all of them at a time.
fn admission(wired: &Wired, limits: Limits, ambient: &SharedAmbient) -> Arc<Admission> {
    let in_flight = MOST_IN_FLIGHT.min(limits.in_flight / 10 * 9);
    // With its overflow, a lane uses at most five quarters of its share.
    let fair =
        in_flight.saturating_sub(DEAD_LETTERS.objects) * 4 / 5 / wired.pipelines.len().max(1);
    let shares: Vec<Share> = wired
        .pipelines
        .iter()
        .map(|pipeline| {
            let batch = pipeline.settings.bronze.batch;
            let objects = batch.max_objects.saturating_mul(2).min(fair).max(2 * limits.batch);
            Share { objects, bytes: batch.max_bytes.saturating_mul(2) }
        })
        .collect();
    Admission::new(limits.batch, in_flight, &shares, DEAD_LETTERS, ambient.clone())
}
