//! One process at a time owns a slot: it holds a session advisory lock on the slot's name from
//! before state is loaded until its SQL connection ends.
//!
//! The walsender alone does not keep two agents apart: while tables are snapshotted the slot is not
//! active.

use std::time::Duration;
use std::time::Instant;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::slot;
use crate::capture::settings::CaptureSettings;

/// Takes the lock of the settings' slot for as long as this connection lives.
///
/// # Errors
///
/// [`SourceError::SlotInUse`] if another session holds it.
pub(super) fn take(sql: &Sql, settings: &CaptureSettings) -> Result<(), SourceError> {
    if slot::try_lock(sql, &settings.slot)? {
        return Ok(());
    }
    let application = &settings.source.application_name;
    // Its walsender says more of a stream than the connection beside it.
    let holder = match slot::slot_holder(sql, &settings.slot, application)? {
        None => slot::lock_holder(sql, &settings.slot, application)?,
        walsender => walsender,
    };
    Err(in_use(settings, holder))
}

/// Who streams from the slot.
///
/// # Errors
///
/// The server cannot be asked.
pub(super) fn slot_in_use(
    sql: &Sql,
    settings: &CaptureSettings,
) -> Result<SourceError, SourceError> {
    let application = &settings.source.application_name;
    Ok(in_use(settings, slot::slot_holder(sql, &settings.slot, application)?))
}

fn in_use(settings: &CaptureSettings, holder: Option<(String, bool)>) -> SourceError {
    let (holder, ours) =
        holder.unwrap_or_else(|| ("a process that has just gone".to_owned(), true));
    SourceError::SlotInUse { slot: settings.slot.clone(), holder, ours }
}

/// `slot.drop.on.stop`. The walsender is on its way out.
pub(super) fn drop_at_stop(sql: &Sql, settings: &CaptureSettings, most: Duration) {
    let name = &settings.slot;
    let begun = Instant::now();
    loop {
        match slot::drop_slot(sql, name) {
            Ok(()) => return tracing::info!(slot = name, "slot dropped"),
            Err(_) if begun.elapsed() < most => {
                std::thread::sleep(most / 30);
            }
            Err(error) => {
                return tracing::warn!(slot = name, %error, "the slot cannot be dropped");
            }
        }
    }
}
