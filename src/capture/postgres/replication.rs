//! The replication stream: START_REPLICATION, whole frames in, status out.

use std::io;
use std::io::Read;
use std::io::Write;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use crate::capture::postgres::Connection;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::connection::closed;
use crate::capture::postgres::socket::Socket;
use crate::capture::postgres::socket::Stream;
use crate::capture::postgres::socket_option::set_receive_low_water_mark;
use crate::capture::wire;
use crate::capture::wire::BackendMessage;
use crate::capture::wire::StandbyStatusUpdate;
use crate::capture::wire::WalsenderMessage;
use crate::lsn::Lsn;
use crate::table::quote_identifier;
use crate::table::quote_literal;

const DURING: &str = "streaming";

/// Buffer for one read; a larger frame makes it grow.
pub const CHUNK_BYTES: usize = 256 << 10;

/// While there is a backlog, a read waits for so many bytes: a walsender sends every change by
/// itself, and waking us for each costs both sides more than the change.
const LOW_WATER_BYTES: i32 = 128 << 10;

/// A read that brings this much shows a backlog, one that brings less shows its end.
const BACKLOG_BYTES: usize = 64 << 10;

/// How long a read waits for the low-water mark before it takes what there is.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(5);

/// How long a read waits for anything: the granularity of feedback and of stopping.
const QUIET_TIMEOUT: Duration = Duration::from_millis(50);

/// A status update is small; one that cannot be written for so long means a dead line.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What START_REPLICATION is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOptions {
    /// Slot.
    pub slot: String,
    /// Publication.
    pub publication: String,
    /// Where to begin; the server begins at the slot's confirmed position if that is later.
    pub start_lsn: Lsn,
    /// Version of pgoutput's protocol, 1 to 4.
    pub protocol: u8,
    /// Further options, as in `origin`.
    pub extra: Vec<(String, String)>,
}

/// The highest version of pgoutput's protocol that a server speaks.
pub fn highest_protocol(server_version: i32) -> u8 {
    match server_version {
        160_000.. => 4,
        150_000.. => 3,
        140_000.. => 2,
        _ => 1,
    }
}

/// Whole frames of the replication stream, as one read of the socket brought them.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    length: usize,
}

impl Chunk {
    /// The frames, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// How many bytes it holds on to.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// The buffer, to be read into again; none if it has grown for a large frame, whose memory is
    /// given back.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        Some(self.bytes).filter(|bytes| bytes.len() <= CHUNK_BYTES * 2)
    }
}

/// What one read brought.
#[derive(Debug)]
pub enum Incoming {
    /// Whole frames. The server may have asked for a status update in one of them.
    Frames {
        /// The frames.
        chunk: Chunk,
        /// It asked.
        reply_requested: bool,
    },
    /// Nothing, or the beginning of a frame.
    Nothing,
}

/// A running replication stream.
#[derive(Debug)]
pub struct ReplicationStream {
    stream: Stream,
    buffer: Vec<u8>,
    filled: usize,
    backlog: bool,
    /// What the server said last; the stream is over once what came before it has been given.
    ended: Option<SourceError>,
}

impl ReplicationStream {
    /// Starts replication on a connection opened for it.
    ///
    /// # Errors
    ///
    /// The server refuses, or the connection ended.
    pub fn start(mut connection: Connection, options: &StartOptions) -> Result<Self, SourceError> {
        connection.start_copy_both(&start_command(options))?;
        let (stream, unread) = connection.into_stream();
        let io_failed = |error: io::Error| closed("starting replication", &error);
        stream.socket().set_read_timeout(Some(QUIET_TIMEOUT)).map_err(io_failed)?;
        stream.socket().set_write_timeout(Some(WRITE_TIMEOUT)).map_err(io_failed)?;
        let mut buffer = unread;
        let filled = buffer.len();
        buffer.resize(CHUNK_BYTES.max(filled), 0);
        Ok(ReplicationStream { stream, buffer, filled, backlog: false, ended: None })
    }

    /// A handle that ends the stream from another thread.
    pub fn closer(&self) -> Result<Socket, SourceError> {
        self.stream.socket().try_clone().map_err(|error| closed(DURING, &error))
    }

    /// Reads once. `spare` gives a buffer to read into next.
    ///
    /// # Errors
    ///
    /// The stream ended, by the server's word or without one.
    pub fn read(&mut self, spare: impl FnOnce() -> Vec<u8>) -> Result<Incoming, SourceError> {
        if let Some(error) = self.ended.take() {
            return Err(error);
        }
        let count = self.fill()?;
        self.tune(count)?;
        let scanned = self.scan()?;
        if scanned.complete == 0 {
            return match self.ended.take() {
                Some(error) => Err(error),
                None => Ok(Incoming::Nothing),
            };
        }
        let mut next = spare();
        let tail = self.buffer.get(scanned.complete..self.filled).unwrap_or_default();
        let room = CHUNK_BYTES.max(scanned.wanted.min(tail.len().saturating_mul(2)));
        if next.len() < room {
            next.resize(room, 0);
        }
        if let Some(start) = next.get_mut(..tail.len()) {
            start.copy_from_slice(tail);
        }
        self.filled = tail.len();
        let bytes = std::mem::replace(&mut self.buffer, next);
        let chunk = Chunk { bytes, length: scanned.complete };
        Ok(Incoming::Frames { chunk, reply_requested: scanned.reply_requested })
    }

