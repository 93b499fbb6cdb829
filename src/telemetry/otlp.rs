//! Traces and metrics to a collector, by OTLP over HTTP with protobuf
//! ([protocol](https://opentelemetry.io/docs/specs/otlp/),
//! [variables](https://opentelemetry.io/docs/specs/otel/protocol/exporter/)).

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::resource;

pub(super) fn metrics() -> Result<MetricExporter, ExporterBuildError> {
    MetricExporter::builder().with_http().build()
}

pub(super) fn tracers(service: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
    Ok(provider.with_resource(resource(service)).build())
}

/// silversmith's own spans, whatever the log filter is.
pub(super) fn layer<S>(tracers: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let own = Targets::new().with_target("silversmith", LevelFilter::INFO);
    tracing_opentelemetry::layer().with_tracer(tracers.tracer("silversmith")).with_filter(own)
}
