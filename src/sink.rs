//! One process of the companion: runtime, log, HTTP port, systemd, signals, and the application
//! within.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::ACCEPT;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::any;
use axum::routing::get;
use axum::routing::post;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::apply;
use crate::apply::Job;
use crate::apply::OpenWarehouse;
use crate::apply::Process;
use crate::apply::applier::Schemas;
use crate::apply::batch_loop::Ended;
use crate::apply::consumer::TopicSchemas;
use crate::apply::error::ApplyError;
use crate::apply::replay;
use crate::apply::replay::StoredSchemas;
use crate::apply::tables_shown::TablesShown;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb;
use crate::apply::warehouse::duckdb::DuckDb;
use crate::apply::warehouse::duckdb::Form;
use crate::apply::warehouse::duckdb::ReadError;
use crate::apply::warehouse::duckdb::Reader;
use crate::apply::warehouse::postgres::Connect;
use crate::apply::warehouse::postgres::PostgresWarehouse;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::config::RawConfig;
use crate::config::SinkConfig;
use crate::config::WarehouseConfig;
use crate::config::WarehousePlace;
use crate::config::properties::Program;
use crate::error::Failure;
use crate::service;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Labels;
use crate::telemetry::SinkMetrics;
use crate::telemetry::http;
use crate::telemetry::http::More;
use crate::telemetry::http::Shown;

/// Runs the companion until it is asked to stop, or, with `once`, has caught up.
///
/// # Errors
///
/// Why it ended though nobody asked.
pub fn run(raw: RawConfig, once: bool) -> Result<(), Failure> {
    let config = SinkConfig::new(raw, true, |name| std::env::var(name).ok())
        .map_err(|errors| Failure::from_config(Program::Sink, &errors))?;
    let runtime = service::runtime()?;
    let process = Process {
        metrics: SinkMetrics::default(),
        health: Health::default(),
        stop: Stop::default(),
        tables: Arc::new(Mutex::new(TablesShown::default())),
    };
    service::listen_for_signals(runtime.handle(), &process.stop, config.shutdown);
    let opener = Opener::new(config.warehouse, runtime.handle().clone());
    let metrics = process.metrics.clone();
    let shown = Shown {
        counted: Arc::new(move |out| metrics.write(out)),
        asked: Arc::new(|| Box::pin(async { String::new() })),
        labels: Labels::default(),
        health: process.health.clone(),
    };
    let more = more(&process.tables, &opener);
    service::start_http(runtime.handle(), &config.process.http, shown, more)?;
    service::tell_systemd(runtime.handle(), &process.health, &process.stop);
    let Some(consumer) = config.consumer else { return Ok(()) };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        group = consumer.group,
        topics = %consumer.topics,
        "cdc-sink starts"
    );
    let job = Job {
        consumer,
        settings: config.apply,
        open: opener.open(),
        once,
        startup: config.startup,
    };
    let result = apply::run(&job, &process);
    service::tell_stopping();
    drop(job);
    runtime.shutdown_timeout(Duration::from_millis(200));
    match result? {
        Ended::Stopped => tracing::info!("cdc-sink ends"),
        Ended::CaughtUp => tracing::info!("cdc-sink has caught up and ends"),
    }
    Ok(())
}

/// Applies dead letters again.
///
/// # Errors
///
/// The warehouse cannot be used.
pub fn replay(raw: RawConfig) -> Result<replay::Replayed, Failure> {
    let config = SinkConfig::new(raw, false, |name| std::env::var(name).ok())
        .map_err(|errors| Failure::from_config(Program::Sink, &errors))?;
    let runtime = service::runtime()?;
    let opener = Opener::new(config.warehouse, runtime.handle().clone());
    let mut warehouse = (opener.open())().map_err(ApplyError::from)?;
    let state = warehouse.state().map_err(ApplyError::from)?;
    let schemas = StoredSchemas::new(state, TopicSchemas::new(config.kafka));
    let schemas: Box<dyn Schemas> = Box::new(schemas);
    Ok(replay::replay(warehouse, schemas, config.apply)?)
}

/// What the HTTP port shows of a warehouse.
pub fn more(tables: &Arc<Mutex<TablesShown>>, opener: &Opener) -> More {
    More {
        routes: tables_route(tables).merge(opener.routes()),
        listed: vec![
            ("/v1/tables", "tables of the warehouse, and what was applied to them"),
            ("/v1/query", "POST one SELECT, SHOW or EXPLAIN: the rows of a DuckDB file"),
        ],
    }
}

fn tables_route(tables: &Arc<Mutex<TablesShown>>) -> Router {
    let tables = Arc::clone(tables);
    Router::new().route(
        "/v1/tables",
        get(move || {
            let shown = tables.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move { Json(shown) }
        }),
    )
}

/// Opens the warehouse that was asked for.
pub struct Opener {
    config: WarehouseConfig,
    runtime: Handle,
    reader: SharedReader,
}

/// Who reads the DuckDB file of this process, once it is open.
type SharedReader = Arc<Mutex<Option<Reader>>>;

impl Opener {
    /// For this warehouse.
    pub fn new(config: WarehouseConfig, runtime: Handle) -> Self {
        Opener { config, runtime, reader: SharedReader::default() }
    }

