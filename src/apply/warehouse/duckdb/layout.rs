//! What the catalog has of a table: the only truth about its columns' types.
//!
//! A column's type may be ahead of its source's, where a value came that the nearest type could not
//! hold; so it is asked for and not derived.

use crate::apply::merge::Target;
use crate::apply::warehouse::COMMITTED_COLUMN;
use crate::apply::warehouse::DELETED_COLUMN;
use crate::apply::warehouse::ForeignTable;
use crate::apply::warehouse::INCOMPLETE_COLUMN;
use crate::apply::warehouse::POSITION_COLUMN;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::sql;
use crate::apply::warehouse::duckdb::sql::literal;
use crate::apply::warehouse::duckdb::stored_type::StoredType;
use crate::table::TableName;

/// Columns of ours.
const TECHNICAL: [&str; 4] = [POSITION_COLUMN, DELETED_COLUMN, INCOMPLETE_COLUMN, COMMITTED_COLUMN];

/// Columns of a table, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    columns: Vec<(String, StoredType)>,
}

impl Layout {
    /// From the catalog; without columns: there is no such table.
    pub(super) fn read(connection: &Connection, table: &TableName) -> Result<Self, Fault> {
        let mut layout = Layout::default();
        let query = format!(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = {} \
             AND schema_name = {} AND table_name = {} ORDER BY column_index",
            literal(sql::CATALOG),
            literal(&table.namespace),
            literal(&table.name)
        );
        connection.each(&query, |row| {
            let name = row.text(0).unwrap_or_default().to_owned();
            layout.columns.push((name, StoredType::parse(row.text(1).unwrap_or_default())));
            Ok::<(), Fault>(())
        })?;
        Ok(layout)
    }

    /// Whether there is no such table.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Whether there is a column of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|(column, _)| column == name)
    }

    /// A column's type.
    pub(super) fn stored_type(&self, name: &str) -> Option<&StoredType> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, stored)| stored)
    }

    /// Types of a target's columns, in its order.
    ///
    /// # Errors
    ///
    /// One is not there.
    pub(super) fn types(&self, target: &Target) -> Result<Vec<StoredType>, WarehouseError> {
        let (table, id) = (target.table.quoted(), target.id.0);
        let changed = |message: String| WarehouseError::Configuration {
            message,
            hint: format!(
                "undo what was changed by hand; or let the table be made again: DROP TABLE IF \
                 EXISTS {table}; DROP TABLE IF EXISTS _cdc.tombstones_{id}; DELETE FROM \
                 _cdc.tables WHERE id = {id}; and \
                 snapshot it again: cdc-agent snapshot {}",
                target.table
            ),
        };
        if self.is_empty() {
            return Err(changed(format!("table {} is gone from the file", target.table)));
        }
        let of = |name: &str| {
            self.stored_type(name).cloned().ok_or_else(|| {
                changed(format!("table {} of the file has no column \"{name}\"", target.table))
            })
        };
        target.columns.iter().map(|column| of(&column.name)).collect()
    }
}

