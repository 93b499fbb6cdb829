//! The one policy for failures: what a part of the worker does when its work fails.
//!
//! A part counts its failures in a row and logs each with the attempts and the elapsed time. It
//! reports them to `/readyz`, and waits longer after each. How a worker is to end ([`Until`]) decides
//! whether a failure ends it, or after how many a part leaves its work to the next worker.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::error::WorkerError;
use super::round::Until;
use crate::ambient::SharedAmbient;
use crate::backoff::retry_delay;
use crate::error::chain;
use crate::telemetry::readiness::{Begun, Health, PartHealth};

/// An attempt without progress for so long counts as stalled. It is longer than any request takes
/// with its retries and deadlines, and shorter than an operator's first look at a silent worker.
pub(super) const STALLED: Duration = Duration::from_secs(5 * 60);
/// The same for a merge: the first load of a large table reports nothing for long.
pub(super) const MERGE_STALLED: Duration = Duration::from_secs(30 * 60);
/// Failures in a row after which a part of a worker that is to end leaves its work to the next one.
const PATIENCE: u32 = 3;

/// What the parts of a worker do about failures.
#[derive(Debug, Clone)]
pub(super) struct FailurePolicy {
    until: Until,
    ambient: SharedAmbient,
    health: Health,
}

impl FailurePolicy {
    pub(super) fn new(until: Until, ambient: &SharedAmbient, health: &Health) -> Self {
        Self { until, ambient: ambient.clone(), health: health.clone() }
    }

    /// A part without which the worker is not ready.
    pub(super) fn part(&self, what: &'static str, pipeline: Option<&str>) -> Retry {
        let name = match pipeline {
            Some(pipeline) => format!("{what} of {pipeline}"),
            None => what.to_owned(),
        };
        Retry {
            policy: self.clone(),
            what,
            pipeline: pipeline.map(str::to_owned),
            health: self.health.part(&name),
            beside: false,
            failures: 0,
            since: None,
        }
    }

    /// A part beside the work, whose failures leave the worker ready.
    pub(super) fn part_beside(&self, what: &'static str, pipeline: &str) -> Retry {
        Retry { beside: true, ..self.part(what, Some(pipeline)) }
    }
}

/// What a part does after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, after a pause.
    Retry(Duration),
    /// Nothing more: the next worker tries again.
    Leave,
    /// Nothing more: the worker ends with this error.
    End,
}

/// The attempts of one part of the worker.
#[derive(Debug)]
pub(super) struct Retry {
    policy: FailurePolicy,
    what: &'static str,
    pipeline: Option<String>,
    health: PartHealth,
    beside: bool,
    failures: u32,
    /// The first of the failures.
    since: Option<DateTime<Utc>>,
}

impl Retry {
    /// An attempt begins, which may go on for `patience` without progress.
    pub(super) fn begin(&self, patience: Duration) -> Begun {
        self.health.begin(patience)
    }

    /// The health of the part, for attempts that run beside one another.
    pub(super) fn health(&self) -> &PartHealth {
        &self.health
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// An attempt succeeded.
    pub(super) fn succeeded(&mut self) {
        (self.failures, self.since) = (0, None);
        self.health.succeeded();
    }

    /// An attempt failed. `consequence`: what failed, and what goes on.
    pub(super) fn failed(&mut self, error: &WorkerError, consequence: &str) -> Next {
        let FailurePolicy { until, ambient, .. } = &self.policy;
        let now = ambient.now();
        self.failures += 1;
        let elapsed = (now - *self.since.get_or_insert(now)).to_std().unwrap_or_default();
        let next = match until {
            Until::Idle => Next::End,
            Until::Done if self.failures >= PATIENCE => Next::Leave,
            Until::Done | Until::Stopped => Next::Retry(ambient.jitter(retry_delay(self.failures))),
        };
        let again_in = match next {
            Next::Retry(pause) => Some(tracing::field::debug(pause)),
            Next::Leave | Next::End => None,
        };
        let (part, pipeline, attempts) = (self.what, self.pipeline.as_deref(), self.failures);
        let error = chain(error);
        if self.beside {
            tracing::warn!(part, pipeline, attempts, ?elapsed, again_in, error, "{consequence}");
        } else {
            self.health.failed(&error);
            tracing::error!(part, pipeline, attempts, ?elapsed, again_in, error, "{consequence}");
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ambient::ManualAmbient;

    fn failing(until: Until) -> (Health, Retry) {
        let ambient: SharedAmbient = Arc::new(ManualAmbient::at(DateTime::UNIX_EPOCH));
        let health = Health::new(ambient.clone());
        health.set_working(true);
        let part = FailurePolicy::new(until, &ambient, &health).part("bronze", Some("orders"));
        (health, part)
    }

    fn fail(part: &mut Retry) -> Next {
        part.failed(&WorkerError::NothingToWatch, "bronze failed")
    }

    #[test]
    fn pauses_grow_until_an_attempt_succeeds() {
        let (health, mut part) = failing(Until::Stopped);
        for longest in [1, 2, 4, 8, 16, 32, 60, 60] {
            let Next::Retry(pause) = fail(&mut part) else { panic!("it goes on") };
            let longest = Duration::from_secs(longest);
            assert!(longest / 2 <= pause && pause <= longest, "{pause:?} of {longest:?}");
        }
        assert_eq!(health.reasons().len(), 1);
        part.succeeded();
        assert!(health.reasons().is_empty());
        assert!(matches!(fail(&mut part), Next::Retry(pause) if pause <= Duration::from_secs(1)));
    }

    #[test]
    fn a_worker_that_ends_leaves_or_reports_what_fails() {
        let (_, mut part) = failing(Until::Done);
        assert!(matches!(fail(&mut part), Next::Retry(_)));
        assert!(matches!(fail(&mut part), Next::Retry(_)));
        assert_eq!(fail(&mut part), Next::Leave);
        let (_, mut part) = failing(Until::Idle);
        assert_eq!(fail(&mut part), Next::End);
    }

    #[test]
    fn a_failure_beside_the_work_leaves_the_worker_ready() {
        let (health, part) = failing(Until::Stopped);
        let mut part = part.policy.part_beside("announcements", "orders");
        assert!(matches!(fail(&mut part), Next::Retry(_)));
        assert!(health.reasons().is_empty());
    }
}