    /// Whether something that was written has not reached the server yet.
    ///
    /// # Errors
    ///
    /// The connection ended.
    pub fn is_unheard(&self) -> Result<bool, SourceError> {
        self.stream.socket().is_unheard().map_err(|error| closed(DURING, &error))
    }

    /// Reports positions to the server.
    ///
    /// # Errors
    ///
    /// The connection ended.
    pub fn send_status(&mut self, status: &StandbyStatusUpdate) -> Result<(), SourceError> {
        let mut message = BytesMut::new();
        let data = status.encode();
        frontend::CopyData::new(data.as_slice())
            .map_err(|error| closed(DURING, &error))?
            .write(&mut message);
        self.write(&message)
    }

    /// Ends the stream in good order: the slot is free as soon as the server has read this.
    ///
    /// # Errors
    ///
    /// The connection ended, which is as good.
    pub fn finish(mut self) -> Result<(), SourceError> {
        let mut message = BytesMut::new();
        frontend::copy_done(&mut message);
        frontend::terminate(&mut message);
        self.write(&message)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush())
            .map_err(|error| closed(DURING, &error))
    }

    /// Reads into the buffer; gives how many bytes came, 0 if the time ran out.
    fn fill(&mut self) -> Result<usize, SourceError> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len().saturating_mul(2), 0);
        }
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match self.stream.read(free) {
            Ok(0) => {
                Err(SourceError::Closed { during: DURING, reason: "end of stream".to_owned() })
            }
            Ok(count) => {
                self.filled += count;
                Ok(count)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(closed(DURING, &error)),
            },
        }
    }

    /// Switches between waiting for a mark while there is a backlog and taking every byte at once.
    fn tune(&mut self, count: usize) -> Result<(), SourceError> {
        let backlog = count >= BACKLOG_BYTES;
        if backlog == self.backlog {
            return Ok(());
        }
        self.backlog = backlog;
        let (mark, timeout) =
            if backlog { (LOW_WATER_BYTES, BACKLOG_TIMEOUT) } else { (1, QUIET_TIMEOUT) };
        let socket = self.stream.socket();
        set_receive_low_water_mark(socket, mark)
            .and_then(|()| socket.set_read_timeout(Some(timeout)))
            .map_err(|error| closed(DURING, &error))
    }

    /// Finds where the whole frames end, and what in them concerns the reader.
    fn scan(&mut self) -> Result<Scanned, SourceError> {
        let decode_failed = |error| SourceError::Decode { during: DURING, error };
        let mut scanned = Scanned { complete: 0, wanted: 0, reply_requested: false };
        let filled = self.buffer.get(..self.filled).unwrap_or_default();
        let mut rest = filled;
        while let Some((frame, after)) = wire::split_frame(rest).map_err(decode_failed)? {
            match frame.tag {
                b'd' if frame.body.first() == Some(&b'k') => {
                    match WalsenderMessage::decode(frame.body).map_err(decode_failed)? {
                        WalsenderMessage::PrimaryKeepalive(keepalive) => {
                            scanned.reply_requested |= keepalive.reply_requested;
                        }
                        WalsenderMessage::XLogData(_) => {}
                    }
                }
                b'd' => {}
                _ => {
                    self.ended = Some(end_of_stream(frame).map_err(decode_failed)?);
                    break;
                }
            }
            scanned.complete = filled.len() - after.len();
            rest = after;
        }
        scanned.wanted = wire::frame_bytes(rest).map_err(decode_failed)?.unwrap_or_default();
        Ok(scanned)
    }
}

struct Scanned {
    /// Bytes of whole frames.
    complete: usize,
    /// Bytes of the frame that follows them, if its length is known.
    wanted: usize,
    reply_requested: bool,
}

/// Anything but CopyData ends the stream.
fn end_of_stream(frame: wire::Frame<'_>) -> Result<SourceError, wire::DecodeError> {
    Ok(match BackendMessage::decode(frame)? {
        BackendMessage::ErrorResponse(error) => SourceError::from_server(DURING, error),
        message => SourceError::Closed {
            during: DURING,
            reason: format!("the server ended the stream ({message:?})"),
        },
    })
}

fn start_command(options: &StartOptions) -> String {
    let mut arguments = vec![
        ("proto_version".to_owned(), options.protocol.to_string()),
        ("publication_names".to_owned(), quote_identifier(&options.publication)),
        ("messages".to_owned(), "true".to_owned()),
    ];
    arguments.retain(|(name, _)| options.extra.iter().all(|(other, _)| other != name));
    arguments.extend(options.extra.iter().cloned());
    let list: Vec<String> = arguments
        .iter()
        .map(|(name, value)| {
            format!("{} {}", quote_identifier(name), quote_literal(value).trim_start())
        })
        .collect();
    format!(
        "START_REPLICATION SLOT {} LOGICAL {} ({})",
        quote_identifier(&options.slot),
        options.start_lsn,
        list.join(", ")
    )
}
