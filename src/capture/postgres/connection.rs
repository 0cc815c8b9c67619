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
use rustls::AlertDescription;
use rustls_pki_types::CertificateDer;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::settings::Host;
use crate::capture::postgres::socket::Socket;
use crate::capture::postgres::socket::Stream;
use crate::capture::wire;
use crate::capture::wire::BackendMessage;
use crate::capture::wire::Frame;

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
    /// The server ended TLS with this.
    alert: Option<AlertDescription>,
}

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 << 10;

impl Connection {
    /// On a stream on which nothing has been said yet.
    pub(super) fn over(stream: Stream, host: Host) -> Self {
        Connection {
            stream,
            host,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            server_version: 0,
            alert: None,
        }
    }

    pub(super) fn set_server_version(&mut self, server_version: i32) {
        self.server_version = server_version;
    }

    /// With what the server ended TLS, if it did.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        self.alert
    }

    pub(super) fn socket(&self) -> &Socket {
        self.stream.socket()
    }

    /// The server's version as a number, as in 150018.
    pub fn server_version(&self) -> i32 {
        self.server_version
    }

    /// The host that answered.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The server's certificate, if the connection is encrypted.
    pub(super) fn server_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.conn.peer_certificates()?.first(),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
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
        let mut rows = Vec::new();
        self.run(sql, during, |message| {
            if let BackendMessage::DataRow(row) = message {
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                rows.push(row.into_iter().map(|value| value.map(text)).collect());
            }
            Ok(())
        })?;
        Ok(rows)
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
        self.run(sql, during, |message| match message {
            BackendMessage::CopyData(row) if !each(row) => {
                let reason = "we were asked to stop".to_owned();
                Err(SourceError::Closed { during, reason })
            }
            _ => Ok(()),
        })
    }

    /// Runs commands to their end; calls `each` with every message that is no error.
    fn run(
        &mut self,
        sql: &str,
        during: &'static str,
        mut each: impl FnMut(BackendMessage<'_>) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.send_query(sql, during)?;
        let mut failed = None;
        loop {
            match self.message(during)? {
                BackendMessage::ErrorResponse(error) if error.severity != "ERROR" => {
                    return Err(SourceError::from_server(during, error));
                }
                BackendMessage::ErrorResponse(error) => failed = Some(error),
                BackendMessage::ReadyForQuery => break,
                message => each(message)?,
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
            Err(error) => {
                let tls = error.get_ref().and_then(|error| error.downcast_ref());
                if let Some(rustls::Error::AlertReceived(alert)) = tls {
                    self.alert = Some(*alert);
                }
                Err(closed(during, &error))
            }
        }
    }
}

pub(super) fn closed(during: &'static str, error: &io::Error) -> SourceError {
    SourceError::Closed { during, reason: super::connect::reason(error) }
}
