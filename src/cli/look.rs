//! `history` and `objects`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use clap::Args;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use globset::GlobBuilder;
use serde_json::Value;

use super::exit::Usage;
use super::origin;
use super::output::{Format, print, print_line, print_stream, write};
use super::{FormatArgs, Only, chosen};
use crate::lake::TableName;
use crate::ledger::folder::IS_OBJECT;
use crate::ledger::states;
use crate::pipeline::Wired;
use crate::sql::metadata_tables;
use crate::sql::session::{query, session};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  silversmith history silver.orders --limit 3\n  silversmith history bronze.orders --format json | jq -r .snapshot_id"
)]
pub(super) struct HistoryArgs {
    /// Table, as namespace.table
    table: TableName,
    /// Only the newest snapshots, so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn history(wired: &Wired, args: HistoryArgs) -> anyhow::Result<()> {
    let table = wired.lake.load(&args.table).await?;
    let snapshots = metadata_tables::snapshots(&table.snapshots())?;
    let shown = args.limit.map_or(snapshots.num_rows(), |limit| limit.min(snapshots.num_rows()));
    // The oldest come first, as in a log; a line before needs no snapshot that is left out.
    let snapshots = snapshots.slice(snapshots.num_rows() - shown, shown);
    match args.format.format {
        Format::Json => print_objects(&ids_as_text(&snapshots)?),
        Format::Table => print(&[properties_as_lines(&snapshots)?], Format::Table),
        Format::Csv => print(&[snapshots], Format::Csv),
    }
}

/// JSON lines in which the properties are an object, and no text that holds one.
fn print_objects(snapshots: &RecordBatch) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    write(&mut lines, std::slice::from_ref(snapshots), Format::Json)?;
    for line in std::str::from_utf8(&lines)?.lines() {
        let mut snapshot: serde_json::Map<String, Value> = serde_json::from_str(line)?;
        if let Some(Value::String(properties)) = snapshot.get("marks") {
            let properties = serde_json::from_str(properties)?;
            snapshot.insert("marks".to_owned(), properties);
        }
        print_line(&serde_json::to_string(&snapshot)?)?;
    }
    Ok(())
}

