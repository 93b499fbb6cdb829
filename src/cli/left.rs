//! What a command left behind although it did its work: exit code 3, so that a timer notices.

use std::fmt;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::bronze::BronzeReport;
use crate::ledger::states;
use crate::pipeline::Pipeline;
use crate::silver::SilverReport;
use crate::sql::session::{query, session};
use crate::worker::Round;
use crate::worker::report::counted;

/// Bytes that the query of the ledger may use.
const MEMORY: usize = 64 * 1024 * 1024;

/// Something was left behind; the message says what. Exit code 3.
#[derive(Debug)]
pub(super) struct LeftBehind(pub(super) String);

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LeftBehind {}

/// Counts what a command left behind.
#[derive(Debug, Default)]
pub(super) struct Left {
    objects: u64,
    postponed: u64,
    quarantined: u64,
    null_keys: u64,
}

impl Left {
    /// What is postponed by a worker is tried by it again.
    pub(super) fn round(&mut self, round: &Round) {
        self.objects += round.bronze.failed as u64;
        if let Some(silver) = &round.silver {
            self.silver(silver);
        }
    }

    pub(super) fn bronze(&mut self, report: &BronzeReport) {
        self.objects += report.failed as u64;
        self.postponed += report.postponed as u64;
    }

    pub(super) fn silver(&mut self, report: &SilverReport) {
        self.quarantined += report.counts.refused();
        self.null_keys += report.counts.null_keys;
    }

    /// Counts the objects by how they stand in the end: one that failed may have been ingested since, and one that is
    /// to be skipped has not failed.
    pub(super) async fn confirm(
        &mut self,
        pipelines: impl IntoIterator<Item = &Pipeline>,
        since: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        if self.objects == 0 {
            return Ok(());
        }
        self.objects = 0;
        for pipeline in pipelines {
            let Some(ledger) = pipeline.bronze.ledger().as_table().await? else { continue };
            let context = session(MEMORY)?;
            context.register_table("ledger", Arc::new(ledger))?;
            let since = since.to_rfc3339_opts(SecondsFormat::Micros, true);
            let recent = format!("(SELECT * FROM ledger WHERE finished_at >= TIMESTAMP '{since}')");
            let sql = format!(
                "SELECT count(*) FROM ({}) WHERE outcome IN ('rejected', 'missing')",
                states(&recent)
            );
            for batch in query(&context, "the query of the ledger", &sql).await?.collect().await? {
                let counts = batch.column(0).as_primitive::<Int64Type>();
                self.objects += counts.iter().flatten().sum::<i64>() as u64;
            }
        }
        Ok(())
    }

    /// The end of the command. With `lenient`, what was left behind is no failure.
    ///
    /// # Errors
    /// [`LeftBehind`].
    pub(super) fn end(self, lenient: bool) -> anyhow::Result<()> {
        let said: Vec<String> = [
            (self.objects, "object", "not ingested"),
            (self.postponed, "object", "not readable now"),
            (self.quarantined, "row", "in quarantine"),
            (self.null_keys, "row", "in bronze alone, with a null key"),
        ]
        .into_iter()
        .filter(|(count, _, _)| *count > 0)
        .map(|(count, noun, what)| format!("{} {what}", counted(count, noun)))
        .collect();
        match said.is_empty() || lenient {
            true => Ok(()),
            false => Err(LeftBehind(said.join(", ")).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_left() {
        let mut left = Left::default();
        left.bronze(&BronzeReport { failed: 1, ..BronzeReport::default() });
        left.bronze(&BronzeReport { failed: 1, postponed: 1, ..BronzeReport::default() });
        let mut report = SilverReport::default();
        report.counts.null_keys = 3;
        left.silver(&report);
        let said = left.end(false).unwrap_err().to_string();
        assert_eq!(
            said,
            "2 objects not ingested, 1 object not readable now, 3 rows in bronze alone, with a null key"
        );
        assert!(Left { objects: 1, ..Left::default() }.end(true).is_ok());
        assert!(Left::default().end(false).is_ok());
    }
}
