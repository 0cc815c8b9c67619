//! The SQL of one table: its definition, its changes, and how a batch is merged into it.

use crate::apply::merge::ColumnType;
use crate::apply::merge::TableChange;
use crate::apply::merge::Target;
use crate::apply::merge::TargetColumn;
use crate::apply::merge::plan::sortable;
use crate::apply::warehouse::COMMITTED_COLUMN;
use crate::apply::warehouse::DELETED_COLUMN;
use crate::apply::warehouse::DeleteMode;
use crate::apply::warehouse::INCOMPLETE_COLUMN;
use crate::apply::warehouse::POSITION_COLUMN;
use crate::apply::warehouse::STATE_SCHEMA;
use crate::apply::warehouse::postgres::stages::Stages;
use crate::position::Position;
use crate::table::quote_identifier;
use crate::table::quote_literal;

/// Most digits of `numeric(p,s)`.
const PRECISION_MAX: u32 = 1000;

/// Rows are updated in place as long as a page has room for a second version of them.
const FILLFACTOR: u32 = 85;

/// Kinds of rows in the staging table.
pub(super) const WHOLE: &str = "w";
/// A row whose missing columns keep what the warehouse has.
pub(super) const PART: &str = "p";
/// A row that goes.
pub(super) const GONE: &str = "d";
/// A row that stays, marked as deleted, with its last values.
pub(super) const MARKED: &str = "m";
/// The same, whose missing columns keep what the warehouse has.
pub(super) const MARKED_PART: &str = "q";

/// A type's name in DDL.
pub(super) fn type_name(column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Decimal(precision, _) if *precision > PRECISION_MAX => {
            ColumnType::Numeric.to_string()
        }
        ColumnType::Array(element) => format!("{}[]", type_name(element)),
        other => other.to_string(),
    }
}

/// A table's names, made once.
#[derive(Clone, Debug)]
pub(super) struct Statements<'a> {
    pub(super) target: &'a Target,
    pub(super) delete_mode: DeleteMode,
    pub(super) table: String,
    pub(super) tombstones: String,
    stage: String,
}

fn list<'a>(items: impl Iterator<Item = &'a str>, each: impl Fn(&str) -> String) -> String {
    items.map(|name| each(&quote_identifier(name))).collect::<Vec<_>>().join(", ")
}

impl<'a> Statements<'a> {
    pub(super) fn new(target: &'a Target, delete_mode: DeleteMode) -> Self {
        let id = target.id.0;
        Statements {
            target,
            delete_mode,
            table: target.table.quoted(),
            tombstones: format!("{STATE_SCHEMA}.tombstones_{id}"),
            stage: Stages::name(target.id),
        }
    }

    /// The staging table's name.
    pub(super) fn stage(&self) -> &str {
        &self.stage
    }

    fn columns(&self, each: impl Fn(&str) -> String) -> String {
        list(self.target.columns.iter().map(|column| column.name.as_str()), each)
    }

    pub(super) fn key(&self, each: impl Fn(&str) -> String) -> String {
        list(self.target.key_columns().map(|column| column.name.as_str()), each)
    }

    fn same_key(&self, a: &str, b: &str) -> String {
        let names = self.target.key_columns().map(|column| quote_identifier(&column.name));
        names.map(|name| format!("{a}.{name} = {b}.{name}")).collect::<Vec<_>>().join(" AND ")
    }

    pub(super) fn is_soft(&self) -> bool {
        self.delete_mode == DeleteMode::Soft && self.target.is_keyed()
    }

    fn definition(column: &TargetColumn) -> String {
        format!("{} {}", quote_identifier(&column.name), type_name(&column.column_type))
    }

    pub(super) fn technical(&self) -> Vec<String> {
        let zero = sortable(Position::default());
        let mut columns =
            vec![format!("{POSITION_COLUMN} text COLLATE \"C\" NOT NULL DEFAULT '{zero}'")];
        if self.is_soft() {
            columns.push(format!("{DELETED_COLUMN} boolean NOT NULL DEFAULT false"));
        }
        if self.target.is_keyed() {
            columns.push(format!("{INCOMPLETE_COLUMN} text[]"));
        }
        if self.target.commit_times {
            columns.push(format!("{COMMITTED_COLUMN} timestamp with time zone"));
        }
        columns
    }

