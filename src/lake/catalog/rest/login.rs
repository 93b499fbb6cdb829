//! The login of requests to a REST catalog.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::ambient::{SharedAmbient, timeout};
use crate::aws::kind_of;
use crate::error::{Kind, chain};

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How to log in to a REST catalog.
#[derive(Debug, Clone)]
pub enum Login {
    /// No login.
    None,
    /// By a given bearer token.
    Token(Secret),
    /// By OAuth2 client credentials ([RFC 6749, 4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)).
    OAuth2 {
        /// The URL of the token endpoint.
        server: String,
        /// The client's id.
        client_id: String,
        /// The client's secret.
        client_secret: Secret,
        /// The scope of the token.
        scope: String,
    },
    /// By AWS Signature Version 4, for the endpoints of S3 Tables and Glue.
    SigV4 {
        /// The credentials.
        credentials: SharedCredentialsProvider,
        /// Such as `eu-west-1`.
        region: String,
        /// `s3tables` or `glue`.
        service: String,
    },
}

/// A login, with the token and the credentials that it holds.
#[derive(Debug)]
pub(super) struct Session {
    login: Login,
    ambient: SharedAmbient,
    token: Held<Secret>,
    /// Cached, as the chain behind them may call a service each time.
    credentials: Held<Credentials>,
}

/// A value with a lifetime, and the time when a new one is requested.
#[derive(Debug)]
struct Held<T>(Mutex<Option<(T, DateTime<Utc>)>>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Held<T> {
    /// The held value, or else the one that `ask` returns, with its lifetime.
    async fn get(
        &self,
        ambient: &SharedAmbient,
        ask: impl Future<Output = Result<(T, Option<Duration>), Unsigned>>,
    ) -> Result<T, Unsigned> {
        let mut held = self.0.lock().await;
        match &*held {
            Some((value, stale)) if ambient.now() < *stale => Ok(value.clone()),
            _ => {
                let (fresh, lifetime) = ask.await?;
                *held = Some((fresh.clone(), ambient.now() + usable(lifetime)));
                Ok(fresh)
            }
        }
    }
}

/// Why a request was not signed, and so not sent.
#[derive(Debug)]
pub(super) struct Unsigned {
    pub(super) why: String,
    pub(super) kind: Kind,
}

impl Unsigned {
    fn look(why: String) -> Self {
        Self { why, kind: Kind::Look }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

/// Lifetime assumed when the token response has no `expires_in` (optional in RFC 6749).
const LIFETIME: Duration = Duration::from_secs(600);
/// The longest lifetime.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The deadline for the chain of credentials.
const CREDENTIALS: Duration = Duration::from_secs(10);
/// How long before its end a token is renewed.
const MARGIN: Duration = Duration::from_secs(30);

impl Session {
    pub(super) fn new(login: Login, ambient: &SharedAmbient) -> Self {
        let (token, credentials) = (Held::default(), Held::default());
        Self { login, ambient: ambient.clone(), token, credentials }
    }

    /// Whether a fresh token can replace a refused one.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.login, Login::OAuth2 { .. })
    }

    /// Forgets the token.
    pub(super) async fn renew(&self) {
        *self.token.0.lock().await = None;
    }

    /// Adds the login to a request.
    ///
    /// # Errors
    /// What is wrong, without secrets; the request was not sent.
    pub(super) async fn sign(
        &self,
        http: &reqwest::Client,
        request: &mut reqwest::Request,
    ) -> Result<(), Unsigned> {
        match &self.login {
            Login::None => Ok(()),
            Login::Token(token) => bear(request, token).map_err(Unsigned::look),
            Login::OAuth2 { server, client_id, client_secret, scope } => {
                let fresh = ask(http, server, client_id, client_secret, scope);
                let token = self.token.get(&self.ambient, fresh).await?;
                bear(request, &token).map_err(Unsigned::look)
            }
            Login::SigV4 { credentials, region, service } => {
                let provided = provided(credentials, &self.ambient);
                let credentials = self.credentials.get(&self.ambient, provided).await?;
                let now = self.ambient.now().into();
                sign_v4(request, credentials, (region, service), now).map_err(Unsigned::look)
            }
        }
    }
}

async fn provided(
    provider: &SharedCredentialsProvider,
    ambient: &SharedAmbient,
) -> Result<(Credentials, Option<Duration>), Unsigned> {
    let provided = timeout(ambient, CREDENTIALS, provider.provide_credentials()).await;
    let fresh = provided
        .map_err(|_| Unsigned::look(format!("no AWS credentials within {CREDENTIALS:?}")))?
        .map_err(|e| Unsigned::look(format!("no AWS credentials: {}", chain(&e))))?;
    let now = SystemTime::from(ambient.now());
    let left = fresh.expiry().map(|end| end.duration_since(now).unwrap_or_default());
    Ok((fresh, left))
}

/// How long a value with this lifetime is used before it is renewed.
fn usable(lifetime: Option<Duration>) -> Duration {
    let lifetime = lifetime.unwrap_or(LIFETIME).min(LONGEST);
    lifetime.saturating_sub(MARGIN.min(lifetime / 2))
}

fn bear(request: &mut reqwest::Request, token: &Secret) -> Result<(), String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.0))
        .map_err(|_| "the token has characters that are not allowed in a header".to_owned())?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}

async fn ask(
    http: &reqwest::Client,
    server: &str,
    client_id: &str,
    client_secret: &Secret,
    scope: &str,
) -> Result<(Secret, Option<Duration>), Unsigned> {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("client_secret", &client_secret.0),
        ("scope", scope),
    ];
    let failed = |error: reqwest::Error| Unsigned {
        why: format!("no token from {server}: {}", chain(&error)),
        kind: Kind::Retry,
    };
    let answer = http.post(server).form(&form).send().await.map_err(failed)?;
    let status = answer.status();
    if !status.is_success() {
        let kind = kind_of(status.as_u16());
        let look = if kind == Kind::Retry {
            ""
        } else {
            "; check SILVERSMITH_REST_CREDENTIAL and lake.rest.scope"
        };
        let why = format!("no token from {server}: it answered {status}{look}");
        return Err(Unsigned { why, kind });
    }
    let answer: TokenAnswer = answer.json().await.map_err(failed)?;
    Ok((Secret(answer.access_token), answer.expires_in.map(Duration::from_secs)))
}

fn sign_v4(
    request: &mut reqwest::Request,
    credentials: Credentials,
    (region, service): (&str, &str),
    now: SystemTime,
) -> Result<(), String> {
    let text = |error: &(dyn std::error::Error + 'static)| format!("signing: {}", chain(error));
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|e| text(&e))?
        .into();
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let (method, url) = (request.method().as_str(), request.url().as_str());
    let signable = SignableRequest::new(method, url, headers, SignableBody::Bytes(body))
        .map_err(|e| text(&e))?;
    let (instructions, _) = sign(signable, &parameters).map_err(|e| text(&e))?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::try_from(name).map_err(|e| text(&e))?;
        let mut value = HeaderValue::try_from(value).map_err(|e| text(&e))?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok(())
}
