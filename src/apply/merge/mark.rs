//! Up to where the records of a partition are applied, and in which log.

use serde::Deserialize;
use serde::Serialize;

use crate::position::Position;
use crate::table::TableName;

/// The watermark of a table in a partition: its records up to here are applied, by whatever group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The highest position.
    #[serde(with = "crate::apply::merge::plan::position_text_required")]
    pub position: Position,
    /// Offset of the record that raised it last.
    pub offset: i64,
    /// The log that the offset counts in: the topic's id, empty if the broker has none.
    #[serde(default)]
    pub log: String,
    /// Epoch of the leader that appended that record; −1: unknown.
    #[serde(default)]
    pub leader_epoch: i32,
    /// Milliseconds since 1970 of that record's commit at the source; zero: unknown.
    #[serde(default)]
    pub commit_ms: i64,
    /// Records at the very position, where several may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ties: Option<Ties>,
}

/// Records of a stock Debezium that share one position. Sent again they come in the same order, so
/// that their number tells which are new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ties {
    /// How many were applied.
    pub applied: u64,
    /// How many of them have come again since.
    pub again: u64,
    /// Digest of the first one's row.
    pub first: u64,
    /// Milliseconds since 1970 at which the connector read the latest of them.
    pub read_ms: i64,
}

/// A stored watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMark {
    /// Partition.
    pub partition: i32,
    /// Topic prefix of the source.
    pub prefix: String,
    /// The source's table.
    pub table: TableName,
    /// Up to where it is applied.
    pub mark: Mark,
}

/// A watermark that a transaction raises: only if the warehouse has the one that was assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkPlan {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Topic prefix of the source.
    pub prefix: String,
    /// The source's table.
    pub table: TableName,
    /// What was stored when the batch was made; `None`: nothing, or the table is created here.
    pub before: Option<Mark>,
    /// What it becomes.
    pub mark: Mark,
}

/// Where a group stands in a partition's log, beside the offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPlace {
    /// The log: the topic's id, empty if the broker has none.
    pub log: String,
    /// From this offset on the log was applied without a gap.
    pub begun_at: i64,
    /// Offset and digest of the last applied record, `OFFSET:DIGEST`; empty: none.
    pub last_record: String,
}

/// A range of a partition's log that some group has applied without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRange {
    /// Partition.
    pub partition: i32,
    /// The log.
    pub log: String,
    /// First offset of it.
    pub begun_at: i64,
    /// The offset after it.
    pub next_offset: i64,
}
