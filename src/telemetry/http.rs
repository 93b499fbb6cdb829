//! `--http`: `/metrics` for Prometheus, `/healthz` and `/readyz` for the supervisor of the process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::error::OTelSdkError;
use prometheus::{Registry, TextEncoder};

use super::readiness::Health;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// Where to listen: an address, or a port on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(port) = text.parse::<u16>() {
            return Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        text.parse()
            .map(Self)
            .map_err(|_| "write an address, such as 127.0.0.1:9464, or a port".to_owned())
    }
}

/// The exporter that Prometheus scrapes.
pub(super) fn reader() -> Result<PrometheusExporter, OTelSdkError> {
    opentelemetry_prometheus::exporter()
        .with_registry(REGISTRY.clone())
        .scope_info_enabled(false)
        .build()
}

/// Serves until the process ends. Returns the address that it listens on.
///
/// # Errors
/// When it cannot listen on that address.
pub async fn serve(listen: Listen, health: Health) -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(listen.0).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(health);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "stopped serving metrics and health");
        }
    });
    Ok(address)
}

async fn metrics() -> impl IntoResponse {
    match TextEncoder::new().encode_to_string(&REGISTRY.gather()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let reasons = health.reasons();
    match reasons.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn a_port_alone_is_on_loopback() {
        let listen = |text: &str| text.parse::<Listen>().map(|listen| listen.0.to_string());
        assert_eq!(listen("9464").unwrap(), "127.0.0.1:9464");
        assert_eq!(listen("0.0.0.0:80").unwrap(), "0.0.0.0:80");
        assert_eq!(listen("[::1]:80").unwrap(), "[::1]:80");
        assert!(listen("localhost").is_err());
    }
}
