//! Requests to a REST catalog.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use percent_encoding::utf8_percent_encode;
use reqwest::{Method, Request, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::{CatalogError, RequestFailure};
use super::login::{Login, Session};
use crate::ambient::{SharedAmbient, pauses};
use crate::aws::{SEGMENT, is_refusal, kind_of};
use crate::error::{Kind, chain};

/// The deadline for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The deadline for an answer: a commit takes longer than a look-up.
const ANSWER: Duration = Duration::from_secs(30);
/// Characters of an error's text that are kept.
const MESSAGE_CHARS: usize = 500;

/// A catalog's address, and the login.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    session: Session,
    ambient: SharedAmbient,
    uri: String,
    prefix: Option<String>,
}

/// What a catalog answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
    catalog: String,
    doing: &'static str,
}

impl Client {
    pub(super) fn new(
        uri: &str,
        login: Login,
        ambient: &SharedAmbient,
    ) -> Result<Self, CatalogError> {
        let uri = uri.trim_end_matches('/').to_owned();
        crate::tls::use_ring();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("silversmith/", env!("CARGO_PKG_VERSION")))
            // A redirected commit would be sent twice.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| CatalogError::refused(&uri, "connect", chain(&e), Kind::Look))?;
        let session = Session::new(login, ambient);
        Ok(Self { http, session, ambient: ambient.clone(), uri, prefix: None })
    }

    /// Switches to the address and the prefix that the catalog's configuration names.
    pub(super) fn go_on(
        &mut self,
        uri: Option<&str>,
        prefix: Option<&str>,
    ) -> Result<(), CatalogError> {
        if let Some(uri) = uri {
            self.uri = uri.trim_end_matches('/').to_owned();
        }
        self.prefix = prefix.map(|p| p.trim_matches('/').to_owned()).filter(|p| !p.is_empty());
        self.url("connect", &["namespaces"]).map(drop)
    }

    /// A request that changes nothing: it is retried while there is no answer.
    pub(super) async fn read(
        &self,
        doing: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Answer, CatalogError> {
        let once = || async {
            let mut url = self.url(doing, path)?;
            if !query.is_empty() {
                url.query_pairs_mut().extend_pairs(query);
            }
            let answer = self.carry(doing, Request::new(Method::GET, url)).await?;
            match answer.is_passing() {
                true => Err(answer.error()),
                false => Ok(answer),
            }
        };
        let patience = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_times(3);
        let retried = once.retry(patience).sleep(pauses(&self.ambient));
        retried.when(|error: &CatalogError| error.kind() == Kind::Retry).await
    }

    /// A request that changes something: sent once.
    pub(super) async fn send(
        &self,
        doing: &'static str,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Answer, CatalogError> {
        let url = self.url(doing, path)?;
        let request = self
            .http
            .request(method, url)
            .json(body)
            .build()
            .map_err(|e| self.failed(doing, chain(&e), Kind::Bug))?;
        self.carry(doing, request).await
    }

    async fn carry(&self, doing: &'static str, request: Request) -> Result<Answer, CatalogError> {
        let again = request.try_clone();
        let answer = self.carry_once(doing, request).await?;
        match again {
            // The login was refused and nothing was carried out, so a fresh token may be tried.
            Some(request) if answer.is_locked_out() && self.session.can_renew() => {
                self.session.renew().await;
                self.carry_once(doing, request).await
            }
            _ => Ok(answer),
        }
    }

    async fn carry_once(
        &self,
        doing: &'static str,
        mut request: Request,
    ) -> Result<Answer, CatalogError> {
        self.session.sign(&self.http, &mut request).await.map_err(|unsigned| {
            CatalogError::refused(&self.uri, doing, unsigned.why, unsigned.kind)
        })?;
        let lost = |error: reqwest::Error| self.failed(doing, chain(&error), Kind::Retry);
        let answer = self.http.execute(request).await.map_err(lost)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(lost)?.to_vec();
        Ok(Answer { status, body, catalog: self.uri.clone(), doing })
    }

    fn url(&self, doing: &'static str, path: &[&str]) -> Result<Url, CatalogError> {
        let mut url = format!("{}/v1", self.uri);
        // The configuration is requested before there is a prefix. A prefix is already encoded.
        if let Some(prefix) = &self.prefix {
            url.push('/');
            url.push_str(prefix);
        }
        for segment in path {
            url.push('/');
            url.extend(utf8_percent_encode(segment, SEGMENT));
        }
        Url::parse(&url).map_err(|e| self.failed(doing, format!("{url}: {e}"), Kind::Configuration))
    }

    fn failed(&self, doing: &'static str, message: String, kind: Kind) -> CatalogError {
        CatalogError::unanswered(&self.uri, doing, message, kind)
    }
}

impl Answer {
    /// The answer, if it is a success.
    pub(super) fn ok(self) -> Result<Self, CatalogError> {
        if self.status.is_success() { Ok(self) } else { Err(self.error()) }
    }

    /// What the body says.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, CatalogError> {
        serde_json::from_slice(&self.body).map_err(|e| {
            let why = format!("the answer cannot be read: {e}");
            CatalogError::unanswered(&self.catalog, self.doing, why, Kind::Look)
        })
    }

    /// Whether a retry may get another answer.
    fn is_passing(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Whether the token was refused; 419 is the REST specification's status for an expired one.
    fn is_locked_out(&self) -> bool {
        matches!(self.status.as_u16(), 401 | 419)
    }

    fn hint(&self) -> &'static str {
        match self.status.as_u16() {
            401 | 403 | 419 => {
                "; check lake.rest.auth, SILVERSMITH_REST_TOKEN and SILVERSMITH_REST_CREDENTIAL"
            }
            _ => "",
        }
    }

    fn error(&self) -> CatalogError {
        let parsed: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let message = parsed
            .as_ref()
            .and_then(|body| body.pointer("/error/message"))
            .and_then(serde_json::Value::as_str)
            .map(|message| message.chars().take(MESSAGE_CHARS).collect::<String>());
        let message = match message {
            Some(message) => format!("{}: {message}{}", self.status, self.hint()),
            None => format!("{}{}", self.status, self.hint()),
        };
        let kind = kind_of(self.status.as_u16());
        let failure = RequestFailure::new(&self.catalog, self.doing, message, kind);
        failure.determinate(is_refusal(self.status.as_u16()))
    }
}
