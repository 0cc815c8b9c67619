//! Two sets of records, byte by byte but for what is not determined.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use cdc_testkit::topics::TopicRecord;

use super::compare;
use super::compare::Difference;
use super::json::Json;
use super::mask;
use super::mask::Path;
use super::records::Record;

/// What was compared and what differs.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Records that are equal.
    pub equal: usize,
    /// What differs, member by member.
    pub differences: Vec<Difference>,
}

/// Compares what two connectors with the same prefix wrote.
pub fn compare(left: &[TopicRecord], right: &[TopicRecord], prefix: &str) -> Verdict {
    let (left, right) = (arranged(left, prefix), arranged(right, prefix));
    let topics: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let mut verdict = Verdict::default();
    for topic in topics {
        let empty = Vec::new();
        let theirs = left.get(topic).unwrap_or(&empty);
        let ours = right.get(topic).unwrap_or(&empty);
        for at in 0..theirs.len().max(ours.len()) {
            match (theirs.get(at), ours.get(at)) {
                (Some(theirs), Some(ours)) if theirs == ours => verdict.equal += 1,
                (theirs, ours) => verdict.differences.extend(differences(topic, at, theirs, ours)),
            }
        }
    }
    verdict
}

/// A record as it is compared: what is masked is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// Of records with a key.
    partition: Option<i32>,
    key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

/// Records by topic: each partition's in their order, those without a key by their position.
fn arranged(records: &[TopicRecord], prefix: &str) -> BTreeMap<String, Vec<Masked>> {
    let first = first_transaction(records);
    let mut topics: BTreeMap<String, Vec<&TopicRecord>> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.topic.contains(".__")) {
        topics.entry(record.topic.replace(prefix, "P")).or_default().push(record);
    }
    let heartbeat = |topic: &str| topic.starts_with("__debezium-heartbeat");
    topics
        .into_iter()
        .map(|(topic, mut records)| {
            records.sort_by_key(|record| match &record.key {
                // Their keys are random.
                Some(_) if is_notification(record) => (-1, 0, record.offset),
                Some(_) => (record.partition, 0, record.offset),
                None => (-1, lsn(record), record.offset),
            });
            if heartbeat(&topic) {
                // How many there are depends on time.
                records.truncate(1);
            }
            let masked = records.into_iter().map(|record| masked(record, &first)).collect();
            (topic, masked)
        })
        .collect()
}

fn is_notification(record: &TopicRecord) -> bool {
    let value = record.value.as_deref().unwrap_or_default();
    !mask::text(value, &mask::leaves(value), &["aggregate_type"]).is_empty()
}

fn lsn(record: &TopicRecord) -> i64 {
    let value = record.value.as_deref().unwrap_or_default();
    mask::text(value, &mask::leaves(value), &["source", "lsn"]).parse().unwrap_or_default()
}

/// The transaction that the stream begins with: what was committed before it is known by chance.
fn first_transaction(records: &[TopicRecord]) -> (i64, String) {
    let streamed = records.iter().filter_map(|record| {
        let value = record.value.as_deref()?;
        let leaves = mask::leaves(value);
        let is_read = is_read(value, &leaves);
        let xid = mask::text(value, &leaves, &["source", "txId"]);
        let lsn: i64 = mask::text(value, &leaves, &["source", "lsn"]).parse().ok()?;
        (!is_read && !matches!(xid, "" | "null")).then(|| (lsn, xid.to_owned()))
    });
    streamed.min().unwrap_or((i64::MAX, String::new()))
}

fn is_read(value: &[u8], leaves: &[(Path, Range<usize>)]) -> bool {
    mask::text(value, leaves, &["op"]) == "\"r\""
}

/// A record without what is not determined.
pub fn masked(record: &TopicRecord, first_transaction: &(i64, String)) -> Masked {
    let value = record.value.as_deref().map(|value| {
        let leaves = mask::leaves(value);
        let parts = undetermined(value, &leaves, first_transaction);
        in_order(mask::without(value, parts))
    });
    let own = ["cdc.position", "cdc.schema"];
    let headers = record
        .headers
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| match name.as_str() {
            "__debezium.context.runId" => (name.clone(), b"?".to_vec()),
            _ => (name.clone(), value.clone()),
        })
        .collect();
    if is_notification(record) {
        let key = record.key.as_deref().map(without_id);
        let value = value.map(|value| without_id(&in_named_order(value)));
        return Masked { partition: None, key, value, headers };
    }
    let partition = record.key.is_some().then_some(record.partition);
    Masked { partition, key: record.key.clone(), value, headers }
}

/// A notification's key or value without its random id and the moment.
fn without_id(json: &[u8]) -> Vec<u8> {
    let leaves = mask::leaves(json);
    let undetermined = |path: &Path| matches!(mask::below_payload(path)[..], ["id" | "timestamp"]);
    let parts = leaves.iter().filter(|(path, _)| undetermined(path));
    mask::without(json, parts.map(|(_, range)| range.clone()).collect())
}

