//! A blocking connection of our own: connect, TLS, authenticate, query, COPY OUT.
//!
//! It serves replication and the reading of snapshots, where the bytes matter; other SQL goes
//! through `sql`.

use std::io;
use std::io::Read;
use std::io::Write;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::ClientConnection;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::authentication;
use crate::capture::postgres::settings::Host;
use crate::capture::postgres::settings::SourceSettings;
use crate::capture::postgres::settings::SslMode;
use crate::capture::postgres::socket::Socket;
use crate::capture::postgres::socket::Stream;
use crate::capture::postgres::sql;
use crate::capture::postgres::tls;
use crate::capture::wire;
use crate::capture::wire::BackendMessage;
use crate::capture::wire::Frame;
use crate::capture::wire::ServerError;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Commands of the replication protocol, and simple SQL.
    Replication,
    /// SQL only.
    Sql,
}

/// A connection that is ready for a command.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    host: Host,
    buffer: Vec<u8>,
    /// What of `buffer` has been read from the socket and not been taken yet.
    start: usize,
    end: usize,
    server_version: i32,
}

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 << 10;

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
        let mut last = None;
        for with_tls in attempts {
            match Self::attempt(settings, host, purpose, *with_tls) {
                Ok(connection) => return Ok(connection),
                Err(Refusal { error, try_other_way: true }) => last = Some(error),
                Err(Refusal { error, .. }) => return Err(last.unwrap_or(error)),
            }
        }
        Err(last.unwrap_or_else(|| unreachable(host, "no way to connect was tried")))
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
                None if optional => return Err(Refusal::other_way(no_tls(host))),
                None => return Err(no_tls(host).into()),
            }
        } else {
            optional = settings.ssl_mode == SslMode::Allow;
            Stream::Plain(socket)
        };
        let mut connection = Connection {
            stream,
            host: host.clone(),
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            server_version: 0,
        };
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
            .map_err(|error| unreachable(&self.host, &error.to_string()))?;
        self.send(&message, "connecting")?;
        authentication::authenticate(self, settings)?;
        self.wait_until_ready()?;
        let pinned = pinned_settings(self.server_version);
        self.query(&pinned)?;
        let forever = |error: io::Error| unreachable(&self.host, &error.to_string());
        self.stream.socket().set_read_timeout(None).map_err(forever)?;
        Ok(())
    }

    /// After authentication: the server reports its settings, then waits for commands.
    fn wait_until_ready(&mut self) -> Result<(), SourceError> {
        let during = "connecting";
        loop {
            match self.message(during)? {
                BackendMessage::ParameterStatus("server_version", text) => {
                    let version = version_number(text);
                    self.server_version = version;
                }
                BackendMessage::ReadyForQuery => return Ok(()),
                BackendMessage::ErrorResponse(error) => {
                    return Err(start_up_refused(error, &self.host, None).error);
                }
                _ => {}
            }
        }
    }

    /// The server's version as a number, as in 150018.
    pub fn server_version(&self) -> i32 {
        self.server_version
    }

    /// The host that answered.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// A handle that ends the connection from another thread.
    pub fn closer(&self) -> Result<Socket, SourceError> {
        self.stream.socket().try_clone().map_err(|error| closed("connecting", &error))
    }

    /// Runs one or more commands and gives the rows of all, as text.
    ///
    /// # Errors
    ///
    /// What the server says, or that the connection ended.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, SourceError> {
        let during = "running a command";
        self.send_query(sql, during)?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            match self.message(during)? {
                BackendMessage::DataRow(row) => {
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    rows.push(row.into_iter().map(|value| value.map(text)).collect());
                }
                BackendMessage::ErrorResponse(error) if error.severity != "ERROR" => {
                    return Err(SourceError::from_server(during, error));
                }
                BackendMessage::ErrorResponse(error) => failed = Some(error),
                BackendMessage::ReadyForQuery => break,
                _ => {}
            }
        }
        match failed {
            Some(error) => Err(SourceError::from_server(during, error)),
            None => Ok(rows),
        }
    }

    /// Runs a COPY TO STDOUT; calls `each` with every row as it was sent. `each` gives `false` to
    /// give up, and the connection then is of no further use.
    ///
    /// # Errors
    ///
    /// What the server says, or that the connection ended.
    pub fn copy_out(
        &mut self,
        sql: &str,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), SourceError> {
        let during = "reading a table";
        self.send_query(sql, during)?;
        let mut failed = None;
        loop {
            match self.message(during)? {
                BackendMessage::CopyData(row) if !each(row) => {
                    let reason = "we were asked to stop".to_owned();
                    return Err(SourceError::Closed { during, reason });
                }
                BackendMessage::ErrorResponse(error) if error.severity != "ERROR" => {
                    return Err(SourceError::from_server(during, error));
                }
                BackendMessage::ErrorResponse(error) => failed = Some(error),
                BackendMessage::ReadyForQuery => break,
                _ => {}
            }
        }
        match failed {
            Some(error) => Err(SourceError::from_server(during, error)),
            None => Ok(()),
        }
    }

    /// Sends a command and gives the server's answer: whether CopyBoth began.
    pub(super) fn start_copy_both(&mut self, sql: &str) -> Result<(), SourceError> {
        let during = "starting replication";
        self.send_query(sql, during)?;
        loop {
            match self.message(during)? {
                BackendMessage::CopyBothResponse => return Ok(()),
                BackendMessage::ErrorResponse(error) => {
                    return Err(SourceError::from_server(during, error));
                }
                _ => {}
            }
        }
    }

    /// Ends the session in good order, so that the server logs nothing.
    pub fn close(mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        self.stream.socket().set_write_timeout(Some(Duration::from_millis(100))).ok();
        self.stream.write_all(&message).ok();
    }

    /// Takes the connection apart: the stream, and what has been read from it already.
    pub(super) fn into_stream(self) -> (Stream, Vec<u8>) {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default().to_vec();
        (self.stream, unread)
    }

    fn send_query(&mut self, sql: &str, during: &'static str) -> Result<(), SourceError> {
        let mut message = BytesMut::new();
        frontend::query(sql, &mut message).map_err(|error| closed(during, &error))?;
        self.send(&message, during)
    }

    pub(super) fn send(&mut self, bytes: &[u8], during: &'static str) -> Result<(), SourceError> {
        self.stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush())
            .map_err(|error| closed(during, &error))
    }

    /// The next message; notices are logged and left out.
    pub(super) fn message(
        &mut self,
        during: &'static str,
    ) -> Result<BackendMessage<'_>, SourceError> {
        loop {
            let frame = self.frame(during)?;
            if frame.tag != b'N' {
                break;
            }
            if let Ok(BackendMessage::NoticeResponse(notice)) = BackendMessage::decode(frame) {
                tracing::debug!(%notice, "notice from PostgreSQL");
            }
            self.take();
        }
        // The frame is looked at twice, because a borrow cannot leave a loop that goes on.
        let (start, end) = (self.start, self.end);
        let bytes = self.take_range(start, end);
        let decode_failed = |error| SourceError::Decode { during, error };
        let (frame, _) = wire::split_frame(bytes)
            .map_err(decode_failed)?
            .ok_or_else(|| SourceError::Closed { during, reason: "a frame vanished".to_owned() })?;
        BackendMessage::decode(frame).map_err(decode_failed)
    }

    /// Leaves the first frame behind; gives the bytes that begin with it.
    fn take_range(&mut self, start: usize, end: usize) -> &[u8] {
        let length = self
            .buffer
            .get(start..end)
            .and_then(|bytes| wire::frame_bytes(bytes).ok().flatten())
            .unwrap_or_default();
        self.start = start.saturating_add(length).min(end);
        self.buffer.get(start..end).unwrap_or_default()
    }

    fn take(&mut self) {
        let (start, end) = (self.start, self.end);
        self.take_range(start, end);
    }

    /// Reads until a whole frame is there; it stays in the buffer.
    fn frame(&mut self, during: &'static str) -> Result<Frame<'_>, SourceError> {
        loop {
            let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
            let wanted =
                wire::frame_bytes(unread).map_err(|error| SourceError::Decode { during, error })?;
            match wanted {
                Some(length) if unread.len() >= length => break,
                wanted => self.fill(wanted.unwrap_or_default(), during)?,
            }
        }
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        match wire::split_frame(unread) {
            Ok(Some((frame, _))) => Ok(frame),
            Ok(None) => {
                Err(SourceError::Closed { during, reason: "a frame is incomplete".to_owned() })
            }
            Err(error) => Err(SourceError::Decode { during, error }),
        }
    }

    /// Reads once; makes room for a frame of `wanted` bytes first.
    fn fill(&mut self, wanted: usize, during: &'static str) -> Result<(), SourceError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        // Grows with what has arrived, at most twofold: a length alone reserves nothing.
        let room = wanted.min(self.end.saturating_mul(2)).max(BUFFER_BYTES);
        if self.buffer.len() < room || self.end == self.buffer.len() {
            self.buffer.resize(room.max(self.end + BUFFER_BYTES), 0);
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.stream.read(free) {
            Ok(0) => Err(SourceError::Closed { during, reason: "end of stream".to_owned() }),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(closed(during, &error)),
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

fn unreachable(host: &Host, reason: &str) -> SourceError {
    SourceError::Unreachable { address: host.to_string(), reason: reason.to_owned() }
}

fn no_tls(host: &Host) -> SourceError {
    SourceError::configuration(
        format!("PostgreSQL at {host} does not offer TLS, and sslmode requires it"),
        "set ssl = on in postgresql.conf, or choose sslmode=prefer or disable",
    )
}

pub(super) fn closed(during: &'static str, error: &io::Error) -> SourceError {
    SourceError::Closed { during, reason: error.to_string() }
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

impl Connection {
    /// The server's certificate, if the connection is encrypted.
    pub(super) fn server_certificate(&self) -> Option<&[u8]> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.conn.peer_certificates()?.first().map(AsRef::as_ref),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}
