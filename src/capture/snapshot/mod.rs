//! Rows that were there before streaming began.
//!
//! Takes an exported snapshot and the tables to read; gives their rows to the publisher as reads,
//! and a word when a table is durable. Several connections see the same snapshot, each proves it,
//! and one parent transaction holds it. Reads are never mixed with the stream: that begins when the
//! last read is acknowledged.

mod copy;
mod plan;
mod worker;

pub(super) use plan::PlannedTable;
pub(super) use plan::plan;
pub(super) use worker::transaction;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::RecvTimeoutError;

use crate::capture::CaptureError;
use crate::capture::change::SnapshotMoment;
use crate::capture::change::SourceFields;
use crate::capture::change::SourceName;
use crate::capture::change::SourceText;
use crate::capture::deliveries::Deliveries;
use crate::capture::notifier::Notifier;
use crate::capture::postgres::SourceError;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Publisher;
use crate::capture::settings::CaptureSettings;
use crate::capture::snapshot::plan::Job;
use crate::capture::snapshot::worker::Finished;
use crate::capture::snapshot::worker::HeldRow;
use crate::capture::snapshot::worker::MarkerTexts;
use crate::capture::snapshot::worker::ReadPositions;
use crate::capture::snapshot::worker::Sender;
use crate::capture::tables::ReadyTable;
use crate::envelope::SnapshotMarker;
use crate::lsn::Lsn;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Metrics;
use crate::time::UnixMicros;

/// How often progress is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// A table that is being read.
pub(super) struct ReadingTable {
    /// What is planned.
    pub(super) planned: PlannedTable,
    /// Epoch of its reads.
    epoch: u64,
    /// Writes its rows.
    pub(super) ready: Arc<ReadyTable>,
    /// Rows read so far, as a metric too.
    rows: RowCount,
    /// Pieces that are not read yet.
    pieces_left: AtomicUsize,
}

/// Rows read of a table.
struct RowCount {
    count: AtomicI64,
    metric: prometheus::IntGauge,
}

impl RowCount {
    fn get(&self) -> u64 {
        u64::try_from(self.count.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn add(&self, rows: i64) {
        let before = self.count.fetch_add(rows, Ordering::Relaxed);
        self.metric.set(before + rows);
    }
}

impl ReadingTable {
    /// Ready to be read.
    pub(super) fn new(
        planned: PlannedTable,
        epoch: u64,
        ready: Arc<ReadyTable>,
        metrics: &Metrics,
    ) -> Self {
        let metric = metrics.snapshot_rows.with_label_values(&[&ready.name]);
        metric.set(0);
        let rows = RowCount { count: AtomicI64::new(0), metric };
        let pieces_left = AtomicUsize::new(planned.pieces.len());
        ReadingTable { planned, epoch, ready, rows, pieces_left }
    }
}

/// What all reads of one snapshot say of themselves.
#[derive(Clone, Debug)]
pub(super) struct ReadSource {
    /// Prefix and database.
    pub(super) name: SourceName,
    /// When the snapshot was taken.
    pub(super) time: UnixMicros,
    /// A transaction id of that moment.
    pub(super) xid: Option<u64>,
    /// Position of the snapshot in the log.
    pub(super) lsn: Lsn,
}

/// One reading of tables.
pub(super) struct Reading<'a> {
    /// Settings.
    pub(super) settings: &'a CaptureSettings,
    /// The destination.
    pub(super) publisher: &'a dyn Publisher,
    /// Acknowledgements.
    pub(super) deliveries: &'a Deliveries,
    /// Health.
    pub(super) health: &'a Health,
    /// Ends the reading.
    pub(super) stop: &'a Stop,
    /// Tables, in order.
    pub(super) tables: Vec<ReadingTable>,
    /// Tells how reading goes on.
    notifier: &'a Notifier<'a>,
    /// Names of the tables, in order.
    names: Vec<String>,
    snapshot_name: String,
    /// What `pg_current_snapshot()` says in the parent.
    snapshot_text: String,
    positions: ReadPositions,
    markers: MarkerTexts,
    /// A worker has failed; the others need not go on.
    failed: AtomicBool,
}

/// Which snapshot is read, and which positions its reads get.
#[derive(Clone, Debug)]
pub(super) struct ReadFrom {
    /// Name under which it is exported.
    pub(super) snapshot_name: String,
    /// What `pg_current_snapshot()` says in the parent.
    pub(super) snapshot_text: String,
    /// First place in the order of publication.
    pub(super) first_position: u64,
}

/// What the reading shares with its threads' owner.
pub(super) struct Surroundings<'a> {
    /// Settings.
    pub(super) settings: &'a CaptureSettings,
    /// The destination.
    pub(super) publisher: &'a dyn Publisher,
    /// Acknowledgements.
    pub(super) deliveries: &'a Deliveries,
    /// Health.
    pub(super) health: &'a Health,
    /// Ends the reading.
    pub(super) stop: &'a Stop,
    /// Tells how reading goes on.
    pub(super) notifier: &'a Notifier<'a>,
}

