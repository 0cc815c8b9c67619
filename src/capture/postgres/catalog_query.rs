//! What the server's catalog says of tables and types.
//!
//! Asked at start, for snapshots, and when a Relation message differs from what is known.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;

use tokio_postgres::Row;

use crate::capture::catalog::ColumnFacts;
use crate::capture::catalog::OlderRows;
use crate::capture::catalog::Storage;
use crate::capture::catalog::TableFacts;
use crate::capture::catalog::TypeCatalog;
use crate::capture::catalog::TypeFacts;
use crate::capture::catalog::TypeKind;
use crate::capture::pgoutput::ReplicaIdentity;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::oid::Oid;
use crate::table::TableName;

/// The tables of these ids, as far as they exist.
///
/// # Errors
///
/// The server cannot be asked.
pub fn tables(sql: &Sql, oids: &[Oid]) -> Result<HashMap<Oid, TableFacts>, SourceError> {
    tables_since(sql, oids, &HashMap::new())
}

/// The same, compared with what was known of them before.
///
/// # Errors
///
/// The server cannot be asked.
pub fn tables_since(
    sql: &Sql,
    oids: &[Oid],
    before: &HashMap<Oid, TableFacts>,
) -> Result<HashMap<Oid, TableFacts>, SourceError> {
    let numbers: Vec<u32> = oids.iter().map(|oid| oid.0).collect();
    let mut columns = columns(sql, &numbers)?;
    let mut keys = keys(sql, &numbers)?;
    // Column lists came with PostgreSQL 15.
    let has_list = match sql.server_version() {
        ..150_000 => "false",
        _ => {
            "EXISTS (SELECT FROM pg_publication_rel r WHERE r.prrelid = c.oid \
             AND r.prattrs IS NOT NULL)"
        }
    };
    let rows = sql.query(
        &format!(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
             c.relreplident::text, c.relfilenode, {has_list}, \
             array(SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid \
                AND a.attnum > 0 AND a.attisdropped ORDER BY a.attnum) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)"
        ),
        &[&numbers],
    )?;
    let is_partitioned = |row: &&Row| row.get::<_, &str>(3) == "p";
    let roots: Vec<u32> = rows.iter().filter(is_partitioned).map(|row| row.get(0)).collect();
    let mut leaves = leaves(sql, &roots, &mut columns)?;
    Ok(rows
        .iter()
        .map(|row| {
            let oid = Oid(row.get(0));
            let identity: String = row.get(4);
            let key = keys.remove(&oid).unwrap_or_default();
            let partitioned = is_partitioned(&row);
            let storage = match partitioned {
                true => leaves.remove(&oid).unwrap_or_default(),
                false => vec![Storage { oid, filenode: row.get(5) }],
            };
            let facts = TableFacts {
                oid,
                name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
                partitioned,
                replica_identity: identity
                    .bytes()
                    .next()
                    .and_then(ReplicaIdentity::from_letter)
                    .unwrap_or(ReplicaIdentity::Default),
                columns: columns.remove(&oid).unwrap_or_default(),
                key: key.columns,
                key_is_unique: key.is_unique,
                key_is_identity: key.is_identity,
                has_column_list: row.get(6),
                dropped: row.get(7),
                storage,
            };
            (oid, facts.compared_with(before.get(&oid)))
        })
        .collect())
}

/// The leaves of partitioned tables, which have the values of added columns in their place.
fn leaves(
    sql: &Sql,
    roots: &[u32],
    columns: &mut HashMap<Oid, Vec<ColumnFacts>>,
) -> Result<HashMap<Oid, Vec<Storage>>, SourceError> {
    let mut all: HashMap<Oid, Vec<Storage>> = HashMap::new();
    if roots.is_empty() {
        return Ok(all);
    }
    // Not pg_partition_tree, which locks them all.
    let tree = "WITH RECURSIVE tree(root, oid) AS (SELECT r, r FROM unnest($1::oid[]) r UNION ALL \
                SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid)";
    let rows = sql.query(
        &format!(
            "{tree} SELECT tree.root, c.oid, c.relfilenode FROM tree JOIN pg_class c USING (oid) \
             WHERE c.relkind = 'r' ORDER BY 1, 2"
        ),
        &[&roots],
    )?;
    for row in &rows {
        let leaf = Storage { oid: Oid(row.get(1)), filenode: row.get(2) };
        all.entry(Oid(row.get(0))).or_default().push(leaf);
    }
    let rows = sql.query(
        &format!(
            "{tree} SELECT tree.root, a.attname::text, min(v.value), max(v.value) \
             FROM tree JOIN pg_attribute a ON a.attrelid = tree.oid, \
             LATERAL (SELECT array_to_string(a.attmissingval, '') AS value) v \
             WHERE a.atthasmissing AND NOT a.attisdropped GROUP BY 1, 2"
        ),
        &[&roots],
    )?;
    for row in &rows {
        let (name, least, most): (&str, String, String) = (row.get(1), row.get(2), row.get(3));
        let known = columns.get_mut(&Oid(row.get(0))).into_iter().flatten();
        for column in known.filter(|column| column.name == name) {
            column.older = match least == most {
                true => OlderRows::Stored(least.clone()),
                false => OlderRows::Unknown,
            };
        }
    }
    Ok(all)
}

