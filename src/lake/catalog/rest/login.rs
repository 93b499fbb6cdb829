//! The login of requests to a REST catalog.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;

use crate::ambient::SharedAmbient;
use crate::aws::held::Held;
use crate::aws::kind_of;
use crate::aws::signing::{Signer, Unsigned};
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
    SigV4(Arc<Signer>),
}

/// A login, with the token and the credentials that it holds.
#[derive(Debug)]
pub(super) struct Session {
    login: Login,
    ambient: SharedAmbient,
    token: Held<Secret>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

impl Session {
    pub(super) fn new(login: Login, ambient: &SharedAmbient) -> Self {
        Self { login, ambient: ambient.clone(), token: Held::default() }
    }

    /// Whether a fresh token can replace a refused one.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.login, Login::OAuth2 { .. })
    }

    /// Forgets the token.
    pub(super) async fn renew(&self) {
        self.token.forget().await;
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
            Login::SigV4(signer) => signer.sign(request).await,
        }
    }
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
