//! A merge of changes into a large silver table, in both modes and, beside them, DuckDB's `MERGE INTO` on Iceberg.
//!
//! `cargo bench --bench merge -- ROWS CHANGES ROUNDS [recent] [copy-on-write] [merge-on-read] [scan]
//! [duckdb=PYTHON,REST-CATALOG-URL]`
//!
//! Half of the changes are updates at random keys (with `recent`: of the newest tenth), half are inserts. All sides get
//! the same changes, one after the other in each round; the rounds' medians are printed. What is timed: here
//! `Silver::step`, from bronze's snapshot to silver's commit; there the statement, with the changes in memory.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "a benchmark measures real time, and stops where it cannot go on"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use silversmith::ambient::SystemAmbient;
use silversmith::checkpoint::MemoryCheckpoints;
use silversmith::config;
use silversmith::event::ObjectEvent;
use silversmith::lake::catalog::JdbcCatalog;
use silversmith::lake::{Lake, local_files};
use silversmith::pipeline::{Intake, Wired};
use silversmith::source::{MemoryStore, Requested};
use silversmith::wiring::{assemble, expire_behind};
use tempfile::TempDir;

/// Rows of an object.
const OBJECT: u64 = 250_000;

/// What one merge took.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
    /// Peak of the process, in MiB.
    peak: u64,
}

/// One that merges.
enum Side {
    Ours(Box<Ours>),
    DuckDb(DuckDb),
}

impl Side {
    async fn load(&mut self, rows: u64) {
        match self {
            Self::Ours(ours) => ours.load(rows).await,
            Self::DuckDb(duckdb) => duckdb.load(rows),
        }
    }

    async fn merge(&mut self, changes: &str, folder: &Path) -> Took {
        match self {
            Self::Ours(ours) => ours.merge(changes).await,
            Self::DuckDb(duckdb) => {
                let file = folder.join("changes.csv");
                std::fs::write(&file, changes).unwrap();
                duckdb.ask(&format!("merge {}", file.display()))
            }
        }
    }

    async fn count(&mut self) -> u64 {
        match self {
            Self::Ours(ours) => ours.count().await,
            Self::DuckDb(duckdb) => duckdb.ask("count").wall as u64,
        }
    }
}

/// A lake of silversmith.
struct Ours {
    wired: Wired,
    raw: Arc<MemoryStore>,
    objects: u64,
    _folder: TempDir,
}

impl Ours {
    /// `how` is a mode, or `scan`: merge-on-read without a key index.
    async fn begin(how: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mode = if how == "scan" { "merge-on-read" } else { how };
        let config = format!(
            "[lake]\nname = \"lake\"\ncatalog = \"sqlite:catalog.db\"\nwarehouse = \"warehouse\"\n\
             checkpoints = \"checkpoints\"\n[worker]\nstate = \"state\"\n[source]\ndirectory = \"raw\"\n\
             [[pipeline]]\nname = \"orders\"\nsource = \"raw/*.csv\"\n[pipeline.bronze]\ntable = \"bronze.orders\"\n\
             [pipeline.silver]\ntable = \"silver.orders\"\nkeys = [\"id\"]\norder_by = [\"updated\"]\nmode = \"{mode}\"\n"
        );
        let mut settings = config::parse(&config, folder.path()).expect("the configuration");
        if how == "scan" {
            settings.worker.state = None;
        }
        let url = format!("sqlite:{}", folder.path().join("catalog.db").display());
        let catalog = JdbcCatalog::connect(&url, &folder.path().display().to_string()).await;
        let warehouse = folder.path().join("warehouse").display().to_string();
        let files = local_files();
        let lake =
            Lake::new(Arc::new(catalog.unwrap()), files, &warehouse, Arc::new(SystemAmbient));
        let raw = Arc::new(MemoryStore::new());
        let checkpoints = Arc::new(MemoryCheckpoints::new());
        let wired = assemble(settings, lake, raw.clone(), checkpoints, Intake::Directory);
        expire_behind(&wired);
        Self { wired, raw, objects: 0, _folder: folder }
    }

    async fn ingest(&mut self, text: String) {
        let key = format!("{}.csv", self.objects);
        self.objects += 1;
        let (bucket, size) = ("raw".to_owned(), Some(text.len() as u64));
        let object = ObjectEvent {
            bucket,
            key,
            etag: None,
            version_id: None,
            size,
            sequencer: None,
            event_time: None,
            again: None,
            replayed: false,
        };
        let uri = object.uri();
        self.raw.put(&uri, text, Utc::now());
        let ingested =
            self.wired.pipelines[0].bronze.ingest(&[Requested::ByEvent(object)]).await.unwrap();
        assert_eq!(ingested.report.ingested, 1);
        self.raw.delete(&uri);
    }

