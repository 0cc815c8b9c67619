//! Checked resume: whether slot, stored state, server and publication still belong together.
//!
//! **A gap is never silent**: what does not fit is a definite error that says how to start over.

use crate::capture::CaptureError;
use crate::capture::postgres::Connection;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::Slot;
use crate::capture::postgres::slot::SystemIdentity;
use crate::capture::prepare::Captured;
use crate::capture::settings::CaptureSettings;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::lsn::Lsn;
use crate::time::UnixMicros;

/// What the slot and the state mean together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing is there yet: create the slot and read under its snapshot, in this epoch.
    Fresh {
        /// Lowest epoch of the reads; 0 if nothing is known of an earlier one.
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

/// The epoch of a first snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstEpoch {
    /// Of the snapshot.
    pub(super) epoch: u64,
    /// State tells of the epochs before it: the slot was dropped by us.
    pub(super) is_after_drop: bool,
}

impl FirstEpoch {
    /// Above what was dropped before; where nothing is known, of the clock: topics or a warehouse
    /// may hold records of an earlier life of the slot, and an epoch never repeats.
    pub(super) fn new(settings: &CaptureSettings, dropped: Option<u64>) -> Self {
        match dropped {
            Some(epoch) => FirstEpoch { epoch: epoch + 1, is_after_drop: true },
            None => FirstEpoch { epoch: unknown_epoch(settings), is_after_drop: false },
        }
    }
}

