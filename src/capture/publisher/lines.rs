//! Records to stdout or to a file, one JSON object a line.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::capture::publisher::Ack;
use crate::capture::publisher::Batch;
use crate::capture::publisher::LastRoute;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Record;
use crate::capture::publisher::Route;
use crate::capture::publisher::RouteId;
use crate::capture::publisher::Routes;
use crate::capture::publisher::TopicSpec;
use crate::capture::publisher::room;
use crate::envelope::json;
use crate::position::LITERAL_HEADER;
use crate::position::POSITION_HEADER;
use crate::position::SCHEMA_HEADER;

/// Bytes that are gathered before the output is called.
const WRITE_BYTES: usize = 256 << 10;

/// Where lines go.
#[derive(Debug)]
enum Output {
    Stdout,
    File(File),
}

/// Publishes lines.
///
/// The thread that polls must turn whatever the reader of a pipe does: it never needs the lock that
/// is held while lines are written.
#[derive(Debug)]
pub struct LinesPublisher {
    path: String,
    routes: Routes<Route>,
    output: Output,
    writer: Mutex<Writer>,
    /// Written, and to be acknowledged once it is durable.
    written: Mutex<Vec<Ack>>,
}

/// Lines that are not written yet.
#[derive(Debug, Default)]
struct Writer {
    buffer: Vec<u8>,
    /// What is acknowledged when the buffer is written.
    acks: Vec<Ack>,
}

impl LinesPublisher {
    fn new(path: String, output: Output) -> Self {
        LinesPublisher {
            path,
            routes: Routes::default(),
            output,
            writer: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// To this process's stdout.
    pub fn stdout() -> Self {
        Self::new("stdout".to_owned(), Output::Stdout)
    }

    /// To the end of a file; a line that a crash has torn is cut off, because its record was not
    /// confirmed and comes again.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or another process writes to it.
    pub fn file(path: &Path) -> Result<Self, PublishError> {
        let name = path.display().to_string();
        let failed = |error: io::Error| PublishError::Output {
            path: name.clone(),
            reason: error.to_string(),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        lock(&file, &name)?;
        let end = end_of_lines(&mut file).map_err(failed)?;
        file.set_len(end).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self::new(name, Output::File(file)))
    }

    fn failed(&self, error: &io::Error) -> PublishError {
        PublishError::Output { path: self.path.clone(), reason: error.to_string() }
    }
}

/// Keeps a file to this process as long as it is open.
///
/// # Errors
///
/// Another process has it, or the file system knows no locks.
pub fn lock(file: &File, path: &str) -> Result<(), PublishError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => PublishError::InUse { path: path.to_owned() },
        TryLockError::Error(error) => {
            PublishError::Output { path: path.to_owned(), reason: error.to_string() }
        }
    })
}

