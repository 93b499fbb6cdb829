//! `demo`: builds a small lake in a folder from real data, and explains each step.
//!
//! The data: flights that left New York on three days of 2013. Three waves of files show them as scheduled,
//! as departed, as arrived. The data and its licence: `examples/flights/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::exit::Usage;
use super::output::{Format, print_line, write};
use super::progress::watched;
use crate::config;
use crate::lake::Snapshot;
use crate::pipeline::Wired;
use crate::sql::session::session;
use crate::sql::statement;
use crate::telemetry::readiness::Health;
use crate::wiring::{Missing, wire};
use crate::worker::report::{bronze_line, gold_line, silver_line};
use crate::worker::{self, Round, Until};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  silversmith demo
  silversmith demo --dir /tmp/lake && cd /tmp/lake && silversmith status")]
pub(super) struct DemoArgs {
    /// Folder for the lake; it must be empty or not exist yet
    #[arg(long, value_name = "DIR", default_value = "silversmith-demo")]
    dir: PathBuf,
}

/// The demo's configuration, as it is written into the folder.
const CONFIG: &str = include_str!("../../examples/flights/silversmith.toml");

/// A wave of files: its folder, its content in words, and the files.
struct Wave {
    folder: &'static str,
    about: &'static str,
    files: [(&'static str, &'static str); 3],
}

const WAVES: [Wave; 3] = [
    Wave {
        folder: "wave1-scheduled",
        about: "every flight as it was scheduled",
        files: [
            ("EWR.csv", include_str!("../../examples/flights/wave1-scheduled/EWR.csv")),
            ("JFK.csv", include_str!("../../examples/flights/wave1-scheduled/JFK.csv")),
            ("LGA.csv", include_str!("../../examples/flights/wave1-scheduled/LGA.csv")),
        ],
    },
    Wave {
        folder: "wave2-departed",
        about: "the same flights once they had departed, or were cancelled",
        files: [
            ("EWR.csv", include_str!("../../examples/flights/wave2-departed/EWR.csv")),
            ("JFK.csv", include_str!("../../examples/flights/wave2-departed/JFK.csv")),
            ("LGA.csv", include_str!("../../examples/flights/wave2-departed/LGA.csv")),
        ],
    },
    Wave {
        folder: "wave3-arrived",
        about: "those that departed, once they had arrived",
        files: [
            ("EWR.csv", include_str!("../../examples/flights/wave3-arrived/EWR.csv")),
            ("JFK.csv", include_str!("../../examples/flights/wave3-arrived/JFK.csv")),
            ("LGA.csv", include_str!("../../examples/flights/wave3-arrived/LGA.csv")),
        ],
    },
];

const BY_STATUS: &str =
    "SELECT status, count(*) AS flights FROM silver.flights{at} GROUP BY status ORDER BY status";
const GOLD: &str = "SELECT origin, flights, arrived, cancelled, round(mean_arrival_delay, 1) AS mean_arrival_delay FROM gold.punctuality ORDER BY origin";

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let dir = prepare(&args.dir)?;
    let wired = wire(config::load(&dir.join("silversmith.toml"))?, Missing::Make).await?;
    let started = wired.lake.ambient().now();
    print_line(&format!(
        "A lake in {}: catalog lake/catalog.db, tables below lake/warehouse, raw files in raw/.",
        args.dir.display()
    ))?;

    let mut first_silver = None;
    for (number, wave) in WAVES.iter().enumerate() {
        heading(number + 1, &format!("{}: {}", wave.folder, wave.about))?;
        drop_files(&dir, wave)?;
        for round in rounds(&wired).await? {
            explain(&wired, &round).await?;
        }
        if first_silver.is_none() {
            first_silver = tip(&wired, "silver.flights").await?;
        }
        show(&wired, &BY_STATUS.replace("{at}", ""), "silver.flights, by status").await?;
    }

    heading(4, "the same files arrive again")?;
    drop_files(&dir, &WAVES[2])?;
    // Path, size and modification time are unchanged: these are object versions that the ledger has.
    let again = wired.pipelines[0].bronze.step().await?;
    print_line(&format!("  {}", bronze_line("flights", &again)))?;
    print_line(
        "  The ledger (the table bronze.flights_objects) keeps the outcome of every version of every file.",
    )?;

    heading(5, "gold, and silver as it was")?;
    show(&wired, GOLD, "gold.punctuality").await?;
    if let Some(first) = first_silver {
        let then = BY_STATUS.replace("{at}", &format!(" VERSION AS OF {}", first.id));
        show(&wired, &then, "silver.flights as of its first snapshot").await?;
        let took = (wired.lake.ambient().now() - started).to_std().unwrap_or_default();
        next_steps(&args.dir, &first, took)?;
    }
    Ok(())
}

