//! The source's tables beside those that the topics add up to, value by value.
//!
//! Every value is read from the source as PostgreSQL prints it and turned into the JSON that
//! cdc-agent's defaults promise for it (`decimal.handling.mode=string`,
//! `interval.handling.mode=string`, adaptive times, `value.fidelity=exact`), by code of its own:
//! this is the oracle. Of a numeric without scale only the number counts, not its trailing zeros;
//! everything else has to be the same to the last character.

mod catalog;
mod copy;
mod expected;
mod temporal;
mod warehouse;

use std::collections::BTreeMap;
use std::fmt;

use postgres::Client;
use serde_json::Map;
use serde_json::Value;

use crate::fold::Fold;
use crate::fold::Table;
use crate::fold::canonical;

use catalog::Column;
use catalog::Shape;

pub use expected::Kind;
pub use warehouse::Rows;
pub use warehouse::compare_with_warehouse;

/// How many differences are kept to be shown.
const SHOWN: usize = 20;

/// Texts longer than this are cut when shown.
const SHOWN_CHARS: usize = 120;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Tables compared.
    pub tables: usize,
    /// Rows of the source.
    pub rows: u64,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// All differences.
    pub difference_count: u64,
}

/// One value, or one row, that is not as in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `namespace.table`.
    pub table: String,
    /// The key as JSON; for a table without a key the row.
    pub key: String,
    /// The column, or what else differs: `(row)`, `(count)`.
    pub column: String,
    /// As it should be.
    pub expected: String,
    /// As it is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, column, expected, found } = self;
        let (key, expected, found) = (cut(key), cut(expected), cut(found));
        write!(formatter, "{table} {key} {column}: expected {expected}, found {found}")
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, tables, count) = (self.rows, self.tables, self.difference_count);
        write!(formatter, "{rows} rows of {tables} tables, {count} differences")?;
        for difference in &self.differences {
            write!(formatter, "\n  {difference}")?;
        }
        if count > self.differences.len() as u64 {
            write!(formatter, "\n  ...")?;
        }
        Ok(())
    }
}

impl Comparison {
    /// Whether everything is the same.
    pub fn is_equal(&self) -> bool {
        self.difference_count == 0
    }

    /// Ends the test, showing the first differences, unless everything is the same.
    ///
    /// # Panics
    ///
    /// If anything differs.
    #[track_caller]
    pub fn assert_equal(&self) {
        assert!(self.is_equal(), "{self}");
    }

    fn add(&mut self, difference: Difference) {
        self.difference_count += 1;
        if self.differences.len() < SHOWN {
            self.differences.push(difference);
        }
    }
}

/// Compares tables, given as `namespace.table`, in one snapshot of the source.
///
/// # Panics
///
/// If a table is not in the source, or the source does not answer.
#[track_caller]
pub fn compare(client: &mut Client, tables: &[&str], fold: &Fold) -> Comparison {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
         SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; \
         SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1; \
         SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'";
    client.batch_execute(begin).expect("the source answers");
    let mut comparison = Comparison::default();
    let nothing = Table::default();
    for name in tables {
        let shape = Shape::read(client, name);
        let table = fold.tables.get(*name).unwrap_or(&nothing);
        comparison.tables += 1;
        if shape.key.is_empty() {
            compare_bag(client, &shape, table, &mut comparison);
        } else {
            compare_keyed(client, &shape, table, &mut comparison);
        }
    }
    client.batch_execute("COMMIT").expect("the source answers");
    comparison
}

