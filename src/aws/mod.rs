//! AWS: credentials, region and endpoints, by the standard chain of environment, profile, SSO, web identity,
//! container and instance metadata
//! ([credentials](https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html),
//! [endpoints](https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html)).

#[cfg(any(feature = "glue", feature = "s3tables"))]
mod endpoint;
pub(crate) mod held;
#[cfg(any(feature = "glue", feature = "s3tables"))]
pub mod service;
pub mod signing;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, tls};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

#[cfg(any(feature = "glue", feature = "s3tables"))]
use crate::ambient::SharedAmbient;
use crate::error::Kind;

/// The deadline for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The deadline for an answer, or for its next part. A long poll waits for 20 s.
const READ: Duration = Duration::from_secs(30);
/// What a segment of a path may have unencoded (RFC 3986, "unreserved").
pub(crate) const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Attempts of the SDK's standard retry.
const ATTEMPTS: u32 = 4;

/// The configuration that all clients share.
#[derive(Debug, Clone)]
pub struct Aws {
    config: SdkConfig,
    s3: aws_sdk_s3::Client,
}

impl Aws {
    /// Reads the standard chain. `s3_endpoint` says that `AWS_ENDPOINT_URL_S3` is set; the SDK reads it.
    pub async fn connect(s3_endpoint: Option<&str>) -> Self {
        let http =
            Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(READ).build(),
            )
            .load()
            .await;
        // Stand-ins for S3 do not know buckets by host names.
        let endpoint = s3_endpoint.or(config.endpoint_url());
        let path_style = endpoint.is_some_and(|url| !url.contains(".amazonaws.com"));
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(path_style).build();
        Self { s3: aws_sdk_s3::Client::from_conf(s3), config }
    }

    /// Whether a region was found.
    pub fn has_region(&self) -> bool {
        self.config.region().is_some()
    }

    /// The one S3 client: for raw objects, checkpoints and table files.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        self.s3.clone()
    }

    /// The text of an object: a configuration.
    ///
    /// # Errors
    /// The error of S3, or that the object is no text.
    pub async fn text(&self, bucket: &str, key: &str) -> std::io::Result<String> {
        let answer =
            self.s3.get_object().bucket(bucket).key(key).send().await.map_err(described)?;
        let bytes = answer.body.collect().await.map_err(std::io::Error::other)?.to_vec();
        String::from_utf8(bytes).map_err(std::io::Error::other)
    }

    /// A client for SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// A service that is called without an SDK, by its id: `Glue`, `S3Tables`.
    ///
    /// # Errors
    /// What the environment and the profile lack.
    #[cfg(any(feature = "glue", feature = "s3tables"))]
    pub fn service(
        &self,
        id: &str,
        ambient: SharedAmbient,
    ) -> Result<service::Service, service::ServiceError> {
        service::Service::new(&self.config, id, ambient)
    }

    /// A client for EventBridge.
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config)
    }

    /// The credentials, for requests that no SDK signs.
    pub fn credentials(&self) -> Option<SharedCredentialsProvider> {
        self.config.credentials_provider()
    }

    /// The region.
    pub fn region(&self) -> Option<&str> {
        self.config.region().map(AsRef::as_ref)
    }
}

/// An error of any of the SDK's clients.
pub type Failed<E> = SdkError<E, aws_sdk_s3::config::http::HttpResponse>;

/// The answer of a service, as far as it matters: the HTTP status and the error's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 0 when there was no answer.
    pub status: u16,
    /// Such as `NoSuchKey`; empty when there is none.
    pub code: String,
}

impl Answer {
    /// The answer in an error of the SDK.
    pub fn of<E: ProvideErrorMetadata>(error: &Failed<E>) -> Self {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        Self { status, code: code.unwrap_or_default().to_owned() }
    }
}

impl Answer {
    /// The code, or that there is none.
    #[cfg(any(feature = "glue", feature = "s3tables"))]
    fn named(&self) -> &str {
        if self.code.is_empty() { "an error without a code" } else { &self.code }
    }

    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        if self.is_passing() { Kind::Retry } else { kind_of(self.status) }
    }

    /// Whether the service said no: the request was not carried out, and will not be.
    pub fn is_refusal(&self) -> bool {
        is_refusal(self.status) && !self.is_passing()
    }

    /// Services of the AWS JSON protocol answer 400 to each error: only the code shows which one it is.
    fn is_passing(&self) -> bool {
        const PASSING: [&str; 6] = [
            "Throttl",
            "TooManyRequests",
            "OperationTimeout",
            "ConcurrentModification",
            "RequestTimeout",
            "InternalService",
        ];
        PASSING.iter().any(|passing| self.code.starts_with(passing))
    }
}

/// Whether an HTTP status is a no: the request was understood and not carried out.
pub fn is_refusal(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 409 | 425 | 429)
}

/// What an operator does about an HTTP status. A service that is down or throttles may answer later; a request that
/// is forbidden or malformed stays so. 0 is no answer.
pub fn kind_of(status: u16) -> Kind {
    match status {
        0 | 408 | 409 | 429 | 500.. => Kind::Retry,
        _ => Kind::Look,
    }
}

/// An error of the SDK with all its causes in one line: its own text is only "service error".
pub fn described<E>(error: Failed<E>) -> std::io::Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let service = error.as_service_error().map(|e| {
        let code = e.code().unwrap_or("an error without a code");
        format!("{code}: {}", e.message().unwrap_or("no message"))
    });
    let text = service.unwrap_or_else(|| crate::error::chain(&error));
    std::io::Error::other(text)
}