    /// SQL of one change of the table's columns. `has_tombstones`: it is ours, and was before this
    /// batch.
    pub(super) fn change(&self, change: &TableChange, has_tombstones: bool) -> String {
        let table = &self.table;
        match change {
            TableChange::Create => self.create(),
            TableChange::Adopt => self.adopt(),
            TableChange::AddColumn(column) => {
                let default = column.default.as_ref().map_or_else(String::new, |text| {
                    let value = match column.column_type {
                        ColumnType::Bytes => quote_literal(&format!("\\x{text}")),
                        _ => quote_literal(text),
                    };
                    format!(" DEFAULT {value}")
                });
                let name = quote_identifier(&column.name);
                // The default is for rows that are there; later ones always bring their value.
                let drop = if default.is_empty() {
                    String::new()
                } else {
                    format!("ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT;\n")
                };
                let definition = Self::definition(column);
                format!("ALTER TABLE {table} ADD COLUMN {definition}{default};\n{drop}")
            }
            TableChange::Widen { name, to, in_key, .. } => {
                let (column, to) = (quote_identifier(name), type_name(to));
                let alter = |table: &str| {
                    format!(
                        "ALTER TABLE {table} ALTER COLUMN {column} TYPE {to} \
                         USING {column}::{to};\n"
                    )
                };
                self.also_of_tombstones(*in_key && has_tombstones, alter)
            }
            TableChange::Rename { from, to, in_key } => {
                let (old, new) = (quote_identifier(from), quote_identifier(to));
                let alter =
                    |table: &str| format!("ALTER TABLE {table} RENAME COLUMN {old} TO {new};\n");
                let renamed = self.also_of_tombstones(*in_key && has_tombstones, alter);
                renamed + &self.rename_incomplete([from, to], has_tombstones)
            }
            TableChange::DropKey { had_key, empty } => self.drop_key(*had_key, *empty),
            TableChange::AddKey { is_unique } => self.add_key(*is_unique),
        }
    }

    fn also_of_tombstones(&self, also: bool, alter: impl Fn(&str) -> String) -> String {
        let tombstones = if also { alter(&self.tombstones) } else { String::new() };
        alter(&self.table) + &tombstones
    }

    /// Rows name the columns that they lack.
    fn rename_incomplete(&self, names: [&String; 2], has_column: bool) -> String {
        if !self.target.is_keyed() || !has_column {
            return String::new();
        }
        let [from, to] = names.map(|name| quote_literal(name));
        format!(
            "UPDATE {} SET {INCOMPLETE_COLUMN} = array_replace({INCOMPLETE_COLUMN}, {from}, {to}) \
             WHERE {from} = ANY ({INCOMPLETE_COLUMN});\n",
            self.table
        )
    }

    fn create(&self) -> String {
        let mut columns: Vec<String> = self.target.columns.iter().map(Self::definition).collect();
        columns.extend(self.technical());
        if self.target.is_keyed() {
            columns.push(format!("PRIMARY KEY ({})", self.key(str::to_owned)));
        }
        format!(
            "CREATE SCHEMA IF NOT EXISTS {};\nCREATE TABLE {} ({}) WITH (fillfactor = \
             {FILLFACTOR});\n{}{}",
            quote_identifier(&self.target.table.namespace),
            self.table,
            columns.join(", "),
            // Those of a table that a person has dropped.
            format_args!("DROP TABLE IF EXISTS {};\n", self.tombstones),
            self.create_tombstones()
        )
    }

    pub(super) fn create_tombstones(&self) -> String {
        if !self.target.is_keyed() {
            return String::new();
        }
        let key = self.target.key_columns().map(Self::definition).collect::<Vec<_>>().join(", ");
        format!(
            "DROP TABLE IF EXISTS {0};\nCREATE TABLE {0} ({key}, {POSITION_COLUMN} text COLLATE \
             \"C\" NOT NULL, PRIMARY KEY ({1}));\n",
            self.tombstones,
            self.key(str::to_owned)
        )
    }

