//! `[lake.rest]`: the address and the login of a REST catalog.

use super::resolver::Resolver;
use super::{RestAuth, RestCatalogSettings};
use crate::config::environment;
use crate::config::file::RestSection;

/// The scope that Iceberg's own clients request.
const SCOPE: &str = "catalog";

pub(super) fn rest(
    resolver: &mut Resolver,
    uri: &str,
    section: &RestSection,
) -> RestCatalogSettings {
    let uri = uri.trim_end_matches('/');
    let uri = uri.strip_suffix("/v1").unwrap_or(uri);
    if !uri.starts_with("https://") && !uri.starts_with("http://") {
        resolver.say("lake.catalog", "write rest:https://<host>/<path>, without /v1");
    }
    let authority = uri.split("://").nth(1).and_then(|rest| rest.split('/').next());
    if authority.is_some_and(|authority| authority.contains('@')) {
        let why = format!(
            "credentials must not be part of the URI: set {} or {}",
            environment::REST_CREDENTIAL.name,
            environment::REST_TOKEN.name
        );
        resolver.say("lake.catalog", why);
    }
    let auth = match section.auth.as_deref().unwrap_or_else(|| usual(uri)) {
        "none" => RestAuth::None,
        "token" => RestAuth::Token,
        "oauth2" => RestAuth::OAuth2 {
            // The endpoint of the REST specification: deprecated, and still what most catalogs serve.
            server: section.oauth2_server.clone().unwrap_or(format!("{uri}/v1/oauth/tokens")),
            scope: section.scope.clone().unwrap_or(SCOPE.to_owned()),
        },
        "sigv4" => RestAuth::SigV4 {
            service: section.signing_name.clone().unwrap_or(signing_name(uri).to_owned()),
            region: region(uri).map(str::to_owned),
        },
        other => {
            let why = format!("`{other}` is not one of none, token, oauth2, sigv4");
            resolver.say("lake.rest.auth", why);
            RestAuth::None
        }
    };
    for (key, given, fits) in [
        ("oauth2_server", section.oauth2_server.is_some(), matches!(auth, RestAuth::OAuth2 { .. })),
        ("scope", section.scope.is_some(), matches!(auth, RestAuth::OAuth2 { .. })),
        ("signing_name", section.signing_name.is_some(), matches!(auth, RestAuth::SigV4 { .. })),
    ] {
        if given && !fits {
            let why = "it does not apply to this lake.rest.auth: leave it out";
            resolver.say(format!("lake.rest.{key}"), why);
        }
    }
    RestCatalogSettings { uri: uri.to_owned(), warehouse: section.warehouse.clone(), auth }
}

/// The login unless `lake.rest.auth` is set.
fn usual(uri: &str) -> &'static str {
    match () {
        () if is_aws(uri) => "sigv4",
        () if environment::has_rest_credential() => "oauth2",
        () if environment::rest_token().is_some() => "token",
        () => "none",
    }
}

fn is_aws(uri: &str) -> bool {
    aws_name(uri).is_some()
}

/// The name of an AWS endpoint without its domain: `glue.eu-west-1`.
fn aws_name(uri: &str) -> Option<&str> {
    const AWS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
    let host = uri.split("://").nth(1)?.split(['/', ':']).next()?;
    AWS.iter().find_map(|aws| host.strip_suffix(aws))
}

/// The region of an endpoint of AWS.
fn region(uri: &str) -> Option<&str> {
    aws_name(uri)?.rsplit('.').next()
}

fn signing_name(uri: &str) -> &'static str {
    if uri.contains("glue.") { "glue" } else { "s3tables" }
}
