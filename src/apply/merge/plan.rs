//! What one transaction of a warehouse does: the result of merging a batch.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::apply::merge::cell::Cell;
use crate::apply::merge::cell::Texts;
use crate::apply::merge::column_type::ColumnType;
use crate::apply::merge::mark::LogPlace;
use crate::apply::merge::mark::WatermarkPlan;
use crate::apply::merge::temporal;
use crate::apply::merge::value::ArrayForm;
use crate::apply::merge::value::Spelling;
use crate::lsn::Lsn;
use crate::position::Position;
use crate::table::TableName;

/// Number of a table in the warehouse's own records.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TableId(pub i64);

/// A table of the warehouse, as it is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its number.
    pub id: TableId,
    /// Its name, the source's.
    pub table: TableName,
    /// The topic prefix that fills it.
    pub prefix: String,
    /// The source table's `pg_class.oid`, if it is known: numbers of columns mean something within
    /// one such table only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oid: Option<u32>,
    /// Its columns, in the order of cells; technical ones are not among them.
    pub columns: Vec<TargetColumn>,
    /// Places of the columns that tell rows apart; empty: a multiset.
    pub key: Vec<usize>,
    /// The table was there before us, and its columns' types are not ours to choose.
    #[serde(default)]
    pub is_foreign: bool,
    /// Raised with every change of this record, of the floor and of the epoch: who finds another
    /// number in the warehouse than the one before has an old one.
    #[serde(default)]
    pub generation: u64,
    /// Nobody says what its columns are: they follow the look of the values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_look: bool,
    /// Why its rows must be read again to agree with the source; empty: they agree.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reread: String,
    /// Position of the record that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "position_text")]
    pub reread_at: Option<Position>,
    /// It may hold rows of older epochs that the present one has not brought again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_older: bool,
    /// The newest version of the source table's columns that was seen, by position.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "position_text")]
    pub version_at: Option<Position>,
    /// Where it got the key that it has, if that is not the first: what is older was applied under
    /// another.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "position_text")]
    pub keyed_at: Option<Position>,
    /// Snapshots of a stock Debezium that have brought it, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
    /// Its rows carry the commit time of their last change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub commit_times: bool,
    /// Topics that bring it: a record without value does not say whose key it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

/// A snapshot of a stock Debezium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its LSN, by which it is known.
    pub lsn: u64,
    /// The epoch that its rows are.
    pub epoch: u64,
}

/// A column of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetColumn {
    /// Its name, the source's.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// The type that the source's column has, which may be narrower; `None`: as wide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<ColumnType>,
    /// Its fraction of a second has three digits at most, or came as milliseconds: so do its values
    /// where no schema says it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub millis: bool,
    /// Number in the source's catalog, if it is known: by it a renamed column is recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attnum: Option<i16>,
    /// A later version without numbers had a column of this name: which column that was is shown
    /// by the next version with numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_name: bool,
    /// Text of the value that rows have which are older than the column; `None`: NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What rows have that are older than the column is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default_unknown: bool,
    /// Records before this position do not have it yet.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "position_text")]
    pub since: Option<Position>,
    /// The source has dropped it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

impl Target {
    /// A table of which nothing else is known.
    pub fn new(id: TableId, table: TableName, prefix: &str) -> Self {
        Target {
            id,
            table,
            prefix: prefix.to_owned(),
            oid: None,
            columns: Vec::new(),
            key: Vec::new(),
            is_foreign: false,
            generation: 0,
            by_look: false,
            reread: String::new(),
            reread_at: None,
            has_older: false,
            version_at: None,
            keyed_at: None,
            snapshots: Vec::new(),
            commit_times: false,
            topics: Vec::new(),
        }
    }

    /// Whether rows are told apart by a key.
    pub fn is_keyed(&self) -> bool {
        !self.key.is_empty()
    }

    /// The cells of the key, of a row's.
    pub fn key_cells(&self, row: &[Cell]) -> Vec<Cell> {
        self.key.iter().map(|place| row.get(*place).copied().unwrap_or(Cell::Null)).collect()
    }

    /// The key's columns.
    pub fn key_columns(&self) -> impl Iterator<Item = &TargetColumn> {
        self.key.iter().filter_map(|place| self.columns.get(*place))
    }
}

/// What a warehouse knows of a table beside its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTable {
    /// Columns and key.
    pub target: Target,
    /// Highest epoch of a record of a table without key: what it holds is of this epoch.
    pub epoch: u64,
    /// Position of the last TRUNCATE: nothing at or below it counts.
    pub floor: Option<Position>,
}

/// A change of a table's columns, done before rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableChange {
    /// Create it as the target is at the end of the batch: no other change goes with it.
    Create,
    /// Take one that is there: add the technical columns that it lacks. The last of the changes.
    Adopt,
    /// Add a column; rows that are there get its default.
    AddColumn(TargetColumn),
    /// Give a column a type that holds more.
    Widen {
        /// Its name.
        name: String,
        /// The type it has.
        from: ColumnType,
        /// The type it gets.
        to: ColumnType,
        /// It is of the key, so that tombstones have it too.
        in_key: bool,
    },
    /// Rename a column.
    Rename {
        /// From.
        from: String,
        /// To.
        to: String,
        /// It is of the key, so that tombstones have it too.
        in_key: bool,
    },
    /// Forget the key that tells rows apart, and the tombstones under it; the first of the changes.
    DropKey {
        /// Rows were told apart by one.
        had_key: bool,
        /// Remove the rows, too: all of them are read again.
        empty: bool,
    },
    /// Tell rows apart by the target's key, or by nothing; the last of the changes.
    AddKey {
        /// Rows are told apart by it. Otherwise those without a value in it stay as they are, and
        /// of equal ones the latest.
        is_unique: bool,
    },
}

