//! The reader: whole frames from the socket to the encoder, feedback to the server, whatever the
//! encoder and the sink are doing.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;

use crate::capture::deliveries::Deliveries;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::replication::Chunk;
use crate::capture::postgres::replication::Incoming;
use crate::capture::postgres::replication::ReplicationStream;
use crate::capture::settings::CaptureSettings;
use crate::capture::wire::StandbyStatusUpdate;
use crate::lsn::Lsn;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Metrics;
use crate::time::PgTimestamp;
use crate::time::UnixMicros;

/// How long the loop waits for room in the queue before it looks at feedback again.
const ROOM_TIMEOUT: Duration = Duration::from_millis(5);

/// Written data that has not reached the server for so long is stuck.
const UNHEARD_AFTER: Duration = Duration::from_millis(300);

/// How much is read then, though the queue is full: enough for the kernel to open the window again.
const RELIEF_BYTES: usize = 1 << 20;

/// The most that the queue may hold beyond its bound for that.
const RELIEF_BYTES_MAX: usize = 16 << 20;

/// Chunks between reader and encoder, bounded in bytes.
#[derive(Debug)]
pub(super) struct ChunkQueue {
    sender: Sender<Chunk>,
    receiver: Receiver<Chunk>,
    /// Buffers that come back to be read into again.
    spare_sender: Sender<Vec<u8>>,
    spare_receiver: Receiver<Vec<u8>>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// Spare buffers that are kept.
const SPARE_BUFFERS: usize = 8;

/// Chunks that fit whatever their size: bytes bound the queue long before.
const CHUNKS_MAX: usize = 4096;

impl ChunkQueue {
    /// An empty queue for so many bytes; one chunk always fits.
    pub(super) fn new(bytes_max: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(CHUNKS_MAX);
        let (spare_sender, spare_receiver) = crossbeam_channel::bounded(SPARE_BUFFERS);
        let bytes = AtomicUsize::new(0);
        ChunkQueue { sender, receiver, spare_sender, spare_receiver, bytes, bytes_max }
    }

    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) < self.bytes_max && !self.sender.is_full()
    }

    fn push(&self, chunk: Chunk) {
        self.bytes.fetch_add(chunk.capacity(), Ordering::AcqRel);
        // There is room, because only this side adds and it has looked.
        self.sender.send(chunk).ok();
    }

    /// The next chunk, waiting for it not longer than this.
    pub(super) fn pop(&self, timeout: Duration) -> Option<Chunk> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// Gives a chunk's bytes free.
    pub(super) fn recycle(&self, chunk: Chunk) {
        self.bytes.fetch_sub(chunk.capacity(), Ordering::AcqRel);
        if let Some(buffer) = chunk.into_buffer() {
            // No room: there are enough.
            self.spare_sender.try_send(buffer).ok();
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn spare(&self) -> Vec<u8> {
        self.spare_receiver.try_recv().unwrap_or_default()
    }
}

/// The thread that owns the replication stream.
pub(super) struct StreamLoop<'a> {
    /// To the encoder.
    pub(super) queue: &'a ChunkQueue,
    /// What may be confirmed.
    pub(super) deliveries: &'a Deliveries,
    /// At least so often the server hears from us.
    pub(super) status_interval: Duration,
    /// It hears what is stored; otherwise somebody else moves the slot.
    pub(super) confirms: bool,
    /// Metrics.
    pub(super) metrics: &'a Metrics,
    /// Health.
    pub(super) health: &'a Health,
    /// Ends the reading; feedback goes on until `ended`.
    pub(super) stop: &'a Stop,
    /// Ends the loop after a last word to the server.
    pub(super) ended: &'a Stop,
}

