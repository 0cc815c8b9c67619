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
use crate::capture::postgres::settings::TargetSession;
use crate::capture::postgres::settings::user_name;
use crate::capture::postgres::socket::Socket;
use crate::capture::postgres::socket::Stream;
use crate::capture::postgres::tls;
use crate::capture::wire::BackendMessage;
use crate::capture::wire::ServerError;
use crate::table::quote_identifier;

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
        first_host(settings, |host, with_tls| Self::attempt(settings, host, with_tls, purpose))
    }

    /// Connects in one way to one host.
    pub(super) fn attempt(
        settings: &SourceSettings,
        host: &Host,
        with_tls: bool,
        purpose: Purpose,
    ) -> Result<Self, Refusal> {
        let mut socket = reach(settings, host)?;
        let stream = if with_tls {
            ask_for_tls(settings, host, &mut socket)?;
            shake_hands(settings, host, socket)?
        } else {
            Stream::Plain(socket)
        };
        let mut connection = Connection::over(stream, host.clone());
        match connection.start_up(settings, purpose) {
            Ok(()) => Ok(connection),
            Err(refusal) => Err(connection.explained(refusal)),
        }
    }

    fn start_up(&mut self, settings: &SourceSettings, purpose: Purpose) -> Result<(), Refusal> {
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
        let refused = Refused { settings, purpose };
        authentication::authenticate(self, refused)?;
        let server = self.wait_until_ready(refused)?;
        server.check(settings.target, self.host())?;
        self.set_server_version(server.version);
        if purpose == Purpose::Sql {
            self.run_initial_statements(&settings.initial_statements)?;
        }
        let pinned = pinned_settings(server.version);
        self.query(&pinned)?;
        let forever = |error: io::Error| unreachable(self.host(), &error.to_string());
        self.socket().set_read_timeout(None).map_err(forever)?;
        Ok(())
    }

    fn run_initial_statements(&mut self, statements: &[String]) -> Result<(), SourceError> {
        for (number, statement) in (1..).zip(statements) {
            self.query(statement).map_err(|error| match error {
                SourceError::Closed { .. } | SourceError::Decode { .. } => error,
                // The statement itself may hold a password.
                error => SourceError::configuration(
                    format!("statement {number} of database.initial.statements: {error}"),
                    "correct it, or leave it out",
                ),
            })?;
        }
        Ok(())
    }

    /// After authentication: the server reports its settings, then waits for commands.
    fn wait_until_ready(&mut self, refused: Refused<'_>) -> Result<ServerKind, Refusal> {
        let host = self.host().clone();
        let mut server = ServerKind::default();
        loop {
            match self.message("connecting")? {
                BackendMessage::ParameterStatus(name, value) => server.note(name, value),
                BackendMessage::ReadyForQuery => return Ok(server),
                BackendMessage::ErrorResponse(error) => return Err(refused.by(error, &host)),
                _ => {}
            }
        }
    }

    /// A connection that ends before it is ready was never made; TLS may have said why.
    fn explained(&self, refusal: Refusal) -> Refusal {
        match refusal.error {
            SourceError::Closed { during, reason } => match self.alert() {
                Some(alert) => {
                    let error = io::Error::other(rustls::Error::AlertReceived(alert));
                    tls_failed(self.host(), &error)
                }
                None => unreachable(self.host(), &format!("while {during}: {reason}")).into(),
            },
            error => Refusal { error, ..refusal },
        }
    }
}

/// Tries hosts in their order, each in the ways that `sslmode` allows.
///
/// As libpq does, the next host is tried if one does not answer, and not if it lets nobody in.
pub(super) fn first_host<T>(
    settings: &SourceSettings,
    mut attempt: impl FnMut(&Host, bool) -> Result<T, Refusal>,
) -> Result<T, SourceError> {
    let mut silent: Vec<(String, String)> = Vec::new();
    let mut advice = String::new();
    for host in &settings.hosts {
        match either_way(settings, host, &mut attempt) {
            Ok(found) => return Ok(found),
            Err(SourceError::Unreachable { address, reason, hint }) => {
                silent.push((address, reason));
                advice = hint;
            }
            Err(error) => return Err(error),
        }
    }
    let Some((address, reason)) = silent.pop() else {
        return Err(SourceError::configuration("no host is given", "give --dsn or PGHOST"));
    };
    if silent.is_empty() {
        return Err(SourceError::Unreachable { address, reason, hint: advice });
    }
    silent.push((address, reason));
    let (addresses, reasons): (Vec<String>, Vec<String>) = silent
        .into_iter()
        .map(|(address, reason)| (address.clone(), format!("{address}: {reason}")))
        .unzip();
    let (address, reason) = (addresses.join(", "), reasons.join("; "));
    Err(SourceError::Unreachable { address, reason, hint: advice })
}

