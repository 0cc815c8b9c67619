//! Which changes of a relation are published, and in which epoch.
//!
//! **A table that has not been read in its epoch is not streamed**: its changes are counted and not
//! published, and the session ends in good order so that the table is read. A table that has been
//! published ever since it was created needs no read.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::capture::state::State;
use crate::lsn::Lsn;
use crate::oid::Oid;
use crate::table::TableName;

/// The changes of a relation that are published: those that commit from one position on and before
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// Epoch of their records.
    pub(super) epoch: u64,
    /// What commits before is in the reads.
    pub(super) from: Lsn,
    /// What commits from here on is not published, because the table has to be read first.
    pub(super) until: Lsn,
}

impl Gate {
    /// Whether a change that commits at this position is published.
    pub(super) fn is_open(&self, commit: Lsn) -> bool {
        self.from <= commit && commit < self.until
    }
}

/// After every position.
const NEVER: Lsn = Lsn(u64::MAX);

/// What a session knows of tables when its stream begins.
#[derive(Debug, Default)]
pub(super) struct Gates {
    tables: HashMap<TableName, Known>,
    names: HashMap<Oid, TableName>,
    /// Tables of the database when the session began.
    existed: HashSet<Oid>,
    /// The log's end when the session began.
    begun_at: Lsn,
    slot_epoch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    oid: Oid,
    is_streamed: bool,
    gate: Gate,
}

/// What is known of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is published so.
    Known(Gate),
    /// It came up since the session began; with this epoch it would be published.
    New {
        /// The epoch.
        epoch: u64,
        /// What is not published otherwise.
        otherwise: Gate,
    },
    /// It was there when the session began and has not been read; the same as for a new one.
    Unread {
        /// The epoch.
        epoch: u64,
        /// What is not published otherwise.
        otherwise: Gate,
    },
    /// It was streamed under another name; the same as for a new one.
    Renamed {
        /// The epoch.
        epoch: u64,
        /// What is not published otherwise.
        otherwise: Gate,
    },
}

impl Gates {
    /// What the state says of tables; `existed` are those of the database, and `begun_at` is the
    /// log's end, when the session began.
    pub(super) fn new(state: &State, existed: HashSet<Oid>, begun_at: Lsn) -> Self {
        let mut gates =
            Gates { existed, begun_at, slot_epoch: state.slot.epoch, ..Self::default() };
        for (name, table) in &state.tables {
            let epoch = state.epoch_of(name);
            let is_streamed = table.epoch_complete == epoch || table.unread;
            let until = match (is_streamed, table.left_at) {
                (false, _) => Lsn::ZERO,
                (true, Lsn::ZERO) => NEVER,
                (true, left_at) => left_at,
            };
            let gate = Gate { epoch, from: table.published_from, until };
            let oid = Oid(table.oid);
            gates.tables.insert(name.clone(), Known { oid, is_streamed, gate });
            gates.names.insert(oid, name.clone());
        }
        gates
    }

    /// What the stream is to do with a relation of this id and name, in a transaction that commits
    /// at this position.
    pub(super) fn find(&mut self, oid: Oid, name: &TableName, commit: Lsn) -> Found {
        let before = self.names.insert(oid, name.clone());
        let known = self.tables.get(name);
        if let Some(known) = known.filter(|known| known.oid == oid && known.is_streamed) {
            return Found::Known(known.gate);
        }
        // Its name was another table's already when the session began: that one counts.
        let superseded = |known: &&Known| {
            known.is_streamed && self.existed.contains(&known.oid) && commit < self.begun_at
        };
        if let Some(known) = known.filter(superseded) {
            return Found::Known(Gate { until: Lsn::ZERO, ..known.gate });
        }
        let epoch = known.map_or(self.slot_epoch, |known| known.gate.epoch);
        let from = known.map_or(Lsn::ZERO, |known| known.gate.from);
        let otherwise = Gate { epoch, from, until: Lsn::ZERO };
        let above = if known.is_some() { epoch + 1 } else { epoch };
        match before.filter(|before| before != name) {
            Some(before) if self.is_streamed_as(oid, &before) => {
                Found::Renamed { epoch: above, otherwise }
            }
            None if !self.existed.contains(&oid) => Found::New { epoch: above, otherwise },
            _ => Found::Unread { epoch: above, otherwise },
        }
    }

    fn is_streamed_as(&self, oid: Oid, name: &TableName) -> bool {
        self.tables.get(name).is_some_and(|known| known.oid == oid && known.is_streamed)
    }

    /// Takes in that a table is published from its creation on.
    pub(super) fn insert(&mut self, oid: Oid, name: &TableName, epoch: u64, from: Lsn) -> Gate {
        let gate = Gate { epoch, from, until: NEVER };
        self.tables.insert(name.clone(), Known { oid, is_streamed: true, gate });
        gate
    }

    /// Whether a transaction committed after the session had looked at what is captured.
    pub(super) fn is_since_begin(&self, commit: Lsn) -> bool {
        commit >= self.begun_at
    }

