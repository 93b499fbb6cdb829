//! The environment variables that silversmith reads, all of them.

/// `RUST_LOG`: what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
/// `info` for silversmith and `warn` for the rest unless set.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn log_filter() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}
