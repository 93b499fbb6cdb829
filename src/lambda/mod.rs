//! `lambda`: the AWS Lambda runtime. An invocation is a short run of the worker that ends in time.
//!
//! Of an SQS batch those messages are reported as failed whose outcomes are not durable; AWS deletes the
//! others.

mod payload;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};

use crate::ambient::{SharedAmbient, timeout};
use crate::config::environment;
use crate::error::chain;
use crate::gold::Gold;
use crate::pipeline::{Intake, Pipeline, Queues, Wired};
use crate::queue::{InvocationQueue, Message, MessageId};
use crate::telemetry;
use crate::telemetry::readiness::Health;
use crate::worker::report::{bronze_line, gold_line, silver_line};
use crate::worker::{self, Merger, Refresher, Round, Until, announced};
use payload::{Invocation, Step, parse};

/// What is kept of an invocation's time for releasing, announcing and answering: a quarter, within these
/// bounds.
const LEAST_MARGIN: Duration = Duration::from_secs(12);
/// See [`LEAST_MARGIN`].
const MOST_MARGIN: Duration = Duration::from_secs(40);
/// Of the margin, what the last announcements (5 s) and telemetry (2 s) may take.
const LAST: Duration = Duration::from_secs(8);

/// Serves invocations until the process ends. It runs inside AWS Lambda only, see
/// [`environment::is_lambda`].
pub(crate) async fn run(wired: Wired) -> anyhow::Result<()> {
    let wired = &wired;
    let handler = service_fn(async move |event: LambdaEvent<Value>| {
        // Boxed: the runtime moves it through its layers, each on the stack.
        let answer = Box::pin(invoked(wired, event)).await;
        // AWS freezes the process once it has answered.
        telemetry::flush(wired.lake.ambient()).await;
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
    let invocation = parse(payload)?;
    tracing::debug!(request_id = context.request_id, ?left, "invoked");
    if let Invocation::Messages(messages) = invocation {
        // Work that is cut off at once would be done for nothing.
        if time.is_zero() {
            return Ok(failed(messages.into_iter().map(|message| message.id).collect()));
        }
        return Ok(ingest(wired, messages, time, margin).await?);
    }
    steps(wired, invocation, time).await.map_err(|error| {
        tracing::error!(error = chain(error.as_ref()), "the step failed");
        chain(error.as_ref()).into()
    })
}

/// Ingests messages, and merges what they bring.
async fn ingest(
    wired: &Wired,
    messages: Vec<Message>,
    time: Duration,
    margin: Duration,
) -> Result<Value, String> {
    let Intake::Queue(queues) = &wired.intake else {
        return Err("the function is invoked with messages, and source.queue is not set".to_owned());
    };
    let ambient = wired.lake.ambient();
    let queue = InvocationQueue::new(queues.queue.clone(), messages, ambient.clone());
    let queue = Arc::new(queue);
    let mut settings = queues.settings.clone();
    // AWS keeps the messages hidden for as long as their queue says: the heartbeat has nothing to do.
    settings.visibility = queues.queue.limits().longest_hidden;
    let mut wired = wired.clone();
    wired.intake =
        Intake::Queue(Queues { settings, queue: queue.clone(), dlq: queues.dlq.clone() });
    if environment::merges_by_event() {
        for pipeline in &mut wired.pipelines {
            pipeline.silver = None;
            (pipeline.gold, pipeline.followers) = (vec![], vec![]);
        }
    }
    let (health, out_of_time) = (Health::new(ambient.clone()), ambient.sleep(time));
    let ran = worker::run(&wired, &health, Until::Done, margin - LAST, out_of_time, log).await;
    if let Err(error) = ran {
        // Messages that were not finished are reported below, and come again.
        tracing::error!(error = chain(&error), "the invocation ended early");
    }
    Ok(failed(queue.failures()))
}

/// The answer that keeps these messages in the queue.
fn failed(ids: Vec<MessageId>) -> Value {
    let ids: Vec<Value> = ids.iter().map(|id| json!({"itemIdentifier": id.0})).collect();
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

async fn steps(wired: &Wired, invocation: Invocation, time: Duration) -> anyhow::Result<Value> {
    let ambient = wired.lake.ambient();
    let pipelines: Vec<_> = match &invocation {
        Invocation::Merge(name) => {
            wired.pipelines.iter().filter(|p| p.settings.name == *name).collect()
        }
        _ => wired.pipelines.iter().collect(),
    };
    if let (Invocation::Merge(name), true) = (&invocation, pipelines.is_empty()) {
        // An event of another lake on the same bus.
        return Ok(json!({"lines": [format!("there is no pipeline {name} here")]}));
    }
    let mut lines = Vec::new();
    let work = async {
        for pipeline in &pipelines {
            Box::pin(one(pipeline, &invocation, ambient, &mut lines)).await?;
        }
        if matches!(invocation, Invocation::All | Invocation::Step(Step::Gold)) {
            for (table, refreshed) in Refresher::own(&pipelines, ambient).refresh().await {
                lines.push(gold_line(&table, &refreshed?));
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    // Cutting it off is safe at any point; the next invocation continues.
    let in_time = async {
        let late = |_| anyhow::anyhow!("cut off after {time:?}: give the function more time");
        timeout(ambient, time, work).await.map_err(late)?
    };
    // Gold of other pipelines may have followed.
    let followed = pipelines.iter().flat_map(|p| &p.followers).map(Gold::pipeline);
    let own = pipelines.iter().map(|p| p.settings.name.as_str());
    let names: HashSet<&str> = own.chain(followed).collect();
    let announces = |p: &&Pipeline| names.contains(p.settings.name.as_str());
    let announcing: Vec<&Pipeline> = wired.pipelines.iter().filter(announces).collect();
    let done = announced(&announcing, ambient, in_time).await;
    for line in &lines {
        tracing::info!("{line}");
    }
    done?;
    Ok(match invocation {
        Invocation::Step(step) => json!({"step": step.as_str(), "lines": lines}),
        _ => json!({"lines": lines}),
    })
}

/// What an invocation does for one pipeline. `lines` gets what was done.
async fn one(
    pipeline: &Pipeline,
    invocation: &Invocation,
    ambient: &SharedAmbient,
    lines: &mut Vec<String>,
) -> anyhow::Result<()> {
    let name = &pipeline.settings.name;
    let mut merger = Merger::new(pipeline, ambient);
    let does = |step| match invocation {
        Invocation::Step(only) => *only == step,
        Invocation::All => true,
        Invocation::Messages(_) | Invocation::Merge(_) => false,
    };
    if matches!(invocation, Invocation::Merge(_)) {
        // Each commit invokes one: they take turns.
        let round = merger.merge_until_done().await?;
        let silver = round.and_then(|round| round.silver);
        lines.extend(silver.map(|silver| silver_line(name, &silver)));
        for (table, refreshed) in Refresher::new(pipeline, ambient).refresh().await {
            lines.push(gold_line(&table, &refreshed?));
        }
    }
    if does(Step::Bronze) {
        lines.push(bronze_line(name, &pipeline.bronze.step().await?));
    }
    if does(Step::Silver) {
        lines.extend(merger.silver().await?.map(|silver| silver_line(name, &silver)));
    }
    Ok(())
}
