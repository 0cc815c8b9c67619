//! Names that a warehouse cannot have beside its own.
//!
//! Looked at once, where a table begins and where its columns change: a name that is refused in the
//! middle of a load would be refused at each attempt.

use crate::apply::merge::plan::Target;

/// What a warehouse makes of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// Which warehouse, for people.
    pub warehouse: &'static str,
    /// Names that differ in case only are one.
    pub folds_case: bool,
    /// Bytes of a name that it keeps.
    pub bytes_max: usize,
    /// Names of columns that it has itself.
    pub own_columns: &'static [&'static str],
}

/// How every technical column's name begins.
const TECHNICAL_PREFIX: &str = "_cdc_";

/// Schema of what is not a source's table.
const STATE_SCHEMA: &str = "_cdc";

impl NameRules {
    /// Why a table cannot have its names there, and what to do about it.
    pub fn problem(&self, target: &Target) -> Option<String> {
        let table = &target.table;
        if self.is_same(&table.namespace, STATE_SCHEMA) {
            return Some(format!(
                "table {table}: schema {STATE_SCHEMA} of the warehouse is cdc-sink's own: leave the \
                 table out at its source (table.exclude.list), or with --topics"
            ));
        }
        for (what, name) in [("schema", &table.namespace), ("table", &table.name)] {
            if let Some(reason) = self.of_any(name) {
                return Some(format!("{what} {name:?} of table {table}: {reason}"));
            }
        }
        let mut seen: Vec<&str> = Vec::with_capacity(target.columns.len());
        for column in &target.columns {
            let name = column.name.as_str();
            let reason = self.of_any(name).or_else(|| self.of_column(name, &seen));
            if let Some(reason) = reason {
                return Some(format!(
                    "column {name:?} of table {table}: {reason}: rename it at the source, or leave \
                     it out (column.exclude.list)"
                ));
            }
            seen.push(name);
        }
        None
    }

    fn is_same(&self, a: &str, b: &str) -> bool {
        a == b || (self.folds_case && a.eq_ignore_ascii_case(b))
    }

    fn of_any(&self, name: &str) -> Option<String> {
        if name.is_empty() {
            return Some("a name has to have a character".to_owned());
        }
        if name.contains('\0') {
            return Some(format!("{} has no names with a NUL", self.warehouse));
        }
        (name.len() > self.bytes_max).then(|| {
            format!(
                "{} keeps {} bytes of a name, and this is longer",
                self.warehouse, self.bytes_max
            )
        })
    }

    fn of_column(&self, name: &str, seen: &[&str]) -> Option<String> {
        let folded = if self.folds_case { name.to_ascii_lowercase() } else { name.to_owned() };
        if folded.starts_with(TECHNICAL_PREFIX) {
            return Some(format!("names that begin with {TECHNICAL_PREFIX} are cdc-sink's own"));
        }
        if self.own_columns.contains(&folded.as_str()) {
            return Some(format!("{} has a column of this name in every table", self.warehouse));
        }
        let other = seen.iter().find(|other| self.is_same(other, name))?;
        Some(format!(
            "{} takes it and {other:?} for one, since it reads names without regard to case",
            self.warehouse
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::merge::plan::TableId;
    use crate::apply::merge::plan::TargetColumn;
    use crate::table::TableName;

    fn problem(
        rules: NameRules,
        (schema, table): (&str, &str),
        columns: &[&str],
    ) -> Option<String> {
        let column =
            |name: &&str| TargetColumn { name: (*name).to_owned(), ..TargetColumn::default() };
        let target = Target {
            columns: columns.iter().map(column).collect(),
            ..Target::new(TableId(1), TableName::new(schema, table), "p")
        };
        rules.problem(&target)
    }

    #[test]
    fn names_that_a_warehouse_cannot_have_are_told_with_what_to_do() {
        let exact = NameRules {
            warehouse: "PostgreSQL",
            folds_case: false,
            bytes_max: 63,
            own_columns: &["ctid"],
        };
        let folding =
            NameRules { warehouse: "DuckDB", folds_case: true, own_columns: &["rowid"], ..exact };
        assert_eq!(problem(exact, ("s", "t"), &["id", "Id", "rowid", "CTID"]), None);
        let long = "x".repeat(64);
        for (rules, table, column, told) in [
            (exact, ("s", "t"), "_cdc_position", "cdc-sink's own"),
            (exact, ("s", "t"), "ctid", "in every table"),
            (exact, ("s", "t"), "a\0b", "NUL"),
            (exact, ("s", "t\0"), "a", "NUL"),
            (exact, ("s", "t"), &*long, "63 bytes"),
            (exact, ("s", "t"), "", "has to have a character"),
            (exact, ("_cdc", "tables"), "a", "is cdc-sink's own"),
            (folding, ("_CDC", "tables"), "a", "is cdc-sink's own"),
            (folding, ("s", "t"), "RowId", "in every table"),
            (folding, ("s", "t"), "ID", "takes it and \"id\" for one"),
            (folding, ("s", "t"), "_CDC_deleted", "cdc-sink's own"),
        ] {
            let found = problem(rules, table, &["id", column]).unwrap();
            assert!(found.contains(told), "{found}");
        }
    }
}
