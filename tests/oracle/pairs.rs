//! A row that was read and the same row inserted: both must come out alike.

use std::collections::BTreeMap;

use super::json::Json;
use super::records::Record;
use super::records::payload;

/// Compares each row that was read with the one that was inserted later with 100 more as its id;
/// gives what differs between them, or that there are none.
pub fn unequal(records: &[Record]) -> Vec<String> {
    let mut read: BTreeMap<(&str, i128), &Json> = BTreeMap::new();
    let mut pairs = 0;
    let mut unequal = Vec::new();
    for record in records {
        let value = record.payload();
        let (Some(operation), Some(row)) = (value.get("op"), value.get("after")) else { continue };
        let Some(id) = id(&record.key) else { continue };
        match operation.text() {
            Some("r") => {
                read.insert((&record.topic, id), row);
            }
            Some("c") => {
                let Some(read) = read.get(&(record.topic.as_str(), id - 100)) else { continue };
                pairs += 1;
                for (name, read, streamed) in different(read, row) {
                    unequal.push(format!("{id}: {name} is {read} read, {streamed} streamed"));
                }
            }
            _ => {}
        }
    }
    if pairs == 0 && !read.is_empty() {
        unequal.push("no row is both read and streamed".to_owned());
    }
    unequal
}

/// Members that both rows have and that differ; the stream has no generated columns.
fn different<'a>(read: &'a Json, streamed: &'a Json) -> Vec<(&'a str, &'a Json, &'a Json)> {
    let Json::Object(members) = streamed else { return Vec::new() };
    members
        .iter()
        .filter(|(name, _)| name != "id")
        .filter_map(|(name, streamed)| Some((name.as_str(), read.get(name)?, streamed)))
        .filter(|(_, read, streamed)| read != streamed)
        .collect()
}

/// The id, if it is the whole key and a number.
fn id(key: &Json) -> Option<i128> {
    match payload(key) {
        Json::Object(members) if members.len() == 1 => members[0].1.integer(),
        _ => None,
    }
}
