//! One connection that reads pieces of tables.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::capture::CaptureError;
use crate::capture::change::ClockText;
use crate::capture::change::Event;
use crate::capture::change::Fidelity;
use crate::capture::change::Output;
use crate::capture::change::SourceText;
use crate::capture::postgres::Connection;
use crate::capture::postgres::Purpose;
use crate::capture::postgres::SourceError;
use crate::capture::publisher::Batch;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::capture::snapshot::Reading;
use crate::capture::snapshot::copy::CopyRow;
use crate::capture::snapshot::plan::Job;
use crate::capture::tables::ReadyTable;
use crate::envelope::Operation;
use crate::envelope::SnapshotMarker;
use crate::lsn::Lsn;
use crate::position::Position;
use crate::table::quote_literal;
use crate::time::UnixMicros;

/// Bytes of records after which a batch is handed over.
const BATCH_BYTES: usize = 256 << 10;

/// How often a piece is begun again after its connection broke.
const ATTEMPTS: usize = 5;

/// The source block for each marker, rendered once.
#[derive(Clone, Debug)]
pub(super) struct MarkerTexts {
    texts: Vec<(SnapshotMarker, SourceText)>,
    /// Position that all reads carry.
    lsn: Lsn,
}

impl MarkerTexts {
    pub(super) fn new(texts: Vec<(SnapshotMarker, SourceText)>, lsn: Lsn) -> Self {
        MarkerTexts { texts, lsn }
    }

    fn get(&self, marker: SnapshotMarker) -> Option<&SourceText> {
        self.texts.iter().find(|(known, _)| *known == marker).map(|(_, text)| text)
    }
}

/// A row that is held back until it is known whether it is the last.
#[derive(Clone, Debug)]
pub(super) struct HeldRow {
    pub(super) row: CopyRow,
    /// It is the first of its piece.
    pub(super) first: bool,
}

/// What reading a piece gave.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) job: Job,
    /// Rows sent; the held one is not among them.
    pub(super) rows: u64,
    /// The last row, which is still to be sent.
    pub(super) last: Option<HeldRow>,
    /// Every row of the piece was read, once.
    pub(super) is_whole: bool,
}

/// Positions of reads, given out in the order of sending.
#[derive(Debug)]
pub(super) struct ReadPositions {
    next: Mutex<u64>,
}

impl ReadPositions {
    pub(super) fn new(first: u64) -> Self {
        ReadPositions { next: Mutex::new(first) }
    }
}

/// Encodes reads and sends them.
pub(super) struct Sender<'a> {
    reading: &'a Reading<'a>,
    output: Output,
    records: Vec<Record>,
    clock: ClockText,
}

impl<'a> Sender<'a> {
    pub(super) fn new(reading: &'a Reading<'a>) -> Self {
        let clock = ClockText::default();
        Sender { reading, output: Output::default(), records: Vec::new(), clock }
    }

    /// Adds one row.
    pub(super) fn add(
        &mut self,
        (table, epoch): (&ReadyTable, u64),
        row: &CopyRow,
        marker: SnapshotMarker,
        number: u32,
    ) -> Result<(), CaptureError> {
        let Some(source) = self.reading.markers.get(marker) else { return Ok(()) };
        if self.records.is_empty() {
            self.clock.render(UnixMicros::now());
        }
        let start = self.output.bytes.len();
        let key = table.writer.has_key().then(|| {
            table.writer.write_key(row, None, &mut self.output);
            start..self.output.bytes.len()
        });
        let value_start = self.output.bytes.len();
        let event = Event {
            operation: Operation::Read,
            before: None,
            after: Some(row),
            unchanged: None,
            lsn: self.reading.markers.lsn,
        };
        table.writer.write_value(&event, source, &self.clock, &mut self.output);
        let end = self.output.bytes.len();
        table.count(Operation::Read, end - start);
        let exact = self.reading.settings.values.fidelity == Fidelity::Exact;
        let literal = self.output.take_literals();
        self.records.push(Record {
            route: table.route,
            key,
            value: Some(value_start..end),
            header: None,
            literal: literal.filter(|_| exact),
            position: Some(Position { epoch, ..Position::default() }),
            receipt: Receipt::Range(number),
        });
        if !self.output.problems.is_empty() {
            let position = Position { epoch, ..Position::default() };
            let policy = self.reading.settings.conversion_failure;
            table.report(&mut self.output.problems, position, policy)?;
        }
        if end >= BATCH_BYTES { self.send() } else { Ok(()) }
    }