/// An epoch above all of which nothing is known.
pub(super) fn unknown_epoch(settings: &CaptureSettings) -> u64 {
    let seconds = || u64::try_from(UnixMicros::now().0 / 1_000_000).unwrap_or_default().max(1);
    settings.snapshot.first_epoch.unwrap_or_else(seconds)
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
            Ok(Start::Over { epoch: state.next_epoch() })
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
            Some(state) if state.slot.read_attempts > 0 => {
                Ok(Start::Fresh { epoch: state.next_epoch() })
            }
            Some(state) => Ok(Start::Fresh { epoch: state.highest_epoch() }),
            None => Ok(Start::Fresh { epoch: 0 }),
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

/// Compares who the server is with what is stored, and takes the state over into the server's
/// timeline.
///
/// # Errors
///
/// Another system, or a timeline that lacks what was published.
pub(super) fn check_identity(
    connection: &mut Connection,
    settings: &CaptureSettings,
    identity: &SystemIdentity,
    state: &mut State,
) -> Result<(), SourceError> {
    let stored = &mut state.slot;
    let hint = start_over_hint(settings, "connect to the right server, or start over");
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
        change_timeline(stored, identity.timeline, &history)
            .map_err(|message| SourceError::configuration(message, hint.clone()))?;
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

/// Takes a record over into another timeline, which shares the WAL of the record's own up to where
/// it left it. What was confirmed beyond that without anything of it having been published is
/// streamed from there.
fn change_timeline(
    stored: &mut SlotState,
    timeline: u32,
    history: &[(u32, Lsn)],
) -> Result<(), String> {
    let left = history.iter().find(|(known, _)| *known == stored.timeline).map(|(_, end)| *end);
    let Some(end) = left else {
        return Err(format!(
            "the server is on timeline {timeline}, whose history does not hold timeline {} of the \
             stored position {}: it lacks changes that were published",
            stored.timeline, stored.lsn
        ));
    };
    // A commit begins before the end of what both timelines share, or it is not shared.
    if stored.published >= end {
        return Err(format!(
            "the server is on timeline {timeline}, which left timeline {} at {end}, before {}, the \
             last commit that was published: it lacks changes that were published",
            stored.timeline, stored.published
        ));
    }
    tracing::info!(
        from = stored.timeline, to = timeline, switched_at = %end, stored = %stored.lsn,
        "the server has changed its timeline and has everything that was published"
    );
    stored.timeline = timeline;
    stored.lsn = stored.lsn.min(end);
    Ok(())
}

pub(super) fn start_over_hint(settings: &CaptureSettings, first: &str) -> String {
    format!(
        "{first} with a new read of all tables: cdc-agent drop --slot {}, then start again",
        settings.slot
    )
}

/// Looks at the slot once more when its stream is about to begin: the server skips what lies before
/// the slot's position without a word.
///
/// # Errors
///
/// [`CaptureError::Outdated`] if the slot is gone or was moved since the session began.
pub(super) fn check_still_there(
    name: &str,
    slot: Option<&Slot>,
    start: Lsn,
) -> Result<(), CaptureError> {
    let confirmed = slot.map(|slot| slot.confirmed_flush_lsn.unwrap_or_default());
    if confirmed.is_some_and(|confirmed| confirmed <= start) {
        return Ok(());
    }
    let found = confirmed.map_or("gone".to_owned(), |confirmed| format!("at {confirmed}"));
    Err(CaptureError::Outdated {
        reason: format!(
            "slot \"{name}\" is {found}, and its stream was to begin at {start}: it was dropped, \
             re-created or moved while the session began"
        ),
    })
}

/// Compares the publication with what is stored.
///
/// # Errors
///
/// It was dropped and created again, or options that decide positions changed while changes were
/// unconfirmed.
pub(super) fn check_publication(
    settings: &CaptureSettings,
    captured: &Captured,
    slot: &Slot,
    state: &State,
) -> Result<(), SourceError> {
    let stored = &state.slot;
    let publication = &captured.publication;
    let options = order_options(settings);
    let hint = start_over_hint(settings, "start over");
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
    if order_options_of(&stored.order_options) != options {
        let clean = slot.confirmed_flush_lsn == Some(stored.lsn);
        if !clean {
            return Err(SourceError::configuration(
                format!(
                    "slot.stream.params changed from \"{}\" to \"{options}\" while changes were \
                     unconfirmed, which would give them other positions",
                    order_options_of(&stored.order_options)
                ),
                "put slot.stream.params back, let the agent catch up and stop it, then change them",
            ));
        }
    }
    Ok(())
}

/// What decides, beside the tables, which changes are sent.
pub(super) fn order_options(settings: &CaptureSettings) -> String {
    let options = settings.slot_options.stream_params.iter();
    options.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";")
}

/// What of stored options decides positions. The publication's own are the server's to apply: it
/// decodes each change by the catalog of its place in the WAL.
fn order_options_of(stored: &str) -> String {
    let decided_by_wal = ["publish=", "publish_via_partition_root=", "for_all_tables="];
    let own = |option: &&str| !decided_by_wal.iter().any(|name| option.starts_with(name));
    stored.split(';').filter(own).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(lsn: u64, published: u64) -> SlotState {
        let (lsn, published) = (Lsn(lsn), Lsn(published));
        SlotState { timeline: 1, lsn, published, ..SlotState::default() }
    }

    #[test]
    fn a_timeline_that_left_after_the_last_published_commit_is_taken_over() {
        let history = [(1, Lsn(100)), (2, Lsn(200))];
        for (lsn, expected) in [(90, 90), (100, 100), (150, 100)] {
            let mut slot = stored(lsn, 80);
            assert_eq!(change_timeline(&mut slot, 3, &history), Ok(()));
            assert_eq!((slot.timeline, slot.lsn), (3, Lsn(expected)));
        }
    }

    #[test]
    fn a_timeline_that_lacks_a_published_commit_is_refused() {
        let mut slot = stored(90, 100);
        let error = change_timeline(&mut slot, 2, &[(1, Lsn(100))]).unwrap_err();
        assert!(error.contains("which left timeline 1 at 0/64, before 0/64"), "{error}");
        assert_eq!(slot, stored(90, 100), "nothing is taken over");
        let error = change_timeline(&mut stored(90, 0), 3, &[(2, Lsn(100))]).unwrap_err();
        assert!(error.contains("does not hold timeline 1"), "{error}");
    }

    #[test]
    fn a_slot_that_was_moved_before_its_stream_began_is_noticed() {
        let slot = |lsn| Slot { confirmed_flush_lsn: Some(Lsn(lsn)), ..Slot::default() };
        assert!(check_still_there("s", Some(&slot(10)), Lsn(10)).is_ok());
        assert!(check_still_there("s", Some(&slot(11)), Lsn(10)).is_err());
        assert!(check_still_there("s", None, Lsn(10)).is_err());
    }

    #[test]
    fn options_of_the_publication_decide_no_position() {
        let stored = "publish=insert,update;publish_via_partition_root=true;for_all_tables=false";
        assert_eq!(order_options_of(stored), "");
        assert_eq!(order_options_of(&format!("{stored};origin=none")), "origin=none");
        assert_eq!(order_options_of("origin=none"), "origin=none");
    }
}
