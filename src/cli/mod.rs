//! The command line: one file for each command or family of them; exit codes and hints in `exit.rs`.
//!
//! stdout is data and can be piped; progress, logs and errors go to stderr.

mod asking;
mod check;
mod check_files;
mod check_sql;
mod checkpoint;
mod deliveries;
mod demo;
mod dlq;
mod exit;
mod findings;
mod infer;
mod init;
mod key_guess;
mod left;
mod look;
mod maintain;
mod origin;
mod output;
mod progress;
mod quarantine;
mod quiet;
mod reingest;
mod repair;
mod samples;
mod shell;
mod sql;
mod status;
mod steps;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::ambient::{SharedAmbient, SystemAmbient};
use crate::aws::Aws;
use crate::config::{self, Settings};
use crate::features::Part;
use crate::pipeline::{Pipeline, Wired};
use crate::telemetry::http::Listen;
use crate::telemetry::readiness::Health;
use crate::telemetry::{self, LogFormat, Telemetry};
use crate::wiring::{Missing, WiringError, wire};
use crate::worker::announced;
use output::Format;

/// The configuration file unless one is named.
const DEFAULT_CONFIG: &str = "silversmith.toml";

/// The heading of the options that every command has.
const GLOBAL: &str = "Global options";

const EXAMPLES: &str = "\
Examples:
  silversmith demo                        build a small lake in ./silversmith-demo, step by step
  silversmith init raw/orders.csv         write a first silversmith.toml from a sample CSV file
  silversmith run --until-idle            process everything that waits, then exit
  silversmith sql 'SELECT * FROM silver.orders LIMIT 5'
  silversmith objects --format json | jq 'select(.outcome != \"ingested\")'

Exit codes: 0 success, 1 failure (the message says what to do next), 2 wrong usage or configuration,
3 done, but something was left behind: objects rejected, rows in quarantine or without a key.";

