//! Publications: which tables are captured, and the one that we create.
//!
//! **What we did not create we never alter.** A publication of ours bears a comment that says so.

pub use crate::capture::postgres::candidates::Candidate;
pub use crate::capture::postgres::candidates::candidates;
pub use crate::capture::postgres::candidates::refused;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::oid::Oid;
use crate::table::TableName;
use crate::table::quote_identifier;
use crate::table::quote_literal;

/// Comment that marks a publication as ours, followed by the slot's name.
const MARK: &str = "created by cdc-agent for slot ";

/// A publication as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Changes when a publication is dropped and created again.
    pub oid: Oid,
    /// Every table of the database, present and future.
    pub all_tables: bool,
    /// Which of insert, update, delete and truncate it publishes.
    pub operations: Vec<&'static str>,
    /// Changes of partitions appear as their root's.
    pub via_root: bool,
    /// The slot that we created it for.
    pub created_for: Option<String>,
}

/// The publication of that name, if there is one.
///
/// # Errors
///
/// The server cannot be asked.
pub fn find_publication(sql: &Sql, name: &str) -> Result<Option<Publication>, SourceError> {
    let rows = sql.query(
        "SELECT oid, puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, \
         obj_description(oid, 'pg_publication') FROM pg_publication WHERE pubname = $1",
        &[&name],
    )?;
    Ok(rows.first().map(|row| {
        let operations = ["insert", "update", "delete", "truncate"];
        let comment: Option<String> = row.get(7);
        Publication {
            oid: Oid(row.get(0)),
            all_tables: row.get(1),
            operations: (2..6)
                .zip(operations)
                .filter(|(at, _)| row.get(*at))
                .map(|o| o.1)
                .collect(),
            via_root: row.get(6),
            created_for: comment.and_then(|text| text.strip_prefix(MARK).map(str::to_owned)),
        }
    }))
}

/// A table that a publication publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTable {
    /// The table.
    pub oid: Oid,
    /// Its name.
    pub name: TableName,
    /// Which of its columns; `None` for all that can be published.
    pub columns: Option<Vec<String>>,
    /// Which of its rows, as SQL.
    pub row_filter: Option<String>,
    /// How it belongs to the publication; a table that is read without being published does not.
    pub membership: Membership,
}

/// How a table belongs to a publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Ids of what puts it there: its entry, its schema's, those of its partition tree above it; 0
    /// stands for "all tables". An entry that is made anew has another id, also if it is the same.
    pub entries: Vec<u32>,
    /// Column list, whoever reads it.
    pub columns: Option<Vec<String>>,
    /// Row filter, whoever reads it.
    pub row_filter: Option<String>,
}

/// What a publication publishes, by name; `whole` tables have all rows and all columns, also where
/// the publication sends some only, unless it is only those that we may read.
///
/// The catalogs are asked themselves and not the view `pg_publication_tables`: that one locks every
/// table, and shows the present also within an older snapshot.
///
/// # Errors
///
/// The server cannot be asked.
pub fn published_tables(
    sql: &Sql,
    publication: &str,
    whole: bool,
) -> Result<Vec<PublishedTable>, SourceError> {
    let query = published_query(sql.server_version(), whole);
    let rows = sql.query(&query, &[&publication])?;
    Ok(rows
        .iter()
        .map(|row| PublishedTable {
            oid: Oid(row.get(0)),
            name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            columns: row.get(3),
            row_filter: row.get(4),
            membership: Membership {
                entries: row.get(5),
                columns: row.get(6),
                row_filter: row.get(7),
            },
        })
        .collect())
}

