//! The changes of a batch, folded to one final state per key, or to counts of equal rows.
//!
//! Changes of one key come in the order of their positions; one that is not later than what is
//! known of its key is dropped. What an update leaves out is carried over from the state before it,
//! unless the row began anew in between. Nothing is folded across a TRUNCATE, and nothing onto a
//! snapshot's row that may be older than the warehouse's: which of the two is the state before it
//! is found out when the batch is loaded.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use crate::apply::merge::cell::Cell;
use crate::apply::merge::cell::Texts;
use crate::apply::merge::cell::fill_missing;
use crate::apply::merge::plan::CommitTimes;
use crate::apply::merge::plan::CountPlan;
use crate::apply::merge::plan::RowPlan;
use crate::apply::merge::plan::TableChange;
use crate::apply::merge::plan::TablePlan;
use crate::apply::merge::plan::Target;
use crate::apply::merge::plan::TargetColumn;
use crate::lsn::Lsn;
use crate::position::Position;
use crate::table::TableName;

/// Changes that wait to be done.
#[derive(Debug, Default)]
pub struct Batch {
    /// Texts of all cells.
    pub texts: Texts,
    tables: BTreeMap<TableName, TableBatch>,
    /// Values of rows whose key changed, by table and position of the delete half.
    moved: HashMap<(TableName, Position), MovedRow>,
    changes: u64,
}

/// The old row of a key change.
#[derive(Clone, Debug)]
pub struct MovedRow {
    /// What the batch knows of its values.
    pub cells: Vec<Cell>,
    /// Where what is missing may be found: the row that stood in the warehouse under this key,
    /// before this position.
    pub base: Option<Base>,
}

/// A row of the warehouse as it was before a position.
#[derive(Clone, Debug)]
pub struct Base {
    /// The cells of its key's columns.
    pub key: Vec<Cell>,
    /// Only a row whose last change is older counts.
    pub before: Position,
    /// A snapshot's row, which counts if the warehouse has none that is newer.
    pub read: Option<(Position, Vec<Cell>)>,
}

/// A snapshot's row that may be older than the one in the warehouse.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// Table.
    pub table: TableName,
    /// Key of the row in the batch.
    pub key: Box<[u8]>,
    /// The cells of its key's columns.
    pub key_cells: Vec<Cell>,
    /// Position of the snapshot's row.
    pub position: Position,
}

/// One change of a row.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its position.
    pub position: Position,
    /// It was read, not streamed.
    pub is_read: bool,
    /// It removes the row.
    pub is_delete: bool,
    /// The row begins here.
    pub is_fresh: bool,
    /// One for each column of the target.
    pub cells: Vec<Cell>,
    /// Where missing values of a row under a new key may be found.
    pub base: Option<Base>,
    /// It is a snapshot's row that may be older than the one in the warehouse.
    pub may_be_stale: bool,
    /// Such a row, with which this change begins if it is not older.
    pub upon: Option<Box<Change>>,
}

#[derive(Debug)]
struct TableBatch {
    target: Arc<Target>,
    changes: Vec<TableChange>,
    store_target: bool,
    empty: bool,
    epoch: Option<u64>,
    floor: Option<Position>,
    rows: HashMap<Box<[u8]>, Change>,
    counts: HashMap<Box<[u8]>, Counted>,
    times: CommitTimes,
}

/// How equal rows of a table without key come and go. Each keeps its position: a TRUNCATE that
/// another partition brings later removes what is older than it, and nothing else.
#[derive(Debug)]
struct Counted {
    cells: Vec<Cell>,
    steps: Vec<(Position, i64)>,
}

impl Counted {
    fn step(&mut self, count: i64, position: Position) {
        // Nothing can be emptied between two reads.
        let is_read = |position: Position| position.commit_lsn == Lsn::ZERO;
        match self.steps.last_mut() {
            Some((last, known))
                if *known > 0
                    && count > 0
                    && last.epoch == position.epoch
                    && (*last == position || (is_read(*last) && is_read(position))) =>
            {
                *known += count;
                *last = position.max(*last);
            }
            _ => self.steps.push((position, count)),
        }
    }

