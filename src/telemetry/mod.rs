//! What the program tells of itself: logs to stderr ([`logs`]), metrics ([`metrics`]) and traces by OTLP where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set, metrics for Prometheus and health by HTTP where `--http` is given ([`mod@http`]).
//!
//! Everything is told through `tracing` and through [`metrics`]; without anybody to tell, that costs next to nothing.

pub mod http;
pub mod logs;
pub mod metrics;
mod otlp;
pub mod readiness;

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use logs::LogFormat;

use crate::ambient::{SharedAmbient, timeout};

/// What is wanted of telemetry.
#[derive(Debug, Clone)]
pub struct Telemetry<'a> {
    /// How log lines look.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub filter: Option<&'a str>,
    /// The same where nothing is said.
    pub default_filter: &'a str,
    /// Whether `OTEL_EXPORTER_OTLP_ENDPOINT` is set; the exporters read it.
    pub otlp: bool,
    /// The name of the service where `OTEL_SERVICE_NAME` does not say.
    pub service: &'a str,
    /// Whether somebody will ask for `/metrics`.
    pub scraped: bool,
}

/// Telemetry cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("telemetry cannot be begun: {0}")]
pub struct TelemetryError(String);

/// The exporters, until the program ends.
#[derive(Debug, Default)]
struct Exporters {
    meters: Option<SdkMeterProvider>,
    tracers: Option<SdkTracerProvider>,
}

/// How long handing over may take: whoever asked for something else does not wait for a collector.
const FLUSH: Duration = Duration::from_secs(2);

static EXPORTERS: OnceLock<Exporters> = OnceLock::new();

/// Begins to log, and to export what is wanted. A second call changes nothing.
///
/// # Errors
/// When something cannot be exported. Logs are written, and the rest is exported, all the same.
pub fn start(wanted: &Telemetry<'_>) -> Result<(), TelemetryError> {
    let mut exporters = Exporters::default();
    let mut trouble: Option<TelemetryError> = None;
    let mut noted = |error: &dyn std::fmt::Display| {
        trouble.get_or_insert(TelemetryError(error.to_string()));
    };
    let mut meters: Option<MeterProviderBuilder> = None;
    if wanted.scraped {
        match http::reader() {
            Ok(reader) => meters = Some(SdkMeterProvider::builder().with_reader(reader)),
            Err(error) => noted(&error),
        }
    }
    if wanted.otlp {
        crate::tls::use_ring();
        match otlp::metrics() {
            Ok(exporter) => {
                let builder = meters.take().unwrap_or_else(SdkMeterProvider::builder);
                meters = Some(builder.with_periodic_exporter(exporter));
            }
            Err(error) => noted(&error),
        }
        match otlp::tracers(wanted.service) {
            Ok(tracers) => exporters.tracers = Some(tracers),
            Err(error) => noted(&error),
        }
    }
    if let Some(builder) = meters {
        let provider = builder.with_resource(otlp::resource(wanted.service)).build();
        opentelemetry::global::set_meter_provider(provider.clone());
        exporters.meters = Some(provider);
    }
    let spans = exporters.tracers.as_ref().map(otlp::layer);
    // A second start, in tests, changes nothing.
    let begun = tracing_subscriber::registry()
        .with(logs::layer(wanted.format, wanted.filter, wanted.default_filter))
        .with(spans)
        .try_init();
    if begun.is_ok() {
        drop(EXPORTERS.set(exporters));
    }
    trouble.map_or(Ok(()), Err)
}

/// Hands over what was measured and traced so far: before a process is frozen, or ends.
pub async fn flush(ambient: &SharedAmbient) {
    let flushed = tokio::task::spawn_blocking(|| {
        let Some(exporters) = EXPORTERS.get() else { return };
        // The exporters block, and have time limits of their own.
        let metrics = exporters.meters.as_ref().map(SdkMeterProvider::force_flush);
        let traces = exporters.tracers.as_ref().map(SdkTracerProvider::force_flush);
        for (what, done) in [("metrics", metrics), ("traces", traces)] {
            if let Some(Err(error)) = done {
                tracing::warn!(%error, "{what} could not be handed over");
            }
        }
    });
    match timeout(ambient, FLUSH, flushed).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "telemetry could not be handed over"),
        Err(_) => tracing::warn!("telemetry could not be handed over in time"),
    }
}
