//! How long bronze has waited to be merged.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Silver, SilverError, SilverReport};
use crate::lake::Table;
use crate::lake::read::diff::Position;
use crate::telemetry::metrics;

impl Silver {
    /// How long the oldest bronze commit that is not merged has waited; none where silver has caught up.
    pub async fn lag(&self) -> Result<Option<Duration>, SilverError> {
        // Silver first, as in a step.
        let silver = self.lake.find(&self.settings.rules.table).await?;
        let Some(bronze) = self.lake.find(&self.settings.bronze).await? else { return Ok(None) };
        let mark = match &silver {
            Some(silver) => self.mark(silver).await?,
            None => None,
        };
        Ok(waiting_since(&bronze, mark.as_ref()).map(|since| self.waited(since)))
    }

    fn waited(&self, since: DateTime<Utc>) -> Duration {
        (self.lake.ambient().now() - since).to_std().unwrap_or_default()
    }

    /// Tells of a merge: what it did, and how long what it merged had waited.
    pub(super) fn measure(
        &self,
        since: Option<DateTime<Utc>>,
        took: TimeDelta,
        did: &SilverReport,
    ) {
        let (pipeline, counts) = (self.settings.pipeline.as_str(), &did.counts);
        let lag = since.map(|since| self.waited(since)).unwrap_or_default();
        tracing::info!(
            pipeline,
            silver_lag_seconds = lag.as_secs_f64(),
            bronze_snapshots = did.bronze_snapshots,
            "silver has caught up"
        );
        metrics::silver_lag(pipeline, Duration::ZERO);
        metrics::step(pipeline, metrics::Layer::Silver, took);
        let changed = counts.inserted + counts.updated + counts.deleted;
        metrics::rows(pipeline, metrics::Layer::Silver, changed);
    }
}

/// When the oldest bronze commit after the mark was made.
pub(super) fn waiting_since(bronze: &Table, mark: Option<&Position>) -> Option<DateTime<Utc>> {
    let merged = mark.map_or(0, |mark| mark.sequence);
    let line = bronze.ancestry().snapshots;
    line.iter().take_while(|s| s.sequence > merged).last().map(|snapshot| snapshot.at)
}
