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
}

/// What a publication publishes, by name; `whole` tables have all rows and all columns, also where
/// the publication sends some only, unless it is only those that we may read.
///
/// # Errors
///
/// The server cannot be asked.
pub fn published_tables(
    sql: &Sql,
    publication: &str,
    whole: bool,
) -> Result<Vec<PublishedTable>, SourceError> {
    // Column lists and row filters came with PostgreSQL 15.
    let lists = if sql.server_version() < 150_000 {
        "NULL::text[], NULL::text"
    } else if whole {
        "CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN p.attnames::text[] END, NULL::text"
    } else {
        "p.attnames::text[], p.rowfilter"
    };
    let rows = sql.query(
        &format!(
            "SELECT c.oid, p.schemaname::text, p.tablename::text, {lists} \
             FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
             WHERE p.pubname = $1 ORDER BY 2, 3"
        ),
        &[&publication],
    )?;
    Ok(rows
        .iter()
        .map(|row| PublishedTable {
            oid: Oid(row.get(0)),
            name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            columns: row.get(3),
            row_filter: row.get(4),
        })
        .collect())
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