fn columns(sql: &Sql, oids: &[u32]) -> Result<HashMap<Oid, Vec<ColumnFacts>>, SourceError> {
    let rows = sql.query(
        "SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, \
         format_type(a.atttypid, a.atttypmod), a.attnotnull OR (t.typtype = 'd' AND t.typnotnull), \
         CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END, \
         a.attgenerated <> '', a.attstorage <> 'p', \
         CASE WHEN a.atthasmissing THEN array_to_string(a.attmissingval, '') END, \
         a.attidentity <> '' OR a.attgenerated <> '' \
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY a.attrelid, a.attnum",
        &[&oids],
    )?;
    let mut all: HashMap<Oid, Vec<ColumnFacts>> = HashMap::new();
    for row in &rows {
        all.entry(Oid(row.get(0))).or_default().push(ColumnFacts {
            attnum: row.get(1),
            name: row.get(2),
            type_oid: Oid(row.get(3)),
            type_modifier: row.get(4),
            type_name: row.get(5),
            not_null: row.get(6),
            default: row.get(7),
            generated: row.get(8),
            toastable: row.get(9),
            older: match (row.get::<_, Option<String>>(10), row.get(11)) {
                (Some(value), _) => OlderRows::Stored(value),
                (None, true) => OlderRows::Unknown,
                (None, false) => OlderRows::Null,
            },
        });
    }
    Ok(all)
}

/// A table's key.
#[derive(Default)]
struct Key {
    columns: Vec<String>,
    is_unique: bool,
    is_identity: bool,
}

/// Each table's key by Debezium's rule, and whether no two rows can share it.
fn keys(sql: &Sql, oids: &[u32]) -> Result<HashMap<Oid, Key>, SourceError> {
    // The primary key first; else unique indexes as the JDBC driver orders them, without those that
    // hold an expression (a zero in indkey). Columns that an index only includes are none of a
    // primary key, and to Debezium they are of a unique index; rows are not told apart by those.
    let rows = sql.query(
        "SELECT DISTINCT ON (i.indrelid) i.indrelid, \
         array(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, at) \
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
               WHERE NOT i.indisprimary OR k.at <= i.indnkeyatts ORDER BY k.at), \
         i.indisprimary OR (i.indpred IS NULL AND i.indimmediate AND i.indisvalid \
            AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) k(attnum) \
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
               WHERE NOT a.attnotnull)), i.indisprimary AND i.indimmediate \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = ANY ($1) AND i.indisunique AND 0 <> ALL (i.indkey::int2[]) \
         ORDER BY i.indrelid, i.indisprimary DESC, i.indisclustered DESC, c.relname",
        &[&oids],
    )?;
    let key =
        |row: &Row| Key { columns: row.get(1), is_unique: row.get(2), is_identity: row.get(3) };
    Ok(rows.iter().map(|row| (Oid(row.get(0)), key(row))).collect())
}

/// Adds to `catalog` the given types and all that they are made of; types that are known already
/// are read again, because an enumeration may have grown.
///
/// # Errors
///
/// The server cannot be asked.
pub fn load_types(
    sql: &Sql,
    oids: impl IntoIterator<Item = Oid>,
    catalog: &mut TypeCatalog,
) -> Result<(), SourceError> {
    let mut wanted: HashSet<Oid> = oids.into_iter().collect();
    let mut asked: HashSet<Oid> = HashSet::new();
    while !wanted.is_empty() {
        let numbers: Vec<u32> = wanted.iter().map(|oid| oid.0).collect();
        asked.extend(wanted.drain());
        let found = types(sql, &numbers)?;
        for facts in &found {
            let part = match facts.kind {
                TypeKind::Array { element } => element,
                TypeKind::Domain { base, .. } => base,
                TypeKind::Base | TypeKind::Enum { .. } | TypeKind::Other => continue,
            };
            if !asked.contains(&part) {
                wanted.insert(part);
            }
        }
        catalog.extend(found);
    }
    Ok(())
}

fn types(sql: &Sql, oids: &[u32]) -> Result<Vec<TypeFacts>, SourceError> {
    let rows = sql.query(
        "SELECT t.oid, n.nspname::text, t.typname::text, t.typtype::text, t.typbasetype, \
         t.typtypmod, CASE WHEN e.oid IS NULL THEN NULL ELSE t.typelem END \
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
         LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid \
         WHERE t.oid = ANY ($1)",
        &[&oids],
    )?;
    let mut labels: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    if rows.iter().any(|row| row.get::<_, String>(3) == "e") {
        let found = sql.query(
            "SELECT enumtypid, enumlabel::text FROM pg_enum WHERE enumtypid = ANY ($1) \
             ORDER BY enumtypid, enumsortorder",
            &[&oids],
        )?;
        for row in &found {
            labels.entry(row.get(0)).or_default().push(row.get(1));
        }
    }
    Ok(rows
        .iter()
        .map(|row| {
            let oid: u32 = row.get(0);
            let element: Option<u32> = row.get(6);
            let kind = match (row.get::<_, String>(3).as_str(), element) {
                (_, Some(element)) => TypeKind::Array { element: Oid(element) },
                ("d", _) => TypeKind::Domain { base: Oid(row.get(4)), type_modifier: row.get(5) },
                ("e", _) => TypeKind::Enum { labels: labels.remove(&oid).unwrap_or_default() },
                // Ranges are base types to us: they are text, and the built-in ones are known.
                ("b" | "r", _) => TypeKind::Base,
                _ => TypeKind::Other,
            };
            TypeFacts { oid: Oid(oid), namespace: row.get(1), name: row.get(2), kind }
        })
        .collect())
}