impl StreamLoop<'_> {
    /// Runs until it is ended or the connection is.
    ///
    /// # Errors
    ///
    /// Why the connection ended.
    pub(super) fn run(&self, mut stream: ReplicationStream) -> Result<(), SourceError> {
        let result = self.turn_until_ended(&mut stream);
        self.health.leave("reader");
        result?;
        self.send_status(&mut stream)?;
        stream.finish().ok();
        Ok(())
    }

    fn turn_until_ended(&self, stream: &mut ReplicationStream) -> Result<(), SourceError> {
        let mut confirmed = self.deliveries.stored_lsn();
        let mut due = Instant::now();
        let mut asked = false;
        let mut relief = Relief::default();
        loop {
            self.health.turn("reader");
            // 1. The end, because nothing may hold it up.
            if self.ended.is_requested() {
                return Ok(());
            }
            // 2. Feedback, because the server frees its log by it and closes on silence.
            let stored = self.deliveries.stored_lsn();
            if stored > confirmed || asked || Instant::now() >= due {
                self.send_status(stream)?;
                confirmed = stored;
                due = Instant::now() + self.status_interval;
                asked = false;
            }
            // 3. A pause while there is no room or reading has stopped: the server then waits too.
            let full = !self.queue.has_room();
            if self.stop.is_requested() || (full && !relief.is_due(stream, self.queue)?) {
                self.ended.wait(ROOM_TIMEOUT);
                continue;
            }
            // 4. The stream.
            match stream.read(|| self.queue.spare())? {
                Incoming::Nothing => {}
                Incoming::Frames { chunk, reply_requested } => {
                    asked |= reply_requested;
                    self.metrics.received_bytes.inc_by(chunk.bytes().len() as u64);
                    relief.has_read(chunk.bytes().len());
                    self.queue.push(chunk);
                }
            }
            let bytes = i64::try_from(self.queue.bytes()).unwrap_or(i64::MAX);
            self.metrics.source_queue_bytes.set(bytes);
        }
    }

    fn send_status(&self, stream: &mut ReplicationStream) -> Result<(), SourceError> {
        // Zero confirms nothing.
        let flush_lsn = if self.confirms { self.deliveries.stored_lsn() } else { Lsn::ZERO };
        stream.send_status(&StandbyStatusUpdate {
            write_lsn: self.deliveries.received_lsn().max(flush_lsn),
            flush_lsn,
            client_time: PgTimestamp::from(UnixMicros::now()),
        })
    }
}

/// Keeps feedback flowing while nothing is read for want of room.
///
/// When the kernel's buffer is full to the brim it drops what arrives, and with it the
/// acknowledgements of what we write: nothing new is sent then until somebody reads, and the server
/// takes us for dead. Whether it comes to that depends on what was under way when the buffer became
/// full, so that one reading of some more, or a few, ends it for good.
#[derive(Debug, Default)]
struct Relief {
    /// Since when something that was written has not reached the server.
    unheard: Option<Instant>,
    /// Bytes that may still be read.
    left: usize,
}

impl Relief {
    /// Whether to read though the queue is full.
    fn is_due(
        &mut self,
        stream: &ReplicationStream,
        queue: &ChunkQueue,
    ) -> Result<bool, SourceError> {
        if queue.sender.is_full() || queue.bytes() > queue.bytes_max + RELIEF_BYTES_MAX {
            return Ok(false);
        }
        if self.left == 0 {
            let unheard = stream.is_unheard()?;
            self.unheard = self.unheard.filter(|_| unheard).or(unheard.then(Instant::now));
            if self.unheard.is_some_and(|since| since.elapsed() > UNHEARD_AFTER) {
                *self = Relief { unheard: None, left: RELIEF_BYTES };
            }
        }
        Ok(self.left > 0)
    }

    fn has_read(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}

/// At least every third of the server's timeout.
pub(super) fn status_interval(settings: &CaptureSettings, sql: &Sql) -> Duration {
    let asked = sql
        .query_one("SELECT setting::int8 FROM pg_settings WHERE name = 'wal_sender_timeout'", &[]);
    let timeout = asked.ok().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok());
    let third = match timeout {
        None | Some(0) => settings.times.status,
        Some(millis) => Duration::from_millis(millis / 3),
    };
    third.min(settings.times.status)
}
