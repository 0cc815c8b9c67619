//! Entries of `PREFIX.__schemas`.

use std::collections::BTreeMap;
use std::collections::HashMap;

use serde::Deserialize;

use crate::apply::applier::Schemas;
use crate::apply::applier::WholeRead;
use crate::apply::error::ApplyError;
use crate::kafka::CompactedTopic;
use crate::kafka::KafkaSettings;
use crate::kafka::topic_exists;
use crate::table::TableName;

/// Key of the record of a table in the agent's state.
#[derive(Deserialize)]
struct StateKey {
    schema: String,
    table: String,
}

/// What that record says of the reads of the table.
#[derive(Deserialize)]
struct TableState {
    epoch_complete: u64,
    #[serde(default)]
    partly: bool,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    topic_id: String,
    #[serde(default)]
    begin_offsets: BTreeMap<i32, i64>,
    #[serde(default)]
    end_offsets: BTreeMap<i32, i64>,
}

/// Entries read from the topic, as far as they have been added since, whenever one is wanted that
/// is not known.
pub struct TopicSchemas {
    kafka: KafkaSettings,
    entries: HashMap<(String, String), Vec<u8>>,
    /// What has been read of each topic.
    topics: HashMap<String, CompactedTopic>,
}

impl TopicSchemas {
    /// Nothing is read yet.
    pub fn new(kafka: KafkaSettings) -> Self {
        TopicSchemas { kafka, entries: HashMap::new(), topics: HashMap::new() }
    }

    fn topic(&mut self, name: &str) -> &mut CompactedTopic {
        let new = || CompactedTopic::new(self.kafka.clone(), name.to_owned());
        self.topics.entry(name.to_owned()).or_insert_with(new)
    }
}

impl Schemas for TopicSchemas {
    fn entry(&mut self, prefix: &str, fingerprint: &str) -> Result<Option<Vec<u8>>, ApplyError> {
        let wanted = (prefix.to_owned(), fingerprint.to_owned());
        if let Some(entry) = self.entries.get(&wanted) {
            return Ok(Some(entry.clone()));
        }
        let topic = format!("{prefix}.__schemas");
        let mut entries = Vec::new();
        for (key, value) in self.topic(&topic).read()? {
            let key: serde_json::Value = serde_json::from_slice(key).unwrap_or_default();
            if let Some(known) = key.get("fingerprint").and_then(serde_json::Value::as_str) {
                entries.push(((prefix.to_owned(), known.to_owned()), value.clone()));
            }
        }
        self.entries.extend(entries);
        Ok(self.entries.get(&wanted).cloned())
    }

    /// The state of our agent says it; a stock Debezium has none.
    fn sources(&mut self, prefix: &str) -> Result<Vec<(String, String)>, ApplyError> {
        let topic = format!("{prefix}.__state");
        if !topic_exists(&self.kafka, &topic)? {
            return Ok(Vec::new());
        }
        let states = self.topic(&topic).read()?;
        let source = |value: &Vec<u8>| {
            let state: serde_json::Value = serde_json::from_slice(value).ok()?;
            let text = |name: &str| Some(state.get(name)?.as_str()?.to_owned());
            Some((text("system_identifier")?, text("database")?))
        };
        Ok(states.values().filter_map(source).collect())
    }

    fn whole_reads(&mut self, prefix: &str) -> Result<Vec<WholeRead>, ApplyError> {
        let topic = format!("{prefix}.__state");
        if !topic_exists(&self.kafka, &topic)? {
            return Ok(Vec::new());
        }
        let states = self.topic(&topic).read()?;
        let read = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let key: StateKey = serde_json::from_slice(key).ok()?;
            let state: TableState = serde_json::from_slice(value).ok()?;
            let whole = state.epoch_complete > 0 && !state.partly && !state.topic.is_empty();
            whole.then(|| WholeRead {
                table: TableName::new(key.schema, key.table),
                epoch: state.epoch_complete,
                topic: state.topic,
                topic_id: state.topic_id,
                begin_offsets: state.begin_offsets,
                end_offsets: state.end_offsets,
            })
        };
        Ok(states.iter().filter_map(read).collect())
    }
}
