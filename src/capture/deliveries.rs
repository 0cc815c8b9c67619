//! The life of an acknowledgement: from the destination into the ledger, into the stored position,
//! and from there into feedback.
//!
//! One thread polls the destination. What it learns is shared here with those that wait for it: the
//! reader (which position may be confirmed), the snapshot (which ranges are durable) and whoever
//! stores a record and waits.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use crate::capture::progress::Ledger;
use crate::capture::publisher::Ack;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Receipt;
use crate::capture::slot_record::Reached;
use crate::capture::slot_record::SlotRecord;
use crate::capture::state::Stored;
use crate::lsn::Lsn;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Metrics;
use crate::time::UnixMicros;

/// Acknowledged transactions are stored at most so often.
const STORE_INTERVAL: Duration = Duration::from_millis(100);

/// A position that only passes over what is not ours is stored at most so often.
const IDLE_STORE_INTERVAL: Duration = Duration::from_secs(1);

/// And if it passes over less than this, at most so often: a destination on the source's own server
/// writes log by storing, for ever.
const SMALL_IDLE_BYTES: u64 = 64 << 10;
const SMALL_IDLE_STORE_INTERVAL: Duration = Duration::from_secs(5);

/// How long one poll waits: the granularity of storing and of stopping.
const POLL_TIMEOUT: Duration = Duration::from_millis(20);

/// Part of the health that says what the destination has failed with.
pub(super) const DESTINATION: &str = "destination";

/// Records in flight without an acknowledgement for so long mean that the sink does not take them.
const SINK_SILENT_AFTER: Duration = Duration::from_secs(10);

/// A process that did not run for so long, because it was suspended or its machine was, may have a
/// successor.
const SUSPENDED_AFTER: Duration = Duration::from_secs(10);

