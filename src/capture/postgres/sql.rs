//! Ordinary SQL beside the replication connection, on tokio-postgres.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::Client;
use tokio_postgres::NoTls;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::capture::postgres::Connection;
use crate::capture::postgres::Purpose;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::handover::Handover;
use crate::capture::postgres::settings::Host;
use crate::capture::postgres::settings::SourceSettings;
use crate::capture::wire::ServerError;

/// A connection for queries, usable from threads outside the runtime.
///
/// It also listens: when the server shuts down it is told first, see [`Sql::ended`].
#[derive(Clone, Debug)]
pub struct Sql {
    client: Arc<Client>,
    runtime: Handle,
    ended: watch::Receiver<Option<Ended>>,
    /// Drives the connection, and owns its socket.
    task: AbortHandle,
    host: Host,
    server_version: i32,
}

/// Why the connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The server said that it shuts down (57P01) or crashed (57P02).
    pub shutdown: bool,
    /// What was said.
    pub reason: String,
}

/// How long a query of ours may take before the server is taken for dead.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);

/// The server's own limits, below ours: a query that is given up here must not live on there, with
/// its backend. Questions are about the catalog; one that waits for a table's lock would hold up
/// the stream, and who waits for an exclusive lock holds up everybody else. A client that has
/// vanished without a word is missed by the server within a minute, as a walsender is: the session
/// holds the lock on the slot.
const LIMITS: &str = "SET statement_timeout TO '55s'; SET lock_timeout TO '1s'; \
    SET tcp_keepalives_idle TO 20; SET tcp_keepalives_interval TO 10; SET tcp_keepalives_count TO 3";

/// While a query runs the server looks so often whether we are there still. Not every system that
/// PostgreSQL runs on can tell.
const CHECK_CLIENT: &str = "SET client_connection_check_interval TO '10s'";

impl Sql {
    /// Connects to the first host that answers and pins the session's settings.
    ///
    /// # Errors
    ///
    /// As [`super::Connection::open`].
    pub fn open(settings: &SourceSettings, runtime: &Handle) -> Result<Self, SourceError> {
        let sql = Self::hand_over(Connection::open(settings, Purpose::Sql)?, runtime)?;
        sql.execute(LIMITS)?;
        if let Err(error) = sql.execute(CHECK_CLIENT) {
            tracing::debug!(%error, "the server does not look after its clients");
        }
        Ok(sql)
    }

    fn hand_over(connection: Connection, runtime: &Handle) -> Result<Self, SourceError> {
        let (host, server_version) = (connection.host().clone(), connection.server_version());
        let failed = |reason: String| SourceError::Closed { during: "connecting", reason };
        let (client, connection) = runtime.block_on(async {
            let stream = Handover::new(connection.into_stream())
                .map_err(|error| failed(error.to_string()))?;
            // It is let in already, as whoever it says it is.
            let mut config = tokio_postgres::Config::new();
            config.user("us").ssl_mode(tokio_postgres::config::SslMode::Disable);
            config.connect_raw(stream, NoTls).await.map_err(|error| failed(describe(&error)))
        })?;
        let (sender, ended) = watch::channel(None);
        let driver = runtime.spawn(async move {
            let ended = match connection.await {
                Ok(()) => Ended { shutdown: false, reason: "closed".to_owned() },
                Err(error) => Ended {
                    shutdown: error
                        .code()
                        .is_some_and(|code| matches!(code.code(), "57P01" | "57P02" | "57P03")),
                    reason: describe(&error),
                },
            };
            sender.send_replace(Some(ended));
        });
        let (client, task) = (Arc::new(client), driver.abort_handle());
        Ok(Sql { client, runtime: runtime.clone(), ended, task, host, server_version })
    }

    /// Ends the connection, whatever it is doing and whoever holds it: its socket is closed.
    pub fn close(&self) {
        self.task.abort();
    }

    /// The host that answered.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The client itself, for what is not in here.
    pub fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// The server's version as a number, as in 150018.
    pub fn server_version(&self) -> i32 {
        self.server_version
    }

    /// Runs one query.
    ///
    /// # Errors
    ///
    /// What the server says, or that the connection ended.
    pub fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SourceError> {
        self.runtime.block_on(self.query_async(sql, parameters))
    }

    /// The same, inside the runtime.
    ///
    /// # Errors
    ///
    /// As [`Sql::query`].
    pub async fn query_async(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SourceError> {
        match tokio::time::timeout(QUERY_TIMEOUT, self.client.query(sql, parameters)).await {
            Ok(result) => result.map_err(|error| failed(&error)),
            Err(_) => Err(SourceError::Closed {
                during: "running a query",
                reason: "no answer in time".to_owned(),
            }),
        }
    }

    /// Runs one query that gives exactly one row.
    ///
    /// # Errors
    ///
    /// As [`Sql::query`].
    pub fn query_one(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, SourceError> {
        self.query(sql, parameters)?.into_iter().next().ok_or_else(|| SourceError::Closed {
            during: "running a query",
            reason: "the server gave no row".to_owned(),
        })
    }

    /// Runs commands that give no rows; only the server limits their time.
    ///
    /// # Errors
    ///
    /// As [`Sql::query`].
    pub fn execute(&self, sql: &str) -> Result<(), SourceError> {
        self.runtime.block_on(self.client.batch_execute(sql)).map_err(|error| failed(&error))
    }

    /// Names of the columns that a query gives.
    ///
    /// # Errors
    ///
    /// As [`Sql::query`].
    pub fn columns(&self, query: &str) -> Result<Vec<String>, SourceError> {
        let statement =
            self.runtime.block_on(self.client.prepare(query)).map_err(|error| failed(&error))?;
        Ok(statement.columns().iter().map(|column| column.name().to_owned()).collect())
    }

    /// Why the connection ended; `None` while it lives.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// Calls `each` once, inside the runtime, when the connection ends.
    pub fn on_end(&self, each: impl FnOnce(Ended) + Send + 'static) {
        let mut ended = self.ended.clone();
        self.runtime.spawn(async move {
            if let Ok(Some(ended)) = ended.wait_for(Option::is_some).await.as_deref() {
                each(ended.clone());
            }
        });
    }
}

/// The error with its causes, in one line.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        return server_error(server).to_string();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

pub(super) fn server_error(error: &tokio_postgres::error::DbError) -> ServerError {
    ServerError {
        severity: error.severity().to_owned(),
        sqlstate: error.code().code().to_owned(),
        message: error.message().to_owned(),
        detail: error.detail().unwrap_or_default().to_owned(),
        hint: error.hint().unwrap_or_default().to_owned(),
    }
}

fn failed(error: &tokio_postgres::Error) -> SourceError {
    let during = "running a query";
    match error.as_db_error() {
        Some(server) => SourceError::from_server(during, server_error(server)),
        None if error.is_closed() || is_io(error) => {
            SourceError::Closed { during, reason: describe(error) }
        }
        None => SourceError::Internal { during, reason: describe(error) },
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>())
}
