//! What `cdc-agent drop` removes: the slot, what is stored of it, and a publication that was
//! created for it.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::capture::CaptureError;
use crate::capture::pipeline::Pipeline;
use crate::capture::postgres::Sql;
use crate::capture::postgres::publication;
use crate::capture::postgres::publication::Publication;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::Slot;
use crate::capture::publisher::Receipt;
use crate::capture::resume;
use crate::capture::settings::CaptureSettings;
use crate::capture::slot_owner;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::telemetry::Health;
use crate::telemetry::Metrics;

/// What belongs to a slot.
pub struct Belongings {
    settings: Arc<CaptureSettings>,
    sql: Sql,
    slot: Option<Slot>,
    publication: Option<Publication>,
    tables: usize,
    pipeline: Pipeline,
    state: Option<State>,
}

/// Looks for everything that belongs to the settings' slot.
///
/// # Errors
///
/// Source or destination cannot be reached.
pub fn find(settings: &CaptureSettings, runtime: &Handle) -> Result<Belongings, CaptureError> {
    let settings = Arc::new(settings.clone());
    let sql = Sql::open(&settings.source, runtime)?;
    let slot = slot::find_slot(&sql, &settings.slot)?;
    if slot.as_ref().is_some_and(|slot| slot.active) {
        return Err(slot_owner::slot_in_use(&sql, &settings)?.into());
    }
    slot_owner::take(&sql, &settings)?;
    // Nothing is sent that bears the id of a run.
    let (metrics, health) = (Metrics::new(&settings.slot), Health::default());
    let pipeline = Pipeline::connect(&settings, runtime, &metrics, &health, "")?;
    let state = pipeline.store.load()?.filter(|state| !state.slot.dropped);
    let publication = publication::find_publication(&sql, &settings.publication)?;
    let tables = publication::published_tables(&sql, &settings.publication, false)?.len();
    Ok(Belongings { settings, sql, slot, publication, tables, pipeline, state })
}

impl Belongings {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.slot.is_none() && self.own_publication().is_none() && self.state.is_none()
    }

    /// The publication, if we created it for this slot.
    fn own_publication(&self) -> Option<&Publication> {
        self.publication
            .as_ref()
            .filter(|known| known.created_for.as_deref() == Some(&*self.settings.slot))
    }

    /// Removes it all: the slot first, so that nothing is kept for it, the state last.
    ///
    /// # Errors
    ///
    /// The slot is in use, or source or destination refuse.
    pub fn remove(&self) -> Result<(), CaptureError> {
        if self.slot.is_some() {
            slot::drop_slot(&self.sql, &self.settings.slot)?;
        }
        if self.own_publication().is_some() {
            self.sql.execute(&publication::drop_command(&self.settings.publication))?;
        }
        // Where a slot was, there are records, even if what was stored of it is lost.
        let lost = || {
            let epoch = resume::unknown_epoch(&self.settings);
            let slot =
                SlotState { slot: self.settings.slot.clone(), epoch, ..SlotState::default() };
            self.slot.is_some().then(|| State { slot, ..State::default() })
        };
        if let Some(state) = &self.state.clone().or_else(lost) {
            let deliveries = &self.pipeline.deliveries;
            let number = deliveries.new_awaited();
            let stored = self.pipeline.store.forget(state, Receipt::Awaited(number))?;
            deliveries.wait_stored(stored, number, &|| true)?;
        }
        Ok(())
    }
}

impl fmt::Display for Belongings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.settings.slot;
        match &self.slot {
            Some(slot) => {
                let kept = slot.current_lsn.bytes_since(slot.restart_lsn.unwrap_or_default());
                writeln!(
                    formatter,
                    "slot {name}: database {}, {}, confirmed {}, keeps {} MiB of log ({})",
                    slot.database.as_deref().unwrap_or("none"),
                    if slot.active { "in use" } else { "not in use" },
                    slot.confirmed_flush_lsn.unwrap_or_default(),
                    Mebibytes(kept),
                    slot.wal_status.as_deref().unwrap_or("unknown"),
                )?;
            }
            None => writeln!(formatter, "slot {name}: does not exist")?,
        }
        let publication = &self.settings.publication;
        match (&self.publication, self.own_publication()) {
            (Some(_), Some(_)) => {
                writeln!(formatter, "publication {publication}: ours, {} tables", self.tables)?;
            }
            (Some(_), None) => writeln!(
                formatter,
                "publication {publication}: not created by cdc-agent for this slot; it stays"
            )?,
            _ => writeln!(formatter, "publication {publication}: does not exist")?,
        }
        match &self.state {
            Some(state) => writeln!(
                formatter,
                "state: epoch {}, position {}, {} tables, reading {}",
                state.slot.epoch,
                state.slot.lsn,
                state.tables.len(),
                if state.slot.complete { "complete" } else { "not complete" }
            ),
            None if self.slot.is_some() && self.own_publication().is_none() => writeln!(
                formatter,
                "state: none; the slot may be somebody else's (Debezium's offset is in \
                 connect-offsets)"
            ),
            None => writeln!(formatter, "state: none"),
        }
    }
}

/// Bytes, shown in units of 2^20.
struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 / (1 << 20) * 10 + self.0 % (1 << 20) * 10 / (1 << 20);
        write!(formatter, "{}.{}", tenths / 10, tenths % 10)
    }
}
