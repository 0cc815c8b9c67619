//! Tables that could be published, and every reason for which a server would then refuse their
//! owner's UPDATE and DELETE.
//!
//! Source: PostgreSQL 18, `CheckCmdReplicaIdentity`, `pub_contains_invalid_column`; "Replica
//! Identity"; "CREATE PUBLICATION", notes.

use std::fmt;

use tokio_postgres::Row;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::oid::Oid;
use crate::table::TableName;

/// A table of the database that could be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The table.
    pub oid: Oid,
    /// Its name.
    pub name: TableName,
    /// Why its updates and deletes could not be published; `None` if they can.
    pub unusable: Option<Unusable>,
}

/// A replica identity that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    reason: Reason,
    /// The partition that has it; `None`: the table itself.
    partition: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Nothing,
    IndexMissing,
    Deferrable,
    NoKey,
    /// A partitioned table whose new partitions would have no identity.
    NoKeyOfPartitions,
    /// The identity holds this generated column, which is not sent.
    Generated {
        column: String,
        /// The server could send it.
        is_stored: bool,
    },
}

impl Unusable {
    fn of_row(row: &Row) -> Option<Self> {
        let reason = match row.get::<_, Option<&str>>(3)? {
            "nothing" => Reason::Nothing,
            "index" => Reason::IndexMissing,
            "deferrable" => Reason::Deferrable,
            "partitions" => Reason::NoKeyOfPartitions,
            "generated" => Reason::Generated {
                column: row.get::<_, Option<String>>(5).unwrap_or_default(),
                is_stored: row.get::<_, Option<bool>>(6).unwrap_or_default(),
            },
            _ => Reason::NoKey,
        };
        Some(Unusable { reason, partition: row.get(4) })
    }

    /// Whether statements fail already, and not only those of a partition that is added later.
    pub fn fails_at_once(&self) -> bool {
        self.reason != Reason::NoKeyOfPartitions
    }

    /// What its owner can do.
    pub fn remedy(&self) -> &'static str {
        match &self.reason {
            Reason::NoKeyOfPartitions => "add a primary key to the partitioned table",
            Reason::Generated { is_stored: true, .. } => {
                "run ALTER PUBLICATION … SET (publish_generated_columns = stored), or give it an \
                 identity without the column: ALTER TABLE … REPLICA IDENTITY USING INDEX …"
            }
            Reason::Generated { .. } => {
                "give it an identity without the column: ALTER TABLE … REPLICA IDENTITY USING INDEX \
                 …"
            }
            Reason::Nothing | Reason::IndexMissing | Reason::Deferrable | Reason::NoKey => {
                "add a primary key, or run ALTER TABLE … REPLICA IDENTITY FULL"
            }
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Nothing => formatter.write_str("its replica identity is NOTHING"),
            Reason::IndexMissing => formatter.write_str("its replica identity index is missing"),
            Reason::Deferrable => formatter.write_str("its primary key is deferrable"),
            Reason::NoKey => formatter.write_str("it has no primary key"),
            Reason::NoKeyOfPartitions => formatter.write_str(
                "it is partitioned and has no primary key that new partitions would have, too",
            ),
            Reason::Generated { column, .. } => write!(
                formatter,
                "its replica identity has the generated column \"{column}\", which is not published"
            ),
        }?;
        match &self.partition {
            Some(partition) => write!(formatter, " (partition {partition})"),
            None => Ok(()),
        }
    }
}

