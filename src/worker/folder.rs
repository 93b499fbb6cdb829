//! A folder as the source: rounds of bronze, silver and gold.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::error::WorkerError;
use super::failure::{FailurePolicy, MERGE_STALLED, Next, Retry, STALLED};
use super::merge::Merger;
use super::refresh::{Refresher, parted};
use super::round::{Round, Until};
use crate::ambient::{SharedAmbient, timeout};
use crate::gold::GoldReport;
use crate::pipeline::{Pipeline, Wired};

/// How long an idle worker waits before it lists the folder again.
const POLL: Duration = Duration::from_millis(500);
/// How often gold looks whether other programs have changed what it is computed from.
const LOOK: TimeDelta = TimeDelta::seconds(30);

/// Runs rounds until `stop` is done, or, with an `until` that ends, until a round of all pipelines had
/// nothing to do. A pipeline that fails does not hold up the others: it is tried again after a growing
/// delay. A worker that ends returns its error once the others are done. A stop lets the round in
/// progress finish within `grace`; cutting it off is safe at any point. `seen` gets every round that
/// did something.
pub(super) async fn run(
    wired: &Wired,
    policy: &FailurePolicy,
    until: Until,
    grace: Duration,
    stop: impl Future<Output = ()>,
    mut seen: impl FnMut(&Round),
) -> Result<(), WorkerError> {
    let ambient = wired.lake.ambient();
    let mut stop = std::pin::pin!(stop);
    let mut routes: Vec<Route<'_>> =
        wired.pipelines.iter().map(|pipeline| Route::new(pipeline, policy, ambient)).collect();
    let ends = until != Until::Stopped;
    loop {
        // Before the round: what settles while it lists is in the next one.
        let unsettled = ends && unsettled(wired).await;
        let ended = {
            let mut all = std::pin::pin!(round_of_all(&mut routes, ambient, &mut seen));
            tokio::select! {
                lap = &mut all => Some(lap),
                () = &mut stop => {
                    finish(ambient, grace, all).await;
                    None
                }
            }
        };
        match ended {
            None => break,
            Some(Lap { idle: false, .. }) => continue,
            Some(lap) if ends && !unsettled && !lap.waiting => break,
            Some(_) => {}
        }
        tokio::select! {
            () = ambient.sleep(POLL) => {}
            () = &mut stop => break,
        }
    }
    first_error(routes)
}

async fn finish(ambient: &SharedAmbient, grace: Duration, round: impl Future<Output = Lap>) {
    tracing::info!("shutting down: finishing the current round");
    if timeout(ambient, grace, round).await.is_err() {
        tracing::warn!(?grace, "the current round took too long; the next run continues it");
    }
}

/// A pipeline, and what became of its last round.
struct Route<'a> {
    pipeline: &'a Pipeline,
    merger: Merger,
    refresher: Refresher,
    /// When gold is refreshed though silver has not moved.
    refresh_at: DateTime<Utc>,
    retry: Retry,
    failed: Option<Failed>,
    /// Gold holds up neither bronze nor silver.
    gold_retry: Retry,
    gold_failed: Option<Failed>,
}

struct Failed {
    error: WorkerError,
    /// When it is tried again; `None`: not by this worker.
    again_at: Option<DateTime<Utc>>,
}

/// What a round of all pipelines came to.
struct Lap {
    /// No pipeline had anything to do.
    idle: bool,
    /// Another merger holds the lock of a table that has something to merge.
    waiting: bool,
}

impl<'a> Route<'a> {
    fn new(pipeline: &'a Pipeline, policy: &FailurePolicy, ambient: &SharedAmbient) -> Self {
        let retry = policy.part("pipeline", Some(&pipeline.settings.name));
        let gold_retry = policy.part("gold", Some(&pipeline.settings.name));
        let (merger, refresher) =
            (Merger::new(pipeline, ambient), Refresher::new(pipeline, ambient));
        let (refresh_at, failed, gold_failed) = (ambient.now(), None, None);
        Self { pipeline, merger, refresher, refresh_at, retry, failed, gold_retry, gold_failed }
    }

    fn is_due(&self, now: DateTime<Utc>) -> bool {
        let due = |failed: &Failed| failed.again_at.is_some_and(|again_at| now >= again_at);
        self.failed.as_ref().is_none_or(due)
    }