/// The folder with the configuration in it.
fn prepare(dir: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(dir).map(Iterator::count).unwrap_or(0);
    if entries > 0 {
        return Err(Usage(format!(
            "{} is not empty: choose another folder with --dir, or remove it",
            dir.display()
        ))
        .into());
    }
    std::fs::create_dir_all(dir.join("raw")).with_context(|| dir.display().to_string())?;
    std::fs::write(dir.join("silversmith.toml"), CONFIG)?;
    Ok(std::path::absolute(dir)?)
}

fn heading(number: usize, text: &str) -> anyhow::Result<()> {
    print_line(&format!("\n{number}. {text}"))
}

/// Writes the files of a wave; a file that exists keeps its modification time.
fn drop_files(dir: &Path, wave: &Wave) -> anyhow::Result<()> {
    let folder = dir.join("raw").join(wave.folder);
    std::fs::create_dir_all(&folder)?;
    for (name, content) in wave.files {
        let path = folder.join(name);
        let time = match std::fs::metadata(&path) {
            Ok(existing) => existing.modified().ok(),
            Err(_) => None,
        };
        std::fs::write(&path, content)?;
        if let Some(time) = time {
            std::fs::File::options().write(true).open(&path)?.set_modified(time)?;
        }
    }
    let names: Vec<&str> = wave.files.iter().map(|(name, _)| *name).collect();
    print_line(&format!("  {} dropped into raw/{}/", names.join(", "), wave.folder))
}

/// The rounds of a worker that runs until it is idle.
async fn rounds(wired: &Wired) -> anyhow::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    let seen = |round: &Round| rounds.push(round.clone());
    let never = std::future::pending();
    let health = Health::new(wired.lake.ambient().clone());
    let work = worker::run(wired, &health, Until::Idle, Duration::from_secs(25), never, seen);
    watched("the pipeline", work).await?;
    Ok(rounds)
}

async fn explain(wired: &Wired, round: &Round) -> anyhow::Result<()> {
    print_line(&format!("  {}", bronze_line(&round.pipeline, &round.bronze)))?;
    for snapshot in &round.bronze.snapshots {
        print_line(&format!(
            "    → snapshot {snapshot} of bronze.flights: one append for all of them"
        ))?;
    }
    if let Some(silver) = &round.silver {
        print_line(&format!("  {}", silver_line(&round.pipeline, silver)))?;
        if let Some(tip) = tip(wired, "silver.flights").await? {
            print_line(&format!(
                "    → snapshot {} of silver.flights ({}), with the position in bronze that it merged through",
                tip.id, tip.operation
            ))?;
        }
    }
    for (table, gold) in &round.gold {
        print_line(&format!("  {}", gold_line(table, gold)))?;
    }
    Ok(())
}

async fn tip(wired: &Wired, table: &str) -> anyhow::Result<Option<Snapshot>> {
    Ok(wired.lake.find(&table.parse()?).await?.and_then(|table| table.current()))
}

async fn show(wired: &Wired, sql: &str, what: &str) -> anyhow::Result<()> {
    let context = session(wired.settings.memory().queries_of_a_command())?;
    let rows = statement::query(&wired.lake, &context, sql).await?.collect().await?;
    let mut text = Vec::new();
    write(&mut text, &rows, Format::Table)?;
    let table = String::from_utf8_lossy(&text).trim_end().replace('\n', "\n  ");
    print_line(&format!("  {what}:\n  {table}"))
}

fn next_steps(dir: &Path, first: &Snapshot, took: Duration) -> anyhow::Result<()> {
    let program = config::environment::program();
    print_line(&format!(
        "\nDone in {:.1} s. Every table is plain Iceberg: PyIceberg, DuckDB and Spark can read it. Next:\n\
         \n  cd {}\
         \n  {program} status\
         \n  {program} history silver.flights\
         \n  {program} sql 'SELECT * FROM silver.flights VERSION AS OF {} LIMIT 3'\
         \n  {program} objects\
         \n  {program} run          # then copy more flights into raw/\n",
        took.as_secs_f64(),
        dir.display(),
        first.id,
    ))
}
