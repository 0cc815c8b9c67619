//! The `source` block and what else is the same for all changes of a transaction, rendered once.

use crate::envelope::DEBEZIUM_VERSION;
use crate::envelope::json;
use crate::lsn::Lsn;
use crate::time::UnixMicros;

/// What the `source` block says of the capture as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceName {
    /// `topic.prefix`.
    pub prefix: String,
    /// The database.
    pub database: String,
}

/// What the `source` block says of a transaction, or of a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceFields<'a> {
    /// Commit time, or when the snapshot of the table began.
    pub time: UnixMicros,
    /// Marker of a row of a snapshot; `None` is written as null.
    pub snapshot: Option<&'a str>,
    /// End of the last transaction that was sent before this one.
    pub last_commit: Option<Lsn>,
    /// The transaction.
    pub xid: Option<u64>,
    /// `catalog_xmin` of the slot, if it is asked for.
    pub xmin: Option<u64>,
    /// Name and position of the replication origin.
    pub origin: Option<(&'a str, Lsn)>,
    /// Changes say where in their transaction they stand.
    pub ordered: bool,
}

/// The constant pieces between the parts that change from row to row.
#[derive(Clone, Debug, Default)]
pub struct SourceText {
    /// From `,"source":` to the change's position in `sequence`.
    before_sequence_lsn: Vec<u8>,
    /// From there to the table's name.
    before_table: Vec<u8>,
    /// From there to the change's position in `lsn`.
    before_lsn: Vec<u8>,
    /// From there to the transaction block, or to its end if there is none.
    before_transaction: Vec<u8>,
    /// Place of the next change in its transaction and among its table's; `None`: not said.
    place: Option<(u64, u64)>,
}

impl SourceText {
    /// Renders the pieces.
    pub fn render(&mut self, name: &SourceName, fields: &SourceFields<'_>) {
        let out = &mut self.before_sequence_lsn;
        out.clear();
        out.extend_from_slice(b",\"source\":{\"version\":\"");
        out.extend_from_slice(DEBEZIUM_VERSION.as_bytes());
        out.extend_from_slice(b"\",\"connector\":\"postgresql\",\"name\":");
        json::string(name.prefix.as_bytes(), out);
        out.extend_from_slice(b",\"ts_ms\":");
        json::integer(fields.time.millis(), out);
        out.extend_from_slice(b",\"snapshot\":");
        match fields.snapshot {
            Some(marker) => json::string(marker.as_bytes(), out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"db\":");
        json::string(name.database.as_bytes(), out);
        out.extend_from_slice(b",\"sequence\":\"[");
        match fields.last_commit {
            Some(lsn) => {
                out.extend_from_slice(b"\\\"");
                lsn_digits(lsn, out);
                out.extend_from_slice(b"\\\",\\\"");
            }
            None => out.extend_from_slice(b"null,\\\""),
        }
        let out = &mut self.before_table;
        out.clear();
        out.extend_from_slice(b"\\\"]\",\"ts_us\":");
        json::integer(fields.time.0, out);
        out.extend_from_slice(b",\"ts_ns\":");
        json::wide_integer(i128::from(fields.time.0) * 1000, out);
        out.push(b',');
        let out = &mut self.before_lsn;
        out.clear();
        out.extend_from_slice(b"\"txId\":");
        optional_number(fields.xid, out);
        out.extend_from_slice(b",\"lsn\":");
        self.render_end(fields);
    }

    fn render_end(&mut self, fields: &SourceFields<'_>) {
        let out = &mut self.before_transaction;
        out.clear();
        out.extend_from_slice(b",\"xmin\":");
        optional_number(fields.xmin, out);
        out.extend_from_slice(b",\"origin\":");
        match fields.origin {
            Some((name, lsn)) => {
                json::string(name.as_bytes(), out);
                out.extend_from_slice(b",\"origin_lsn\":");
                lsn_digits(lsn, out);
            }
            None => out.extend_from_slice(b"null,\"origin_lsn\":null"),
        }
        out.extend_from_slice(b"},\"transaction\":");
        match fields.xid.filter(|_| fields.ordered) {
            Some(xid) => {
                out.extend_from_slice(b"{\"id\":\"");
                out.extend_from_slice(itoa::Buffer::new().format(xid).as_bytes());
                out.push(b':');
                self.place = Some((0, 0));
            }
            None => {
                out.extend_from_slice(b"null");
                self.place = None;
            }
        }
    }

    /// Says where the next change stands in its transaction and among its table's changes there.
    pub fn place(&mut self, total_order: u64, table_order: u64) {
        self.place = Some((total_order, table_order));
    }

    /// Appends the block and the transaction's; `table` is [`table_fields`]'s.
    #[inline]
    pub(super) fn write(&self, lsn: Lsn, table: &[u8], out: &mut Vec<u8>) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(lsn.0).as_bytes();
        out.extend_from_slice(&self.before_sequence_lsn);
        out.extend_from_slice(digits);
        out.extend_from_slice(&self.before_table);
        out.extend_from_slice(table);
        out.extend_from_slice(&self.before_lsn);
        out.extend_from_slice(digits);
        out.extend_from_slice(&self.before_transaction);
        if let Some((total_order, table_order)) = self.place {
            out.extend_from_slice(digits);
            out.extend_from_slice(b"\",\"total_order\":");
            out.extend_from_slice(itoa::Buffer::new().format(total_order).as_bytes());
            out.extend_from_slice(b",\"data_collection_order\":");
            out.extend_from_slice(itoa::Buffer::new().format(table_order).as_bytes());
            out.push(b'}');
        }
    }
}

/// The members that name the table: `"schema":…,"table":…,`.
pub(super) fn table_fields(namespace: &str, name: &str) -> Vec<u8> {
    let mut out = b"\"schema\":".to_vec();
    json::string(namespace.as_bytes(), &mut out);
    out.extend_from_slice(b",\"table\":");
    json::string(name.as_bytes(), &mut out);
    out.push(b',');
    out
}

fn lsn_digits(lsn: Lsn, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(lsn.0).as_bytes());
}

fn optional_number(number: Option<u64>, out: &mut Vec<u8>) {
    match number {
        Some(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// The envelope's own clock: `,"ts_ms":…,"ts_us":…,"ts_ns":…`, rendered once for all changes that
/// came with one read of the socket.
#[derive(Clone, Debug, Default)]
pub struct ClockText {
    now: UnixMicros,
    text: Vec<u8>,
}

impl ClockText {
    /// Renders a moment.
    pub fn render(&mut self, now: UnixMicros) {
        self.now = now;
        let out = &mut self.text;
        out.clear();
        out.extend_from_slice(b",\"ts_ms\":");
        json::integer(now.millis(), out);
        out.extend_from_slice(b",\"ts_us\":");
        json::integer(now.0, out);
        out.extend_from_slice(b",\"ts_ns\":");
        json::wide_integer(i128::from(now.0) * 1000, out);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The moment.
    pub(super) fn now(&self) -> UnixMicros {
        self.now
    }
}
