//! Rights that the role lacks: all of them in one message, with the SQL that grants them.
//!
//! A publication that the tables' owner creates is asked for, never another owner of tables.

use crate::capture::catalog::TableFacts;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::publication;
use crate::capture::postgres::publication::Candidate;
use crate::capture::postgres::publication::PublishedTable;
use crate::capture::settings::CaptureSettings;
use crate::capture::settings::PublicationAutocreate;
use crate::table::TableName;
use crate::table::quote_identifier;

/// What is lacking, and the commands that grant it.
#[derive(Default)]
struct Lacking {
    what: Vec<String>,
    script: Vec<String>,
}

/// A table that is to be read, and which of its columns; none for all.
type Wanted<'a> = (&'a TableName, u32, &'a [String]);

impl Lacking {
    /// A definite error; `None` if nothing is lacking.
    fn into_error(self, settings: &CaptureSettings) -> Option<SourceError> {
        if self.what.is_empty() {
            return None;
        }
        let role = quote_identifier(&settings.source.user);
        let mut hint =
            "run as a superuser, or as the owner of the tables and the database:".to_owned();
        for command in &self.script {
            hint.push_str(&format!("\n    {command};"));
        }
        Some(SourceError::permission(format!("role {role} {}", self.what.join(", and ")), hint))
    }

    /// A publication that the role cannot create.
    fn publication(
        &mut self,
        sql: &Sql,
        settings: &CaptureSettings,
        tables: &[&Candidate],
    ) -> Result<(), SourceError> {
        let (name, database) = (&settings.publication, &settings.source.database);
        let all = settings.autocreate == PublicationAutocreate::AllTables;
        let oids: Vec<u32> = tables.iter().map(|table| table.oid.0).collect();
        let row = sql.query_one(
            "SELECT has_database_privilege(current_database(), 'CREATE'), \
             array(SELECT c.oid FROM pg_class c WHERE c.oid = ANY ($1) \
                AND NOT pg_has_role(c.relowner, 'USAGE')), \
             (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)",
            &[&oids],
        )?;
        let (may_create, foreign): (bool, Vec<u32>) = (row.get(0), row.get(1));
        let mut reasons = Vec::new();
        if !may_create {
            reasons.push(format!("it lacks CREATE on database \"{database}\""));
        }
        let is_super: Option<bool> = row.get(2);
        if all && is_super != Some(true) {
            reasons.push("only a superuser may create one of all tables".to_owned());
        } else if !foreign.is_empty() {
            let foreign = tables.iter().filter(|table| foreign.contains(&table.oid.0));
            let names: Vec<String> = foreign.map(|table| table.name.to_string()).collect();
            reasons.push(format!("it does not own {}", names.join(", ")));
        }
        if !reasons.is_empty() {
            let names: Vec<TableName> = tables.iter().map(|table| table.name.clone()).collect();
            let tables = (!all).then_some(&*names);
            self.what
                .push(format!("may not create publication \"{name}\" ({})", reasons.join("; ")));
            self.script.push(publication::plain_create_command(name, tables, settings.via_root));
        }
        Ok(())
    }

    /// Tables that the role cannot read, or not all rows of them.
    fn reading(
        &mut self,
        sql: &Sql,
        settings: &CaptureSettings,
        tables: &[Wanted<'_>],
    ) -> Result<(), SourceError> {
        let (mut oids, mut columns) = (Vec::new(), Vec::new());
        for (_, oid, wanted) in tables {
            let all = wanted.is_empty().then_some(None);
            for column in wanted.iter().map(|column| Some(column.as_str())).chain(all) {
                oids.push(*oid);
                columns.push(column);
            }
        }
        // By number: what was dropped or renamed meanwhile is nobody's to read.
        let rows = sql.query(
            "SELECT c.oid, has_schema_privilege(c.relnamespace, 'USAGE') IS NOT FALSE, \
             bool_and(has_column_privilege(c.oid, a.attnum, 'SELECT') IS NOT FALSE), \
             row_security_active(c.oid) IS TRUE \
             FROM unnest($1::oid[], $2::text[]) wanted(oid, name) \
             JOIN pg_class c ON c.oid = wanted.oid LEFT JOIN pg_attribute a \
             ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
             AND (wanted.name IS NULL OR a.attname = wanted.name) \
             GROUP BY c.oid, c.relnamespace ORDER BY c.oid",
            &[&oids, &columns],
        )?;
        let role = quote_identifier(&settings.source.user);
        let (mut unread, mut hidden, mut grants) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let oid: u32 = row.get(0);
            let Some((name, ..)) = tables.iter().find(|table| table.1 == oid) else { continue };
            let (enters, selects): (bool, bool) = (row.get(1), row.get(2));
            if !enters {
                let schema = quote_identifier(&name.namespace);
                let grant = format!("GRANT USAGE ON SCHEMA {schema} TO {role}");
                if !grants.contains(&grant) {
                    grants.push(grant);
                }
            }
            if !selects {
                grants.push(format!("GRANT SELECT ON {} TO {role}", name.quoted()));
            }
            if !(enters && selects) {
                unread.push(name.to_string());
            }
            if row.get(3) {
                hidden.push(name.to_string());
            }
        }
        if !unread.is_empty() {
            self.what.push(format!("may not read {}", unread.join(", ")));
            self.script.extend(grants);
        }
        if !hidden.is_empty() {
            self.what.push(format!(
                "does not see all rows of {} (row-level security)",
                hidden.join(", ")
            ));
            self.script.push(format!("ALTER ROLE {role} BYPASSRLS"));
        }
        Ok(())
    }
}

