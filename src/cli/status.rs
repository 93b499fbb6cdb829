//! `status`: how far every pipeline is.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};

use super::deliveries;
use super::left::LeftBehind;
use super::output::{Format, print, say};
use crate::bronze::deliveries::WaitingDelivery;
use crate::error::chain;
use crate::gold::{GoldReport, Look};
use crate::lake::position::Position;
use crate::lake::{LakeError, SequenceNumber, Snapshot, Table};
use crate::ledger::{Known, ObjectOutcome};
use crate::pipeline::{Intake, Pipeline, Wired};
use crate::queue::{Description, QueueError};
use crate::source::{self, ObjectId, RawObject};
use crate::worker::report::counted;

/// How far a pipeline is.
struct Standing {
    pipeline: String,
    /// None where only the queue, or a listing of S3, knows it, or the ledger cannot be read.
    waiting: Option<i64>,
    failed: Option<i64>,
    bronze: Option<Snapshot>,
    silver: Option<Snapshot>,
    /// Bronze snapshots that silver has not merged.
    behind: Option<i64>,
    /// Rows that silver refused.
    quarantined: Option<i64>,
    gold_up_to_date: Option<bool>,
    /// Why silver stands still.
    silver_problem: Option<String>,
    /// Those that wait; none where objects do not belong together.
    deliveries: Option<Vec<WaitingDelivery>>,
}

pub(super) async fn run(wired: &Wired, fail: bool, format: Format) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for pipeline in &wired.pipelines {
        all.push(standing(wired, pipeline).await?);
    }
    let (mut rows, mut dead_letters) = (rows(&all)?, 0);
    if all.iter().any(|standing| standing.deliveries.is_some()) {
        rows = with_deliveries(&rows, &all)?;
    }
    if let Intake::Queue(queues) = &wired.intake {
        let queue = described(queues.queue.describe().await)?;
        let dlq = described(queues.dlq.describe().await)?;
        rows = with_queues(&rows, queue.as_ref(), dlq.as_ref())?;
        dead_letters = dlq.map_or(0, |dlq| dlq.messages());
    }
    print(&[rows], format)?;
    let problems = problems(&all, dead_letters);
    match fail && !problems.is_empty() {
        true => Err(LeftBehind(problems.join("; ")).into()),
        false => Ok(()),
    }
}

/// What someone has to look at.
fn problems(all: &[Standing], dead_letters: u64) -> Vec<String> {
    let mut found = Vec::new();
    for standing in all {
        let mut say = |count: Option<i64>, noun: &str, what: &str| {
            if let Some(count) = count.filter(|count| *count > 0) {
                let counted = counted(count as u64, noun);
                found.push(format!("{}: {counted} {what}", standing.pipeline));
            }
        };
        say(standing.failed, "object", "failed");
        say(standing.quarantined, "row", "in quarantine");
        say(standing.behind, "bronze snapshot", "not merged into silver");
        if standing.gold_up_to_date == Some(false) {
            found.push(format!("{}: gold is not up to date", standing.pipeline));
        }
        if let Some(problem) = &standing.silver_problem {
            found.push(format!("{}: {problem}", standing.pipeline));
        }
    }
    if dead_letters > 0 {
        found.push(counted(dead_letters, "dead letter"));
    }
    found
}