    /// Sends what is gathered. Positions are given out under the lock that keeps the order, so that
    /// they rise in every partition whichever connection reads.
    pub(super) fn send(&mut self) -> Result<(), CaptureError> {
        let reading = self.reading;
        let mut next = reading.positions.next.lock().unwrap_or_else(PoisonError::into_inner);
        for record in &mut self.records {
            let Some(position) = &mut record.position else { continue };
            position.ord = *next;
            *next += 1;
        }
        let batch = Batch { bytes: &self.output.bytes, records: &self.records };
        let sent = reading.publisher.send(batch, &|| {
            reading.health.turn("snapshot");
            reading.goes_on()
        });
        drop(next);
        self.output.bytes.clear();
        self.output.bytes.shrink_to(BATCH_BYTES * 2);
        self.records.clear();
        Ok(sent?)
    }
}

/// Begins a transaction that sees an exported snapshot.
pub(in crate::capture) fn transaction(snapshot_name: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        quote_literal(snapshot_name)
    )
}

/// A connection that sees the snapshot.
pub(super) fn open(reading: &Reading<'_>) -> Result<Connection, SourceError> {
    let mut connection = Connection::open(&reading.settings.source, Purpose::Sql)?;
    connection.query(&transaction(&reading.snapshot_name))?;
    let rows = connection.query("SELECT pg_current_snapshot()::text")?;
    let seen = rows.into_iter().flatten().flatten().next().unwrap_or_default();
    if seen != reading.snapshot_text {
        return Err(SourceError::Closed {
            during: "importing the snapshot",
            reason: "the connection sees another snapshot than its parent".to_owned(),
        });
    }
    Ok(connection)
}

/// Reads pieces until there are none.
pub(super) fn work(
    reading: &Reading<'_>,
    next_job: impl Fn() -> Option<Job>,
    finished: impl Fn(Finished),
) -> Result<(), CaptureError> {
    let mut connection = None;
    while let Some(job) = next_job() {
        let mut progress = Progress::default();
        let mut attempts = 0;
        reading.tell_begun(&job)?;
        loop {
            let open = match connection.take() {
                Some(open) => open,
                None => open(reading)?,
            };
            match read(reading, open, &job, &mut progress) {
                Ok(open) => {
                    connection = Some(open);
                    break;
                }
                Err(CaptureError::Source(error)) => {
                    let error = reading.named(&job, error);
                    let is_final =
                        is_refusal(&error) || matches!(error, SourceError::Configuration { .. });
                    if attempts == ATTEMPTS || is_final {
                        reading.tell_failed(&job)?;
                        return Err(error.into());
                    }
                    if !reading.goes_on() {
                        return Err(PublishError::Stopped.into());
                    }
                    attempts += 1;
                    tracing::warn!(%error, "a connection that reads a table broke; again");
                    progress.begin_again();
                }
                Err(error) => return Err(error),
            }
        }
        reading.tell_read(&job)?;
        let is_whole = progress.is_whole(reading, &job);
        let (rows, last) = (progress.sent, progress.held);
        finished(Finished { job, rows, last, is_whole });
    }
    if let Some(connection) = connection {
        connection.close();
    }
    Ok(())
}

/// Whether the server refuses the command itself, by a name or a right that is missing: a new
/// connection hears the same.
fn is_refusal(error: &SourceError) -> bool {
    matches!(error, SourceError::Server { error, .. } if error.sqlstate.starts_with("42"))
}