    fn adopt(&self) -> String {
        let table = &self.table;
        let mut sql = String::new();
        for column in self.technical() {
            sql.push_str(&format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column};\n"));
        }
        if self.target.is_keyed() {
            let name = quote_identifier(&self.key_index());
            let key = self.key(str::to_owned);
            sql.push_str(&format!(
                "CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {table} ({key});\n"
            ));
        }
        sql + &self.create_tombstones().replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
    }

    pub(super) fn key_index(&self) -> String {
        format!("cdc_key_{}", self.target.id.0)
    }

    /// Columns of the staging table.
    pub(super) fn stage_columns(&self) -> String {
        let mut columns: Vec<String> = self.target.columns.iter().map(Self::definition).collect();
        columns.push(format!("{POSITION_COLUMN} text COLLATE \"C\""));
        columns.push(format!("{COMMITTED_COLUMN} timestamp with time zone"));
        if self.target.is_keyed() {
            columns.push(format!("{INCOMPLETE_COLUMN} text[]"));
            columns.push("_cdc_kind text".to_owned());
        } else {
            columns.push("_cdc_count bigint".to_owned());
        }
        columns.join(", ")
    }

    /// COPY into the staging table.
    pub(super) fn copy(&self) -> String {
        format!("COPY {} FROM STDIN", self.stage)
    }

    /// Rows of one kind, inserted or merged: the later position wins.
    pub(super) fn upsert(&self, kind: &str) -> String {
        let is_part = matches!(kind, PART | MARKED_PART);
        // What a deleted row had is not what the next one of its key has.
        let of_the_living = |gone: &str, kept: String| match self.is_soft() && kind == PART {
            true => format!("CASE WHEN t.{DELETED_COLUMN} THEN {gone} ELSE {kept} END"),
            false => kept,
        };
        let mut set = vec![format!("{POSITION_COLUMN} = EXCLUDED.{POSITION_COLUMN}")];
        for column in &self.target.columns {
            let name = quote_identifier(&column.name);
            if is_part {
                let literal = quote_literal(&column.name);
                let kept = of_the_living("NULL", format!("t.{name}"));
                set.push(format!(
                    "{name} = CASE WHEN {literal} = ANY (EXCLUDED.{INCOMPLETE_COLUMN}) THEN \
                     {kept} ELSE EXCLUDED.{name} END"
                ));
            } else {
                set.push(format!("{name} = EXCLUDED.{name}"));
            }
        }
        if is_part {
            let still = format!(
                "(SELECT array_agg(name) FROM unnest(t.{INCOMPLETE_COLUMN}) AS name WHERE name = \
                 ANY (EXCLUDED.{INCOMPLETE_COLUMN}))"
            );
            let still = of_the_living(&format!("EXCLUDED.{INCOMPLETE_COLUMN}"), still);
            set.push(format!("{INCOMPLETE_COLUMN} = {still}"));
        } else {
            set.push(format!("{INCOMPLETE_COLUMN} = EXCLUDED.{INCOMPLETE_COLUMN}"));
        }
        let columns = self.columns(str::to_owned);
        let mut technical = format!("{POSITION_COLUMN}, {INCOMPLETE_COLUMN}");
        let mut values = technical.clone();
        if self.target.commit_times {
            set.push(format!("{COMMITTED_COLUMN} = EXCLUDED.{COMMITTED_COLUMN}"));
            technical.push_str(&format!(", {COMMITTED_COLUMN}"));
            values.push_str(&format!(", {COMMITTED_COLUMN}"));
        }
        if self.is_soft() {
            set.push(format!("{DELETED_COLUMN} = EXCLUDED.{DELETED_COLUMN}"));
            technical.push_str(&format!(", {DELETED_COLUMN}"));
            values.push_str(&format!(", {}", matches!(kind, MARKED | MARKED_PART)));
        }
        let alive = format!(
            "NOT EXISTS (SELECT FROM {} AS x WHERE {} AND x.{POSITION_COLUMN} >= \
             s.{POSITION_COLUMN})",
            self.tombstones,
            self.same_key("x", "s")
        );
        format!(
            "INSERT INTO {} AS t ({columns}, {technical}) SELECT {columns}, {values} FROM {} AS \
             s WHERE s._cdc_kind = '{kind}' AND {alive} ON CONFLICT ({}) DO UPDATE SET {} WHERE \
             EXCLUDED.{POSITION_COLUMN} >= t.{POSITION_COLUMN}",
            self.table,
            self.stage,
            self.key(str::to_owned),
            set.join(", ")
        )
    }

