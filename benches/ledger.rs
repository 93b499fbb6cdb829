//! What a look-up in the ledger costs as the ledger grows: a batch of 1,000 object versions, half of them known.
//!
//! `cargo bench --bench ledger -- MILLIONS [one-day]`. The rows are spread over ten years, or of one day, as after
//! `aws s3 sync`. Compare the lines of one run.
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
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Duration, TimeZone, Utc};
use silversmith::ambient::SystemAmbient;
use silversmith::batch::BatchId;
use silversmith::lake::catalog::JdbcCatalog;
use silversmith::lake::{Lake, local_files};
use silversmith::ledger::{Ledger, ObjectOutcome, ObjectRow};
use silversmith::source::ObjectId;

use support::resident;

/// Rows of a file of the objects table: more than a batch has, as a million files would be the subject then.
const FILE: usize = 250_000;
/// Object versions of a look-up.
const BATCH: usize = 1_000;

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

#[tokio::main]
async fn main() {
    // cargo itself adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let millions: usize = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(1);
    let one_day = arguments.iter().any(|a| a == "one-day");
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("catalog.db").display());
    let catalog = Arc::new(JdbcCatalog::connect(&url, "lake").await.unwrap());
    let warehouse = folder.path().join("warehouse").display().to_string();
    let lake = Lake::new(catalog, local_files(), &warehouse, Arc::new(SystemAmbient));
    let name = "bronze.customers".parse().unwrap();
    // As with `memory = "512MiB"`.
    let new = || Ledger::new(&lake, "customers", &name, 1024 * 1024);
    let (mut written, mut sizes) = (0, vec![10_000, 100_000]);
    sizes.extend(
        (0..).map(|n| 10_usize.pow(n) * 1_000_000).take_while(|n| *n <= millions * 1_000_000),
    );
    for size in sizes {
        let ledger = new();
        while written < size {
            let until = (written + FILE).min(size);
            let rows: Vec<ObjectRow> = (written..until).map(|n| row(object(n, one_day))).collect();
            ledger.record(&rows).await.unwrap();
            written = until;
        }
        let ledger = new();
        let began = Instant::now();
        ask(&ledger, size, 0, one_day).await;
        let cold = began.elapsed();
        let mut warm: Vec<_> = Vec::new();
        for round in 1..12 {
            let began = Instant::now();
            ask(&ledger, size, round, one_day).await;
            warm.push(began.elapsed());
        }
        warm.sort_unstable();
        println!(
            "{size:>9} known: first look-up {:.2} s, then {:.1} ms; {} MiB",
            cold.as_secs_f64(),
            warm[warm.len() / 2].as_secs_f64() * 1e3,
            resident() >> 20
        );
    }
}

/// A look-up, checked.
async fn ask(ledger: &Ledger, size: usize, round: usize, one_day: bool) {
    let known = (0..BATCH / 2).map(|n| (n * 7_919 + round * 104_729) % size);
    let known: HashSet<usize> = known.collect();
    let new = (0..BATCH / 2).map(|n| 1_000_000_000 + round * BATCH + n);
    let wanted: HashSet<ObjectId> =
        known.iter().copied().chain(new).map(|n| object(n, one_day)).collect();
    let found = ledger.known(None, &wanted).await.unwrap();
    assert_eq!(found.len(), known.len());
}