/// Permanent tables of users: partitions stand behind their root, tables of extensions are left
/// out. `publication` is the one that they would be in.
///
/// # Errors
///
/// The server cannot be asked.
pub fn candidates(
    sql: &Sql,
    partitions: bool,
    publication: &str,
) -> Result<Vec<Candidate>, SourceError> {
    // Up to 17 no generated column is sent, and only a key suffers; 18 sends stored ones if it is
    // told to, and refuses an identity with one that is not sent.
    let (unsent, refused_in_full) = match sql.server_version() {
        ..180_000 => ("a.attgenerated <> '' AND $2::text IS NOT NULL", "false"),
        _ => (
            "(a.attgenerated = 'v' OR (a.attgenerated = 's' AND NOT EXISTS (SELECT FROM \
             pg_publication p WHERE p.pubname = $2 AND p.pubgencols = 's')))",
            "l.relreplident = 'f'",
        ),
    };
    let can_send = sql.server_version() >= 180_000;
    let rows = sql.query(
        &format!(
            "WITH RECURSIVE wanted AS ( \
               SELECT c.oid, c.relkind, n.nspname::text AS schema, c.relname::text AS name \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' \
               AND ($1 OR NOT c.relispartition) \
               AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', '_cdc') \
               AND n.nspname NOT LIKE 'pg\\_temp\\_%' \
               AND n.nspname NOT LIKE 'pg\\_toast\\_temp\\_%' \
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
                  AND d.objid = c.oid AND d.deptype = 'e')), \
             tree(root, oid, relkind) AS ( \
               SELECT oid, oid, relkind FROM wanted UNION ALL \
               SELECT t.root, i.inhrelid, c.relkind FROM tree t \
               JOIN pg_inherits i ON i.inhparent = t.oid JOIN pg_class c ON c.oid = i.inhrelid \
               WHERE t.relkind = 'p' AND c.relkind IN ('r', 'p')), \
             judged AS ( \
               SELECT t.root, l.oid, CASE \
                 WHEN l.relreplident = 'n' THEN 'nothing' \
                 WHEN l.relreplident = 'i' AND x.indexrelid IS NULL THEN 'index' \
                 WHEN l.relreplident = 'd' AND x.indexrelid IS NULL THEN \
                   CASE WHEN k.indexrelid IS NULL THEN 'key' ELSE 'deferrable' END \
                 WHEN g.attname IS NOT NULL THEN 'generated' \
                 WHEN l.relkind = 'p' AND (k.indexrelid IS NULL OR NOT k.indimmediate) \
                   THEN 'partitions' END AS code, g.attname::text AS generated, \
                 g.attgenerated = 's' AND {can_send} AS is_stored \
               FROM tree t JOIN pg_class l ON l.oid = t.oid \
               LEFT JOIN pg_index k ON k.indrelid = l.oid AND k.indisprimary \
               LEFT JOIN pg_index x ON x.indrelid = l.oid AND x.indisvalid AND x.indimmediate \
                 AND ((l.relreplident = 'd' AND x.indisprimary) \
                   OR (l.relreplident = 'i' AND x.indisreplident)) \
               LEFT JOIN LATERAL ( \
                 SELECT a.attname, a.attgenerated FROM pg_attribute a \
                 WHERE a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped AND {unsent} \
                 AND ({refused_in_full} OR a.attnum = ANY \
                   ((x.indkey::int2[])[0:x.indnkeyatts - 1])) \
                 ORDER BY a.attgenerated DESC, a.attnum LIMIT 1) g ON true) \
             SELECT w.oid, w.schema, w.name, bad.code, \
               CASE WHEN bad.oid <> w.oid THEN bad.oid::regclass::text END, bad.generated, \
               bad.is_stored \
             FROM wanted w LEFT JOIN (SELECT DISTINCT ON (j.root) j.* FROM judged j \
               WHERE j.code IS NOT NULL ORDER BY j.root, j.oid <> j.root, j.oid) bad \
               ON bad.root = w.oid \
             ORDER BY 2, 3"
        ),
        &[&partitions, &publication],
    )?;
    Ok(rows
        .iter()
        .map(|row| Candidate {
            oid: Oid(row.get(0)),
            name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            unusable: Unusable::of_row(row),
        })
        .collect())
}

/// Tables whose updates and deletes the server refuses because of what a publication sends of them,
/// and why.
///
/// # Errors
///
/// The server cannot be asked.
pub fn refused(sql: &Sql, publication: &str) -> Result<Vec<(TableName, String)>, SourceError> {
    // Column lists and row filters came with PostgreSQL 15.
    if sql.server_version() < 150_000 {
        return Ok(Vec::new());
    }
    let rows = sql.query(
        "WITH published AS ( \
           SELECT n.nspname::text AS schema, c.relname::text AS name, \
             c.relreplident = 'f' AS whole, \
             r.prattrs::int2[] AS list, r.prqual::text AS filter, \
             (x.indkey::int2[])[0:x.indnkeyatts - 1] AS identity \
           FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
           JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
           LEFT JOIN pg_index x ON x.indrelid = c.oid AND x.indisvalid AND x.indimmediate \
             AND ((c.relreplident = 'd' AND x.indisprimary) \
               OR (c.relreplident = 'i' AND x.indisreplident)) \
           WHERE p.pubname = $1 AND (p.pubupdate OR p.pubdelete)) \
         SELECT schema, name, 'its column list lacks a column of the replica identity' \
         FROM published WHERE list IS NOT NULL AND (whole OR EXISTS ( \
           SELECT FROM unnest(identity) attnum WHERE attnum <> ALL (list))) \
         UNION ALL \
         SELECT schema, name, 'its row filter has a column that the replica identity lacks' \
         FROM published WHERE NOT whole AND EXISTS ( \
           SELECT FROM regexp_matches(filter, ':varattno (\\d+)', 'g') found \
           WHERE found[1]::int2 <> ALL (identity)) ORDER BY 1, 2",
        &[&publication],
    )?;
    let table = |row: &Row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    Ok(rows.iter().map(|row| (table(row), row.get(2))).collect())
}
