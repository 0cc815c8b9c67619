//! Goal: the flush position never passes an unacknowledged record, never goes back, and reaches the
//! end of everything that is acknowledged.
//!
//! Method: random interleavings of begins, records, commits, keepalives, broken connections and
//! acknowledgements in any order, compared after every step with a model that keeps every
//! transaction for ever. `SEED=n` repeats one run.

#![allow(clippy::print_stdout, reason = "the seeds of a random test are printed")]

use cdc_agent::capture::progress::Ledger;
use cdc_agent::capture::progress::Ticket;
use cdc_agent::lsn::Lsn;
use cdc_agent::time::UnixMicros;

/// A transaction or, without a ticket, a keepalive, in the order of sending.
#[derive(Debug, Default)]
struct Entry {
    ticket: Option<u64>,
    /// `None` while open.
    end: Option<u64>,
    abandoned: bool,
    records: u64,
    acknowledged: u64,
    time: i64,
}

/// The ledger beside its model.
struct Run {
    random: fastrand::Rng,
    ledger: Ledger,
    entries: Vec<Entry>,
    in_flight: Vec<u64>,
    lsn: u64,
    highest: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        Run {
            random: fastrand::Rng::with_seed(seed),
            ledger: Ledger::default(),
            entries: Vec::new(),
            in_flight: Vec::new(),
            lsn: 100,
            highest: 0,
        }
    }

    /// The open transaction, if the last entry is one.
    fn open(&mut self) -> Option<&mut Entry> {
        self.entries.last_mut().filter(|entry| entry.end.is_none() && !entry.abandoned)
    }

    fn begin(&mut self, time: i64) {
        let ticket = self.ledger.begin(UnixMicros(time)).0;
        self.entries.push(Entry { ticket: Some(ticket), time, ..Entry::default() });
    }

    fn keepalive(&mut self) {
        self.ledger.idle(Lsn(self.lsn));
        self.entries.push(Entry { end: Some(self.lsn), ..Entry::default() });
    }

    fn commit(&mut self) {
        self.lsn += 1;
        let end = self.lsn;
        let Some(entry) = self.open() else { return };
        entry.end = Some(end);
        let (ticket, records) = (entry.ticket.unwrap_or_default(), entry.records);
        self.ledger.close(Ticket(ticket), records, Lsn(end));
    }

    fn acknowledge_any(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let ticket = self.in_flight.swap_remove(self.random.usize(0..self.in_flight.len()));
        self.ledger.acknowledge(Ticket(ticket), 1);
        // An empty transaction's ticket is used again, so the last one is meant.
        if let Some(entry) =
            self.entries.iter_mut().rev().find(|entry| entry.ticket == Some(ticket))
        {
            entry.acknowledged += 1;
        }
    }

    fn step(&mut self, step: i64) {
        self.lsn += self.random.u64(0..3);
        let choice = self.random.u8(0..10);
        let break_connection = self.random.u8(0..8) == 0;
        match (choice, self.open()) {
            (0..=2, None) => self.begin(step),
            (8, None) => self.keepalive(),
            (0..=4, Some(entry)) => {
                entry.records += 1;
                let ticket = entry.ticket.unwrap_or_default();
                self.in_flight.push(ticket);
            }
            (5..=6, Some(_)) => self.commit(),
            (7, Some(entry)) if break_connection => {
                entry.abandoned = true;
                let ticket = entry.ticket.unwrap_or_default();
                self.ledger.abandon(Ticket(ticket));
            }
            _ => self.acknowledge_any(),
        }
    }

    /// What the model allows to be flushed.
    fn flush(&mut self) -> u64 {
        for entry in self.entries.iter().filter(|entry| !entry.abandoned) {
            match entry.end {
                Some(end) if entry.acknowledged == entry.records => {
                    self.highest = self.highest.max(end);
                }
                _ => break,
            }
        }
        self.highest
    }

    fn oldest(&self) -> Option<i64> {
        let waiting = |entry: &&Entry| {
            !entry.abandoned && (entry.end.is_none() || entry.acknowledged < entry.records)
        };
        self.entries.iter().find(waiting).map(|entry| entry.time)
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for step in 0..400 {
        run.step(step);
        let expected = run.flush();
        assert_eq!(run.ledger.flush_lsn().0, expected, "SEED={seed}, step {step}");
        let oldest = run.ledger.oldest_commit_time().map(|time| time.0);
        assert_eq!(oldest, run.oldest(), "SEED={seed}, step {step}");
    }
    run.commit();
    while !run.in_flight.is_empty() {
        run.acknowledge_any();
    }
    run.lsn += 1;
    run.keepalive();
    assert_eq!(run.ledger.flush_lsn().0, run.lsn, "SEED={seed}: all is acknowledged");
    assert_eq!(run.ledger.transactions(), 0, "SEED={seed}");
}

#[test]
fn flush_position_matches_the_model() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed);
        return;
    }
    let first = fastrand::u64(..) >> 32;
    println!("seeds {first} to {}", first + 1999);
    (first..first + 2000).for_each(run);
}

#[test]
fn empty_transactions_and_keepalives_behind_an_unacknowledged_one_take_no_memory() {
    let mut ledger = Ledger::default();
    let blocked = ledger.begin(UnixMicros(1));
    ledger.close(blocked, 1, Lsn(10));
    for number in 0..100_000_u64 {
        let empty = ledger.begin(UnixMicros(2));
        ledger.close(empty, 0, Lsn(20 + number));
        ledger.idle(Lsn(20 + number));
    }
    assert_eq!(ledger.transactions(), 1);
    assert_eq!(ledger.flush_lsn(), Lsn::ZERO);
    ledger.acknowledge(blocked, 1);
    assert_eq!(ledger.flush_lsn(), Lsn(20 + 99_999));
}
