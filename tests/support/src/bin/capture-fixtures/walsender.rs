//! A replication connection on a bare socket: whole frames, as the server sent them.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// How long the server may keep silent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A frame's tag and length.
const HEADER_BYTES: usize = 5;

/// A connection that the server lets in without a password.
pub(crate) struct Walsender {
    stream: TcpStream,
}

impl Walsender {
    /// Connects to a database in replication mode and waits until it takes commands.
    pub(crate) fn connect(port: u16, database: &str) -> Self {
        let parameters =
            [("user", "postgres"), ("database", database), ("replication", "database")];
        let mut walsender = Self::start_up(port, &parameters);
        walsender.until(b'Z');
        walsender
    }

    /// Connects and sends no more than the first message.
    pub(crate) fn start_up(port: u16, parameters: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(READ_TIMEOUT)).expect("the time is not zero");
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for (name, value) in parameters.iter().chain(&[("client_encoding", "UTF8")]) {
            body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        body.push(0);
        let mut walsender = Self { stream };
        walsender.send(None, &body);
        walsender
    }

    /// Runs a command; gives the frames of its answer, ReadyForQuery included.
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Vec<u8>> {
        self.send_query(sql);
        self.until(b'Z')
    }

    /// Sends a command and reads nothing.
    pub(crate) fn send_query(&mut self, sql: &str) {
        self.send(Some(b'Q'), format!("{sql}\0").as_bytes());
    }

    /// Starts streaming from a slot.
    pub(crate) fn start(&mut self, slot: &str, plugin_options: &str) -> Vec<u8> {
        self.send_query(&format!("START_REPLICATION SLOT {slot} LOGICAL 0/0 ({plugin_options})"));
        self.until(b'W').pop().unwrap_or_default()
    }

    /// The plug-in's messages that the server sends up to this position of its log.
    pub(crate) fn messages_until(&mut self, end: u64) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        self.ask_for_keepalive(end);
        loop {
            let frame = self.frame();
            let content = &frame[HEADER_BYTES..];
            match (frame[0], content.first()) {
                (b'd', Some(b'w')) => messages.push(content[25..].to_vec()),
                (b'd', Some(b'k')) => {
                    let sent = content[1..9].try_into().map_or(0, u64::from_be_bytes);
                    if sent >= end {
                        return messages;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                    self.ask_for_keepalive(end);
                }
                _ => panic!("unexpected: {}", frame.escape_ascii()),
            }
        }
    }

    /// A status update that wants an answer and confirms nothing. `written` keeps the server from
    /// sending signs of life of its own up to there, which would pile up.
    pub(crate) fn ask_for_keepalive(&mut self, written: u64) {
        let mut update = vec![b'r'];
        update.extend_from_slice(&written.to_be_bytes());
        update.resize(33, 0);
        update.push(1);
        self.send(Some(b'd'), &update);
    }

    /// Frames up to and including the first of this tag.
    pub(crate) fn until(&mut self, tag: u8) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let frame = self.frame();
            let found = frame[0];
            assert!(found != b'E' || tag == b'E', "refused: {}", frame.escape_ascii());
            frames.push(frame);
            if found == tag {
                return frames;
            }
        }
    }

    /// The next frame, its tag and length included.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES];
        self.stream.read_exact(&mut frame).expect("the server answers");
        let length = frame[1..].try_into().map_or(0, u32::from_be_bytes);
        frame.resize(usize::try_from(length).expect("it fits") + 1, 0);
        self.stream.read_exact(&mut frame[HEADER_BYTES..]).expect("the frame is complete");
        frame
    }

    fn send(&mut self, tag: Option<u8>, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).expect("we send little");
        let mut frame: Vec<u8> = tag.into_iter().collect();
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).expect("the server reads");
    }
}
