//! The environment variables that silversmith and its libraries read, all of them, and the functions that read
//! silversmith's own. `docs/environment.md` is made from [`ALL`].

use std::path::{Path, PathBuf};

/// A variable that silversmith or one of its libraries reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What reads it.
    pub reader: Reader,
    /// What a value looks like, as Markdown.
    pub form: &'static str,
    /// What holds where it is unset, as Markdown.
    pub absent: &'static str,
    /// What it means, as Markdown.
    pub meaning: &'static str,
}

/// What reads a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// This module.
    Silversmith,
    /// The AWS SDK.
    AwsSdk,
    /// The OpenTelemetry exporters.
    OpenTelemetry,
    /// The HTTP client of REST catalogs.
    HttpClient,
    /// The standard library of Rust.
    StandardLibrary,
}

impl Reader {
    /// Its name in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silversmith => "silversmith",
            Self::AwsSdk => "AWS SDK",
            Self::OpenTelemetry => "OpenTelemetry",
            Self::HttpClient => "HTTP client of `rest:`",
            Self::StandardLibrary => "standard library",
        }
    }
}

/// Declares the variables and lists them, so that none is left out of [`ALL`].
macro_rules! variables {
    ($($constant:ident: $name:literal, $reader:ident, $form:literal, $absent:literal, $meaning:literal;)+) => {
        $(
            #[doc = concat!("`", $name, "`: ", $meaning)]
            pub const $constant: Variable = Variable {
                name: $name,
                reader: Reader::$reader,
                form: $form,
                absent: $absent,
                meaning: $meaning,
            };
        )+
        /// Every variable, in the order of the documentation.
        pub const ALL: &[Variable] = &[$($constant),+];
    };
}

variables! {
    CONFIG: "SILVERSMITH_CONFIG", Silversmith, "a path or `s3://bucket/key`", "`silversmith.toml`",
        "the configuration, where `--config` does not name one";
    LOG_FORMAT: "SILVERSMITH_LOG_FORMAT", Silversmith, "`text` or `json`", "`text`",
        "how log lines look, where `--log-format` does not say";
    REST_CREDENTIAL: "SILVERSMITH_REST_CREDENTIAL", Silversmith, "`id:secret`", "none",
        "client id and secret for a REST catalog: OAuth2";
    REST_TOKEN: "SILVERSMITH_REST_TOKEN", Silversmith, "a token", "none",
        "the bearer token for a REST catalog; it is used as it is and not renewed";
    LAMBDA_MERGE: "SILVERSMITH_LAMBDA_MERGE", Silversmith, "`event`", "the function merges, too",
        "on Lambda, messages make bronze alone, and a second function merges";
    CACHE: "XDG_CACHE_HOME, HOME", Silversmith, "folders", "no key indexes",
        "where `worker.state` is by default: `silversmith` in the first, else in `.cache` of the second";
    RUST_LOG: "RUST_LOG", Silversmith, "`warn,silversmith=debug`",
        "`warn`; for a worker also `silversmith=info`",
        "what is logged, in the syntax of `tracing_subscriber::EnvFilter`";
    LAMBDA_RUNTIME_API: "AWS_LAMBDA_RUNTIME_API", Silversmith, "set by Lambda", "not on Lambda",
        "where a function gets its invocations";
    LAMBDA_MEMORY: "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", Silversmith, "set by Lambda, in MiB", "not on Lambda",
        "the memory of the function, three quarters of which `worker.memory` is by default";
    OTLP_ENDPOINT: "OTEL_EXPORTER_OTLP_ENDPOINT", Silversmith, "`http://127.0.0.1:4318`",
        "traces and metrics are not sent", "the collector for traces and metrics, by HTTP";
    OTEL_SERVICE_NAME: "OTEL_SERVICE_NAME", Silversmith, "a name", "`silversmith`",
        "the name of the service in traces and metrics";
    OTEL_OTHERS: "OTEL_…", OpenTelemetry, "", "as OpenTelemetry documents",
        "the other variables of the exporters, such as headers and intervals";
    S3_ENDPOINT: "AWS_ENDPOINT_URL_S3", Silversmith, "a URL", "`AWS_ENDPOINT_URL`, else AWS",
        "a stand-in for S3; buckets are then in the path, not in the host name";
    ENDPOINT: "AWS_ENDPOINT_URL", AwsSdk, "a URL", "AWS",
        "a stand-in for AWS. It decides where requests go, whatever host the URLs of the queues name";
    ENDPOINTS: "AWS_ENDPOINT_URL_SQS, _S3TABLES, _GLUE, _EVENTBRIDGE", AwsSdk, "a URL",
        "`AWS_ENDPOINT_URL`, else AWS", "a stand-in for one service";
    REGION: "AWS_REGION", AwsSdk, "`eu-west-1`", "the region of the profile",
        "required on AWS, here or in the profile; it has to be the region of the catalog";
    CREDENTIALS: "AWS_PROFILE, AWS_ACCESS_KEY_ID, …", AwsSdk, "", "the standard chain",
        "credentials: environment, profile, SSO, web identity, container, instance";
    AWS_OTHERS: "AWS_…", AwsSdk, "", "as the AWS SDK documents", "its other settings";
    PROXIES: "HTTPS_PROXY, HTTP_PROXY, NO_PROXY", HttpClient, "a URL; a list of hosts", "none",
        "requests to a REST catalog and to where its tokens are made; those to AWS go straight";
    TEMPORARY: "TMPDIR", StandardLibrary, "a path", "`/tmp`",
        "the temporary folder: what does not fit into memory waits there";
}

