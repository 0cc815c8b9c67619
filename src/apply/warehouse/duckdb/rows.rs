//! Rows of tables with a key: the guarded upsert, and the rows that are there.

use std::collections::BTreeSet;

use crate::apply::merge::Cell;
use crate::apply::merge::CommitTimes;
use crate::apply::merge::RowPlan;
use crate::apply::merge::Target;
use crate::apply::merge::Texts;
use crate::apply::warehouse::DELETED_COLUMN;
use crate::apply::warehouse::DeleteMode;
use crate::apply::warehouse::INCOMPLETE_COLUMN;
use crate::apply::warehouse::POSITION_COLUMN;
use crate::apply::warehouse::StoredRow;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::DuckDb;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::layout::Layout;
use crate::apply::warehouse::duckdb::load::Counted;
use crate::apply::warehouse::duckdb::load::LoadingTable;
use crate::apply::warehouse::duckdb::sql;
use crate::apply::warehouse::duckdb::sql::STAGE;
use crate::apply::warehouse::duckdb::sql::VERDICT;
use crate::apply::warehouse::duckdb::sql::literal;
use crate::apply::warehouse::duckdb::sql::name;
use crate::apply::warehouse::duckdb::stage;
use crate::apply::warehouse::duckdb::stage::StagedRow;
use crate::apply::warehouse::duckdb::state;
use crate::apply::warehouse::duckdb::stored_type::StoredType;
use crate::position::Position;

const DELETE: i64 = 1;
const READ: i64 = 2;
const FRESH: i64 = 4;

/// The row as [`stage`] takes it.
pub(super) fn staged<'a>(
    row: &'a RowPlan,
    times: &'a CommitTimes,
    mode: DeleteMode,
) -> StagedRow<'a> {
    let flag = |is_set: bool, flag: i64| if is_set { flag } else { 0 };
    StagedRow {
        position: row.position,
        number: flag(row.is_delete, DELETE) | flag(row.is_read, READ) | flag(row.is_fresh, FRESH),
        committed: times.of(row.position),
        key_only: row.is_delete && mode == DeleteMode::Hard,
        cells: &row.cells,
    }
}

/// SQL that joins staged rows to a table by the key.
fn same_key(target: &Target, types: &[StoredType], table: &str) -> String {
    let one = |place: &usize| {
        let column = target.columns.get(*place)?;
        let stored = types.get(*place)?;
        let value = stored.read(&format!("s.c{place}"));
        Some(stored.same(&format!("{table}.{}", name(&column.name)), "=", &value))
    };
    target.key.iter().filter_map(one).collect::<Vec<_>>().join(" AND ")
}

/// SQL that is true of a row that is not marked as deleted.
fn is_live(layout: &Layout) -> String {
    if layout.has(DELETED_COLUMN) {
        format!("NOT coalesce(t.{DELETED_COLUMN}, false)")
    } else {
        "true".to_owned()
    }
}

