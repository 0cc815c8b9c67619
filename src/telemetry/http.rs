//! The HTTP port: metrics and health.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::telemetry::Health;
use crate::telemetry::Labels;
use crate::telemetry::process;

/// Metrics that are asked for when they are scraped, in Prometheus' text format.
pub type AskedMetrics = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// Metrics that are counted, in Prometheus' text format.
pub type CountedMetrics = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

/// What the port shows.
#[derive(Clone)]
pub struct Shown {
    /// Appends metrics that are counted, in the same format.
    pub counted: CountedMetrics,
    /// Metrics that are asked for.
    pub asked: AskedMetrics,
    /// Labels that all of them bear.
    pub labels: Labels,
    /// Health.
    pub health: Health,
}

/// Takes the address.
///
/// # Errors
///
/// Another process has it, or it is not ours to take.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the runtime ends; `more` are routes beside these.
pub async fn serve(listener: TcpListener, shown: Shown, more: Router) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(shown)
        .merge(more);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the HTTP port has failed");
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let mut body = Vec::new();
    (shown.counted)(&mut body);
    body.extend_from_slice((shown.asked)().await.as_bytes());
    let mut body = String::from_utf8_lossy(&body).into_owned();
    process::write(&mut body);
    let body = shown.labels.put_into(body);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], body).into_response()
}

async fn live(State(shown): State<Shown>) -> Response {
    match shown.health.live() {
        Ok(()) => (StatusCode::OK, "live\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn ready(State(shown): State<Shown>) -> Response {
    match shown.health.ready() {
        Ok(phase) => (StatusCode::OK, format!("{phase}\n")).into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
