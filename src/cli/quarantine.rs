//! `quarantine`: the rows that silver refuses: lists, shows, replays and purges them.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use clap::{Args, Subcommand};
use datafusion::prelude::DataFrame;

use super::exit::Usage;
use super::output::{Format, print_line, print_stream, say};
use super::progress::watched;
use super::quiet::quiet;
use super::{Only, chosen};
use crate::ambient::SharedAmbient;
use crate::lake::read::provider::LakeTable;
use crate::pipeline::{Pipeline, Wired};
use crate::silver::SilverSettings;
use crate::sql::SqlError;
use crate::sql::session::{query, session};
use crate::worker::report::counted;
use crate::worker::{Merger, announced};

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    #[command(
        after_help = "Examples:\n  silversmith quarantine list orders\n  silversmith quarantine list orders --rule 'positive amount' --format json | jq -r .key"
    )]
    /// List the rows that silver refused, one per line
    List {
        #[command(flatten)]
        which: Which,
        /// Maximum number of rows
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// How rows are printed: as a table, as CSV with a header, or as one JSON object per line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    #[command(
        after_help = "Examples:\n  silversmith quarantine show orders s3://raw-zone/orders/1.csv\n  silversmith quarantine show orders raw/orders/1.csv --row 12"
    )]
    /// Show the refused rows of one file in full
    Show {
        /// Name of the pipeline
        pipeline: String,
        /// The file, as in `quarantine list`
        uri: String,
        /// Only this row of it
        #[arg(long, value_name = "N")]
        row: Option<i64>,
    },
    #[command(
        after_help = "Examples:\n  silversmith quarantine replay orders\n  silversmith quarantine replay orders --rule 'positive amount'"
    )]
    /// Judge the rows again, under the rules of now: merge those that pass, and take them out of quarantine
    Replay {
        #[command(flatten)]
        which: Which,
    },
    #[command(
        after_help = "Examples:\n  silversmith quarantine purge orders --rule rescued --dry-run\n  silversmith quarantine purge orders --all"
    )]
    /// Delete rows from quarantine. They stay in bronze, and a rebuild of silver judges them again
    Purge {
        #[command(flatten)]
        which: Which,
        /// Purge every row; required when no rule is given
        #[arg(long)]
        all: bool,
        /// Only show what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Name of the pipeline
    pipeline: String,
    /// Only rows that this rule refused
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
}

pub(super) async fn run(
    wired: &Wired,
    ambient: &SharedAmbient,
    command: QuarantineCommand,
) -> anyhow::Result<()> {
    match command {
        QuarantineCommand::List { which, limit, format } => {
            list(wired, &which, limit, format).await
        }
        QuarantineCommand::Show { pipeline, uri, row } => show(wired, &pipeline, &uri, row).await,
        QuarantineCommand::Replay { which } => {
            let (pipeline, settings) = named(wired, &which.pipeline)?;
            let replaying = Box::pin(replay(pipeline, settings, ambient, which.rule.as_deref()));
            announced(&[pipeline], ambient, replaying).await
        }
        QuarantineCommand::Purge { which, all, dry_run } => {
            if which.rule.is_none() && !all && !dry_run {
                let why = "choose the rows to purge: --rule, or --all";
                return Err(Usage(why.to_owned()).into());
            }
            let (pipeline, _) = named(wired, &which.pipeline)?;
            let mut merger = Merger::new(pipeline, ambient);
            let purging = Box::pin(merger.purge(which.rule.as_deref(), dry_run));
            let rows = counted(watched("purging quarantine", purging).await?, "row");
            match dry_run {
                true => say(&format!("{rows} would be purged; nothing was done")),
                false => say(&format!("{rows} purged")),
            }
        }
    }
}

fn named<'a>(wired: &'a Wired, name: &str) -> anyhow::Result<(&'a Pipeline, &'a SilverSettings)> {
    let chosen = chosen(wired, &Only { pipeline: Some(name.to_owned()) })?;
    let found = chosen.into_iter().find_map(|p| Some((p, p.settings.silver.as_ref()?)));
    found.ok_or_else(|| Usage(format!("pipeline `{name}` has no silver table")).into())
}

