//! What can be seen of a running capture from outside: shared with the HTTP port.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::capture::deliveries::Deliveries;
use crate::capture::postgres::SourceSettings;
use crate::capture::postgres::Sql;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::Slot;
use crate::time::UnixMicros;

/// A capture's shared state. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    shared: Arc<Mutex<Shared>>,
    /// Asks for the slot, whatever becomes of the stream's session.
    observer: Arc<tokio::sync::Mutex<Option<Sql>>>,
}

/// How long the observer's connection may take to answer before it is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);

#[derive(Debug, Default)]
struct Shared {
    slot: String,
    /// The server that the last session was connected to.
    source: Option<(SourceSettings, Handle)>,
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

    /// Which server answers questions: that of the last session. It is asked over a connection of
    /// its own, which outlives the session.
    pub(super) fn set_source(&self, source: &SourceSettings, runtime: &Handle) {
        self.with(|shared| shared.source = Some((source.clone(), runtime.clone())));
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
        let status = self.clone();
        // In a task of its own: who asks may give up, and the connection stays for the next one.
        tokio::spawn(async move { status.observe().await }).await.ok().flatten()
    }

    async fn observe(&self) -> Option<Option<Slot>> {
        let mut observer = self.observer.lock().await;
        let (slot, source) = self.with(|shared| (shared.slot.clone(), shared.source.clone()));
        let (source, runtime) = source?;
        let is_of_use = |sql: &Sql| sql.ended().is_none() && source.hosts.contains(sql.host());
        if let Some(old) = observer.take_if(|sql| !is_of_use(sql)) {
            old.close();
        }
        let sql = match observer.take() {
            Some(sql) => sql,
            None => {
                let open = move || Sql::open(&source, &runtime);
                tokio::task::spawn_blocking(open).await.ok()?.ok()?
            }
        };
        let query = slot::slot_query(sql.server_version());
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, sql.query_async(&query, &[&slot])).await;
        match asked {
            Ok(Ok(rows)) => {
                *observer = Some(sql);
                Some(rows.first().map(slot::slot_from_row))
            }
            _ => {
                sql.close();
                None
            }
        }
    }

    /// Age of the oldest commit that is not acknowledged, in seconds; 0 if there is none.
    pub fn lag_seconds(&self) -> f64 {
        let oldest = self.with(|shared| {
            shared.deliveries.as_ref().and_then(|deliveries| deliveries.oldest_commit_time())
        });
        oldest.map_or(0.0, |time| UnixMicros::now().seconds_since(time))
    }
}
