//! What survives a crash: one record per slot, and one per table of it.
//!
//! Takes and gives [`State`]; keeps it in the compacted topic `PREFIX.__state` or in a file. The
//! slot's record holds what positions belong to and the stored position; what is known of each
//! table stands in records of its own, so that ten thousand tables do not travel with every
//! position.
//!
//! **A position is stored before it is confirmed**, and a slot whose record does not say *complete*
//! is never merely streamed.

mod file;
mod topic;

pub use file::FileStore;
pub use topic::TopicStore;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::capture::publisher::PublishError;
use crate::capture::publisher::Receipt;
use crate::lsn::Lsn;
use crate::table::TableName;

/// Everything that is stored for one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The slot's own record.
    pub slot: SlotState,
    /// Its tables'.
    pub tables: BTreeMap<TableName, TableState>,
}

/// The record of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotState {
    /// Layout of this record.
    pub version: u32,
    /// System identifier of the server.
    pub system_identifier: String,
    /// Timeline that the stored position is of.
    pub timeline: u32,
    /// Database.
    pub database: String,
    /// Slot.
    pub slot: String,
    /// Incarnation of the source's history; from 1.
    pub epoch: u64,
    /// Publication.
    pub publication: String,
    /// Its id: another one means that it was dropped and created again.
    pub publication_oid: u32,
    /// Its options and ours that decide which changes are sent, and so their places in their
    /// transactions.
    pub order_options: String,
    /// How often reading of tables has begun in this epoch.
    pub read_attempts: u64,
    /// Every table has been read and every read is acknowledged: streaming may begin.
    pub complete: bool,
    /// Slot and publication were dropped by us: nothing but the epoch counts any more. The records
    /// of that epoch are still there, and a new read has to stand above them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
    /// Everything before it is acknowledged; nothing after it has been confirmed.
    #[serde(with = "lsn_text")]
    pub lsn: Lsn,
    /// Commit of the last transaction that was handed to the destination, or the end of the WAL
    /// that a snapshot shows: a server whose history lacks it lacks what consumers have.
    #[serde(default, with = "lsn_text", skip_serializing_if = "is_zero")]
    pub published: Lsn,
    /// Which run of the agent wrote this record: another one has owned the slot since.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub writer: String,
}

impl SlotState {
    /// Takes over how far an earlier version of this record had come: in one epoch and timeline no
    /// position goes back.
    pub fn take_over_progress(&mut self, earlier: &SlotState) {
        if self.epoch == earlier.epoch {
            self.published = self.published.max(earlier.published);
            if self.timeline == earlier.timeline {
                self.lsn = self.lsn.max(earlier.lsn);
            }
        }
    }

    /// What remains when the slot is dropped, and this was the highest epoch of it and its tables.
    #[must_use]
    pub fn after_drop(&self, highest_epoch: u64) -> Self {
        SlotState {
            version: STATE_VERSION,
            slot: self.slot.clone(),
            epoch: highest_epoch,
            dropped: true,
            ..SlotState::default()
        }
    }
}

impl State {
    /// The highest epoch of the slot and its tables.
    pub fn highest_epoch(&self) -> u64 {
        self.tables.values().map(|table| table.epoch_begun).fold(self.slot.epoch, u64::max)
    }

    /// The next epoch of the slot: above those of its tables, too.
    pub fn next_epoch(&self) -> u64 {
        self.highest_epoch() + 1
    }

    /// The slot's record as it is after a drop.
    pub fn after_drop(&self) -> SlotState {
        self.slot.after_drop(self.highest_epoch())
    }

    /// The epoch that a table's records belong to: the slot's, or one of its own that is later.
    pub fn epoch_of(&self, table: &TableName) -> u64 {
        self.tables.get(table).map_or(0, |known| known.epoch_begun).max(self.slot.epoch)
    }

    /// A table is to be read whose records may be there already: in an epoch of its own, above
    /// them, with what commits before this position in the reads. One of which nothing was
    /// published takes part in the slot's epoch.
    pub fn begin_epoch(&mut self, table: &TableName, published_from: Lsn) {
        let epoch = self.epoch_of(table);
        let known = self.tables.entry(table.clone()).or_default();
        let is_first = known.epoch_begun < self.slot.epoch && !known.unread;
        known.epoch_begun = if is_first { epoch } else { epoch + 1 };
        known.epoch_complete = 0;
        known.published_from = published_from;
    }

    /// Whether the table of this id has been read in its epoch, and is published ever since.
    pub fn is_complete(&self, table: &TableName, oid: u32) -> bool {
        self.tables.get(table).is_some_and(|known| {
            known.oid == oid
                && known.epoch_complete == self.epoch_of(table)
                && known.left_at == Lsn::ZERO
        })
    }
}

/// Layout of the records that this version writes.
pub const STATE_VERSION: u32 = 1;

