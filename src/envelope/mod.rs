//! Debezium's envelope: what every consumer of the topics relies on.
//!
//! Takes and gives values and bytes; holds nothing. Never knows where an envelope came from or
//! where it goes. Source: Debezium 3.6.1.Final, "Debezium connector for PostgreSQL", section "Data
//! change events", as its recorded output shows it.

pub mod header_text;
mod java_float;
pub mod json;
pub mod read;
pub mod schema;
pub mod uuid;

/// The release whose envelopes these are, in `source.version`.
pub const DEBEZIUM_VERSION: &str = "3.6.1.Final";

/// What stands for a TOASTed value that an update left unchanged.
pub const UNAVAILABLE_VALUE: &str = "__debezium_unavailable_value";

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// It was there before streaming began.
    Read,
    /// It was inserted, or a key change made it.
    Create,
    /// It was updated.
    Update,
    /// It was deleted, or a key change took it away.
    Delete,
    /// Its whole table was emptied.
    Truncate,
    /// No row: a logical decoding message.
    Message,
}

impl Operation {
    /// The envelope's letter.
    pub fn letter(self) -> char {
        match self {
            Operation::Read => 'r',
            Operation::Create => 'c',
            Operation::Update => 'u',
            Operation::Delete => 'd',
            Operation::Truncate => 't',
            Operation::Message => 'm',
        }
    }

    /// From the envelope's letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        Some(match letter {
            "r" => Operation::Read,
            "c" => Operation::Create,
            "u" => Operation::Update,
            "d" => Operation::Delete,
            "t" => Operation::Truncate,
            "m" => Operation::Message,
            _ => return None,
        })
    }
}

/// Which row of a snapshot this is, in `source.snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMarker {
    /// Streamed, not read.
    False,
    /// Read, neither first nor last of anything.
    True,
    /// First of the snapshot.
    First,
    /// First of its table.
    FirstInDataCollection,
    /// Last of its table.
    LastInDataCollection,
    /// Last of the snapshot.
    Last,
    /// Read on demand while streaming.
    Incremental,
}

impl SnapshotMarker {
    /// The envelope's word.
    pub fn as_str(self) -> &'static str {
        match self {
            SnapshotMarker::False => "false",
            SnapshotMarker::True => "true",
            SnapshotMarker::First => "first",
            SnapshotMarker::FirstInDataCollection => "first_in_data_collection",
            SnapshotMarker::LastInDataCollection => "last_in_data_collection",
            SnapshotMarker::Last => "last",
            SnapshotMarker::Incremental => "incremental",
        }
    }
}