/// What the delivery loop shares.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    inner: Mutex<Inner>,
    changed: Condvar,
    next_awaited: AtomicU32,
    next_range: AtomicU32,
    stored_lsn: AtomicU64,
    received_lsn: AtomicU64,
    published_lsn: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    ledger: Ledger,
    /// Acknowledged records of each range that is read.
    ranges: HashMap<u32, u64>,
    /// Records that somebody waits for.
    awaited: HashSet<u32>,
    /// Streaming has begun: acknowledged positions are stored.
    storing: bool,
    failure: Option<PublishError>,
    /// The loop stores what is acknowledged at once, because the end has come.
    hurry: bool,
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger, for a short moment.
    pub(super) fn with_ledger<T>(&self, each: impl FnOnce(&mut Ledger) -> T) -> T {
        each(&mut self.lock().ledger)
    }

    /// Everything before it is acknowledged and stored: it may be confirmed.
    pub(super) fn stored_lsn(&self) -> Lsn {
        Lsn(self.stored_lsn.load(Ordering::Acquire))
    }

    /// How far the stream has been received.
    pub(super) fn received_lsn(&self) -> Lsn {
        Lsn(self.received_lsn.load(Ordering::Relaxed))
    }

    /// Notes how far the stream has been received.
    pub(super) fn set_received(&self, lsn: Lsn) {
        self.received_lsn.fetch_max(lsn.0, Ordering::Relaxed);
    }

    /// The commit of the last transaction that was handed to the destination.
    pub(super) fn published_lsn(&self) -> Lsn {
        Lsn(self.published_lsn.load(Ordering::Relaxed))
    }

    /// Notes that records of the transaction with this commit are handed to the destination.
    pub(super) fn set_published(&self, commit: Lsn) {
        self.published_lsn.fetch_max(commit.0, Ordering::Relaxed);
    }

    /// From here on acknowledged positions are stored; this one is stored already.
    pub(super) fn start_storing(&self, stored: Lsn) {
        let mut inner = self.lock();
        self.stored_lsn.fetch_max(stored.0, Ordering::AcqRel);
        inner.ledger.idle(stored);
        inner.storing = true;
    }

    /// Receipts for so many ranges, and never the same again: records of a reading that was
    /// interrupted must not count for the next one. Gives the first.
    pub(super) fn new_ranges(&self, count: u32) -> u32 {
        self.next_range.fetch_add(count, Ordering::Relaxed)
    }

    /// A receipt that can be waited for.
    pub(super) fn new_awaited(&self) -> u32 {
        let number = self.next_awaited.fetch_add(1, Ordering::Relaxed);
        self.lock().awaited.insert(number);
        number
    }

    /// Nobody waits for this record any more.
    pub(super) fn forget_awaited(&self, number: u32) {
        self.lock().awaited.remove(&number);
    }

    /// Waits until a record is durable, as long as `go_on` gives `true`; it is called often, so
    /// that a loop that waits here can say that it is not dead.
    ///
    /// # Errors
    ///
    /// The destination has failed, or `go_on` gave `false`.
    pub(super) fn wait_for(
        &self,
        number: u32,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), PublishError> {
        self.wait_until(go_on, |inner| !inner.awaited.contains(&number))
    }

    /// Waits until a record of state is stored.
    ///
    /// # Errors
    ///
    /// As [`Deliveries::wait_for`].
    pub(super) fn wait_stored(
        &self,
        stored: Stored,
        number: u32,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), PublishError> {
        match stored {
            Stored::Now => {
                self.forget_awaited(number);
                Ok(())
            }
            Stored::WhenAcknowledged => self.wait_for(number, go_on),
        }
    }

    /// Waits until so many records of a range are durable, as long as `go_on` gives `true`.
    ///
    /// # Errors
    ///
    /// The destination has failed, or `go_on` gave `false`.
    pub(super) fn wait_for_range(
        &self,
        range: u32,
        records: u64,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), PublishError> {
        self.wait_until(go_on, |inner| inner.ranges.get(&range).copied().unwrap_or(0) >= records)
    }

    /// Waits until everything sent is acknowledged and stored, but not longer than this; gives
    /// whether it is.
    pub(super) fn wait_until_drained(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut inner = self.lock();
        inner.hurry = true;
        loop {
            let flush = inner.ledger.flush_lsn();
            let stored = !inner.storing || self.stored_lsn() >= flush;
            if inner.ledger.transactions() == 0 && stored {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.failure.is_some() {
                return false;
            }
            let waited = self.changed.wait_timeout(inner, left.min(POLL_TIMEOUT));
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_until(
        &self,
        go_on: &dyn Fn() -> bool,
        done: impl Fn(&Inner) -> bool,
    ) -> Result<(), PublishError> {
        let mut inner = self.lock();
        loop {
            if done(&inner) {
                return Ok(());
            }
            if let Some(error) = &inner.failure {
                return Err(error.clone());
            }
            drop(self.changed.wait_timeout(inner, POLL_TIMEOUT));
            let go_on = go_on();
            inner = self.lock();
            if !go_on && !done(&inner) {
                return Err(PublishError::Stopped);
            }
        }
    }

    /// The first failure of the destination.
    pub(super) fn failure(&self) -> Option<PublishError> {
        self.lock().failure.clone()
    }

    /// Commit time of the oldest transaction that is not acknowledged.
    pub(super) fn oldest_commit_time(&self) -> Option<UnixMicros> {
        self.lock().ledger.oldest_commit_time()
    }

    /// Counts acknowledgements; gives how many records and how many of them of transactions.
    fn count(&self, acks: &[Ack]) -> (u64, u64) {
        let mut inner = self.lock();
        let (mut records, mut streamed) = (0, 0);
        for ack in acks {
            records += ack.records;
            match ack.receipt {
                Receipt::Transaction(ticket) => {
                    streamed += ack.records;
                    inner.ledger.acknowledge(ticket, ack.records);
                }
                Receipt::Range(range) => *inner.ranges.entry(range).or_default() += ack.records,
                Receipt::Awaited(number) => {
                    inner.awaited.remove(&number);
                }
                Receipt::Nobody => {}
            }
        }
        drop(inner);
        self.changed.notify_all();
        (records, streamed)
    }

    fn fail(&self, error: PublishError) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }
}

/// The thread that polls the destination.
pub(super) struct DeliveryLoop<'a> {
    /// Shared with everybody who waits.
    pub(super) deliveries: &'a Deliveries,
    /// The destination.
    pub(super) publisher: &'a dyn Publisher,
    /// Where positions are stored.
    pub(super) record: &'a SlotRecord,
    /// Metrics.
    pub(super) metrics: &'a Metrics,
    /// Health.
    pub(super) health: &'a Health,
    /// Ends the loop.
    pub(super) stop: &'a Stop,
}

/// A moment by both clocks: one of them goes on while the machine is suspended.
struct Clock {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Clock { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    fn elapsed(&self) -> Duration {
        // A clock that was set back has not moved.
        self.monotonic.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

/// A position that is being stored.
struct Pending {
    number: u32,
    lsn: Lsn,
}

/// When a position was stored last, and what for.
struct LastStore {
    at: Instant,
    /// Transactions have been acknowledged since.
    busy: bool,
}

impl DeliveryLoop<'_> {
    /// Runs until it is stopped or the destination fails; a failure is left in
    /// [`Deliveries::failure`].
    pub(super) fn run(&self) {
        if let Err(error) = self.turn_until_stopped() {
            self.deliveries.fail(error);
        }
        self.metrics.destination_up.set(0);
        self.health.leave("deliveries");
    }

