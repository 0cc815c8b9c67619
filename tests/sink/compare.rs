//! A table of the source beside the one in a warehouse, row by row and value by value.
//!
//! Rows are multisets of texts. Where a warehouse spells a value in another way, PostgreSQL reads
//! that text as the source's type and prints it again: only values count then.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use cdc_testkit::servers::postgres::Postgres;
use tokio_postgres::types::ToSql;

use super::warehouse::Kind;
use super::warehouse::PINNED;
use super::warehouse::Row;
use super::warehouse::Store;
use super::warehouse::postgres_rows;

/// A column and its type in the source.
struct Column {
    name: String,
    type_name: String,
}

/// Differences between a table and its copy; nothing if they are equal.
#[track_caller]
pub(crate) fn differences(
    source: (&Postgres, &str),
    table: &str,
    store: &Store,
    filter: &str,
) -> Vec<String> {
    let (server, database) = source;
    let columns = columns(server, database, table);
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let list: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = format!("\"{}\"", column.name.replace('"', "\"\""));
            match column.type_name.as_str() {
                "hstore" => format!("hstore_to_jsonb({name})::text"),
                "numeric" => format!("trim_scale({name})::text"),
                // Debezium's form of it has no offset but UTC's.
                "time with time zone" => format!("({name} AT TIME ZONE 'UTC')::text"),
                _ => format!("{name}::text"),
            }
        })
        .collect();
    let sql = format!("SELECT {} FROM {table}", list.join(", "));
    let mut expected = postgres_rows(server, database, &sql);
    let mut found = store.rows(table, &names, filter);
    for (at, column) in columns.iter().enumerate() {
        if column.type_name.ends_with("[]") {
            expected.iter_mut().for_each(|row| without_bounds(&mut row[at]));
        }
        respell((server, database), column, at, (&expected, &mut found), store.kind);
    }
    let count = |rows: &[Row]| {
        let mut counts: BTreeMap<Row, i64> = BTreeMap::new();
        for row in rows {
            *counts.entry(row.clone()).or_default() += 1;
        }
        counts
    };
    let (expected, found) = (count(&expected), count(&found));
    let surplus = |of: &BTreeMap<Row, i64>, other: &BTreeMap<Row, i64>| -> Vec<(Row, i64)> {
        let more = of.iter().map(|(row, n)| (row.clone(), n - other.get(row).unwrap_or(&0)));
        more.filter(|(_, n)| *n > 0).collect()
    };
    let (missing, mut strange) = (surplus(&expected, &found), surplus(&found, &expected));
    let mut all = Vec::new();
    for (row, n) in missing {
        // The row of the same first value shows what differs.
        let twin = strange.iter().position(|(other, m)| other[0] == row[0] && *m == n);
        all.push(match twin.map(|at| strange.remove(at)) {
            Some((other, _)) => format!("{table}: {}", pair(&names, &row, &other)),
            None => format!("{table}: {n} times too few: {}", shown(&names, &row)),
        });
    }
    all.extend(
        strange
            .iter()
            .map(|(row, n)| format!("{table}: {n} times too many: {}", shown(&names, row))),
    );
    all
}

/// Arrays are lists of their elements everywhere but in PostgreSQL: `[0:1]={7,8}` is `{7,8}`.
fn without_bounds(value: &mut Option<String>) {
    if let Some(text) = value
        && text.starts_with('[')
        && let Some(at) = text.find("={")
    {
        text.drain(..=at);
    }
}

fn cut(value: &Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) if text.chars().count() > 60 => {
            format!("{:?}… ({})", text.chars().take(40).collect::<String>(), text.len())
        }
        Some(text) => format!("{text:?}"),
    }
}

