//! The environment variables that silversmith reads, all of them.

/// `RUST_LOG`: what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
/// `info` for silversmith and `warn` for the rest unless set.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn log_filter() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

/// How this program is called again: by its name where it was found on the path, else by its place.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn program() -> String {
    const NAME: &str = "silversmith";
    let called = std::env::args().next().unwrap_or_default();
    if !called.contains(std::path::MAIN_SEPARATOR) {
        return NAME.to_owned();
    }
    std::env::current_exe().map_or(NAME.to_owned(), |path| path.display().to_string())
}

/// `AWS_ENDPOINT_URL_S3`: S3 itself is reached there by the AWS SDK; what it tells us is that a stand-in
/// for S3 does not know buckets by host names. All other AWS settings are read by the SDK alone.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn s3_endpoint() -> Option<String> {
    std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty())
}
