//! What `/v1/tables` shows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::apply::applier::Done;
use crate::apply::applier::Known;

/// Tables of the warehouse, and what this process has done to them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TablesShown {
    /// By `schema.name`.
    pub tables: BTreeMap<String, TableShown>,
}

/// One table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableShown {
    /// The topic prefix that fills it.
    pub prefix: String,
    /// Columns of the source.
    pub columns: Vec<String>,
    /// Those of them that tell rows apart; none: equal rows are counted.
    pub key: Vec<String>,
    /// Incarnation of the source's history.
    pub epoch: u64,
    /// Changes applied by this process, by operation.
    pub applied: BTreeMap<char, u64>,
    /// Why it must be read again; empty: it need not.
    pub reread: String,
}

impl TablesShown {
    /// Takes in what a batch did.
    pub fn note<'a>(&mut self, done: &Done, known: impl Iterator<Item = &'a Known>) {
        let touched: std::collections::BTreeSet<_> =
            done.changes.keys().map(|(table, _)| table).chain(&done.read_anew).collect();
        for known in known {
            let name = known.target.table.to_string();
            if !touched.contains(&known.target.table) && self.tables.contains_key(&name) {
                continue;
            }
            let shown = self.tables.entry(name).or_default();
            shown.prefix.clone_from(&known.target.prefix);
            shown.columns = known.target.columns.iter().map(|c| c.name.clone()).collect();
            shown.key = known.target.key_columns().map(|c| c.name.clone()).collect();
            shown.epoch = known.epoch;
            shown.reread.clone_from(&known.target.reread);
        }
        for ((table, operation), count) in &done.changes {
            if let Some(shown) = self.tables.get_mut(&table.to_string()) {
                *shown.applied.entry(operation.letter()).or_default() += count;
            }
        }
    }
}
