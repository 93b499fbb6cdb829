//! `repair`: after bronze was set back, ledger and silver go on from what bronze has.

use std::io::{BufRead, IsTerminal};

use clap::Args;

use super::exit::Usage;
use super::output::{print_line, say};
use super::progress::watched;
use super::{Only, chosen};
use crate::ambient::SharedAmbient;
use crate::pipeline::{Pipeline, Wired};
use crate::worker::{Merger, Rollback};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  silversmith repair --dry-run
  silversmith repair --pipeline orders --yes")]
pub(super) struct RepairArgs {
    #[command(flatten)]
    only: Only,
    /// Change nothing: explain what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(
    wired: &Wired,
    ambient: &SharedAmbient,
    args: RepairArgs,
) -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for pipeline in chosen(wired, &args.only)? {
        let name = &pipeline.settings.name;
        let merger = Merger::new(pipeline, ambient);
        let found = watched(&format!("looking at {name}"), Box::pin(merger.rolled_back())).await?;
        match found {
            None => print_line(&format!("{name}: nothing to repair"))?,
            Some(rollback) => {
                explain(pipeline, &rollback)?;
                broken.push(pipeline);
            }
        }
    }
    if broken.is_empty() || args.dry_run {
        return Ok(());
    }
    if !args.yes && !agreed()? {
        return say("nothing was changed");
    }
    for pipeline in broken {
        let name = &pipeline.settings.name;
        let mut merger = Merger::new(pipeline, ambient);
        let repair = Box::pin(merger.accept_rollback());
        let forgotten = watched(&format!("repair of {name}"), repair).await?;
        print_line(&format!("{name}: repaired; {forgotten} objects forgotten"))?;
    }
    Ok(())
}

fn explain(pipeline: &Pipeline, rollback: &Rollback) -> anyhow::Result<()> {
    let (name, bronze) = (&pipeline.settings.name, &pipeline.settings.bronze.table);
    let Rollback { objects, silver } = rollback;
    print_line(&format!(
        "{name}: bronze table {bronze} was set back or replaced behind what was ingested and merged"
    ))?;
    print_line(
        "  if that was a mistake, set bronze to its newest snapshot again, with the engine that moved it; repair nothing",
    )?;
    print_line(&format!(
        "  otherwise repair: the ledger forgets {objects} objects whose rows bronze no longer has; they are ingested again if they are still there (a queue needs `silversmith backfill`)"
    ))?;
    if let Some(silver) = silver {
        print_line(&format!(
            "  silver goes on from bronze as it is; {} of its {} rows come from files that bronze no longer has, and stay (`silver --rebuild --force` removes them)",
            silver.rows, silver.of
        ))?;
    }
    Ok(())
}

/// Whether the person at the terminal agrees.
fn agreed() -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let why = "there is no terminal to ask at; add --yes to repair, or --dry-run to look only";
        return Err(Usage(why.to_owned()).into());
    }
    say("Repair? [y/N]")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