    async fn load(&mut self, rows: u64) {
        let began = Instant::now();
        for first in (0..rows).step_by(OBJECT as usize) {
            let mut text = HEADER.to_owned();
            (first..rows.min(first + OBJECT)).for_each(|key| row(&mut text, key, 0));
            self.ingest(text).await;
        }
        let bronze = began.elapsed().as_secs_f64();
        let took = self.step().await;
        println!(
            "  load: bronze {bronze:.1} s; silver {:.1} s, {:.1} s of CPU, peak {} MiB",
            took.wall, took.cpu, took.peak
        );
    }

    async fn step(&self) -> Took {
        forget_peak();
        let (cpu, began) = (cpu_seconds(), Instant::now());
        self.wired.pipelines[0].silver.as_ref().unwrap().step().await.unwrap();
        Took { wall: began.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu, peak: peak() }
    }

    async fn merge(&mut self, changes: &str) -> Took {
        self.ingest(changes.to_owned()).await;
        self.step().await
    }

    async fn count(&self) -> u64 {
        let table = self.wired.lake.load(&"silver.orders".parse().unwrap()).await.unwrap();
        table.current().unwrap().rows().unwrap()
    }
}

/// DuckDB in a process of Python, asked line by line.
struct DuckDb {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl DuckDb {
    fn begin(python: &str, url: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/merge_duckdb.py");
        let mut command = Command::new(python);
        command.arg(script).arg(url).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn ask(&mut self, what: &str) -> Took {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{what}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut numbers = line.split_whitespace().map(|n| n.parse::<f64>().unwrap());
        let mut next = || numbers.next().expect("three numbers");
        Took { wall: next(), cpu: next(), peak: next() as u64 }
    }

    fn load(&mut self, rows: u64) {
        let took = self.ask(&format!("load {rows}"));
        println!("  load: {:.1} s, {:.1} s of CPU, peak {} MiB", took.wall, took.cpu, took.peak);
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

#[tokio::main]
async fn main() {
    // cargo itself adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |at: usize, or: u64| arguments.get(at).and_then(|n| n.parse().ok()).unwrap_or(or);
    let (rows, changes, rounds) = (number(0, 1_000_000), number(1, 10_000), number(2, 9));
    let recent = arguments.iter().any(|a| a == "recent");
    let scratch = tempfile::tempdir().unwrap();
    let mut sides = Vec::new();
    for argument in &arguments {
        match argument.as_str() {
            "copy-on-write" | "merge-on-read" | "scan" => {
                let ours = Side::Ours(Box::new(Ours::begin(argument).await));
                sides.push((argument.as_str(), ours));
            }
            other => {
                if let Some((python, url)) =
                    other.strip_prefix("duckdb=").and_then(|v| v.split_once(','))
                {
                    sides.push(("DuckDB", Side::DuckDb(DuckDb::begin(python, url))));
                }
            }
        }
    }
    for (name, side) in &mut sides {
        println!("{name}: {rows} rows");
        side.load(rows).await;
    }
    let mut all: Vec<Vec<Took>> = vec![Vec::new(); sides.len()];
    for round in 1..=rounds {
        let text = changes_of(rows, changes, round, recent);
        for ((_, side), took) in sides.iter_mut().zip(&mut all) {
            took.push(side.merge(&text, scratch.path()).await);
        }
    }
    println!("{changes} changes, {rounds} rounds; the first one, then medians of the others:");
    for ((name, side), took) in sides.iter_mut().zip(&all) {
        let count = side.count().await;
        assert_eq!(count, rows + rounds * (changes - changes / 2), "{name}");
        println!("  {name}: first {:.3} s; {}", took[0].wall, summary(&took[1..]));
    }
}

const HEADER: &str = "id,customer,name,city,amount,updated\n";

fn row(text: &mut String, key: u64, round: u64) {
    let mixed = mix(key ^ (round << 48));
    writeln!(
        text,
        "{key},{},customer {},city {},{}.{:02},{}",
        mixed % 100_000,
        mixed % 1_000_000,
        mixed % 1_000,
        mixed % 10_000,
        mixed % 100,
        round
    )
    .unwrap();
}

/// Half updates, half inserts, the same for every side.
fn changes_of(rows: u64, changes: u64, round: u64, recent: bool) -> String {
    let mut text = HEADER.to_owned();
    let (updates, known) = (changes / 2, rows + (round - 1) * (changes - changes / 2));
    let span = if recent { known / 10 } else { known };
    let mut seen = std::collections::HashSet::new();
    let mut at = round << 32;
    while (seen.len() as u64) < updates {
        at += 1;
        let key = known - 1 - mix(at) % span;
        if seen.insert(key) {
            row(&mut text, key, round);
        }
    }
    (known..known + changes - updates).for_each(|key| row(&mut text, key, round));
    text
}

/// SplitMix64: a number that looks random, and is the same each time.
fn mix(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn summary(all: &[Took]) -> String {
    let median = |of: fn(&Took) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let peak = all.iter().map(|took| took.peak).max().unwrap_or_default();
    format!("{:.3} s, {:.3} s of CPU, peak {peak} MiB", median(|t| t.wall), median(|t| t.cpu))
}

/// CPU time of this process: user and system, in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// From now on the peak is that of what comes.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}
