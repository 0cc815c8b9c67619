//! Capture and apply in one process: the way without Kafka. The only place where both meet.
//!
//! The capture publishes to a warehouse instead of a broker: same stages, same records, same state.
//! A record is acknowledged when the warehouse has committed it, so that the log of the source is
//! released only then. The state stands in the table `_cdc.state` of the warehouse.

mod state;

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::apply::OpenWarehouse;
use crate::apply::applier::Applier;
use crate::apply::applier::Header;
use crate::apply::applier::Partition;
use crate::apply::applier::Pushed;
use crate::apply::applier::Record;
use crate::apply::applier::Schemas;
use crate::apply::applier::place_without_kafka;
use crate::apply::batch_loop;
use crate::apply::error::ApplyError;
use crate::apply::replay::schema_key;
use crate::apply::settings::ApplySettings;
use crate::apply::settings::ErrorsTolerance;
use crate::apply::tables_shown::TablesShown;
use crate::apply::warehouse::WarehouseError;
use crate::capture::Elsewhere;
use crate::capture::Reached;
use crate::capture::publisher::Ack;
use crate::capture::publisher::Batch;
use crate::capture::publisher::LastRoute;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Route;
use crate::capture::publisher::RouteId;
use crate::capture::publisher::Routes;
use crate::capture::publisher::TopicSpec;
use crate::direct::state::WarehouseStore;
use crate::position::LITERAL_HEADER;
use crate::position::POSITION_HEADER;
use crate::position::SCHEMA_HEADER;
use crate::table::TableName;
use crate::telemetry::SinkMetrics;

/// How long one wait for room or for work lasts before the caller is asked whether to go on.
const WAIT: Duration = Duration::from_millis(20);

/// A batch that nothing is being added to is committed after so long.
const QUIET: Duration = Duration::from_millis(5);

/// A warehouse that was not asked for anything for so long is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// A warehouse as a capture's destination.
#[derive(Clone)]
pub struct Direct {
    /// Opens the warehouse.
    pub open: OpenWarehouse,
    /// How records are applied; the group names the slot.
    pub settings: ApplySettings,
    /// Topic prefix, by which tables of the warehouse are told to be ours.
    pub prefix: String,
    /// Bytes that may wait to be applied.
    pub queue_bytes: usize,
    /// Metrics.
    pub metrics: SinkMetrics,
    /// What `/v1/tables` shows.
    pub tables: Arc<Mutex<TablesShown>>,
}

impl fmt::Debug for Direct {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Direct").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Elsewhere for Direct {
    fn connect(&self, slot: &str) -> Result<Reached, PublishError> {
        let mut warehouse = (self.open)().map_err(|error| {
            self.metrics.warehouse_up.set(0);
            publish_error(&error.into())
        })?;
        let stored = warehouse.state().map_err(|error| publish_error(&error.into()))?;
        let identity = warehouse.identity();
        let name = warehouse.describe();
        let shared = Arc::new(Shared::default());
        let schemas = Box::new(KnownSchemas(Arc::clone(&shared)));
        let applier = Applier::new(warehouse, schemas, self.settings.clone())
            .map_err(|error| publish_error(&error))?;
        let publisher = Arc::new(DirectPublisher {
            shared: Arc::clone(&shared),
            routes: Routes::default(),
            queue_bytes: self.queue_bytes,
            keeps_schemas: self.settings.tolerance == ErrorsTolerance::All,
            name,
            thread: Mutex::new(Some(start(applier, self, &shared))),
        });
        let store = WarehouseStore::new(slot.to_owned(), stored, identity, Arc::clone(&publisher));
        Ok((publisher, Arc::new(store)))
    }
}

/// What the publisher's callers and the applying thread share.
#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    /// Signalled when there is work, room or an acknowledgement.
    changed: Condvar,
    /// Entries of `PREFIX.__schemas` by fingerprint.
    schemas: Mutex<HashMap<String, Vec<u8>>>,
}