fn pair(names: &[String], row: &Row, other: &Row) -> String {
    let cells = names.iter().zip(row.iter().zip(other));
    let differing = cells.filter(|(_, (a, b))| a != b);
    let shown = differing.map(|(name, (a, b))| format!("{name}={}, found {}", cut(a), cut(b)));
    format!("{}={}: {}", names[0], cut(&row[0]), shown.collect::<Vec<_>>().join(" "))
}

fn shown(names: &[String], row: &Row) -> String {
    let cells = names.iter().zip(row).map(|(name, value)| format!("{name}={}", cut(value)));
    cells.take(12).collect::<Vec<_>>().join(" ")
}

/// Gives values of a column the source's spelling where theirs is another.
fn respell(
    (server, database): (&Postgres, &str),
    column: &Column,
    at: usize,
    (expected, found): (&[Row], &mut [Row]),
    kind: Kind,
) {
    let known: BTreeSet<&str> = expected.iter().filter_map(|row| row[at].as_deref()).collect();
    let strange: BTreeSet<String> = found
        .iter()
        .filter_map(|row| row[at].clone())
        .filter(|text| !known.contains(text.as_str()))
        .collect();
    if strange.is_empty() {
        return;
    }
    let is_numeric = column.type_name.starts_with("numeric");
    let text = |text: &String| match text.as_str() {
        // Debezium's words, where nobody says that the text is a number.
        "POSITIVE_INFINITY" if is_numeric => "Infinity".to_owned(),
        "NEGATIVE_INFINITY" if is_numeric => "-Infinity".to_owned(),
        text => postgres_text(text, kind),
    };
    let texts: Vec<String> = strange.iter().map(text).collect();
    let print = match column.type_name.as_str() {
        "hstore" => "t::jsonb::text".to_owned(),
        "numeric" => "trim_scale(t::numeric)::text".to_owned(),
        name => format!("t::{name}::text"),
    };
    let sql =
        format!("SELECT {print} FROM unnest($1::text[]) WITH ORDINALITY AS u(t, n) ORDER BY n");
    let mut client = server.client(database);
    client.batch_execute(PINNED).expect("every server knows these");
    let parameters: [&(dyn ToSql + Sync); 1] = [&texts];
    // A text that is no value of the type stays as it is, and differs.
    let Ok(rows) = client.query(&sql, &parameters) else { return };
    let spelled: BTreeMap<&String, String> =
        strange.iter().zip(rows).map(|(text, row)| (text, row.get(0))).collect();
    for row in found {
        if let Some(text) = &mut row[at]
            && let Some(other) = spelled.get(text)
        {
            text.clone_from(other);
        }
    }
}

/// DuckDB's spelling as PostgreSQL reads it.
fn postgres_text(text: &str, kind: Kind) -> String {
    if kind == Kind::Postgres {
        return text.to_owned();
    }
    let list = text.strip_prefix("list:").or_else(|| text.starts_with('[').then_some(text));
    let list = list.and_then(|json| serde_json::from_str(json).ok());
    match list {
        Some(serde_json::Value::Array(values)) => array(&values),
        _ => text.replace(" (BC)", " BC"),
    }
}

fn array(values: &[serde_json::Value]) -> String {
    let elements = values.iter().map(|value| match value {
        serde_json::Value::Null => "NULL".to_owned(),
        serde_json::Value::Array(inner) => array(inner),
        serde_json::Value::String(text) => {
            let text = text.replace(" (BC)", " BC");
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        other => format!("\"{}\"", other.to_string().replace('\\', "\\\\").replace('"', "\\\"")),
    });
    format!("{{{}}}", elements.collect::<Vec<_>>().join(","))
}

fn columns(server: &Postgres, database: &str, table: &str) -> Vec<Column> {
    let sql = format!(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = \
         '{}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        table.replace('\'', "''")
    );
    let text = |value: &Option<String>| value.clone().expect("never null");
    postgres_rows(server, database, &sql)
        .iter()
        .map(|row| Column { name: text(&row[0]), type_name: text(&row[1]) })
        .collect()
}
