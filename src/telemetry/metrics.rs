//! Every metric, by name (docs/telemetry.md has them with their meaning).
//!
//! Names are OpenTelemetry's, with dots; Prometheus shows `_` instead, and adds suffixes for units and counters.

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};
use opentelemetry::{KeyValue, global};

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new(&global::meter("silversmith")));

/// Upper bounds of the histograms' buckets in seconds, from a commit's milliseconds to a backlog's hours.
const SECONDS: [f64; 17] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0,
    3_600.0, 14_400.0,
];

struct Metrics {
    objects: Counter<u64>,
    deliveries: Counter<u64>,
    rows: Counter<u64>,
    rescued: Counter<u64>,
    quarantined: Counter<u64>,
    commits: Counter<u64>,
    steps: Histogram<f64>,
    latency: Histogram<f64>,
    silver_lag: Gauge<f64>,
    messages: Counter<u64>,
    breaker: Gauge<u64>,
    announcements: Counter<u64>,
}

impl Metrics {
    fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        let seconds = |name: &'static str, what: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(what);
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        Self {
            objects: counter("silversmith.objects", "Objects, by outcome"),
            deliveries: counter("silversmith.deliveries", "Deliveries, by what became of them"),
            rows: counter("silversmith.rows", "Rows appended to bronze, rows changed in silver"),
            rescued: counter("silversmith.rescued_rows", "Rows with a rescued value"),
            quarantined: counter("silversmith.quarantined_rows", "Rows refused by silver, by rule"),
            commits: counter("silversmith.commits", "Commits, by outcome"),
            steps: seconds("silversmith.step.duration", "Duration of a batch, a merge, a refresh"),
            latency: seconds("silversmith.latency", "Time from LastModified to the bronze commit"),
            silver_lag: meter
                .f64_gauge("silversmith.silver.lag")
                .with_unit("s")
                .with_description("How long the oldest bronze commit has waited for silver")
                .build(),
            messages: counter("silversmith.messages", "Messages, by fate"),
            breaker: meter
                .u64_gauge("silversmith.breaker.open")
                .with_description(
                    "Whether an outage of catalog, warehouse or network stops receiving",
                )
                .build(),
            announcements: counter("silversmith.announcements", "Announcements, by outcome"),
        }
    }
}

/// A layer of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Raw → bronze.
    Bronze,
    /// Bronze → silver.
    Silver,
    /// Silver → gold.
    Gold,
    /// The ledger.
    Ledger,
}

impl Layer {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
            Self::Ledger => "ledger",
        }
    }
}

fn label(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_owned())
}

/// Objects that had an outcome.
pub fn objects(pipeline: &str, outcome: &'static str, count: u64) {
    METRICS.objects.add(count, &[label("pipeline", pipeline), KeyValue::new("outcome", outcome)]);
}

/// A delivery that began to wait (`waiting`), was `refused`, or was `complete`.
pub fn deliveries(pipeline: &str, state: &'static str) {
    METRICS.deliveries.add(1, &[label("pipeline", pipeline), KeyValue::new("state", state)]);
}

/// Rows that were appended or changed.
pub fn rows(pipeline: &str, layer: Layer, count: u64) {
    let labels = [label("pipeline", pipeline), KeyValue::new("layer", layer.as_str())];
    METRICS.rows.add(count, &labels);
}

/// Rows with a rescued value.
pub fn rescued(pipeline: &str, count: u64) {
    METRICS.rescued.add(count, &[label("pipeline", pipeline)]);
}

/// Rows that silver refused, by the rule that refused them.
pub fn quarantined(pipeline: &str, rule: &str, count: u64) {
    METRICS.quarantined.add(count, &[label("pipeline", pipeline), label("rule", rule)]);
}

/// A commit that was `committed`, met a `conflict`, was refused (`failed`) or whose outcome is `unknown`.
pub fn commit(table: &str, layer: Layer, outcome: &'static str) {
    let layer = KeyValue::new("layer", layer.as_str());
    METRICS.commits.add(1, &[label("table", table), layer, KeyValue::new("outcome", outcome)]);
}

/// A batch, a merge, a refresh that did something.
pub fn step(pipeline: &str, layer: Layer, took: chrono::TimeDelta) {
    let labels = [label("pipeline", pipeline), KeyValue::new("layer", layer.as_str())];
    METRICS.steps.record(seconds(took), &labels);
}

/// The age of an object when it was committed to bronze.
pub fn latency(pipeline: &str, layer: Layer, age: chrono::TimeDelta) {
    let labels = [label("pipeline", pipeline), KeyValue::new("layer", layer.as_str())];
    METRICS.latency.record(seconds(age), &labels);
}

/// How long the oldest bronze commit has waited to be merged; zero where silver has caught up.
pub fn silver_lag(pipeline: &str, lag: Duration) {
    METRICS.silver_lag.record(lag.as_secs_f64(), &[label("pipeline", pipeline)]);
}

/// Messages that were `received`, `deleted`, `released` or `dead_lettered`.
pub fn messages(fate: &'static str, count: u64) {
    METRICS.messages.add(count, &[KeyValue::new("fate", fate)]);
}

/// Whether the breaker is open.
pub fn breaker(open: bool) {
    METRICS.breaker.record(u64::from(open), &[]);
}

/// Announcements that were `published` or `failed`.
pub fn announcements(kind: &'static str, outcome: &'static str, count: u64) {
    let labels = [KeyValue::new("type", kind), KeyValue::new("outcome", outcome)];
    METRICS.announcements.add(count, &labels);
}

/// Seconds; clocks that disagree make no negative ones.
fn seconds(time: chrono::TimeDelta) -> f64 {
    time.to_std().unwrap_or_default().as_secs_f64()
}
