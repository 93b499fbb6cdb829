//! A folder as the source: rounds of bronze, silver and gold.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Round, WorkerError, merge};
use crate::backoff::retry_delay;
use crate::error::chain;
use crate::pipeline::{Pipeline, Wired};
use crate::telemetry::readiness;

/// How long an idle worker waits before it lists a directory again.
const POLL: Duration = Duration::from_millis(500);

/// Bronze, silver and gold of one pipeline, once.
async fn round(pipeline: &Pipeline) -> Result<Round, WorkerError> {
    let name = pipeline.settings.name.clone();
    let bronze = pipeline.bronze.step().await;
    let bronze = bronze.map_err(|source| WorkerError::Bronze { pipeline: name, source })?;
    Ok(Round { bronze, ..merge(pipeline).await? })
}

/// Runs rounds until `stop` is done; with `until_idle`, until a round of all pipelines had nothing
/// to do. A pipeline in trouble does not hold up the others: it is tried again, with a growing delay;
/// with `until_idle` its error is returned once the others are done. A stop lets the round in hand
/// end within `grace`; what is cut off then is safe to be cut off anywhere. `seen` is told of every
/// round that did something.
pub(super) async fn run(
    wired: &Wired,
    until_idle: bool,
    grace: Duration,
    stop: impl Future<Output = ()>,
    mut seen: impl FnMut(&Round),
) -> Result<(), WorkerError> {
    let mut stop = std::pin::pin!(stop);
    let mut routes: Vec<Route<'_>> = wired.pipelines.iter().map(Route::new).collect();
    loop {
        // Before the round: what settles while it lists is in the next one.
        let waiting = until_idle && unsettled(wired).await;
        let ended = {
            let mut all = std::pin::pin!(round_of_all(wired, &mut routes, until_idle, &mut seen));
            tokio::select! {
                idle = &mut all => Some(idle),
                () = &mut stop => {
                    tracing::info!("stopping: the round in hand is brought to its end");
                    if tokio::time::timeout(grace, all).await.is_err() {
                        tracing::warn!("the round in hand took too long and was cut off; the next run goes on from there");
                    }
                    None
                }
            }
        };
        match ended {
            None => break,
            Some(false) => continue,
            Some(true) if until_idle && !waiting => break,
            Some(true) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = &mut stop => break,
        }
    }
    first_trouble(routes)
}

/// A pipeline, and the trouble that it is in.
struct Route<'a> {
    pipeline: &'a Pipeline,
    trouble: Option<Trouble>,
}

struct Trouble {
    error: WorkerError,
    attempts: u32,
    again_at: DateTime<Utc>,
}

impl<'a> Route<'a> {
    fn new(pipeline: &'a Pipeline) -> Self {
        Self { pipeline, trouble: None }
    }

    fn note(&mut self, error: WorkerError, now: DateTime<Utc>) {
        let attempts = self.trouble.as_ref().map_or(0, |t| t.attempts) + 1;
        let delay = retry_delay(attempts);
        tracing::error!(
            pipeline = %self.pipeline.settings.name, attempts, again_in = ?delay,
            error = chain(&error), "pipeline in trouble; the others go on"
        );
        readiness::trouble(&self.pipeline.settings.name, &chain(&error));
        self.trouble = Some(Trouble { error, attempts, again_at: now + delay });
    }
}

fn first_trouble(routes: Vec<Route<'_>>) -> Result<(), WorkerError> {
    match routes.into_iter().find_map(|route| route.trouble) {
        Some(trouble) => Err(trouble.error),
        None => Ok(()),
    }
}

/// A round of every pipeline that is not waiting for its trouble to pass. Whether all were idle.
async fn round_of_all(
    wired: &Wired,
    routes: &mut [Route<'_>],
    once: bool,
    seen: &mut impl FnMut(&Round),
) -> bool {
    let mut idle = true;
    for route in routes {
        let now = wired.lake.ambient().now();
        if route.trouble.as_ref().is_some_and(|t| once || now < t.again_at) {
            continue;
        }
        match round(route.pipeline).await {
            Ok(round) => {
                route.trouble = None;
                readiness::well(&route.pipeline.settings.name);
                if !round.idle() {
                    idle = false;
                    seen(&round);
                }
            }
            Err(error) => route.note(error, now),
        }
    }
    idle
}

/// Whether there are objects that do not count yet: a worker that runs until idle waits for them.
async fn unsettled(wired: &Wired) -> bool {
    match wired.source.pending().await {
        Ok(pending) => pending
            .iter()
            .any(|uri| wired.pipelines.iter().any(|p| p.settings.bronze.source.is_match(uri))),
        Err(error) => {
            tracing::warn!(%error, "the source cannot be listed");
            false
        }
    }
}
