//! What may be confirmed to the server.
//!
//! Takes the ends of transactions as they are sent and acknowledgements of their records as they
//! arrive, in any order; gives the one log position that is safe to report as flushed. Knows
//! nothing of brokers and sockets, so every order of acknowledgements can be tested without them.
//!
//! **Invariant:** the position given never passes a record that is not acknowledged, and never goes
//! back.
//!
//! A transaction counts once it is closed, with the number of its records, and that many are
//! acknowledged. Whatever has no records (an empty transaction, a keepalive) only moves the end of
//! the transaction before it, so that memory is one entry per transaction with records in flight.

use std::collections::VecDeque;

use crate::lsn::Lsn;
use crate::time::UnixMicros;

/// One transaction's place in the ledger; travels with each of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Sent transactions, oldest first, and how much of each is acknowledged.
#[derive(Debug, Default)]
pub struct Ledger {
    open: VecDeque<Transaction>,
    /// Ticket of the front of `open`.
    first: u64,
    flush_lsn: Lsn,
}

#[derive(Clone, Copy, Debug)]
struct Transaction {
    acknowledged: u64,
    end: End,
    commit_time: UnixMicros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More records may follow.
    Open,
    /// It has so many records, and the position after it is this.
    Closed { records: u64, end_lsn: Lsn },
    /// The connection broke inside it; the server sends it again, under another ticket.
    Abandoned,
}

impl Ledger {
    /// Opens a transaction behind all others.
    pub fn begin(&mut self, commit_time: UnixMicros) -> Ticket {
        let ticket = self.first + self.length();
        self.open.push_back(Transaction { acknowledged: 0, end: End::Open, commit_time });
        Ticket(ticket)
    }

    /// Closes a transaction: it has so many records, acknowledged already or not, and the server
    /// may go on at `end_lsn` once all of them are.
    pub fn close(&mut self, ticket: Ticket, records: u64, end_lsn: Lsn) {
        if let Some(transaction) = self.transaction(ticket) {
            transaction.end = End::Closed { records, end_lsn };
        }
        if records == 0 && ticket.0 + 1 == self.first + self.length() {
            self.open.pop_back();
            self.idle(end_lsn);
        }
    }

    /// Gives up an open transaction, because its connection broke.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let Some(transaction) = self.transaction(ticket) {
            transaction.end = End::Abandoned;
        }
    }

    /// Nothing of ours lies between the last closed transaction and `wal_end`: once everything
    /// before is acknowledged, the server may go on there.
    ///
    /// Inside an open transaction this says nothing new: the transaction ends later.
    pub fn idle(&mut self, wal_end: Lsn) {
        match self.open.back_mut() {
            None => self.flush_lsn = self.flush_lsn.max(wal_end),
            Some(Transaction { end: End::Closed { end_lsn, .. }, .. }) => {
                *end_lsn = (*end_lsn).max(wal_end);
            }
            Some(Transaction { end: End::Open, .. }) => {}
            Some(Transaction { end: End::Abandoned, commit_time, .. }) => {
                let commit_time = *commit_time;
                let end = End::Closed { records: 0, end_lsn: wal_end };
                self.open.push_back(Transaction { acknowledged: 0, end, commit_time });
            }
        }
    }

    /// Counts acknowledged records of a transaction. Late ones of an abandoned transaction that has
    /// left the ledger are ignored.
    pub fn acknowledge(&mut self, ticket: Ticket, records: u64) {
        if let Some(transaction) = self.transaction(ticket) {
            transaction.acknowledged += records;
        }
    }

    /// The position to report as flushed: the end of the last transaction up to which, itself
    /// included, every record is acknowledged. [`Lsn::ZERO`] until there is one.
    pub fn flush_lsn(&mut self) -> Lsn {
        while let Some(transaction) = self.open.front() {
            match transaction.end {
                End::Closed { records, end_lsn } if transaction.acknowledged >= records => {
                    self.flush_lsn = self.flush_lsn.max(end_lsn);
                }
                End::Abandoned => {}
                End::Open | End::Closed { .. } => break,
            }
            self.open.pop_front();
            self.first += 1;
        }
        self.flush_lsn
    }

    /// Commit time of the oldest transaction that is not wholly acknowledged.
    pub fn oldest_commit_time(&self) -> Option<UnixMicros> {
        let waiting = |transaction: &&Transaction| match transaction.end {
            End::Open => true,
            End::Closed { records, .. } => transaction.acknowledged < records,
            End::Abandoned => false,
        };
        self.open.iter().find(waiting).map(|transaction| transaction.commit_time)
    }

    /// Transactions with records that are not acknowledged, and open ones.
    pub fn transactions(&self) -> usize {
        self.open.len()
    }

    fn length(&self) -> u64 {
        self.open.len() as u64
    }

    fn transaction(&mut self, ticket: Ticket) -> Option<&mut Transaction> {
        let place = usize::try_from(ticket.0.checked_sub(self.first)?).ok()?;
        self.open.get_mut(place)
    }
}