/// Why a publication of these tables could not be created, with all that is lacking beside it.
///
/// # Errors
///
/// The server cannot be asked.
pub(super) fn to_create(
    sql: &Sql,
    settings: &CaptureSettings,
    tables: &[&Candidate],
    error: SourceError,
) -> Result<SourceError, SourceError> {
    let mut lacking = Lacking::default();
    lacking.publication(sql, settings, tables)?;
    if lacking.what.is_empty() {
        return Ok(error);
    }
    let wanted: Vec<Wanted<'_>> =
        tables.iter().map(|table| (&table.name, table.oid.0, [].as_slice())).collect();
    lacking.reading(sql, settings, &wanted)?;
    Ok(lacking.into_error(settings).unwrap_or(error))
}

/// Tables that cannot be read for want of rights.
///
/// # Errors
///
/// There are such tables, or the server cannot be asked.
pub(super) fn check_select(
    sql: &Sql,
    settings: &CaptureSettings,
    tables: &[(PublishedTable, TableFacts)],
) -> Result<(), SourceError> {
    let wanted: Vec<Wanted<'_>> = tables
        .iter()
        .map(|(table, _)| (&table.name, table.oid.0, table.columns.as_deref().unwrap_or_default()))
        .collect();
    let mut lacking = Lacking::default();
    lacking.reading(sql, settings, &wanted)?;
    lacking.into_error(settings).map_or(Ok(()), Err)
}

/// The role may not replicate; what else it lacks is told with it.
pub(super) fn to_replicate(
    sql: &Sql,
    settings: &CaptureSettings,
    error: SourceError,
) -> SourceError {
    let SourceError::Permission { message, .. } = &error else { return error };
    let role = quote_identifier(&settings.source.user);
    let mut lacking = Lacking::default();
    if beside_replication(sql, settings, &mut lacking).is_err() || lacking.what.is_empty() {
        return error;
    }
    lacking.script.push(format!("ALTER ROLE {role} REPLICATION"));
    match lacking.into_error(settings) {
        Some(SourceError::Permission { message: beside, hint }) => {
            SourceError::permission(format!("{message}; {beside}"), hint)
        }
        _ => error,
    }
}

fn beside_replication(
    sql: &Sql,
    settings: &CaptureSettings,
    lacking: &mut Lacking,
) -> Result<(), SourceError> {
    let name = &settings.publication;
    if publication::find_publication(sql, name)?.is_some() {
        let published = publication::published_tables(sql, name, false)?;
        let wanted: Vec<Wanted<'_>> = published
            .iter()
            .filter(|table| settings.tables.allows(&table.name))
            .map(|table| (&table.name, table.oid.0, table.columns.as_deref().unwrap_or_default()))
            .collect();
        return lacking.reading(sql, settings, &wanted);
    }
    let candidates = publication::candidates(sql, !settings.via_root, name)?;
    let tables: Vec<&Candidate> = candidates
        .iter()
        .filter(|table| table.unusable.is_none() && settings.tables.allows(&table.name))
        .collect();
    if tables.is_empty() {
        return Ok(());
    }
    lacking.publication(sql, settings, &tables)?;
    let wanted: Vec<Wanted<'_>> =
        tables.iter().map(|table| (&table.name, table.oid.0, [].as_slice())).collect();
    lacking.reading(sql, settings, &wanted)
}
