//! Logs, metrics, traces, health: logs to stderr ([`logs`]); metrics ([`metrics`]) and traces by OTLP where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set; metrics for Prometheus and health by HTTP with `--http` ([`mod@http`]).
//!
//! All code reports through `tracing` and [`metrics`]; without an exporter that costs next to nothing.

pub mod http;
pub mod logs;
pub mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
pub mod readiness;

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
#[cfg(feature = "otlp")]
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use logs::LogFormat;

use crate::ambient::{SharedAmbient, timeout};

/// What telemetry to start.
#[derive(Debug, Clone)]
pub struct Telemetry<'a> {
    /// The format of log lines.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub filter: Option<&'a str>,
    /// The same, where `filter` is none.
    pub default_filter: &'a str,
    /// Whether `OTEL_EXPORTER_OTLP_ENDPOINT` is set; the exporters read it.
    pub otlp: bool,
    /// The name of the service.
    pub service: &'a str,
    /// Whether `/metrics` is served.
    pub scraped: bool,
}

/// An exporter cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("an exporter cannot be set up: {0}")]
pub struct TelemetryError(String);

/// The exporters, until the program ends.
#[derive(Debug, Default)]
struct Exporters {
    meters: Option<SdkMeterProvider>,
    #[cfg(feature = "otlp")]
    tracers: Option<SdkTracerProvider>,
}

impl Exporters {
    /// Exports what was collected. The exporters block, and have time limits of their own.
    fn flush(&self) -> Vec<(&'static str, Option<OTelSdkResult>)> {
        vec![
            ("metrics", self.meters.as_ref().map(SdkMeterProvider::force_flush)),
            #[cfg(feature = "otlp")]
            ("traces", self.tracers.as_ref().map(SdkTracerProvider::force_flush)),
        ]
    }
}

/// The service, with what `OTEL_RESOURCE_ATTRIBUTES` adds.
fn resource(service: &str) -> Resource {
    Resource::builder().with_service_name(service.to_owned()).build()
}

/// How long the last export may take: a command does not wait for a collector.
const FLUSH: Duration = Duration::from_secs(2);

static EXPORTERS: OnceLock<Exporters> = OnceLock::new();

/// Starts logging and the requested exporters. A second call changes nothing.
///
/// # Errors
/// When an exporter cannot be set up. Logs are written, and the other exporters run, all the same.
pub fn start(requested: &Telemetry<'_>) -> Result<(), TelemetryError> {
    let mut exporters = Exporters::default();
    let mut first_error: Option<TelemetryError> = None;
    let mut failed = |error: &dyn std::fmt::Display| {
        first_error.get_or_insert(TelemetryError(error.to_string()));
    };
    let mut meters: Option<MeterProviderBuilder> = None;
    if requested.scraped {
        match http::reader() {
            Ok(reader) => meters = Some(SdkMeterProvider::builder().with_reader(reader)),
            Err(error) => failed(&error),
        }
    }
    #[cfg(feature = "otlp")]
    if requested.otlp {
        crate::tls::use_ring();
        match otlp::metrics() {
            Ok(exporter) => {
                let builder = meters.take().unwrap_or_else(SdkMeterProvider::builder);
                meters = Some(builder.with_periodic_exporter(exporter));
            }
            Err(error) => failed(&error),
        }
        match otlp::tracers(requested.service) {
            Ok(tracers) => exporters.tracers = Some(tracers),
            Err(error) => failed(&error),
        }
    }
    if let Some(builder) = meters {
        let provider = builder.with_resource(resource(requested.service)).build();
        opentelemetry::global::set_meter_provider(provider.clone());
        exporters.meters = Some(provider);
    }
    let registry = tracing_subscriber::registry().with(logs::layer(
        requested.format,
        requested.filter,
        requested.default_filter,
    ));
    #[cfg(feature = "otlp")]
    let registry = registry.with(exporters.tracers.as_ref().map(otlp::layer));
    // A second start, in tests, fails here and changes nothing.
    if registry.try_init().is_ok() {
        drop(EXPORTERS.set(exporters));
    }
    first_error.map_or(Ok(()), Err)
}

/// Exports what was measured and traced so far: before a process is frozen, or ends.
pub async fn flush(ambient: &SharedAmbient) {
    let flushed = tokio::task::spawn_blocking(|| {
        let Some(exporters) = EXPORTERS.get() else { return };
        for (what, done) in exporters.flush() {
            if let Some(Err(error)) = done {
                tracing::warn!(%error, "{what} could not be exported");
            }
        }
    });
    match timeout(ambient, FLUSH, flushed).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "telemetry could not be exported"),
        Err(_) => tracing::warn!("telemetry could not be exported in time"),
    }
}
