//! One plan, one transaction.
//!
//! A value that its column's type cannot hold undoes the transaction; the column is then given a
//! wider type in the next attempt, before anything else, and that is said in the log.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use crate::apply::merge::Plan;
use crate::apply::merge::TableChange;
use crate::apply::merge::TableId;
use crate::apply::merge::TablePlan;
use crate::apply::merge::Target;
use crate::apply::merge::plan::sortable;
use crate::apply::warehouse::BrokenRules;
use crate::apply::warehouse::COMMITTED_COLUMN;
use crate::apply::warehouse::DELETED_COLUMN;
use crate::apply::warehouse::DeleteMode;
use crate::apply::warehouse::Loaded;
use crate::apply::warehouse::POSITION_COLUMN;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::DuckDb;
use crate::apply::warehouse::duckdb::checkpoint;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::counts;
use crate::apply::warehouse::duckdb::layout::Layout;
use crate::apply::warehouse::duckdb::rows;
use crate::apply::warehouse::duckdb::sql;
use crate::apply::warehouse::duckdb::sql::STAGE;
use crate::apply::warehouse::duckdb::sql::literal;
use crate::apply::warehouse::duckdb::stage;
use crate::apply::warehouse::duckdb::stage::Staged;
use crate::apply::warehouse::duckdb::state;
use crate::apply::warehouse::duckdb::stored_type::StoredType;
use crate::apply::warehouse::duckdb::table_change::Changing;
use crate::position::Position;

/// What was done to a table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) upserted: u64,
    pub(super) deleted: u64,
    pub(super) not_found: u64,
    pub(super) incomplete: u64,
}

/// A table while its rows are loaded.
#[derive(Clone, Debug)]
pub(super) struct LoadingTable<'a> {
    pub(super) connection: &'a Connection,
    pub(super) target: &'a Target,
    /// Types by the target's columns.
    pub(super) types: &'a [StoredType],
    pub(super) layout: &'a Layout,
    /// No position at or below it counts.
    pub(super) floor: Option<String>,
    pub(super) delete_mode: DeleteMode,
    pub(super) broken: BrokenRules,
}

impl LoadingTable<'_> {
    /// Places and names of the columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = (usize, &str)> {
        self.target.columns.iter().map(|column| column.name.as_str()).enumerate()
    }

    /// The column of commit times and SQL of its value, where the table has it.
    pub(super) fn add_committed(&self, columns: &mut Vec<String>, values: &mut Vec<String>) {
        if self.layout.has(COMMITTED_COLUMN) {
            columns.push(COMMITTED_COLUMN.to_owned());
            values.push("CAST(s.committed AS TIMESTAMP WITH TIME ZONE)".to_owned());
        }
    }

    /// SQL that makes a staged cell's value.
    pub(super) fn read(&self, place: usize) -> String {
        let text = format!("s.c{place}");
        self.types.get(place).map_or_else(|| "NULL".to_owned(), |stored| stored.read(&text))
    }
}

/// Why an attempt was undone.
enum Undone {
    Failed(WarehouseError),
    /// DuckDB says it; of the plan's table of this number, or of none.
    Fault(Fault, Option<usize>),
    /// Columns of the plan's table of this number cannot hold a value each.
    TooNarrow(usize, BTreeSet<usize>),
}

impl From<WarehouseError> for Undone {
    fn from(error: WarehouseError) -> Self {
        Undone::Failed(error)
    }
}

impl From<Fault> for Undone {
    fn from(fault: Fault) -> Self {
        Undone::Fault(fault, None)
    }
}

/// Types that columns are to get first, by the plan's table and column.
type Wider = BTreeMap<(usize, usize), StoredType>;

/// A plan being loaded.
struct Loading<'a> {
    connection: &'a Connection,
    plan: &'a Plan,
    delete_mode: DeleteMode,
    broken: BrokenRules,
    layouts: HashMap<TableId, Layout>,
    floors: HashMap<TableId, String>,
    wider: Wider,
}

