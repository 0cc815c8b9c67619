//! Destinations of the companion.
//!
//! Takes a [`Plan`] and does it in one transaction: rows, offsets, watermarks and what else belongs
//! to them become visible together or not at all. Gives what is stored. Each destination is one
//! folder; none knows another.
//!
//! Three layers keep an effect from happening twice: offsets with a fence, stored here with the
//! data; a watermark for each partition of a topic; and in every row the position of its last
//! change, with tombstones for rows that are gone and a floor for tables that were emptied.

mod error;
pub mod duckdb;
pub mod postgres;

pub use error::WarehouseError;

use crate::apply::merge::AppliedRange;
use crate::apply::merge::Cell;
use crate::apply::merge::ColumnType;
use crate::apply::merge::DeadLetter;
use crate::apply::merge::KnownTable;
use crate::apply::merge::LogPlace;
use crate::apply::merge::Moved;
use crate::apply::merge::NameRules;
use crate::apply::merge::Plan;
use crate::apply::merge::Spelling;
use crate::apply::merge::StoredMark;
use crate::apply::merge::TableId;
use crate::apply::merge::Target;
use crate::apply::merge::Texts;
use crate::position::Position;
use crate::table::TableName;

/// Schema of everything of ours that is not a source's table.
pub const STATE_SCHEMA: &str = "_cdc";

/// Position of the last change of a row, as sortable text.
pub const POSITION_COLUMN: &str = "_cdc_position";

/// Whether the row is deleted, where deleted rows stay.
pub const DELETED_COLUMN: &str = "_cdc_deleted";

/// Commit time of the last change of a row; of a snapshot's row, when it was read.
pub const COMMITTED_COLUMN: &str = "_cdc_committed_at";

/// Names of columns whose values were never received, or NULL.
pub const INCOMPLETE_COLUMN: &str = "_cdc_incomplete";

/// What becomes of a deleted row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeleteMode {
    /// It is removed; its key and position stay as a tombstone.
    #[default]
    Hard,
    /// It stays and is marked in [`DELETED_COLUMN`].
    Soft,
}

/// Switches of tests that show what each rule is for: each turns one off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokenRules {
    /// Rows that are gone leave no tombstone.
    pub without_tombstones: bool,
    /// A TRUNCATE leaves no floor.
    pub without_floor: bool,
}

/// A partition that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The first offset that is not applied; `None`: nothing is stored.
    pub next_offset: Option<i64>,
    /// The fence that the offsets of this taking carry.
    pub fence: i64,
    /// The log that the offset counts in.
    pub place: LogPlace,
}

/// A row that is there.
#[derive(Clone, Debug)]
pub struct StoredRow {
    /// Position of its last change; a row that is gone has that of its tombstone.
    pub position: Position,
    /// Texts by the target's columns, spelled as in a plan; `None` if the row is gone.
    pub cells: Option<Vec<Cell>>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Rows written, per table of the plan.
    pub upserted: Vec<u64>,
    /// Rows deleted, per table of the plan.
    pub deleted: Vec<u64>,
    /// Rows of tables without key that should have been deleted and were not there, per table.
    pub not_found: Vec<u64>,
    /// Rows written with values that were never received.
    pub incomplete: u64,
}

/// A destination.
pub trait Warehouse: Send {
    /// How texts are to be spelled.
    fn spelling(&self) -> Spelling;

    /// Which names it can have.
    fn name_rules(&self) -> NameRules;

    /// What is stored of tables.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn tables(&mut self) -> Result<Vec<KnownTable>, WarehouseError>;

    /// The columns of a table that is there and not ours, and whether it has rows; `None` if there
    /// is no such table.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn foreign_table(&mut self, table: &TableName) -> Result<Option<ForeignTable>, WarehouseError>;

    /// Takes partitions for a group: raises their fences and gives what is stored.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn claim(
        &mut self,
        group: &str,
        partitions: &[(String, i32)],
    ) -> Result<Vec<Claim>, WarehouseError>;

    /// What is stored for a group: topic, partition and the first offset that is not applied.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn offsets(&mut self, group: &str) -> Result<Vec<(String, i32, i64)>, WarehouseError>;

    /// Stored watermarks of all partitions of a topic.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn watermarks(&mut self, topic: &str) -> Result<Vec<StoredMark>, WarehouseError>;

    /// What any group has applied of a topic without a gap.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn applied_ranges(&mut self, topic: &str) -> Result<Vec<AppliedRange>, WarehouseError>;

    /// Stores how many partitions a topic has. If they were others, watermarks of epochs below
    /// `below` do not count any more. Gives the epoch below which they do not.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn note_partitions(
        &mut self,
        topic: &str,
        count: i32,
        below: u64,
    ) -> Result<u64, WarehouseError>;

    /// Rows by key, each with its position and its values; their texts are appended to `texts`.
    /// `None` for a key of which nothing is known. Keys have the cells of the key's columns, in the
    /// order of [`Target::key`].
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn rows(
        &mut self,
        target: &Target,
        keys: &[Vec<Cell>],
        texts: &mut Texts,
    ) -> Result<Vec<Option<StoredRow>>, WarehouseError>;

    /// Whether the rows of a table are told apart by these of its columns, none of them NULL, or,
    /// if these are none, have all their values. `None`: whether there is no row.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn tells_apart(
        &mut self,
        target: &Target,
        key: Option<&[usize]>,
    ) -> Result<bool, WarehouseError>;

    /// Values that were put aside.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn moved(
        &mut self,
        table: TableId,
        position: Position,
    ) -> Result<Option<Moved>, WarehouseError>;

    /// Does everything in a plan, in one transaction, for a group.
    ///
    /// # Errors
    ///
    /// Nothing of it is done.
    fn load(&mut self, group: &str, plan: &Plan) -> Result<Loaded, WarehouseError>;

    /// Records of ours by key, of the way without Kafka.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn state(&mut self) -> Result<Vec<(String, String)>, WarehouseError>;

    /// Dead letters in the order of topic, partition and offset, at most so many after this one.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn dead_letters(
        &mut self,
        after: Option<&(String, i32, i64)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, WarehouseError>;

    /// Keys of records among the dead letters, with their topics: later records of them must wait
    /// there too.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    fn parked_keys(&mut self) -> Result<Vec<(String, Vec<u8>)>, WarehouseError>;

    /// Asks whether it is there.
    ///
    /// # Errors
    ///
    /// It does not answer.
    fn ping(&mut self) -> Result<(), WarehouseError> {
        Ok(())
    }

    /// System identifier and database, if the warehouse is a PostgreSQL: a capture must not write
    /// into the database that it captures.
    fn identity(&self) -> Option<(String, String)>;

    /// The destination, for people.
    fn describe(&self) -> String;
}

/// A warehouse that an earlier version has filled: its positions sort otherwise.
fn earlier_layout() -> WarehouseError {
    WarehouseError::Configuration {
        message:
            "the schema _cdc of the warehouse was made by an earlier version, whose positions \
                  do not compare with those of this one"
                .to_owned(),
        hint: "give an empty warehouse, or drop the schema _cdc and the tables that _cdc.tables \
               names; then everything is applied again from the beginning of the topics"
            .to_owned(),
    }
}

/// A table that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignTable {
    /// Names and types of its columns; those of ours are left out.
    pub columns: Vec<(String, ColumnType)>,
    /// Those of them that keep three digits of a second at most.
    pub millis: Vec<String>,
    /// Columns of its primary key.
    pub key: Vec<String>,
    /// It has rows.
    pub has_rows: bool,
    /// It has our position column: it was ours once.
    pub has_position: bool,
}