/// A table that is there, if it is.
pub(super) fn foreign_table(
    connection: &Connection,
    table: &TableName,
) -> Result<Option<ForeignTable>, WarehouseError> {
    let layout = Layout::read(connection, table)?;
    if layout.is_empty() {
        return Ok(None);
    }
    let mut key = Vec::new();
    let query = format!(
        "SELECT unnest(constraint_column_names) FROM duckdb_constraints() WHERE database_name = {} \
         AND schema_name = {} AND table_name = {} AND constraint_type = 'PRIMARY KEY'",
        literal(sql::CATALOG),
        literal(&table.namespace),
        literal(&table.name)
    );
    connection.each(&query, |row| {
        key.extend(row.text(0).map(str::to_owned));
        Ok::<(), Fault>(())
    })?;
    let [rows] = connection
        .numbers(&format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 1)", sql::table(table)))?;
    Ok(Some(ForeignTable {
        has_position: layout.has(POSITION_COLUMN),
        millis: Vec::new(),
        columns: layout
            .columns
            .iter()
            .filter(|(name, _)| !TECHNICAL.contains(&name.as_str()))
            .map(|(name, stored)| (name.clone(), stored.column_type()))
            .collect(),
        key,
        has_rows: rows > 0,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::apply::merge::Cell;
    use crate::apply::merge::ColumnType;
    use crate::apply::merge::CommitTimes;
    use crate::apply::merge::Plan;
    use crate::apply::merge::RowPlan;
    use crate::apply::merge::TableChange;
    use crate::apply::merge::TableId;
    use crate::apply::merge::TablePlan;
    use crate::apply::merge::TargetColumn;
    use crate::apply::warehouse::Warehouse;
    use crate::apply::warehouse::duckdb::DuckDb;
    use crate::apply::warehouse::duckdb::Settings;
    use crate::position::Position;

    fn target(found: &ForeignTable, table: &TableName) -> Target {
        let column = |(name, column_type): &(String, ColumnType)| TargetColumn {
            name: name.clone(),
            column_type: column_type.clone(),
            ..TargetColumn::default()
        };
        Target {
            id: TableId(1),
            table: table.clone(),
            prefix: "p".to_owned(),
            oid: None,
            columns: found.columns.iter().map(column).collect(),
            key: vec![0],
            is_foreign: true,
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
        }
    }

    fn load(warehouse: &mut DuckDb, target: &Target, changes: Vec<TableChange>, row: (&str, bool)) {
        let mut plan = Plan::default();
        let key = Cell::Text(plan.texts.push(row.0.as_bytes()));
        let value = Cell::Text(plan.texts.push(b"b"));
        plan.tables.push(TablePlan {
            target: Arc::new(target.clone()),
            store_target: !changes.is_empty(),
            changes,
            empty: false,
            epoch: None,
            floor: None,
            rows: vec![RowPlan {
                position: Position { epoch: 1, ..Position::default() },
                is_read: true,
                is_delete: row.1,
                is_fresh: false,
                cells: vec![key, value, Cell::Null],
            }],
            counts: Vec::new(),
            times: CommitTimes::default(),
        });
        warehouse.load("group", &plan).unwrap();
    }

    #[test]
    fn a_table_that_was_there_is_described_and_adopted() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(folder.path().join("shop.duckdb"));
        let mut warehouse = DuckDb::open(settings).unwrap();
        let table = TableName::new("shop", "t");
        assert_eq!(warehouse.foreign_table(&table).unwrap(), None);
        let made = "CREATE SCHEMA shop; \
                    CREATE TABLE shop.t (id INTEGER PRIMARY KEY, v VARCHAR NOT NULL, h HUGEINT); \
                    INSERT INTO shop.t VALUES (1, 'a', 5)";
        warehouse.connection().unwrap().execute(made).unwrap();
        let found = warehouse.foreign_table(&table).unwrap().unwrap();
        assert_eq!(found.key, ["id"]);
        assert!(found.has_rows && !found.has_position);
        let types: Vec<ColumnType> = found.columns.iter().map(|(_, one)| one.clone()).collect();
        assert_eq!(types, [ColumnType::Int32, ColumnType::Text, ColumnType::Numeric]);
        let target = target(&found, &table);
        load(&mut warehouse, &target, vec![TableChange::Adopt], ("1", false));
        load(&mut warehouse, &target, Vec::new(), ("2", false));
        load(&mut warehouse, &target, Vec::new(), ("2", true));
        let found = warehouse.foreign_table(&table).unwrap().unwrap();
        assert!(found.has_position);
        let sum = "SELECT sum(id)::BIGINT, count(*) FILTER (v = 'b') FROM shop.t";
        assert_eq!(warehouse.connection().unwrap().numbers(sum).unwrap(), [1, 1]);
    }
}