/// Position after the last newline.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let length = end.min(block.len() as u64);
        let start = end - length;
        file.seek(SeekFrom::Start(start))?;
        let part = block.get_mut(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
        file.read_exact(part)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl Writer {
    fn put(&mut self, route: &Route, batch: &Batch<'_>, record: &Record) {
        let out = &mut self.buffer;
        out.extend_from_slice(b"{\"topic\":");
        json::string(route.topic.as_bytes(), out);
        for (name, range) in [(&b",\"key\":"[..], &record.key), (b",\"value\":", &record.value)] {
            out.extend_from_slice(name);
            match range {
                Some(range) => out.extend_from_slice(batch.slice(range)),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"headers\":[");
        let mut first = true;
        let mut header = |name: &str, value: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(if std::mem::take(&mut first) { b"[" } else { b",[" });
            json::string(name.as_bytes(), out);
            out.push(b',');
            json::string(value, out);
            out.push(b']');
        };
        if let Some((name, range)) = &record.header {
            header(name, batch.slice(range), out);
        }
        for (name, value) in &route.headers {
            header(name, value.as_bytes(), out);
        }
        if let Some(range) = &record.literal {
            header(LITERAL_HEADER, batch.slice(range), out);
        }
        if let Some(position) = &record.position {
            header(POSITION_HEADER, position.to_string().as_bytes(), out);
        }
        if let Some(schema) = &route.schema {
            header(SCHEMA_HEADER, schema.as_bytes(), out);
        }
        out.extend_from_slice(b"]}\n");
        match self.acks.last_mut() {
            Some(last) if last.receipt == record.receipt => last.records += 1,
            _ => self.acks.push(Ack { receipt: record.receipt, records: 1 }),
        }
    }
}

impl LinesPublisher {
    /// Writes what has been gathered. What cannot be written before `go_on` gives `false` is
    /// written before anything else the next time: no line is torn.
    fn flush(&self, writer: &mut Writer, go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        let failed = |error: io::Error| self.failed(&error);
        match &self.output {
            Output::Stdout => self.write_stdout(&mut writer.buffer, go_on)?,
            Output::File(file) => {
                let mut file = file;
                file.write_all(&writer.buffer).map_err(failed)?;
                writer.buffer.clear();
            }
        }
        writer.buffer.shrink_to(WRITE_BYTES * 2);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.append(&mut writer.acks);
        Ok(())
    }

    /// Writes to stdout, which may be a pipe whose reader pauses: as much as there is room for, and
    /// then it waits for room as long as `go_on` gives `true`.
    fn write_stdout(
        &self,
        buffer: &mut Vec<u8>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), PublishError> {
        let failed = |error: io::Error| self.failed(&error);
        let stdout = io::stdout();
        // The standard library gathers lines of its own; the file behind it does not.
        let file = File::from(stdout.as_fd().try_clone_to_owned().map_err(failed)?);
        let mut done = 0;
        let result = loop {
            let rest = buffer.get(done..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match room::is_writable(&file, ROOM_TIMEOUT) {
                Ok(true) => {}
                Ok(false) if go_on() => continue,
                Ok(false) => break Err(PublishError::Stopped),
                Err(error) => break Err(failed(error)),
            }
            let piece = rest.get(..room::PIPE_BYTES).unwrap_or(rest);
            // Whole lines, where they are short enough: whoever is stopped here has torn none.
            let whole = memchr::memrchr(b'\n', piece).and_then(|end| piece.get(..=end));
            let piece = whole.unwrap_or(piece);
            match (&file).write(piece) {
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(failed(error)),
            }
        };
        buffer.drain(..done);
        result
    }
}

impl Publisher for LinesPublisher {
    fn prepare(&self, _topics: &[TopicSpec]) -> Result<(), PublishError> {
        Ok(())
    }

    fn route(&self, route: Route) -> Result<RouteId, PublishError> {
        self.routes.register(route, |route| Ok(route.clone()))
    }

    fn send(&self, batch: Batch<'_>, go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        let mut last = LastRoute::default();
        // It keeps the order of lines while they are written; whoever polls does not need it.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for record in batch.records {
            let route = last.find(&self.routes, record.route)?;
            writer.put(route, &batch, record);
            if writer.buffer.len() >= WRITE_BYTES {
                self.flush(&mut writer, go_on)?;
            }
        }
        self.flush(&mut writer, go_on)
    }

    fn poll(&self, timeout: Duration, acks: &mut Vec<Ack>) -> Result<(), PublishError> {
        let mut written =
            std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        if written.is_empty() {
            std::thread::sleep(timeout.min(POLL_PAUSE));
            return Ok(());
        }
        if let Output::File(file) = &self.output {
            file.sync_data().map_err(|error| self.failed(&error))?;
        }
        acks.append(&mut written);
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        // Whoever writes has the lock, and what it writes is not acknowledged.
        let writing = match self.writer.try_lock() {
            Ok(writer) => !writer.acks.is_empty(),
            Err(std::sync::TryLockError::WouldBlock) => true,
            Err(std::sync::TryLockError::Poisoned(writer)) => !writer.get_ref().acks.is_empty(),
        };
        writing || !self.written.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn has_given_up(&self) -> bool {
        self.writer.try_lock().is_ok_and(|writer| !writer.acks.is_empty())
    }

    fn describe(&self) -> String {
        self.path.clone()
    }
}

/// How long one wait for room in a pipe lasts before the caller is asked whether to go on.
const ROOM_TIMEOUT: Duration = Duration::from_millis(20);

/// How long an idle poll waits: nothing signals what has been written.
const POLL_PAUSE: Duration = Duration::from_millis(5);