/// Adds the columns of the deliveries that wait.
fn with_deliveries(rows: &RecordBatch, all: &[Standing]) -> anyhow::Result<RecordBatch> {
    let waiting = all.iter().map(|s| s.deliveries.as_ref().map(|d| d.len() as i64));
    let oldest = all.iter().map(|s| s.deliveries.as_ref()?.first().map(deliveries::line));
    let schema = rows.schema();
    let own = schema.fields().iter().zip(rows.columns());
    let mut columns: Vec<(&str, ArrayRef, bool)> =
        own.map(|(field, values)| (field.name().as_str(), values.clone(), true)).collect();
    columns.push(("deliveries_waiting", Arc::new(waiting.collect::<Int64Array>()), true));
    columns.push(("oldest_delivery", Arc::new(oldest.collect::<StringArray>()), true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// A queue that cannot be reached is a warning: during an outage the rest is needed most.
fn described(answer: Result<Description, QueueError>) -> anyhow::Result<Option<Description>> {
    match answer {
        Ok(description) => Ok(Some(description)),
        Err(error) => say(&format!("warning: {}", chain(&error))).map(|()| None),
    }
}

/// Adds the columns of the queues, which all pipelines share.
fn with_queues(
    rows: &RecordBatch,
    queue: Option<&Description>,
    dlq: Option<&Description>,
) -> anyhow::Result<RecordBatch> {
    let count = |value: Option<u64>| -> ArrayRef {
        let value = value.map(|value| value as i64);
        Arc::new((0..rows.num_rows()).map(|_| value).collect::<Int64Array>())
    };
    let schema = rows.schema();
    // The counts of a folder's listing are replaced by those of the queue.
    let own = schema.fields().iter().zip(rows.columns());
    let own = own.filter(|(field, _)| !field.name().starts_with("objects_"));
    let mut columns: Vec<(&str, ArrayRef, bool)> =
        own.map(|(field, values)| (field.name().as_str(), values.clone(), true)).collect();
    columns.push(("queue_waiting", count(queue.map(|q| q.visible + q.delayed)), true));
    columns.push(("queue_in_flight", count(queue.map(|q| q.in_flight)), true));
    columns.push(("dead_letters", count(dlq.map(Description::messages)), true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

async fn standing(wired: &Wired, pipeline: &Pipeline) -> anyhow::Result<Standing> {
    let bronze = wired.lake.find(&pipeline.settings.bronze.table).await?;
    // On S3 the queue has what waits; listing all objects would take too long.
    let listed = match &wired.intake {
        Intake::Directory => source::all(&*wired.source, &pipeline.settings.bronze.root).await?,
        Intake::Queue(_) | Intake::Listing => vec![],
    };
    let local = matches!(wired.intake, Intake::Directory);
    let is_wanted = |o: &RawObject| pipeline.settings.bronze.is_data(&o.id.uri);
    let wanted: HashSet<_> = listed.into_iter().filter(is_wanted).map(|o| o.id).collect();
    let known = known(wired, pipeline, bronze.as_ref(), &wanted).await?.filter(|_| local);
    let silver = match &pipeline.settings.silver {
        Some(settings) => wired.lake.find(&settings.rules.table).await?,
        None => None,
    };
    let silver_problem = match &pipeline.silver {
        Some(silver) => silver.check_configuration().await.err().map(|error| chain(&error)),
        None => None,
    };
    let mut gold_up_to_date = None;
    for gold in &pipeline.gold {
        let now = match gold.look().await {
            Ok(Look::Done(GoldReport::WaitsFor(_))) => continue,
            Ok(look) => matches!(look, Look::Done(_)),
            // The next refresh says so, too; the rest of the status is needed.
            Err(error) => {
                say(&format!("warning: {}: {}", gold.table(), chain(&error)))?;
                false
            }
        };
        gold_up_to_date = Some(gold_up_to_date.unwrap_or(true) && now);
    }
    Ok(Standing {
        pipeline: pipeline.settings.name.clone(),
        waiting: known.as_ref().map(|known| (wanted.len() - settled(known)) as i64),
        failed: known.as_ref().map(|known| failed(known) as i64),
        behind: match (&bronze, &pipeline.settings.silver) {
            (Some(bronze), Some(_)) => Some(behind(bronze, silver.as_ref())?),
            _ => None,
        },
        quarantined: quarantined(wired, pipeline).await?,
        bronze: bronze.and_then(|t| t.current()),
        silver: silver.and_then(|t| t.current()),
        gold_up_to_date,
        silver_problem,
        deliveries: deliveries::of(wired, pipeline).await?,
    })
}

/// The rows in quarantine; none where there is no silver, or where another program's deletes make it unknown.
async fn quarantined(wired: &Wired, pipeline: &Pipeline) -> anyhow::Result<Option<i64>> {
    let Some(silver) = &pipeline.settings.silver else { return Ok(None) };
    let table = wired.lake.find(&silver.rules.quarantine).await?;
    let rows = table.map_or(Some(0), |table| table.rows());
    Ok(rows.map(|rows| rows as i64))
}

/// What the ledger knows of the listed objects. Where something is wrong with it, that is a warning: the
/// rest of the status is needed most then.
async fn known(
    wired: &Wired,
    pipeline: &Pipeline,
    bronze: Option<&Table>,
    listed: &HashSet<ObjectId>,
) -> anyhow::Result<Option<Known>> {
    let ledger = pipeline.bronze.ledger();
    if wired.lake.find(ledger.table()).await?.is_none() {
        return Ok(Some(Known::default()));
    }
    match ledger.known(bronze, listed).await {
        // What is published can be counted all the same.
        Err(error @ LakeError::RolledBack { .. }) => {
            say(&format!("warning: {}", chain(&error)))?;
            Ok(Some(ledger.known(None, listed).await?))
        }
        // A row of a newer version, for instance.
        Err(error @ LakeError::Property { .. }) => {
            say(&format!("warning: {}", chain(&error)))?;
            Ok(None)
        }
        known => Ok(Some(known?)),
    }
}

/// Objects that have their outcome: those that wait for their delivery have not.
fn settled(known: &Known) -> usize {
    known.values().filter(|attempt| attempt.outcome != ObjectOutcome::Waiting).count()
}

/// What was purged, or is on its way again, has not failed.
fn failed(known: &Known) -> usize {
    let is_failed = |outcome| matches!(outcome, ObjectOutcome::Rejected | ObjectOutcome::Missing);
    known.values().filter(|attempt| is_failed(attempt.outcome)).count()
}

fn behind(bronze: &Table, silver: Option<&Table>) -> anyhow::Result<i64> {
    let through: Option<Position> = match silver {
        Some(silver) => silver.position(crate::silver::MERGED)?,
        None => None,
    };
    let merged = through.map_or(SequenceNumber::default(), |p| p.sequence);
    Ok(bronze.newer_than(merged).filter(|s| !s.is_rewrite()).count() as i64)
}

fn rows(all: &[Standing]) -> anyhow::Result<RecordBatch> {
    let numbers = |value: &dyn Fn(&Standing) -> Option<i64>| -> ArrayRef {
        Arc::new(all.iter().map(value).collect::<Int64Array>())
    };
    let times = |value: &dyn Fn(&Standing) -> Option<&Snapshot>| -> ArrayRef {
        let micros = all.iter().map(|s| value(s).map(|s| s.at.timestamp_micros()));
        Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("+00:00"))
    };
    let total = |snapshot: &Option<Snapshot>| Some(snapshot.as_ref()?.rows()? as i64);
    let names = StringArray::from_iter_values(all.iter().map(|s| &s.pipeline));
    let problems = all.iter().map(|s| s.silver_problem.clone()).collect::<StringArray>();
    let gold = all.iter().map(|s| s.gold_up_to_date).collect::<BooleanArray>();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("pipeline", Arc::new(names) as ArrayRef, false),
        ("objects_waiting", numbers(&|s| s.waiting), true),
        ("objects_failed", numbers(&|s| s.failed), true),
        ("bronze_rows", numbers(&|s| total(&s.bronze)), true),
        ("bronze_committed_at", times(&|s| s.bronze.as_ref()), true),
        ("silver_rows", numbers(&|s| total(&s.silver)), true),
        ("silver_merged_at", times(&|s| s.silver.as_ref()), true),
        ("silver_snapshots_behind", numbers(&|s| s.behind), true),
        ("quarantined_rows", numbers(&|s| s.quarantined), true),
        ("gold_up_to_date", Arc::new(gold), true),
        ("silver_problem", Arc::new(problems), true),
    ])?)
}