    /// Tombstones that a later row has overtaken.
    pub(super) fn forget_tombstones(&self) -> String {
        format!(
            "DELETE FROM {} AS x USING {} AS s WHERE s._cdc_kind <> '{GONE}' AND {} AND \
             x.{POSITION_COLUMN} < s.{POSITION_COLUMN}",
            self.tombstones,
            self.stage,
            self.same_key("x", "s")
        )
    }

    /// Rows that go.
    pub(super) fn delete(&self) -> String {
        format!(
            "DELETE FROM {} AS t USING {} AS s WHERE s._cdc_kind = '{GONE}' AND {} AND \
             t.{POSITION_COLUMN} < s.{POSITION_COLUMN}",
            self.table,
            self.stage,
            self.same_key("t", "s")
        )
    }

    /// What stays of rows that go.
    pub(super) fn bury(&self) -> String {
        let key = self.key(str::to_owned);
        format!(
            "INSERT INTO {} AS x ({key}, {POSITION_COLUMN}) SELECT {key}, {POSITION_COLUMN} FROM \
             {} AS s WHERE s._cdc_kind = '{GONE}' AND NOT EXISTS (SELECT FROM {} AS t WHERE {} AND \
             t.{POSITION_COLUMN} > s.{POSITION_COLUMN}) ON CONFLICT ({key}) DO UPDATE SET \
             {POSITION_COLUMN} = EXCLUDED.{POSITION_COLUMN} WHERE EXCLUDED.{POSITION_COLUMN} > \
             x.{POSITION_COLUMN}",
            self.tombstones,
            self.stage,
            self.table,
            self.same_key("t", "s")
        )
    }

    /// Everything below a floor goes.
    pub(super) fn truncate(&self, floor: &str, time: Option<&str>) -> Vec<String> {
        let floor = quote_literal(floor);
        let at = match time.filter(|_| self.target.commit_times) {
            Some(time) => format!(", {COMMITTED_COLUMN} = {}", quote_literal(time)),
            None => String::new(),
        };
        let rows = match self.is_soft() {
            true => format!(
                "UPDATE {} SET {DELETED_COLUMN} = true, {POSITION_COLUMN} = {floor}{at} WHERE \
                 {POSITION_COLUMN} < {floor} AND NOT {DELETED_COLUMN}",
                self.table
            ),
            false => format!("DELETE FROM {} WHERE {POSITION_COLUMN} <= {floor}", self.table),
        };
        let mut sql = vec![rows];
        if self.target.is_keyed() {
            sql.push(format!("DELETE FROM {} WHERE {POSITION_COLUMN} <= {floor}", self.tombstones));
        }
        sql
    }

    /// Makes room for marks, where soft deletes begin later than the table.
    pub(super) fn add_marks(&self) -> String {
        let definition = "boolean NOT NULL DEFAULT false";
        let column = format!("{DELETED_COLUMN} {definition}");
        format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {column}", self.table)
    }

    /// Removes what is marked, where soft deletes have ended.
    pub(super) fn remove_marked(&self) -> String {
        let key = self.key(str::to_owned);
        format!(
            "INSERT INTO {tombstones} AS x ({key}, {POSITION_COLUMN}) SELECT {key}, \
             {POSITION_COLUMN} FROM {table} WHERE {DELETED_COLUMN} ON CONFLICT ({key}) DO UPDATE \
             SET {POSITION_COLUMN} = GREATEST(x.{POSITION_COLUMN}, EXCLUDED.{POSITION_COLUMN}); \
             DELETE FROM {table} WHERE {DELETED_COLUMN}",
            tombstones = self.tombstones,
            table = self.table,
        )
    }