    /// What comes, by position, and what goes of the rows that were there before: of equal rows the
    /// latest goes first.
    fn into_plans(mut self) -> Vec<CountPlan> {
        self.steps.sort_by_key(|(position, _)| *position);
        let mut came: Vec<(Position, i64)> = Vec::new();
        let mut gone: Option<(Position, i64)> = None;
        for (position, count) in self.steps {
            if count > 0 {
                came.push((position, count));
                continue;
            }
            let mut wanted = -count;
            while let (1.., Some((_, last))) = (wanted, came.last_mut()) {
                let taken = wanted.min(*last);
                (wanted, *last) = (wanted - taken, *last - taken);
                if *last == 0 {
                    came.pop();
                }
            }
            if wanted > 0 {
                gone = Some((position, gone.map_or(0, |(_, count)| count) - wanted));
            }
        }
        let plan = |(position, count)| CountPlan { count, position, cells: self.cells.clone() };
        gone.into_iter().chain(came).map(plan).collect()
    }
}

/// What is left to be found for a row before a plan can be made.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Table.
    pub table: TableName,
    /// Key of the row in the batch.
    pub key: Box<[u8]>,
    /// Where its missing values are.
    pub base: Base,
}

impl Batch {
    /// How many changes were taken.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Sets what a table is to be, with what must be changed for it. A table that the batch creates
    /// is created as it is at the end, so that a creation takes in every later change.
    pub fn set_target(
        &mut self,
        target: &Arc<Target>,
        changes: impl IntoIterator<Item = TableChange>,
    ) {
        let table = self.table(target);
        table.target = Arc::clone(target);
        table.store_target = true;
        if !table.changes.contains(&TableChange::Create) {
            table.changes.extend(changes);
            // It makes an index and tombstones by the names that the key has in the end.
            table.changes.sort_by_key(|change| *change == TableChange::Adopt);
        }
    }

    fn table(&mut self, target: &Arc<Target>) -> &mut TableBatch {
        self.tables.entry(target.table.clone()).or_insert_with(|| TableBatch {
            target: Arc::clone(target),
            changes: Vec::new(),
            store_target: false,
            empty: false,
            epoch: None,
            floor: None,
            rows: HashMap::new(),
            counts: HashMap::new(),
            times: CommitTimes::default(),
        })
    }

    /// A higher epoch of a table without key begins: what it holds goes.
    pub fn begin_epoch(&mut self, target: &Arc<Target>, epoch: u64) {
        let table = self.table(target);
        table.epoch = Some(epoch);
        table.empty = true;
        table.counts.clear();
    }

    /// Notes when a change of a table was committed.
    pub fn note_time(&mut self, target: &Arc<Target>, position: Position, millis: i64) {
        self.table(target).times.note(position, millis);
    }

    /// Notes an epoch of a table without anything to be emptied.
    pub fn note_epoch(&mut self, target: &Arc<Target>, epoch: u64) {
        self.table(target).epoch = Some(epoch);
    }

    /// The table was emptied at this position.
    pub fn truncate(&mut self, target: &Arc<Target>, position: Position) {
        self.changes += 1;
        let table = self.table(target);
        table.floor = table.floor.max(Some(position));
        table.rows.retain(|_, change| {
            change.upon.take_if(|read| read.position <= position);
            change.position > position
        });
        table.counts.retain(|_, counted| {
            counted.steps.retain(|(at, _)| *at > position);
            !counted.steps.is_empty()
        });
    }

    /// The key's text, by which changes of one row are told.
    pub fn key(&self, target: &Target, cells: &[Cell]) -> Option<Box<[u8]>> {
        let mut key = Vec::new();
        for place in &target.key {
            let text = self.texts.text(*cells.get(*place)?)?;
            key.extend_from_slice(&text.len().to_ne_bytes());
            key.extend_from_slice(text);
        }
        Some(key.into_boxed_slice())
    }