impl DuckDb {
    /// Does everything in a plan, or nothing.
    pub(super) fn load_plan(&mut self, group: &str, plan: &Plan) -> Result<Loaded, WarehouseError> {
        self.connection()?;
        let Some(connection) = self.connection.take() else {
            return Err(WarehouseError::Internal {
                invariant: "the file is open while it is loaded",
            });
        };
        let mut loading = Loading {
            connection: &connection,
            plan,
            delete_mode: self.settings.delete_mode,
            broken: self.settings.broken,
            layouts: std::mem::take(&mut self.layouts),
            floors: HashMap::new(),
            wider: Wider::new(),
        };
        let done = loading.load(group);
        let layouts = std::mem::take(&mut loading.layouts);
        let is_wider = !loading.wider.is_empty();
        self.connection = Some(connection);
        match done {
            Ok(loaded) => {
                self.layouts = layouts;
                self.is_checkpoint_due |= is_wider || checkpoint::is_due_after(plan);
                self.checkpoint_if_due();
                Ok(loaded)
            }
            Err(Undone::Failed(error)) => {
                self.forget(false);
                Err(error)
            }
            Err(Undone::Fault(fault, _)) => {
                self.forget(fault.is_of_the_file());
                Err(fault.into())
            }
            Err(Undone::TooNarrow(..)) => {
                self.forget(false);
                Err(WarehouseError::Data { message: "a column cannot hold a value".to_owned() })
            }
        }
    }
}

impl<'p> Loading<'p> {
    fn load(&mut self, group: &str) -> Result<Loaded, Undone> {
        // Each attempt that is undone makes a column wider, and none can be made so more than
        // twice.
        loop {
            self.connection.execute("BEGIN TRANSACTION")?;
            let done = self.attempt(group).and_then(|loaded| {
                self.connection.execute("COMMIT")?;
                Ok(loaded)
            });
            let undone = match done {
                Ok(loaded) => {
                    self.say_what_was_widened();
                    return Ok(loaded);
                }
                Err(undone) => undone,
            };
            // A failed COMMIT has rolled back by itself, and then there is nothing to undo.
            self.connection.execute("ROLLBACK").ok();
            let (number, columns) = match undone {
                Undone::TooNarrow(number, columns) => (number, columns),
                Undone::Fault(fault, Some(number)) if fault.is_of_a_value() => {
                    (number, self.too_narrow(number)?)
                }
                other => return Err(other),
            };
            self.widen(number, &columns)?;
            self.layouts.clear();
        }
    }

    fn attempt(&mut self, group: &str) -> Result<Loaded, Undone> {
        let mut loaded = Loaded::default();
        self.check_generations()?;
        state::raise_watermarks(self.connection, self.plan)?;
        for number in 0..self.plan.tables.len() {
            let counted = self.load_table(number)?;
            loaded.upserted.push(counted.upserted);
            loaded.deleted.push(counted.deleted);
            loaded.not_found.push(counted.not_found);
            loaded.incomplete += counted.incomplete;
        }
        state::store(self.connection, group, self.plan)?;
        Ok(loaded)
    }

    /// Reads the stored floors. Whoever finds another generation of a table than the one before
    /// has an old picture.
    fn check_generations(&mut self) -> Result<(), Undone> {
        let mut generations = HashMap::new();
        let floors = &mut self.floors;
        let query =
            format!("SELECT id, CAST(generation AS VARCHAR), floor FROM {}", sql::ours("tables"));
        self.connection.each(&query, |row| {
            // A table that is no number meets no table of ours.
            let Some(id) = row.integer(0).map(TableId) else { return Ok::<(), Fault>(()) };
            let generation = row.text(1).and_then(|text| text.parse::<u64>().ok());
            generations.insert(id, generation);
            floors.extend(row.text(2).map(|floor| (id, floor.to_owned())));
            Ok::<(), Fault>(())
        })?;
        for table in &self.plan.tables {
            let is_new =
                |change: &TableChange| matches!(change, TableChange::Create | TableChange::Adopt);
            let target = &table.target;
            let before = target.generation.saturating_sub(u64::from(table.store_target));
            let stored = generations.get(&target.id).copied().flatten();
            if !table.changes.iter().any(is_new) && stored != Some(before) {
                return Err(Undone::Failed(WarehouseError::Conflict {
                    message: format!("another cdc-sink has changed table {}", target.table),
                }));
            }
        }
        Ok(())
    }

