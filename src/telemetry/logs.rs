//! Logs: to stderr, as text for people or JSON for machines.

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Plain text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Writes log lines. `filter` is in the syntax of `RUST_LOG`; `default` applies where there is none.
pub(super) fn layer<S>(format: LogFormat, filter: Option<&str>, default: &str) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter =
        EnvFilter::try_new(filter.unwrap_or(default)).unwrap_or_else(|_| EnvFilter::new(default));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    match format {
        // Events carry their own fields; the spans around them would only repeat these.
        LogFormat::Text => {
            let events = filter_fn(|metadata| metadata.is_event());
            lines.with_ansi(false).with_filter(filter.and(events)).boxed()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(true);
            lines.with_span_list(false).with_filter(filter).boxed()
        }
    }
}