/// A query over the quarantine of a pipeline, as `quarantine`; none where it has none.
async fn rows(wired: &Wired, pipeline: &str, sql: &str) -> anyhow::Result<Option<DataFrame>> {
    let (_, settings) = named(wired, pipeline)?;
    let Some(table) = wired.lake.find(&settings.rules.quarantine).await? else { return Ok(None) };
    let context = session(wired.settings.memory().queries_of_a_command())?;
    let what = format!("reading {}", table.name());
    let rows = Arc::new(LakeTable::at(&wired.lake, &table, None)?);
    context.register_table("quarantine", rows).map_err(|e| SqlError::of(&what, e))?;
    Ok(Some(query(&context, &what, sql).await?))
}

async fn list(
    wired: &Wired,
    which: &Which,
    limit: Option<usize>,
    format: Format,
) -> anyhow::Result<()> {
    let of_rule = match &which.rule {
        Some(rule) => format!("WHERE rule = {}", literal(rule)),
        None => String::new(),
    };
    let limit = limit.map(|rows| format!("LIMIT {rows}")).unwrap_or_default();
    let sql = format!(
        "SELECT quarantined_at, rule, key, _source_uri, _source_row, reason FROM quarantine {of_rule}
         ORDER BY quarantined_at, _source_uri, _source_version, _source_row {limit}"
    );
    match rows(wired, &which.pipeline, &sql).await? {
        Some(frame) => print_stream(frame.execute_stream().await?, format).await.map(drop),
        None => say("nothing is in quarantine"),
    }
}

async fn show(wired: &Wired, pipeline: &str, uri: &str, row: Option<i64>) -> anyhow::Result<()> {
    let of_row = row.map(|row| format!("AND _source_row = {row}")).unwrap_or_default();
    let sql = format!(
        "SELECT rule, reason, key, _source_uri, CAST(_source_row AS VARCHAR) AS number, _source_version,
            CAST(_event_time AS VARCHAR) AS modified, CAST(quarantined_at AS VARCHAR) AS since,
            CAST(bronze_snapshot AS VARCHAR) AS snapshot, bronze_row
         FROM quarantine WHERE _source_uri = {} {of_row} ORDER BY _source_version, _source_row",
        literal(uri)
    );
    let batches = match rows(wired, pipeline, &sql).await? {
        Some(frame) => frame.collect().await?,
        None => vec![],
    };
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if count == 0 {
        let why = format!(
            "quarantine of `{pipeline}` has no such row; `silversmith quarantine list {pipeline}` lists its rows"
        );
        return Err(Usage(why).into());
    }
    const NAMES: [&str; 10] = [
        "rule", "reason", "key", "file", "row", "version", "modified", "since", "snapshot",
        "bronze",
    ];
    for batch in &batches {
        for row in 0..batch.num_rows() {
            for (name, column) in NAMES.iter().zip(batch.columns()) {
                let texts = column.as_string::<i32>();
                let text = if texts.is_valid(row) { texts.value(row) } else { "-" };
                print_line(&format!("{name:<9} {}", quiet(text)))?;
            }
        }
    }
    Ok(())
}

async fn replay(
    pipeline: &Pipeline,
    settings: &SilverSettings,
    ambient: &SharedAmbient,
    rule: Option<&str>,
) -> anyhow::Result<()> {
    let mut merger = Merger::new(pipeline, ambient);
    let replayed = watched("replaying quarantine", Box::pin(merger.replay(rule))).await?;
    let report = replayed.unwrap_or_default();
    let table = &settings.rules.table;
    if report.tried == 0 {
        return say("nothing of this is in quarantine");
    }
    let (merged, stay) = (report.merged, report.tried.saturating_sub(report.merged));
    let mut text = format!("{} merged into {table} and out of quarantine", counted(merged, "row"));
    if stay > 0 {
        text.push_str(&format!(", {} refused again", counted(stay, "row")));
    }
    say(&text)
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