/// The record of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The table's id, to tell it from another of the same name.
    pub oid: u32,
    /// Epoch whose reads have begun.
    pub epoch_begun: u64,
    /// Epoch whose reads are complete and acknowledged; 0: none.
    pub epoch_complete: u64,
    /// The topic that they went to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topic: String,
    /// The log that the topic's name stood for then, by its id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topic_id: String,
    /// Offsets before the first read of that epoch, by partition, where the destination has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub begin_offsets: BTreeMap<i32, i64>,
    /// Offsets after the last read of that epoch, by partition, where the destination has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub end_offsets: BTreeMap<i32, i64>,
    /// A statement of the user's chose the rows that were read: others may be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partly: bool,
    /// Changes that committed before this position are in the reads already and are counted but not
    /// published; zero: none.
    #[serde(default, with = "lsn_text", skip_serializing_if = "is_zero")]
    pub published_from: Lsn,
    /// Changes that committed before this position were overtaken by a later read: a change of key
    /// among them may lack values; zero: none.
    #[serde(default, with = "lsn_text", skip_serializing_if = "is_zero")]
    pub overtaken_until: Lsn,
    /// How the publication publishes it; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// It was seen to be captured no longer at this position, before which its changes are still
    /// published; zero: it is captured.
    #[serde(default, with = "lsn_text", skip_serializing_if = "is_zero")]
    pub left_at: Lsn,
    /// There is no table of this name any more: it was dropped, renamed or moved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// Changes are published although its rows were not read, because that is not wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// Somebody asked for its being snapshotted again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// Partitions that hold its rows, where they appear under its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<u32>,
}

/// How the publication publishes a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Ids of what puts it into the publication: its entry, its schema's, those above it in its
    /// partition tree; 0 stands for "all tables".
    pub entries: Vec<u32>,
    /// Column list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// Row filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_filter: Option<String>,
}

impl Published {
    /// Whether a table that is published as `now` has been published the same way ever since. An
    /// entry that is made anew, also with another filter or list, has another id; the same entries
    /// with another text name a column that was renamed.
    pub fn continues(&self, now: &Published) -> bool {
        let common = self.entries.iter().any(|entry| now.entries.contains(entry));
        let same = self.columns == now.columns && self.row_filter == now.row_filter;
        self.entries == now.entries || (common && same)
    }
}

fn is_zero(lsn: &Lsn) -> bool {
    *lsn == Lsn::ZERO
}

/// Whether what was handed over is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is.
    Now,
    /// It is once the receipt comes back.
    WhenAcknowledged,
}

/// Where state is kept.
pub trait StateStore: Send + Sync {
    /// What is stored for the slot; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// The place cannot be read, or holds something else.
    fn load(&self) -> Result<Option<State>, PublishError>;

    /// Stores the slot's record.
    ///
    /// # Errors
    ///
    /// The place cannot be written.
    fn store_slot(&self, slot: &SlotState, receipt: Receipt) -> Result<Stored, PublishError>;

    /// Stores a table's record.
    ///
    /// # Errors
    ///
    /// The place cannot be written.
    fn store_table(
        &self,
        table: &TableName,
        state: &TableState,
        receipt: Receipt,
    ) -> Result<Stored, PublishError>;

    /// Forgets everything of the slot.
    ///
    /// # Errors
    ///
    /// The place cannot be written.
    fn forget(&self, state: &State, receipt: Receipt) -> Result<Stored, PublishError>;
}

/// An LSN as text in JSON.
mod lsn_text {
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error;

    use crate::lsn::Lsn;

    pub(super) fn serialize<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(lsn)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lsn, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What is stored cannot be understood.
fn unreadable(place: &str, reason: &str) -> PublishError {
    PublishError::Configuration {
        message: format!("the state in {place} cannot be read: {reason}"),
        hint: "restore it from a backup, or remove it with `cdc-agent drop` and start over"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(entries: &[u32], row_filter: Option<&str>) -> Published {
        Published {
            entries: entries.to_vec(),
            columns: None,
            row_filter: row_filter.map(str::to_owned),
        }
    }

    #[test]
    fn another_entry_or_another_filter_is_another_publishing() {
        let first = published(&[5], None);
        assert!(first.continues(&published(&[5], None)));
        assert!(first.continues(&published(&[5, 7], None)), "its schema came in");
        assert!(!first.continues(&published(&[6], None)), "taken out and put in again");
        assert!(!first.continues(&published(&[], None)), "taken out");
        let filtered = published(&[5], Some("(a > 1)"));
        assert!(filtered.continues(&published(&[5], Some("(b > 1)"))), "the column was renamed");
        assert!(!published(&[5, 7], None).continues(&filtered), "its schema was taken out");
    }

    #[test]
    fn a_tables_own_epoch_counts_where_it_is_later_than_the_slots() {
        let (a, b) = (TableName::new("s", "a"), TableName::new("s", "b"));
        let mut state = State::default();
        state.slot.epoch = 3;
        let known = TableState { oid: 1, epoch_begun: 5, epoch_complete: 5, ..Default::default() };
        state.tables.insert(a.clone(), known);
        assert_eq!((state.epoch_of(&a), state.epoch_of(&b)), (5, 3));
        assert_eq!(state.next_epoch(), 6);
        assert_eq!(state.after_drop().epoch, 5);
        assert!(state.is_complete(&a, 1));
        assert!(!state.is_complete(&a, 2), "another table of its name");
        state.slot.epoch = 6;
        assert!(!state.is_complete(&a, 1), "everything is read again");
    }

    #[test]
    fn records_without_the_newer_fields_are_read() {
        let text = r#"{"oid":1,"epoch_begun":1,"epoch_complete":1,"topic":"p.s.a"}"#;
        let known: TableState = serde_json::from_str(text).unwrap();
        assert_eq!((known.published, known.left_at), (None, Lsn::ZERO));
    }
}
