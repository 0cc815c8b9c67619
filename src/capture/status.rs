//! What can be seen of a running capture from outside: shared with the HTTP port.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::capture::deliveries::Deliveries;
use crate::capture::postgres::Sql;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::Slot;
use crate::time::UnixMicros;

/// A capture's shared state. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: String,
    sql: Option<Sql>,
    deliveries: Option<Arc<Deliveries>>,
    streaming: bool,
}

impl Status {
    /// For this slot.
    pub fn new(slot: &str) -> Self {
        let status = Status::default();
        status.with(|shared| slot.clone_into(&mut shared.slot));
        status
    }

    fn with<T>(&self, each: impl FnOnce(&mut Shared) -> T) -> T {
        each(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The slot.
    pub fn slot(&self) -> String {
        self.with(|shared| shared.slot.clone())
    }

    /// Which connection answers questions; `None` while the source is away.
    pub(super) fn set_sql(&self, sql: Option<Sql>) {
        self.with(|shared| shared.sql = sql);
    }

    /// Where acknowledgements are counted.
    pub(super) fn set_deliveries(&self, deliveries: Arc<Deliveries>) {
        self.with(|shared| shared.deliveries = Some(deliveries));
    }

    /// Whether the stream runs.
    pub(super) fn set_streaming(&self, streaming: bool) {
        self.with(|shared| shared.streaming = streaming);
    }

    /// The slot as the server shows it now, if it exists; `None` if the server cannot be asked.
    pub async fn ask_slot(&self) -> Option<Option<Slot>> {
        let (sql, slot) = self.with(|shared| (shared.sql.clone(), shared.slot.clone()));
        let sql = sql?;
        let query = slot::slot_query(sql.server_version());
        let rows = sql.query_async(&query, &[&slot]).await.ok()?;
        Some(rows.first().map(slot::slot_from_row))
    }

    /// Age of the oldest commit that is not acknowledged, in seconds; 0 if there is none.
    pub fn lag_seconds(&self) -> f64 {
        let oldest = self.with(|shared| {
            shared.deliveries.as_ref().and_then(|deliveries| deliveries.oldest_commit_time())
        });
        oldest.map_or(0.0, |time| UnixMicros::now().seconds_since(time))
    }
}
