//! How a connection comes to be: which host, TLS or not, who we are, and the session's settings.

use std::io;
use std::io::Read;
use std::io::Write;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::ClientConnection;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::authentication;
use crate::capture::postgres::connection::Connection;
use crate::capture::postgres::connection::Purpose;
use crate::capture::postgres::settings::Host;
use crate::capture::postgres::settings::SourceSettings;
use crate::capture::postgres::settings::SslMode;
use crate::capture::postgres::socket::Socket;
use crate::capture::postgres::socket::Stream;
use crate::capture::postgres::sql;
use crate::capture::postgres::tls;
use crate::capture::wire::BackendMessage;
use crate::capture::wire::ServerError;

/// Settings that could change a value's text, hide rows or end a long read. Source: PostgreSQL 18,
/// "Server Configuration"; `transaction_timeout` exists from 17 on.
pub(super) fn pinned_settings(server_version: i32) -> String {
    let mut sql = "SET DateStyle TO 'ISO, MDY'; SET IntervalStyle TO postgres; \
        SET TimeZone TO 'UTC'; SET extra_float_digits TO 1; SET bytea_output TO hex; \
        SET search_path TO pg_catalog; SET lc_monetary TO 'C'; SET quote_all_identifiers TO off; \
        SET row_security TO off; SET synchronize_seqscans TO off; SET statement_timeout TO 0; \
        SET lock_timeout TO 0; SET idle_in_transaction_session_timeout TO 0; \
        SET idle_session_timeout TO 0; SET max_parallel_workers_per_gather TO 0; \
        SET standard_conforming_strings TO on; SET default_transaction_read_only TO off; \
        SET default_transaction_isolation TO 'read committed'; \
        SET default_transaction_deferrable TO off; SET xmlbinary TO base64"
        .to_owned();
    if server_version >= 170_000 {
        sql.push_str("; SET transaction_timeout TO 0");
    }
    sql
}