    fn turn_until_stopped(&self) -> Result<(), PublishError> {
        let mut acks = Vec::new();
        let mut pending: Option<Pending> = None;
        let mut last = LastStore { at: Instant::now(), busy: false };
        let mut heard = Instant::now();
        let mut clock = Clock::now();
        // It has failed, and acknowledged nothing since.
        let mut unproven = self.health.is_stopped_by(DESTINATION);
        let began = Instant::now();
        while !self.stop.is_requested() {
            self.health.turn("deliveries");
            // Before anything is polled or stored: what is in flight may come behind what a
            // successor has published, and its positions are later.
            let stood_still = clock.elapsed();
            if stood_still > SUSPENDED_AFTER {
                return Err(PublishError::Broken {
                    during: "keeping what is in flight".to_owned(),
                    reason: format!(
                        "the process stood still for {} s and may have had a successor meanwhile",
                        stood_still.as_secs()
                    ),
                });
            }
            clock = Clock::now();
            acks.clear();
            self.publisher.poll(POLL_TIMEOUT, &mut acks)?;
            if !acks.is_empty() {
                let (records, streamed) = self.deliveries.count(&acks);
                self.metrics.acknowledged.inc_by(records);
                last.busy |= streamed > 0;
                heard = Instant::now();
            }
            let idle = !self.publisher.is_waiting() && began.elapsed() > SINK_SILENT_AFTER;
            if unproven && (!acks.is_empty() || idle) {
                unproven = false;
                self.health.set_ready(DESTINATION, Ok(()));
            }
            if let Some(stored) = pending.take_if(|pending| self.is_stored(pending)) {
                self.stored(stored.lsn);
            }
            if pending.is_none() {
                pending = self.store_if_due(&mut last)?;
            }
            self.tell_whether_sink_answers(&mut heard, unproven);
        }
        Ok(())
    }

    fn is_stored(&self, pending: &Pending) -> bool {
        !self.deliveries.lock().awaited.contains(&pending.number)
    }

    fn stored(&self, lsn: Lsn) {
        self.deliveries.stored_lsn.fetch_max(lsn.0, Ordering::AcqRel);
        self.metrics.stored_lsn.set(lsn.0.cast_signed());
        self.deliveries.changed.notify_all();
    }

    /// Stores the position up to which everything is acknowledged, if it has moved and it is time.
    fn store_if_due(&self, last: &mut LastStore) -> Result<Option<Pending>, PublishError> {
        let stored = self.deliveries.stored_lsn();
        let flush = {
            let mut inner = self.deliveries.lock();
            let flush = inner.ledger.flush_lsn();
            self.metrics.acknowledged_lsn.set(flush.0.cast_signed());
            let interval = match flush.bytes_since(stored) {
                0 => return Ok(None),
                _ if inner.hurry => Duration::ZERO,
                _ if last.busy => STORE_INTERVAL,
                1..SMALL_IDLE_BYTES => SMALL_IDLE_STORE_INTERVAL,
                _ => IDLE_STORE_INTERVAL,
            };
            if !inner.storing || last.at.elapsed() < interval {
                return Ok(None);
            }
            flush
        };
        let number = self.deliveries.new_awaited();
        let reached = Reached { lsn: flush, published: self.deliveries.published_lsn() };
        let stored = self.record.store_reached(reached, Receipt::Awaited(number))?;
        if stored.is_some() {
            *last = LastStore { at: Instant::now(), busy: false };
        }
        match stored {
            Some(Stored::WhenAcknowledged) => Ok(Some(Pending { number, lsn: flush })),
            now => {
                self.deliveries.forget_awaited(number);
                if now.is_some() {
                    self.stored(flush);
                }
                Ok(None)
            }
        }
    }

    fn tell_whether_sink_answers(&self, heard: &mut Instant, unproven: bool) {
        if !self.publisher.is_waiting() {
            *heard = Instant::now();
        }
        let silent = heard.elapsed();
        let ready = if silent > SINK_SILENT_AFTER {
            let sink = self.publisher.describe();
            let why = self.publisher.trouble().map_or_else(String::new, |why| format!(": {why}"));
            Err(format!("{sink} has acknowledged nothing for {} s{why}", silent.as_secs()))
        } else {
            Ok(())
        };
        self.metrics.destination_up.set(i64::from(ready.is_ok() && !unproven));
        self.health.set_ready("sink", ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_reading_sent_does_not_count_for_the_next_one() {
        let deliveries = Deliveries::default();
        let acknowledge = |range: u32| {
            deliveries.count(&[Ack { receipt: Receipt::Range(range), records: 10 }]);
        };
        let first = deliveries.new_ranges(3);
        acknowledge(first);
        assert_eq!(deliveries.wait_for_range(first, 10, &|| false), Ok(()));
        let second = deliveries.new_ranges(3);
        acknowledge(first + 1);
        for range in second..second + 3 {
            let waited = deliveries.wait_for_range(range, 10, &|| false);
            assert_eq!(waited, Err(PublishError::Stopped));
        }
        acknowledge(second);
        assert_eq!(deliveries.wait_for_range(second, 10, &|| false), Ok(()));
    }
}
