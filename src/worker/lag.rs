//! Watches how far silver is behind bronze, also where another worker merges: a line in the log and a
//! metric every minute.

use std::time::Duration;

use crate::ambient::SharedAmbient;
use crate::error::chain;
use crate::pipeline::Pipeline;
use crate::telemetry::metrics;

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(60);

/// Runs until it is dropped.
pub(super) async fn watch(pipelines: &[Pipeline], ambient: &SharedAmbient) {
    loop {
        ambient.sleep(LOOK).await;
        for pipeline in pipelines {
            let Some(silver) = &pipeline.silver else { continue };
            let name = pipeline.settings.name.as_str();
            match silver.lag().await {
                Ok(None) => metrics::silver_lag(name, Duration::ZERO),
                Ok(Some(lag)) => {
                    metrics::silver_lag(name, lag);
                    let silver_lag_seconds = lag.as_secs_f64();
                    tracing::info!(pipeline = name, silver_lag_seconds, "silver is behind bronze");
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(pipeline = name, error, "could not measure the lag of silver");
                }
            }
        }
    }
}