/// How far a piece has been read.
///
/// A new connection begins the piece anew: the same snapshot gives the same rows, but in the same
/// order only as long as the table's file and the plan are the same. Where rows have a key, one
/// that comes twice does no harm; a table without one is read again.
#[derive(Default)]
struct Progress {
    taken: u64,
    sent: u64,
    held: Option<HeldRow>,
    /// Rows were sent before the piece was begun anew.
    repeats: bool,
    /// The snapshot does not show the rows: the file was replaced since.
    is_rewritten: bool,
}

impl Progress {
    fn begin_again(&mut self) {
        self.repeats |= self.sent > 0;
        self.taken = 0;
        self.held = None;
    }

    fn is_whole(&self, reading: &Reading<'_>, job: &Job) -> bool {
        let has_key = reading
            .tables
            .get(job.table)
            .is_some_and(|table| table.ready.writer.has_key() && table.planned.shape.key_is_unique);
        !self.is_rewritten && (!self.repeats || has_key)
    }
}

fn read(
    reading: &Reading<'_>,
    mut connection: Connection,
    job: &Job,
    progress: &mut Progress,
) -> Result<Connection, CaptureError> {
    let Some(table) = reading.tables.get(job.table) else { return Ok(connection) };
    let ready: &Arc<ReadyTable> = &table.ready;
    let mut sender = Sender::new(reading);
    let mut failure = None;
    let mut row = CopyRow::default();
    let mut since_turn = 0_u32;
    let result = connection.copy_out(&job.piece.command, |line| {
        since_turn += 1;
        if since_turn.is_multiple_of(1024) {
            reading.health.turn("snapshot");
            table.rows.add(1024);
        }
        match take(reading, &mut sender, (ready, table.epoch), (job, line), (&mut row, progress)) {
            Ok(()) => reading.goes_on(),
            Err(error) => {
                failure = Some(error);
                false
            }
        }
    });
    table.rows.add(i64::from(since_turn % 1024));
    if let Some(error) = failure {
        return Err(error);
    }
    sender.send()?;
    result?;
    // The table is locked from its COPY on: what is so now, was so while it was read.
    progress.is_rewritten |= is_rewritten(&mut connection, &job.piece.relations)?;
    Ok(connection)
}

/// Whether one of these relations has another file than the snapshot says: its rows, if it has any,
/// are not shown.
///
/// Source: PostgreSQL 18, "Caveats" of "Concurrency Control": TRUNCATE and the rewriting forms of
/// ALTER TABLE are not MVCC-safe.
fn is_rewritten(connection: &mut Connection, relations: &[u32]) -> Result<bool, SourceError> {
    let oids: Vec<String> = relations.iter().map(u32::to_string).collect();
    let rows = connection.query(&format!(
        "SELECT EXISTS (SELECT FROM pg_class WHERE oid = ANY ('{{{}}}'::oid[]) \
         AND pg_relation_filenode(oid) IS DISTINCT FROM nullif(relfilenode, 0))",
        oids.join(",")
    ))?;
    Ok(rows.into_iter().flatten().flatten().next().as_deref() == Some("t"))
}

/// Sends the row that was held and holds this one.
fn take(
    reading: &Reading<'_>,
    sender: &mut Sender<'_>,
    (table, epoch): (&ReadyTable, u64),
    (job, line): (&Job, &[u8]),
    (row, progress): (&mut CopyRow, &mut Progress),
) -> Result<(), CaptureError> {
    let broken = |message: String| CaptureError::OutOfStep { message };
    row.parse(line).map_err(|error| broken(format!("a line of COPY cannot be read: {error}")))?;
    if row.columns() != table.writer.columns() {
        return Err(broken(format!(
            "a line of COPY of table {} has {} columns, expected {}",
            table.name,
            row.columns(),
            table.writer.columns()
        )));
    }
    let first = progress.taken == 0;
    progress.taken += 1;
    match &mut progress.held {
        Some(held) => {
            let marker = reading.marker(job, held.first, false);
            sender.add((table, epoch), &held.row, marker, job.number)?;
            progress.sent += 1;
            std::mem::swap(&mut held.row, row);
            held.first = false;
        }
        None => progress.held = Some(HeldRow { row: std::mem::take(row), first }),
    }
    Ok(())
}
