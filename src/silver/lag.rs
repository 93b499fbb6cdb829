//! How long bronze has waited to be merged.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Silver, SilverError, SilverReport};
use crate::lake::position::Position;
use crate::lake::{SequenceNumber, Table};
use crate::telemetry::metrics;

impl Silver {
    /// How long the oldest bronze commit that is not merged has waited; none where silver has caught up.
    pub async fn lag(&self) -> Result<Option<Duration>, SilverError> {
        let tables = self.load().await?;
        let Some(bronze) = &tables.bronze else { return Ok(None) };
        let position = self.position(tables.silver.as_ref(), tables.tombstones.as_ref())?;
        Ok(waiting_since(bronze, position.as_ref()).map(|since| self.waited(since)))
    }

    fn waited(&self, since: DateTime<Utc>) -> Duration {
        (self.lake.ambient().now() - since).to_std().unwrap_or_default()
    }

    /// Logs and measures a merge: what it did, and how long its rows had waited.
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

/// When the oldest bronze commit after a position was made.
pub(super) fn waiting_since(bronze: &Table, through: Option<&Position>) -> Option<DateTime<Utc>> {
    let merged = through.map_or(SequenceNumber::default(), |through| through.sequence);
    bronze.newer_than(merged).filter(|s| !s.is_rewrite()).last().map(|snapshot| snapshot.at)
}
