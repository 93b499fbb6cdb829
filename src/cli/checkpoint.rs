//! `checkpoint show` and `checkpoint rewind`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::Subcommand;

use super::exit::Usage;
use super::output::{print, say};
use super::{FormatArgs, Only, chosen};
use crate::bronze::BronzeCheckpoint;
use crate::checkpoint;
use crate::pipeline::Wired;
use crate::silver::{Rewind, SilverCheckpoint};

#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    /// Show the checkpoints of bronze and silver
    Show {
        #[command(flatten)]
        only: Only,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Re-merge from an earlier bronze snapshot, once. The committed position does not move back;
    /// re-merging is idempotent
    #[command(group = clap::ArgGroup::new("where").required(true))]
    Rewind {
        /// Name of the pipeline
        pipeline: String,
        /// Re-merge the bronze snapshots after this one (see `silversmith history`)
        #[arg(long, value_name = "SNAPSHOT", group = "where")]
        to: Option<i64>,
        /// Re-merge all bronze snapshots
        #[arg(long, group = "where")]
        to_start: bool,
    },
}

pub(super) async fn run(wired: &Wired, command: CheckpointCommand) -> anyhow::Result<()> {
    match command {
        CheckpointCommand::Show { only, format } => {
            let mut lines: [Vec<String>; 4] = Default::default();
            for pipeline in chosen(wired, &only)? {
                for [layer, key, value] in shown(wired, &pipeline.settings.name).await? {
                    let cells = [pipeline.settings.name.clone(), layer, key, value];
                    for (column, cell) in lines.iter_mut().zip(cells) {
                        column.push(cell);
                    }
                }
            }
            let names = ["pipeline", "checkpoint", "key", "value"];
            let columns = names.into_iter().zip(
                lines.map(|cells| -> ArrayRef { Arc::new(StringArray::from_iter_values(cells)) }),
            );
            print(&[RecordBatch::try_from_iter(columns)?], format.format)
        }
        CheckpointCommand::Rewind { pipeline, to, to_start: _ } => {
            rewind(wired, pipeline, to).await
        }
    }
}

async fn shown(wired: &Wired, pipeline: &str) -> anyhow::Result<Vec<[String; 3]>> {
    let store = &*wired.checkpoints;
    let mut lines = Vec::new();
    if let Some((stored, _)) = checkpoint::load::<BronzeCheckpoint>(store, pipeline).await? {
        lines.extend(fields("bronze", serde_json::to_value(stored)?));
    }
    if let Some((stored, _)) = checkpoint::load::<SilverCheckpoint>(store, pipeline).await? {
        lines.extend(fields("silver", serde_json::to_value(stored)?));
    }
    Ok(lines)
}

fn fields(layer: &str, value: serde_json::Value) -> Vec<[String; 3]> {
    let serde_json::Value::Object(fields) = value else { return vec![] };
    fields
        .into_iter()
        .map(|(key, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            [layer.to_owned(), key, value]
        })
        .collect()
}

async fn rewind(wired: &Wired, pipeline: String, to: Option<i64>) -> anyhow::Result<()> {
    let only = Only { pipeline: Some(pipeline.clone()) };
    let chosen = chosen(wired, &only)?;
    let of_silver = chosen.iter().find_map(|p| p.settings.silver.as_ref().zip(p.silver.as_ref()));
    let Some((settings, silver)) = of_silver else {
        return Err(Usage(format!("pipeline `{pipeline}` has no silver table")).into());
    };
    let bronze = wired.lake.load(&settings.bronze).await?;
    if let Some(id) = to
        && !bronze.ancestors().any(|s| s.id.0 == id)
    {
        return Err(Usage(format!(
            "{} has no snapshot {id}; `silversmith history {}` lists its snapshots",
            settings.bronze, settings.bronze
        ))
        .into());
    }
    silver.request_rewind(Rewind { after_snapshot_id: to }).await?;
    let start =
        to.map_or("from the first snapshot".to_owned(), |id| format!("after snapshot {id}"));
    say(&format!(
        "the next merge of {pipeline} starts {start}, once; run `silversmith silver` to merge now"
    ))
}
