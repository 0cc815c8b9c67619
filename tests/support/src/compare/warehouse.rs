//! The source's tables beside those of a warehouse that answers SELECTs, value by value.
//!
//! Both sides are asked for texts, which are brought to one form here: of floats the bits count, of
//! JSON the value, of arrays the elements, of everything else the characters.

use std::collections::BTreeMap;

use postgres::Client;
use serde_json::Value;

use super::Comparison;
use super::Difference;
use super::SHOWN;
use crate::fold::canonical;

/// Rows that are asked of the warehouse at once.
const PAGE: usize = 2_000;

/// Texts longer than this are compared by their digest.
const LONG: usize = 200;

/// Rows of texts; NULL is `None`.
pub type Rows = Vec<Vec<Option<String>>>;

/// Compares tables, by `schema.name`, with what `ask` gives for a SELECT on the warehouse, in
/// DuckDB's dialect.
pub fn compare_with_warehouse(
    source: &mut Client,
    tables: &[&str],
    ask: &mut dyn FnMut(&str) -> Rows,
) -> Comparison {
    source.batch_execute("SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'").unwrap();
    let mut comparison = Comparison::default();
    for table in tables {
        let columns = columns(source, table);
        let expected = source_rows(source, table, &columns);
        let found = warehouse_rows(table, &columns, ask);
        comparison.tables += 1;
        comparison.rows += expected.len() as u64;
        compare_rows(table, &columns, (expected, found), &mut comparison);
    }
    comparison
}

fn columns(source: &mut Client, table: &str) -> Vec<(String, String)> {
    let rows = source
        .query(
            "SELECT a.attname::text, format_type(coalesce(nullif(t.typbasetype, 0), a.atttypid), \
             -1) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = \
             $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&table],
        )
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn source_rows(source: &mut Client, table: &str, columns: &[(String, String)]) -> Rows {
    let expressions: Vec<String> = columns
        .iter()
        .map(|(name, kind)| {
            let name = quoted(name);
            match kind.as_str() {
                "bytea" => long(&format!("encode({name}, 'hex')")),
                kind if kind.ends_with("[]") => format!("array_to_json({name}::text[])::text"),
                "text" | "character varying" => long(&name),
                "boolean" => format!("{name}::text"),
                // As the server prints it: a cast cuts blanks and adds masks.
                _ => format!("CASE WHEN {name} IS NOT NULL THEN concat({name}) END"),
            }
        })
        .collect();
    let sql = format!("SELECT {} FROM {table}", expressions.join(", "));
    let rows = source.query(&sql, &[]).unwrap();
    let kinds: Vec<&str> = columns.iter().map(|(_, kind)| kind.as_str()).collect();
    rows.iter()
        .map(|row| {
            let one = |(at, kind): (usize, &&str)| {
                let text: Option<String> = row.get(at);
                text.map(|text| normal(kind, &text))
            };
            kinds.iter().enumerate().map(one).collect()
        })
        .collect()
}

fn long(expression: &str) -> String {
    format!("CASE WHEN length({expression}) > {LONG} THEN md5({expression}) ELSE {expression} END")
}

fn warehouse_rows(
    table: &str,
    columns: &[(String, String)],
    ask: &mut dyn FnMut(&str) -> Rows,
) -> Rows {
    let expressions: Vec<String> = columns
        .iter()
        .map(|(name, kind)| {
            let name = quoted(name);
            match kind.as_str() {
                "bytea" => long(&format!("lower(hex({name}))")),
                kind if kind.ends_with("[]") => format!("CAST({name} AS VARCHAR[])"),
                "text" | "character varying" => long(&name),
                _ => format!("CAST({name} AS VARCHAR)"),
            }
        })
        .collect();
    let mut all = Vec::new();
    loop {
        let sql = format!(
            "SELECT {} FROM {table} ORDER BY ALL LIMIT {PAGE} OFFSET {}",
            expressions.join(", "),
            all.len()
        );
        let page = ask(&sql);
        let count = page.len();
        all.extend(page.into_iter().map(|row| {
            let cells = row.into_iter().zip(columns);
            cells.map(|(text, (_, kind))| text.map(|text| normal(kind, &text))).collect()
        }));
        if count < PAGE {
            return all;
        }
    }
}

fn normal(kind: &str, text: &str) -> String {
    match kind {
        "real" => text.parse::<f32>().map_or(text.to_owned(), |n| format!("{:08x}", n.to_bits())),
        "double precision" => {
            text.parse::<f64>().map_or(text.to_owned(), |n| format!("{:016x}", n.to_bits()))
        }
        "json" | "jsonb" => {
            serde_json::from_str::<Value>(text).map_or(text.to_owned(), |value| canonical(&value))
        }
        kind if kind.ends_with("[]") => {
            serde_json::from_str::<Value>(text).map_or(text.to_owned(), |value| value.to_string())
        }
        "interval" => {
            let plural = [("months", "mon"), ("month", "mon"), ("mons", "mon"), ("years", "year")];
            let text = plural.iter().fold(text.to_owned(), |text, (a, b)| text.replace(a, b));
            text.replace("days", "day").replace('+', "")
        }
        "numeric" => text.to_owned(),
        _ => match text.replace(" (BC)", " BC").split_once(" BC") {
            Some((before, after)) => format!("{before}{after} BC"),
            None => text.to_owned(),
        },
    }
}

fn compare_rows(
    table: &str,
    columns: &[(String, String)],
    (expected, found): (Rows, Rows),
    comparison: &mut Comparison,
) {
    let mut counts: BTreeMap<Vec<Option<String>>, i64> = BTreeMap::new();
    for row in expected {
        *counts.entry(row).or_default() += 1;
    }
    for row in found {
        *counts.entry(row).or_default() -= 1;
    }
    let different: Vec<_> = counts.into_iter().filter(|(_, count)| *count != 0).collect();
    comparison.difference_count += different.iter().map(|(_, n)| n.unsigned_abs()).sum::<u64>();
    for (row, count) in &different {
        if comparison.differences.len() >= SHOWN {
            return;
        }
        // The row most like it on the other side shows which values differ.
        let other = different
            .iter()
            .filter(|(_, n)| n.signum() != count.signum())
            .max_by_key(|(other, _)| other.iter().zip(row).filter(|(a, b)| a == b).count());
        let key = row.first().cloned().flatten().unwrap_or_else(|| "NULL".to_owned());
        let shown = |row: &[Option<String>], other: Option<&Vec<Option<String>>>| {
            let differs = |at: usize| other.is_none_or(|other| other.get(at) != row.get(at));
            let cells = columns.iter().zip(row).enumerate().filter(|(at, _)| differs(*at));
            let cells = cells.map(|(_, ((name, _), cell))| {
                format!("{name}={}", cell.as_deref().unwrap_or("NULL"))
            });
            cells.collect::<Vec<_>>().join(" ")
        };
        let here = shown(row, other.map(|(other, _)| other));
        let there = other.map_or("no such row".to_owned(), |(other, _)| shown(other, Some(row)));
        if *count < 0 && other.is_some() {
            continue;
        }
        let (expected, found) = if *count > 0 { (here, there) } else { (there, here) };
        comparison.differences.push(Difference {
            table: table.to_owned(),
            key,
            column: "(row)".to_owned(),
            expected,
            found,
        });
    }
}