impl<'a> Reading<'a> {
    /// Prepares a reading.
    pub(super) fn new(
        around: &Surroundings<'a>,
        tables: Vec<ReadingTable>,
        from: ReadFrom,
        source: &ReadSource,
    ) -> Self {
        use SnapshotMarker as M;
        let markers =
            [M::True, M::First, M::FirstInDataCollection, M::LastInDataCollection, M::Last];
        let texts = markers
            .map(|marker| {
                let mut text = SourceText::default();
                let fields = SourceFields {
                    time: source.time,
                    snapshot: Some(marker.as_str()),
                    xid: source.xid,
                    ..SourceFields::default()
                };
                text.render(&source.name, &fields);
                (marker, text)
            })
            .to_vec();
        Reading {
            settings: around.settings,
            publisher: around.publisher,
            deliveries: around.deliveries,
            health: around.health,
            stop: around.stop,
            names: tables.iter().map(|table| table.ready.name.clone()).collect(),
            notifier: around.notifier,
            tables,
            snapshot_name: from.snapshot_name,
            snapshot_text: from.snapshot_text,
            positions: ReadPositions::new(from.first_position),
            markers: MarkerTexts::new(texts, source.lsn),
            failed: AtomicBool::new(false),
        }
    }

    /// Whether reading is still wanted.
    fn goes_on(&self) -> bool {
        !self.stop.is_requested() && !self.failed.load(Ordering::Relaxed)
    }

    /// The marker of a row that is not the last of the snapshot.
    fn marker(&self, job: &Job, first_of_piece: bool, last_of_table: bool) -> SnapshotMarker {
        let first_of_table = first_of_piece && job.place == 0;
        match (first_of_table, last_of_table) {
            (true, _) if job.table == 0 => SnapshotMarker::First,
            (_, true) => SnapshotMarker::LastInDataCollection,
            (true, false) => SnapshotMarker::FirstInDataCollection,
            (false, false) => SnapshotMarker::True,
        }
    }

    /// Tells that a piece is begun, and so may be its table. Pieces are told of where several
    /// connections read.
    fn tell_begun(&self, job: &Job) -> Result<(), CaptureError> {
        let Some(reading) = self.tables.get(job.table) else { return Ok(()) };
        let table = &reading.ready.name;
        if job.place == 0 {
            self.notifier.tell(SnapshotMoment::TableBegun { table, tables: &self.names })?;
        }
        if !self.in_pieces() {
            return Ok(());
        }
        let piece = (job.place, reading.planned.pieces.len());
        self.notifier.tell(SnapshotMoment::PieceBegun { table, piece, rows: reading.rows.get() })
    }

    /// Tells that a piece is read, and so may be its table.
    fn tell_read(&self, job: &Job) -> Result<(), CaptureError> {
        let Some(reading) = self.tables.get(job.table) else { return Ok(()) };
        let table = &reading.ready.name;
        let tables = &self.names;
        if self.in_pieces() {
            let piece = (job.place, reading.planned.pieces.len());
            self.notifier.tell(SnapshotMoment::PieceRead { table, tables, piece })?;
        }
        if reading.pieces_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        self.notifier.tell(SnapshotMoment::TableRead { table, tables, rows: reading.rows.get() })
    }

    /// Tells that the server refused to give rows of this piece.
    fn tell_failed(&self, job: &Job) -> Result<(), CaptureError> {
        let Some(reading) = self.tables.get(job.table) else { return Ok(()) };
        self.notifier.tell(SnapshotMoment::TableFailed { table: &reading.ready.name })
    }

