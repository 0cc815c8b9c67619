//! Names of topics and of the schemas within them.
//!
//! Source: Debezium 3.6, "Topic names" of the PostgreSQL connector; `SchemaTopicNamingStrategy` and
//! `TopicNameSanitizer` as their recorded output shows them.

use crate::table::TableName;

/// Longest topic name that Kafka takes.
const TOPIC_BYTES_MAX: usize = 249;

/// The topic of a table's records: `PREFIX.schema.table`.
pub(super) fn topic(prefix: &str, table: &TableName) -> String {
    sanitized(&format!("{prefix}.{}.{}", table.namespace, table.name))
}

/// The topic of logical decoding messages.
pub(super) fn message_topic(prefix: &str) -> String {
    format!("{prefix}.message")
}

/// The topic of one of our own records, as in `PREFIX.__state`.
pub(super) fn internal_topic(prefix: &str, name: &str) -> String {
    format!("{prefix}.__{name}")
}

/// Replaces every UTF-16 unit that Kafka does not allow by an underscore and cuts what is too long.
fn sanitized(name: &str) -> String {
    let mut topic = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-') {
            topic.push(character);
        } else {
            topic.extend(std::iter::repeat_n('_', character.len_utf16()));
        }
    }
    topic.truncate(TOPIC_BYTES_MAX);
    match topic.as_str() {
        "." => "_".to_owned(),
        ".." => "__".to_owned(),
        _ => topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kafka_does_not_allow_are_mended() {
        for (schema, table, expected) in [
            ("public", "orders", "P.public.orders"),
            ("Odd Schema", "Odd.Table", "P.Odd_Schema.Odd.Table"),
            ("public", "Ünï$code", "P.public._n__code"),
            ("public", "😀", "P.public.__"),
        ] {
            assert_eq!(topic("P", &TableName::new(schema, table)), expected);
        }
        assert_eq!(topic("P", &TableName::new("s", "x".repeat(300))).len(), TOPIC_BYTES_MAX);
    }
}