fn compare_keyed(client: &mut Client, shape: &Shape, table: &Table, comparison: &mut Comparison) {
    let mut met = 0;
    copy::for_each_row(client, shape, |row| {
        comparison.rows += 1;
        let key: Map<String, Value> =
            shape.key.iter().map(|column| (column.clone(), row[column].clone())).collect();
        let key = canonical(&Value::Object(key));
        match table.rows.get(&key) {
            Some(found) => {
                met += 1;
                compare_row(shape, &key, &row, found, comparison);
            }
            None => comparison.add(shape.difference(&key, "(row)", "there", "missing")),
        }
    });
    if met < table.rows.len() as u64 {
        report_strangers(client, shape, table, comparison);
    }
    for (key, columns) in &table.incomplete {
        let found = "never given, only as unavailable";
        comparison.add(shape.difference(key, &columns.join(", "), "a value", found));
    }
    for row in table.bag.keys() {
        comparison.add(shape.difference(row, "(key)", "a record key", "null"));
    }
}

/// Rows that the source does not have: its keys are read again, so that they need not be kept.
fn report_strangers(
    client: &mut Client,
    shape: &Shape,
    table: &Table,
    comparison: &mut Comparison,
) {
    let mut strangers: BTreeMap<&str, ()> =
        table.rows.keys().map(|key| (key.as_str(), ())).collect();
    copy::for_each_row(client, shape, |row| {
        let key: Map<String, Value> =
            shape.key.iter().map(|column| (column.clone(), row[column].clone())).collect();
        strangers.remove(canonical(&Value::Object(key)).as_str());
    });
    for key in strangers.keys() {
        comparison.add(shape.difference(key, "(row)", "none", "there"));
    }
}

fn compare_row(
    shape: &Shape,
    key: &str,
    expected: &Map<String, Value>,
    found: &Value,
    comparison: &mut Comparison,
) {
    let found = found.as_object().expect("rows are objects");
    for Column { name, kind } in &shape.columns {
        let expected = canonical(&kind.canonical(&expected[name]));
        match found.get(name) {
            Some(value) => {
                let value = canonical(&kind.canonical(value));
                if value != expected {
                    comparison.add(shape.difference(key, name, &expected, &value));
                }
            }
            None => comparison.add(shape.difference(key, name, &expected, "no such member")),
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        comparison.add(shape.difference(key, name, "no such member", "there"));
    }
}

fn compare_bag(client: &mut Client, shape: &Shape, table: &Table, comparison: &mut Comparison) {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    copy::for_each_row(client, shape, |row| {
        comparison.rows += 1;
        *counts.entry(shape.canonical_row(&row)).or_default() += 1;
    });
    let expected = counts.clone();
    for (row, count) in &table.bag {
        let row: Value = serde_json::from_str(row).expect("the fold writes JSON");
        let row = shape.canonical_row(row.as_object().expect("rows are objects"));
        *counts.entry(row).or_default() -= i64::try_from(*count).unwrap_or(i64::MAX);
    }
    for (row, missing) in counts.iter().filter(|(_, missing)| **missing != 0) {
        let wanted = expected.get(row).copied().unwrap_or(0);
        let found = wanted - missing;
        let difference = shape.difference(row, "(count)", &wanted.to_string(), &found.to_string());
        comparison.add(difference);
    }
    for key in table.rows.keys() {
        comparison.add(shape.difference(key, "(key)", "null", "a record key"));
    }
}

impl Shape {
    fn difference(&self, key: &str, column: &str, expected: &str, found: &str) -> Difference {
        Difference {
            table: self.table.clone(),
            key: key.to_owned(),
            column: column.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }

    /// A whole row as text: equal texts are equal rows.
    fn canonical_row(&self, row: &Map<String, Value>) -> String {
        let mut row = row.clone();
        for Column { name, kind } in &self.columns {
            if let Some(value) = row.get_mut(name) {
                *value = kind.canonical(value);
            }
        }
        canonical(&Value::Object(row))
    }
}

/// Shortened in the middle, so that both ends can be seen.
fn cut(text: &str) -> String {
    let count = text.chars().count();
    if count <= SHOWN_CHARS {
        return text.to_owned();
    }
    let half = SHOWN_CHARS / 2;
    let begin: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(count - half).collect();
    format!("{begin}...({count} characters)...{end}")
}