    /// Takes a change of a table with key.
    pub fn change(&mut self, target: &Arc<Target>, key: Box<[u8]>, mut change: Change) {
        self.changes += 1;
        if change.is_delete {
            // What an old row is said to have is its key alone, or all of it: who knows.
            for (place, cell) in change.cells.iter_mut().enumerate() {
                if !target.key.contains(&place) {
                    *cell = Cell::Missing;
                }
            }
        }
        let table = self.table(target);
        let Some(known) = table.rows.get_mut(&key) else {
            table.rows.insert(key, change);
            return;
        };
        let later = change.position > known.position
            || (change.is_read && change.position == known.position);
        if !later {
            return;
        }
        if known.may_be_stale && (change.is_delete || !change.is_fresh) {
            change.upon = Some(Box::new(known.clone()));
        } else if change.is_delete {
            // Where deleted rows stay, they stay with their last values.
            carry_over(known, &mut change);
        } else if !change.is_fresh {
            if known.is_delete {
                // What the row had is gone with it.
                change.is_fresh = true;
            } else {
                carry_over(known, &mut change);
            }
        }
        *known = change;
    }

    /// How many tables something happens to.
    pub fn table_count(&self) -> usize {
        self.tables.len()
    }

    /// Whether something happens to a table in this batch.
    pub fn touches(&self, table: &TableName) -> bool {
        self.tables.contains_key(table) || self.moved.keys().any(|(known, _)| known == table)
    }

    /// The state of a key in this batch, if it was changed here.
    pub fn state(&self, target: &Target, key: &[u8]) -> Option<&Change> {
        self.tables.get(&target.table)?.rows.get(key)
    }

    /// Puts the values of a row aside whose key changes at this position; to be called before the
    /// change itself.
    pub fn put_aside(
        &mut self,
        target: &Arc<Target>,
        key: &[u8],
        (position, key_cells): (Position, Vec<Cell>),
    ) {
        let columns = target.columns.len();
        let moved = match self.state(target, key) {
            Some(known) if known.is_delete => return,
            Some(known) if known.may_be_stale => MovedRow {
                cells: vec![Cell::Missing; columns],
                base: Some(Base { key: key_cells, before: position, read: Some(known.as_read()) }),
            },
            Some(known) => {
                let base = if known.is_fresh {
                    known.base.clone()
                } else {
                    let read = known.upon.as_ref().map(|read| read.as_read());
                    Some(Base { key: key_cells, before: position, read })
                };
                MovedRow { cells: known.cells.clone(), base }
            }
            None => MovedRow {
                cells: vec![Cell::Missing; columns],
                base: Some(Base { key: key_cells, before: position, read: None }),
            },
        };
        self.moved.insert((target.table.clone(), position), moved);
    }

    /// Takes values that were put aside in this batch.
    pub fn take_aside(&mut self, table: &TableName, position: Position) -> Option<MovedRow> {
        self.moved.remove(&(table.clone(), position))
    }

    /// Values that were put aside and that nobody has taken.
    pub fn left_aside(&self) -> impl Iterator<Item = (&TableName, Position, &MovedRow)> {
        self.moved.iter().map(|((table, position), moved)| (table, *position, moved))
    }

    /// Takes a change of a table without key: `count` rows like this come, or go.
    pub fn count(
        &mut self,
        target: &Arc<Target>,
        cells: Vec<Cell>,
        (count, position): (i64, Position),
    ) {
        self.changes += 1;
        let row = row_text(&self.texts, &cells);
        let table = self.table(target);
        let known = table.counts.entry(row).or_insert(Counted { cells, steps: Vec::new() });
        known.step(count, position);
    }