/// Source: PostgreSQL 18, `pg_get_publication_tables` in `src/backend/catalog/pg_publication.c`.
fn published_query(server_version: i32, whole: bool) -> String {
    // Column lists, row filters and schemas came with PostgreSQL 15, generated columns with 18.
    let lists = server_version >= 150_000;
    let generated = if server_version >= 180_000 { "p.pubgencols = 's'" } else { "false" };
    let schemas = if lists {
        "UNION ALL SELECT c.oid, s.oid FROM p JOIN pg_publication_namespace s ON s.pnpubid = p.oid \
         JOIN pg_class c ON c.relnamespace = s.pnnspid"
    } else {
        ""
    };
    let (own_columns, own_filter) = if lists {
        (
            "CASE WHEN r.prattrs IS NOT NULL AND NOT w.whole THEN array(SELECT a.attname::text \
             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[]) \
             AND NOT a.attisdropped ORDER BY a.attnum) END",
            "CASE WHEN NOT w.whole THEN pg_get_expr(r.prqual, r.prrelid) END",
        )
    } else {
        ("NULL::text[]", "NULL::text")
    };
    let in_schema = if lists {
        "EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid \
         AND s.pnnspid = c.relnamespace)"
    } else {
        "false"
    };
    let published = |stored: &str| {
        format!(
            "array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid \
             AND a.attnum > 0 AND NOT a.attisdropped AND (a.attgenerated = '' {stored}) \
             ORDER BY a.attnum)"
        )
    };
    let columns = if whole {
        let all = published("");
        format!(
            "CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') \
             THEN coalesce({own_columns}, {all}) END"
        )
    } else {
        let all = published("OR a.attgenerated = 's'");
        format!("coalesce({own_columns}, CASE WHEN {generated} THEN {all} END)")
    };
    let filter = if whole { "NULL::text" } else { own_filter };
    format!(
        "WITH RECURSIVE p AS (SELECT * FROM pg_publication WHERE pubname = $1), \
         above (relid, ancestor) AS (\
           SELECT c.oid, i.inhparent FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid \
           WHERE c.relispartition \
           UNION ALL SELECT a.relid, i.inhparent FROM above a \
           JOIN pg_class c ON c.oid = a.ancestor AND c.relispartition \
           JOIN pg_inherits i ON i.inhrelid = a.ancestor), \
         entries (relid, entry) AS (\
           SELECT r.prrelid, r.oid FROM p JOIN pg_publication_rel r ON r.prpubid = p.oid {schemas} \
           UNION ALL SELECT c.oid, 0::oid FROM p JOIN pg_class c ON p.puballtables \
           AND c.oid >= 16384), \
         inherited (relid, entry) AS (\
           SELECT a.relid, e.entry FROM above a JOIN entries e ON e.relid = a.ancestor), \
         published (relid, entries) AS (\
           SELECT relid, array_agg(DISTINCT entry ORDER BY entry) \
           FROM (SELECT * FROM entries UNION ALL SELECT * FROM inherited) every GROUP BY relid) \
         SELECT c.oid, n.nspname::text, c.relname::text, {columns}, {filter}, \
         published.entries, {own_columns}, {own_filter} \
         FROM p CROSS JOIN published JOIN pg_class c ON c.oid = published.relid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT p.puballtables OR {in_schema}) w(whole) \
         LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid \
         WHERE c.relpersistence = 'p' AND CASE WHEN p.pubviaroot \
         THEN c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM inherited i WHERE i.relid = \
         c.oid) \
         ELSE c.relkind = 'r' END ORDER BY 2, 3"
    )
}

/// That a publication has published a table ever since it was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Birth {
    /// Ids of what puts it there, as in [`Membership::entries`].
    pub entries: Vec<u32>,
    /// Partitions that hold its rows.
    pub partitions: Vec<u32>,
    /// Its file is not the first one: it may have been unlogged, and nothing of it published.
    pub may_have_been_rewritten: bool,
}

/// Whether a publication has published a table ever since it was created: one of all tables has,
/// and one of its schema if it was created there, unless a partition came to it with rows. A table
/// that is gone is one, too. `None` if it has not.
///
/// Source: PostgreSQL 18, `src/backend/catalog/pg_depend.c`: that a table moves to another schema
/// writes the row of its dependency on the schema anew; the rows of its system columns are as old
/// as the table.
///
/// # Errors
///
/// The server cannot be asked.
pub fn birth(sql: &Sql, publication: &str, table: Oid) -> Result<Option<Birth>, SourceError> {
    let schemas = if sql.server_version() >= 150_000 {
        "ARRAY(SELECT s.oid FROM pg_publication_namespace s WHERE s.pnpubid = p.oid \
         AND s.pnnspid = c.relnamespace AND age(s.xmin) >= age(a.xmin))"
    } else {
        "'{}'::oid[]"
    };
    let rows = sql.query(
        &format!(
            "WITH RECURSIVE tree (oid, linked) AS (\
               SELECT $2::oid, NULL::xid UNION ALL \
               SELECT i.inhrelid, i.xmin FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid \
               JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition) \
             SELECT p.puballtables, c.oid IS NULL, {schemas}, coalesce(d.xmin = a.xmin, false), \
             c.relkind = 'r' AND c.relfilenode <> c.oid, \
             ARRAY(SELECT tree.oid FROM tree JOIN pg_class l ON l.oid = tree.oid \
                   WHERE l.relkind = 'r' AND l.oid <> $2 ORDER BY 1), \
             EXISTS (SELECT FROM tree JOIN pg_attribute l ON l.attrelid = tree.oid \
                     AND l.attnum = -1 WHERE tree.linked <> l.xmin) \
             FROM pg_publication p LEFT JOIN pg_class c ON c.oid = $2 \
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = -1 \
             LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid \
             AND d.objsubid = 0 AND d.refclassid = 'pg_namespace'::regclass \
             WHERE p.pubname = $1"
        ),
        &[&publication, &table.0],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (all_tables, is_gone): (bool, bool) = (row.get(0), row.get(1));
    let schemas: Vec<u32> = row.get(2);
    let (is_in_first_schema, has_foreign_rows): (bool, bool) = (row.get(3), row.get(6));
    let entries = if all_tables { vec![0] } else { schemas };
    let is_covered = all_tables || (!entries.is_empty() && is_in_first_schema);
    let birth = Birth {
        entries,
        partitions: row.get(5),
        may_have_been_rewritten: row.get::<_, Option<bool>>(4).unwrap_or_default(),
    };
    Ok((is_gone || (is_covered && !has_foreign_rows)).then_some(birth))
}

/// Tables that were added to a publication by their names: a partitioned one is among them also
/// where its partitions are published in its place.
///
/// # Errors
///
/// The server cannot be asked.
pub fn members(sql: &Sql, publication: &str) -> Result<Vec<TableName>, SourceError> {
    let rows = sql.query(
        "SELECT n.nspname::text, c.relname::text FROM pg_publication p \
         JOIN pg_publication_rel r ON r.prpubid = p.oid JOIN pg_class c ON c.oid = r.prrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1 ORDER BY 1, 2",
        &[&publication],
    )?;
    Ok(rows
        .iter()
        .map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)))
        .collect())
}