    /// What opens it.
    pub fn open(&self) -> OpenWarehouse {
        let (config, runtime) = (self.config.clone(), self.runtime.clone());
        match config.place {
            WarehousePlace::Postgres(settings) => Arc::new(move || {
                let hosts: Vec<String> = settings.hosts.iter().map(ToString::to_string).collect();
                let name = format!("PostgreSQL {} at {}", settings.database, hosts.join(", "));
                let (settings, handle) = (settings.clone(), runtime.clone());
                let connect: Connect = Arc::new(move || {
                    let sql = Sql::open(&settings, &handle).map_err(refused)?;
                    Ok(sql.client())
                });
                let warehouse =
                    PostgresWarehouse::open(connect, runtime.clone(), name, config.delete_mode)?;
                Ok(Box::new(warehouse.with_broken_rules(config.broken)))
            }),
            WarehousePlace::DuckDb(path) => {
                let settings = duckdb::Settings {
                    memory_limit: config.duckdb_memory,
                    threads: config.duckdb_threads,
                    delete_mode: config.delete_mode,
                    broken: config.broken,
                    ..duckdb::Settings::new(path)
                };
                let reader = Arc::clone(&self.reader);
                Arc::new(move || {
                    let warehouse = DuckDb::open(settings.clone())?;
                    *reader.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(warehouse.query());
                    Ok(Box::new(warehouse))
                })
            }
        }
    }

    /// `POST /v1/query` takes one statement that reads and answers with its rows, since nobody else
    /// can open the file of a DuckDB that is being written.
    fn routes(&self) -> Router {
        if !matches!(self.config.place, WarehousePlace::DuckDb(_)) {
            let elsewhere = || async {
                let reason = "the warehouse is a PostgreSQL: ask it itself";
                http::refuse(StatusCode::NOT_FOUND, reason)
            };
            return Router::new().route("/v1/query", any(elsewhere));
        }
        let asked = Queries {
            reader: Arc::clone(&self.reader),
            at_once: Arc::new(Semaphore::new(QUERIES_AT_ONCE)),
        };
        Router::new().route("/v1/query", post(query).with_state(asked))
    }
}

/// Rows of an answer, and how long it may take.
const QUERY_ROWS_MAX: usize = 100_000;
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A function of DuckDB's that looks at no clock is not waited for longer than this beyond it.
const QUERY_GRACE: Duration = Duration::from_secs(2);

/// Queries that run at once; they share memory and threads with what is applied.
const QUERIES_AT_ONCE: usize = 8;

/// What answers queries.
#[derive(Clone)]
struct Queries {
    reader: SharedReader,
    at_once: Arc<Semaphore>,
}

async fn query(State(queries): State<Queries>, headers: HeaderMap, sql: String) -> Response {
    let reader = queries.reader.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(reader) = reader else {
        return http::refuse(StatusCode::SERVICE_UNAVAILABLE, "the file is not open yet");
    };
    let Ok(turn) = queries.at_once.try_acquire_owned() else {
        let reason = format!("{QUERIES_AT_ONCE} queries are running already: ask again later");
        return http::refuse(StatusCode::SERVICE_UNAVAILABLE, reason);
    };
    let accepted = headers.get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
    let form = if accepted.starts_with(b"text/csv") { Form::Csv } else { Form::Json };
    let asked = tokio::task::spawn_blocking(move || {
        // It is taken until the query has ended, whoever still waits for it.
        let _turn = turn;
        reader.select(&sql, (QUERY_ROWS_MAX, form), QUERY_TIMEOUT)
    });
    match tokio::time::timeout(QUERY_TIMEOUT + QUERY_GRACE, asked).await {
        Ok(Ok(Ok(answer))) => {
            let content = match form {
                Form::Json => "application/json",
                Form::Csv => "text/csv; charset=utf-8; header=present",
            };
            let truncated = if answer.truncated { "true" } else { "false" };
            let headers = [(CONTENT_TYPE, content), (TRUNCATED, truncated)];
            (headers, answer.text).into_response()
        }
        Ok(Ok(Err(error))) => {
            let status = match error {
                ReadError::Refused(_) => StatusCode::BAD_REQUEST,
                ReadError::Timeout => StatusCode::REQUEST_TIMEOUT,
                ReadError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            http::refuse(status, error.to_string())
        }
        Ok(Err(_)) => http::refuse(StatusCode::INTERNAL_SERVER_ERROR, "the query has failed"),
        Err(_) => http::refuse(StatusCode::REQUEST_TIMEOUT, ReadError::Timeout.to_string()),
    }
}

/// Whether there were more rows: what a CSV cannot say itself.
const TRUNCATED: HeaderName = HeaderName::from_static("cdc-truncated");

fn refused(error: SourceError) -> WarehouseError {
    let hint = error.hint().unwrap_or_default().to_owned();
    let message = format!("the warehouse: {error}");
    match error {
        SourceError::Permission { .. } => WarehouseError::Permission { message, hint },
        SourceError::Configuration { .. } => WarehouseError::Configuration { message, hint },
        _ => WarehouseError::Unreachable { message },
    }
}