#[derive(Debug, Default)]
struct Inner {
    work: VecDeque<Work>,
    /// Bytes that wait or are being applied.
    bytes: usize,
    /// Records and states that are not acknowledged.
    waiting: usize,
    acks: Vec<Ack>,
    failure: Option<PublishError>,
    stop: bool,
}

/// One thing to be applied.
#[derive(Debug)]
enum Work {
    Record(Record, Receipt),
    State(StateRecord),
}

/// A record of the capture's state.
#[derive(Debug)]
struct StateRecord {
    key: String,
    value: Option<String>,
    /// The table that it says was read wholly, and the epoch.
    read_whole: Option<(TableName, u64)>,
    receipt: Receipt,
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Work::Record(record, _) => record.bytes(),
            Work::State(state) => state.key.len() + state.value.as_ref().map_or(0, String::len),
        }
    }

    fn receipt(&self) -> Receipt {
        match self {
            Work::Record(_, receipt) => *receipt,
            Work::State(state) => state.receipt,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, timeout: Duration) -> MutexGuard<'a, Inner> {
        let waited = self.changed.wait_timeout(inner, timeout);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn put(&self, work: Work) -> Result<(), PublishError> {
        let mut inner = self.lock();
        if let Some(failure) = &inner.failure {
            return Err(failure.clone());
        }
        inner.bytes += work.bytes();
        inner.waiting += 1;
        inner.work.push_back(work);
        self.changed.notify_all();
        Ok(())
    }
}

/// Publishes to the applying thread.
struct DirectPublisher {
    shared: Arc<Shared>,
    routes: Routes<DirectRoute>,
    queue_bytes: usize,
    /// Records may be put aside.
    keeps_schemas: bool,
    name: String,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct DirectRoute {
    topic: Arc<str>,
    headers: Vec<(String, String)>,
    schema: Option<String>,
    internal: bool,
}

impl DirectPublisher {
    /// Stores a record of ours after everything sent before it.
    fn put_state(&self, state: StateRecord) -> Result<(), PublishError> {
        self.shared.put(Work::State(state))
    }

    fn wait_for_room(&self, go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        let mut inner = self.shared.lock();
        while inner.bytes >= self.queue_bytes && inner.failure.is_none() {
            inner = self.shared.wait(inner, WAIT);
            drop(inner);
            if !go_on() {
                return Err(PublishError::Stopped);
            }
            inner = self.shared.lock();
        }
        Ok(())
    }

