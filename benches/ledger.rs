//! What a look-up in the ledger costs as the ledger grows: a batch of 1,000 object versions, half of them known, with
//! ten thousand known and with ten million, in one run.
//!
//! `cargo bench --bench ledger -- [MILLIONS] [one-day | spread] [FOLDER]`. The objects are spread over ten years, or of
//! one day, as after `aws s3 sync`; without a word, both. The folder should be on a real disk; by default it is the
//! system's temporary one. Compare the lines of one run.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "a benchmark measures real time, and stops where it cannot go on"
)]

mod support;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration as Took, Instant};

use chrono::{DateTime, Duration, TimeZone, Utc};
use silversmith::ambient::SystemAmbient;
use silversmith::batch::BatchId;
use silversmith::lake::catalog::JdbcCatalog;
use silversmith::lake::{Lake, local_files};
use silversmith::ledger::{IndexSettings, Ledger, ObjectOutcome, ObjectRow};
use silversmith::source::ObjectId;

use support::resident;

/// Rows of a file of the objects table, as after a compaction.
const FILE: usize = 250_000;
/// Object versions of a look-up.
const BATCH: usize = 1_000;
/// Of a small ledger.
const FEW: usize = 10_000;
/// As with `memory = "512MiB"`.
const VERSIONS: usize = 1024 * 1024;
const REPEATED: usize = 21;

fn main() {
    // cargo itself adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let millions: f64 = arguments.iter().find_map(|n| n.parse().ok()).unwrap_or(10.0);
    let has = |word: &str| arguments.iter().any(|a| a == word);
    let root = arguments.iter().find(|a| a.contains('/')).map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!(
        "| LastModified | known | first build | cold start | look-up | after a batch | index on disk | resident |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for one_day in [false, true] {
        if has(if one_day { "spread" } else { "one-day" }) {
            continue;
        }
        let measured = [FEW, (millions * 1e6) as usize].map(|size| {
            let folder = match &root {
                Some(root) => tempfile::tempdir_in(root).unwrap(),
                None => tempfile::tempdir().unwrap(),
            };
            runtime.block_on(measure(folder.path(), size, one_day))
        });
        let ratio = |of: fn(&Measured) -> Took| {
            of(&measured[1]).as_secs_f64() / of(&measured[0]).as_secs_f64()
        };
        let (look_up, batch) = (ratio(|m| m.look_up), ratio(|m| m.batch));
        println!("ratio of the two: look-up {look_up:.2}, after a batch {batch:.2}\n");
    }
}

struct Measured {
    look_up: Took,
    batch: Took,
}

async fn measure(folder: &Path, size: usize, one_day: bool) -> Measured {
    let url = format!("sqlite:{}", folder.join("catalog.db").display());
    let catalog = Arc::new(JdbcCatalog::connect(&url, "lake").await.unwrap());
    let warehouse = folder.join("warehouse").display().to_string();
    let lake = Lake::new(catalog, local_files(), &warehouse, Arc::new(SystemAmbient));
    let state = folder.join("state");
    let new = || {
        let settings = IndexSettings { versions: VERSIONS, folder: Some(state.clone()) };
        Ledger::new(&lake, "customers", &"bronze.customers".parse().unwrap(), settings)
    };
    let writer = new();
    for first in (0..size).step_by(FILE) {
        let numbers = first..(first + FILE).min(size);
        let rows: Vec<ObjectRow> = numbers.map(|n| row(object(n, one_day))).collect();
        writer.record(&rows).await.unwrap();
    }
    let first = timed(&new(), size, 0, one_day).await;
    let ledger = new();
    let cold = timed(&ledger, size, 1, one_day).await;
    let mut warm = Vec::new();
    for round in 2..2 + REPEATED {
        warm.push(timed(&ledger, size, round, one_day).await);
    }
    let memory = resident();
    let mut batches = Vec::new();
    for round in 100..100 + REPEATED {
        let numbers = size + round * 100..size + round * 100 + 100;
        let rows: Vec<ObjectRow> = numbers.map(|n| row(object(n, one_day))).collect();
        writer.record(&rows).await.unwrap();
        batches.push(timed(&ledger, size, round, one_day).await);
    }
    let measured = Measured { look_up: median(warm), batch: median(batches) };
    println!(
        "| {} | {size} | {first:.2?} | {cold:.2?} | {:.2?} | {:.2?} | {} MB | {} MiB |",
        if one_day { "one day" } else { "ten years" },
        measured.look_up,
        measured.batch,
        bytes_of(&state) / 1_000_000,
        memory >> 20,
    );
    measured
}

fn object(number: usize, one_day: bool) -> ObjectId {
    let first = Utc.with_ymd_and_hms(2016, 1, 1, 0, 0, 0).unwrap();
    let seconds = if one_day { number % 86_400 } else { number * 31 % 315_360_000 };
    let last_modified: DateTime<Utc> = first + Duration::seconds(seconds as i64);
    let uri =
        format!("s3://raw-zone/customers/year=2016/{:04}/part-{number:08}.csv", number % 3_650);
    ObjectId {
        uri,
        version: format!("{:032x}", number as u128 * 0x9e37_79b9_7f4a_7c15),
        last_modified,
    }
}

fn row(id: ObjectId) -> ObjectRow {
    ObjectRow {
        id,
        size: Some(10_000),
        outcome: ObjectOutcome::Ingested,
        reason: None,
        error: None,
        rows: 100,
        rescued: Some(0),
        batch: BatchId::new("bench"),
        finished_at: Utc::now(),
    }
}

/// A look-up, checked.
async fn timed(ledger: &Ledger, size: usize, round: usize, one_day: bool) -> Took {
    let known = (0..BATCH / 2).map(|n| (n * 7_919 + round * 104_729) % size);
    let known: HashSet<usize> = known.collect();
    let new = (0..BATCH / 2).map(|n| 1_000_000_000 + round * BATCH + n);
    let wanted: HashSet<ObjectId> =
        known.iter().copied().chain(new).map(|n| object(n, one_day)).collect();
    let began = Instant::now();
    let found = ledger.known(None, &wanted).await.unwrap();
    let took = began.elapsed();
    assert_eq!(found.len(), known.len());
    took
}

fn median(mut took: Vec<Took>) -> Took {
    took.sort_unstable();
    took[took.len() / 2]
}

/// Bytes of all files below a folder.
fn bytes_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let bytes = entries.map(|entry| {
        let (path, metadata) = entry.map(|e| (e.path(), e.metadata().unwrap())).unwrap();
        if metadata.is_dir() { bytes_of(&path) } else { metadata.len() }
    });
    bytes.sum()
}
