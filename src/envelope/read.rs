//! Reading envelopes: the other direction of what the capture writes, and what Debezium writes.
//!
//! Values stay raw JSON: what they mean is their column's business.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::envelope::Operation;

/// A change event.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The embedded schema, if there is one.
    pub schema: Option<&'a RawValue>,
    /// What happened.
    pub operation: Operation,
    /// The old row.
    pub before: Option<&'a RawValue>,
    /// The new row.
    pub after: Option<&'a RawValue>,
    /// Where it happened.
    pub source: SourceInfo<'a>,
    /// Milliseconds since 1970 at which the connector read it.
    pub ts_ms: Option<i64>,
}

/// The members of `source` that a reader needs.
#[derive(Debug, Default, Deserialize)]
pub struct SourceInfo<'a> {
    /// Topic prefix.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Schema of the table.
    #[serde(borrow, default)]
    pub schema: Option<Cow<'a, str>>,
    /// Table.
    #[serde(borrow, default)]
    pub table: Cow<'a, str>,
    /// LSN of the change.
    #[serde(default)]
    pub lsn: Option<u64>,
    /// `["end of the last commit","lsn"]`.
    #[serde(borrow, default)]
    pub sequence: Option<Cow<'a, str>>,
    /// Milliseconds since 1970 of the commit.
    #[serde(default)]
    pub ts_ms: Option<i64>,
    /// Whether, and how, a snapshot brings it.
    #[serde(borrow, default)]
    pub snapshot: Option<&'a RawValue>,
}

impl SourceInfo<'_> {
    /// The text of `snapshot`; what is no text is another version's truth value.
    pub fn snapshot(&self) -> &str {
        self.snapshot.map_or("", |snapshot| snapshot.get().trim_matches('"'))
    }
}

/// A value that is no change event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAChange {
    /// A heartbeat, a mark of a transaction or a notification: nothing for a table.
    Notice,
    /// It is not JSON of an envelope.
    Malformed {
        /// What was expected.
        expected: &'static str,
    },
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<Body<'a>>,
    #[serde(borrow, default)]
    before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<SourceInfo<'a>>,
    #[serde(borrow, default)]
    op: Option<Cow<'a, str>>,
    #[serde(default)]
    ts_ms: Option<i64>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    before: Option<&'a RawValue>,
    #[serde(borrow, default)]
    after: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<SourceInfo<'a>>,
    #[serde(borrow, default)]
    op: Option<Cow<'a, str>>,
    #[serde(default)]
    ts_ms: Option<i64>,
}

/// Members of heartbeats, of marks of transactions and of notifications.
const NOTICES: [&[&str]; 4] = [
    &["ts_ms"],
    &["status", "id", "event_count", "data_collections", "ts_ms"],
    // Before Debezium 2.
    &["status", "id", "event_count", "data_collections"],
    &["id", "type", "aggregate_type", "additional_data", "timestamp"],
];

/// Whether a value has exactly the members of a notice: a row that a transform has taken out of its
/// envelope may have some of them as columns.
#[cold]
fn is_notice(value: &[u8]) -> bool {
    let Ok(serde_json::Value::Object(mut members)) = serde_json::from_slice(value) else {
        return false;
    };
    let payload = members.remove("payload");
    let members = match payload {
        Some(serde_json::Value::Object(payload)) => payload,
        _ => members,
    };
    NOTICES.iter().any(|names| {
        names.len() == members.len() && names.iter().all(|name| members.contains_key(*name))
    })
}

