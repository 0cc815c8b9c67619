//! Changes applied to tables, in the order of their positions.

use std::collections::HashMap;

use serde_json::Map;
use serde_json::Value;

use super::Counts;
use super::Fold;
use super::Position;
use super::Table;
use super::canonical;
use super::change::Change;
use super::change::Operation;
use super::is_unavailable;

/// The row that a change of key took away, until its other half puts it down again.
type Aside = HashMap<(String, AsideKey), Map<String, Value>>;

/// Which halves belong together: by position, or by the new key where there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
enum AsideKey {
    Position(Position),
    NewKey(String),
}

pub(super) fn apply(fold: &mut Fold, changes: Vec<Change>) {
    let mut aside = Aside::new();
    let Fold { tables, counts } = fold;
    let mut epochs: HashMap<String, u64> = HashMap::new();
    for change in changes {
        let table = tables.entry(change.table.clone()).or_default();
        let epoch = change.position.map_or(0, |position| position.epoch);
        let known = epochs.entry(change.table.clone()).or_insert(epoch);
        if *known < epoch {
            // A new epoch reads a table again as a whole. Rows that it does not bring are gone.
            table.clear();
            *known = epoch;
        }
        match (&change.operation, &change.key) {
            (Operation::Truncate, _) => table.clear(),
            (_, Some(_)) => table.apply_keyed(change, &mut aside, counts),
            (_, None) => table.apply_to_bag(&change, counts),
        }
    }
}

impl Table {
    fn clear(&mut self) {
        self.rows.clear();
        self.bag.clear();
        self.incomplete.clear();
    }

    fn apply_keyed(&mut self, change: Change, aside: &mut Aside, counts: &mut Counts) {
        let key = change.key.clone().expect("only keyed changes come here");
        let there = self.rows.contains_key(&key);
        match change.operation {
            Operation::Read => self.put(key, change.after, None),
            Operation::Create => {
                counts.creates_over_row += u64::from(there);
                let moved = change.old_key.is_some().then(|| aside_key(&change, &key));
                let moved = moved.and_then(|half| aside.remove(&(change.table.clone(), half)));
                self.put(key, change.after, moved);
            }
            Operation::Update => {
                counts.updates_without_row += u64::from(!there);
                self.put(key, change.after, None);
            }
            Operation::Delete => {
                counts.deletes_without_row += u64::from(!there);
                self.incomplete.remove(&key);
                if let (Some(Value::Object(row)), Some(new_key)) =
                    (self.rows.remove(&key), &change.new_key)
                {
                    aside.insert((change.table.clone(), aside_key(&change, new_key)), row);
                }
            }
            Operation::Truncate => self.clear(),
        }
    }

    /// Puts a row; values that the record does not carry come from the row that is there, else from
    /// where the row comes from.
    fn put(
        &mut self,
        key: String,
        row: Option<Map<String, Value>>,
        moved: Option<Map<String, Value>>,
    ) {
        let mut row = row.expect("Change::check has looked");
        let old = self.rows.get(&key).and_then(Value::as_object).or(moved.as_ref());
        let mut incomplete = Vec::new();
        for (column, value) in row.iter_mut().filter(|(_, value)| is_unavailable(value)) {
            match old.and_then(|old| old.get(column)) {
                Some(known) if !is_unavailable(known) => *value = known.clone(),
                _ => incomplete.push(column.clone()),
            }
        }
        if incomplete.is_empty() {
            self.incomplete.remove(&key);
        } else {
            self.incomplete.insert(key.clone(), incomplete);
        }
        self.rows.insert(key, Value::Object(row));
    }

    fn apply_to_bag(&mut self, change: &Change, counts: &mut Counts) {
        if let Some(before) = &change.before {
            let text = canonical(&Value::Object(before.clone()));
            match self.bag.get_mut(&text) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) => {
                    self.bag.remove(&text);
                }
                None => counts.unmatched += 1,
            }
        } else if change.operation == Operation::Update {
            counts.unmatched += 1;
        }
        if let Some(after) = &change.after {
            *self.bag.entry(canonical(&Value::Object(after.clone()))).or_default() += 1;
        }
    }
}

fn aside_key(change: &Change, new_key: &str) -> AsideKey {
    match change.position {
        Some(position) => AsideKey::Position(Position { sub: 0, ..position }),
        None => AsideKey::NewKey(new_key.to_owned()),
    }
}
