//! The HTTP port: metrics and health, and who may ask for them.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::middleware::Next;
use axum::response::Html;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::telemetry::Health;
use crate::telemetry::Labels;
use crate::telemetry::hosts::Hosts;
use crate::telemetry::process;

/// Metrics that are asked for when they are scraped, in Prometheus' text format.
pub type AskedMetrics = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// Metrics that are counted, in Prometheus' text format.
pub type CountedMetrics = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

/// Where the port is, and by which names it is asked.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its address; `None`: nowhere.
    pub address: Option<SocketAddr>,
    /// The address was asked for: a port that is taken is an error.
    pub asked: bool,
    /// Names beside the address.
    pub hosts: Vec<String>,
}

/// Routes beside metrics and health, each with its path and what is there.
#[derive(Clone, Default)]
pub struct More {
    /// The routes.
    pub routes: Router,
    /// For the list at `/`.
    pub listed: Vec<(&'static str, &'static str)>,
}

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
pub async fn serve(listener: TcpListener, hosts: Hosts, shown: Shown, more: More) {
    let index = index(&more.listed);
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(shown)
        .route("/", get(move || async move { Html(index) }))
        .merge(more.routes)
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "nothing is here: / lists what is") })
        .method_not_allowed_fallback(|request: Request| async move {
            let taken = if request.uri().path() == "/v1/query" {
                "a query is sent as the body of a POST, as `curl -d 'SHOW TABLES'` does"
            } else {
                "this is asked for with GET"
            };
            refuse(StatusCode::METHOD_NOT_ALLOWED, taken)
        })
        .layer(middleware::from_fn_with_state(Arc::new(hosts), answer_whom_it_concerns));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the HTTP port has failed");
    }
}

/// An error as all paths give it.
pub fn refuse(status: StatusCode, reason: impl AsRef<str>) -> Response {
    (status, Json(serde_json::json!({ "error": reason.as_ref() }))).into_response()
}

async fn answer_whom_it_concerns(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Response {
    match hosts.check(request.version(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(reason) => refuse(StatusCode::FORBIDDEN, reason),
    }
}

/// A page of links.
fn index(more: &[(&str, &str)]) -> String {
    let ours = [
        ("/metrics", "metrics for Prometheus"),
        ("/health/live", "whether its loops turn"),
        ("/health/ready", "whether records flow, or why they do not"),
    ];
    let mut page = String::from("<!doctype html><title>cdc-agent</title>\n<ul>\n");
    for (path, what) in ours.iter().chain(more) {
        page.push_str(&format!("<li><a href=\"{path}\">{path}</a>: {what}</li>\n"));
    }
    page.push_str("</ul>\n");
    page
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