    /// Rows that lack values which may be found in the warehouse.
    pub fn lookups(&self) -> Vec<Lookup> {
        let mut lookups = Vec::new();
        for (table, batch) in &self.tables {
            for (key, change) in &batch.rows {
                let Some(base) = &change.base else { continue };
                if change.cells.contains(&Cell::Missing) {
                    let (table, key, base) = (table.clone(), key.clone(), base.clone());
                    lookups.push(Lookup { table, key, base });
                }
            }
        }
        lookups
    }

    /// Changes that begin with a snapshot's row, or not.
    pub fn doubts(&self) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for (table, batch) in &self.tables {
            for (key, change) in &batch.rows {
                let Some(read) = &change.upon else { continue };
                doubts.push(Doubt {
                    table: table.clone(),
                    key: key.clone(),
                    key_cells: batch.target.key_cells(&change.cells),
                    position: read.position,
                });
            }
        }
        doubts
    }

    /// A change begins with the snapshot's row, or with what the warehouse has.
    pub fn settle(&mut self, table: &TableName, key: &[u8], with_the_read: bool) {
        let row = self.tables.get_mut(table).and_then(|batch| batch.rows.get_mut(key));
        let Some(change) = row else { return };
        if let Some(read) = change.upon.take()
            && with_the_read
        {
            carry_over(&read, change);
        }
    }

    /// Fills what a row lacks from a row that was found.
    pub fn fill(&mut self, table: &TableName, key: &[u8], found: &[Cell]) {
        let row = self.tables.get_mut(table).and_then(|batch| batch.rows.get_mut(key));
        let Some(change) = row else { return };
        fill_missing(&mut change.cells, found);
    }

    /// The cells of a row of this batch.
    pub fn cells(&self, table: &TableName, key: &[u8]) -> Option<&[Cell]> {
        Some(&self.tables.get(table)?.rows.get(key)?.cells)
    }

    /// A row of this batch began before it: what it lacks stays as the warehouse has it.
    pub fn keep_what_is_there(&mut self, table: &TableName, key: &[u8]) {
        let row = self.tables.get_mut(table).and_then(|batch| batch.rows.get_mut(key));
        if let Some(change) = row {
            change.is_fresh = false;
        }
    }

    /// The target of a table that this batch touches.
    pub fn target(&self, table: &TableName) -> Option<&Arc<Target>> {
        self.tables.get(table).map(|batch| &batch.target)
    }

    /// What is to be done to each table, and the texts of it.
    pub fn into_plans(mut self) -> (Texts, Vec<TablePlan>) {
        let mut texts = std::mem::take(&mut self.texts);
        let plans = std::mem::take(&mut self.tables)
            .into_values()
            .map(|batch| batch.into_plan(&mut texts))
            .collect();
        (texts, plans)
    }
}

impl Change {
    fn as_read(&self) -> (Position, Vec<Cell>) {
        (self.position, self.cells.clone())
    }
}

/// What a change does not say stays as it was before.
fn carry_over(known: &Change, change: &mut Change) {
    fill_missing(&mut change.cells, &known.cells);
    change.is_fresh = known.is_fresh;
    if change.upon.is_none() {
        change.upon.clone_from(&known.upon);
    }
    if change.base.is_none() {
        change.base.clone_from(&known.base);
    }
}

impl TableBatch {
    fn into_plan(self, texts: &mut Texts) -> TablePlan {
        let target = self.target;
        let mut rows: Vec<(Box<[u8]>, RowPlan)> = self
            .rows
            .into_iter()
            .map(|(key, change)| {
                let row = RowPlan {
                    position: change.position,
                    is_read: change.is_read,
                    is_delete: change.is_delete,
                    is_fresh: change.is_fresh,
                    cells: padded(change.cells, &target, (change.position, texts)),
                };
                (key, row)
            })
            .collect();
        rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        // Rows that were told apart only by columns that came within the batch are equal now.
        let mut equal: HashMap<Box<[u8]>, Counted> = HashMap::new();
        for counted in self.counts.into_values() {
            let Some((position, _)) = counted.steps.last() else { continue };
            let cells = padded(counted.cells, &target, (*position, texts));
            let row = row_text(texts, &cells);
            let known = equal.entry(row).or_insert(Counted { cells, steps: Vec::new() });
            known.steps.extend(counted.steps);
        }
        let mut counts: Vec<CountPlan> =
            equal.into_values().flat_map(Counted::into_plans).collect();
        counts.sort_unstable_by_key(|count| count.position);
        TablePlan {
            target,
            changes: self.changes,
            store_target: self.store_target,
            empty: self.empty,
            epoch: self.epoch,
            floor: self.floor,
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            counts,
            times: self.times,
        }
    }
}