impl LoadingTable<'_> {
    /// Writes and deletes the staged rows that are newer than what is there.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    pub(super) fn load_rows(&self, missing: &BTreeSet<usize>) -> Result<Counted, Fault> {
        self.judge(missing)?;
        let [upserts, deletes, gone, replaced, risen] = self.connection.numbers(&format!(
            "SELECT count(*) FILTER (number & {DELETE} = 0), \
             count(*) FILTER (number & {DELETE} <> 0), \
             count(*) FILTER (number & {DELETE} <> 0 AND is_live), count(rid), count(tid) \
             FROM {VERDICT}"
        ))?;
        let (table, tombstones) = (sql::table(&self.target.table), sql::tombstones(self.target.id));
        let soft = self.delete_mode == DeleteMode::Soft;
        if replaced > 0 {
            self.connection.execute(&format!(
                "DELETE FROM {table} WHERE rowid IN \
                 (SELECT rid FROM {VERDICT} WHERE rid IS NOT NULL)"
            ))?;
        }
        if risen > 0 {
            self.connection.execute(&format!(
                "DELETE FROM {tombstones} WHERE rowid IN \
                 (SELECT tid FROM {VERDICT} WHERE tid IS NOT NULL)"
            ))?;
        }
        // A row that stays, marked, is its own tombstone.
        if deletes > 0 && !soft && !self.broken.without_tombstones {
            self.insert_tombstones(&tombstones)?;
        }
        let mut incomplete = 0;
        if upserts > 0 || (soft && deletes > 0) {
            self.insert(&table, missing)?;
            if !missing.is_empty() {
                [incomplete] = self.connection.numbers(&format!(
                    "SELECT count(*) FROM {STAGE} s JOIN {VERDICT} v ON v.n = s.n \
                     WHERE v.number & {DELETE} = 0 AND {} IS NOT NULL",
                    self.incomplete(missing)
                ))?;
            }
        }
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(Counted {
            upserted: count(upserts),
            deleted: count(gone),
            not_found: 0,
            incomplete: count(incomplete),
        })
    }

    /// Finds the staged rows that are newer than the row and the tombstone that they meet, if any.
    fn judge(&self, missing: &BTreeSet<usize>) -> Result<(), Fault> {
        let Self { target, types, layout, .. } = self;
        // A row that is deleted once more keeps what it has.
        let keeps = format!("(f.is_live OR s.number & {DELETE} <> 0) AND s.number & {FRESH} = 0");
        let mut old_values = String::new();
        let mut kept = String::new();
        for (place, column) in self.columns().filter(|(place, _)| missing.contains(place)) {
            old_values.push_str(&format!(", t.{} AS o{place}", name(column)));
            kept.push_str(&format!(", CASE WHEN {keeps} THEN f.o{place} END AS o{place}"));
        }
        let newer = |met: &str| {
            format!(
                "({met}.position IS NULL OR s.position > {met}.position \
                 OR (s.number & {READ} <> 0 AND s.position = {met}.position))"
            )
        };
        let floor = match &self.floor {
            Some(floor) => format!(" AND s.position > {}", literal(floor)),
            None => String::new(),
        };
        self.connection.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE {VERDICT} AS WITH \
             f AS (SELECT s.n, t.rowid AS rid, t.{POSITION_COLUMN} AS position, {live} AS is_live, \
             t.{INCOMPLETE_COLUMN} AS incomplete{old_values} \
             FROM {table} t JOIN {STAGE} s ON {rows}), \
             d AS (SELECT s.n, d.rowid AS tid, d.{POSITION_COLUMN} AS position \
             FROM {tombstones} d JOIN {STAGE} s ON {dead}) \
             SELECT s.n, s.position, s.number, f.rid, d.tid, \
             coalesce(f.is_live, false) AS is_live, \
             CASE WHEN f.rid IS NOT NULL AND {keeps} THEN coalesce(f.incomplete, []) END \
             AS incomplete{kept} \
             FROM {STAGE} s LEFT JOIN f ON f.n = s.n LEFT JOIN d ON d.n = s.n \
             WHERE {newer_row} AND {newer_dead}{floor}",
            live = is_live(layout),
            table = sql::table(&target.table),
            rows = same_key(target, types, "t"),
            tombstones = sql::tombstones(target.id),
            dead = same_key(target, types, "d"),
            newer_row = newer("f"),
            newer_dead = newer("d"),
        ))?;
        Ok(())
    }

    fn insert_tombstones(&self, tombstones: &str) -> Result<(), Fault> {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for (place, column) in self.columns().filter(|(place, _)| self.target.key.contains(place)) {
            columns.push(name(column));
            values.push(self.read(place));
        }
        self.connection.execute(&format!(
            "INSERT INTO {tombstones} ({}, {POSITION_COLUMN}) SELECT {}, s.position \
             FROM {STAGE} s JOIN {VERDICT} v ON v.n = s.n \
             WHERE v.number & {DELETE} <> 0",
            columns.join(", "),
            values.join(", ")
        ))?;
        Ok(())
    }

    fn insert(&self, table: &str, missing: &BTreeSet<usize>) -> Result<(), Fault> {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for (place, column) in self.columns() {
            columns.push(name(column));
            let value = self.read(place);
            values.push(if missing.contains(&place) {
                format!("CASE WHEN {} THEN v.o{place} ELSE {value} END", is_missing(place))
            } else {
                value
            });
        }
        columns.push(POSITION_COLUMN.to_owned());
        values.push("s.position".to_owned());
        self.add_committed(&mut columns, &mut values);
        if self.layout.has(DELETED_COLUMN) {
            columns.push(DELETED_COLUMN.to_owned());
            values.push(format!("v.number & {DELETE} <> 0"));
        }
        if !missing.is_empty() {
            columns.push(INCOMPLETE_COLUMN.to_owned());
            values.push(self.incomplete(missing));
        }
        let which = match self.delete_mode {
            DeleteMode::Hard => format!("WHERE v.number & {DELETE} = 0"),
            DeleteMode::Soft => String::new(),
        };
        self.connection.execute(&format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {STAGE} s \
             JOIN {VERDICT} v ON v.n = s.n {which}",
            columns.join(", "),
            values.join(", ")
        ))?;
        Ok(())
    }

    /// SQL of the names of columns whose values were never received: those that are missing here
    /// and have no row to keep them from, or one that never had them either.
    fn incomplete(&self, missing: &BTreeSet<usize>) -> String {
        let names =
            self.columns().filter(|(place, _)| missing.contains(place)).map(|(place, column)| {
                let column = literal(column);
                format!(
                    "CASE WHEN {} AND (v.incomplete IS NULL OR list_contains(v.incomplete, \
                     {column})) THEN {column} END",
                    is_missing(place)
                )
            });
        format!(
            "nullif(list_filter([{}], lambda e : e IS NOT NULL), CAST([] AS VARCHAR[]))",
            names.collect::<Vec<_>>().join(", ")
        )
    }
}

fn is_missing(place: usize) -> String {
    format!("coalesce(substr(s.missing, {}, 1) = '1', false)", place + 1)
}