fn either_way<T>(
    settings: &SourceSettings,
    host: &Host,
    attempt: &mut impl FnMut(&Host, bool) -> Result<T, Refusal>,
) -> Result<T, SourceError> {
    let (first, second) = match settings.ssl_mode {
        _ if host.is_local() => (false, None),
        SslMode::Disable => (false, None),
        SslMode::Allow => (false, Some(true)),
        SslMode::Prefer => (true, Some(false)),
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (true, None),
    };
    let refusal = match attempt(host, first) {
        Ok(found) => return Ok(found),
        Err(refusal) => refusal,
    };
    match second {
        Some(second) if refusal.try_other_way => {
            attempt(host, second).map_err(|other| both(refusal.error, other.error))
        }
        _ => Err(refusal.error),
    }
}

/// What to say when both ways failed. A server that dies between them must not look as if it had
/// refused both, and one without TLS has nothing to say of it.
fn both(first: SourceError, second: SourceError) -> SourceError {
    match (first, second) {
        (
            SourceError::Permission { message, hint },
            SourceError::Permission { message: other, .. },
        ) if message != other => {
            SourceError::Permission { message: format!("{message}; {other}"), hint }
        }
        (
            SourceError::Configuration { message, hint },
            SourceError::Permission { message: other, .. },
        ) => SourceError::Permission { message: format!("{message}; without TLS, {other}"), hint },
        (_, second) => second,
    }
}

/// Why an attempt failed, and whether the other of TLS and clear text may work.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: SourceError,
    pub(super) try_other_way: bool,
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

/// What has to be known to explain a server's refusal.
#[derive(Clone, Copy)]
pub(super) struct Refused<'a> {
    pub(super) settings: &'a SourceSettings,
    pub(super) purpose: Purpose,
}

impl Refused<'_> {
    /// Sorts the server's refusal of a connection.
    pub(super) fn by(self, error: ServerError, host: &Host) -> Refusal {
        let (user, database) = (&self.settings.user, &self.settings.database);
        let quoted = quote_identifier(user);
        // pg_hba.conf may have another entry, or another method, for the other way.
        let try_other_way = error.sqlstate.starts_with("28");
        let error = match error.sqlstate.as_str() {
            "28P01" => SourceError::permission(
                format!("PostgreSQL at {host} does not let role \"{user}\" in: {error}"),
                "check user and password (--dsn, PGUSER, PGPASSWORD, ~/.pgpass); to set the \
                 password, run in psql: \\password",
            ),
            "28000" => SourceError::permission(
                format!("PostgreSQL at {host} does not let role \"{user}\" in: {error}"),
                format!(
                    "check the server's pg_hba.conf, sslmode, and that the role exists: CREATE ROLE \
                     {quoted} LOGIN REPLICATION"
                ),
            ),
            "3D000" => SourceError::configuration(
                format!("PostgreSQL at {host}: {error}"),
                "give the name of an existing database (--dsn, PGDATABASE)",
            ),
            "42501" if self.purpose == Purpose::Replication => SourceError::permission(
                format!("PostgreSQL at {host} does not let role \"{user}\" replicate: {error}"),
                format!("run as a superuser: ALTER ROLE {quoted} REPLICATION"),
            ),
            "42501" => SourceError::permission(
                format!("PostgreSQL at {host} does not let role \"{user}\" in: {error}"),
                format!(
                    "run as a superuser: GRANT CONNECT ON DATABASE {} TO {quoted}",
                    quote_identifier(database)
                ),
            ),
            "42704" | "22023" => SourceError::configuration(
                format!("PostgreSQL at {host} refuses a connection option: {error}"),
                "correct the options parameter (PGOPTIONS)",
            ),
            // PgBouncer's words, before 1.23 for a replication connection.
            "08P01" if error.message.contains("unsupported startup parameter") => {
                SourceError::configuration(
                    format!("a connection pooler answers at {host}: {error}"),
                    "give the server's own address (--dsn, PGHOST, PGPORT): a replication connection \
                     cannot be pooled",
                )
            }
            "53300" => unreachable_until(
                host,
                &error.to_string(),
                "end a session or a walsender that nobody needs, or raise what the server names and \
                 restart it",
            ),
            _ => unreachable(host, &error.to_string()),
        };
        Refusal { error, try_other_way }
    }
}

/// What a server says of itself while a session begins.
#[derive(Debug, Default)]
pub(super) struct ServerKind {
    /// As in 150018.
    pub(super) version: i32,
    standby: bool,
    read_only: bool,
}

