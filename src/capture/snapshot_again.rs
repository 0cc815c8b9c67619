//! What `cdc-agent snapshot` does: it stores that tables are to be snapshotted again.
//!
//! The agent does it at its next start, in a new epoch of each table, so that rows of earlier
//! epochs go from warehouses once the new ones are there.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::capture::CaptureError;
use crate::capture::pipeline::Pipeline;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::slot;
use crate::capture::publisher::Receipt;
use crate::capture::settings::CaptureSettings;
use crate::capture::slot_owner;
use crate::capture::state::State;
use crate::lsn::Lsn;
use crate::table::TableName;
use crate::telemetry::Health;
use crate::telemetry::Metrics;

/// How many names a message holds at most.
const NAMES_MAX: usize = 10;

/// Stores that these tables are to be snapshotted again; gives their names.
///
/// # Errors
///
/// An agent owns the slot, nothing is stored of it, a table is not captured, or source or
/// destination cannot be reached.
pub fn snapshot_again(
    settings: &CaptureSettings,
    runtime: &Handle,
    tables: &[String],
) -> Result<Vec<TableName>, CaptureError> {
    let settings = Arc::new(settings.clone());
    let sql = Sql::open(&settings.source, runtime)?;
    if slot::find_slot(&sql, &settings.slot)?.is_some_and(|slot| slot.active) {
        return Err(slot_owner::slot_in_use(&sql, &settings)?.into());
    }
    slot_owner::take(&sql, &settings)?;
    // Nothing is sent that bears the id of a run.
    let (metrics, health) = (Metrics::new(&settings.slot), Health::default());
    let pipeline = Pipeline::connect(&settings, runtime, &metrics, &health, "")?;
    let Some(state) = pipeline.record.load()?.filter(|state| !state.slot.dropped) else {
        return Err(SourceError::configuration(
            format!("nothing is stored of slot \"{}\"", settings.slot),
            "start the agent: its first start snapshots every table",
        )
        .into());
    };
    let names: Vec<TableName> = tables
        .iter()
        .map(|table| find(&state, &settings.slot, table))
        .collect::<Result<_, SourceError>>()?;
    for name in &names {
        let Some(known) = state.tables.get(name) else { continue };
        let mut known = known.clone();
        known.epoch_complete = 0;
        known.asked = true;
        let number = pipeline.deliveries.new_awaited();
        let stored = pipeline.record.store_table(name, &known, Receipt::Awaited(number))?;
        pipeline.deliveries.wait_stored(stored, number, &|| true)?;
    }
    Ok(names)
}

/// The captured table that a user names: with its schema, or without if only one has that name.
fn find(state: &State, slot: &str, asked: &str) -> Result<TableName, SourceError> {
    let captured = || {
        let tables = state.tables.iter().filter(|(_, known)| known.left_at == Lsn::ZERO);
        tables.map(|(name, _)| name)
    };
    let whole = captured().find(|name| name.to_string() == asked);
    let alone: Vec<&TableName> = captured().filter(|name| name.name == asked).collect();
    match (whole, alone.as_slice()) {
        (Some(name), _) => Ok(name.clone()),
        (None, [name]) => Ok((*name).clone()),
        (None, [_, _, ..]) => Err(SourceError::configuration(
            format!("several captured tables have the name {asked}"),
            "give the schema, too: SCHEMA.TABLE",
        )),
        (None, []) => {
            let known: Vec<String> = captured().take(NAMES_MAX).map(ToString::to_string).collect();
            let more = if captured().count() > NAMES_MAX { ", …" } else { "" };
            Err(SourceError::configuration(
                format!("slot \"{slot}\" does not capture a table {asked}"),
                format!("name one of those that it captures: {}{more}", known.join(", ")),
            ))
        }
    }
}
