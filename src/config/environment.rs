//! The environment variables that silversmith reads, all of them.

/// `RUST_LOG`: what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
/// `info` for silversmith and `warn` for the rest unless set.
pub fn log_filter() -> Option<String> {
    variable("RUST_LOG")
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

/// `SILVERSMITH_CONFIG`: the configuration file where `--config` does not name one.
pub const CONFIG: &str = "SILVERSMITH_CONFIG";

/// `SILVERSMITH_LOG_FORMAT`: how log lines look where `--log-format` does not say.
pub const LOG_FORMAT: &str = "SILVERSMITH_LOG_FORMAT";

/// `SILVERSMITH_REST_TOKEN`: the bearer token for a REST catalog.
pub fn rest_token() -> Option<String> {
    variable("SILVERSMITH_REST_TOKEN")
}

/// Whether there is a `SILVERSMITH_REST_CREDENTIAL`, well-formed or not.
pub fn has_rest_credential() -> bool {
    variable("SILVERSMITH_REST_CREDENTIAL").is_some()
}

/// `SILVERSMITH_REST_CREDENTIAL`: client id and secret for a REST catalog, as `id:secret`.
pub fn rest_credential() -> Option<(String, String)> {
    let text = variable("SILVERSMITH_REST_CREDENTIAL")?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Any variable, for `${NAME}` in the configuration file. An empty one counts as unset.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `OTEL_EXPORTER_OTLP_ENDPOINT`: a collector, which the exporters ask for themselves; what it tells us is that there
/// is one.
pub fn has_collector() -> bool {
    variable("OTEL_EXPORTER_OTLP_ENDPOINT").is_some()
}

/// `OTEL_SERVICE_NAME`: what the service is called in traces and metrics.
pub fn service_name() -> String {
    variable("OTEL_SERVICE_NAME").unwrap_or("silversmith".to_owned())
}

/// `AWS_LAMBDA_RUNTIME_API`: set where the process is a Lambda function.
pub fn is_lambda() -> bool {
    variable("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`: the bytes of memory that a Lambda function has.
pub fn lambda_memory() -> Option<u64> {
    let mebibytes: u64 = variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?.parse().ok()?;
    Some(mebibytes * 1024 * 1024)
}

/// `SILVERSMITH_LAMBDA_MERGE=event`: silver and gold are another function's, that our own events invoke.
pub fn merges_by_event() -> bool {
    variable("SILVERSMITH_LAMBDA_MERGE").as_deref() == Some("event")
}

/// The arguments. As `bootstrap`, the program that Lambda's runtimes for binaries start, it is `silversmith lambda`.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn arguments() -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let name = arguments.first().map(std::path::PathBuf::from);
    let is_bootstrap = name.is_some_and(|name| name.file_name() == Some("bootstrap".as_ref()));
    if is_bootstrap && arguments.len() == 1 {
        arguments.push("lambda".into());
    }
    arguments
}

/// `AWS_ENDPOINT_URL_S3`: S3 itself is reached there by the AWS SDK; what it tells us is that a stand-in
/// for S3 does not know buckets by host names. All other AWS settings are read by the SDK alone.
pub fn s3_endpoint() -> Option<String> {
    variable("AWS_ENDPOINT_URL_S3")
}
