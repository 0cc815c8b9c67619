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

    /// What remains when the slot is dropped.
    #[must_use]
    pub fn after_drop(&self) -> Self {
        SlotState {
            version: STATE_VERSION,
            slot: self.slot.clone(),
            epoch: self.epoch,
            dropped: true,
            ..SlotState::default()
        }
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
