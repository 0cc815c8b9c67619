//! What Debezium tells of a snapshot while it goes on.
//!
//! Source: Debezium's documentation, "Receiving Debezium notifications", and its records.

use crate::capture::change::java_map;
use crate::time::UnixMicros;

/// What all notifications of a snapshot are about.
pub(crate) const AGGREGATE_TYPE: &str = "Initial Snapshot";

/// A moment of a snapshot. Tables are named `schema.table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMoment<'a> {
    /// Nothing is to be read.
    Skipped,
    /// Reading begins.
    Started,
    /// A table is begun.
    TableBegun {
        /// It.
        table: &'a str,
        /// All tables to read, in their order.
        tables: &'a [String],
    },
    /// A piece of a table is begun.
    PieceBegun {
        /// The table.
        table: &'a str,
        /// Place of the piece, from 0, and how many there are.
        piece: (usize, usize),
        /// Rows read of the table so far.
        rows: u64,
    },
    /// A piece of a table is read.
    PieceRead {
        /// The table.
        table: &'a str,
        /// All tables to read, in their order.
        tables: &'a [String],
        /// Place of the piece, from 0, and how many there are.
        piece: (usize, usize),
    },
    /// A table is read.
    TableRead {
        /// It.
        table: &'a str,
        /// All tables to read, in their order.
        tables: &'a [String],
        /// Its rows.
        rows: u64,
    },
    /// The server refused to give a table's rows.
    TableFailed {
        /// It.
        table: &'a str,
    },
    /// All is read.
    Completed,
    /// Reading ended before.
    Aborted,
}

/// A notification: a moment, with what names it.
#[derive(Clone, Copy, Debug)]
pub struct Notification<'a> {
    /// A random UUID.
    pub id: &'a str,
    /// `topic.prefix`, which Debezium calls the connector's name here.
    pub prefix: &'a str,
    /// The moment.
    pub moment: SnapshotMoment<'a>,
    /// When.
    pub time: UnixMicros,
}

impl Notification<'_> {
    /// `type`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.moment {
            SnapshotMoment::Skipped => "SKIPPED",
            SnapshotMoment::Started => "STARTED",
            SnapshotMoment::TableBegun { .. } => "IN_PROGRESS",
            SnapshotMoment::PieceBegun { .. } => "TABLE_CHUNK_IN_PROGRESS",
            SnapshotMoment::PieceRead { .. } => "TABLE_CHUNK_COMPLETED",
            SnapshotMoment::TableRead { .. } | SnapshotMoment::TableFailed { .. } => {
                "TABLE_SCAN_COMPLETED"
            }
            SnapshotMoment::Completed => "COMPLETED",
            SnapshotMoment::Aborted => "ABORTED",
        }
    }

    /// `additional_data`, in the order of the Java map that Debezium puts it into.
    pub(crate) fn additional_data(&self) -> Vec<(&'static str, String)> {
        let current = |table: &str| ("current_collection_in_progress", table.to_owned());
        let scanned = |table: &str| ("scanned_collection", table.to_owned());
        let place = |(at, of): (usize, usize)| {
            [("chunk_index", at.to_string()), ("total_chunks", of.to_string())]
        };
        let rows = |rows: u64| ("total_rows_scanned", rows.to_string());
        let succeeded = ("status", "SUCCEEDED".to_owned());
        let mut data = match self.moment {
            SnapshotMoment::Skipped
            | SnapshotMoment::Started
            | SnapshotMoment::Completed
            | SnapshotMoment::Aborted => Vec::new(),
            SnapshotMoment::TableBegun { table, tables } => {
                vec![current(table), ("data_collections", hashed(tables).join(","))]
            }
            SnapshotMoment::PieceBegun { table, piece, rows: read } => {
                let [index, total] = place(piece);
                vec![current(table), index, total, rows(read)]
            }
            SnapshotMoment::PieceRead { table, tables, piece } => {
                let [index, total] = place(piece);
                vec![scanned(table), listed(tables), index, total, succeeded]
            }
            SnapshotMoment::TableRead { table, tables, rows: read } => {
                vec![scanned(table), listed(tables), rows(read), succeeded]
            }
            SnapshotMoment::TableFailed { table } => {
                vec![scanned(table), ("status", "SQL_EXCEPTION".to_owned())]
            }
        };
        // A copy of a map of the others, to which this is added.
        let copy = java_map::copied(data.len());
        data.push(("connector_name", self.prefix.to_owned()));
        let buckets = java_map::grown(copy, data.len());
        java_map::in_order(data, buckets, |(name, _)| name)
    }
}

/// The text that Debezium logs.
impl std::fmt::Display for Notification<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{{id='{}', aggregateType='{AGGREGATE_TYPE}', type='{}', additionalData={{",
            self.id,
            self.kind()
        )?;
        for (at, (name, value)) in self.additional_data().iter().enumerate() {
            write!(out, "{}{name}={value}", if at > 0 { ", " } else { "" })?;
        }
        write!(out, "}}, timestamp={}}}", self.time.millis())
    }
}

/// Tables in their order.
fn listed(tables: &[String]) -> (&'static str, String) {
    ("data_collections", tables.join(","))
}

/// Tables in the order of a Java set that was made of them.
fn hashed(tables: &[String]) -> Vec<&str> {
    let buckets = java_map::copied(tables.len()).max(java_map::LEAST_BUCKETS);
    java_map::in_order(tables.iter().map(String::as_str).collect(), buckets, |name| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additional_data_comes_in_the_order_of_a_java_map() {
        // The output of Java 17 for `new HashMap<>(Map.of(...))` to which "connector_name" was put;
        // data_collections and status share a bucket, in which the order is that of the first map.
        let tables = ["public.Odd.name", "public.a", "public.m", "public.z"].map(str::to_owned);
        let names = |moment| {
            let time = UnixMicros(1_000);
            let data = Notification { id: "i", prefix: "p", moment, time }.additional_data();
            data.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let table = "public.a";
        assert_eq!(
            names(SnapshotMoment::TableBegun { table, tables: &tables }),
            ["current_collection_in_progress", "connector_name", "data_collections"]
        );
        assert_eq!(
            names(SnapshotMoment::TableRead { table, tables: &tables, rows: 1 }),
            [
                "scanned_collection",
                "connector_name",
                "total_rows_scanned",
                "data_collections",
                "status"
            ]
        );
        assert_eq!(
            names(SnapshotMoment::TableFailed { table }),
            ["connector_name", "scanned_collection", "status"]
        );
    }

    #[test]
    fn tables_to_read_come_in_the_order_of_a_java_set() {
        // As a real Debezium 3.6.1 wrote them (case notifications).
        let tables = ["public.Odd.name", "public.a", "public.m", "public.z"].map(str::to_owned);
        assert_eq!(hashed(&tables), ["public.m", "public.a", "public.Odd.name", "public.z"]);
    }

    #[test]
    fn a_notification_is_logged_as_debezium_does() {
        let notification = Notification {
            id: "i",
            prefix: "p",
            moment: SnapshotMoment::TableFailed { table: "public.a" },
            time: UnixMicros(1_234_567),
        };
        assert_eq!(
            notification.to_string(),
            "{id='i', aggregateType='Initial Snapshot', type='TABLE_SCAN_COMPLETED', \
             additionalData={connector_name=p, scanned_collection=public.a, \
             status=SQL_EXCEPTION}, timestamp=1234}"
        );
    }
}