/// What is logged, where it is set.
pub fn log_filter() -> Option<String> {
    read(&RUST_LOG)
}

/// The bearer token for a REST catalog.
pub fn rest_token() -> Option<String> {
    read(&REST_TOKEN)
}

/// Whether there is a credential for a REST catalog, well-formed or not.
pub fn has_rest_credential() -> bool {
    read(&REST_CREDENTIAL).is_some()
}

/// Client id and secret for a REST catalog.
pub fn rest_credential() -> Option<(String, String)> {
    let text = read(&REST_CREDENTIAL)?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Whether there is a collector. The exporters read its address themselves.
pub fn has_collector() -> bool {
    read(&OTLP_ENDPOINT).is_some()
}

/// The name of the service in traces and metrics.
pub fn service_name() -> String {
    read(&OTEL_SERVICE_NAME).unwrap_or("silversmith".to_owned())
}

/// Whether the process is a Lambda function.
pub fn is_lambda() -> bool {
    read(&LAMBDA_RUNTIME_API).is_some()
}

/// The bytes of memory that a Lambda function has.
pub fn lambda_memory() -> Option<u64> {
    let mebibytes: u64 = read(&LAMBDA_MEMORY)?.parse().ok()?;
    Some(mebibytes * 1024 * 1024)
}

/// Whether silver and gold are merged by another function, which silversmith's own events invoke.
pub fn merges_by_event() -> bool {
    read(&LAMBDA_MERGE).as_deref() == Some("event")
}

/// The stand-in for S3. The SDK reaches it by itself; silversmith has to know that a stand-in does not know buckets
/// by host names.
pub fn s3_endpoint() -> Option<String> {
    read(&S3_ENDPOINT)
}

fn read(variable: &Variable) -> Option<String> {
    named(variable.name)
}

/// Where a process keeps what it may lose: on Lambda the one folder that can be written, else the user's cache.
pub fn state_folder() -> Option<PathBuf> {
    const NAME: &str = "silversmith";
    if is_lambda() {
        return Some(Path::new("/tmp").join(NAME));
    }
    let absolute = |name| named(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join(NAME))
}

/// Any variable, for `${NAME}` in the configuration file. An empty one counts as unset.
#[allow(clippy::disallowed_methods, reason = "the one module that reads the environment")]
pub fn named(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// How to call this program again: by its name where it was found on the path, else by where it is.
#[allow(clippy::disallowed_methods, reason = "the one module that reads the environment")]
pub fn program() -> String {
    const NAME: &str = "silversmith";
    let called = std::env::args().next().unwrap_or_default();
    if !called.contains(std::path::MAIN_SEPARATOR) {
        return NAME.to_owned();
    }
    std::env::current_exe().map_or(NAME.to_owned(), |path| path.display().to_string())
}

/// The arguments. As `bootstrap`, the program that Lambda's runtimes for binaries start, it is `silversmith lambda`.
#[allow(clippy::disallowed_methods, reason = "the one module that reads the environment")]
pub fn arguments() -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let name = arguments.first().map(std::path::PathBuf::from);
    let is_bootstrap = name.is_some_and(|name| name.file_name() == Some("bootstrap".as_ref()));
    if is_bootstrap && arguments.len() == 1 {
        arguments.push("lambda".into());
    }
    arguments
}
