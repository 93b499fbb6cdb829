//! Calls of a service of AWS without its SDK: signed requests and answers in JSON. An SDK compiles the hundreds of
//! operations that a service has; silversmith calls five of them.

use std::time::Duration;

use aws_config::SdkConfig;
use backon::{ExponentialBuilder, Retryable};
use percent_encoding::utf8_percent_encode;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::endpoint::endpoint;
use super::signing::{Signer, Unsigned};
use super::{Answer, CONNECT, READ, SEGMENT};
use crate::ambient::{SharedAmbient, pauses};
use crate::error::{Kind, chain};

/// The header that names an operation of the AWS JSON protocol.
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// The header that names an error, where the body does not.
const ERROR_TYPE: &str = "x-amzn-errortype";

/// A service at its endpoint, in one region.
#[derive(Debug)]
pub struct Service {
    http: reqwest::Client,
    signer: Signer,
    ambient: SharedAmbient,
    endpoint: String,
}

/// A service that cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The region is missing.
    #[error("no AWS region is set: set AWS_REGION, or a region in the AWS profile")]
    NoRegion,
    /// The credentials are missing.
    #[error("there are no AWS credentials in the environment or the AWS profile")]
    NoCredentials,
    /// The endpoint is no address.
    #[error("the AWS endpoint {endpoint} of {service} is not an http or https address")]
    Endpoint {
        /// The service.
        service: String,
        /// Its endpoint, as the environment or the profile has it.
        endpoint: String,
    },
    /// There is no HTTP client.
    #[error("no HTTP client: {0}")]
    Client(String),
}

impl Service {
    /// The service with this id (`Glue`, `S3Tables`). The id is a part of its variables, such as
    /// `AWS_ENDPOINT_URL_GLUE`. `ambient` dates the signatures, and gives the pauses between attempts.
    ///
    /// # Errors
    /// What the environment and the profile lack. Nothing was sent.
    pub fn new(config: &SdkConfig, id: &str, ambient: SharedAmbient) -> Result<Self, ServiceError> {
        let region = config.region().ok_or(ServiceError::NoRegion)?.as_ref();
        let provider = config.credentials_provider().ok_or(ServiceError::NoCredentials)?;
        let endpoint = endpoint(config, id, region).trim_end_matches('/').to_owned();
        let url = Url::parse(&endpoint).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(ServiceError::Endpoint { service: id.to_owned(), endpoint });
        }
        crate::tls::use_ring();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(READ)
            .user_agent(concat!("silversmith/", env!("CARGO_PKG_VERSION")))
            // A redirected swap would be sent twice.
            .redirect(reqwest::redirect::Policy::none())
            // As the SDK's clients do.
            .no_proxy()
            .build()
            .map_err(|e| ServiceError::Client(chain(&e)))?;
        let signer = Signer::new(provider, region, &id.to_ascii_lowercase(), ambient.clone());
        Ok(Self { http, signer, ambient, endpoint })
    }

    /// Sends a call that may be carried out twice. While the service fails or does not answer, it is sent again, a
    /// few times.
    ///
    /// # Errors
    /// The last failure.
    pub async fn ask(&self, call: &Call) -> Result<Reply, CallError> {
        let patience =
            ExponentialBuilder::default().with_min_delay(Duration::from_secs(1)).with_max_times(3);
        let once = || self.send(call);
        once.retry(patience).sleep(pauses(&self.ambient)).when(CallError::may_pass).await
    }

    /// Sends a call, once.
    ///
    /// # Errors
    /// The error that the service answered, or that no answer came.
    pub async fn send(&self, call: &Call) -> Result<Reply, CallError> {
        let mut request = call.request(&self.endpoint)?;
        self.signer.sign(&mut request).await.map_err(CallError::Unsigned)?;
        let lost = |error: reqwest::Error| CallError::Lost(chain(&error));
        let answer = self.http.execute(request).await.map_err(lost)?;
        let status = answer.status();
        let named = answer.headers().get(ERROR_TYPE).and_then(|v| v.to_str().ok());
        let named = named.map(str::to_owned);
        let body = answer.bytes().await.map_err(lost)?.to_vec();
        let reply = Reply { status: status.as_u16(), body };
        if status.is_success() { Ok(reply) } else { Err(reply.refusal(named.as_deref())) }
    }
}

/// An operation with its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    /// Path and query, encoded.
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Value>,
}

impl Call {
    /// An operation of the AWS JSON 1.1 protocol: `AWSGlue.GetTable`.
    pub fn operation(target: &'static str, arguments: Value) -> Self {
        let json = HeaderValue::from_static("application/x-amz-json-1.1");
        let headers = vec![(CONTENT_TYPE, json), (TARGET, HeaderValue::from_static(target))];
        Self { method: Method::POST, path: "/".to_owned(), headers, body: Some(arguments) }
    }

    /// The request to read a resource.
    pub fn get(segments: &[&str], query: &[(&str, &str)]) -> Self {
        let mut path = path(segments);
        for (index, (name, value)) in query.iter().enumerate() {
            path.push(if index == 0 { '?' } else { '&' });
            path.extend([name, "="]);
            path.extend(utf8_percent_encode(value, SEGMENT));
        }
        Self { method: Method::GET, path, headers: vec![], body: None }
    }

    /// The request to write a resource.
    pub fn put(segments: &[&str], body: Value) -> Self {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self { method: Method::PUT, path: path(segments), headers, body: Some(body) }
    }