    /// The error of reading this piece, named as that of a statement of the user's.
    fn named(&self, job: &Job, error: SourceError) -> SourceError {
        let Some(reading) = self.tables.get(job.table) else { return error };
        plan::of_statement(error, &reading.ready.name, &self.settings.snapshot)
    }

    fn in_pieces(&self) -> bool {
        self.settings.snapshot.threads > 1
    }

    /// Every piece of every table, each with a receipt of its own.
    fn jobs(&self) -> Vec<Job> {
        let pieces = self.tables.iter().map(|table| table.planned.pieces.len()).sum::<usize>();
        let first = self.deliveries.new_ranges(u32::try_from(pieces).unwrap_or(u32::MAX));
        self.tables
            .iter()
            .enumerate()
            .flat_map(|(table, reading)| {
                let pieces = reading.planned.pieces.iter().enumerate();
                pieces.map(move |(place, piece)| (table, place, piece))
            })
            .zip(first..)
            .map(|((table, place, piece), number)| Job {
                table,
                place,
                number,
                piece: Arc::clone(piece),
            })
            .collect()
    }

    /// Reads all tables; calls `table_done` with each as soon as every row of it is acknowledged,
    /// and says whether these are all of its rows.
    ///
    /// # Errors
    ///
    /// The source or the destination fails, or we are asked to stop.
    pub(super) fn run(
        &self,
        mut table_done: impl FnMut(&PlannedTable, u64, bool) -> Result<(), CaptureError>,
    ) -> Result<u64, CaptureError> {
        let jobs = self.jobs();
        let threads = self.settings.snapshot.threads.clamp(1, jobs.len().max(1));
        let queue = Mutex::new(jobs.into_iter());
        let (sender, receiver) = crossbeam_channel::bounded::<Finished>(1024);
        let next_job = || {
            if !self.goes_on() {
                return None;
            }
            queue.lock().unwrap_or_else(PoisonError::into_inner).next()
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let sender = sender.clone();
                    let next_job = &next_job;
                    scope.spawn(move || {
                        let result = worker::work(self, next_job, |done| drop(sender.send(done)));
                        if result.is_err() {
                            self.failed.store(true, Ordering::Relaxed);
                        }
                        result
                    })
                })
                .collect();
            drop(sender);
            let gathered = self.gather(&receiver, &mut table_done);
            // Whatever is still queued is dropped with the receiver; workers then end.
            drop(receiver);
            let lost = || Err(CaptureError::Lost { thread: "snapshot" });
            let ended = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| lost()));
            let (gathered, mut failures) = match gathered {
                Ok(rows) => (rows, Vec::new()),
                Err(error) => (0, vec![error]),
            };
            failures.extend(ended.filter_map(Result::err));
            // Whoever was stopped because another failed has nothing to say.
            let cause = failures.iter().position(|error| !is_stopped(error)).unwrap_or_default();
            if failures.is_empty() { Ok(gathered) } else { Err(failures.swap_remove(cause)) }
        })
    }

    /// Takes what workers have finished until all pieces are; gives the number of rows.
    fn gather(
        &self,
        receiver: &crossbeam_channel::Receiver<Finished>,
        table_done: &mut impl FnMut(&PlannedTable, u64, bool) -> Result<(), CaptureError>,
    ) -> Result<u64, CaptureError> {
        let mut tail = Tail { sender: Sender::new(self), pending: None };
        let mut open: BTreeMap<usize, Vec<Finished>> = BTreeMap::new();
        let mut waiting = Vec::new();
        let mut total = 0;
        let mut logged = Instant::now();
        loop {
            self.health.turn("snapshot");
            match receiver.recv_timeout(Duration::from_millis(200)) {
                Ok(finished) => {
                    let table = finished.job.table;
                    let pieces = open.entry(table).or_default();
                    pieces.push(finished);
                    let planned = self.tables.get(table).map_or(0, |t| t.planned.pieces.len());
                    if pieces.len() == planned {
                        let pieces = open.remove(&table).unwrap_or_default();
                        let is_whole = pieces.iter().all(|piece| piece.is_whole);
                        let counts = tail.end_table(self, pieces)?;
                        total += counts.iter().map(|(_, rows)| rows).sum::<u64>();
                        waiting.push(ReadTable { table, counts, is_whole });
                        self.pass_on(&mut waiting, &tail, table_done)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if logged.elapsed() >= PROGRESS_INTERVAL {
                logged = Instant::now();
                self.log_progress();
            }
        }
        if self.stop.is_requested() || !open.is_empty() {
            return Err(PublishError::Stopped.into());
        }
        tail.end(self)?;
        self.pass_on(&mut waiting, &tail, table_done)?;
        Ok(total)
    }

    /// Waits for the acknowledgements of tables that are read, but for the one whose last row may
    /// be the snapshot's last and is still held.
    fn pass_on(
        &self,
        waiting: &mut Vec<ReadTable>,
        tail: &Tail<'_>,
        table_done: &mut impl FnMut(&PlannedTable, u64, bool) -> Result<(), CaptureError>,
    ) -> Result<(), CaptureError> {
        let held = tail.pending.as_ref().map(|pending| pending.job.table);
        let (ready, later) = waiting.drain(..).partition(|read| Some(read.table) != held);
        *waiting = later;
        let ready: Vec<ReadTable> = ready;
        for ReadTable { table, counts, is_whole } in ready {
            for (number, rows) in &counts {
                self.deliveries.wait_for_range(*number, *rows, &|| {
                    self.health.turn("snapshot");
                    self.goes_on()
                })?;
            }
            if let Some(reading) = self.tables.get(table) {
                let rows = counts.iter().map(|(_, rows)| rows).sum();
                table_done(&reading.planned, rows, is_whole)?;
            }
        }
        Ok(())
    }

    fn log_progress(&self) {
        for table in &self.tables {
            let rows = table.rows.count.load(Ordering::Relaxed);
            let estimated = table.planned.estimated_rows;
            if rows > 0 && estimated > 0 {
                tracing::info!(table = %table.planned.name, rows, estimated, "reading");
            }
        }
    }
}

/// A table whose pieces are read.
struct ReadTable {
    table: usize,
    /// Each piece's receipt and number of rows.
    counts: Vec<(u32, u64)>,
    is_whole: bool,
}

fn is_stopped(error: &CaptureError) -> bool {
    matches!(error, CaptureError::Publish(PublishError::Stopped))
}

/// The last rows of tables: each is sent when it is known whether a later one follows.
struct Tail<'a> {
    sender: Sender<'a>,
    pending: Option<PendingLast>,
}

/// The last row of the table that ended last.
struct PendingLast {
    job: Job,
    held: HeldRow,
}

impl Tail<'_> {
    /// Sends the held rows of a table's pieces but for the very last; gives each piece's receipt
    /// and number of rows.
    fn end_table(
        &mut self,
        reading: &Reading<'_>,
        mut pieces: Vec<Finished>,
    ) -> Result<Vec<(u32, u64)>, CaptureError> {
        pieces.sort_by_key(|piece| piece.job.place);
        let last_place = pieces.iter().rev().find(|piece| piece.last.is_some());
        let last_place = last_place.map(|piece| piece.job.place);
        let mut counts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let held = u64::from(piece.last.is_some());
            counts.push((piece.job.number, piece.rows + held));
            let Some(held) = piece.last else { continue };
            if Some(piece.job.place) == last_place {
                let next = PendingLast { job: piece.job, held };
                if let Some(before) = self.pending.replace(next) {
                    let marker = reading.marker(&before.job, before.held.first, true);
                    self.send(reading, &before, marker)?;
                }
            } else {
                let marker = reading.marker(&piece.job, held.first, false);
                self.send(reading, &PendingLast { job: piece.job, held }, marker)?;
            }
        }
        Ok(counts)
    }

    /// Sends the last row of all.
    fn end(&mut self, reading: &Reading<'_>) -> Result<(), CaptureError> {
        match self.pending.take() {
            Some(last) => self.send(reading, &last, SnapshotMarker::Last),
            None => Ok(()),
        }
    }

    fn send(
        &mut self,
        reading: &Reading<'_>,
        row: &PendingLast,
        marker: SnapshotMarker,
    ) -> Result<(), CaptureError> {
        let Some(table) = reading.tables.get(row.job.table) else { return Ok(()) };
        let ready = (&*table.ready, table.epoch);
        self.sender.add(ready, &row.held.row, marker, row.job.number)?;
        self.sender.send()
    }
}
