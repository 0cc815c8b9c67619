//! What is read, by whom, and how it goes, told to a catalog of lineage: OpenLineage's run events
//! as Debezium sends them (`openlineage.*`).
//!
//! Takes facts from the capture: begun, running, a table's columns, failed, ended. Gives events to
//! where `openlineage.yml` says. Holds a bounded queue and a thread of its own: whoever tells a
//! fact never waits, and what does not fit is counted and left out. Refuses nothing once it has
//! started: an endpoint that fails costs events, never records.
//!
//! Source: Debezium 3.6.1's events, recorded (`proto-fixtures/debezium/lineage`); OpenLineage's
//! specification 2-0-2.

mod client_file;
pub mod event;
mod http;
mod kafka;
mod sender;
mod settings;
mod transport;

pub use client_file::Client;
pub use settings::HttpSettings;
pub use settings::KafkaTransportSettings;
pub use settings::LineageSettings;
pub use settings::TransportSettings;

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::TrySendError;

use crate::lineage::event::Dataset;
use crate::lineage::event::Fact;
use crate::time::UnixMicros;

/// Facts that may wait. All tables of a connection are one.
const QUEUE_FACTS: usize = 1024;

/// How long the end of a run waits for its last events.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Why events cannot be sent at all: the settings do not make a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineageError(pub String);

impl fmt::Display for LineageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OpenLineage cannot be started: {}", self.0)
    }
}

impl std::error::Error for LineageError {}

/// Tables of the last connection, until they are sent: those of another take their place, so that
/// a dead endpoint does not gather them.
type Tables = Mutex<Option<Vec<Dataset>>>;

/// What waits to be sent.
#[derive(Debug)]
enum Item {
    Fact(Fact),
    /// All tables of the last connection.
    Tables,
}

/// Takes facts. Clones tell the same run.
#[derive(Clone, Debug)]
pub struct Lineage {
    run_id: String,
    /// `None`: `openlineage.integration.enabled=false`.
    told: Option<Arc<Told>>,
}

#[derive(Debug)]
struct Told {
    /// Taken at the end: the thread ends when it has sent what is in the queue.
    queue: Mutex<Option<Sender<(UnixMicros, Item)>>>,
    /// Closed by the thread when it has ended.
    ended: Receiver<()>,
    /// Facts that the queue had no room for.
    left_out: Arc<AtomicU64>,
    tables: Arc<Tables>,
    running: AtomicBool,
    failing: AtomicBool,
}

impl Lineage {
    /// Tells nobody. The run has an id all the same: records bear it in their headers.
    pub fn off(run_id: String) -> Self {
        Lineage { run_id, told: None }
    }

    /// Starts the thread that sends.
    ///
    /// # Errors
    ///
    /// The transport refuses its settings. One that cannot be reached is no error.
    pub fn start(settings: LineageSettings, run_id: String) -> Result<Self, LineageError> {
        let transport = transport::open(&settings.transport).map_err(LineageError)?;
        let (queue, items) = crossbeam_channel::bounded(QUEUE_FACTS);
        let (alive, ended) = crossbeam_channel::bounded(0);
        let left_out = Arc::new(AtomicU64::new(0));
        let tables = Arc::new(Mutex::new(None));
        let sender = sender::Sending {
            settings,
            run_id: run_id.clone(),
            transport,
            left_out: Arc::clone(&left_out),
            tables: Arc::clone(&tables),
        };
        let thread = std::thread::Builder::new().name("lineage".to_owned());
        let spawned = thread.spawn(move || {
            sender.run(&items);
            drop(alive);
        });
        spawned.map_err(|error| LineageError(format!("no thread: {error}")))?;
        let told = Told {
            queue: Mutex::new(Some(queue)),
            ended,
            left_out,
            tables,
            running: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        };
        Ok(Lineage { run_id, told: Some(Arc::new(told)) })
    }

    /// Id of the run: `run.runId`, and the header `__debezium.context.runId`.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Whether anybody is told: what costs anything to find out need not be found out otherwise.
    pub fn is_on(&self) -> bool {
        self.told.is_some()
    }

    /// The run begins.
    pub fn begun(&self) {
        self.tell(Fact::Begun);
    }

    /// A connection works. The first is an event; a later one ends a failure.
    pub fn running(&self) {
        let Some(told) = &self.told else { return };
        told.failing.store(false, Ordering::Relaxed);
        if !told.running.swap(true, Ordering::Relaxed) {
            self.tell(Fact::Running);
        }
    }

