//! Changes of a table's columns.

use crate::apply::merge::TableChange;
use crate::apply::merge::Target;
use crate::apply::merge::TargetColumn;
use crate::apply::warehouse::COMMITTED_COLUMN;
use crate::apply::warehouse::DELETED_COLUMN;
use crate::apply::warehouse::DeleteMode;
use crate::apply::warehouse::INCOMPLETE_COLUMN;
use crate::apply::warehouse::POSITION_COLUMN;
use crate::apply::warehouse::STATE_SCHEMA;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::layout::Layout;
use crate::apply::warehouse::duckdb::sql;
use crate::apply::warehouse::duckdb::sql::literal;
use crate::apply::warehouse::duckdb::sql::name;
use crate::apply::warehouse::duckdb::stored_type::StoredType;
use crate::table::TableName;

/// DuckDB's own name of a row's number.
const ROW_NUMBER: &str = "rowid";

/// Changes one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) target: &'a Target,
    pub(super) delete_mode: DeleteMode,
}

impl Changing<'_> {
    /// Does one change; `layout` is what the catalog has before it.
    ///
    /// # Errors
    ///
    /// A name stands for two things, or DuckDB refuses.
    pub(super) fn apply(
        &self,
        change: &TableChange,
        layout: &Layout,
    ) -> Result<(), WarehouseError> {
        match change {
            TableChange::Create => self.create(),
            TableChange::Adopt => {
                self.check_names()?;
                self.add_technical_columns(layout)?;
                self.create_tombstones(layout)
            }
            TableChange::AddColumn(column) => {
                self.check_names()?;
                self.check_free(layout, &column.name)?;
                self.add_column(column)
            }
            TableChange::Widen { name, from, to, .. } => match layout.stored_type(name) {
                Some(stored) => self.widen(name, stored, &stored.widened(from, to)),
                // The next look at the types says what is wrong.
                None => Ok(()),
            },
            TableChange::Rename { from, to, .. } => {
                self.check_names()?;
                self.check_free(layout, to)?;
                self.rename(from, to)?;
                if layout.has(INCOMPLETE_COLUMN) {
                    self.rename_incomplete(from, to)?;
                }
                Ok(())
            }
            TableChange::DropKey { had_key, empty } => self.drop_key(layout, *had_key, *empty),
            TableChange::AddKey { is_unique } => self.add_key(layout, *is_unique),
        }
    }

    /// Gives a column another type; its values keep the texts that they have in a plan.
    ///
    /// # Errors
    ///
    /// DuckDB refuses.
    pub(super) fn widen(
        &self,
        column: &str,
        from: &StoredType,
        to: &StoredType,
    ) -> Result<(), WarehouseError> {
        if from == to {
            return Ok(());
        }
        let quoted = name(column);
        // PostgreSQL makes a double of a real from its bits, as a cast does.
        let numbers = matches!(from, StoredType::Integer(_) | StoredType::Real)
            && matches!(to, StoredType::Integer(_) | StoredType::Double);
        let value =
            if numbers { format!("CAST({quoted} AS {to})") } else { to.read(&from.print(&quoted)) };
        for table in self.tables_with(column)? {
            self.execute(&format!(
                "ALTER TABLE {table} ALTER COLUMN {quoted} TYPE {to} USING {value}"
            ))?;
        }
        Ok(())
    }

    fn create(&self) -> Result<(), WarehouseError> {
        self.check_names()?;
        self.check_neighbours()?;
        let Target { table, columns, .. } = self.target;
        let mut definitions: Vec<String> = columns
            .iter()
            .map(|column| format!("{} {}", name(&column.name), StoredType::of(&column.column_type)))
            .collect();
        definitions
            .extend(self.technical_columns().map(|(column, stored)| format!("{column} {stored}")));
        self.execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {}.{}; CREATE TABLE {} ({}); DROP TABLE IF EXISTS {}",
            sql::CATALOG,
            name(&table.namespace),
            sql::table(table),
            definitions.join(", "),
            // Those of a table that a person has dropped.
            sql::tombstones(self.target.id)
        ))?;
        let layout = Layout::read(self.connection, table)?;
        self.create_tombstones(&layout)
    }

    fn technical_columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let soft = self.delete_mode == DeleteMode::Soft;
        let times = self.target.commit_times;
        [
            (POSITION_COLUMN, "VARCHAR"),
            (DELETED_COLUMN, "BOOLEAN"),
            (INCOMPLETE_COLUMN, "VARCHAR[]"),
            (COMMITTED_COLUMN, "TIMESTAMP WITH TIME ZONE"),
        ]
        .into_iter()
        .filter(move |(column, _)| soft || *column != DELETED_COLUMN)
        .filter(move |(column, _)| times || *column != COMMITTED_COLUMN)
    }

    /// Adds those of our columns that are not there.
    ///
    /// # Errors
    ///
    /// DuckDB refuses.
    pub(super) fn add_technical_columns(&self, layout: &Layout) -> Result<(), WarehouseError> {
        for (column, stored) in self.technical_columns().filter(|(column, _)| !layout.has(column)) {
            let table = sql::table(&self.target.table);
            self.execute(&format!("ALTER TABLE {table} ADD COLUMN {column} {stored}"))?;
        }
        Ok(())
    }

    /// Rows that are marked as deleted become tombstones.
    ///
    /// # Errors
    ///
    /// DuckDB refuses.
    pub(super) fn remove_marked(&self) -> Result<(), WarehouseError> {
        let table = sql::table(&self.target.table);
        if self.target.is_keyed() {
            let key: Vec<String> =
                self.target.key_columns().map(|column| name(&column.name)).collect();
            let columns = format!("{}, {POSITION_COLUMN}", key.join(", "));
            let tombstones = sql::tombstones(self.target.id);
            self.execute(&format!(
                "INSERT INTO {tombstones} ({columns}) SELECT {columns} FROM {table} \
                 WHERE {DELETED_COLUMN}"
            ))?;
        }
        self.execute(&format!("DELETE FROM {table} WHERE {DELETED_COLUMN}"))
    }

    fn create_tombstones(&self, layout: &Layout) -> Result<(), WarehouseError> {
        if !self.target.is_keyed() {
            return Ok(());
        }
        let mut definitions = Vec::new();
        for column in self.target.key_columns() {
            let stored = layout.stored_type(&column.name).cloned();
            let stored = stored.unwrap_or_else(|| StoredType::of(&column.column_type));
            definitions.push(format!("{} {stored}", name(&column.name)));
        }
        self.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {} ({}, {POSITION_COLUMN} VARCHAR)",
            sql::tombstones(self.target.id),
            definitions.join(", ")
        ))
    }

    fn drop_key(&self, layout: &Layout, had_key: bool, empty: bool) -> Result<(), WarehouseError> {
        let table = sql::table(&self.target.table);
        self.execute(&format!("DROP TABLE IF EXISTS {}", sql::tombstones(self.target.id)))?;
        if empty {
            return self.execute(&format!("DELETE FROM {table}"));
        }
        if had_key && !self.target.is_keyed() && layout.has(DELETED_COLUMN) {
            // Where rows are counted none is marked.
            return self.execute(&format!("DELETE FROM {table} WHERE {DELETED_COLUMN}"));
        }
        Ok(())
    }

    /// Rows are told apart by the target's key from here on. Where they are not, the latest of
    /// equal ones stays.
    fn add_key(&self, layout: &Layout, is_unique: bool) -> Result<(), WarehouseError> {
        if !self.target.is_keyed() {
            return Ok(());
        }
        let table = sql::table(&self.target.table);
        let key: Vec<String> = self.target.key_columns().map(|column| name(&column.name)).collect();
        let is = |what: &str, joined: &str| {
            let each = key.iter().map(|one| format!("{one} IS {what}"));
            each.collect::<Vec<_>>().join(joined)
        };
        // Rows that are marked need not be told apart from those that are there.
        let mut order = format!("{POSITION_COLUMN} DESC");
        let has_marks = layout.has(DELETED_COLUMN);
        if has_marks {
            order = format!("coalesce({DELETED_COLUMN}, false), {order}");
            let unknown = is("NULL", " OR ");
            self.execute(&format!("DELETE FROM {table} WHERE {DELETED_COLUMN} AND ({unknown})"))?;
        }
        if !is_unique || has_marks {
            self.execute(&format!(
                "DELETE FROM {table} WHERE rowid IN (SELECT id FROM (SELECT rowid AS id, \
                 row_number() OVER (PARTITION BY {} ORDER BY {order}) AS place FROM {table} WHERE \
                 {}) WHERE place > 1)",
                key.join(", "),
                is("NOT NULL", " AND "),
            ))?;
        }
        self.add_technical_columns(layout)?;
        self.create_tombstones(layout)
    }

    fn add_column(&self, column: &TargetColumn) -> Result<(), WarehouseError> {
        let (table, quoted) = (sql::table(&self.target.table), name(&column.name));
        let stored = StoredType::of(&column.column_type);
        let Some(default) = &column.default else {
            return self.execute(&format!("ALTER TABLE {table} ADD COLUMN {quoted} {stored}"));
        };
        // A default that the type cannot hold makes the column one of text at once.
        let readable = stored.holds(default) && self.can_read(&stored, default)?;
        let stored = if readable { stored } else { StoredType::Varchar };
        let text = literal(default);
        let value = stored.read(&quoted);
        // Any default but a plain literal makes DuckDB refuse the transaction if the table is
        // changed again in it (1.5.6), and one may not be made by a lambda.
        self.execute(&format!(
            "ALTER TABLE {table} ADD COLUMN {quoted} VARCHAR DEFAULT {text};\n\
             ALTER TABLE {table} ALTER COLUMN {quoted} DROP DEFAULT"
        ))?;
        if stored == StoredType::Varchar {
            return Ok(());
        }
        self.execute(&format!(
            "ALTER TABLE {table} ALTER COLUMN {quoted} TYPE {stored} USING {value}"
        ))
    }

    fn can_read(&self, stored: &StoredType, text: &str) -> Result<bool, WarehouseError> {
        let value = stored.read(&literal(text));
        let [known] =
            self.connection.numbers(&format!("SELECT CAST(TRY({value}) IS NOT NULL AS BIGINT)"))?;
        Ok(known == 1)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), WarehouseError> {
        for table in self.tables_with(from)? {
            let (from, to) = (name(from), name(to));
            self.execute(&format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}"))?;
        }
        Ok(())
    }

    /// Rows name the columns that they lack.
    fn rename_incomplete(&self, from: &str, to: &str) -> Result<(), WarehouseError> {
        let table = sql::table(&self.target.table);
        let (from, to) = (literal(from), literal(to));
        let lacking = format!("{table} WHERE list_contains({INCOMPLETE_COLUMN}, {from})");
        let [rows] = self.connection.numbers(&format!("SELECT count(*) FROM {lacking}"))?;
        if rows == 0 {
            return Ok(());
        }
        self.execute(&format!(
            "UPDATE {table} SET {INCOMPLETE_COLUMN} = list_transform({INCOMPLETE_COLUMN}, lambda n \
             : CASE n WHEN {from} THEN {to} ELSE n END) WHERE list_contains({INCOMPLETE_COLUMN}, \
             {from})"
        ))
    }

    /// The table, and that of its tombstones if the column is of the key.
    fn tables_with(&self, column: &str) -> Result<Vec<String>, WarehouseError> {
        let id = self.target.id;
        let tombstones = TableName::new(STATE_SCHEMA, format!("tombstones_{}", id.0));
        let mut tables = vec![sql::table(&self.target.table)];
        if Layout::read(self.connection, &tombstones)?.has(column) {
            tables.push(sql::tombstones(id));
        }
        Ok(tables)
    }

    /// A column that somebody has added has the name that one of the source gets.
    fn check_free(&self, layout: &Layout, column: &str) -> Result<(), WarehouseError> {
        if !layout.has(column) {
            return Ok(());
        }
        Err(WarehouseError::Configuration {
            message: format!(
                "table {} of the file has a column \"{column}\" already, which cdc-sink has not made",
                self.target.table
            ),
            hint: "the source has got one of this name, too: rename or drop that of the file, and \
                   start again"
                .to_owned(),
        })
    }

    /// Names that differ in case only are one to DuckDB.
    fn check_names(&self) -> Result<(), WarehouseError> {
        let Target { table, columns, .. } = self.target;
        let ours =
            [POSITION_COLUMN, DELETED_COLUMN, INCOMPLETE_COLUMN, COMMITTED_COLUMN, ROW_NUMBER];
        let mut seen: Vec<&str> = ours.to_vec();
        for column in columns {
            if let Some(other) = seen.iter().find(|other| other.eq_ignore_ascii_case(&column.name))
            {
                return Err(WarehouseError::Configuration {
                    message: format!(
                        "columns {} and {other} of {table} are one to DuckDB, which reads names \
                         without regard to case",
                        column.name
                    ),
                    hint: "rename one of them at the source, or leave it or the table out"
                        .to_owned(),
                });
            }
            seen.push(&column.name);
        }
        Ok(())
    }

    fn check_neighbours(&self) -> Result<(), WarehouseError> {
        let table = &self.target.table;
        let mut neighbour = None;
        let query = format!(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = {} \
             AND lower(schema_name) = lower({}) AND lower(table_name) = lower({})",
            literal(sql::CATALOG),
            literal(&table.namespace),
            literal(&table.name)
        );
        self.connection.each(&query, |row| {
            let part = |index| row.text(index).unwrap_or_default().to_owned();
            neighbour = Some(format!("{}.{}", part(0), part(1)));
            Ok::<(), Fault>(())
        })?;
        match neighbour {
            None => Ok(()),
            Some(other) => Err(WarehouseError::Configuration {
                message: format!(
                    "tables {table} and {other} are one to DuckDB, which reads names without \
                     regard to case"
                ),
                hint: "rename one of them at the source, or leave it out".to_owned(),
            }),
        }
    }

    fn execute(&self, statements: &str) -> Result<(), WarehouseError> {
        self.connection.execute(statements)?;
        Ok(())
    }
}