/// Load CSV files from S3 or a folder into Apache Iceberg tables (bronze, silver, gold), exactly once.
#[derive(Debug, Parser)]
#[command(name = "silversmith", version, after_help = EXAMPLES)]
struct Cli {
    /// Configuration file: a path, or s3://bucket/key
    #[arg(long, global = true, help_heading = GLOBAL, env = config::environment::CONFIG.name, hide_env_values = true, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    config: String,
    /// Format of log lines; RUST_LOG sets which lines are logged
    #[arg(long, global = true, help_heading = GLOBAL, value_enum, env = config::environment::LOG_FORMAT.name, hide_env_values = true, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(
        after_help = "Examples:\n  silversmith run\n  silversmith run --http 9464\n  silversmith run --until-idle --log-format json 2> worker.log"
    )]
    /// Run the worker: ingest files as they arrive, merge them into silver, refresh gold
    Run {
        /// Exit when no files wait and silver and gold are up to date: with 3 where something was left behind
        #[arg(long)]
        until_idle: bool,
        /// With --until-idle: exit with 0 even if something was left behind
        #[arg(long, requires = "until_idle")]
        lenient: bool,
        /// Serve /metrics, /healthz and /readyz here: an address such as 0.0.0.0:9464, or a loopback port
        #[arg(long, value_name = "ADDR")]
        http: Option<Listen>,
    },
    #[command(
        after_help = "Examples:\n  silversmith bronze\n  silversmith bronze --pipeline orders && silversmith silver --pipeline orders"
    )]
    /// Ingest new files into bronze, once
    Bronze {
        #[command(flatten)]
        only: Only,
        #[command(flatten)]
        lenient: Lenient,
    },
    #[command(
        after_help = "Examples:\n  silversmith backfill\n  silversmith backfill s3://raw-zone/orders/2025/"
    )]
    /// List all files, however old, and ingest those that were not processed before
    Backfill {
        /// Only files whose URI starts with this; by default, all files
        #[arg(value_name = "URI")]
        root: Option<String>,
        #[command(flatten)]
        only: Only,
        #[command(flatten)]
        lenient: Lenient,
    },
    #[command(
        after_help = "Examples:\n  silversmith silver\n  silversmith silver --pipeline orders --rebuild"
    )]
    /// Merge new bronze rows into silver, once
    Silver {
        #[command(flatten)]
        only: Only,
        /// Recompute silver from all of bronze, in one commit
        #[arg(long)]
        rebuild: bool,
        /// With --rebuild: go on even if rows go that bronze cannot bring back
        #[arg(long, requires = "rebuild")]
        force: bool,
        #[command(flatten)]
        lenient: Lenient,
    },
    #[command(
        after_help = "Examples:\n  silversmith gold\n  silversmith gold --config lakes/orders.toml"
    )]
    /// Recompute the gold tables of which a source table changed, once
    Gold(Only),
    /// Run SELECT, SHOW TABLES or DESCRIBE over any table, as it is now or was at an earlier snapshot; or open a shell
    ///
    /// Write tables as namespace.table. VERSION AS OF and TIMESTAMP AS OF read an earlier snapshot;
    /// t.history, t.snapshots and t.files are the metadata tables of table t.
    Sql(sql::SqlArgs),
    /// List the snapshots of a table: id, time, operation, rows added and removed, properties
    ///
    /// total_rows counts the rows that a query returns. It is empty where another program's delete
    /// files make it unknown.
    History(look::HistoryArgs),
    /// List files and what happened to them: outcome, rows, rescued rows, batch, error
    Objects(look::ObjectsArgs),
    #[command(
        after_help = "Examples:\n  silversmith status\n  silversmith status --fail || echo look\n  silversmith status --deliveries\n  silversmith status --format json | jq 'select(.objects_failed > 0)'"
    )]
    /// Show the lag, the last commits and the failures of each pipeline
    Status {
        /// Exit with 3 if objects failed, rows are in quarantine, or silver or gold is behind
        #[arg(long)]
        fail: bool,
        /// List the folders whose delivery is not complete: since when, and what they wait for
        #[arg(long, conflicts_with = "fail")]
        deliveries: bool,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Compact tables, expire snapshots and delete files that nothing names
    ///
    /// Small data files and manifests are rewritten into large ones; no row changes. The files that were
    /// replaced are deleted when the snapshots that name them expire.
    Maintain(maintain::MaintainArgs),
    /// After bronze was set back: let the ledger and silver go on from what bronze has
    ///
    /// It first explains what it would do, then asks. No row of bronze or silver is removed.
    Repair(repair::RepairArgs),
    #[command(
        after_help = "Examples:\n  silversmith checkpoint show\n  silversmith checkpoint rewind orders --to 8744736658442914487\n  silversmith checkpoint rewind orders --to-start"
    )]
    /// Show checkpoints, or re-merge from an earlier bronze snapshot
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    #[command(
        after_help = "Examples:\n  silversmith check\n  silversmith check --infer raw/orders.csv\n  silversmith check --infer raw/2026-01-*.csv"
    )]
    /// Validate the configuration and test access to everything that it names
    Check {
        /// Instead, print the columns and types that are inferred from these CSV files together, each with
        /// the value that decided its type
        #[arg(long, value_name = "FILE.csv", num_args = 1..)]
        infer: Vec<PathBuf>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List, inspect, replay or purge dead letters
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// List, inspect, replay or purge the rows that silver refused
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Write a first silversmith.toml from a sample CSV file
    Init(init::InitArgs),
    #[command(
        after_help = "Examples:\n  silversmith lambda --config s3://lake-config/silversmith.toml\n  SILVERSMITH_CONFIG=s3://lake-config/silversmith.toml ./bootstrap\n\nThe function accepts SQS batches (with ReportBatchItemFailures), {\"step\": \"bronze\"} from Step Functions, silversmith's own bronze.committed events, and schedules."
    )]
    /// Serve the invocations of an AWS Lambda function
    Lambda,
    /// Build a small lake in a folder from real flight data, and explain each step
    Demo(demo::DemoArgs),
}

