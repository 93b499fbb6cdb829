//! `check`: tests the configuration and everything that it names.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use futures::StreamExt;

use super::check_files::files;
use super::check_sql::sql;
use super::findings::Findings;
use super::output::{Format, print};
use crate::bronze::BronzeCheckpoint;
use crate::checkpoint;
use crate::config::Settings;
use crate::config::settings::{Location, SourceSettings};
use crate::error::chain;
use crate::lake::LakeError;
use crate::pipeline::{Intake, Pipeline, Queues, Wired};
use crate::silver::SilverCheckpoint;
use crate::source::Listing;
use crate::wiring::{Missing, wire};
use crate::worker::report::counted;

pub(super) async fn run(settings: Settings, format: Format) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    findings.ok("configuration", counted(settings.pipelines.len() as u64, "pipeline"));
    folders(&settings, &mut findings);
    match wire(settings, Missing::Make).await {
        Ok(wired) => services(&wired, &mut findings).await?,
        Err(error) => findings.fail("catalog", chain(&error)),
    }
    let column = |index: usize| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(findings.lines.iter().map(|l| &l[index])))
    };
    let names = ["result", "what", "found"];
    let columns = names.into_iter().enumerate().map(|(index, name)| (name, column(index)));
    print(&[RecordBatch::try_from_iter(columns)?], format)?;
    if findings.failed {
        anyhow::bail!("check failed: fix the items marked `failed` above");
    }
    Ok(())
}

/// Whether the folders that are written can be written, and the source folder can be read.
fn folders(settings: &Settings, findings: &mut Findings) {
    for (what, location) in [
        ("warehouse", settings.lake.warehouse.as_ref()),
        ("checkpoints", Some(&settings.lake.checkpoints)),
    ] {
        let Some(Location::Folder(folder)) = location else { continue };
        let probe = folder.join(".silversmith-check");
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&probe, b"x"))
            .and_then(|()| std::fs::remove_file(&probe));
        match written {
            Ok(()) => findings.ok(what, format!("{} can be written", folder.display())),
            Err(error) => findings.fail(what, format!("{}: {error}", folder.display())),
        }
    }
    if let SourceSettings::Directory { directory, .. } = &settings.source {
        match std::fs::read_dir(directory) {
            Ok(_) => findings.ok("source", format!("{} can be read", directory.display())),
            Err(error) => findings.fail("source", format!("{}: {error}", directory.display())),
        }
    }
}

/// Whether files of the warehouse on S3 can be written, read and deleted, and whether S3 takes conditional
/// writes of checkpoints.
async fn buckets(wired: &Wired, findings: &mut Findings) {
    let lake = &wired.settings.lake;
    if let Some(warehouse @ Location::S3 { .. }) = &lake.warehouse {
        match wired.lake.probe().await {
            Ok(()) => findings.ok("warehouse", format!("{warehouse} can be written")),
            Err(error) => findings.fail("warehouse", chain(&error)),
        }
    }
    if let Location::S3 { .. } = &lake.checkpoints {
        match checkpoint::probe(&*wired.checkpoints).await {
            Ok(()) => findings.ok("checkpoints", format!("{} can be written", lake.checkpoints)),
            Err(error) => findings.fail("checkpoints", chain(&error)),
        }
    }
}

/// With fewer receives than this, the queue's redrive policy moves messages that only had to wait.
const MIN_RECEIVES: u32 = 10;

async fn queues(queues: &Queues, findings: &mut Findings) {
    match queues.queue.describe().await {
        Ok(queue) => {
            findings.ok("queue", format!("{} waiting", counted(queue.messages(), "message")));
            match queue.max_receive_count {
                None => findings.warn(
                    "queue",
                    "no redrive policy: a message that crashes workers is redelivered for ever",
                ),
                Some(count) if count < MIN_RECEIVES => findings.warn(
                    "queue",
                    format!("maxReceiveCount is {count}: below {MIN_RECEIVES} an outage can dead-letter good messages"),
                ),
                Some(_) => {}
            }
        }
        Err(error) => findings.fail("queue", chain(&error)),
    }
    match queues.dlq.describe().await {
        Ok(dlq) if dlq.messages() == 0 => findings.ok("dlq", "no dead letters"),
        Ok(dlq) => findings.warn(
            "dlq",
            format!("{}: see `silversmith dlq list`", counted(dlq.messages(), "dead letter")),
        ),
        Err(error) => findings.fail("dlq", chain(&error)),
    }
}

