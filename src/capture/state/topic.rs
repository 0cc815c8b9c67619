//! State in the compacted topic `PREFIX.__state`.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use crate::capture::publisher::Batch;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::capture::publisher::Route;
use crate::capture::publisher::RouteId;
use crate::capture::publisher::TopicSpec;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::capture::state::StateStore;
use crate::capture::state::Stored;
use crate::capture::state::TableState;
use crate::capture::state::unreadable;
use crate::kafka::CompactedTopic;
use crate::kafka::KafkaSettings;
use crate::table::TableName;

/// State in a topic.
pub struct TopicStore {
    topic: String,
    /// What of it has been read.
    read: Mutex<CompactedTopic>,
    slot: String,
    publisher: Arc<dyn Publisher>,
    route: RouteId,
}

/// Key of a record: of the slot, or of one of its tables.
#[derive(Debug, Deserialize, Serialize)]
struct Key {
    slot: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<String>,
}

impl TopicStore {
    /// In the topic of this name, which is created if it is missing.
    ///
    /// # Errors
    ///
    /// It cannot be created.
    pub fn new(
        kafka: KafkaSettings,
        topic: String,
        slot: String,
        publisher: Arc<dyn Publisher>,
    ) -> Result<Self, PublishError> {
        let spec = TopicSpec { name: topic.clone(), compacted: true, internal: true };
        publisher.prepare(&[spec])?;
        let route =
            publisher.route(Route { topic: topic.clone(), internal: true, ..Route::default() })?;
        let read = Mutex::new(CompactedTopic::new(kafka, topic.clone()));
        Ok(TopicStore { topic, read, slot, publisher, route })
    }

    fn key(&self, table: Option<&TableName>) -> Key {
        Key {
            slot: self.slot.clone(),
            schema: table.map(|name| name.namespace.clone()),
            table: table.map(|name| name.name.clone()),
        }
    }

    fn put(
        &self,
        key: &Key,
        value: Option<&impl Serialize>,
        receipt: Receipt,
    ) -> Result<Stored, PublishError> {
        let failed = |error: serde_json::Error| unreadable(&self.topic, &error.to_string());
        let mut bytes = serde_json::to_vec(key).map_err(failed)?;
        let key_end = bytes.len();
        if let Some(value) = value {
            serde_json::to_writer(&mut bytes, value).map_err(failed)?;
        }
        let record = Record {
            route: self.route,
            key: Some(0..key_end),
            value: value.map(|_| key_end..bytes.len()),
            header: None,
            literal: None,
            position: None,
            receipt,
        };
        self.publisher.send(Batch { bytes: &bytes, records: &[record] }, &|| true)?;
        Ok(Stored::WhenAcknowledged)
    }
}

impl StateStore for TopicStore {
    fn load(&self) -> Result<Option<State>, PublishError> {
        let mut slot = None;
        let mut tables = std::collections::BTreeMap::new();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in read.read()? {
            let failed = |error: serde_json::Error| unreadable(&self.topic, &error.to_string());
            let key: Key = serde_json::from_slice(key).map_err(failed)?;
            if key.slot != self.slot {
                continue;
            }
            match (key.schema, key.table) {
                (Some(schema), Some(table)) => {
                    let state: TableState = serde_json::from_slice(value).map_err(failed)?;
                    tables.insert(TableName::new(schema, table), state);
                }
                _ => slot = Some(serde_json::from_slice::<SlotState>(value).map_err(failed)?),
            }
        }
        Ok(slot.map(|slot| State { slot, tables }))
    }

    fn store_slot(&self, slot: &SlotState, receipt: Receipt) -> Result<Stored, PublishError> {
        self.put(&self.key(None), Some(slot), receipt)
    }

    fn store_table(
        &self,
        table: &TableName,
        state: &TableState,
        receipt: Receipt,
    ) -> Result<Stored, PublishError> {
        self.put(&self.key(Some(table)), Some(state), receipt)
    }

    fn forget(&self, state: &State, receipt: Receipt) -> Result<Stored, PublishError> {
        for table in state.tables.keys() {
            self.put(&self.key(Some(table)), None::<&TableState>, Receipt::Nobody)?;
        }
        self.put(&self.key(None), Some(&state.after_drop()), receipt)
    }
}
