//! Checked resume: whether slot, stored state, server and publication still belong together.
//!
//! **A gap is never silent**: what does not fit is a definite error that says how to start over.

use crate::capture::postgres::Connection;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::Slot;
use crate::capture::postgres::slot::SystemIdentity;
use crate::capture::prepare::Captured;
use crate::capture::settings::CaptureSettings;
use crate::capture::state::State;
use crate::lsn::Lsn;

/// What the slot and the state mean together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing is there yet: create the slot and read under its snapshot, in this epoch.
    Fresh {
        /// Epoch of the reads.
        epoch: u64,
    },
    /// The slot is there, and reading has not been completed.
    ReadAgain {
        /// The slot's position: where the stream begins afterwards.
        confirmed: Lsn,
    },
    /// Changes are lost, and all is to be read again then: create the slot anew.
    Over {
        /// Epoch of the reads.
        epoch: u64,
    },
    /// Go on streaming.
    Stream {
        /// From here.
        from: Lsn,
    },
}

/// Whether a slot is one that we can read.
///
/// # Errors
///
/// It is another plug-in's, another database's or a physical one, or sends what we do not take.
pub(super) fn check_kind(settings: &CaptureSettings, slot: &Slot) -> Result<(), SourceError> {
    let name = &settings.slot;
    let refuse = |message: String| {
        let hint = format!(
            "use another slot (--slot); or, if nobody needs this one: cdc-agent drop --slot {name}"
        );
        Err(SourceError::configuration(message, hint))
    };
    let Some(plugin) = &slot.plugin else {
        return refuse(format!("slot \"{name}\" is a physical slot, expected a logical one"));
    };
    if plugin != "pgoutput" {
        return refuse(format!("slot \"{name}\" has plug-in {plugin}, expected pgoutput"));
    }
    if slot.database.as_deref() != Some(settings.source.database.as_str()) {
        return refuse(format!(
            "slot \"{name}\" belongs to database \"{}\", expected \"{}\"",
            slot.database.as_deref().unwrap_or_default(),
            settings.source.database
        ));
    }
    if slot.two_phase {
        return refuse(format!(
            "slot \"{name}\" was created with TWO_PHASE, which sends prepared transactions before \
             they commit"
        ));
    }
    Ok(())
}

/// Compares the slot with what is stored, before anything is read.
///
/// # Errors
///
/// They do not belong together, or the slot cannot be used.
pub(super) fn check_slot(
    settings: &CaptureSettings,
    slot: Option<&Slot>,
    state: Option<&State>,
) -> Result<Start, SourceError> {
    let name = &settings.slot;
    let drop_hint = format!(
        "to start over with a new read of all tables: cdc-agent drop --slot {name}, then start \
         again"
    );
    let dropped = slot.is_none() && settings.slot_options.drop_on_stop;
    let refuse = |message: String| match state {
        Some(state) if settings.snapshot.starts_over || dropped => {
            tracing::warn!(reason = message, "all tables are read again, in a new epoch");
            Ok(Start::Over { epoch: state.slot.epoch + 1 })
        }
        _ => Err(SourceError::configuration(message, drop_hint.clone())),
    };
    let Some(slot) = slot else {
        return match state {
            Some(state) if state.slot.complete => refuse(format!(
                "slot \"{name}\" does not exist any more, and {} was confirmed to it: changes \
                 since then are gone",
                state.slot.lsn
            )),
            Some(state) => Ok(Start::Fresh {
                epoch: state.slot.epoch + u64::from(state.slot.read_attempts > 0),
            }),
            None => Ok(Start::Fresh { epoch: 1 }),
        };
    };
    if slot.wal_status.as_deref() == Some("lost") || slot.invalidation_reason.is_some() {
        let reason = slot.invalidation_reason.as_deref().unwrap_or("the log it needs was removed");
        return refuse(format!("slot \"{name}\" is lost ({reason}): changes are gone"));
    }
    let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
    match state {
        None => Ok(Start::ReadAgain { confirmed }),
        Some(state) if !state.slot.complete => Ok(Start::ReadAgain { confirmed }),
        Some(state) if confirmed > state.slot.lsn => refuse(format!(
            "slot \"{name}\" is at {confirmed}, ahead of the stored position {}: it was re-created \
             or moved by somebody else, and the changes between are gone",
            state.slot.lsn
        )),
        Some(state) => Ok(Start::Stream { from: state.slot.lsn }),
    }
}

/// Compares who the server is with what is stored.
///
/// # Errors
///
/// Another system, or a timeline that left ours before the stored position.
pub(super) fn check_identity(
    connection: &mut Connection,
    settings: &CaptureSettings,
    identity: &SystemIdentity,
    state: &State,
) -> Result<(), SourceError> {
    let stored = &state.slot;
    let hint = format!(
        "connect to the right server, or start over with a new read of all tables: cdc-agent drop \
         --slot {}, then start again",
        settings.slot
    );
    if stored.system_identifier != identity.system_identifier {
        return Err(SourceError::configuration(
            format!(
                "the server is another one: its system identifier is {}, the stored position \
                 belongs to {}",
                identity.system_identifier, stored.system_identifier
            ),
            hint,
        ));
    }
    if stored.timeline != identity.timeline {
        let history = slot::timeline_history(connection, identity.timeline)?;
        let left = history.iter().find(|(timeline, _)| *timeline == stored.timeline);
        let diverged = left.is_none_or(|(_, end)| *end < stored.lsn);
        if diverged {
            return Err(SourceError::configuration(
                format!(
                    "the server is on timeline {}, which left timeline {} before the stored \
                     position {}: it lacks changes that were published",
                    identity.timeline, stored.timeline, stored.lsn
                ),
                hint,
            ));
        }
        tracing::info!(
            from = stored.timeline,
            to = identity.timeline,
            "the server has changed its timeline after the stored position"
        );
    }
    if identity.wal_lsn < stored.lsn {
        return Err(SourceError::configuration(
            format!(
                "the server's log ends at {}, before the stored position {}: it was restored from a \
                 backup",
                identity.wal_lsn, stored.lsn
            ),
            hint,
        ));
    }
    Ok(())
}

/// Compares the publication with what is stored.
///
/// # Errors
///
/// It was dropped and created again, or its options changed while changes were unconfirmed.
pub(super) fn check_publication(
    settings: &CaptureSettings,
    captured: &Captured,
    slot: &Slot,
    state: &State,
) -> Result<(), SourceError> {
    let stored = &state.slot;
    let publication = &captured.publication;
    let options = captured.order_options(settings);
    let hint = format!(
        "start over with a new read of all tables: cdc-agent drop --slot {}, then start again",
        settings.slot
    );
    if stored.publication != settings.publication || stored.publication_oid != publication.oid.0 {
        return Err(SourceError::configuration(
            format!(
                "publication \"{}\" is not the one that was used before (\"{}\", object {}): it was \
                 dropped and created again, or renamed, and changes between may be missing",
                settings.publication, stored.publication, stored.publication_oid
            ),
            hint,
        ));
    }
    if stored.order_options != options {
        let clean = slot.confirmed_flush_lsn == Some(stored.lsn);
        if !clean {
            return Err(SourceError::configuration(
                format!(
                    "the options of publication \"{}\" changed from {} to {} while changes were \
                     unconfirmed, which would give them other positions",
                    settings.publication, stored.order_options, options
                ),
                "put the options back, let the agent catch up and stop it, then change them",
            ));
        }
    }
    Ok(())
}
