//! A session of our own, handed over to tokio-postgres.
//!
//! Takes a connection that is ready for a command; gives a stream on which tokio-postgres believes
//! it has begun a session by itself: its startup message goes nowhere, and it is told at once that
//! it is let in. So **one code decides on hosts, TLS and authentication**, whatever a connection is
//! for.

use std::collections::VecDeque;
use std::io;
use std::io::Read;
use std::io::Write;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustls::ClientConnection;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::capture::postgres::socket::AsyncStream;
use crate::capture::postgres::socket::Stream;

/// AuthenticationOk, BackendKeyData of nobody, ReadyForQuery outside a transaction. Source:
/// PostgreSQL 18, "Message Formats".
const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\0\0\0\0\0Z\0\0\0\x05I";

/// The stream for tokio-postgres.
pub(super) struct Handover {
    stream: Box<dyn AsyncStream>,
    /// What is read before anything of the stream.
    first: VecDeque<u8>,
    /// The startup message as far as it has been written; `None` once it is whole.
    startup: Option<Vec<u8>>,
}

impl Handover {
    /// Of a stream and what has been read from it already; has to be called inside the runtime.
    ///
    /// # Errors
    ///
    /// The runtime does not take the socket.
    pub(super) fn new((stream, unread): (Stream, Vec<u8>)) -> io::Result<Self> {
        let stream: Box<dyn AsyncStream> = match stream {
            Stream::Plain(socket) => socket.into_async()?,
            Stream::Tls(tls) => {
                let (connection, socket) = tls.into_parts();
                let (socket, undecrypted) = socket.into_parts();
                Box::new(Tls { connection, socket: socket.into_async()?, undecrypted })
            }
        };
        let first = LET_IN.iter().copied().chain(unread).collect();
        Ok(Handover { stream, first, startup: Some(Vec::new()) })
    }

    /// Takes what belongs to the startup message; gives how many bytes that were.
    fn swallow(&mut self, bytes: &[u8]) -> usize {
        let Some(startup) = &mut self.startup else { return 0 };
        for (taken, byte) in bytes.iter().enumerate() {
            startup.push(*byte);
            let Some(head) = startup.first_chunk::<4>() else { continue };
            if startup.len() >= usize::try_from(u32::from_be_bytes(*head)).unwrap_or(0) {
                self.startup = None;
                return taken + 1;
            }
        }
        bytes.len()
    }
}

impl AsyncRead for Handover {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, out);
        }
        let count = self.first.len().min(out.remaining());
        let bytes: Vec<u8> = self.first.drain(..count).collect();
        out.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Handover {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.swallow(bytes) {
            0 => Pin::new(&mut self.stream).poll_write(context, bytes),
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// TLS whose handshake is over, inside the runtime.
struct Tls {
    connection: ClientConnection,
    socket: Box<dyn AsyncStream>,
    /// What was read from the socket before it came here.
    undecrypted: VecDeque<u8>,
}

impl Tls {
    /// Decrypts what one read of the socket brings; 0 at its end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let count = if self.undecrypted.is_empty() {
            let mut socket = Waking { socket: &mut self.socket, context };
            ready!(as_poll(self.connection.read_tls(&mut socket)))?
        } else {
            self.connection.read_tls(&mut self.undecrypted)?
        };
        let processed = self.connection.process_new_packets();
        // An alert or an answer of TLS itself; if there is no room, the next write takes it along.
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            return Poll::Ready(Err(error));
        }
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Poll::Ready(Ok(count))
    }

    /// Writes to the socket what is encrypted.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            let mut socket = Waking { socket: &mut self.socket, context };
            ready!(as_poll(self.connection.write_tls(&mut socket)))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.connection.reader().read(out.initialize_unfilled()) {
                Ok(count) => {
                    out.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.poll_fill(context))?;
        }
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let count = self.connection.writer().write(bytes)?;
            let sent = self.poll_send(context)?;
            if count > 0 || bytes.is_empty() {
                return Poll::Ready(Ok(count));
            }
            // Its buffer was full: there is room as soon as the socket has taken some.
            ready!(sent);
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.send_close_notify();
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// A socket of the runtime for rustls: what is not ready would block, and wakes the task later.
struct Waking<'a, 'b> {
    socket: &'a mut Box<dyn AsyncStream>,
    context: &'a mut Context<'b>,
}

impl Read for Waking<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut out = ReadBuf::new(out);
        match Pin::new(&mut self.socket).poll_read(self.context, &mut out) {
            Poll::Ready(Ok(())) => Ok(out.filled().len()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Waking<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut self.socket).poll_write(self.context, bytes) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn as_poll(result: io::Result<usize>) -> Poll<io::Result<usize>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}