async fn services(wired: &Wired, findings: &mut Findings) -> anyhow::Result<()> {
    match wired.lake.tables().await {
        Ok(tables) => findings.ok("catalog", counted(tables.len() as u64, "table")),
        Err(error) => {
            findings.fail("catalog", chain(&error));
            return Ok(());
        }
    }
    buckets(wired, findings).await;
    if let (Some(bus), Some(name)) = (&wired.bus, &wired.settings.lake.event_bus) {
        match bus.probe().await {
            Ok(()) => findings.ok("event bus", format!("{name} exists")),
            Err(error) => findings.fail("event bus", chain(&error)),
        }
    }
    if let Intake::Queue(of) = &wired.intake {
        queues(of, findings).await;
    }
    if let Ok(pending) = wired.source.pending().await
        && !pending.is_empty()
    {
        let pending = counted(pending.len() as u64, "file");
        let found = format!("{pending} changed less than source.settle ago: ingested later");
        findings.ok("source", found);
    }
    for pipeline in &wired.pipelines {
        let name = &pipeline.settings.name;
        objects(wired, pipeline, findings).await;
        checkpoints(wired, name, findings).await;
        files(wired, pipeline, findings).await;
        if let Err(error) = ledger(wired, pipeline).await {
            findings.fail(format!("ledger of {name}"), chain(&error));
        }
        if let Some(silver) = &pipeline.silver
            && let Err(error) = silver.check_configuration().await
        {
            findings.fail(format!("pipeline {name}"), chain(&error));
        }
    }
    Box::pin(sql(wired, findings)).await;
    Ok(())
}

/// Objects of a raw zone that are listed to find the first one of a pipeline.
const LISTED: usize = 10_000;

/// The number of objects that match a pipeline; in a large raw zone, only whether one does.
async fn objects(wired: &Wired, pipeline: &Pipeline, findings: &mut Findings) {
    let bronze = &pipeline.settings.bronze;
    let (what, glob) = (format!("pipeline {}", pipeline.settings.name), &bronze.glob);
    let listing = Listing { root: bronze.root.clone(), ..Listing::default() };
    let mut pages = wired.source.list(&listing);
    let (mut seen, mut matching, mut all) = (0, 0, true);
    loop {
        match pages.next().await {
            Some(Ok(page)) => {
                seen += page.objects.len();
                matching += page.objects.iter().filter(|o| bronze.is_data(&o.id.uri)).count();
            }
            Some(Err(error)) => return findings.fail(what, chain(&error)),
            None => break,
        }
        if seen >= LISTED {
            all = false;
            break;
        }
    }
    let files = counted(matching as u64, "file");
    match (matching, all) {
        (0, true) => findings.warn(what, format!("no file matches `{glob}`")),
        (0, false) => {
            findings.warn(what, format!("none of the first {seen} files matches `{glob}`"));
        }
        (_, true) => findings.ok(what, format!("{files} in `{glob}`")),
        (_, false) => findings.ok(what, format!("{files} and more in `{glob}`")),
    }
}

/// Whether the ledger agrees with bronze; after a rollback of bronze it does not.
async fn ledger(wired: &Wired, pipeline: &Pipeline) -> Result<(), LakeError> {
    let ledger = pipeline.bronze.ledger();
    let bronze = wired.lake.find(&pipeline.settings.bronze.table).await?;
    if bronze.is_some() && wired.lake.find(ledger.table()).await?.is_some() {
        ledger.view(bronze.as_ref()).await?;
    }
    Ok(())
}

async fn checkpoints(wired: &Wired, pipeline: &str, findings: &mut Findings) {
    let store = &*wired.checkpoints;
    let bronze = checkpoint::load::<BronzeCheckpoint>(store, pipeline).await;
    let silver = checkpoint::load::<SilverCheckpoint>(store, pipeline).await;
    for error in [bronze.err(), silver.err()].into_iter().flatten() {
        findings.fail(format!("checkpoints of {pipeline}"), chain(&error));
    }
}
