//! `replica.identity.autoset.values`: which columns old rows carry, set as it is asked for.

use crate::capture::filter::NameList;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::publication::Candidate;
use crate::oid::Oid;
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
