//! The SQL that gives a table another key.

use crate::apply::warehouse::DELETED_COLUMN;
use crate::apply::warehouse::DeleteMode;
use crate::apply::warehouse::INCOMPLETE_COLUMN;
use crate::apply::warehouse::POSITION_COLUMN;
use crate::apply::warehouse::postgres::statements::Statements;
use crate::table::quote_identifier;
use crate::table::quote_literal;

impl Statements<'_> {
    /// The table's own key goes, and that its columns may not be NULL. What a person has made of
    /// a table that was there before stays.
    pub(super) fn drop_key(&self, had_key: bool, empty: bool) -> String {
        let table = &self.table;
        let mut sql = format!(
            "DROP TABLE IF EXISTS {};\nDROP INDEX IF EXISTS {}.{};\n",
            self.tombstones,
            quote_identifier(&self.target.table.namespace),
            quote_identifier(&self.key_index()),
        );
        if empty {
            sql.push_str(&format!("TRUNCATE {table};\n"));
        } else if had_key && !self.target.is_keyed() && self.delete_mode == DeleteMode::Soft {
            // Where rows are counted none is marked.
            sql.push_str(&format!("DELETE FROM {table} WHERE {DELETED_COLUMN};\n"));
        }
        if !self.target.is_foreign {
            let literal = quote_literal(table);
            sql.push_str(&format!(
                "DO $cdc$ DECLARE found record; BEGIN FOR found IN SELECT conname FROM \
                 pg_constraint WHERE conrelid = {literal}::regclass AND contype = 'p' LOOP EXECUTE \
                 format('ALTER TABLE %s DROP CONSTRAINT %I', {literal}, found.conname); END LOOP; \
                 FOR found IN SELECT attname FROM pg_attribute WHERE attrelid = \
                 {literal}::regclass AND attnum > 0 AND attnotnull AND NOT attisdropped AND \
                 attname NOT LIKE '\\_cdc\\_%' LOOP EXECUTE format('ALTER TABLE %s ALTER COLUMN \
                 %I DROP NOT NULL', {literal}, found.attname); END LOOP; END $cdc$;\n"
            ));
        }
        sql
    }

    /// Rows are told apart by the target's key from here on. Where they are not, the latest of
    /// equal ones stays.
    pub(super) fn add_key(&self, is_unique: bool) -> String {
        let table = &self.table;
        if !self.target.is_keyed() {
            return String::new();
        }
        let mut sql = String::new();
        for column in self.technical() {
            sql.push_str(&format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column};\n"));
        }
        let key = self.key(str::to_owned);
        let names: Vec<String> =
            self.target.key_columns().map(|column| quote_identifier(&column.name)).collect();
        let is = |what: &str, joined: &str| {
            let each = names.iter().map(|name| format!("{name} IS {what}"));
            each.collect::<Vec<_>>().join(joined)
        };
        // Rows that are marked need not be told apart from those that are there.
        let marked = if self.is_soft() { format!("{DELETED_COLUMN}, ") } else { String::new() };
        if self.is_soft() {
            let unknown = is("NULL", " OR ");
            sql.push_str(&format!("DELETE FROM {table} WHERE {DELETED_COLUMN} AND ({unknown});\n"));
        }
        if !is_unique || self.is_soft() {
            sql.push_str(&format!(
                "DELETE FROM {table} WHERE ctid IN (SELECT id FROM (SELECT ctid AS id, row_number() \
                 OVER (PARTITION BY {key} ORDER BY {marked}{POSITION_COLUMN} DESC) AS number FROM \
                 {table} WHERE {}) AS equal WHERE number > 1);\n",
                is("NOT NULL", " AND ")
            ));
        }
        let index = quote_identifier(&self.key_index());
        sql.push_str(&if is_unique && !self.target.is_foreign {
            format!("ALTER TABLE {table} ADD PRIMARY KEY ({key});\n")
        } else {
            format!("CREATE UNIQUE INDEX {index} ON {table} ({key});\n")
        });
        sql + &self.create_tombstones()
    }

    /// Whether rows are told apart by these columns, none of them NULL, or have all their values.
    pub(super) fn tells_apart(&self, key: Option<&[usize]>) -> String {
        let table = &self.table;
        let live = if self.is_soft() { format!("NOT {DELETED_COLUMN}") } else { "true".to_owned() };
        let names: Vec<String> = (key.unwrap_or_default().iter())
            .filter_map(|place| self.target.columns.get(*place))
            .map(|column| quote_identifier(&column.name))
            .collect();
        let found = match key {
            None => format!("SELECT FROM {table}"),
            Some([]) if !self.target.is_keyed() => return "SELECT true".to_owned(),
            Some([]) => {
                format!("SELECT FROM {table} WHERE {live} AND {INCOMPLETE_COLUMN} IS NOT NULL")
            }
            Some(_) => {
                let nulls: Vec<String> =
                    names.iter().map(|name| format!("bool_or({name} IS NULL)")).collect();
                format!(
                    "SELECT FROM {table} WHERE {live} GROUP BY {} HAVING count(*) > 1 OR {}",
                    names.join(", "),
                    nulls.join(" OR ")
                )
            }
        };
        format!("SELECT NOT EXISTS ({found})")
    }
}