impl ServerKind {
    /// Takes one setting that the server reports. Source: PostgreSQL 18, "Asynchronous Operations".
    pub(super) fn note(&mut self, name: &str, value: &str) {
        match name {
            "server_version" => self.version = version_number(value),
            "in_hot_standby" => self.standby = value == "on",
            "default_transaction_read_only" => self.read_only = value == "on",
            _ => {}
        }
    }

    /// Whether it will do; the next host may if not.
    pub(super) fn check(&self, target: TargetSession, host: &Host) -> Result<(), SourceError> {
        let writes = !self.standby && !self.read_only;
        let (fits, found) = match target {
            TargetSession::Any => (true, ""),
            TargetSession::ReadWrite => (writes, "its sessions are read-only"),
            TargetSession::ReadOnly => (!writes, "its sessions may write"),
            TargetSession::Primary => (!self.standby, "it is a standby"),
            TargetSession::Standby => (self.standby, "it is not a standby"),
        };
        if fits {
            return Ok(());
        }
        let reason = format!("{found}, expected what target_session_attrs says");
        let hint = "name another host, or choose target_session_attrs=any";
        Err(unreachable_until(host, &reason, hint))
    }
}

pub(super) fn unreachable(host: &Host, reason: &str) -> SourceError {
    unreachable_until(host, reason, "check that it runs and can be reached (--dsn, PGHOST, PGPORT)")
}

fn unreachable_until(host: &Host, reason: &str, hint: &str) -> SourceError {
    let (reason, hint) = (reason.to_owned(), hint.to_owned());
    SourceError::Unreachable { address: host.to_string(), reason, hint }
}

/// A socket to the host, with a limit on each wait until the session is ready.
pub(super) fn reach(settings: &SourceSettings, host: &Host) -> Result<Socket, SourceError> {
    let failed = |error: io::Error| unreachable(host, &reason(&error));
    let timeout = Some(settings.connect_timeout);
    let socket = Socket::connect(host, settings.connect_timeout).map_err(failed)?;
    let peer = socket.peer().map_err(failed)?;
    if let (Some(expected), Some(uid)) = (&settings.require_peer, peer) {
        let found = user_name(uid).unwrap_or_else(|| uid.to_string());
        if found != *expected {
            return Err(SourceError::configuration(
                format!(
                    "the server at {host} runs as \"{found}\", and requirepeer is \"{expected}\""
                ),
                "correct requirepeer (PGREQUIREPEER), or find out whose server that is",
            ));
        }
    }
    socket.set_read_timeout(timeout).map_err(failed)?;
    socket.set_write_timeout(timeout).map_err(failed)?;
    Ok(socket)
}

/// What the system says, without what only programmers need.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "it does not answer in time (connect.timeout.ms)".to_owned()
        }
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// Asks for TLS, unless it begins without a word.
pub(super) fn ask_for_tls(
    settings: &SourceSettings,
    host: &Host,
    socket: &mut Socket,
) -> Result<(), Refusal> {
    if settings.ssl_direct {
        return Ok(());
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    let mut answer = [0];
    socket
        .write_all(&request)
        .and_then(|()| socket.read_exact(&mut answer))
        .map_err(|error| unreachable(host, &reason(&error)))?;
    match answer {
        [b'S'] => Ok(()),
        [b'N'] if settings.ssl_mode == SslMode::Prefer => {
            Err(Refusal::other_way(unreachable(host, "it does not offer TLS")))
        }
        [b'N'] => Err(Refusal::from(SourceError::configuration(
            format!(
                "PostgreSQL at {host} does not offer TLS, and sslmode={} needs it",
                settings.ssl_mode
            ),
            "set ssl = on in the server's postgresql.conf, or choose sslmode=prefer or disable",
        ))),
        _ => Err(unreachable(host, "it does not answer as PostgreSQL does").into()),
    }
}

fn shake_hands(
    settings: &SourceSettings,
    host: &Host,
    mut socket: Socket,
) -> Result<Stream, Refusal> {
    let config = tls::client_config(settings)?;
    let name = tls::server_name(host)?;
    let mut connection = ClientConnection::new(config, name)
        .map_err(|error| tls_failed(host, &io::Error::other(error)))?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut socket) {
            if settings.ssl_direct && error.kind() == io::ErrorKind::UnexpectedEof {
                return Err(Refusal::from(SourceError::configuration(
                    format!("PostgreSQL at {host} does not take TLS without being asked first"),
                    "leave out sslnegotiation=direct, which needs PostgreSQL 17 or later",
                )));
            }
            return Err(tls_failed(host, &error));
        }
    }
    Ok(Stream::tls(connection, socket))
}

fn tls_failed(host: &Host, error: &io::Error) -> Refusal {
    let failed = tls::handshake_failed(host, error);
    Refusal::other_way(failed.unwrap_or_else(|| unreachable(host, &reason(error))))
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
