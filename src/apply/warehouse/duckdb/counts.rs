//! Rows of tables without key: so many equal ones come or go.

use crate::apply::merge::CommitTimes;
use crate::apply::merge::CountPlan;
use crate::apply::warehouse::DELETED_COLUMN;
use crate::apply::warehouse::POSITION_COLUMN;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::load::Counted;
use crate::apply::warehouse::duckdb::load::LoadingTable;
use crate::apply::warehouse::duckdb::sql;
use crate::apply::warehouse::duckdb::sql::STAGE;
use crate::apply::warehouse::duckdb::sql::VERDICT;
use crate::apply::warehouse::duckdb::sql::name;
use crate::apply::warehouse::duckdb::stage::StagedRow;

/// The count as [`crate::apply::warehouse::duckdb::stage`] takes it.
pub(super) fn staged<'a>(count: &'a CountPlan, times: &'a CommitTimes) -> StagedRow<'a> {
    StagedRow {
        position: count.position,
        number: count.count,
        committed: times.of(count.position),
        key_only: false,
        cells: &count.cells,
    }
}

impl LoadingTable<'_> {
    /// Inserts and deletes as staged.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    pub(super) fn load_counts(&self) -> Result<Counted, Fault> {
        let [coming, going] = self.connection.numbers(&format!(
            "SELECT CAST(coalesce(sum(number) FILTER (number > 0), 0) AS BIGINT), \
             CAST(coalesce(-sum(number) FILTER (number < 0), 0) AS BIGINT) FROM {STAGE}"
        ))?;
        let deleted = if going > 0 { self.delete_equal()? } else { 0 };
        let upserted = if coming > 0 { self.insert_equal()? } else { 0 };
        let going = u64::try_from(going).unwrap_or_default();
        Ok(Counted { upserted, deleted, not_found: going.saturating_sub(deleted), incomplete: 0 })
    }

    fn insert_equal(&self) -> Result<u64, Fault> {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for (place, column) in self.columns() {
            columns.push(name(column));
            values.push(self.read(place));
        }
        columns.push(POSITION_COLUMN.to_owned());
        values.push("s.position".to_owned());
        self.add_committed(&mut columns, &mut values);
        if self.layout.has(DELETED_COLUMN) {
            columns.push(DELETED_COLUMN.to_owned());
            values.push("false".to_owned());
        }
        self.connection.execute(&format!(
            "INSERT INTO {} ({}) SELECT {} FROM \
             (SELECT *, unnest(range(number)) FROM {STAGE} WHERE number > 0) s",
            sql::table(&self.target.table),
            columns.join(", "),
            values.join(", ")
        ))
    }

    /// The latest go first: an older one may be emptied by a TRUNCATE that another partition brings
    /// later.
    fn delete_equal(&self) -> Result<u64, Fault> {
        let table = sql::table(&self.target.table);
        let mut conditions: Vec<String> = Vec::new();
        for (place, column) in self.columns() {
            let (left, right) = (format!("t.{}", name(column)), self.read(place));
            conditions.extend(
                self.types
                    .get(place)
                    .map(|stored| stored.same(&left, "IS NOT DISTINCT FROM", &right)),
            );
        }
        if self.layout.has(DELETED_COLUMN) {
            conditions.push(format!("NOT coalesce(t.{DELETED_COLUMN}, false)"));
        }
        conditions.push("s.number < 0".to_owned());
        self.connection.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE {VERDICT} AS SELECT rid, position FROM \
             (SELECT t.rowid AS rid, s.position, s.number, \
             row_number() OVER (PARTITION BY s.n ORDER BY t.{POSITION_COLUMN} DESC, t.rowid) \
             AS place \
             FROM {table} t JOIN {STAGE} s ON {}) WHERE place <= -number",
            conditions.join(" AND ")
        ))?;
        // Of equal rows none is the one that went: they are removed under soft deletes, too.
        self.connection
            .execute(&format!("DELETE FROM {table} WHERE rowid IN (SELECT rid FROM {VERDICT})"))
    }
}