/// Which pipelines a step is for.
#[derive(Debug, Args)]
struct Only {
    /// Only this pipeline
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

/// What a step says of what it left behind.
#[derive(Debug, Args)]
struct Lenient {
    /// Exit with 0 even if something was left behind: objects rejected, rows in quarantine or without a key
    #[arg(long)]
    lenient: bool,
}

#[derive(Debug, Args)]
struct FormatArgs {
    /// How rows are printed: as a table, as CSV with a header, or as one JSON object per line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(config::environment::arguments());
    // A command prints its result; a worker logs what it does.
    let default = match cli.command {
        Command::Run { .. } | Command::Lambda => "warn,aws_config=error,silversmith=info",
        _ => "warn,aws_config=error",
    };
    let collector = config::environment::has_collector();
    if let (true, Err(missing)) = (collector, Part::Otlp.needed()) {
        let error = anyhow::Error::from(missing).context("OTEL_EXPORTER_OTLP_ENDPOINT is set");
        return exit::failed(&error);
    }
    let started = telemetry::start(&Telemetry {
        format: cli.log_format,
        filter: config::environment::log_filter().as_deref(),
        default_filter: default,
        otlp: collector,
        service: &config::environment::service_name(),
        scraped: matches!(cli.command, Command::Run { http: Some(_), .. }),
    });
    if let Err(error) = started {
        // The command runs all the same, with a collector or without.
        tracing::warn!(%error, "telemetry could not be started; the command runs without it");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failed(&anyhow::Error::from(error).context("no async runtime")),
    };
    let ambient: SharedAmbient = Arc::new(SystemAmbient);
    let done = runtime.block_on(async {
        let done = Box::pin(dispatch(cli, &ambient)).await;
        telemetry::flush(&ambient).await;
        done
    });
    // The process does not wait for an exporter that waits for its collector.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failed(&error),
    }
}