    /// All tables, as they are at a connection.
    pub fn tables(&self, datasets: Vec<Dataset>) {
        let Some(told) = &self.told else { return };
        let waiting = told.tables.lock().unwrap_or_else(PoisonError::into_inner).replace(datasets);
        if waiting.is_none() && !self.put(Item::Tables) {
            // The next connection tells them again.
            *told.tables.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// A table has these columns.
    pub fn table(&self, dataset: Dataset) {
        self.tell(Fact::Table(dataset));
    }

    /// The connection has failed and is tried again: an event for the first failure of a row.
    pub fn failed(&self, error: &dyn std::error::Error) {
        let Some(told) = &self.told else { return };
        if !told.failing.swap(true, Ordering::Relaxed) {
            self.tell(Fact::failed(error));
        }
    }

    /// The run ends as asked, or because of an error. Waits until that has been sent, but not long.
    pub fn end(&self, error: Option<&dyn std::error::Error>) {
        let Some(told) = &self.told else { return };
        let Some(queue) = told.queue.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let deadline = Instant::now() + END_PATIENCE;
        let fact = error.map_or(Fact::Ended, Fact::failed);
        let sent = queue.send_deadline((UnixMicros::now(), Item::Fact(fact)), deadline);
        let waiting = queue.len();
        drop(queue);
        // The thread's end of the channel closes when everything has been sent.
        let ended = told.ended.recv_deadline(deadline);
        if sent.is_err() || ended == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            tracing::warn!(waiting, "not all lineage events could be sent before the end");
        }
    }

    fn tell(&self, fact: Fact) {
        self.put(Item::Fact(fact));
    }

    /// Gives whether there was room.
    fn put(&self, item: Item) -> bool {
        let Some(told) = &self.told else { return false };
        let queue = told.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return false };
        match queue.try_send((UnixMicros::now(), item)) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(_)) => {
                told.left_out.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableName;

    fn settings(url: String) -> LineageSettings {
        let transport = TransportSettings::Http(HttpSettings {
            url,
            timeout: Duration::from_secs(60),
            api_key: None,
            headers: Vec::new(),
            gzip: false,
        });
        LineageSettings {
            namespace: "n".to_owned(),
            job: "j".to_owned(),
            description: "d".to_owned(),
            tags: Vec::new(),
            owners: Vec::new(),
            source: "postgres://h:5432".to_owned(),
            database: "d".to_owned(),
            configs: Vec::new(),
            disabled_facets: Vec::new(),
            transport,
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_nobody_waits_for_a_dead_endpoint() {
        // Connections are taken by the system, and nobody ever answers.
        let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let lineage = Lineage::start(settings(url), "r".to_owned()).unwrap();
        let dataset = Dataset { table: TableName::new("s", "t"), fields: Vec::new() };
        lineage.begun();
        for _ in 0..3 {
            lineage.tables(vec![dataset.clone(); 5]);
        }
        let told = lineage.told.as_ref().unwrap();
        let waiting = || told.queue.lock().unwrap().as_ref().unwrap().len();
        // The thread has the first fact; the tables of three connections are one entry.
        let begun = Instant::now();
        while waiting() > 1 && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(waiting(), 1);
        for _ in 0..2 * QUEUE_FACTS {
            lineage.table(dataset.clone());
        }
        assert_eq!(waiting(), QUEUE_FACTS);
        assert_eq!(told.left_out.load(Ordering::Relaxed), QUEUE_FACTS as u64 + 1);
    }

    #[test]
    fn only_the_first_failure_of_a_row_is_told_and_a_connection_ends_the_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let transport = TransportSettings::File(path.clone());
        let settings = LineageSettings { transport, ..settings(String::new()) };
        let lineage = Lineage::start(settings, "r".to_owned()).unwrap();
        lineage.begun();
        let error = LineageError("e".to_owned());
        for _ in 0..2 {
            lineage.failed(&error);
            lineage.failed(&error);
            lineage.running();
        }
        lineage.end(None);
        lineage.begun();
        let text = std::fs::read_to_string(path).unwrap();
        let kinds: Vec<_> = text
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["eventType"].take()
            })
            .collect();
        assert_eq!(kinds, ["START", "FAIL", "RUNNING", "FAIL", "COMPLETE"]);
    }
}
