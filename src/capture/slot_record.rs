//! The slot's record: what is stored for the slot, and the one place that changes it.
//!
//! Takes changes of a session and positions that the deliveries have acknowledged; stores them in
//! the order in which they were made. From the first load on the copy in memory is the truth, as
//! long as nobody else has written: a record that bears another writer means that another process
//! has owned the slot meanwhile, and everything that is in memory here is void.
//!
//! **Invariant:** within an epoch and a timeline the stored LSN never goes back.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::capture::CaptureError;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Receipt;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::capture::state::StateStore;
use crate::capture::state::Stored;
use crate::capture::state::TableState;
use crate::lsn::Lsn;
use crate::table::TableName;

/// Owns what is stored for a slot.
pub(super) struct SlotRecord {
    store: Arc<dyn StateStore>,
    /// Names this owner in what it stores: another one for each pipeline.
    writer: String,
    /// As it was stored last; `None` until it is loaded or stored for the first time.
    state: Mutex<Option<State>>,
}

/// What an acknowledged position is stored with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// Everything before it is acknowledged.
    pub(super) lsn: Lsn,
    /// Commit of the last transaction that was handed to the destination.
    pub(super) published: Lsn,
}

impl SlotRecord {
    /// Of what is stored there.
    pub(super) fn new(store: Arc<dyn StateStore>) -> Self {
        let writer = format!("{:016x}", RandomState::new().build_hasher().finish());
        SlotRecord { store, writer, state: Mutex::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as this owner knows it, or as it is stored if this owner has stored nothing yet.
    ///
    /// # Errors
    ///
    /// It cannot be read; [`CaptureError::Outdated`] if another process has stored something since.
    pub(super) fn load(&self) -> Result<Option<State>, CaptureError> {
        let stored = self.store.load()?;
        let mut state = self.lock();
        match state.as_ref().filter(|known| known.slot.writer == self.writer) {
            None => state.clone_from(&stored),
            Some(known) if stored.as_ref().is_some_and(|it| it.slot.writer == self.writer) => {
                // Memory may be ahead of the place by a position that is still in flight.
                let mut known = known.clone();
                let durable = stored.map(|it| it.slot.lsn).unwrap_or_default();
                known.slot.lsn = known.slot.lsn.min(durable);
                return Ok(Some(known));
            }
            Some(_) => {
                return Err(CaptureError::Outdated {
                    reason: "another process has stored state of this slot since the last \
                             connection"
                        .to_owned(),
                });
            }
        }
        Ok(state.clone())
    }

    /// Timeline of the positions that this owner has stored; `None` if it has stored none.
    pub(super) fn own_timeline(&self) -> Option<u32> {
        let state = self.lock();
        state.as_ref().filter(|known| known.slot.writer == self.writer).map(|it| it.slot.timeline)
    }

    /// Whether the slot's record would change by storing this one.
    pub(super) fn differs(&self, slot: &SlotState) -> bool {
        self.lock()
            .as_ref()
            .is_none_or(|known| known.slot.writer != self.writer || known.slot != *slot)
    }

    /// Stores the slot's record, as changed by a session. What has been acknowledged meanwhile is
    /// taken over into it.
    ///
    /// # Errors
    ///
    /// The place cannot be written.
    pub(super) fn store_slot(
        &self,
        slot: &mut SlotState,
        receipt: Receipt,
    ) -> Result<Stored, PublishError> {
        let mut state = self.lock();
        slot.writer.clone_from(&self.writer);
        let tables = match state.take() {
            Some(known) => {
                slot.take_over_progress(&known.slot);
                known.tables
            }
            None => std::collections::BTreeMap::new(),
        };
        *state = Some(State { slot: slot.clone(), tables });
        self.store.store_slot(slot, receipt)
    }

    /// Stores a table's record.
    ///
    /// # Errors
    ///
    /// The place cannot be written.
    pub(super) fn store_table(
        &self,
        name: &TableName,
        table: &TableState,
        receipt: Receipt,
    ) -> Result<Stored, PublishError> {
        let mut state = self.lock();
        state.get_or_insert_default().tables.insert(name.clone(), table.clone());
        self.store.store_table(name, table, receipt)
    }

    /// Stores an acknowledged position. Gives `None` if that has to wait: a session is storing
    /// something, or the slot is not to be streamed yet.
    ///
    /// # Errors
    ///
    /// The place cannot be written.
    pub(super) fn store_reached(
        &self,
        reached: Reached,
        receipt: Receipt,
    ) -> Result<Option<Stored>, PublishError> {
        // The caller polls the destination: it must not wait for whoever waits for that.
        let Ok(mut state) = self.state.try_lock() else { return Ok(None) };
        let Some(known) = state.as_mut().filter(|known| known.slot.complete) else {
            return Ok(None);
        };
        known.slot.lsn = known.slot.lsn.max(reached.lsn);
        known.slot.published = known.slot.published.max(reached.published);
        self.store.store_slot(&known.slot, receipt).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what is stored, as a topic does.
    #[derive(Default)]
    struct Memory {
        state: Mutex<Option<State>>,
        slots: Mutex<Vec<SlotState>>,
    }

    impl StateStore for Memory {
        fn load(&self) -> Result<Option<State>, PublishError> {
            Ok(self.state.lock().unwrap().clone())
        }

        fn store_slot(&self, slot: &SlotState, _: Receipt) -> Result<Stored, PublishError> {
            self.state.lock().unwrap().get_or_insert_default().slot = slot.clone();
            self.slots.lock().unwrap().push(slot.clone());
            Ok(Stored::Now)
        }

        fn store_table(
            &self,
            name: &TableName,
            table: &TableState,
            _: Receipt,
        ) -> Result<Stored, PublishError> {
            let mut state = self.state.lock().unwrap();
            state.get_or_insert_default().tables.insert(name.clone(), table.clone());
            Ok(Stored::Now)
        }

        fn forget(&self, state: &State, receipt: Receipt) -> Result<Stored, PublishError> {
            self.store_slot(&state.after_drop(), receipt)
        }
    }

    fn streaming(lsn: u64) -> SlotState {
        SlotState { epoch: 1, timeline: 1, complete: true, lsn: Lsn(lsn), ..SlotState::default() }
    }

    fn reached(lsn: u64) -> Reached {
        Reached { lsn: Lsn(lsn), published: Lsn(lsn - 1) }
    }

    #[test]
    fn a_sessions_copy_never_stores_an_earlier_position_than_the_deliveries() {
        let store = Arc::new(Memory::default());
        let record = SlotRecord::new(store.clone());
        record.store_slot(&mut streaming(10), Receipt::Nobody).unwrap();
        let mut loaded = record.load().unwrap().unwrap();
        record.store_reached(reached(30), Receipt::Nobody).unwrap();
        loaded.slot.read_attempts += 1;
        record.store_slot(&mut loaded.slot, Receipt::Nobody).unwrap();
        assert_eq!((loaded.slot.lsn, loaded.slot.published), (Lsn(30), Lsn(29)));
        record.store_reached(reached(20), Receipt::Nobody).unwrap();
        let lsns: Vec<u64> = store.slots.lock().unwrap().iter().map(|slot| slot.lsn.0).collect();
        assert_eq!(lsns, [10, 30, 30, 30]);
        let attempts = store.slots.lock().unwrap().last().unwrap().read_attempts;
        assert_eq!(attempts, 1, "the deliveries store what the session has changed");
    }

    #[test]
    fn a_position_of_an_earlier_epoch_is_not_stored_while_a_new_one_is_read() {
        let record = SlotRecord::new(Arc::new(Memory::default()));
        record.store_slot(&mut streaming(10), Receipt::Nobody).unwrap();
        let mut new = SlotState { epoch: 2, complete: false, lsn: Lsn::ZERO, ..streaming(10) };
        record.store_slot(&mut new, Receipt::Nobody).unwrap();
        assert_eq!(new.lsn, Lsn::ZERO);
        assert_eq!(record.store_reached(reached(30), Receipt::Nobody).unwrap(), None);
    }

    #[test]
    fn a_rewind_to_where_a_new_timeline_begins_is_stored() {
        let record = SlotRecord::new(Arc::new(Memory::default()));
        record.store_slot(&mut streaming(30), Receipt::Nobody).unwrap();
        let mut rewound = SlotState { timeline: 2, ..streaming(20) };
        record.store_slot(&mut rewound, Receipt::Nobody).unwrap();
        assert_eq!(rewound.lsn, Lsn(20));
    }

    #[test]
    fn what_another_process_has_stored_makes_the_memory_void() {
        let store = Arc::new(Memory::default());
        let (first, second) = (SlotRecord::new(store.clone()), SlotRecord::new(store));
        first.store_slot(&mut streaming(10), Receipt::Nobody).unwrap();
        let mut taken_over = second.load().unwrap().unwrap().slot;
        assert!(second.differs(&taken_over), "it is to be stored with the new owner's name");
        second.store_slot(&mut taken_over, Receipt::Nobody).unwrap();
        assert!(!second.differs(&taken_over));
        assert!(matches!(first.load(), Err(CaptureError::Outdated { .. })));
        assert_eq!(second.load().unwrap().unwrap().slot.lsn, Lsn(10));
    }
}
