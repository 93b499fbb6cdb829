//! What a round costs after many: one object → bronze → silver, thousands of times on one lake.
//!
//! `cargo bench --bench history -- ROUNDS [keep-all] [postgres://…] [FILE.svg]`. With `keep-all` nothing expires, as it
//! was before commits expired snapshots. The SVG file shows the growth. Figures of one machine say little: compare the columns of one run.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "a benchmark measures real time, and stops where it cannot go on"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

use support::resident;

const CONFIG: &str = r#"
[lake]
name = "lake"
catalog = "sqlite:catalog.db"
warehouse = "warehouse"
checkpoints = "checkpoints"
[source]
directory = "raw"
[[pipeline]]
name = "customers"
source = "raw/*.csv"
[pipeline.bronze]
table = "bronze.customers"
[pipeline.silver]
table = "silver.customers"
keys = ["id"]
order_by = ["updated"]
"#;

/// Rounds between two lines of progress.
const STEP: usize = 500;

/// What one round took.
struct Took {
    bronze: Duration,
    silver: Duration,
    /// Bytes in the newest metadata file of bronze.
    metadata: u64,
    resident: u64,
}

#[tokio::main]
async fn main() {
    // cargo itself adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let rounds: usize = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let keep_all = arguments.iter().any(|a| a == "keep-all");
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("catalog.db").display());
    let url = arguments.iter().find(|a| a.starts_with("postgres")).unwrap_or(&sqlite);
    let catalog =
        Arc::new(JdbcCatalog::connect(url, &folder.path().display().to_string()).await.unwrap());
    let warehouse = folder.path().join("warehouse").display().to_string();
    let lake = Lake::new(catalog, local_files(), &warehouse, Arc::new(SystemAmbient));
    let raw = Arc::new(MemoryStore::new());
    let settings = config::parse(CONFIG, Path::new("/bench")).expect("the configuration");
    let checkpoints = Arc::new(MemoryCheckpoints::new());
    let wired = assemble(settings, lake, raw.clone(), checkpoints, Intake::Directory);
    if !keep_all {
        expire_behind(&wired);
    }
    let mut all = Vec::with_capacity(rounds);
    for number in 0..rounds {
        all.push(round(&wired, &raw, number).await);
        if (number + 1) % STEP == 0 {
            println!("{:>6} rounds: {}", number + 1, summary(&all[number + 1 - STEP..]));
        }
    }
    if let Some(file) = arguments.iter().find(|a| a.ends_with(".svg")) {
        std::fs::write(file, growth(&all)).unwrap();
    }
    let window = 1_000.min(rounds / 4);
    let first = &all[100.min(rounds - window)..][..window];
    let last = &all[rounds - window..];
    println!("rounds 100 to {}: {}", 100 + window, summary(first));
    println!("the last {window}: {}", summary(last));
    for (what, of) in [
        ("bronze", (|t: &Took| t.bronze) as fn(&Took) -> Duration),
        ("silver", |t| t.silver),
        ("whole round", |t| t.bronze + t.silver),
    ] {
        println!("{what}: {:.2} x", median(last, of) / median(first, of));
    }
}

/// An object with ten rows, of a thousand keys in all, through bronze and silver.
async fn round(wired: &Wired, raw: &MemoryStore, number: usize) -> Took {
    let mut text = "id,name,updated\n".to_owned();
    for row in 0..10 {
        text.push_str(&format!("{},name {number},{number}\n", (number * 10 + row) * 7 % 1_000));
    }
    let key = format!("{number}.csv");
    let (etag, version_id, size, event_time) = (None, None, Some(text.len() as u64), None);
    let again = None;
    let (bucket, sequencer) = ("raw".to_owned(), None);
    let object = ObjectEvent {
        bucket,
        key,
        etag,
        version_id,
        size,
        sequencer,
        event_time,
        again,
        replayed: false,
    };
    raw.put(&object.uri(), text, Utc::now());
    let pipeline = &wired.pipelines[0];
    let began = Instant::now();
    let ingested = pipeline.bronze.ingest(&[Requested::ByEvent(object)]).await.unwrap();
    assert_eq!(ingested.report.ingested, 1);
    let bronze = began.elapsed();
    let began = Instant::now();
    let merged = pipeline.silver.as_ref().unwrap().step().await.unwrap();
    assert_eq!(merged.report.bronze_snapshots, 1);
    let silver = began.elapsed();
    let table = wired.lake.load(&"bronze.customers".parse().unwrap()).await.unwrap();
    let metadata = std::fs::metadata(table.metadata_location()).unwrap().len();
    Took { bronze, silver, metadata, resident: resident() }
}

/// What rounds took, in medians of a hundred.
fn growth(all: &[Took]) -> String {
    let line = |of: fn(&Took) -> Duration| {
        let hundreds = all.chunks(100).enumerate();
        hundreds.map(|(n, some)| (n as f64 * 100.0, median(some, of))).collect()
    };
    let lines = [
        ("one object → bronze", line(|t: &Took| t.bronze)),
        ("bronze → silver", line(|t: &Took| t.silver)),
    ];
    support::chart::growth("What a round costs after many", ("rounds", "ms, median of 100"), &lines)
}

fn median(all: &[Took], of: fn(&Took) -> Duration) -> f64 {
    let mut all: Vec<Duration> = all.iter().map(of).collect();
    all.sort_unstable();
    all[all.len() / 2].as_secs_f64() * 1e3
}

fn summary(all: &[Took]) -> String {
    let last = all.last().unwrap();
    format!(
        "bronze {:.1} ms, silver {:.1} ms, round {:.1} ms; metadata {:.2} MB; {} MiB",
        median(all, |t| t.bronze),
        median(all, |t| t.silver),
        median(all, |t| t.bronze + t.silver),
        last.metadata as f64 / 1e6,
        last.resident >> 20
    )
}