    /// Whether a change that is not published asks for a read of its table. Before the session
    /// began it belongs to a table that was no longer captured then.
    pub(super) fn asks_for_read(&self, gate: &Gate, commit: Lsn) -> bool {
        commit >= gate.until && commit >= self.begun_at
    }
}

/// That what is captured has changed, so that the session has to end and the next one looks anew.
#[derive(Debug, Default)]
pub(super) struct Change {
    is_noted: AtomicBool,
    what: Mutex<String>,
}

impl Change {
    /// Notes a change; the first one is told.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if !self.is_noted.swap(true, Ordering::AcqRel) {
            *self.what.lock().unwrap_or_else(PoisonError::into_inner) = what();
        }
    }

    /// Whether there is one.
    pub(super) fn is_noted(&self) -> bool {
        self.is_noted.load(Ordering::Acquire)
    }

    /// What it is.
    pub(super) fn what(&self) -> String {
        self.what.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::state::TableState;

    fn gates(table: TableState) -> (Gates, TableName) {
        let name = TableName::new("s", "t");
        let mut state = State::default();
        state.slot.epoch = 2;
        state.tables.insert(name.clone(), table);
        (Gates::new(&state, HashSet::from([Oid(1), Oid(2)]), Lsn(100)), name)
    }

    #[test]
    fn a_table_that_is_read_is_published_from_its_point_on() {
        let table = TableState {
            oid: 1,
            epoch_begun: 3,
            epoch_complete: 3,
            published_from: Lsn(50),
            ..Default::default()
        };
        let (mut gates, name) = gates(table);
        let Found::Known(gate) = gates.find(Oid(1), &name, Lsn(500)) else { panic!("it is known") };
        assert_eq!(gate.epoch, 3);
        assert!(!gate.is_open(Lsn(49)) && gate.is_open(Lsn(50)) && gate.is_open(Lsn(500)));
        assert!(!gates.asks_for_read(&gate, Lsn(49)));
        // Another one that was there already and has taken its name.
        let Found::Unread { otherwise: gate, epoch } = gates.find(Oid(2), &name, Lsn(500)) else {
            panic!("it existed")
        };
        assert!(!gate.is_open(Lsn(500)) && epoch == 4);
        assert!(gates.asks_for_read(&gate, Lsn(500)), "it is to be read");
        assert!(!gates.asks_for_read(&gate, Lsn(99)), "the session has looked since");
    }

    #[test]
    fn a_table_that_left_is_published_until_then() {
        let table = TableState {
            oid: 1,
            epoch_begun: 2,
            epoch_complete: 2,
            left_at: Lsn(120),
            ..Default::default()
        };
        let (mut gates, name) = gates(table);
        let Found::Known(gate) = gates.find(Oid(1), &name, Lsn(119)) else { panic!("it is known") };
        assert!(gate.is_open(Lsn(119)) && !gate.is_open(Lsn(120)));
        assert!(gates.asks_for_read(&gate, Lsn(130)), "it has come back");
    }

    #[test]
    fn a_table_that_was_created_since_is_new_unless_it_has_been_seen_under_another_name() {
        let table = TableState { oid: 1, epoch_begun: 2, epoch_complete: 2, ..Default::default() };
        let (mut gates, name) = gates(table);
        let Found::New { epoch, .. } = gates.find(Oid(9), &name, Lsn(100)) else {
            panic!("it is new")
        };
        assert_eq!(epoch, 3, "above the rows of the table that had the name");
        let other = TableName::new("s", "other");
        let Found::New { epoch, .. } = gates.find(Oid(8), &other, Lsn(100)) else {
            panic!("it is new")
        };
        assert_eq!(epoch, 2);
        gates.insert(Oid(8), &other, epoch, Lsn::ZERO);
        let renamed = TableName::new("s", "renamed");
        let Found::Renamed { otherwise, .. } = gates.find(Oid(8), &renamed, Lsn(100)) else {
            panic!("it was renamed")
        };
        assert!(!otherwise.is_open(Lsn(500)));
        let again = TableName::new("s", "again");
        let Found::Unread { otherwise: gate, .. } = gates.find(Oid(8), &again, Lsn(100)) else {
            panic!("under its last name it was not streamed")
        };
        assert!(!gate.is_open(Lsn(500)));
    }

    #[test]
    fn a_table_that_was_dropped_before_the_session_began_takes_no_name_from_a_live_one() {
        let table = TableState { oid: 1, epoch_begun: 2, epoch_complete: 2, ..Default::default() };
        let (mut gates, name) = gates(table);
        let Found::Known(gate) = gates.find(Oid(9), &name, Lsn(99)) else {
            panic!("another table has its name")
        };
        assert!(!gate.is_open(Lsn(99)) && !gates.asks_for_read(&gate, Lsn(99)));
        let Found::Known(gate) = gates.find(Oid(1), &name, Lsn(150)) else { panic!("it is known") };
        assert!(gate.is_open(Lsn(150)));
    }
}
