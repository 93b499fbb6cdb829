//! `run`, `bronze`, `silver`, `gold`.

use super::exit::Usage;
use super::left::Left;
use super::output::say;
use super::progress::{watched, watched_with_progress};
use crate::ambient::SharedAmbient;
use crate::error::chain;
use crate::pipeline::{Pipeline, Wired};
use crate::telemetry::readiness::Health;
use crate::worker::report::{bronze_line, gold_line, silver_line};
use crate::worker::{self, Merger, Refresher, Round, Until};

/// With JSON logs (`quiet`), the log has everything and no other lines are printed.
pub(super) async fn run(
    wired: &Wired,
    health: &Health,
    until_idle: bool,
    lenient: bool,
    quiet: bool,
) -> anyhow::Result<()> {
    let grace = wired.settings.worker.shutdown_grace;
    let until = if until_idle { Until::Idle } else { Until::Stopped };
    let (mut rounds, mut left) = (0_usize, Left::default());
    let began = wired.lake.ambient().now();
    let seen = |round: &Round| {
        rounds += 1;
        left.round(round);
        if !quiet {
            // A closed stderr is no reason to stop working.
            drop(report(round));
        }
    };
    worker::run(wired, health, until, grace, stop_signal(), seen).await?;
    if rounds == 0 && until_idle && !quiet {
        say("nothing new")?;
    }
    // A worker that is to stay is stopped by others, who look at its metrics.
    if until_idle && !lenient {
        left.confirm(&wired.pipelines, began).await?;
    }
    left.end(lenient || !until_idle)
}

/// Completes on SIGTERM or Ctrl-C.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        tracing::warn!("cannot listen for SIGTERM");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn report(round: &Round) -> anyhow::Result<()> {
    if round.bronze.listed > 0 {
        say(&bronze_line(&round.pipeline, &round.bronze))?;
    }
    if let Some(silver) = &round.silver {
        say(&silver_line(&round.pipeline, silver))?;
    }
    for (table, gold) in &round.gold {
        say(&gold_line(table, gold))?;
    }
    Ok(())
}

pub(super) async fn bronze(
    pipelines: &[&Pipeline],
    ambient: &SharedAmbient,
    lenient: bool,
) -> anyhow::Result<()> {
    let (mut left, began) = (Left::default(), ambient.now());
    for pipeline in pipelines {
        let name = &pipeline.settings.name;
        let report = watched_with_progress(&format!("bronze of {name}"), |progress| {
            pipeline.bronze.step_with(move |so_far| progress.set(bronze_line(name, so_far)))
        })
        .await?;
        say(&bronze_line(name, &report))?;
        left.bronze(&report);
    }
    left.confirm(pipelines.iter().copied(), began).await?;
    left.end(lenient)
}

pub(super) async fn backfill(
    pipelines: &[&Pipeline],
    ambient: &SharedAmbient,
    root: Option<&str>,
    lenient: bool,
) -> anyhow::Result<()> {
    let (mut any, mut left, began) = (false, Left::default(), ambient.now());
    for pipeline in pipelines {
        let (name, own) = (&pipeline.settings.name, pipeline.settings.bronze.root.as_str());
        // The narrower of the requested URI and the pipeline's root; none where neither contains the other.
        let root = match root {
            None => own,
            Some(requested) if requested.starts_with(own) => requested,
            Some(requested) if own.starts_with(requested) => own,
            Some(_) => continue,
        };
        any = true;
        let report = watched_with_progress(&format!("backfill of {name}"), |progress| {
            pipeline.bronze.backfill(root, move |so_far| progress.set(bronze_line(name, so_far)))
        })
        .await?;
        say(&bronze_line(name, &report))?;
        left.bronze(&report);
    }
    if !any {
        let root = root.unwrap_or_default();
        let why = format!("no pipeline's source matches objects below `{root}`");
        return Err(Usage(why).into());
    }
    left.confirm(pipelines.iter().copied(), began).await?;
    left.end(lenient)
}

pub(super) async fn silver(
    pipelines: &[&Pipeline],
    ambient: &SharedAmbient,
    rebuild: bool,
    force: bool,
    lenient: bool,
) -> anyhow::Result<()> {
    let mut left = Left::default();
    for pipeline in pipelines {
        let name = &pipeline.settings.name;
        let what = format!("silver of {name}");
        let mut merger = Merger::new(pipeline, ambient);
        let report = if rebuild {
            watched(&what, merger.rebuild(force)).await?
        } else {
            watched(&what, merger.silver()).await?
        };
        if let Some(report) = report {
            say(&silver_line(name, &report))?;
            left.silver(&report);
        }
    }
    left.end(lenient)
}

pub(super) async fn gold(pipelines: &[&Pipeline], ambient: &SharedAmbient) -> anyhow::Result<()> {
    let mut first_error = None;
    let mut refresher = Refresher::own(pipelines, ambient);
    for (table, refreshed) in watched("gold", refresher.refresh()).await {
        match refreshed {
            Ok(report) => say(&gold_line(&table, &report))?,
            Err(error) => {
                say(&format!("{table}: failed: {}", chain(&error)))?;
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), |error| Err(error.into()))
}
