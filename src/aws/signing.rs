//! Requests that no SDK signs: AWS Signature Version 4
//! ([signing](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html)).

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::header::{HeaderName, HeaderValue};

use super::held::Held;
use crate::ambient::{SharedAmbient, timeout};
use crate::error::{Kind, chain};

/// The deadline for the chain of credentials.
const CREDENTIALS: Duration = Duration::from_secs(10);

/// Signs requests to one service in one region.
#[derive(Debug)]
pub struct Signer {
    provider: SharedCredentialsProvider,
    region: String,
    service: String,
    ambient: SharedAmbient,
    /// Cached, as the chain behind the provider may call a service each time.
    credentials: Held<Credentials>,
}

impl Signer {
    /// A signer for a service, such as `glue`, in a region. `ambient` dates the signatures.
    pub fn new(
        provider: SharedCredentialsProvider,
        region: &str,
        service: &str,
        ambient: SharedAmbient,
    ) -> Self {
        Self {
            provider,
            region: region.to_owned(),
            service: service.to_owned(),
            ambient,
            credentials: Held::default(),
        }
    }

    /// Adds the signature to a request.
    ///
    /// # Errors
    /// Why it cannot be signed; the request was not sent.
    pub async fn sign(&self, request: &mut reqwest::Request) -> Result<(), Unsigned> {
        let credentials = self.credentials.get(&self.ambient, self.provided()).await?;
        self.put(request, credentials).map_err(|why| Unsigned::look(format!("signing: {why}")))
    }

    async fn provided(&self) -> Result<(Credentials, Option<Duration>), Unsigned> {
        let provided =
            timeout(&self.ambient, CREDENTIALS, self.provider.provide_credentials()).await;
        let fresh = provided
            .map_err(|_| Unsigned::look(format!("no AWS credentials within {CREDENTIALS:?}")))?
            .map_err(|e| Unsigned::look(format!("no AWS credentials: {}", chain(&e))))?;
        let left = fresh.expiry().map(|end| end.duration_since(self.now()).unwrap_or_default());
        Ok((fresh, left))
    }

    fn now(&self) -> SystemTime {
        self.ambient.now().into()
    }

    fn put(&self, request: &mut reqwest::Request, credentials: Credentials) -> Result<(), String> {
        let text = |error: &(dyn std::error::Error + 'static)| chain(error);
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(self.now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|e| text(&e))?
            .into();
        let headers = request.headers().iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
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
}

/// Why a request was not signed, and so not sent.
#[derive(Debug, Clone)]
pub struct Unsigned {
    /// The reason, without secrets.
    pub why: String,
    /// What an operator does next.
    pub kind: Kind,
}

impl Unsigned {
    /// One that an operator has to look at.
    pub fn look(why: String) -> Self {
        Self { why, kind: Kind::Look }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::{TimeZone, Utc};

    use super::*;
    use crate::ambient::ManualAmbient;

    #[tokio::test]
    async fn a_signature_is_that_of_the_specification() {
        // `get-vanilla` of AWS's test suite for Signature Version 4.
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let credentials = Credentials::new("AKIDEXAMPLE", secret, None, None, "test");
        let provider = SharedCredentialsProvider::new(credentials);
        let time = Utc.with_ymd_and_hms(2015, 8, 30, 12, 36, 0).unwrap();
        let ambient = Arc::new(ManualAmbient::at(time));
        let signer = Signer::new(provider, "us-east-1", "service", ambient);
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let mut request = reqwest::Request::new(reqwest::Method::GET, url);
        signer.sign(&mut request).await.unwrap();
        assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
        assert_eq!(
            request.headers()["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    #[tokio::test]
    async fn a_request_without_credentials_is_not_sent() {
        #[derive(Debug)]
        struct Empty;
        impl ProvideCredentials for Empty {
            fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                let none = CredentialsError::not_loaded("the profile is empty");
                future::ProvideCredentials::ready(Err(none))
            }
        }
        use aws_credential_types::provider::{error::CredentialsError, future};
        let ambient = Arc::new(ManualAmbient::at(Utc.timestamp_opt(0, 0).unwrap()));
        let provider = SharedCredentialsProvider::new(Empty);
        let signer = Signer::new(provider, "us-east-1", "service", ambient);
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let mut request = reqwest::Request::new(reqwest::Method::GET, url);
        let unsigned = signer.sign(&mut request).await.unwrap_err();
        assert!(unsigned.why.starts_with("no AWS credentials: "), "{}", unsigned.why);
        assert_eq!(unsigned.kind, Kind::Look);
    }
}
