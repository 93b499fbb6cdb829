//! `lambda`: the AWS Lambda runtime. An invocation is a small run of the worker, that ends in time.
//!
//! Of an SQS batch those messages are reported as failed whose outcomes are not durable; AWS deletes the others.

mod payload;

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};

use crate::ambient::SharedAmbient;
use crate::config::environment;
use crate::error::chain;
use crate::pipeline::{Intake, Pipeline, Queues, Wired};
use crate::queue::{InvocationQueue, Message};
use crate::telemetry;
use crate::worker::report::{bronze_line, gold_line, silver_line};
use crate::worker::{self, Round, Until, announced, merge_alone};
use payload::{Step, Wanted, wanted};

/// A message that AWS has received stays hidden for as long as its queue says: nothing has to extend that.
const HIDDEN: Duration = Duration::from_secs(12 * 3_600);
/// What is kept of an invocation's time for giving back, announcing and answering: a quarter, within these bounds.
const LEAST_MARGIN: Duration = Duration::from_secs(12);
/// See [`LEAST_MARGIN`].
const MOST_MARGIN: Duration = Duration::from_secs(40);
/// Of the margin, what the last announcements (5 s) and telemetry (2 s) may take.
const LAST: Duration = Duration::from_secs(8);

/// Serves invocations until the process is ended. It has to be inside AWS Lambda, see
/// [`environment::is_lambda`].
pub(crate) async fn run(wired: Wired) -> anyhow::Result<()> {
    let wired = &wired;
    let handler = service_fn(async move |event: LambdaEvent<Value>| {
        let answer = invoked(wired, event).await;
        // The process is frozen once it has answered.
        telemetry::flush().await;
        answer
    });
    lambda_runtime::run(handler)
        .await
        .map_err(|error| anyhow::anyhow!("the Lambda runtime ended: {error}"))
}

async fn invoked(wired: &Wired, event: LambdaEvent<Value>) -> Result<Value, lambda_runtime::Error> {
    let (payload, context) = event.into_parts();
    let now = wired.lake.ambient().now().timestamp_millis();
    let left = Duration::from_millis(context.deadline.saturating_sub(now.max(0) as u64));
    let margin = (left / 4).clamp(LEAST_MARGIN, MOST_MARGIN);
    let time = left.saturating_sub(margin);
    let wanted = wanted(payload)?;
    tracing::debug!(request_id = context.request_id, ?left, "invoked");
    if let Wanted::Messages(messages) = wanted {
        // Begun and cut off, they would only be read for nothing.
        if time.is_zero() {
            let ids = messages.into_iter().map(|message| message.id).collect();
            return Ok(reported(ids));
        }
        return Ok(messages_of(wired, messages, time, margin).await?);
    }
    steps(wired, wanted, time).await.map_err(|error| {
        tracing::error!(error = chain(error.as_ref()), "the step failed");
        chain(error.as_ref()).into()
    })
}

/// Takes messages in, and merges what they bring unless another function does.
async fn messages_of(
    wired: &Wired,
    messages: Vec<Message>,
    time: Duration,
    margin: Duration,
) -> Result<Value, String> {
    let Intake::Queue(queues) = &wired.intake else {
        return Err("the function gets messages, and source.queue names no queue".to_owned());
    };
    let queue = Arc::new(InvocationQueue::new(queues.queue.clone(), messages));
    let mut settings = queues.settings.clone();
    settings.visibility = HIDDEN;
    let mut wired = wired.clone();
    wired.intake =
        Intake::Queue(Queues { settings, queue: queue.clone(), dlq: queues.dlq.clone() });
    if environment::merges_by_event() {
        for pipeline in &mut wired.pipelines {
            (pipeline.silver, pipeline.gold) = (None, vec![]);
        }
    }
    let out_of_time = tokio::time::sleep(time);
    if let Err(error) = worker::run(&wired, Until::Done, margin - LAST, out_of_time, log).await {
        // Those that were not done are told below, and come again.
        tracing::error!(error = chain(&error), "the invocation ended early");
    }
    Ok(reported(queue.failures()))
}

/// The messages that AWS is to keep.
fn reported(ids: Vec<String>) -> Value {
    let ids: Vec<Value> = ids.iter().map(|id| json!({"itemIdentifier": id})).collect();
    json!({"batchItemFailures": ids})
}

fn log(round: &Round) {
    let bronze = &round.bronze;
    tracing::info!(
        pipeline = round.pipeline,
        ingested = bronze.ingested,
        known = bronze.known,
        failed = bronze.failed,
        rows = bronze.rows,
        merged = round.silver.as_ref().map(|silver| silver.bronze_snapshots),
        "done"
    );
}

async fn steps(wired: &Wired, wanted: Wanted, time: Duration) -> anyhow::Result<Value> {
    let pipelines: Vec<_> = match &wanted {
        Wanted::Merge(name) => {
            wired.pipelines.iter().filter(|p| p.settings.name == *name).collect()
        }
        _ => wired.pipelines.iter().collect(),
    };
    if let (Wanted::Merge(name), true) = (&wanted, pipelines.is_empty()) {
        // An event of another lake on the same bus.
        return Ok(json!({"lines": [format!("there is no pipeline {name} here")]}));
    }
    let mut lines = Vec::new();
    let work = async {
        for pipeline in &pipelines {
            one(pipeline, &wanted, wired.lake.ambient(), &mut lines).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    // What is cut off is safe to be cut off anywhere; the next invocation goes on from there.
    let in_time = async {
        let late = || anyhow::anyhow!("cut off after {time:?}: give the function more time");
        tokio::time::timeout(time, work).await.map_err(|_| late())?
    };
    let done = announced(&pipelines, in_time).await;
    for line in &lines {
        tracing::info!("{line}");
    }
    done?;
    Ok(match wanted {
        Wanted::Step(step) => json!({"step": step.as_str(), "lines": lines}),
        _ => json!({"lines": lines}),
    })
}

/// What is wanted of one pipeline. `lines` gets what was done.
async fn one(
    pipeline: &Pipeline,
    wanted: &Wanted,
    ambient: &SharedAmbient,
    lines: &mut Vec<String>,
) -> anyhow::Result<()> {
    let name = &pipeline.settings.name;
    let does = |step| match wanted {
        Wanted::Step(only) => *only == step,
        Wanted::All => true,
        Wanted::Messages(_) | Wanted::Merge(_) => false,
    };
    if matches!(wanted, Wanted::Merge(_)) {
        // Each commit invokes one: they take turns.
        let round = merge_alone(pipeline, ambient).await?;
        let silver = round.and_then(|round| round.silver);
        lines.extend(silver.map(|silver| silver_line(name, &silver)));
    }
    if does(Step::Bronze) {
        lines.push(bronze_line(name, &pipeline.bronze.step().await?));
    }
    if let (Some(silver), true) = (&pipeline.silver, does(Step::Silver)) {
        lines.push(silver_line(name, &silver.step().await?.report));
    }
    if does(Step::Gold) {
        for gold in &pipeline.gold {
            lines.push(gold_line(&gold.table().to_string(), &gold.step(None).await?));
        }
    }
    Ok(())
}
