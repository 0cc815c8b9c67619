//! Partitions: which hold a table's rows, and whether one came with rows of its own. PostgreSQL
//! sends nothing of that.

use std::collections::HashMap;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::table::TableName;

/// Ids of the partitions that hold the rows of these partitioned tables, in order.
///
/// # Errors
///
/// The server cannot be asked.
pub fn partitions(sql: &Sql, roots: &[u32]) -> Result<HashMap<u32, Vec<u32>>, SourceError> {
    let rows = sql.query(
        "WITH RECURSIVE tree (root, oid) AS (SELECT r, r FROM unnest($1::oid[]) r UNION ALL \
         SELECT tree.root, i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid) \
         SELECT tree.root, array_agg(tree.oid ORDER BY tree.oid) FROM tree \
         JOIN pg_class c ON c.oid = tree.oid WHERE c.relkind <> 'p' GROUP BY tree.root",
        &[&roots],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The name of a partition that had rows when it was attached; `None` if it had none. Its first
/// blocks are looked at: what was there before lies before what came.
///
/// # Errors
///
/// The server cannot be asked.
pub fn came_with_rows(sql: &Sql, partition: u32) -> Result<Option<TableName>, SourceError> {
    let rows = sql.query(
        "WITH RECURSIVE above (oid, linked, command) AS (\
           SELECT i.inhparent, i.xmin, i.cmin FROM pg_inherits i WHERE i.inhrelid = $1 UNION ALL \
           SELECT i.inhparent, i.xmin, i.cmin FROM above \
           JOIN pg_inherits i ON i.inhrelid = above.oid) \
         SELECT n.nspname::text, c.relname::text, above.linked::text, above.command::text, \
         has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), \
         above.linked <> a.xmin AND pg_relation_size(c.oid) > 0, c.relkind = 'r' \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN above \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = -1 \
         WHERE c.oid = $1 ORDER BY age(above.linked) LIMIT 1",
        &[&partition],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    let (linked, command): (String, String) = (row.get(2), row.get(3));
    let (is_readable, may_have_rows, is_table): (bool, bool, bool) =
        (row.get(4), row.get(5), row.get(6));
    if !is_table {
        return Ok(None);
    }
    if !is_readable {
        return Ok(may_have_rows.then_some(name));
    }
    let found = sql.query_one(
        &format!(
            "SELECT EXISTS (SELECT FROM ONLY {} WHERE ctid < '(1000,0)'::tid \
             AND (age(xmin) > age('{linked}'::xid) \
             OR (xmin = '{linked}'::xid AND cmin::text::int8 < {command})))",
            name.quoted()
        ),
        &[],
    )?;
    Ok(found.get::<_, bool>(0).then_some(name))
}
