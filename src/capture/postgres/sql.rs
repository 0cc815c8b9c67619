//! Ordinary SQL beside the replication connection, on tokio-postgres.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::connect::pinned_settings;
use crate::capture::postgres::settings::ChannelBinding;
use crate::capture::postgres::settings::Host;
use crate::capture::postgres::settings::SourceSettings;
use crate::capture::postgres::settings::SslMode;
use crate::capture::postgres::tls;
use crate::capture::wire::ServerError;

/// A connection for queries, usable from threads outside the runtime.
///
/// It also listens: when the server shuts down it is told first, see [`Sql::ended`].
#[derive(Clone, Debug)]
pub struct Sql {
    client: Arc<Client>,
    runtime: Handle,
    ended: watch::Receiver<Option<Ended>>,
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

impl Sql {
    /// Connects to the first host that answers and pins the session's settings.
    ///
    /// # Errors
    ///
    /// As [`super::Connection::open`].
    pub fn open(settings: &SourceSettings, runtime: &Handle) -> Result<Self, SourceError> {
        let mut last = None;
        for host in &settings.hosts {
            match Self::open_host(settings, host, runtime) {
                Ok(sql) => return Ok(sql),
                Err(error @ SourceError::Unreachable { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| SourceError::configuration("no host is given", "give --dsn")))
    }

    fn open_host(
        settings: &SourceSettings,
        host: &Host,
        runtime: &Handle,
    ) -> Result<Self, SourceError> {
        let unreachable =
            |reason: String| SourceError::Unreachable { address: host.to_string(), reason };
        let mut config = config(settings, host);
        let tls = MakeRustlsConnect::new((*tls::client_config(settings)?).clone());
        let connect = |config: &tokio_postgres::Config| {
            runtime.block_on(async {
                tokio::time::timeout(settings.connect_timeout * 2, config.connect(tls.clone()))
                    .await
                    .map_err(|_| unreachable("it does not answer in time".to_owned()))
            })
        };
        let mut result = connect(&config)?;
        if let Err(error) = &result {
            let no_entry = error.code().is_some_and(|code| code.code() == "28000");
            match settings.ssl_mode {
                SslMode::Allow if no_entry => {
                    config.ssl_mode(tokio_postgres::config::SslMode::Require);
                    result = connect(&config)?;
                }
                SslMode::Prefer if no_entry => {
                    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                    result = connect(&config)?;
                }
                _ => {}
            }
        }
        let (client, connection) =
            result.map_err(|error| super::connect::refused(&error, host, settings))?;
        let (sender, ended) = watch::channel(None);
        runtime.spawn(async move {
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
        let mut sql =
            Sql { client: Arc::new(client), runtime: runtime.clone(), ended, server_version: 0 };
        let row = sql.query_one("SELECT current_setting('server_version_num')::int", &[])?;
        sql.server_version = row.get(0);
        sql.execute(&pinned_settings(sql.server_version))?;
        Ok(sql)
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

    /// Runs commands that give no rows, without a limit of time.
    ///
    /// # Errors
    ///
    /// As [`Sql::query`].
    pub fn execute(&self, sql: &str) -> Result<(), SourceError> {
        self.runtime.block_on(self.client.batch_execute(sql)).map_err(|error| failed(&error))
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

fn config(settings: &SourceSettings, host: &Host) -> tokio_postgres::Config {
    use tokio_postgres::config;
    let mut config = tokio_postgres::Config::new();
    match host {
        Host::Tcp(name, port) => {
            config.host(name).port(*port);
        }
        Host::Unix(path) => {
            let port = path.extension().and_then(|port| port.to_str()?.parse().ok());
            config.host_path(path.parent().unwrap_or(path)).port(port.unwrap_or(5432));
        }
    }
    config.user(&settings.user).dbname(&settings.database);
    config.application_name(&settings.application_name);
    config.connect_timeout(settings.connect_timeout);
    if let Some(password) = &settings.password {
        config.password(password.reveal());
    }
    if let Some(options) = &settings.options {
        config.options(options);
    }
    config.ssl_mode(match settings.ssl_mode {
        _ if matches!(host, Host::Unix(_)) => config::SslMode::Disable,
        SslMode::Disable | SslMode::Allow => config::SslMode::Disable,
        SslMode::Prefer => config::SslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => config::SslMode::Require,
    });
    if settings.ssl_direct {
        config.ssl_negotiation(config::SslNegotiation::Direct);
    }
    config.channel_binding(match settings.channel_binding {
        ChannelBinding::Disable => config::ChannelBinding::Disable,
        ChannelBinding::Prefer => config::ChannelBinding::Prefer,
        ChannelBinding::Require => config::ChannelBinding::Require,
    });
    config
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