impl Connection {
    /// Connects to the first host that answers, authenticates and pins the session's settings.
    ///
    /// # Errors
    ///
    /// [`SourceError::Unreachable`] if no host answers; what the last one said otherwise.
    pub fn open(settings: &SourceSettings, purpose: Purpose) -> Result<Self, SourceError> {
        let mut last = None;
        for host in &settings.hosts {
            match Self::open_host(settings, host, purpose) {
                Ok(connection) => return Ok(connection),
                Err(error @ SourceError::Unreachable { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            SourceError::configuration("no host is given", "give --dsn or PGHOST")
        }))
    }

    fn open_host(
        settings: &SourceSettings,
        host: &Host,
        purpose: Purpose,
    ) -> Result<Self, SourceError> {
        let unix = matches!(host, Host::Unix(_));
        let attempts: &[bool] = match settings.ssl_mode {
            _ if unix => &[false],
            SslMode::Disable => &[false],
            SslMode::Allow => &[false, true],
            SslMode::Prefer => &[true, false],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[true],
        };
        let mut first = None;
        for with_tls in attempts {
            match Self::attempt(settings, host, purpose, *with_tls) {
                Ok(connection) => return Ok(connection),
                Err(Refusal { error, try_other_way: true }) => first = Some(error),
                // A server that dies between the two ways must not look as if it refused both.
                Err(Refusal { error, .. }) => {
                    let first = first.filter(|first| is_definite(first) && is_definite(&error));
                    return Err(first.unwrap_or(error));
                }
            }
        }
        Err(first.unwrap_or_else(|| unreachable(host, "no way to connect was tried")))
    }

    fn attempt(
        settings: &SourceSettings,
        host: &Host,
        purpose: Purpose,
        with_tls: bool,
    ) -> Result<Self, Refusal> {
        let socket = Socket::connect(host, settings.connect_timeout)
            .map_err(|error| unreachable(host, &error.to_string()))?;
        let io_failed = |error: io::Error| unreachable(host, &error.to_string());
        socket.set_read_timeout(Some(settings.connect_timeout)).map_err(io_failed)?;
        socket.set_write_timeout(Some(settings.connect_timeout)).map_err(io_failed)?;
        let mut optional = settings.ssl_mode == SslMode::Prefer;
        let stream = if with_tls {
            match encrypted(settings, host, socket)? {
                Some(stream) => stream,
                None if optional => {
                    return Err(Refusal::other_way(unreachable(host, "it does not offer TLS")));
                }
                None => return Err(no_tls(host).into()),
            }
        } else {
            optional = settings.ssl_mode == SslMode::Allow;
            Stream::Plain(socket)
        };
        let mut connection = Connection::over(stream, host.clone());
        match connection.start_up(settings, purpose) {
            Ok(()) => Ok(connection),
            // pg_hba.conf has no entry for this way; it may have one for the other.
            Err(StartUpError { error, wrong_way: true }) if optional => {
                Err(Refusal::other_way(error))
            }
            Err(StartUpError { error, .. }) => Err(error.into()),
        }
    }

    fn start_up(
        &mut self,
        settings: &SourceSettings,
        purpose: Purpose,
    ) -> Result<(), StartUpError> {
        let mut parameters = vec![
            ("user", settings.user.as_str()),
            ("database", settings.database.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", settings.application_name.as_str()),
        ];
        if purpose == Purpose::Replication {
            parameters.push(("replication", "database"));
        }
        if let Some(options) = &settings.options {
            parameters.push(("options", options));
        }
        let mut message = BytesMut::new();
        frontend::startup_message(parameters, &mut message)
            .map_err(|error| unreachable(self.host(), &error.to_string()))?;
        self.send(&message, "connecting")?;
        authentication::authenticate(self, settings)?;
        let server_version = self.wait_until_ready()?;
        self.set_server_version(server_version);
        let pinned = pinned_settings(server_version);
        self.query(&pinned)?;
        let forever = |error: io::Error| unreachable(self.host(), &error.to_string());
        self.socket().set_read_timeout(None).map_err(forever)?;
        Ok(())
    }

    /// After authentication: the server reports its settings, then waits for commands. Gives
    /// its version.
    fn wait_until_ready(&mut self) -> Result<i32, SourceError> {
        let during = "connecting";
        let mut server_version = 0;
        loop {
            match self.message(during)? {
                BackendMessage::ParameterStatus("server_version", text) => {
                    server_version = version_number(text);
                }
                BackendMessage::ReadyForQuery => return Ok(server_version),
                BackendMessage::ErrorResponse(error) => {
                    return Err(start_up_refused(error, self.host(), None).error);
                }
                _ => {}
            }
        }
    }
}

/// Why an attempt failed, and whether the other of TLS and clear text may work.
struct Refusal {
    error: SourceError,
    try_other_way: bool,
}

impl Refusal {
    fn other_way(error: SourceError) -> Self {
        Refusal { error, try_other_way: true }
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        Refusal { error, try_other_way: false }
    }
}

/// Why the server did not let us in.
pub(super) struct StartUpError {
    pub(super) error: SourceError,
    /// The server has no entry for a connection of this kind.
    wrong_way: bool,
}

impl From<SourceError> for StartUpError {
    fn from(error: SourceError) -> Self {
        StartUpError { error, wrong_way: false }
    }
}

/// Sorts the server's refusal of a connection.
pub(super) fn start_up_refused(
    error: ServerError,
    host: &Host,
    settings: Option<&SourceSettings>,
) -> StartUpError {
    let user = settings.map(|settings| settings.user.as_str()).unwrap_or_default();
    let wrong_way = error.sqlstate == "28000";
    let error = match error.sqlstate.as_str() {
        "28P01" | "28000" => SourceError::permission(
            format!("PostgreSQL at {host} does not let role \"{user}\" in: {error}"),
            "check user and password (--dsn, PGUSER, PGPASSWORD, ~/.pgpass) and the server's \
             pg_hba.conf; the role needs LOGIN and REPLICATION",
        ),
        "3D000" => SourceError::configuration(
            format!("PostgreSQL at {host}: {error}"),
            "give the name of an existing database (--dsn, PGDATABASE)",
        ),
        "42501" => SourceError::permission(
            format!("PostgreSQL at {host} does not let role \"{user}\" replicate: {error}"),
            format!("run as a superuser: ALTER ROLE \"{user}\" REPLICATION"),
        ),
        "42704" | "22023" => SourceError::configuration(
            format!("PostgreSQL at {host} refuses a connection option: {error}"),
            "correct the options parameter (PGOPTIONS)",
        ),
        _ => unreachable(host, &error.to_string()),
    };
    StartUpError { error, wrong_way }
}

/// Sorts what tokio-postgres says of a connection that it could not make.
pub(super) fn refused(
    error: &tokio_postgres::Error,
    host: &Host,
    settings: &SourceSettings,
) -> SourceError {
    match error.as_db_error() {
        Some(server) => start_up_refused(sql::server_error(server), host, Some(settings)).error,
        None => unreachable(host, &sql::describe(error)),
    }
}

/// Whether trying again gives the same.
fn is_definite(error: &SourceError) -> bool {
    matches!(error, SourceError::Permission { .. } | SourceError::Configuration { .. })
}

fn unreachable(host: &Host, reason: &str) -> SourceError {
    SourceError::Unreachable { address: host.to_string(), reason: reason.to_owned() }
}

fn no_tls(host: &Host) -> SourceError {
    SourceError::configuration(
        format!("PostgreSQL at {host} does not offer TLS, and sslmode requires it"),
        "set ssl = on in postgresql.conf, or choose sslmode=prefer or disable",
    )
}

/// Asks for TLS and shakes hands; `None` if the server has none.
fn encrypted(
    settings: &SourceSettings,
    host: &Host,
    mut socket: Socket,
) -> Result<Option<Stream>, SourceError> {
    let io_failed = |error: io::Error| unreachable(host, &error.to_string());
    if !settings.ssl_direct {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        socket.write_all(&request).map_err(io_failed)?;
        let mut answer = [0];
        socket.read_exact(&mut answer).map_err(io_failed)?;
        match answer {
            [b'S'] => {}
            [b'N'] => return Ok(None),
            _ => return Err(unreachable(host, "it does not answer as PostgreSQL does")),
        }
    }
    let config = tls::client_config(settings)?;
    let name = match host {
        Host::Tcp(name, _) => tls::server_name(name)?,
        Host::Unix(_) => tls::server_name("localhost")?,
    };
    let tls_failed = |reason: &dyn std::fmt::Display| {
        SourceError::configuration(
            format!("TLS to PostgreSQL at {host} failed: {reason}"),
            "check sslmode, sslrootcert, sslcert and sslkey against the server's certificate",
        )
    };
    let mut connection = ClientConnection::new(config, name).map_err(|error| tls_failed(&error))?;
    while connection.is_handshaking() {
        match connection.complete_io(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(tls_failed(&error));
            }
            Err(error) => return Err(io_failed(error)),
        }
    }
    Ok(Some(Stream::tls(connection, socket)))
}

/// `15.18 (Debian 15.18-0)` is 150018, as `server_version_num` has it.
fn version_number(text: &str) -> i32 {
    let mut parts = text.split([' ', '.']).map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i32>().unwrap_or_default()
    });
    let major = parts.next().unwrap_or_default();
    major * 10_000 + parts.next().unwrap_or_default()
}