/// A row's text, by which equal rows are found.
fn row_text(texts: &Texts, cells: &[Cell]) -> Box<[u8]> {
    let mut row = Vec::new();
    for cell in cells {
        match texts.text(*cell) {
            Some(text) => {
                row.extend_from_slice(&text.len().to_ne_bytes());
                row.extend_from_slice(text);
            }
            None => row.extend_from_slice(&usize::MAX.to_ne_bytes()),
        }
    }
    row.into_boxed_slice()
}

/// Cells of columns that came later in the batch.
fn padded(
    mut cells: Vec<Cell>,
    target: &Target,
    (position, texts): (Position, &mut Texts),
) -> Vec<Cell> {
    for column in target.columns.iter().skip(cells.len()) {
        cells.push(absent(column, (position, target.is_keyed()), texts));
    }
    cells
}

/// What a record that does not have a column says of it. Older than the column, it has what the
/// source gave to rows that were there, or says nothing if that is not known; newer, the column was
/// dropped. Rows of a table without key have to be whole.
pub fn absent(
    column: &TargetColumn,
    (position, is_keyed): (Position, bool),
    texts: &mut Texts,
) -> Cell {
    if column.since.is_none_or(|since| position >= since) {
        return Cell::Null;
    }
    match &column.default {
        Some(default) => Cell::Text(texts.push(default.as_bytes())),
        None if column.default_unknown && is_keyed => Cell::Missing,
        None => Cell::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::merge::plan::TableId;
    use crate::lsn::Lsn;

    fn target() -> Arc<Target> {
        let column = |name: &str| TargetColumn { name: name.to_owned(), ..TargetColumn::default() };
        Arc::new(Target {
            id: TableId(1),
            table: TableName::new("s", "t"),
            prefix: "p".to_owned(),
            oid: None,
            columns: ["id", "a", "big"].map(column).to_vec(),
            key: vec![0],
            is_foreign: false,
            generation: 0,
            by_look: false,
            reread: String::new(),
            reread_at: None,
            has_older: false,
            version_at: None,
            keyed_at: None,
            snapshots: Vec::new(),
            commit_times: false,
            topics: Vec::new(),
        })
    }

    fn at(lsn: u64) -> Position {
        Position { epoch: 1, commit_lsn: Lsn(lsn), ord: 0, sub: 0 }
    }

    /// `-` is missing, `0` is NULL, `create` is a change that begins the row.
    fn take(batch: &mut Batch, position: u64, kind: &str, cells: [&str; 3]) {
        let target = target();
        let cells: Vec<Cell> = cells
            .iter()
            .map(|text| match *text {
                "-" => Cell::Missing,
                "0" => Cell::Null,
                text => Cell::Text(batch.texts.push(text.as_bytes())),
            })
            .collect();
        let key = batch.key(&target, &cells).unwrap();
        let change = Change {
            position: at(position),
            is_read: matches!(kind, "read" | "stale"),
            is_delete: kind == "delete",
            is_fresh: matches!(kind, "create" | "read" | "stale"),
            cells,
            base: None,
            may_be_stale: kind == "stale",
            upon: None,
        };
        batch.change(&target, key, change);
    }

    fn only(batch: Batch) -> (RowPlan, Vec<String>) {
        let (texts, mut plans) = batch.into_plans();
        let row = plans.remove(0).rows.remove(0);
        let shown = row.cells.iter().map(|cell| match cell {
            Cell::Missing => "-".to_owned(),
            Cell::Null => "0".to_owned(),
            Cell::Text(span) => String::from_utf8(texts.get(*span).to_vec()).unwrap(),
        });
        let shown = shown.collect();
        (row, shown)
    }

    #[test]
    fn what_an_update_leaves_out_is_carried_over_unless_the_row_began_anew() {
        let mut batch = Batch::default();
        take(&mut batch, 1, "create", ["k", "x", "large"]);
        take(&mut batch, 2, "update", ["k", "y", "-"]);
        let (row, shown) = only(batch);
        assert!(row.is_fresh);
        assert_eq!(shown, ["k", "y", "large"]);

        let mut batch = Batch::default();
        take(&mut batch, 1, "update", ["k", "x", "large"]);
        take(&mut batch, 2, "delete", ["k", "0", "0"]);
        take(&mut batch, 3, "update", ["k", "y", "-"]);
        let (row, shown) = only(batch);
        assert!(row.is_fresh, "nothing of the deleted row comes back");
        assert_eq!(shown, ["k", "y", "-"]);
    }

    #[test]
    fn a_delete_has_the_last_values_before_it() {
        let mut batch = Batch::default();
        take(&mut batch, 1, "create", ["k", "x", "large"]);
        take(&mut batch, 2, "update", ["k", "y", "-"]);
        take(&mut batch, 3, "delete", ["k", "0", "0"]);
        take(&mut batch, 4, "delete", ["k", "0", "0"]);
        let (row, shown) = only(batch);
        assert!(row.is_delete && row.is_fresh);
        assert_eq!(shown, ["k", "y", "large"]);

        let mut batch = Batch::default();
        take(&mut batch, 3, "delete", ["k", "0", "0"]);
        assert_eq!(only(batch).1, ["k", "-", "-"]);
    }

    #[test]
    fn what_is_not_later_is_dropped() {
        let mut batch = Batch::default();
        take(&mut batch, 5, "update", ["k", "new", "b"]);
        take(&mut batch, 4, "update", ["k", "old", "b"]);
        take(&mut batch, 5, "update", ["k", "again", "b"]);
        assert_eq!(only(batch).1, ["k", "new", "b"]);
    }

    #[test]
    fn nothing_is_folded_onto_a_read_that_may_be_stale_before_that_is_known() {
        for (with_the_read, expected) in [(true, ["k", "c", "old"]), (false, ["k", "c", "-"])] {
            let mut batch = Batch::default();
            take(&mut batch, 1, "stale", ["k", "a", "old"]);
            take(&mut batch, 5, "update", ["k", "b", "-"]);
            take(&mut batch, 6, "update", ["k", "c", "-"]);
            let doubts = batch.doubts();
            assert_eq!((doubts.len(), doubts[0].position), (1, at(1)));
            batch.settle(&doubts[0].table, &doubts[0].key, with_the_read);
            let (row, shown) = only(batch);
            assert_eq!(
                (row.is_fresh, shown.as_slice()),
                (with_the_read, &expected.map(str::to_owned)[..])
            );
        }
        // What is emptied in between is no state before it.
        let mut batch = Batch::default();
        take(&mut batch, 1, "stale", ["k", "a", "old"]);
        take(&mut batch, 5, "update", ["k", "b", "-"]);
        batch.truncate(&target(), at(3));
        assert!(batch.doubts().is_empty());
    }

    #[test]
    fn a_truncate_takes_what_is_older_and_leaves_what_is_newer() {
        let mut batch = Batch::default();
        take(&mut batch, 3, "create", ["a", "x", "x"]);
        take(&mut batch, 9, "create", ["b", "x", "x"]);
        batch.truncate(&target(), at(5));
        let (_, plans) = batch.into_plans();
        assert_eq!(plans[0].rows.len(), 1);
        assert_eq!(plans[0].floor, Some(at(5)));
    }

    #[test]
    fn equal_rows_are_summed() {
        let mut batch = Batch::default();
        for (count, text) in [(1, "x"), (1, "x"), (-1, "x"), (1, "y"), (-1, "y")] {
            let span = batch.texts.push(text.as_bytes());
            batch.count(&target(), vec![Cell::Text(span), Cell::Null, Cell::Null], (count, at(1)));
        }
        let (_, plans) = batch.into_plans();
        let counts: Vec<i64> = plans[0].counts.iter().map(|count| count.count).collect();
        assert_eq!(counts, [1]);
    }

    fn counts(steps: &[(i64, u64)], floor: Option<u64>) -> Vec<(i64, Position)> {
        let mut batch = Batch::default();
        for (count, lsn) in steps {
            let span = batch.texts.push(b"x");
            let cells = vec![Cell::Text(span), Cell::Null, Cell::Null];
            batch.count(&target(), cells, (*count, at(*lsn)));
        }
        if let Some(floor) = floor {
            batch.truncate(&target(), at(floor));
        }
        let (_, mut plans) = batch.into_plans();
        plans.remove(0).counts.into_iter().map(|count| (count.count, count.position)).collect()
    }

    #[test]
    fn equal_rows_keep_their_positions_for_a_truncate_that_comes_later() {
        assert_eq!(counts(&[(1, 1), (1, 9)], None), [(1, at(1)), (1, at(9))]);
        assert_eq!(counts(&[(1, 1), (1, 9)], Some(5)), [(1, at(9))]);
        // One that was there before goes, and another comes: not the same as nothing.
        assert_eq!(counts(&[(-1, 2), (1, 9)], None), [(-1, at(2)), (1, at(9))]);
        assert_eq!(counts(&[(-1, 2), (1, 9)], Some(5)), [(1, at(9))]);
        assert_eq!(counts(&[(1, 1), (1, 2), (-1, 3), (-1, 4), (-1, 6)], None), [(-1, at(6))]);
        // Reads need no place of their own.
        assert_eq!(counts(&[(1, 0), (1, 0), (1, 0)], None), [(3, at(0))]);
    }

    #[test]
    fn a_table_is_created_as_it_is_at_the_end_of_the_batch() {
        let added = TableChange::AddColumn(TargetColumn::default());
        let mut batch = Batch::default();
        batch.set_target(&target(), [TableChange::Create]);
        batch.set_target(&target(), [added.clone()]);
        assert_eq!(batch.into_plans().1[0].changes, [TableChange::Create]);
        let mut batch = Batch::default();
        batch.set_target(&target(), [TableChange::Adopt]);
        batch.set_target(&target(), [added.clone()]);
        assert_eq!(batch.into_plans().1[0].changes, [added, TableChange::Adopt]);
    }

    #[test]
    fn a_record_older_than_a_column_has_what_rows_had_that_were_there() {
        let column = TargetColumn { since: Some(at(5)), ..TargetColumn::default() };
        let with = TargetColumn { default: Some("d".to_owned()), ..column.clone() };
        let unknown = TargetColumn { default_unknown: true, ..column.clone() };
        let mut texts = Texts::default();
        let mut of = |column: &TargetColumn, lsn, is_keyed| {
            let cell = absent(column, (at(lsn), is_keyed), &mut texts);
            texts
                .text(cell)
                .map_or(format!("{cell:?}"), |text| String::from_utf8_lossy(text).into())
        };
        assert_eq!(of(&with, 4, true), "d");
        assert_eq!(of(&with, 5, true), "Null");
        assert_eq!(of(&column, 4, true), "Null");
        assert_eq!(of(&unknown, 4, true), "Missing");
        assert_eq!(of(&unknown, 4, false), "Null");
        assert_eq!(of(&unknown, 6, true), "Null");
    }
}
