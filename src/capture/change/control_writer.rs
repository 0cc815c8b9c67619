//! Records that are no changes: where transactions begin and end, and heartbeats.

use std::ops::Range;

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

/// The order in which a Java `HashMap` of strings that were put in this order gives them.
fn in_java_order(counts: &[(String, u64)]) -> Vec<&(String, u64)> {
    let mut buckets: usize = 16;
    while counts.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    let bucket = |name: &str| {
        let hash = name
            .encode_utf16()
            .fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
        usize::try_from(hash ^ hash >> 16).unwrap_or_default() & (buckets - 1)
    };
    let mut ordered: Vec<&(String, u64)> = counts.iter().collect();
    ordered.sort_by_key(|(name, _)| bucket(name));
    ordered
}

#[cfg(test)]
mod tests {
    use super::in_java_order;

    #[test]
    fn tables_come_in_the_order_of_a_java_map() {
        // The output of Java 17 for a HashMap into which these were put.
        let names = ["public.t2", "public.pk1", "s1.a", "s2.a", "public.orders"];
        let counts: Vec<(String, u64)> = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        let ordered: Vec<&str> =
            in_java_order(&counts).into_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(ordered, ["public.pk1", "s1.a", "public.orders", "s2.a", "public.t2"]);
    }
}
