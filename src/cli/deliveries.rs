//! `status --deliveries`: the deliveries that wait.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::SecondsFormat;

use super::output::{Format, print};
use crate::bronze::deliveries::WaitingDelivery;
use crate::pipeline::{Pipeline, Wired};
use crate::worker::report::counted;

pub(super) async fn run(wired: &Wired, format: Format) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for pipeline in &wired.pipelines {
        let open = of(wired, pipeline).await?.into_iter().flatten();
        all.extend(open.map(|delivery| (pipeline.settings.name.as_str(), delivery)));
    }
    print(&[rows(&all)?], format)
}

/// The deliveries of a pipeline that wait, oldest first; none where its objects do not belong together.
pub(super) async fn of(
    wired: &Wired,
    pipeline: &Pipeline,
) -> anyhow::Result<Option<Vec<WaitingDelivery>>> {
    if pipeline.settings.bronze.deliveries.is_none() {
        return Ok(None);
    }
    let memory = wired.settings.memory().queries_of_a_command();
    Ok(Some(pipeline.bronze.waiting_deliveries(memory).await?))
}

/// A delivery in a line.
pub(super) fn line(delivery: &WaitingDelivery) -> String {
    let (folder, objects) = (&delivery.folder, counted(delivery.objects, "object"));
    let since = delivery.since.to_rfc3339_opts(SecondsFormat::Secs, true);
    match &delivery.reason {
        Some(reason) => format!("{folder}: {objects} since {since}, refused ({reason})"),
        None => format!("{folder}: {objects} since {since}, waits for {}", delivery.waits_for),
    }
}

fn rows(all: &[(&str, WaitingDelivery)]) -> anyhow::Result<RecordBatch> {
    let texts = |value: &dyn Fn(&(&str, WaitingDelivery)) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(value).collect::<StringArray>())
    };
    let objects = all.iter().map(|(_, d)| d.objects as i64).collect::<Vec<_>>();
    let since = all.iter().map(|(_, d)| d.since.timestamp_micros());
    let since = TimestampMicrosecondArray::from_iter_values(since).with_timezone("+00:00");
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("pipeline", texts(&|(name, _)| Some((*name).to_owned())), false),
        ("folder", texts(&|(_, d)| Some(d.folder.clone())), false),
        ("objects", Arc::new(Int64Array::from(objects)) as ArrayRef, false),
        ("since", Arc::new(since) as ArrayRef, false),
        ("waits_for", texts(&|(_, d)| Some(d.waits_for.clone())), false),
        ("refused", texts(&|(_, d)| d.reason.clone()), true),
    ])?)
}
