//! Announcing beside the work: a task for each pipeline, that holds up nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Until, WorkerError};
use crate::announce::Announcer;
use crate::backoff::retry_delay;
use crate::error::chain;
use crate::pipeline::Pipeline;
use crate::telemetry::readiness;

/// How often it is looked whether something was committed that nobody woke us for.
const LOOK: Duration = Duration::from_secs(30);
/// How long the last announcements may take when the worker ends; the next one goes on from there.
const LAST: Duration = Duration::from_secs(5);

/// The tasks.
pub(super) struct Announcing {
    tasks: JoinSet<()>,
    wakes: HashMap<String, Arc<Notify>>,
    stop: CancellationToken,
}

impl Announcing {
    /// Starts them, before anything is committed. A worker that does not end by itself waits until it can.
    pub(super) async fn start(pipelines: &[Pipeline], until: Until) -> Result<Self, WorkerError> {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let mut wakes = HashMap::new();
        for pipeline in pipelines {
            let Some(announcer) = &pipeline.announcer else { continue };
            let name = pipeline.settings.name.clone();
            let mut failures = 0;
            while let Err(source) = announcer.prepare().await {
                let error = WorkerError::Announce { pipeline: name.clone(), source };
                if until != Until::Stopped {
                    return Err(error);
                }
                failures += 1;
                let again_in = retry_delay(failures);
                tracing::error!(
                    failures,
                    ?again_in,
                    error = chain(&error),
                    "the worker cannot begin"
                );
                readiness::trouble("announcements", &chain(&error));
                tokio::time::sleep(again_in).await;
            }
            readiness::well("announcements");
            let wake = Arc::new(Notify::new());
            tasks.spawn(run(announcer.clone(), name.clone(), wake.clone(), stop.clone()));
            wakes.insert(name, wake);
        }
        Ok(Self { tasks, wakes, stop })
    }

    /// Something of a pipeline was committed.
    pub(super) fn wake(&self, pipeline: &str) {
        if let Some(wake) = self.wakes.get(pipeline) {
            wake.notify_one();
        }
    }

    /// Announces what is left, for a while.
    pub(super) async fn finish(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, all).await.is_err() {
            tracing::warn!("{LATER}");
        }
    }
}

async fn run(announcer: Announcer, pipeline: String, wake: Arc<Notify>, stop: CancellationToken) {
    let mut failures = 0;
    loop {
        let last = stop.is_cancelled();
        let pause = match announcer.announce().await {
            Ok(count) => {
                failures = 0;
                if count > 0 {
                    tracing::debug!(pipeline, count, "announced");
                }
                LOOK
            }
            Err(error) => {
                failures += 1;
                let again_in = retry_delay(failures);
                let error = chain(&error);
                tracing::warn!(
                    pipeline,
                    failures,
                    ?again_in,
                    error,
                    "announcing in trouble; the work goes on"
                );
                again_in
            }
        };
        if last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = wake.notified(), if failures == 0 => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Does a step's work, and announces what it has committed, as far as it has come and within a while.
pub async fn announced<T, E>(
    pipelines: &[&Pipeline],
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E>
where
    E: From<WorkerError>,
{
    let announcers = || pipelines.iter().filter_map(|p| Some((p, p.announcer.as_ref()?)));
    for (pipeline, announcer) in announcers() {
        announcer.prepare().await.map_err(|source| {
            let pipeline = pipeline.settings.name.clone();
            WorkerError::Announce { pipeline, source }
        })?;
    }
    let done = work.await;
    let all = announcers().map(async |(pipeline, announcer)| {
        if let Err(error) = announcer.announce().await {
            let (pipeline, error) = (&pipeline.settings.name, chain(&error));
            tracing::warn!(pipeline, error, "{LATER}");
        }
    });
    if tokio::time::timeout(LAST, join_all(all)).await.is_err() {
        tracing::warn!("{LATER}");
    }
    done
}

const LATER: &str = "not everything could be announced; the next run announces it";
