//! Records that are no changes: where transactions begin and end, heartbeats, notifications.

use std::ops::Range;

use crate::capture::change::java_map;
use crate::capture::change::notification::AGGREGATE_TYPE;
use crate::capture::change::notification::Notification;
use crate::capture::change::settings::ValueSettings;
use crate::capture::change::table_writer;
use crate::envelope::json;
use crate::envelope::schema;
use crate::envelope::schema::ConnectSchema;
use crate::lsn::Lsn;
use crate::time::UnixMicros;

/// Writes records of one fixed pair of schemas.
#[derive(Clone, Debug)]
pub struct ControlWriter {
    key: (Vec<u8>, &'static [u8]),
    value: (Vec<u8>, &'static [u8]),
}

/// Where the key and the value of a record lie in the buffer.
pub(crate) type Written = (Range<usize>, Range<usize>);

/// A transaction that begins or ends.
#[derive(Clone, Copy, Debug)]
pub struct TransactionEdge<'a> {
    /// The transaction.
    pub xid: u32,
    /// Position of its Begin, or the end of its Commit.
    pub lsn: Lsn,
    /// When it was committed.
    pub time: UnixMicros,
    /// At its end: the changes that were sent, by table.
    pub counts: Option<&'a [(String, u64)]>,
}

impl ControlWriter {
    /// For the topic of transactions.
    pub fn transactions(settings: &ValueSettings) -> Self {
        Self::new(&schema::transaction_key(), &schema::transaction_value(), settings)
    }

    /// For the topic of heartbeats.
    pub fn heartbeats(settings: &ValueSettings) -> Self {
        Self::new(&schema::heartbeat_key(), &schema::heartbeat_value(), settings)
    }

    /// For the topic of notifications.
    pub fn notifications(settings: &ValueSettings) -> Self {
        Self::new(&schema::notification_key(), &schema::notification_value(), settings)
    }

    fn new(key: &ConnectSchema, value: &ConnectSchema, settings: &ValueSettings) -> Self {
        ControlWriter {
            key: table_writer::wrap(key, settings.key_schemas, b""),
            value: table_writer::wrap(value, settings.value_schemas, b""),
        }
    }

    /// Appends the record of a transaction that begins or ends.
    pub fn write_transaction(&self, edge: &TransactionEdge<'_>, out: &mut Vec<u8>) -> Written {
        let id = format!("\"{}:{}\"", edge.xid, edge.lsn.0);
        let mut value = match edge.counts {
            None => format!(
                "{{\"status\":\"BEGIN\",\"id\":{id},\"event_count\":null,\"data_collections\":null"
            ),
            Some(counts) => {
                let total: u64 = counts.iter().map(|(_, count)| count).sum();
                format!(
                    "{{\"status\":\"END\",\"id\":{id},\"event_count\":{total},\"data_collections\":["
                )
            }
        }
        .into_bytes();
        if let Some(counts) = edge.counts {
            for (at, (name, count)) in in_java_order(counts).into_iter().enumerate() {
                value.extend_from_slice(if at > 0 { b"," } else { b"" });
                value.extend_from_slice(b"{\"data_collection\":");
                json::string(name.as_bytes(), &mut value);
                value.extend_from_slice(format!(",\"event_count\":{count}}}").as_bytes());
            }
            value.push(b']');
        }
        value.extend_from_slice(format!(",\"ts_ms\":{}}}", edge.time.millis()).as_bytes());
        self.write(format!("{{\"id\":{id}}}").as_bytes(), &value, out)
    }

    /// Appends a heartbeat.
    pub fn write_heartbeat(&self, prefix: &str, now: UnixMicros, out: &mut Vec<u8>) -> Written {
        let mut key = b"{\"serverName\":".to_vec();
        json::string(prefix.as_bytes(), &mut key);
        key.push(b'}');
        self.write(&key, format!("{{\"ts_ms\":{}}}", now.millis()).as_bytes(), out)
    }

    /// Appends a notification.
    pub fn write_notification(
        &self,
        notification: &Notification<'_>,
        out: &mut Vec<u8>,
    ) -> Written {
        let id = format!("{{\"id\":\"{}\"", notification.id);
        let kind = notification.kind();
        let mut value = format!(
            "{id},\"type\":\"{kind}\",\"aggregate_type\":\"{AGGREGATE_TYPE}\",\
             \"additional_data\":{{"
        )
        .into_bytes();
        for (at, (name, text)) in notification.additional_data().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            value.extend_from_slice(format!("{comma}\"{name}\":").as_bytes());
            json::string(text.as_bytes(), &mut value);
        }
        let time = notification.time.millis();
        value.extend_from_slice(format!("}},\"timestamp\":{time}}}").as_bytes());
        self.write(format!("{id}}}").as_bytes(), &value, out)
    }

    fn write(&self, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Written {
        let start = out.len();
        let mut part = |(head, tail): &(Vec<u8>, &'static [u8]), payload: &[u8]| {
            out.extend_from_slice(head);
            out.extend_from_slice(payload);
            out.extend_from_slice(tail);
            out.len()
        };
        let middle = part(&self.key, key);
        let end = part(&self.value, value);
        (start..middle, middle..end)
    }
}

/// Counts in the order of the map that Debezium keeps them in.
fn in_java_order(counts: &[(String, u64)]) -> Vec<&(String, u64)> {
    let buckets = java_map::grown(java_map::LEAST_BUCKETS, counts.len());
    java_map::in_order(counts.iter().collect(), buckets, |(name, _)| name)
}