    fn table(&self, number: usize) -> Result<&'p TablePlan, WarehouseError> {
        let invariant = "a table's number is one of its plan's";
        self.plan.tables.get(number).ok_or(WarehouseError::Internal { invariant })
    }

    fn load_table(&mut self, number: usize) -> Result<Counted, Undone> {
        let plan = self.table(number)?;
        let target = &*plan.target;
        let layout = self.change(number, plan)?;
        let types = layout.types(target)?;
        self.layouts.insert(target.id, layout.clone());
        let mut deleted = 0;
        if plan.empty {
            let table = sql::table(&target.table);
            deleted += self.connection.execute(&format!("DELETE FROM {table}"))?;
        }
        if let Some(floor) = plan.floor {
            deleted += self.remove_below(plan, &layout, floor)?;
        }
        if plan.store_target || plan.epoch.is_some() || plan.floor.is_some() {
            state::store_table(self.connection, plan, !self.broken.without_floor)?;
        }
        if plan.rows.is_empty() && plan.counts.is_empty() {
            return Ok(Counted { deleted, ..Counted::default() });
        }
        let staged = self.stage(plan, &types)?;
        if !staged.too_narrow.is_empty() {
            return Err(Undone::TooNarrow(number, staged.too_narrow));
        }
        let floor = plan.floor.filter(|_| !self.broken.without_floor).map(sortable);
        let table = LoadingTable {
            connection: self.connection,
            target,
            types: &types,
            layout: &layout,
            floor: floor.max(self.floors.get(&target.id).cloned()),
            delete_mode: self.delete_mode,
            broken: self.broken,
        };
        let counted =
            if target.is_keyed() { table.load_rows(&staged.missing) } else { table.load_counts() };
        let mut counted = counted.map_err(|fault| Undone::Fault(fault, Some(number)))?;
        counted.deleted += deleted;
        Ok(counted)
    }

    /// Does the changes of a table's columns; what the catalog has then.
    fn change(&self, number: usize, plan: &TablePlan) -> Result<Layout, Undone> {
        let target = &*plan.target;
        let changing =
            Changing { connection: self.connection, target, delete_mode: self.delete_mode };
        let read = || Layout::read(self.connection, &target.table);
        let mut layout = match self.layouts.get(&target.id) {
            Some(layout) => layout.clone(),
            None => read()?,
        };
        for change in &plan.changes {
            changing.apply(change, &layout)?;
            layout = read()?;
        }
        let wider = self.wider.range((number, 0)..(number + 1, 0));
        for ((_, place), to) in wider {
            let Some(column) = target.columns.get(*place) else { continue };
            let Some(from) = layout.stored_type(&column.name).cloned() else { continue };
            changing.widen(&column.name, &from, to)?;
            layout = read()?;
        }
        // Soft deletes may have been asked for after the table was made.
        if self.delete_mode == DeleteMode::Soft && !layout.has(DELETED_COLUMN) {
            changing.add_technical_columns(&layout)?;
            layout = read()?;
        }
        // Or have ended: what was marked then is removed, at the first look at the table.
        let is_first = !self.layouts.contains_key(&target.id);
        if self.delete_mode == DeleteMode::Hard && is_first && layout.has(DELETED_COLUMN) {
            changing.remove_marked()?;
        }
        Ok(layout)
    }

    fn stage(&self, plan: &TablePlan, types: &[StoredType]) -> Result<Staged, WarehouseError> {
        let (connection, texts) = (self.connection, &self.plan.texts);
        let key = &plan.target.key;
        if plan.target.is_keyed() {
            let rows = plan.rows.iter().map(|row| rows::staged(row, &plan.times, self.delete_mode));
            stage::stage(connection, texts, types, key, rows)
        } else {
            stage::stage(
                connection,
                texts,
                types,
                key,
                plan.counts.iter().map(|count| counts::staged(count, &plan.times)),
            )
        }
    }

    fn remove_below(
        &self,
        plan: &TablePlan,
        layout: &Layout,
        floor: Position,
    ) -> Result<u64, Fault> {
        let target = &*plan.target;
        let at = match plan.times.of(floor).filter(|_| layout.has(COMMITTED_COLUMN)) {
            Some(time) => format!(", {COMMITTED_COLUMN} = {}", literal(time)),
            None => String::new(),
        };
        let (table, floor) = (sql::table(&target.table), literal(&sortable(floor)));
        let below = format!("coalesce({POSITION_COLUMN}, '') < {floor}");
        let removed = if self.delete_mode == DeleteMode::Soft && target.is_keyed() {
            self.connection.execute(&format!(
                "UPDATE {table} SET {DELETED_COLUMN} = true, {POSITION_COLUMN} = {floor}{at} \
                 WHERE {below} AND NOT coalesce({DELETED_COLUMN}, false)"
            ))?
        } else {
            let live = if layout.has(DELETED_COLUMN) {
                format!("count(*) FILTER (NOT coalesce({DELETED_COLUMN}, false))")
            } else {
                "count(*)".to_owned()
            };
            let query = format!("SELECT {live} FROM {table} WHERE {below}");
            let [live] = self.connection.numbers(&query)?;
            self.connection.execute(&format!("DELETE FROM {table} WHERE {below}"))?;
            u64::try_from(live).unwrap_or_default()
        };
        // The floor guards what these did.
        if target.is_keyed() && !self.broken.without_floor {
            self.connection.execute(&format!(
                "DELETE FROM {} WHERE {POSITION_COLUMN} < {floor}",
                sql::tombstones(target.id)
            ))?;
        }
        Ok(removed)
    }

    /// After an attempt was undone: the columns of a table that refuse a value.
    fn too_narrow(&self, number: usize) -> Result<BTreeSet<usize>, Undone> {
        let plan = self.table(number)?;
        // The table may not be there: its columns may come with this plan.
        let stored = Layout::read(self.connection, &plan.target.table)?;
        let types: Vec<StoredType> = (plan.target.columns.iter().enumerate())
            .map(|(place, column)| match self.wider.get(&(number, place)) {
                Some(wider) => wider.clone(),
                None => match stored.stored_type(&column.name) {
                    Some(stored) => widened_by(plan, &column.name, stored),
                    None => StoredType::of(&column.column_type),
                },
            })
            .collect();
        self.stage(plan, &types)?;
        let mut columns = BTreeSet::new();
        for (place, stored) in types.iter().enumerate() {
            let value = stored.read(&format!("s.c{place}"));
            let [refused] = self.connection.numbers(&format!(
                "SELECT count(*) FROM {STAGE} s \
                 WHERE s.c{place} IS NOT NULL AND TRY({value}) IS NULL"
            ))?;
            if refused > 0 {
                columns.insert(place);
            }
        }
        Ok(columns)
    }

    /// Remembers a wider type for each of these columns.
    fn widen(&mut self, number: usize, columns: &BTreeSet<usize>) -> Result<(), Undone> {
        let plan = self.table(number)?;
        let target = &*plan.target;
        let refused = |names: &str| {
            Undone::Failed(WarehouseError::Data {
                message: format!("DuckDB refuses a value of {}{names}", target.table),
            })
        };
        if columns.is_empty() {
            return Err(refused(""));
        }
        let stored = Layout::read(self.connection, &target.table)?;
        for place in columns {
            let Some(column) = target.columns.get(*place) else { continue };
            let names = format!(", column {}", column.name);
            let now = match (self.wider.get(&(number, *place)), stored.stored_type(&column.name)) {
                (Some(wider), _) => wider.clone(),
                (None, Some(stored)) => widened_by(plan, &column.name, stored),
                (None, None) => StoredType::of(&column.column_type),
            };
            let wider = now.wider().filter(|_| !target.is_foreign);
            let wider = wider.ok_or_else(|| refused(&names))?;
            self.wider.insert((number, *place), wider);
        }
        Ok(())
    }

    fn say_what_was_widened(&self) {
        for ((number, place), to) in &self.wider {
            let Some(plan) = self.plan.tables.get(*number) else { continue };
            let Some(column) = plan.target.columns.get(*place) else { continue };
            tracing::warn!(
                table = %plan.target.table,
                column = column.name,
                "a value came that DuckDB's {} cannot hold: the column is {to} from here on",
                StoredType::of(&column.column_type),
            );
        }
    }
}

/// The type that a column has after a plan's own changes.
fn widened_by(plan: &TablePlan, column: &str, stored: &StoredType) -> StoredType {
    plan.changes.iter().fold(stored.clone(), |stored, change| match change {
        TableChange::Widen { name, from, to, .. } if name == column => stored.widened(from, to),
        _ => stored,
    })
}
