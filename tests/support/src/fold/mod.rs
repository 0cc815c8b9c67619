//! Tables rebuilt from nothing but their topics.
//!
//! Takes records with Debezium envelopes in JSON, with or without embedded schemas; gives the tables
//! that they add up to, and counts what a faultless stream has none of. It applies the rules that a
//! reader of cdc-agent's topics may rely on:
//!
//! - records carry `cdc.position`; within a partition a streamed change at or below one that was
//!   already read is a redelivery and changes nothing;
//! - initial reads lie below all changes; of two reads of a row the later wins;
//! - the first record of a higher epoch empties the table: a new epoch reads it again as a whole;
//! - a placeholder for an unchanged value keeps what the row has, also across a change of its key;
//! - a table without a key is a multiset.
//!
//! Partitions are read in their order, then all changes are applied in the order of positions, so a
//! change of key or a TRUNCATE across partitions needs no waiting. Records without `cdc.position` (a
//! stock Debezium's) are applied as they lie, without looking for redeliveries.

mod apply;
mod change;
mod position;

use std::collections::BTreeMap;
use std::collections::HashMap;

use serde_json::Value;

use crate::topics::TopicRecord;

pub use change::UNAVAILABLE;
pub use change::canonical;
pub use change::is_unavailable;
pub use position::Position;

use change::Change;
use change::Operation;

/// The tables that topics add up to, by `namespace.table` as the source block has them.
#[derive(Debug, Default)]
pub struct Fold {
    /// The tables. One that no record names is not there.
    pub tables: BTreeMap<String, Table>,
    /// What was read and what was odd.
    pub counts: Counts,
}

/// The rows of one table.
#[derive(Debug, Default)]
pub struct Table {
    /// Rows by the text of their key, its members sorted by name; empty for a table without a key.
    pub rows: BTreeMap<String, Value>,
    /// Rows of a table without a key and how many there are of each, by their text with members
    /// sorted by name.
    pub bag: BTreeMap<String, u64>,
    /// Columns of a row that only a placeholder has ever named, by key.
    pub incomplete: BTreeMap<String, Vec<String>>,
}

/// What was read. The fields from `late` on are zero for a capture without faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records of tables, tombstones left out.
    pub records: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Records that are no changes of a table: messages, transaction ends, heartbeats, `__` topics.
    pub others: u64,
    /// Initial reads.
    pub reads: u64,
    /// Streamed changes, redeliveries left out.
    pub changes: u64,
    /// Changes delivered again: allowed, and without effect.
    pub duplicates: u64,
    /// Changes that came for the first time after a later one of their partition: these are lost to
    /// a reader that trusts the order.
    pub late: u64,
    /// Redeliveries that did not say the same as the first delivery.
    pub differing_duplicates: u64,
    /// Creates of a row that was there. Normal only where changes follow a read that saw them.
    pub creates_over_row: u64,
    /// Updates of a row that was not there. Normal as above.
    pub updates_without_row: u64,
    /// Deletes of a row that was not there. Normal as above.
    pub deletes_without_row: u64,
    /// Updates and deletes of a table without a key whose old row was not in the multiset.
    pub unmatched: u64,
}

impl Counts {
    /// Whether anything was there that readers cannot live with: late changes, redeliveries that
    /// differ, old rows that do not match.
    pub fn is_sound(&self) -> bool {
        self.late == 0 && self.differing_duplicates == 0 && self.unmatched == 0
    }

    /// As [`Counts::is_sound`], and every change met the state that it speaks of: the snapshot is
    /// exactly consistent with the stream.
    pub fn is_exact(&self) -> bool {
        self.is_sound()
            && self.creates_over_row == 0
            && self.updates_without_row == 0
            && self.deletes_without_row == 0
    }
}

/// Rebuilds the tables. The records of a partition must come in the order of their offsets.
///
/// # Panics
///
/// If a record cannot be understood, naming its topic, partition and offset.
#[track_caller]
pub fn fold(records: &[TopicRecord]) -> Fold {
    let mut folder = Folder::default();
    for record in records {
        folder.push(record);
    }
    folder.finish()
}

/// A fold fed record by record, so that the records themselves need not be kept.
#[derive(Debug, Default)]
pub struct Folder {
    changes: Vec<Change>,
    partitions: HashMap<(String, i32), Seen>,
    counts: Counts,
}

/// The changes of one partition so far.
#[derive(Debug, Default)]
struct Seen {
    highest: Option<Position>,
    digests: HashMap<Position, u64>,
}

impl Folder {
    /// The next record of its partition.
    ///
    /// # Panics
    ///
    /// If it cannot be understood.
    #[track_caller]
    pub fn push(&mut self, record: &TopicRecord) {
        if record.value.is_none() {
            self.counts.tombstones += 1;
            return;
        }
        let Some(change) = Change::parse(record) else {
            self.counts.others += 1;
            return;
        };
        self.counts.records += 1;
        if self.is_news(record, &change) {
            match change.operation {
                Operation::Read => self.counts.reads += 1,
                _ => self.counts.changes += 1,
            }
            self.changes.push(change);
        }
    }

    /// The tables after all records.
    pub fn finish(mut self) -> Fold {
        // Stable: what has no position keeps the order in which it came.
        self.changes.sort_by_key(|change| change.position);
        let mut fold = Fold { tables: BTreeMap::new(), counts: self.counts };
        apply::apply(&mut fold, self.changes);
        fold
    }

    fn is_news(&mut self, record: &TopicRecord, change: &Change) -> bool {
        let Some(position) = change.position else { return true };
        // The row's version guards reads of rows with a key: sorting them is enough.
        if change.operation == Operation::Read && change.key.is_some() {
            return true;
        }
        let place = (record.topic.clone(), record.partition);
        let seen = self.partitions.entry(place).or_default();
        if seen.highest.is_none_or(|highest| position > highest) {
            seen.highest = Some(position);
            seen.digests.insert(position, change.digest());
            return true;
        }
        match seen.digests.get(&position) {
            Some(digest) if *digest == change.digest() => self.counts.duplicates += 1,
            Some(_) => {
                self.counts.duplicates += 1;
                self.counts.differing_duplicates += 1;
            }
            None => self.counts.late += 1,
        }
        false
    }
}