async fn dispatch(cli: Cli, ambient: &SharedAmbient) -> anyhow::Result<()> {
    // An empty value counts as unset.
    let config = if cli.config.is_empty() { DEFAULT_CONFIG } else { cli.config.as_str() };
    let settings = || settings(config);
    match cli.command {
        Command::Run { until_idle, lenient, http } => {
            let health = Health::new(ambient.clone());
            if let Some(listen) = http {
                let address = telemetry::http::serve(listen, health.clone()).await;
                let address = address.with_context(|| "--http: cannot listen on this address")?;
                tracing::info!(%address, "serving /metrics, /healthz and /readyz");
            }
            let wired = wire(settings().await?, Missing::Make).await?;
            let quiet = cli.log_format == LogFormat::Json;
            steps::run(&wired, &health, until_idle, lenient, quiet).await
        }
        Command::Bronze { only, lenient: Lenient { lenient } } => {
            let wired = wire(settings().await?, Missing::Make).await?;
            let chosen = chosen(&wired, &only)?;
            announced(&chosen, ambient, Box::pin(steps::bronze(&chosen, ambient, lenient))).await
        }
        Command::Backfill { root, only, lenient: Lenient { lenient } } => {
            let wired = wire(settings().await?, Missing::Make).await?;
            let chosen = chosen(&wired, &only)?;
            let work = Box::pin(steps::backfill(&chosen, ambient, root.as_deref(), lenient));
            announced(&chosen, ambient, work).await
        }
        Command::Dlq(command) => {
            dlq::run(&wire(settings().await?, Missing::Make).await?, command).await
        }
        Command::Quarantine(command) => {
            quarantine::run(&existing(settings().await?).await?, ambient, command).await
        }
        Command::Silver { only, rebuild, force, lenient: Lenient { lenient } } => {
            let wired = wire(settings().await?, Missing::Make).await?;
            let chosen = chosen(&wired, &only)?;
            let work = steps::silver(&chosen, ambient, rebuild, force, lenient);
            announced(&chosen, ambient, Box::pin(work)).await
        }
        Command::Gold(only) => {
            let wired = wire(settings().await?, Missing::Make).await?;
            let chosen = chosen(&wired, &only)?;
            announced(&chosen, ambient, Box::pin(steps::gold(&chosen, ambient))).await
        }
        Command::Sql(args) => sql::run(&existing(settings().await?).await?, args).await,
        Command::History(args) => look::history(&existing(settings().await?).await?, args).await,
        Command::Objects(args) if !args.reingest.is_empty() => {
            let wired = existing(settings().await?).await?;
            let chosen = chosen(&wired, &args.only)?;
            let reading = Box::pin(reingest::run(&chosen, &args.reingest, args.dry_run));
            announced(&chosen, ambient, reading).await
        }
        Command::Objects(args) => look::objects(&existing(settings().await?).await?, args).await,
        Command::Status { deliveries: true, format, .. } => {
            deliveries::run(&existing(settings().await?).await?, format.format).await
        }
        Command::Status { deliveries: false, fail, format } => {
            status::run(&existing(settings().await?).await?, fail, format.format).await
        }
        Command::Maintain(args) => maintain::run(&existing(settings().await?).await?, args).await,
        Command::Repair(args) => {
            repair::run(&existing(settings().await?).await?, ambient, args).await
        }
        Command::Checkpoint(command) => {
            checkpoint::run(&existing(settings().await?).await?, command).await
        }
        Command::Check { infer, format } if !infer.is_empty() => {
            infer::run(Path::new(config), &infer, format.format)
        }
        Command::Check { format, .. } => check::run(settings().await?, format.format).await,
        #[cfg(not(feature = "lambda"))]
        Command::Lambda => Err(Part::Lambda.missing().into()),
        #[cfg(feature = "lambda")]
        Command::Lambda if !config::environment::is_lambda() => {
            let why = "`lambda` runs inside AWS Lambda only, which sets AWS_LAMBDA_RUNTIME_API; elsewhere, use `silversmith run`";
            Err(exit::Usage(why.to_owned()).into())
        }
        #[cfg(feature = "lambda")]
        Command::Lambda => crate::lambda::run(wire(settings().await?, Missing::Make).await?).await,
        Command::Init(_) if config.starts_with("s3://") => {
            let why =
                "`init` writes a local file: name one with --config, edit it, then copy it to S3";
            Err(exit::Usage(why.to_owned()).into())
        }
        Command::Init(args) => init::run(Path::new(config), args),
        Command::Demo(args) => demo::run(args).await,
    }
}

/// The configuration, from a file or from S3.
async fn settings(config: &str) -> anyhow::Result<Settings> {
    let Some(location) = config.strip_prefix("s3://") else {
        return Ok(config::load(Path::new(config))?);
    };
    let (bucket, key) = location.split_once('/').unwrap_or((location, ""));
    let aws = Aws::connect(config::environment::s3_endpoint().as_deref()).await;
    if !aws.has_region() {
        return Err(WiringError::NoRegion.into());
    }
    let text = aws.text(bucket, key).await;
    let text = text.with_context(|| format!("configuration {config} cannot be read"))?;
    Ok(config::fetched(config, &text)?)
}

/// The lake for a command that only reads: it has to exist.
async fn existing(settings: Settings) -> anyhow::Result<Wired> {
    Ok(wire(settings, Missing::Refuse).await?)
}

fn chosen<'a>(wired: &'a Wired, only: &Only) -> anyhow::Result<Vec<&'a Pipeline>> {
    let Some(name) = &only.pipeline else { return Ok(wired.pipelines.iter().collect()) };
    let found = wired.pipelines.iter().find(|p| p.settings.name == *name);
    match found {
        Some(pipeline) => Ok(vec![pipeline]),
        None => {
            let names: Vec<&str> =
                wired.pipelines.iter().map(|p| p.settings.name.as_str()).collect();
            Err(exit::Usage(format!(
                "there is no pipeline `{name}`; the configuration has {}",
                names.join(", ")
            ))
            .into())
        }
    }
}