    /// Bronze, silver and gold of the pipeline, once. Whether nothing is left to merge.
    async fn round(&mut self, now: DateTime<Utc>) -> Result<(Round, bool), WorkerError> {
        let done = self.merged(now).await;
        if done.is_err() {
            // It may have committed all the same.
            self.refresh_at = now;
        }
        let (mut round, done) = done?;
        round.gold = self.refresh(now).await;
        Ok((round, done))
    }

    /// Bronze and silver, once.
    async fn merged(&mut self, now: DateTime<Utc>) -> Result<(Round, bool), WorkerError> {
        let name = &self.pipeline.settings.name;
        let begun = self.retry.begin(STALLED);
        let bronze = self.pipeline.bronze.step_with(|_| begun.progress()).await;
        drop(begun);
        let bronze =
            bronze.map_err(|source| WorkerError::Bronze { pipeline: name.clone(), source })?;
        let _begun = self.retry.begin(MERGE_STALLED);
        let merged = self.merger.merge_once().await?;
        // Without silver, gold follows bronze.
        let appended = self.pipeline.silver.is_none() && !bronze.snapshots.is_empty();
        if merged.round.is_some() || appended {
            self.refresh_at = now;
        }
        let round = merged.round.unwrap_or_else(|| Round::of(name));
        Ok((Round { bronze, ..round }, merged.done))
    }

    /// Refreshes gold where that is due. It stays due until it has succeeded.
    async fn refresh(&mut self, now: DateTime<Utc>) -> Vec<(String, GoldReport)> {
        let waits = |failed: &Failed| failed.again_at.is_none_or(|again_at| now < again_at);
        if now < self.refresh_at || self.gold_failed.as_ref().is_some_and(waits) {
            return vec![];
        }
        let begun = self.gold_retry.begin(MERGE_STALLED);
        let (reports, error) = parted(self.refresher.refresh().await, &self.pipeline.settings.name);
        drop(begun);
        self.gold_failed = match error {
            None => {
                self.gold_retry.succeeded();
                self.refresh_at = now + LOOK;
                None
            }
            Some(error) => {
                const CONSEQUENCE: &str = "gold failed; bronze and silver go on";
                let again_at = match self.gold_retry.failed(&error, CONSEQUENCE) {
                    Next::Retry(pause) => Some(now + pause),
                    Next::Leave | Next::End => None,
                };
                Some(Failed { error, again_at })
            }
        };
        reports
    }

    fn note(&mut self, error: WorkerError, now: DateTime<Utc>) {
        let again_at = match self.retry.failed(&error, "pipeline failed; the others go on") {
            Next::Retry(pause) => Some(now + pause),
            Next::Leave | Next::End => None,
        };
        self.failed = Some(Failed { error, again_at });
    }
}

fn first_error(routes: Vec<Route<'_>>) -> Result<(), WorkerError> {
    match routes.into_iter().find_map(|route| route.failed.or(route.gold_failed)) {
        Some(failed) => Err(failed.error),
        None => Ok(()),
    }
}

/// A round of every pipeline that is due.
async fn round_of_all(
    routes: &mut [Route<'_>],
    ambient: &SharedAmbient,
    seen: &mut impl FnMut(&Round),
) -> Lap {
    let mut lap = Lap { idle: true, waiting: false };
    for route in routes {
        let now = ambient.now();
        if !route.is_due(now) {
            continue;
        }
        match route.round(now).await {
            Ok((round, done)) => {
                route.failed = None;
                route.retry.succeeded();
                lap.waiting |= !done;
                if !round.idle() {
                    lap.idle = false;
                    seen(&round);
                }
            }
            Err(error) => route.note(error, now),
        }
    }
    lap
}

/// Whether there are objects that do not count yet: a worker that ends when it is idle waits for them.
async fn unsettled(wired: &Wired) -> bool {
    match wired.source.pending().await {
        Ok(pending) => pending.iter().any(|uri| {
            let settings = wired.pipelines.iter().map(|pipeline| &pipeline.settings.bronze);
            settings.into_iter().any(|bronze| bronze.is_data(uri) || bronze.is_marker(uri))
        }),
        Err(error) => {
            tracing::warn!(%error, "could not list the source");
            false
        }
    }
}
