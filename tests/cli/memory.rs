//! I7: the memory of the program follows `worker.memory`, not its input. Read from the kernel's own counters (Linux).

use std::fmt::Write;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::Folder;
use crate::support::real_time;

const MEBIBYTE: u64 = 1024 * 1024;
/// The least that can be set.
const SETTING: u64 = 256 * MEBIBYTE;
/// Of it, what the pages of a released program take, with room. A development build's are twice as large.
const PROGRAM: u64 = 64 * MEBIBYTE;
/// Held by key, these rows take several times what a merge may hold.
const ROWS: u64 = 250_000;
/// Rows of a kibibyte of text that compresses to almost nothing.
const WIDE_ROWS: u64 = 80_000;

/// The peak of what a process held, in bytes, without the pages of its program.
fn held(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let kibibytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    // The first is a peak, and the second only grows.
    Some((kibibytes("VmHWM:")? - kibibytes("RssFile:")?) * 1024)
}

/// Runs what has to succeed; the peak of what it held.
fn peak(folder: &Folder, args: &[&str]) -> u64 {
    let mut command = folder.command(args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = held(&child).unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        // The kernel keeps the peak: how often it is read decides nothing but how late the last time is.
        real_time::block(Duration::from_millis(2));
    };
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(status.success(), "{args:?}: {said}");
    assert!(peak > MEBIBYTE, "{args:?}: {peak} bytes are not a measurement");
    println!("{args:?}: {} MiB", peak / MEBIBYTE);
    peak
}

/// A lake with 256 MiB in this mode.
fn folder(mode: &str) -> Folder {
    let setting = format!("[worker]\nmemory = \"{}MiB\"\n\n[source]", SETTING / MEBIBYTE);
    let config = Folder::config("settle = \"0s\"", "max_objects = 10")
        .replace("[source]", &setting)
        .replace("keys     = [\"id\"]", &format!("keys     = [\"id\"]\nmode     = \"{mode}\""));
    Folder::new(&config)
}

/// Runs the steps; none holds more than the setting.
fn stays_within(folder: &Folder, steps: &[&[&str]]) {
    for step in steps {
        let peak = peak(folder, step);
        let mebibytes = peak / MEBIBYTE;
        assert!(peak + PROGRAM <= SETTING, "{step:?} held {mebibytes} MiB beside its program");
    }
}

/// Rows of about 100 bytes that do not compress well.
fn narrow(ids: impl Iterator<Item = u64>, updated: u64) -> String {
    let mut text = "id,name,city,note,updated\n".to_owned();
    for id in ids {
        let mixed = (id + updated).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (more, rest) = (mixed.rotate_left(29) ^ id, mixed.wrapping_mul(id | 1));
        let note = format_args!("{mixed:016x}{more:016x}{rest:016x}");
        writeln!(text, "{id},customer {id},city {},{note},{updated}", id % 977).unwrap();
    }
    text
}

fn wide(ids: impl Iterator<Item = u64>, updated: u64) -> String {
    let note = "the same words again and again; ".repeat(32);
    let mut text = "id,note,updated\n".to_owned();
    for id in ids {
        writeln!(text, "{id},{note},{updated}").unwrap();
    }
    text
}

#[test]
fn the_peak_of_memory_stays_within_the_setting() {
    for mode in ["copy-on-write", "merge-on-read"] {
        let folder = folder(mode);
        folder.write("raw/1.csv", &narrow(0..ROWS, 1));
        stays_within(&folder, &[&["bronze"], &["silver"]]);
        // Every third row again, and a tenth more.
        folder.write("raw/2.csv", &narrow((0..ROWS * 11 / 10).filter(|id| id % 3 == 0), 2));
        stays_within(&folder, &[&["bronze"], &["silver"], &["silver", "--rebuild"]]);
        let sql =
            "SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(updated) AS u FROM silver.orders";
        let updated = (ROWS * 11 / 10).div_ceil(3);
        let rows = ROWS + (ROWS..ROWS * 11 / 10).filter(|id| id % 3 == 0).count() as u64;
        let expected = format!("n,ids,u\n{rows},{rows},{}\n", rows + updated);
        assert_eq!(folder.stdout(&["sql", "--format", "csv", sql]), expected, "{mode}");
        assert_eq!(commits(&folder), 3, "{mode}: a merge is one commit");
    }
}

/// Rows that are small in Parquet, and large in memory.
#[test]
fn repetitive_rows_stay_within_the_setting() {
    for mode in ["copy-on-write", "merge-on-read"] {
        let folder = folder(mode);
        folder.write("raw/1.csv", &wide(0..WIDE_ROWS, 1));
        stays_within(&folder, &[&["bronze"], &["silver"]]);
        folder.write("raw/2.csv", &wide((0..WIDE_ROWS).filter(|id| id % 3 == 0), 2));
        stays_within(&folder, &[&["bronze"], &["silver"]]);
        let sql = "SELECT count(*) AS n, count(DISTINCT id) AS ids, min(length(note)) AS l FROM silver.orders";
        let expected = format!("n,ids,l\n{WIDE_ROWS},{WIDE_ROWS},1024\n");
        assert_eq!(folder.stdout(&["sql", "--format", "csv", sql]), expected, "{mode}");
        assert_eq!(commits(&folder), 2, "{mode}: a merge is one commit");
    }
}

/// The snapshots of silver.
fn commits(folder: &Folder) -> usize {
    folder.stdout(&["history", "--format", "csv", "silver.orders"]).lines().count() - 1
}