    /// An entry of `PREFIX.__schemas` is kept here. It is sent again by every process before the
    /// first record that names it, and so needs nothing more to be durable, unless records that
    /// name it may be put aside: a replay asks for it.
    fn keep_schema(
        &self,
        topic: &str,
        (key, value): (&[u8], &[u8]),
        receipt: Receipt,
    ) -> Result<(), PublishError> {
        let key: serde_json::Value = serde_json::from_slice(key).unwrap_or_default();
        let fingerprint = key.get("fingerprint").and_then(serde_json::Value::as_str);
        if let Some(fingerprint) = fingerprint {
            let mut schemas = self.shared.schemas.lock().unwrap_or_else(PoisonError::into_inner);
            schemas.insert(fingerprint.to_owned(), value.to_vec());
            drop(schemas);
            if self.keeps_schemas {
                let prefix = topic.strip_suffix(".__schemas").unwrap_or(topic);
                let key = schema_key(prefix, fingerprint);
                let value = Some(String::from_utf8_lossy(value).into_owned());
                return self.put_state(StateRecord { key, value, read_whole: None, receipt });
            }
        }
        let mut inner = self.shared.lock();
        inner.acks.push(Ack { receipt, records: 1 });
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Publisher for DirectPublisher {
    fn prepare(&self, _topics: &[TopicSpec]) -> Result<(), PublishError> {
        Ok(())
    }

    fn route(&self, route: Route) -> Result<RouteId, PublishError> {
        self.routes.register(route, |route| {
            Ok(DirectRoute {
                topic: Arc::from(route.topic.as_str()),
                headers: route.headers.clone(),
                schema: route.schema.clone(),
                internal: route.internal,
            })
        })
    }

    fn send(&self, batch: Batch<'_>, go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        let mut last = LastRoute::default();
        for record in batch.records {
            let route = last.find(&self.routes, record.route)?;
            let part = |range: &Option<std::ops::Range<usize>>| {
                range.as_ref().map(|range| batch.slice(range))
            };
            if route.internal {
                let (key, value) = (part(&record.key), part(&record.value));
                let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
                self.keep_schema(&route.topic, (key, value), record.receipt)?;
                continue;
            }
            self.wait_for_room(go_on)?;
            let mut headers: Vec<Header> = Vec::new();
            let mut put =
                |name: &str, value: &[u8]| headers.push((name.into(), Some(value.into())));
            if let Some((name, value)) = &record.header {
                put(name, batch.slice(value));
            }
            for (name, value) in &route.headers {
                put(name, value.as_bytes());
            }
            if let Some(range) = &record.literal {
                put(LITERAL_HEADER, batch.slice(range));
            }
            if let Some(position) = record.position {
                put(POSITION_HEADER, position.to_string().as_bytes());
            }
            if let Some(schema) = &route.schema {
                put(SCHEMA_HEADER, schema.as_bytes());
            }
            let record_here = Record {
                topic: Arc::clone(&route.topic),
                partition: 0,
                offset: record.position.map_or(0, |position| place_without_kafka(position).1),
                key: part(&record.key).map(Box::from),
                value: part(&record.value).map(Box::from),
                headers,
                leader_epoch: -1,
            };
            self.shared.put(Work::Record(record_here, record.receipt))?;
        }
        Ok(())
    }

    fn poll(&self, timeout: Duration, acks: &mut Vec<Ack>) -> Result<(), PublishError> {
        let mut inner = self.shared.lock();
        if inner.acks.is_empty() && inner.failure.is_none() {
            inner = self.shared.wait(inner, timeout);
        }
        acks.append(&mut inner.acks);
        match &inner.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    fn is_waiting(&self) -> bool {
        self.shared.lock().waiting > 0
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

impl Drop for DirectPublisher {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic has been logged where it happened.
            thread.join().ok();
        }
    }
}

/// Entries that the capture has published.
struct KnownSchemas(Arc<Shared>);

impl Schemas for KnownSchemas {
    fn entry(&mut self, _prefix: &str, fingerprint: &str) -> Result<Option<Vec<u8>>, ApplyError> {
        let schemas = self.0.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(schemas.get(fingerprint).cloned())
    }
}

fn start(applier: Applier, direct: &Direct, shared: &Arc<Shared>) -> JoinHandle<()> {
    let (shared, settings) = (Arc::clone(shared), direct.settings.clone());
    let prefix = direct.prefix.clone();
    let (metrics, tables) = (direct.metrics.clone(), Arc::clone(&direct.tables));
    std::thread::spawn(move || {
        let mut applying = Applying {
            applier,
            shared: &shared,
            settings: &settings,
            prefix: &prefix,
            metrics: &metrics,
            tables: &tables,
            owned: HashSet::new(),
            receipts: HashMap::new(),
            bytes: 0,
            count: 0,
            answered: Instant::now(),
        };
        if let Err(error) = applying.run() {
            metrics.warehouse_up.set(0);
            metrics.set_waits(!applying.receipts.is_empty() || !shared.lock().work.is_empty());
            shared.lock().failure = Some(publish_error(&error));
            shared.changed.notify_all();
        }
    })
}

/// The applying thread.
struct Applying<'a> {
    applier: Applier,
    shared: &'a Shared,
    settings: &'a ApplySettings,
    prefix: &'a str,
    metrics: &'a SinkMetrics,
    tables: &'a Mutex<TablesShown>,
    owned: HashSet<Partition>,
    /// What is acknowledged once the batch is committed.
    receipts: HashMap<Receipt, u64>,
    bytes: usize,
    count: usize,
    /// When the warehouse answered the last time.
    answered: Instant,
}

impl Applying<'_> {
    fn run(&mut self) -> Result<(), ApplyError> {
        let mut first_at: Option<Instant> = None;
        loop {
            let mut inner = self.shared.lock();
            if inner.work.is_empty() && !inner.stop {
                let timeout = if first_at.is_some() { QUIET } else { WAIT };
                inner = self.shared.wait(inner, timeout);
            }
            if inner.stop {
                return Ok(());
            }
            let work: Vec<Work> = inner.work.drain(..).collect();
            drop(inner);
            let quiet = work.is_empty();
            if quiet && first_at.is_none() && self.answered.elapsed() >= PING_INTERVAL {
                self.applier.warehouse().ping()?;
                self.takes(false);
            }
            if !quiet {
                self.metrics.set_waits(true);
            }
            for one in work {
                first_at.get_or_insert_with(Instant::now);
                self.take(one)?;
                if self.applier.is_full() {
                    self.commit()?;
                    first_at = None;
                }
            }
            let late = first_at.is_some_and(|at| at.elapsed() >= self.settings.batch_time);
            if first_at.is_some() && (quiet || late) {
                self.commit()?;
                first_at = None;
            }
        }
    }

    /// The warehouse takes what it is given.
    fn takes(&mut self, waits: bool) {
        self.answered = Instant::now();
        self.metrics.warehouse_up.set(1);
        self.metrics.set_waits(waits);
    }

    fn take(&mut self, work: Work) -> Result<(), ApplyError> {
        let (bytes, receipt) = (work.bytes(), work.receipt());
        match work {
            Work::Record(record, _) => {
                let partition = (Arc::clone(&record.topic), record.partition);
                if self.owned.insert(partition.clone()) {
                    self.applier.own_without_offsets(&partition)?;
                }
                if self.applier.push(record, true)? == Pushed::CommitFirst {
                    let record = self.applier.take_back();
                    // Acknowledges what was taken before, and not this record.
                    self.commit()?;
                    if let Some(record) = record {
                        self.applier.push(record, true)?;
                    }
                }
            }
            Work::State(state) => {
                self.applier.put_state(state.key, state.value);
                if let Some((table, epoch)) = state.read_whole {
                    self.applier.put_whole_read(self.prefix, table, epoch);
                }
            }
        }
        self.bytes += bytes;
        self.count += 1;
        *self.receipts.entry(receipt).or_default() += 1;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ApplyError> {
        let began = Instant::now();
        if self.applier.has_pending() {
            let done = self.applier.commit()?;
            self.metrics.batches.inc();
            self.metrics.batch_seconds.observe(began.elapsed().as_secs_f64());
            batch_loop::note(&done, self.metrics);
            let mut shown = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            shown.note(&done, self.applier.tables());
        }
        let mut inner = self.shared.lock();
        self.takes(!inner.work.is_empty());
        let receipts = self.receipts.drain();
        inner.acks.extend(receipts.map(|(receipt, records)| Ack { receipt, records }));
        inner.bytes = inner.bytes.saturating_sub(std::mem::take(&mut self.bytes));
        inner.waiting = inner.waiting.saturating_sub(std::mem::take(&mut self.count));
        self.shared.changed.notify_all();
        Ok(())
    }
}

/// What an error of the warehouse means to the capture.
fn publish_error(error: &ApplyError) -> PublishError {
    match error {
        ApplyError::Warehouse(WarehouseError::Permission { .. })
        | ApplyError::Permission { .. } => {
            PublishError::Refused { message: error.to_string(), hint: error.hint() }
        }
        error if error.is_passing() => PublishError::Unavailable { message: error.to_string() },
        error => PublishError::Configuration { message: error.to_string(), hint: error.hint() },
    }
}