/// Which tables are read beside those that are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpublished {
    /// Roots, branches and leaves of their partition trees: rows are read under every name that
    /// they have.
    Relatives,
    /// Unlogged ones, which no publication takes.
    Unlogged,
    /// All that can be read.
    All,
}

/// Tables that are not among these and are read all the same, with all of their rows and columns.
///
/// # Errors
///
/// The server cannot be asked.
pub fn unpublished(
    sql: &Sql,
    tables: &[PublishedTable],
    which: Unpublished,
) -> Result<Vec<PublishedTable>, SourceError> {
    let relatives = "unnest($1::oid[]) known(oid), pg_partition_root(known.oid) root, \
                     pg_partition_tree(root) tree JOIN pg_class c ON c.oid = tree.relid";
    let (from, persistence) = match which {
        Unpublished::Relatives => (relatives, None),
        Unpublished::Unlogged => ("pg_class c", Some("c.relpersistence = 'u'")),
        Unpublished::All => ("pg_class c", Some("c.relpersistence <> 't'")),
    };
    let oids: Vec<u32> = tables.iter().map(|table| table.oid.0).collect();
    let readable = persistence.map_or(String::new(), |persistence| {
        format!(
            "AND {persistence} AND has_schema_privilege(n.oid, 'USAGE') \
             AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)"
        )
    });
    let rows = sql.query(
        &format!(
            "SELECT DISTINCT c.oid, n.nspname::text, c.relname::text \
             FROM {from} JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid <> ALL ($1) AND c.relkind IN ('r', 'p') {readable} \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', '_cdc') \
             ORDER BY 2, 3"
        ),
        &[&oids],
    )?;
    Ok(rows
        .iter()
        .map(|row| PublishedTable {
            oid: Oid(row.get(0)),
            name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            columns: None,
            row_filter: None,
            membership: Membership::default(),
        })
        .collect())
}

/// Tables as a publication names them: without those that inherit from them, whose identity is
/// another. Partitions belong to their root all the same.
fn only(tables: &[TableName]) -> String {
    let quoted: Vec<String> =
        tables.iter().map(|table| format!("ONLY {}", table.quoted())).collect();
    quoted.join(", ")
}

/// The SQL that creates a publication of ours; `None` for all tables.
pub fn create_command(
    name: &str,
    slot: &str,
    tables: Option<&[TableName]>,
    via_root: bool,
) -> String {
    format!(
        "BEGIN; SET LOCAL lock_timeout TO '5s'; {}; COMMENT ON PUBLICATION {} IS {}; COMMIT",
        plain_create_command(name, tables, via_root),
        quote_identifier(name),
        quote_literal(&format!("{MARK}{slot}")),
    )
}

/// The SQL that creates a publication; `None` for all tables.
pub fn plain_create_command(name: &str, tables: Option<&[TableName]>, via_root: bool) -> String {
    let list = match tables {
        None => " FOR ALL TABLES".to_owned(),
        Some([]) => String::new(),
        Some(tables) => format!(" FOR TABLE {}", only(tables)),
    };
    format!(
        "CREATE PUBLICATION {}{list} WITH (publish_via_partition_root = {via_root})",
        quote_identifier(name)
    )
}

/// The SQL that adds tables to a publication of ours.
pub fn add_command(name: &str, tables: &[TableName]) -> String {
    format!("ALTER PUBLICATION {} ADD TABLE {}", quote_identifier(name), only(tables))
}

/// The SQL that takes a table out of a publication of ours.
pub fn remove_command(name: &str, table: &TableName) -> String {
    format!("ALTER PUBLICATION {} DROP TABLE ONLY {}", quote_identifier(name), table.quoted())
}

/// The SQL that drops a publication.
pub fn drop_command(name: &str) -> String {
    format!("DROP PUBLICATION {}", quote_identifier(name))
}
