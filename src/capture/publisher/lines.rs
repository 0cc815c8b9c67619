//! Records to stdout or to a file, one JSON object a line.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::capture::publisher::Ack;
use crate::capture::publisher::Batch;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Record;
use crate::capture::publisher::Route;
use crate::capture::publisher::RouteId;
use crate::capture::publisher::TopicSpec;
use crate::envelope::json;
use crate::position::POSITION_HEADER;
use crate::position::SCHEMA_HEADER;

/// Bytes that are gathered before the output is called.
const WRITE_BYTES: usize = 256 << 10;

/// Where lines go.
enum Output {
    Stdout,
    File(File),
}

/// Publishes lines.
pub struct LinesPublisher {
    path: String,
    inner: Mutex<Inner>,
}

struct Inner {
    output: Output,
    routes: Vec<Route>,
    buffer: Vec<u8>,
    /// Written, and to be acknowledged once it is durable.
    written: Vec<Ack>,
}

impl LinesPublisher {
    /// To this process's stdout.
    pub fn stdout() -> Self {
        LinesPublisher { path: "stdout".to_owned(), inner: Mutex::new(Inner::new(Output::Stdout)) }
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
        Ok(LinesPublisher { path: name, inner: Mutex::new(Inner::new(Output::File(file))) })
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

impl Inner {
    fn new(output: Output) -> Self {
        Inner { output, routes: Vec::new(), buffer: Vec::new(), written: Vec::new() }
    }

    fn write_line(&mut self, batch: &Batch<'_>, record: &Record) {
        let place = usize::try_from(record.route.0).unwrap_or(usize::MAX);
        let Some(route) = self.routes.get(place) else { return };
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
        if let Some(position) = &record.position {
            header(POSITION_HEADER, position.to_string().as_bytes(), out);
        }
        if let Some(schema) = &route.schema {
            header(SCHEMA_HEADER, schema.as_bytes(), out);
        }
        out.extend_from_slice(b"]}\n");
        match self.written.last_mut() {
            Some(last) if last.receipt == record.receipt => last.records += 1,
            _ => self.written.push(Ack { receipt: record.receipt, records: 1 }),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&self.buffer)?;
                stdout.flush()?;
            }
            Output::File(file) => file.write_all(&self.buffer)?,
        }
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::Stdout => Ok(()),
            Output::File(file) => file.sync_data(),
        }
    }
}

impl Publisher for LinesPublisher {
    fn prepare(&self, _topics: &[TopicSpec]) -> Result<(), PublishError> {
        Ok(())
    }

    fn route(&self, route: Route) -> Result<RouteId, PublishError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.routes.push(route);
        Ok(RouteId(u32::try_from(inner.routes.len() - 1).unwrap_or(u32::MAX)))
    }

    fn send(&self, batch: Batch<'_>, _go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for record in batch.records {
            inner.write_line(&batch, record);
            if inner.buffer.len() >= WRITE_BYTES {
                inner.flush().map_err(|error| self.failed(&error))?;
            }
        }
        inner.flush().map_err(|error| self.failed(&error))
    }

    fn poll(&self, timeout: Duration, acks: &mut Vec<Ack>) -> Result<(), PublishError> {
        let synced = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            if !inner.written.is_empty() {
                inner.sync().map_err(|error| self.failed(&error))?;
                acks.append(&mut inner.written);
            }
            !acks.is_empty()
        };
        if !synced {
            std::thread::sleep(timeout.min(POLL_PAUSE));
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.inner.lock().unwrap_or_else(PoisonError::into_inner).written.is_empty()
    }

    fn describe(&self) -> String {
        self.path.clone()
    }
}

/// How long an idle poll waits: nothing signals what has been written.
const POLL_PAUSE: Duration = Duration::from_millis(5);
