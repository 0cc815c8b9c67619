//! The relations that the stream has described on this connection.

use std::collections::HashMap;
use std::sync::Arc;

use crate::capture::CaptureError;
use crate::capture::catalog::TableFacts;
use crate::capture::encode_loop::out_of_step;
use crate::capture::encode_loop::repair::Lookup;
use crate::capture::gate::Gate;
use crate::capture::pgoutput::Relation;
use crate::capture::tables::ReadyTable;
use crate::oid::Oid;

/// Relations by id, the last one at hand.
#[derive(Default)]
pub(super) struct Relations {
    places: HashMap<Oid, usize>,
    all: Vec<KnownRelation>,
    last: Option<(Oid, usize)>,
}

/// What the server has described, and what we do with it.
pub(super) struct KnownRelation {
    /// How many columns a row of it has.
    pub(super) columns: usize,
    /// `None`: not captured.
    pub(super) table: Option<Arc<ReadyTable>>,
    /// Which of its changes are published; the others are counted.
    pub(super) gate: Gate,
    /// How rows are looked up that a later read has overtaken; `None`: there are none.
    pub(super) lookup: Option<Lookup>,
}

impl Relations {
    /// Takes in a description; a later one of the same relation takes its place.
    pub(super) fn insert(&mut self, id: Oid, relation: KnownRelation) {
        match self.places.get(&id).and_then(|place| self.all.get_mut(*place)) {
            Some(known) => *known = relation,
            None => {
                self.places.insert(id, self.all.len());
                self.all.push(relation);
            }
        }
    }

    /// The relation that a row names.
    #[inline]
    pub(super) fn get(&mut self, id: Oid) -> Result<&KnownRelation, CaptureError> {
        let place = match self.last {
            Some((last, place)) if last == id => Some(place),
            _ => self.places.get(&id).copied(),
        };
        self.last = place.map(|place| (id, place));
        place.and_then(|place| self.all.get(place)).ok_or_else(|| {
            out_of_step(format!("a row belongs to relation {id}, which was never described"))
        })
    }
}

/// Whether the catalog's columns are still those of the message: name, type and order.
pub(super) fn agrees(facts: &TableFacts, relation: &Relation<'_>) -> bool {
    let is_named = |name: &String| relation.columns.iter().any(|column| column.name == name);
    let known: Vec<_> = facts.columns.iter().filter(|known| is_named(&known.name)).collect();
    known.len() == relation.columns.len()
        && known.iter().zip(&relation.columns).all(|(known, column)| {
            known.name == column.name
                && known.type_oid == column.type_oid
                && known.type_modifier == column.type_modifier
        })
}
