//! A line to a server that can be cut where a test wants it.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

/// First bytes of a connection that asks for TLS: length 8, then a number that is no version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Listens on a free loopback port and passes on what it gets.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    refuses_plain: AtomicBool,
    refused: AtomicUsize,
}

impl Proxy {
    /// Before a server on this port.
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("it listens").port();
        let shared = Arc::new(Shared::default());
        let taken = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let taken = Arc::clone(&taken);
                thread::spawn(move || pass_on(client, server, &taken));
            }
        });
        Self { port, shared }
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it hangs up on those who begin without asking for TLS.
    pub(crate) fn refuse_plain(&self, refuses: bool) {
        self.shared.refuses_plain.store(refuses, Ordering::Relaxed);
    }

    /// On how many it has hung up.
    pub(crate) fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

fn pass_on(mut client: TcpStream, server: u16, shared: &Shared) {
    let mut first = [0; 8];
    if client.read_exact(&mut first).is_err() {
        return;
    }
    if first != SSL_REQUEST && shared.refuses_plain.load(Ordering::Relaxed) {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)) else { return };
    let (Ok(from_client), Ok(to_client)) = (client.try_clone(), client.try_clone()) else { return };
    let Ok(from_server) = server.try_clone() else { return };
    if server.write_all(&first).is_ok() {
        let back = thread::spawn(move || copy(from_server, to_client));
        copy(from_client, server);
        // The other way ends with the server's answer to the end of this one.
        back.join().ok();
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    // Whoever has gone already needs no end.
    to.shutdown(Shutdown::Write).ok();
}