impl<'a> Envelope<'a> {
    /// Reads a record's value, with or without an embedded schema.
    ///
    /// # Errors
    ///
    /// It is no change event.
    pub fn read(value: &'a [u8]) -> Result<Self, NotAChange> {
        let document: Document<'a> = serde_json::from_slice(value).map_err(|_| {
            NotAChange::Malformed { expected: "the JSON of a Debezium change event" }
        })?;
        let body = document.payload.unwrap_or(Body {
            before: document.before,
            after: document.after,
            source: document.source,
            op: document.op,
            ts_ms: document.ts_ms,
        });
        let Some(op) = body.op.as_deref() else {
            return Err(if is_notice(value) {
                NotAChange::Notice
            } else {
                NotAChange::Malformed { expected: "a Debezium envelope with the member \"op\"" }
            });
        };
        let operation = Operation::from_letter(op)
            .ok_or(NotAChange::Malformed { expected: "op to be one of c, u, d, r, t, m" })?;
        let source = body.source.ok_or(NotAChange::Malformed {
            expected: "a Debezium envelope with the member \"source\"",
        })?;
        Ok(Envelope {
            schema: document.schema,
            operation,
            before: body.before,
            after: body.after,
            source,
            ts_ms: body.ts_ms,
        })
    }
}

/// Calls `each` with every member of a JSON object, in order: its name and its raw value.
///
/// # Errors
///
/// The text is no JSON object.
pub fn for_each_member<'a>(
    json: &'a str,
    mut each: impl FnMut(&str, &'a RawValue),
) -> Result<(), NotAChange> {
    struct Members<F>(F);

    #[derive(Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

    impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Members<F> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                (self.0)(&name, map.next_value::<&'de RawValue>()?);
            }
            Ok(())
        }
    }

    let mut reader = serde_json::Deserializer::from_str(json);
    reader
        .deserialize_map(Members(&mut each))
        .map_err(|_| NotAChange::Malformed { expected: "a row as a JSON object" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_envelopes_with_and_without_a_schema() {
        let bare = br#"{"before":null,"after":{"id":1},"source":{"name":"p","schema":"s","table":"t","lsn":5,"sequence":"[null,\"5\"]"},"op":"c","ts_ms":1}"#;
        let envelope = Envelope::read(bare).unwrap();
        assert_eq!(envelope.operation, Operation::Create);
        assert!(envelope.before.is_none() && envelope.schema.is_none());
        assert_eq!(envelope.source.sequence.as_deref(), Some("[null,\"5\"]"));
        let wrapped =
            [br#"{"schema":{"type":"struct"},"payload":"#.as_slice(), bare, b"}"].concat();
        let envelope = Envelope::read(&wrapped).unwrap();
        assert_eq!(envelope.after.unwrap().get(), r#"{"id":1}"#);
        assert!(envelope.schema.is_some());
    }

    #[test]
    fn tells_notices_from_what_is_malformed() {
        let read = |text: &str| Envelope::read(text.as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!(read(r#"{"ts_ms":1}"#), NotAChange::Notice);
        let begin =
            r#"{"status":"BEGIN","id":"1:2","event_count":null,"data_collections":null,"ts_ms":1}"#;
        assert_eq!(read(begin), NotAChange::Notice);
        let skipped = r#"{"id":"u","type":"SKIPPED","aggregate_type":"Initial Snapshot","additional_data":{},"timestamp":1}"#;
        assert_eq!(read(skipped), NotAChange::Notice);
        let wrapped = format!(r#"{{"schema":{{}},"payload":{skipped}}}"#);
        assert_eq!(read(&wrapped), NotAChange::Notice);
        // Rows without an envelope that have such columns are not passed over in silence.
        let row = r#"{"id":1,"status":"paid","ts_ms":5}"#;
        assert!(matches!(read(row), NotAChange::Malformed { .. }));
        assert!(matches!(read(r#"{"id":1,"ts_ms":5}"#), NotAChange::Malformed { .. }));
        assert!(matches!(read(r#"{"id":1}"#), NotAChange::Malformed { .. }));
        assert!(matches!(read(r#"{"op":"x","source":{}}"#), NotAChange::Malformed { .. }));
        assert!(matches!(read("[]"), NotAChange::Malformed { .. }));
    }

    #[test]
    fn members_come_in_order_with_their_raw_values() {
        let mut found = Vec::new();
        for_each_member(r#"{"a":1.50,"b\"":null,"c":[1, 2]}"#, |name, value| {
            found.push((name.to_owned(), value.get().to_owned()));
        })
        .unwrap();
        let expected = [("a", "1.50"), ("b\"", "null"), ("c", "[1, 2]")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(for_each_member("3", |_, _| {}).is_err());
    }
}
