//! The write simulator: its threads and what they have done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use fastrand::Rng;
use postgres::Client;
use postgres::NoTls;

use super::Mix;
use super::statement::Highest;
use super::transaction::Shape;
use super::worker;
use super::worker::Changes;

/// How the simulator writes.
#[derive(Debug, Clone, Copy)]
pub struct SimulatorOptions {
    /// Where all its choices come from. With one connection the same seed gives the same statements;
    /// with several the order in which they meet is the machine's.
    pub seed: u64,
    /// Changes a second over all connections; 0 is as fast as possible.
    pub rate: u32,
    /// Connections, each with a thread; default 3.
    pub connections: u32,
    /// What it does how often.
    pub mix: Mix,
    /// Statements in a transaction, at most; default 6.
    pub statements_max: u32,
    /// Rows that one multi-row statement or COPY changes, at most; default 60.
    pub rows_max: u32,
    /// How long a long transaction stays open; default one second.
    pub long: Duration,
}

impl SimulatorOptions {
    /// The default mix, as fast as possible.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            rate: 0,
            connections: 3,
            mix: Mix::default(),
            statements_max: 6,
            rows_max: 60,
            long: Duration::from_secs(1),
        }
    }

    /// Changes a second over all connections; 0 is as fast as possible.
    #[must_use]
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// Connections.
    #[must_use]
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// What it does how often.
    #[must_use]
    pub fn mix(mut self, mix: Mix) -> Self {
        self.mix = mix;
        self
    }
}

/// What a simulator has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Transactions committed.
    pub transactions: u64,
    /// Rows inserted by them, COPY included.
    pub inserts: u64,
    /// Rows updated, changes of key included.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
    /// Truncates.
    pub truncates: u64,
    /// Transactions rolled back on purpose.
    pub rolled_back: u64,
    /// Transactions that the server refused (a lock, a key).
    pub refused: u64,
    /// Transactions whose connection broke: whether they committed is not known.
    pub unknown: u64,
    /// Why transactions were refused, and how many.
    pub reasons: BTreeMap<String, u64>,
}

impl Totals {
    /// Rows changed, and truncates.
    pub fn changes(&self) -> u64 {
        self.inserts + self.updates + self.deletes + self.truncates
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactions, inserts, updates, deletes, truncates, .. } = self;
        let Self { rolled_back, refused, unknown, .. } = self;
        write!(formatter, "{transactions} transactions: {inserts} inserts, {updates} updates, ")?;
        write!(formatter, "{deletes} deletes, {truncates} truncates; {rolled_back} rolled back, ")?;
        write!(formatter, "{refused} refused, {unknown} unknown")
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) transactions: AtomicU64,
    pub(super) rolled_back: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unknown: AtomicU64,
    inserts: AtomicU64,
    updates: AtomicU64,
    deletes: AtomicU64,
    truncates: AtomicU64,
    reasons: Mutex<BTreeMap<String, u64>>,
}

impl Counters {
    pub(super) fn add(&self, changes: &Changes) {
        self.inserts.fetch_add(changes.inserts, Ordering::Relaxed);
        self.updates.fetch_add(changes.updates, Ordering::Relaxed);
        self.deletes.fetch_add(changes.deletes, Ordering::Relaxed);
        self.truncates.fetch_add(changes.truncates, Ordering::Relaxed);
    }

    fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            transactions: read(&self.transactions),
            inserts: read(&self.inserts),
            updates: read(&self.updates),
            deletes: read(&self.deletes),
            truncates: read(&self.truncates),
            rolled_back: read(&self.rolled_back),
            refused: read(&self.refused),
            unknown: read(&self.unknown),
            reasons: self.reasons.lock().expect("no writer panics").clone(),
        }
    }
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dsn: String,
    pub(super) shape: Shape,
    /// Changes a second for each worker.
    pub(super) rate_per_worker: Option<f64>,
    pub(super) highest: Highest,
    pub(super) counters: Counters,
    stop: AtomicBool,
}

impl Shared {
    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps, but not beyond the stop.
    pub(super) fn sleep(&self, time: Duration) {
        let began = Instant::now();
        while !self.stopping() && began.elapsed() < time {
            thread::sleep(Duration::from_millis(10).min(time));
        }
    }

    pub(super) fn note(&self, error: &postgres::Error) {
        let reason = error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned());
        *self.counters.reasons.lock().expect("no writer panics").entry(reason).or_default() += 1;
    }
}

/// Writes to the shop until it is stopped, also while the server dies and comes back.
///
/// Dropping it tells its threads to stop and does not wait for them.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Simulator {
    /// Begins to write to the database of a URI, where [`super::create`] has made the shop, and
    /// prints its seed. TLS is not spoken.
    ///
    /// # Panics
    ///
    /// If no thread can be started.
    pub fn start(dsn: &str, options: SimulatorOptions) -> Self {
        println!("shop simulator: SEED={}", options.seed);
        let connections = options.connections.max(1);
        let rate = (options.rate > 0).then(|| f64::from(options.rate) / f64::from(connections));
        let shape = Shape {
            mix: options.mix,
            statements_max: options.statements_max,
            rows_max: options.rows_max,
            long: options.long,
        };
        let shared = Arc::new(Shared {
            dsn: dsn.to_owned(),
            shape,
            rate_per_worker: rate,
            highest: Highest::default(),
            counters: Counters::default(),
            stop: AtomicBool::new(false),
        });
        shared.highest.set(highest_id(dsn).unwrap_or(1_000));
        let mut seeds = Rng::with_seed(options.seed);
        let mut start = |_| {
            let (shared, rng) = (Arc::clone(&shared), seeds.fork());
            let thread = thread::Builder::new().name("shop-simulator".into());
            thread.spawn(move || worker::run(&shared, rng)).expect("a thread can be started")
        };
        let threads = (0..connections).map(&mut start).collect();
        Self { shared, threads }
    }

    /// What it has done so far.
    pub fn totals(&self) -> Totals {
        self.shared.counters.totals()
    }

    /// Waits until it has committed so many changes more than now.
    ///
    /// # Panics
    ///
    /// If that takes longer than the time given.
    #[track_caller]
    pub fn wait_for_changes(&self, count: u64, timeout: Duration) {
        let wanted = self.totals().changes() + count;
        let what = format!("the simulator to commit {count} changes");
        crate::process::wait_until(timeout, &what, || self.totals().changes() >= wanted);
    }

    /// Lets every connection finish its transaction, and ends. The server has to be thawed.
    ///
    /// # Panics
    ///
    /// If a thread has panicked.
    #[track_caller]
    pub fn stop(mut self) -> Totals {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("writers do not panic");
        }
        self.totals()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// The server may be down when the simulator starts.
fn highest_id(dsn: &str) -> Option<i64> {
    let mut client = Client::connect(dsn, NoTls).ok()?;
    let row = client.query_one("SELECT max(id) FROM shop.orders", &[]).ok()?;
    row.get(0)
}