    fn request(&self, endpoint: &str) -> Result<Request, CallError> {
        let url = format!("{endpoint}{}", self.path);
        let url = Url::parse(&url)
            .map_err(|e| CallError::Unsigned(Unsigned::look(format!("{url}: {e}"))))?;
        let mut request = Request::new(self.method.clone(), url);
        request.headers_mut().extend(self.headers.iter().cloned());
        *request.body_mut() = self.body.as_ref().map(|body| body.to_string().into());
        Ok(request)
    }
}

fn path(segments: &[&str]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, SEGMENT));
    }
    path
}

/// The answer to a call that succeeded.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    body: Vec<u8>,
}

impl Reply {
    /// The value in the body.
    ///
    /// # Errors
    /// When the body is not of this form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body)
            .map_err(|e| CallError::Unreadable { status: self.status, why: e.to_string() })
    }

    /// The error in the body, in each form that services of AWS write.
    fn refusal(&self, named: Option<&str>) -> CallError {
        // The page of a proxy is no JSON: then the status has to do.
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let said = |keys: &[&str]| keys.iter().find_map(|key| body.get(key)?.as_str());
        let code = named.or(said(&["code", "__type"])).unwrap_or_default();
        // `com.amazonaws.glue#EntityNotFoundException:http://…` is written, too.
        let code = code.split(':').next().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let answer = Answer { status: self.status, code: code.to_owned() };
        let message = said(&["message", "Message", "errorMessage"]).map(str::to_owned);
        CallError::Refused { answer, message }
    }
}

/// A failed call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// It was not sent.
    #[error("{}", .0.why)]
    Unsigned(Unsigned),
    /// The service answered with an error.
    #[error("{}: {}", .answer.named(), .message.as_deref().unwrap_or("no message"))]
    Refused {
        /// Its status and its code.
        answer: Answer,
        /// Its message.
        message: Option<String>,
    },
    /// The call succeeded, and its answer cannot be read.
    #[error("the answer, of status {status}, cannot be read: {why}")]
    Unreadable {
        /// The status.
        status: u16,
        /// What is wrong with the answer.
        why: String,
    },
    /// No answer came.
    #[error("{0}")]
    Lost(String),
}

impl CallError {
    /// The answer's status and code: 0 when there was none.
    pub fn answer(&self) -> Answer {
        let status = |status| Answer { status, code: String::new() };
        match self {
            Self::Refused { answer, .. } => answer.clone(),
            Self::Unreadable { status: code, .. } => status(*code),
            Self::Unsigned(_) | Self::Lost(_) => status(0),
        }
    }

    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unsigned(unsigned) => unsigned.kind,
            _ => self.answer().kind(),
        }
    }

    /// Whether the call was not carried out, and will not be.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Unsigned(_)) || self.answer().is_refusal()
    }

    /// Whether the same call may succeed when it is sent again. A conflict stays one.
    fn may_pass(&self) -> bool {
        let conflict = matches!(self, Self::Refused { answer, .. } if answer.status == 409);
        self.kind() == Kind::Retry && !conflict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, named: Option<&str>, body: &str) -> (String, Kind, bool) {
        let error = Reply { status, body: body.into() }.refusal(named);
        (error.to_string(), error.kind(), error.is_refusal())
    }

    #[test]
    fn an_error_is_read_in_each_of_its_forms() {
        let json = r#"{"__type":"com.amazonaws.glue#EntityNotFoundException","Message":"none"}"#;
        let said = "EntityNotFoundException: none".to_owned();
        assert_eq!(refused(400, None, json), (said, Kind::Look, true));
        let named = Some("ConflictException:http://internal.amazon.com/");
        let said = "ConflictException: it is there".to_owned();
        let body = r#"{"message":"it is there","Message":"it is there"}"#;
        assert_eq!(refused(409, named, body), (said, Kind::Retry, false));
        let page = "<html>bad gateway</html>";
        let said = "an error without a code: no message".to_owned();
        assert_eq!(refused(502, None, page), (said, Kind::Retry, false));
    }

    #[test]
    fn a_code_says_that_an_answer_of_400_may_pass() {
        let body = r#"{"__type":"ThrottlingException","message":"slower"}"#;
        let error = Reply { status: 400, body: body.into() }.refusal(None);
        assert!(error.may_pass() && !error.is_refusal());
    }

    #[test]
    fn what_is_not_sent_is_not_carried_out() {
        let error = CallError::Unsigned(Unsigned::look("no AWS credentials".to_owned()));
        assert!(error.is_refusal() && !error.may_pass());
        assert!(!CallError::Lost("reset".to_owned()).is_refusal());
        let unreadable = CallError::Unreadable { status: 200, why: "cut off".to_owned() };
        assert!(!unreadable.is_refusal() && !unreadable.may_pass());
    }

    #[test]
    fn paths_and_queries_are_encoded_for_the_signature() {
        let arn = "arn:aws:s3tables:eu-west-1:1:bucket/b";
        let call = Call::get(&["tables", arn], &[("namespace", "a b"), ("token", "x+y=")]);
        let encoded = "arn%3Aaws%3As3tables%3Aeu-west-1%3A1%3Abucket%2Fb";
        assert_eq!(call.path, format!("/tables/{encoded}?namespace=a%20b&token=x%2By%3D"));
    }
}
