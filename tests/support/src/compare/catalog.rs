//! Columns and key of a table, from the source's catalog.

use std::collections::HashMap;

use postgres::Client;

use super::Kind;

/// A table as it is compared.
#[derive(Debug)]
pub(super) struct Shape {
    /// `namespace.table`, unquoted.
    pub(super) table: String,
    /// The same, quoted for SQL.
    pub(super) quoted: String,
    /// Columns in their order; generated ones are not replicated and left out.
    pub(super) columns: Vec<Column>,
    /// Names of the key's columns; empty for a table without one.
    pub(super) key: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What `pg_type` says of one type.
struct TypeRow {
    name: String,
    namespace: String,
    base: u32,
    typmod: i32,
    element: u32,
    category: i8,
}

impl Shape {
    #[track_caller]
    pub(super) fn read(client: &mut Client, table: &str) -> Self {
        let Some((namespace, name)) = table.split_once('.') else {
            panic!("{table:?} is not namespace.table");
        };
        let quoted = format!("{}.{}", quote(namespace), quote(name));
        let types = types(client);
        let sql = "SELECT attname::text, atttypid, atttypmod FROM pg_attribute \
             WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped \
             AND attgenerated = '' ORDER BY attnum";
        let rows = client.query(sql, &[&quoted]);
        let rows = rows.unwrap_or_else(|error| panic!("{table} is not in the source: {error:?}"));
        let columns = rows
            .iter()
            .map(|row| Column { name: row.get(0), kind: kind(&types, row.get(1), row.get(2)) });
        let columns = columns.collect();
        let sql = "SELECT attname::text FROM pg_index, \
             unnest(indkey::int2[]) WITH ORDINALITY AS part (attnum, n) \
             JOIN pg_attribute USING (attnum) \
             WHERE indrelid = $1::text::regclass AND attrelid = indrelid AND indisprimary \
             AND n <= indnkeyatts ORDER BY n";
        let rows = client.query(sql, &[&quoted]).expect("the catalog answers");
        let key = rows.iter().map(|row| row.get(0)).collect();
        Self { table: table.to_owned(), quoted, columns, key }
    }

    /// Reads the table as text, in the columns' order.
    pub(super) fn copy_statement(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quote(&column.name)).collect();
        format!("COPY (SELECT {} FROM {}) TO STDOUT", columns.join(", "), self.quoted)
    }
}

fn types(client: &mut Client) -> HashMap<u32, TypeRow> {
    let sql = "SELECT pg_type.oid, typname::text, nspname::text, typbasetype, typtypmod, \
         typelem, typcategory FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace";
    let rows = client.query(sql, &[]).expect("the catalog answers");
    let named = |row: &postgres::Row| {
        let named = TypeRow {
            name: row.get(1),
            namespace: row.get(2),
            base: row.get(3),
            typmod: row.get(4),
            element: row.get(5),
            category: row.get(6),
        };
        (row.get(0), named)
    };
    rows.iter().map(named).collect()
}

/// Domains are what they are made of, with the outermost modifier that there is.
fn kind(types: &HashMap<u32, TypeRow>, oid: u32, typmod: i32) -> Kind {
    let found = types.get(&oid).expect("every column has a type");
    if found.base != 0 {
        let typmod = if typmod >= 0 { typmod } else { found.typmod };
        return kind(types, found.base, typmod);
    }
    if found.category == b'A'.cast_signed() && found.element != 0 {
        return Kind::Array(Box::new(kind(types, found.element, typmod)));
    }
    match found.namespace.as_str() {
        "pg_catalog" => Kind::of_builtin(&found.name, typmod),
        _ => Kind::Text,
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
