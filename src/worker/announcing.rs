//! Announcing beside the work: a task for each pipeline, which holds up nothing.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::WorkerError;
use super::failure::{FailurePolicy, Next, Retry};
use crate::ambient::{SharedAmbient, timeout};
use crate::announce::{AnnounceError, Announcer};
use crate::error::chain;
use crate::pipeline::Pipeline;

/// How often commits are looked for that no task of this worker made.
const LOOK: Duration = Duration::from_secs(30);
/// How long the last announcements may take when the worker ends; the next one continues.
const LAST: Duration = Duration::from_secs(5);

const LATER: &str = "could not announce every commit in time; the next run announces the rest";

/// The tasks.
pub(super) struct Announcing {
    tasks: JoinSet<()>,
    wakes: HashMap<String, Arc<Notify>>,
    stop: CancellationToken,
    ambient: SharedAmbient,
}

impl Announcing {
    /// Starts them, before anything is committed. A worker that does not end by itself waits until
    /// it can.
    pub(super) async fn start(
        pipelines: &[Pipeline],
        policy: &FailurePolicy,
        ambient: &SharedAmbient,
    ) -> Result<Self, WorkerError> {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let mut wakes = HashMap::new();
        for pipeline in pipelines {
            let Some(announcer) = &pipeline.announcer else { continue };
            let name = pipeline.settings.name.as_str();
            prepare(announcer, policy.part("announcements", Some(name)), name, ambient).await?;
            let wake = Arc::new(Notify::new());
            tasks.spawn(run(
                announcer.clone(),
                name.to_owned(),
                policy.part_beside("announcements", name),
                wake.clone(),
                stop.clone(),
                ambient.clone(),
            ));
            wakes.insert(name.to_owned(), wake);
        }
        Ok(Self { tasks, wakes, stop, ambient: ambient.clone() })
    }

    /// Something of a pipeline was committed.
    pub(super) fn wake(&self, pipeline: &str) {
        if let Some(wake) = self.wakes.get(pipeline) {
            wake.notify_one();
        }
    }

    /// Something of any pipeline was committed.
    pub(super) fn wake_all(&self) {
        self.wakes.values().for_each(|wake| wake.notify_one());
    }

    /// Announces what is left, for a while.
    pub(super) async fn finish(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(&self.ambient, LAST, all).await.is_err() {
            tracing::warn!("{LATER}");
        }
    }
}

async fn prepare(
    announcer: &Announcer,
    mut retry: Retry,
    pipeline: &str,
    ambient: &SharedAmbient,
) -> Result<(), WorkerError> {
    while let Err(source) = announcer.prepare().await {
        let error = WorkerError::Announce { pipeline: pipeline.to_owned(), source };
        match retry.failed(&error, "could not prepare announcements; the worker has not begun") {
            Next::Retry(pause) => ambient.sleep(pause).await,
            Next::Leave | Next::End => return Err(error),
        }
    }
    retry.succeeded();
    Ok(())
}

async fn run(
    announcer: Announcer,
    pipeline: String,
    mut retry: Retry,
    wake: Arc<Notify>,
    stop: CancellationToken,
    ambient: SharedAmbient,
) {
    loop {
        let last = stop.is_cancelled();
        let announced = announcer.announce().await;
        let pause = note(announced, &pipeline, &mut retry);
        if last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = wake.notified(), if retry.failures() == 0 => {}
            () = ambient.sleep(pause) => {}
        }
    }
}

/// Logs what became of an attempt. The pause before the next one.
fn note(announced: Result<usize, AnnounceError>, pipeline: &str, retry: &mut Retry) -> Duration {
    match announced {
        Ok(count) => {
            retry.succeeded();
            if count > 0 {
                tracing::debug!(pipeline, count, "announced");
            }
            LOOK
        }
        Err(source) => {
            let error = WorkerError::Announce { pipeline: pipeline.to_owned(), source };
            match retry.failed(&error, "announcing failed; the work goes on") {
                Next::Retry(pause) => pause,
                Next::Leave | Next::End => LOOK,
            }
        }
    }
}

/// Does a step's work and announces what it committed. What cannot be announced within a while is
/// left to the next run.
pub async fn announced<T, E>(
    pipelines: &[&Pipeline],
    ambient: &SharedAmbient,
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
    if timeout(ambient, LAST, join_all(all)).await.is_err() {
        tracing::warn!("{LATER}");
    }
    done
}
