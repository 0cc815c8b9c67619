//! Sockets: TCP and Unix alike, with and without TLS.

use std::collections::VecDeque;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::StreamOwned;
use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::capture::postgres::settings::Host;
use crate::capture::postgres::settings::Place;
use crate::capture::postgres::socket_option::peer_user;
use crate::capture::postgres::socket_option::unacknowledged_bytes;

/// Receive buffer asked of the kernel: room for a walsender to run ahead while we encode.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// A peer that vanished without a word is noticed by these probes: after 30 s of silence, every
/// 10 s, three times.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// Sent data that is not acknowledged for so long means that the peer is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// A socket of either kind inside the runtime.
pub(super) trait AsyncStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> AsyncStream for S {}

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// Over a network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

impl Socket {
    /// Connects; every address of a name is tried.
    pub(super) fn connect(host: &Host, timeout: Duration) -> io::Result<Self> {
        let address = match &host.place {
            Place::Unix(path) => return Ok(Socket::Unix(UnixStream::connect(path)?)),
            Place::Abstract(name) => {
                let address = SocketAddr::from_abstract_name(name)?;
                return Ok(Socket::Unix(UnixStream::connect_addr(&address)?));
            }
            Place::Tcp(address) => address,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let addresses = (address.as_str(), host.port).to_socket_addrs().map_err(|error| {
            let reason = error.to_string();
            // The standard library begins with words of its own before the resolver's.
            let said = reason.rsplit(": ").next().unwrap_or_default();
            io::Error::other(format!("the name cannot be resolved: {said}"))
        })?;
        for address in addresses {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => return Self::tuned(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn tuned(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        // Refused where the kernel's limit is lower; the smaller buffer works too.
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).ok();
        Ok(Socket::Tcp(stream))
    }

    /// The same connection for the runtime, which this has to be called in.
    pub(super) fn into_async(self) -> io::Result<Box<dyn AsyncStream>> {
        Ok(match self {
            Socket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Box::new(tokio::net::TcpStream::from_std(stream)?)
            }
            Socket::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Box::new(tokio::net::UnixStream::from_std(stream)?)
            }
        })
    }

    /// The system's user at the other end; `None` on a network, which knows no users.
    pub(super) fn peer(&self) -> io::Result<Option<u32>> {
        match self {
            Socket::Tcp(_) => Ok(None),
            Socket::Unix(stream) => peer_user(stream).map(Some),
        }
    }

    /// A second handle on the same connection.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Socket::Tcp(stream) => stream.try_clone().map(Socket::Tcp),
            Socket::Unix(stream) => stream.try_clone().map(Socket::Unix),
        }
    }

    /// Ends the connection in both directions, whoever is reading.
    pub fn shutdown(&self) {
        // It may have ended already; then there is nothing to do.
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both).ok(),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both).ok(),
        };
    }

    /// Whether the peer's kernel has not acknowledged all that was written. One on this machine
    /// always has.
    pub(super) fn is_unheard(&self) -> io::Result<bool> {
        match self {
            Socket::Tcp(stream) => Ok(unacknowledged_bytes(stream)? > 0),
            Socket::Unix(_) => Ok(false),
        }
    }

    /// How long a read may wait; `None` for ever.
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_read_timeout(timeout),
            Socket::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    /// How long a write may wait; `None` for ever.
    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_write_timeout(timeout),
            Socket::Unix(stream) => stream.set_write_timeout(timeout),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that is read in big pieces, for rustls, which asks for small ones.
#[derive(Debug)]
pub(super) struct BufferedSocket {
    socket: Socket,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// One read of the socket below TLS: above the low-water mark of a backlog.
const TLS_READ_BYTES: usize = 256 << 10;

impl BufferedSocket {
    fn new(socket: Socket) -> Self {
        BufferedSocket { socket, buffer: vec![0; TLS_READ_BYTES], start: 0, end: 0 }
    }

    /// The socket, and what has been read from it and not been asked for.
    pub(super) fn into_parts(self) -> (Socket, VecDeque<u8>) {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        (self.socket, unread.iter().copied().collect())
    }
}

impl Read for BufferedSocket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.end = self.socket.read(&mut self.buffer)?;
        }
        let available = self.buffer.get(self.start..self.end).unwrap_or_default();
        let count = available.len().min(out.len());
        if let (Some(from), Some(to)) = (available.get(..count), out.get_mut(..count)) {
            to.copy_from_slice(from);
        }
        self.start += count;
        Ok(count)
    }
}

impl Write for BufferedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// What messages are read from and written to.
#[derive(Debug)]
pub(super) enum Stream {
    /// In clear text.
    Plain(Socket),
    /// Through TLS.
    Tls(Box<StreamOwned<ClientConnection, BufferedSocket>>),
}

impl Stream {
    /// Wraps a socket in TLS whose handshake is still to come.
    pub(super) fn tls(connection: ClientConnection, socket: Socket) -> Self {
        Stream::Tls(Box::new(StreamOwned::new(connection, BufferedSocket::new(socket))))
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock.socket,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
