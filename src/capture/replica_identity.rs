//! `replica.identity.autoset.values`: which columns old rows carry, set as it is asked for.

use crate::capture::catalog::TableFacts;
use crate::capture::filter::NameList;
use crate::capture::pgoutput::ReplicaIdentity;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::publication::Candidate;
use crate::capture::postgres::publication::PublishedTable;
use crate::oid::Oid;
use crate::table::TableName;
use crate::table::quote_identifier;

/// A replica identity that tables are to have.
#[derive(Clone, Debug)]
pub struct IdentityRule {
    /// Which tables.
    pub tables: NameList,
    /// What they are to have.
    pub identity: WantedIdentity,
}

/// A replica identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedIdentity {
    /// The primary key.
    Default,
    /// The whole row.
    Full,
    /// Nothing.
    Nothing,
    /// The columns of an index.
    Index(String),
}

impl WantedIdentity {
    fn clause(&self) -> String {
        match self {
            WantedIdentity::Default => "DEFAULT".to_owned(),
            WantedIdentity::Full => "FULL".to_owned(),
            WantedIdentity::Nothing => "NOTHING".to_owned(),
            WantedIdentity::Index(name) => format!("USING INDEX {}", quote_identifier(name)),
        }
    }

    fn is(&self, letter: &str, index: Option<&str>) -> bool {
        match self {
            WantedIdentity::Default => letter == "d",
            WantedIdentity::Full => letter == "f",
            WantedIdentity::Nothing => letter == "n",
            WantedIdentity::Index(name) => letter == "i" && index == Some(name),
        }
    }
}

/// Sets the identity of each table that one rule names; gives whether any has changed. What may not
/// be changed is warned of and left.
///
/// # Errors
///
/// The server cannot be asked.
pub(super) fn set<'a>(
    sql: &Sql,
    rules: &[IdentityRule],
    tables: impl Iterator<Item = &'a Candidate>,
) -> Result<bool, SourceError> {
    let mut changed = false;
    for table in tables {
        let name = table.name.to_string();
        let mut fitting = rules.iter().filter(|rule| rule.tables.matches(&name));
        let Some(rule) = fitting.next() else { continue };
        if fitting.next().is_some() {
            tracing::error!(
                table = %table.name,
                "more than one entry of replica.identity.autoset.values names the table: its \
                 replica identity is left as it is"
            );
            continue;
        }
        let (letter, index) = current(sql, table.oid)?;
        if rule.identity.is(&letter, index.as_deref()) {
            continue;
        }
        let clause = rule.identity.clause();
        let command = format!("ALTER TABLE {} REPLICA IDENTITY {clause}", table.name.quoted());
        match sql.execute(&command) {
            Ok(()) => {
                changed = true;
                tracing::info!(table = %table.name, identity = clause, "replica identity set");
            }
            Err(error @ SourceError::Closed { .. }) => return Err(error),
            Err(error) => tracing::warn!(
                table = %table.name, %error, command,
                "the replica identity cannot be set; run the command as the table's owner"
            ),
        }
    }
    Ok(changed)
}

fn current(sql: &Sql, table: Oid) -> Result<(String, Option<String>), SourceError> {
    let row = sql.query_one(
        "SELECT c.relreplident::text, (SELECT x.relname::text FROM pg_index i \
            JOIN pg_class x ON x.oid = i.indexrelid \
            WHERE i.indrelid = c.oid AND i.indisreplident) FROM pg_class c WHERE c.oid = $1",
        &[&table.0],
    )?;
    Ok((row.get(0), row.get(1)))
}

/// Warns of tables whose key old rows do not carry: it cannot be right in deletes and key changes.
///
/// # Errors
///
/// The server cannot be asked.
pub(super) fn warn(
    sql: &Sql,
    tables: &[(PublishedTable, TableFacts)],
    is_first: impl Fn(&TableName) -> bool,
) -> Result<(), SourceError> {
    let by_index = |facts: &TableFacts| {
        facts.replica_identity == ReplicaIdentity::Index && !facts.key.is_empty()
    };
    let oids: Vec<u32> =
        tables.iter().filter(|(_, facts)| by_index(facts)).map(|(table, _)| table.oid.0).collect();
    if oids.is_empty() {
        return Ok(());
    }
    let rows = sql.query(
        "SELECT i.indrelid, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_index i JOIN \
         pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE \
         i.indisreplident AND i.indrelid = ANY ($1::oid[]) GROUP BY i.indrelid",
        &[&oids],
    )?;
    for row in rows {
        let (oid, carried): (u32, Vec<String>) = (row.get(0), row.get(1));
        let Some((_, facts)) = tables.iter().find(|(table, _)| table.oid.0 == oid) else {
            continue;
        };
        let complete = facts.key.iter().all(|column| carried.contains(column));
        if !complete && is_first(&facts.name) {
            tracing::warn!(
                table = %facts.name, key = ?facts.key, carried = ?carried,
                "the replica identity is an index without the key: deletes and changes of the key \
                 cannot name their row, as in Debezium; run: ALTER TABLE {} REPLICA IDENTITY \
                 DEFAULT (or FULL)",
                facts.name.quoted()
            );
        }
    }
    Ok(())
}
