//! One record understood.

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use serde_json::Value;

use super::Position;
use crate::topics::TopicRecord;

/// Debezium's default placeholder for a value that the WAL does not carry.
pub const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// The uuid that Debezium makes of the placeholder for elements of `uuid[]`.
const UNAVAILABLE_UUID: &str = "b68a35a7-17ad-35b3-af2a-ae46edb4545a";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Read,
    Create,
    Update,
    Delete,
    Truncate,
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) table: String,
    pub(super) position: Option<Position>,
    pub(super) operation: Operation,
    pub(super) key: Option<String>,
    pub(super) before: Option<Map<String, Value>>,
    pub(super) after: Option<Map<String, Value>>,
    /// Of a delete: the key that the row has from now on.
    pub(super) new_key: Option<String>,
    /// Of a create: the key that the row had before.
    pub(super) old_key: Option<String>,
}

impl Change {
    /// `None` for a record that is no change of a table.
    #[track_caller]
    pub(super) fn parse(record: &TopicRecord) -> Option<Self> {
        if record.topic.contains(".__") || record.topic.starts_with("__") {
            return None;
        }
        let reader = Reader { record };
        let mut envelope =
            reader.payload(record.value.as_deref().expect("tombstones are sorted out"));
        let operation = match envelope.get("op")?.as_str()? {
            "r" => Operation::Read,
            "c" => Operation::Create,
            "u" => Operation::Update,
            "d" => Operation::Delete,
            "t" => Operation::Truncate,
            "m" => return None,
            other => reader.fail(&format!("op is {other:?}")),
        };
        let source = envelope.get("source").and_then(Value::as_object);
        let named = |member: &str| source?.get(member)?.as_str().map(str::to_owned);
        let (Some(namespace), Some(table)) = (named("schema"), named("table")) else {
            reader.fail("no source.schema and source.table")
        };
        let position = record
            .header("cdc.position")
            .map(|text| text.parse().unwrap_or_else(|error: String| reader.fail(&error)));
        let change = Self {
            table: format!("{namespace}.{table}"),
            position,
            operation,
            key: record.key.as_deref().map(|key| canonical(&Value::Object(reader.payload(key)))),
            before: reader.row(&mut envelope, "before"),
            after: reader.row(&mut envelope, "after"),
            new_key: reader.key_header("__debezium.newkey"),
            old_key: reader.key_header("__debezium.oldkey"),
        };
        change.check(&reader);
        Some(change)
    }

    /// What each operation has and has not.
    #[track_caller]
    fn check(&self, reader: &Reader<'_>) {
        let (before, after) = (self.before.is_some(), self.after.is_some());
        let good = match self.operation {
            Operation::Read | Operation::Create => !before && after,
            Operation::Update => after,
            Operation::Delete => before && !after,
            Operation::Truncate => !before && !after && self.key.is_none(),
        };
        if !good {
            reader.fail(&format!("{:?} with before: {before}, after: {after}", self.operation));
        }
    }

    /// Of all that must be the same at every delivery.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.operation, &self.key, &self.new_key, &self.old_key).hash(&mut hasher);
        for row in [&self.before, &self.after] {
            row.as_ref().map(canonical_object).hash(&mut hasher);
        }
        hasher.finish()
    }
}

struct Reader<'a> {
    record: &'a TopicRecord,
}

impl Reader<'_> {
    /// The JSON object, taken out of `{"schema","payload"}`.
    #[track_caller]
    fn payload(&self, bytes: &[u8]) -> Map<String, Value> {
        let value: Value = serde_json::from_slice(bytes)
            .unwrap_or_else(|error| self.fail(&format!("not JSON: {error}")));
        let Value::Object(mut object) = value else { self.fail("not a JSON object") };
        if object.len() == 2 && object.contains_key("schema") {
            match object.remove("payload") {
                Some(Value::Object(payload)) => return payload,
                Some(other) => {
                    object.insert("payload".into(), other);
                }
                None => {}
            }
        }
        object
    }

    #[track_caller]
    fn row(&self, envelope: &mut Map<String, Value>, member: &str) -> Option<Map<String, Value>> {
        match envelope.remove(member) {
            Some(Value::Object(row)) => Some(row),
            Some(Value::Null) => None,
            Some(_) => self.fail(&format!("{member} is neither a row nor null")),
            None => self.fail(&format!("{member} is missing")),
        }
    }

    #[track_caller]
    fn key_header(&self, name: &str) -> Option<String> {
        let text = self.record.header(name)?;
        Some(canonical(&Value::Object(self.payload(text.as_bytes()))))
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let TopicRecord { topic, partition, offset, .. } = self.record;
        panic!("{topic}/{partition} at {offset}: {what}: {}", self.record.value_text())
    }
}

/// The text of a JSON value with the members of objects sorted by name, so that equal values have
/// equal texts.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => canonical_object(object),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(canonical).collect();
            format!("[{}]", elements.join(","))
        }
        scalar => scalar.to_string(),
    }
}

fn canonical_object(object: &Map<String, Value>) -> String {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_by_key(|(name, _)| *name);
    let member = |(name, value): (&String, &Value)| {
        format!("{}:{}", Value::from(name.as_str()), canonical(value))
    };
    let members: Vec<String> = members.into_iter().map(member).collect();
    format!("{{{}}}", members.join(","))
}

/// Whether a value stands for one that the WAL does not carry, in any of the shapes that Debezium
/// gives it by the column's type.
pub fn is_unavailable(value: &Value) -> bool {
    match value {
        Value::String(text) => text == UNAVAILABLE || *text == STANDARD.encode(UNAVAILABLE),
        Value::Array(elements) => match elements.as_slice() {
            [Value::String(text)] if text == UNAVAILABLE_UUID => true,
            [only @ Value::String(_)] => is_unavailable(only),
            elements if elements.len() == UNAVAILABLE.len() => {
                let bytes = UNAVAILABLE.bytes().map(u64::from);
                elements.iter().zip(bytes).all(|(element, byte)| element.as_u64() == Some(byte))
            }
            _ => false,
        },
        _ => false,
    }
}