/// What happens to one table. Done in this order: `changes`, `empty`, `floor`, then rows or counts.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// The table as it is after `changes`.
    pub target: Arc<Target>,
    /// Changes of its columns.
    pub changes: Vec<TableChange>,
    /// The target's record is new or has changed, with a generation raised by one, and must be
    /// stored; otherwise it is stored with this very generation.
    pub store_target: bool,
    /// Remove everything: a higher epoch of a table without key has begun.
    pub empty: bool,
    /// Epoch to store, if it rose.
    pub epoch: Option<u64>,
    /// Remove (or mark as deleted) all rows below this position, and store it.
    pub floor: Option<Position>,
    /// Of a table with key: one entry per key, in the order of keys.
    pub rows: Vec<RowPlan>,
    /// Of a table without key: one entry per distinct row.
    pub counts: Vec<CountPlan>,
    /// When the transactions of its changes were committed.
    pub times: CommitTimes,
}

/// Commit times by epoch and LSN of the commit, as texts; a snapshot's rows have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitTimes(HashMap<(u64, Lsn), String>);

impl CommitTimes {
    /// Notes the time of a change, in milliseconds since 1970.
    pub fn note(&mut self, position: Position, millis: i64) {
        self.0.entry((position.epoch, position.commit_lsn)).or_insert_with(|| {
            let mut text = Vec::new();
            let spelling = Spelling { arrays: ArrayForm::Postgres, era: " BC" };
            temporal::timestamp(i128::from(millis) * 1000, "+00", spelling, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
    }

    /// The time of a change.
    pub fn of(&self, position: Position) -> Option<&str> {
        self.0.get(&(position.epoch, position.commit_lsn)).map(String::as_str)
    }
}

/// The final state of one key.
#[derive(Clone, Debug)]
pub struct RowPlan {
    /// Position of the last change of it.
    pub position: Position,
    /// The change is a read: it also wins against an equal position.
    pub is_read: bool,
    /// The row is gone. `cells` has its key, and where deleted rows stay its last values as far as
    /// they are known; the rest is missing.
    pub is_delete: bool,
    /// The row begins anew here: what is missing is NULL, whatever a row that is there has.
    pub is_fresh: bool,
    /// One for each column of the target.
    pub cells: Vec<Cell>,
}

/// How many equal rows come or go.
#[derive(Clone, Debug)]
pub struct CountPlan {
    /// Positive: so many are inserted; negative: so many are deleted.
    pub count: i64,
    /// Position of the last change of such a row.
    pub position: Position,
    /// One for each column of the target; none is missing.
    pub cells: Vec<Cell>,
}

/// An offset of a group, stored with the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetPlan {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The first offset that is not applied.
    pub next_offset: i64,
    /// What taking the partition gave: another number in the warehouse means that somebody else has
    /// taken it since.
    pub fence: i64,
    /// The log that the offset counts in.
    pub place: LogPlace,
}

/// The values of a row whose key changed, put aside for the row under the new key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Table.
    pub table: TableId,
    /// Position of the delete half.
    #[serde(with = "position_text_required")]
    pub position: Position,
    /// Texts by column name; NULL is `None`; a missing one is absent.
    pub values: Vec<(String, Option<String>)>,
}

/// A record that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// What is wrong with it.
    pub reason: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, as a JSON array of `[name, value]`.
    pub headers: String,
}

/// One transaction.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Where the texts of cells lie.
    pub texts: Texts,
    /// By table, in the order of names.
    pub tables: Vec<TablePlan>,
    /// Offsets, of the group that the warehouse was opened for.
    pub offsets: Vec<OffsetPlan>,
    /// Watermarks.
    pub watermarks: Vec<WatermarkPlan>,
    /// Values to put aside.
    pub moved: Vec<Moved>,
    /// Values that were put aside and have been used.
    pub moved_taken: Vec<(TableId, Position)>,
    /// Records that could not be applied.
    pub dead_letters: Vec<DeadLetter>,
    /// Dead letters that are applied now: topic, partition, offset.
    pub dead_letters_done: Vec<(String, i32, i64)>,
    /// Records of ours by key, of the way without Kafka; `None` removes.
    pub state: Vec<(String, Option<String>)>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.offsets.is_empty()
            && self.watermarks.is_empty()
            && self.moved.is_empty()
            && self.moved_taken.is_empty()
            && self.dead_letters.is_empty()
            && self.dead_letters_done.is_empty()
            && self.state.is_empty()
    }
}

/// A position as sortable text: the header's form with leading zeros. An epoch may be seconds since
/// 1970.
pub fn sortable(position: Position) -> String {
    let Position { epoch, commit_lsn, ord, sub } = position;
    format!("{epoch:010}:{:020}:{ord:020}:{sub}", commit_lsn.0)
}

mod position_text {
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error;

    use crate::position::Position;

    pub(super) fn serialize<S: Serializer>(
        position: &Option<Position>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match position {
            Some(position) => serializer.collect_str(position),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Position>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

pub(super) mod position_text_required {
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error;

    use crate::position::Position;

    pub(in crate::apply::merge) fn serialize<S: Serializer>(
        position: &Position,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(position)
    }

    pub(in crate::apply::merge) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Position, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_of_the_clock_sorts_behind_all_that_are_counted() {
        let text = |epoch| sortable(Position { epoch, ..Position::default() });
        let sorted = [0, 1, 2, 10, 9999, 1_795_000_000, 1_795_000_001].map(text);
        assert!(sorted.is_sorted(), "{sorted:?}");
    }
}