/// Two members of a notification's data may share a bucket of a Java map, where they come in an
/// order that each JVM chooses by chance.
fn in_named_order(value: Vec<u8>) -> Vec<u8> {
    const START: &str = "\"additional_data\":{";
    let Ok(text) = std::str::from_utf8(&value) else { return value };
    let Some((before, rest)) = text.split_once(START) else { return value };
    let Some((members, after)) = rest.split_once('}') else { return value };
    let mut members: Vec<&str> = members.split(",\"").collect();
    members.iter_mut().for_each(|member| *member = member.trim_start_matches('"'));
    members.sort_unstable();
    let members: Vec<String> = members.iter().map(|member| format!("\"{member}")).collect();
    format!("{before}{START}{}}}{after}", members.join(",")).into_bytes()
}

/// The collections of a transaction with a message among them come in no order.
fn in_order(value: Vec<u8>) -> Vec<u8> {
    const START: &str = "\"data_collections\":[{";
    let Ok(text) = std::str::from_utf8(&value) else { return value };
    let Some((before, rest)) = text.split_once(START).filter(|_| text.contains("Id@?")) else {
        return value;
    };
    let Some((items, after)) = rest.split_once("}]") else { return value };
    let mut items: Vec<&str> = items.split("},{").collect();
    items.sort_unstable();
    format!("{before}{START}{}}}]{after}", items.join("},{")).into_bytes()
}

/// The parts of a value that are not determined.
fn undetermined(
    value: &[u8],
    leaves: &[(Path, Range<usize>)],
    first_transaction: &(i64, String),
) -> Vec<Range<usize>> {
    let read = is_read(value, leaves);
    let xid = mask::text(value, leaves, &["source", "txId"]);
    let first = xid == first_transaction.1;
    // A message of no transaction has the time of the last one, at first the snapshot's.
    let lsn: i64 = mask::text(value, leaves, &["source", "lsn"]).parse().unwrap_or_default();
    let early = xid == "null" && lsn <= first_transaction.0;
    let mut parts = Vec::new();
    for (path, range) in leaves {
        let clock = |name: &str| matches!(name, "ts_ms" | "ts_us" | "ts_ns");
        match mask::below_payload(path).as_slice() {
            ["source", "version"] => parts.push(range.clone()),
            // The transaction topic's is the commit's.
            [name] if clock(name) && mask::text(value, leaves, &["status"]).is_empty() => {
                parts.push(range.clone());
            }
            // The moment of the snapshot.
            ["source", name] if (read || early) && clock(name) => parts.push(range.clone()),
            ["source", "txId" | "lsn" | "sequence"] if read => parts.push(range.clone()),
            // "[null,\"1\"]", "[\"1\",\"2\"]": from after the bracket to the comma.
            ["source", "sequence"] if first => {
                let text = &value[range.clone()];
                let comma = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
                parts.push(range.start + 2..range.start + comma);
            }
            // The identity of a Java object.
            ["data_collections", _, "data_collection"] => {
                let text = &value[range.clone()];
                if let Some(at) = text.windows(3).position(|part| part == b"Id@") {
                    parts.push(range.start + at + 3..range.end - 1);
                }
            }
            _ => {
                let text = &value[range.clone()];
                let object = text.starts_with(b"\"[L");
                let at = text.windows(2).position(|part| part == b";@");
                if let Some(at) = at.filter(|_| object) {
                    parts.push(range.start + at + 2..range.end - 1);
                }
            }
        }
    }
    parts
}

/// What differs between two records, member by member.
fn differences(
    topic: &str,
    at: usize,
    theirs: Option<&Masked>,
    ours: Option<&Masked>,
) -> Vec<Difference> {
    let record = |masked: &Masked| Record {
        topic: topic.to_owned(),
        key: readable(masked.key.as_deref()),
        value: readable(masked.value.as_deref()),
        headers: masked
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Json::string(String::from_utf8_lossy(value))))
            .collect(),
    };
    let as_list = |masked: Option<&Masked>| masked.map(record).into_iter().collect::<Vec<_>>();
    let mut found = compare::differences(&as_list(theirs), &as_list(ours));
    for difference in &mut found {
        // As the recorder of the cases writes it.
        difference.debezium = difference.debezium.replace(";@?", ";@hash");
    }
    for difference in &mut found {
        difference.place = difference.place.replacen("[0]", &format!("[{at}]"), 1);
    }
    if let (Some(theirs), Some(ours), true) = (theirs, ours, found.is_empty()) {
        found.push(Difference {
            place: format!("{topic}[{at}]: partition or spelling"),
            debezium: spelled(theirs),
            ours: spelled(ours),
        });
    }
    found
}

fn readable(bytes: Option<&[u8]>) -> Json {
    let Some(bytes) = bytes else { return Json::Null };
    let text = String::from_utf8_lossy(bytes).replace("\":?", "\":\"?\"");
    Json::parse(&text).unwrap_or_else(|_| Json::string(text))
}

fn spelled(masked: &Masked) -> String {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes.as_deref().map_or("none".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    format!("partition {:?} {} {}", masked.partition, text(&masked.key), text(&masked.value))
}