    /// Everything goes.
    pub(super) fn empty(&self) -> String {
        format!("TRUNCATE {}", self.table)
    }

    /// Rows of a multiset that come.
    pub(super) fn insert_counted(&self) -> String {
        let mut columns = self.columns(str::to_owned);
        if self.target.commit_times {
            columns.push_str(&format!(", {COMMITTED_COLUMN}"));
        }
        format!(
            "INSERT INTO {} ({columns}, {POSITION_COLUMN}) SELECT {columns}, {POSITION_COLUMN} \
             FROM {} AS s, generate_series(1, s._cdc_count) WHERE s._cdc_count > 0",
            self.table, self.stage
        )
    }

    /// Rows of a multiset that go: as many of the equal ones as asked for. Rows are compared by
    /// their text, since not every type can be compared. The latest go first: an older one may be
    /// emptied by a TRUNCATE that another partition brings later.
    pub(super) fn delete_counted(&self) -> String {
        let row =
            |alias: &str| format!("ROW({})::text", self.columns(|name| format!("{alias}.{name}")));
        format!(
            "DELETE FROM {table} WHERE ctid IN (SELECT id FROM (SELECT t.ctid AS id, w.wanted, \
             row_number() OVER (PARTITION BY w.line ORDER BY t.{POSITION_COLUMN} DESC, t.ctid) AS \
             number FROM (SELECT {wanted} AS line, -s._cdc_count AS wanted FROM {stage} AS s \
             WHERE s._cdc_count < 0) \
             AS w JOIN {table} AS t ON {had} = w.line) AS found WHERE number <= wanted)",
            table = self.table,
            stage = self.stage,
            wanted = row("s"),
            had = row("t"),
        )
    }

    /// Rows by keys, which are text arrays, one per key column: number of the key, position,
    /// whether it is gone, values, names of those that were never received.
    pub(super) fn select(&self) -> String {
        let arguments: Vec<String> =
            (1..=self.target.key.len()).map(|number| format!("${number}::text[]")).collect();
        let names: Vec<String> =
            (1..=self.target.key.len()).map(|number| format!("k{number}")).collect();
        let on = |alias: &str| {
            let pairs = self.target.key_columns().zip(&names).map(|(column, name)| {
                let (own, to) = (quote_identifier(&column.name), type_name(&column.column_type));
                let text = match column.column_type {
                    ColumnType::Bytes => format!("decode(k.{name}, 'hex')"),
                    _ => format!("k.{name}::{to}"),
                };
                format!("{alias}.{own} = {text}")
            });
            pairs.collect::<Vec<_>>().join(" AND ")
        };
        let values = self.target.columns.iter().map(|column| {
            let name = quote_identifier(&column.name);
            match column.column_type {
                ColumnType::Bytes => format!("encode(t.{name}, 'hex')"),
                ColumnType::Boolean => {
                    format!("CASE t.{name} WHEN true THEN 't' WHEN false THEN 'f' END")
                }
                _ => format!("t.{name}::text"),
            }
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let gone = match self.is_soft() {
            true => format!("t.{POSITION_COLUMN} IS NULL OR t.{DELETED_COLUMN}"),
            false => format!("t.{POSITION_COLUMN} IS NULL"),
        };
        let join = format!(" LEFT JOIN {} AS x ON {}", self.tombstones, on("x"));
        let position = format!("GREATEST(t.{POSITION_COLUMN}, x.{POSITION_COLUMN})");
        format!(
            "SELECT k.number, {position}, {gone}, ARRAY[{values}]::text[], \
             t.{INCOMPLETE_COLUMN} FROM unnest({}) WITH \
             ORDINALITY AS k({}, number) LEFT JOIN {} AS t ON {}{join} WHERE {position} IS NOT NULL",
            arguments.join(", "),
            names.join(", "),
            self.table,
            on("t"),
        )
    }
}