impl DuckDb {
    /// Whether rows are told apart by these columns, none of them NULL, or have all their values.
    pub(super) fn are_told_apart(
        &mut self,
        target: &Target,
        key: Option<&[usize]>,
    ) -> Result<bool, WarehouseError> {
        let connection = self.connection()?;
        let layout = Layout::read(connection, &target.table)?;
        let (table, live) = (sql::table(&target.table), is_live(&layout));
        let names: Vec<String> = (key.unwrap_or_default().iter())
            .filter_map(|place| target.columns.get(*place))
            .map(|column| format!("t.{}", name(&column.name)))
            .collect();
        let found = match key {
            _ if layout.is_empty() => return Ok(true),
            None => format!("SELECT 1 FROM {table} t"),
            Some([]) if !layout.has(INCOMPLETE_COLUMN) => return Ok(true),
            Some([]) => {
                format!("SELECT 1 FROM {table} t WHERE {live} AND {INCOMPLETE_COLUMN} IS NOT NULL")
            }
            Some(_) => {
                let nulls: Vec<String> =
                    names.iter().map(|name| format!("bool_or({name} IS NULL)")).collect();
                format!(
                    "SELECT 1 FROM {table} t WHERE {live} GROUP BY {} HAVING count(*) > 1 OR {}",
                    names.join(", "),
                    nulls.join(" OR ")
                )
            }
        };
        let [found] = connection
            .numbers(&format!("SELECT count(*) FROM (SELECT 1 FROM ({found}) LIMIT 1)"))?;
        Ok(found == 0)
    }

    /// Rows by key, with their values.
    pub(super) fn stored_rows(
        &mut self,
        target: &Target,
        keys: &[Vec<Cell>],
        texts: &mut Texts,
    ) -> Result<Vec<Option<StoredRow>>, WarehouseError> {
        let connection = self.connection()?;
        let layout = Layout::read(connection, &target.table)?;
        if layout.is_empty() {
            return Ok(vec![None; keys.len()]);
        }
        let types = layout.types(target)?;
        // A key's cells, at their places among the row's.
        let spread: Vec<Vec<Cell>> = keys
            .iter()
            .map(|key| {
                let at = |place| target.key.iter().position(|one| *one == place);
                let cell = |place| at(place).and_then(|at| key.get(at)).copied();
                (0..types.len()).map(|place| cell(place).unwrap_or(Cell::Null)).collect()
            })
            .collect();
        let rows = spread.iter().map(|cells| StagedRow {
            position: Position::default(),
            number: 0,
            committed: None,
            key_only: true,
            cells,
        });
        stage::stage(connection, texts, &types, &target.key, rows)?;
        let mut found: Vec<Option<StoredRow>> = vec![None; keys.len()];
        let printed: String = (target.columns.iter().zip(&types))
            .map(|(column, stored)| {
                format!(", {}", stored.print(&format!("t.{}", name(&column.name))))
            })
            .collect();
        let query = format!(
            "SELECT s.n, t.{POSITION_COLUMN}, CAST({} AS BIGINT), \
             CAST(to_json(t.{INCOMPLETE_COLUMN}) AS VARCHAR){printed} \
             FROM {} t JOIN {STAGE} s ON {}",
            is_live(&layout),
            sql::table(&target.table),
            same_key(target, &types, "t")
        );
        connection.each(&query, |row| {
            let incomplete: Vec<String> =
                row.text(3).and_then(|names| serde_json::from_str(names).ok()).unwrap_or_default();
            let cells = target.columns.iter().enumerate().map(|(place, column)| {
                match row.bytes(4 + place) {
                    Some(text) => Cell::Text(texts.push(text)),
                    None if incomplete.contains(&column.name) => Cell::Missing,
                    None => Cell::Null,
                }
            });
            let cells: Vec<Cell> = cells.collect();
            let position = state::position_of_row(row, 1)?;
            let is_live = row.integer(2) == Some(1);
            keep(
                &mut found,
                row.integer(0),
                StoredRow { position, cells: is_live.then_some(cells) },
            );
            Ok::<(), WarehouseError>(())
        })?;
        let query = format!(
            "SELECT s.n, d.{POSITION_COLUMN} FROM {} d JOIN {STAGE} s ON {}",
            sql::tombstones(target.id),
            same_key(target, &types, "d")
        );
        connection.each(&query, |row| {
            let position = state::position_of_row(row, 1)?;
            keep(&mut found, row.integer(0), StoredRow { position, cells: None });
            Ok::<(), WarehouseError>(())
        })?;
        Ok(found)
    }
}

/// Keeps the newer one.
fn keep(found: &mut [Option<StoredRow>], number: Option<i64>, row: StoredRow) {
    let index = number.and_then(|number| usize::try_from(number).ok());
    let Some(place) = index.and_then(|index| found.get_mut(index)) else { return };
    if place.as_ref().is_none_or(|there| there.position < row.position) {
        *place = Some(row);
    }
}
