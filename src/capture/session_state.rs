//! What a session makes of stored state: loads it, compares it with the server, and stores what it
//! has accepted before anything is streamed.

use crate::capture::CaptureError;
use crate::capture::postgres::Connection;
use crate::capture::postgres::Sql;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::SystemIdentity;
use crate::capture::publisher::Receipt;
use crate::capture::resume;
use crate::capture::resume::FirstEpoch;
use crate::capture::session::Session;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::lsn::Lsn;

impl Session<'_> {
    /// What is stored, and the epoch of a first read.
    pub(super) fn load_state(&self) -> Result<(Option<State>, FirstEpoch), CaptureError> {
        let (dropped, state) = match self.pipeline.record.load()? {
            Some(state) if state.slot.dropped => (Some(state.slot.epoch), None),
            state => (None, state),
        };
        Ok((state, FirstEpoch::new(self.settings, dropped)))
    }

    /// Whether the server still has everything that was published. Positions in memory belong to a
    /// timeline: when it changes, everything begins again at what is stored.
    pub(super) fn check_identity(
        &self,
        connection: &mut Connection,
        identity: &SystemIdentity,
        state: &mut State,
    ) -> Result<(), CaptureError> {
        let before = self.pipeline.record.own_timeline().filter(|own| *own != identity.timeline);
        if before.is_some() {
            // The next process has to know it, too.
            let published = self.pipeline.deliveries.published_lsn();
            state.slot.published = state.slot.published.max(published);
            self.store_slot(&mut state.slot)?;
        }
        resume::check_identity(connection, self.settings, identity, state)?;
        match before {
            None => Ok(()),
            Some(before) => Err(CaptureError::Outdated {
                reason: format!(
                    "the server is on timeline {}, and what is in flight was received on timeline \
                     {before}",
                    identity.timeline
                ),
            }),
        }
    }

    /// Stores what this session has accepted, before anything is streamed, and makes sure of the
    /// slot once more.
    pub(super) fn claim(
        &self,
        sql: &Sql,
        state: &mut State,
        start: Lsn,
    ) -> Result<(), CaptureError> {
        if self.pipeline.record.differs(&state.slot) {
            self.store_slot(&mut state.slot)?;
        }
        let slot = slot::find_slot(sql, &self.settings.slot)?;
        resume::check_still_there(&self.settings.slot, slot.as_ref(), start)
    }

    /// Stores the slot's record and waits until it is stored.
    pub(super) fn store_slot(&self, slot: &mut SlotState) -> Result<(), CaptureError> {
        let (record, deliveries) = (&self.pipeline.record, &self.pipeline.deliveries);
        let number = deliveries.new_awaited();
        let stored = record.store_slot(slot, Receipt::Awaited(number))?;
        Ok(deliveries.wait_stored(stored, number, &|| !self.stop.is_requested())?)
    }
}
