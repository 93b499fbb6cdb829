//! What was done, as a line for people.

use crate::bronze::BronzeReport;
use crate::gold::GoldReport;
use crate::silver::SilverReport;

/// What a bronze step did.
pub(crate) fn bronze_line(pipeline: &str, report: &BronzeReport) -> String {
    let mut text = format!(
        "{pipeline} bronze: {} of {} ingested, {}",
        report.ingested,
        counted(report.listed as u64, "object"),
        counted(report.rows, "row")
    );
    for (count, what) in [
        (report.known as u64, "known already"),
        (report.failed as u64, "not ingested (see `silversmith objects --failed`)"),
        (report.rescued, "with something rescued"),
        (report.postponed as u64, "not readable now"),
        (
            report.waiting as u64,
            "waiting for their delivery (see `silversmith status --deliveries`)",
        ),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// What a merge did.
pub(crate) fn silver_line(pipeline: &str, report: &SilverReport) -> String {
    if report.snapshots.is_empty() {
        return format!("{pipeline} silver: up to date");
    }
    let counts = &report.counts;
    let mut text = format!(
        "{pipeline} silver: {} merged: {} inserted, {} updated",
        counted(report.bronze_snapshots as u64, "bronze snapshot"),
        counts.inserted,
        counts.updated
    );
    for (count, what) in [
        (counts.deleted, "deleted"),
        (counts.late, "late and older than what is there"),
        (counts.unchanged, "there already"),
        (counts.null_keys, "rows with a null key left in bronze"),
        (counts.refused(), "in quarantine (see `silversmith quarantine list`)"),
        (counts.warned, "warnings of expectations"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// What a refresh did.
pub(crate) fn gold_line(table: &str, report: &GoldReport) -> String {
    match report {
        GoldReport::UpToDate => format!("{table}: up to date"),
        GoldReport::WaitsFor(source) => {
            format!("{table}: waits for {source}, which has no rows yet")
        }
        GoldReport::Refreshed { rows, .. } => {
            format!("{table}: refreshed, {}", counted(*rows, "row"))
        }
    }
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