/// For programs that read every JSON number as a double and would round the ids.
fn ids_as_text(snapshots: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = snapshots.schema();
    let columns = schema.fields().iter().zip(snapshots.columns()).map(|(field, values)| {
        let values = match field.name().ends_with("_id") {
            true => cast(values, &DataType::Utf8)?,
            false => values.clone(),
        };
        Ok((field.name().as_str(), values, true))
    });
    let columns = columns.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// For people: a line for each snapshot property, instead of JSON.
fn properties_as_lines(snapshots: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let position = snapshots.schema().index_of("marks")?;
    let lines = snapshots.column(position).as_string::<i32>().iter().map(|json| {
        let properties: BTreeMap<String, String> =
            json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let shown = properties.iter().filter(|(key, _)| !key.starts_with("ledger-file"));
        shown.map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join("\n")
    });
    let mut columns = snapshots.columns().to_vec();
    columns[position] = Arc::new(StringArray::from_iter_values(lines));
    Ok(RecordBatch::try_new(snapshots.schema(), columns)?)
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  silversmith objects --failed
  silversmith objects --match 'raw/2026-01-*/**' --format csv > january.csv
  silversmith objects --of silver.orders --where \"order_id = 4711\"
  silversmith objects --reingest 'raw/2026-01-*/**' --dry-run")]
pub(super) struct ObjectsArgs {
    #[command(flatten)]
    pub(super) only: Only,
    /// Only objects that were rejected or are missing
    #[arg(long)]
    failed: bool,
    /// Only objects whose URI matches this glob
    #[arg(long = "match", value_name = "GLOB")]
    matching: Option<String>,
    /// Show every attempt at an object, not only the newest
    #[arg(long)]
    attempts: bool,
    /// Only those that were finished last, so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Instead, the objects that rows of this table came from: the row in the object, its batch, and the snapshots
    /// of bronze and silver that it came with
    #[arg(long, value_name = "TABLE", conflicts_with_all = ["failed", "matching", "attempts", "limit", "reingest"])]
    of: Option<TableName>,
    /// With --of: only rows that meet this SQL condition
    #[arg(long = "where", value_name = "CONDITION", requires = "of")]
    condition: Option<String>,
    /// Read the objects that match again, under this configuration: what they give now replaces what they gave
    #[arg(long, value_name = "GLOB", num_args = 1.., conflicts_with_all = ["failed", "matching", "attempts", "limit"])]
    pub(super) reingest: Vec<String>,
    /// Only count the objects that would be read again
    #[arg(long, requires = "reingest")]
    pub(super) dry_run: bool,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn objects(wired: &Wired, args: ObjectsArgs) -> anyhow::Result<()> {
    if let Some(table) = &args.of {
        let tracing = origin::run(wired, table, args.condition.as_deref(), args.format.format);
        return Box::pin(tracing).await;
    }
    let context = session(wired.settings.memory().queries_of_a_command())?;
    let mut parts = Vec::new();
    for (index, pipeline) in chosen(wired, &args.only)?.into_iter().enumerate() {
        let Some(ledger) = pipeline.bronze.ledger().as_table().await? else { continue };
        let name = format!("ledger_{index}");
        context.register_table(name.as_str(), Arc::new(ledger))?;
        parts.push(format!(
            "SELECT '{}' AS pipeline, source_uri, outcome, rows, rescued, reason, error, \
             last_modified, size, finished_at, batch_id, source_version FROM ({})",
            pipeline.settings.name,
            if args.attempts { format!("SELECT * FROM {name}") } else { states(&name) }
        ));
    }
    if parts.is_empty() {
        return print(&[], args.format.format);
    }
    let mut conditions = vec![IS_OBJECT.to_owned()];
    if args.failed {
        conditions.push("outcome IN ('rejected', 'missing')".to_owned());
    }
    let sql = format!(
        "SELECT * FROM ({}) WHERE {} ORDER BY finished_at, source_uri",
        parts.join(" UNION ALL "),
        conditions.join(" AND ")
    );
    let rows = query(&context, "the query of the ledger", &sql).await?.execute_stream().await?;
    let rows = matching(rows, args.matching.as_deref())?;
    match args.limit {
        Some(limit) => print(&last(rows, limit).await?, args.format.format),
        None => print_stream(rows, args.format.format).await.map(drop),
    }
}

/// The last rows of all, in their order.
async fn last(
    mut rows: SendableRecordBatchStream,
    limit: usize,
) -> anyhow::Result<Vec<RecordBatch>> {
    let (mut kept, mut count) = (VecDeque::from([RecordBatch::new_empty(rows.schema())]), 0);
    while let Some(batch) = rows.try_next().await? {
        count += batch.num_rows();
        kept.push_back(batch);
        while let Some(first) = kept.front().map(RecordBatch::num_rows)
            && count - first >= limit
            && kept.len() > 1
        {
            count -= first;
            kept.pop_front();
        }
    }
    if let Some(first) = kept.front_mut() {
        let surplus = count.saturating_sub(limit).min(first.num_rows());
        *first = first.slice(surplus, first.num_rows() - surplus);
    }
    Ok(kept.into())
}

/// The rows whose URI matches a glob; all of them without one.
fn matching(
    rows: SendableRecordBatchStream,
    glob: Option<&str>,
) -> anyhow::Result<SendableRecordBatchStream> {
    let Some(glob) = glob else { return Ok(rows) };
    let glob = GlobBuilder::new(glob)
        .literal_separator(true)
        .build()
        .map_err(|e| Usage(format!("--match: {e}")))?
        .compile_matcher();
    let schema = rows.schema();
    let position = schema.index_of("source_uri")?;
    let matching = rows.map(move |batch| {
        let batch = batch?;
        let uris = batch.column(position).as_string::<i32>();
        let matches: BooleanArray =
            uris.iter().map(|uri| Some(uri.is_some_and(|uri| glob.is_match(uri)))).collect();
        Ok(filter_record_batch(&batch, &matches)?)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, matching)))
}
