//! The key index alone, without a table around it: bulk build, and probes of which half are hits.
//!
//! `cargo bench --bench lookup -- MILLIONS… [FOLDER]`. The folder should be on a real disk; by default it is the
//! system's temporary one. "Cold" needs `python3`, which asks the system to drop the pages, and is skipped without.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and stops where it cannot go on"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::Utc;
use silversmith::key_index::entry::{Entry, KeyHash, VALUE, Value};
use silversmith::key_index::folder::Index;
use silversmith::key_index::header::Definition;

/// Keys of a look-up: half of them are in the index.
const PROBES: u64 = 10_000;
const REPEATED: u64 = 9;
/// Bytes for sorting.
const MEMORY: usize = 32 << 20;
const BATCH: u64 = 8_192;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let mut millions: Vec<u64> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    if millions.is_empty() {
        millions = vec![1, 10];
    }
    let root = arguments.iter().find(|a| a.parse::<u64>().is_err()).map(PathBuf::from);
    println!("| entries | build | on disk | open | probes, warm | probes, cold | peak resident |");
    println!("|---|---|---|---|---|---|---|");
    for count in millions {
        let folder = match &root {
            Some(root) => tempfile::tempdir_in(root).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        measure(folder.path(), count * 1_000_000);
    }
}

fn measure(root: &Path, count: u64) {
    let begun = Instant::now();
    let mut index = open(root);
    build(&mut index, count);
    let built = begun.elapsed();
    let (bytes, runs, _) = index.size();
    assert_eq!(runs, 1);
    drop(index);
    let begun = Instant::now();
    let index = open(root);
    let opened = begun.elapsed();
    let warm = median((0..REPEATED).map(|round| probe(&index, count, round)).collect());
    let cold: Option<Vec<_>> = (0..REPEATED)
        .map(|round| drop_cache(root).then(|| probe(&index, count, 100 + round)))
        .collect();
    let cold = cold.map_or("not measured".to_owned(), |took| format!("{:.1?}", median(took)));
    println!(
        "| {} M | {built:.2?} | {} MB | {opened:.1?} | {warm:.1?} | {cold} | {} MiB |",
        count / 1_000_000,
        bytes / 1_000_000,
        peak_resident() >> 20,
    );
}

fn open(root: &Path) -> Index {
    let definition = Definition { table: "bench".to_owned(), keys: vec![], order: vec![] };
    Index::open(root, &definition, "secret".to_owned(), Utc::now()).unwrap().unwrap()
}

/// As of a merge by a time: its bytes, and a hash of them.
fn value(order: u64, hash: [u8; 8]) -> Value {
    let mut value = [0; VALUE];
    value[..8].copy_from_slice(&order.to_be_bytes());
    value[16..].copy_from_slice(&hash);
    value
}

/// Keys as a merge has them: a byte that is no null, and a number.
fn key(number: u64) -> [u8; 9] {
    let mut key = [1; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn build(index: &mut Index, count: u64) {
    let files = index.numbered([("s3://bucket/file.parquet", 1, count)]);
    let mut sorter = index.sorter(count, MEMORY);
    let hasher = index.hasher().clone();
    for first in (0..count).step_by(BATCH as usize) {
        let entries = (first..count.min(first + BATCH)).map(|number| {
            let order = value(number, hasher.value(&[key(number), key(1)].concat()));
            Entry::new(&hasher.key(&key(number)), &order, files[0].id, number as u32)
        });
        sorter.push(entries).unwrap();
    }
    index.learn(sorter, &files, Utc::now()).unwrap();
}

fn probe(index: &Index, count: u64, round: u64) -> Duration {
    let hasher = index.hasher();
    let begun = Instant::now();
    // A prime step spreads the keys; every second one is beyond the last.
    let at = |n: u64| (n * 7_919 + round * 104_729) % count + (n % 2) * count;
    let mut hashes: Vec<KeyHash> = (0..PROBES).map(|n| hasher.key(&key(at(n)))).collect();
    hashes.sort_unstable();
    let found = index.find(&hashes).unwrap();
    let took = begun.elapsed();
    assert_eq!(found.len() as u64, PROBES / 2);
    took
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

/// Whether the files are no longer in the page cache.
fn drop_cache(root: &Path) -> bool {
    let root = root.display().to_string();
    let evicted = Command::new("python3").args(["-c", EVICT, &root]).output();
    evicted.is_ok_and(|out| out.status.success())
}

/// Asks the system to drop the pages of these files alone, which needs no rights.
const EVICT: &str = "
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        file = os.open(os.path.join(folder, name), os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
";

/// The most memory that the process has had; 0 where the system does not say.
fn peak_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}
