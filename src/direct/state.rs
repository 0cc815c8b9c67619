//! The capture's state in the table `_cdc.state` of the warehouse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Serialize;

use crate::capture::publisher::PublishError;
use crate::capture::publisher::Receipt;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::capture::state::StateStore;
use crate::capture::state::Stored;
use crate::capture::state::TableState;
use crate::direct::DirectPublisher;
use crate::direct::StateRecord;
use crate::table::TableName;

/// State in the warehouse: one row for the slot, one for each of its tables.
pub(super) struct WarehouseStore {
    slot: String,
    /// What was there when the warehouse was opened.
    stored: Mutex<BTreeMap<String, String>>,
    /// System identifier and database of a warehouse that is a PostgreSQL.
    identity: Option<(String, String)>,
    publisher: Arc<DirectPublisher>,
}

impl WarehouseStore {
    pub(super) fn new(
        slot: String,
        stored: Vec<(String, String)>,
        identity: Option<(String, String)>,
        publisher: Arc<DirectPublisher>,
    ) -> Self {
        let stored = Mutex::new(stored.into_iter().collect());
        WarehouseStore { slot, stored, identity, publisher }
    }

    fn slot_key(&self) -> String {
        format!("slot {}", self.slot)
    }

    fn table_key(&self, table: &TableName) -> String {
        format!("{} {}", self.tables_prefix(), table.quoted())
    }

    fn tables_prefix(&self) -> String {
        format!("table {}", self.slot)
    }

    fn put(
        &self,
        key: String,
        value: Option<&impl Serialize>,
        read_whole: Option<(TableName, u64)>,
        receipt: Receipt,
    ) -> Result<Stored, PublishError> {
        let text = value.map(serde_json::to_string).transpose();
        let text = text.map_err(|error| self.unreadable(&error.to_string()))?;
        {
            let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
            match &text {
                Some(text) => stored.insert(key.clone(), text.clone()),
                None => stored.remove(&key),
            };
        }
        self.publisher.put_state(StateRecord { key, value: text, read_whole, receipt })?;
        Ok(Stored::WhenAcknowledged)
    }

    fn unreadable(&self, reason: &str) -> PublishError {
        PublishError::Configuration {
            message: format!("the state of slot {} in _cdc.state: {reason}", self.slot),
            hint: "restore it from a backup, or remove it with `cdc-agent drop` and start over"
                .to_owned(),
        }
    }
}

/// A table's row: its name stands beside its state.
#[derive(serde::Deserialize, Serialize)]
struct Entry {
    table: TableName,
    state: TableState,
}

impl StateStore for WarehouseStore {
    fn load(&self) -> Result<Option<State>, PublishError> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: serde_json::Error| self.unreadable(&error.to_string());
        let Some(slot) = stored.get(&self.slot_key()) else { return Ok(None) };
        let slot: SlotState = serde_json::from_str(slot).map_err(failed)?;
        let mut tables = BTreeMap::new();
        let prefix = format!("{} ", self.tables_prefix());
        for (_, value) in stored.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let entry: Entry = serde_json::from_str(value).map_err(failed)?;
            tables.insert(entry.table, entry.state);
        }
        Ok(Some(State { slot, tables }))
    }

    fn store_slot(&self, slot: &SlotState, receipt: Receipt) -> Result<Stored, PublishError> {
        let source = (&slot.system_identifier, &slot.database);
        if self.identity.as_ref().is_some_and(|(system, database)| (system, database) == source) {
            return Err(PublishError::Configuration {
                message: format!(
                    "the warehouse is database {} itself, which is captured",
                    slot.database
                ),
                hint: "give another database with --to: its changes would come back for ever"
                    .to_owned(),
            });
        }
        self.put(self.slot_key(), Some(slot), None, receipt)
    }

    fn store_table(
        &self,
        table: &TableName,
        state: &TableState,
        receipt: Receipt,
    ) -> Result<Stored, PublishError> {
        let entry = Entry { table: table.clone(), state: state.clone() };
        // Its reads are acknowledged, and so they are applied.
        let is_whole = state.epoch_complete > 0 && !state.partly;
        let whole = is_whole.then(|| (table.clone(), state.epoch_complete));
        self.put(self.table_key(table), Some(&entry), whole, receipt)
    }

    fn forget(&self, state: &State, receipt: Receipt) -> Result<Stored, PublishError> {
        for table in state.tables.keys() {
            self.put(self.table_key(table), None::<&Entry>, None, Receipt::Nobody)?;
        }
        self.put(self.slot_key(), Some(&state.after_drop()), None, receipt)
    }
}
