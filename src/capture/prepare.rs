//! Being a good guest: what is looked at and set up before anything is read.
//!
//! Every refusal names the object, says what was found and what was expected, and gives the SQL
//! that mends it.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::capture::CaptureError;
use crate::capture::catalog::TableFacts;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::catalog_query;
use crate::capture::postgres::publication;
use crate::capture::postgres::publication::Candidate;
use crate::capture::postgres::publication::Publication;
use crate::capture::postgres::publication::PublishedTable;
use crate::capture::postgres::publication::Unpublished;
use crate::capture::postgres::slot;
use crate::capture::replica_identity;
use crate::capture::rights;
use crate::capture::settings::CaptureSettings;
use crate::capture::settings::PublicationAutocreate;
use crate::capture::state::State;
use crate::oid::Oid;
use crate::table::TableName;
use crate::table::quote_identifier;
use crate::telemetry::Metrics;

/// The oldest server that is supported.
const SERVER_VERSION_MIN: i32 = 140_000;

/// Looks at the server's settings.
///
/// # Errors
///
/// The server is too old, does not write what decoding needs, or would make us a synchronous
/// standby.
pub(super) fn check_server(sql: &Sql, settings: &CaptureSettings) -> Result<(), SourceError> {
    check_version(sql.server_version())?;
    let row = sql.query_one(
        "SELECT current_setting('wal_level'), current_setting('synchronous_standby_names'), \
         current_setting('server_encoding')",
        &[],
    )?;
    let (wal_level, standbys): (String, String) = (row.get(0), row.get(1));
    if wal_level != "logical" {
        return Err(SourceError::configuration(
            format!("wal_level is {wal_level}, expected logical: changes cannot be decoded"),
            "run as a superuser: ALTER SYSTEM SET wal_level = logical; then restart the server",
        ));
    }
    if names_standby(&standbys, &settings.source.application_name) {
        return Err(SourceError::configuration(
            format!(
                "synchronous_standby_names is '{standbys}' and matches our application_name \
                 \"{}\": commits would wait for us, and for Kafka",
                settings.source.application_name
            ),
            "choose another application_name in --dsn, or name the standbys one by one",
        ));
    }
    if row.get::<_, String>(2) == "SQL_ASCII" {
        tracing::warn!(
            "the database's encoding is SQL_ASCII: bytes that are not UTF-8 become U+FFFD"
        );
    }
    Ok(())
}

fn check_version(version: i32) -> Result<(), SourceError> {
    if version >= SERVER_VERSION_MIN {
        return Ok(());
    }
    Err(SourceError::configuration(
        format!("PostgreSQL {} is too old, expected 14 or later", version / 10_000),
        "upgrade the server",
    ))
}

/// Whether a list of synchronous standbys matches a name. Source: PostgreSQL 18,
/// `synchronous_standby_names`.
fn names_standby(list: &str, name: &str) -> bool {
    let inner = list.rsplit_once('(').map_or(list, |(_, inner)| inner).trim_end_matches([')', ' ']);
    inner
        .split(',')
        .map(|item| item.trim().trim_matches('"'))
        .any(|item| item == "*" || (!item.is_empty() && item.eq_ignore_ascii_case(name)))
}

/// What is captured.
#[derive(Debug)]
pub(super) struct Captured {
    /// The publication.
    pub(super) publication: Publication,
    /// Every table that it publishes.
    pub(super) published: HashSet<Oid>,
    /// Its tables that pass the filters, in the order of reading.
    pub(super) tables: Vec<(PublishedTable, TableFacts)>,
}

/// Makes sure of the publication and gives what it publishes.
///
/// # Errors
///
/// It is missing and may not be created, a right is missing, or the server cannot be asked.
pub(super) fn ensure_publication(
    sql: &Sql,
    settings: &CaptureSettings,
    state: Option<&State>,
    report: &Report<'_>,
) -> Result<Captured, CaptureError> {
    let name = &settings.publication;
    let mut found = publication::find_publication(sql, name)?;
    let mut candidates = publication::candidates(sql, !settings.via_root, name)?;
    let asked = candidates.iter().filter(|table| settings.tables.allows(&table.name));
    if replica_identity::set(sql, &settings.identities, asked)? {
        candidates = publication::candidates(sql, !settings.via_root, name)?;
    }
    match &found {
        None if state.is_some() => return Err(publication_gone(settings).into()),
        None => {
            create_publication(sql, settings, &candidates)?;
            found = publication::find_publication(sql, name)?;
        }
        Some(known) if known.created_for.is_some() && !known.all_tables => {
            mend_publication(sql, settings, &candidates)?;
        }
        Some(_) => {}
    }
    let publication = found.ok_or_else(|| publication_gone(settings))?;
    let captured = captured(sql, settings, publication, state)?;
    report.left_out(settings, &candidates, &captured.published);
    if captured.publication.created_for.is_none() {
        report.refused(sql, &captured, (settings, &candidates))?;
    }
    replica_identity::warn(sql, &captured.tables, |table| report.is_first(table))?;
    check_number(settings, captured.tables.len())?;
    Ok(captured)
}

/// What is captured, as this connection sees it: the present, or what its snapshot shows.
///
/// # Errors
///
/// The server cannot be asked.
pub(super) fn captured(
    sql: &Sql,
    settings: &CaptureSettings,
    publication: Publication,
    state: Option<&State>,
) -> Result<Captured, CaptureError> {
    let whole = settings.values.fidelity.is_debezium();
    let mut published = publication::published_tables(sql, &settings.publication, whole)?;
    let oids = published.iter().map(|table| table.oid).collect();
    for which in unpublished(settings, &publication, state) {
        published.extend(publication::unpublished(sql, &published, *which)?);
    }
    let read: Vec<Oid> = published.iter().map(|table| table.oid).collect();
    let mut facts = catalog_query::tables(sql, &read)?;
    let mut tables: Vec<(PublishedTable, TableFacts)> = published
        .into_iter()
        .filter(|table| settings.tables.allows(&table.name))
        .filter_map(|table| {
            let facts = facts.remove(&table.oid)?;
            Some((table, facts))
        })
        .collect();
    tables.sort_by_key(|(table, _)| (settings.tables.order(&table.name), table.name.clone()));
    Ok(Captured { publication, published: oids, tables })
}

/// Which tables are read that are not published: a publication does not limit what Debezium reads
/// at first. Where it is one of ours and holds what can be captured, nothing else is read.
fn unpublished(
    settings: &CaptureSettings,
    publication: &Publication,
    state: Option<&State>,
) -> &'static [Unpublished] {
    let chosen = publication.created_for.is_none()
        || publication.all_tables
        || settings.autocreate == PublicationAutocreate::NoTables;
    match state.is_none_or(|state| !state.slot.complete) {
        _ if !settings.values.fidelity.is_debezium() => &[],
        true if chosen => &[Unpublished::All],
        true => &[Unpublished::Relatives, Unpublished::Unlogged],
        false => &[Unpublished::Relatives],
    }
}

/// `guardrail.collections.max`.
fn check_number(settings: &CaptureSettings, tables: usize) -> Result<(), SourceError> {
    let Some(limit) = settings.tables_limit.filter(|limit| tables > limit.most) else {
        return Ok(());
    };
    let message = format!("{tables} tables would be captured, expected at most {}", limit.most);
    if limit.fails {
        let hint = "narrow table.include.list, or raise guardrail.collections.max";
        return Err(SourceError::configuration(message, hint));
    }
    tracing::warn!("{message} (guardrail.collections.max)");
    Ok(())
}

fn publication_gone(settings: &CaptureSettings) -> SourceError {
    SourceError::configuration(
        format!(
            "publication \"{}\" does not exist any more: changes since the last confirmed position \
             may not have been published",
            settings.publication
        ),
        format!(
            "start over with a new read of all tables: cdc-agent drop --slot {}, then start again",
            settings.slot
        ),
    )
}

fn eligible(settings: &CaptureSettings, candidates: &[Candidate]) -> Vec<TableName> {
    candidates
        .iter()
        .filter(|table| table.unusable.is_none() && settings.tables.allows(&table.name))
        .map(|table| table.name.clone())
        .collect()
}

fn create_publication(
    sql: &Sql,
    settings: &CaptureSettings,
    candidates: &[Candidate],
) -> Result<(), SourceError> {
    let name = &settings.publication;
    let tables = match settings.autocreate {
        PublicationAutocreate::Disabled => {
            return Err(SourceError::configuration(
                format!(
                    "publication \"{name}\" does not exist and publication.autocreate.mode is \
                     disabled"
                ),
                format!("create it: CREATE PUBLICATION {} FOR TABLE …", quote_identifier(name)),
            ));
        }
        PublicationAutocreate::NoTables => Vec::new(),
        PublicationAutocreate::AllTables => {
            warn_of_all_tables(name, candidates);
            eligible(settings, candidates)
        }
        PublicationAutocreate::Filtered => eligible(settings, candidates),
    };
    if tables.is_empty() && settings.autocreate == PublicationAutocreate::Filtered {
        return Err(nothing_to_capture(settings, candidates));
    }
    let listed = (settings.autocreate != PublicationAutocreate::AllTables).then_some(&*tables);
    let command = publication::create_command(name, &settings.slot, listed, settings.via_root);
    if let Err(error) = sql.execute(&command) {
        // The transaction of the command is still open, and failed.
        sql.execute("ROLLBACK")?;
        return Err(match error {
            SourceError::Permission { .. } => {
                let listed = candidates.iter().filter(|table| tables.contains(&table.name));
                let listed: Vec<&Candidate> = listed.collect();
                rights::to_create(sql, settings, &listed, error)?
            }
            error => error,
        });
    }
    tracing::info!(publication = name, tables = tables.len(), "publication created");
    Ok(())
}

/// A publication of all tables makes the UPDATE and DELETE of some of them fail.
fn warn_of_all_tables(publication: &str, candidates: &[Candidate]) {
    let broken: Vec<String> = candidates
        .iter()
        .filter(|table| table.unusable.is_some())
        .map(|table| table.name.to_string())
        .take(NAMES_MAX)
        .collect();
    if !broken.is_empty() {
        tracing::warn!(
            publication,
            tables = broken.join(", "),
            "publication.autocreate.mode is all_tables: UPDATE and DELETE of these tables fail from \
             now on, because they have no usable replica identity"
        );
    }
}

/// How many names a message holds at most.
const NAMES_MAX: usize = 10;

fn nothing_to_capture(settings: &CaptureSettings, candidates: &[Candidate]) -> SourceError {
    let (mut left_out, mut filtered) = (Vec::new(), Vec::new());
    for table in candidates {
        match &table.unusable {
            _ if !settings.tables.allows(&table.name) => filtered.push(table.name.to_string()),
            Some(reason) => left_out.push(format!("{} ({reason})", table.name)),
            None => {}
        }
    }
    let mut message =
        format!("database \"{}\" has no table that can be captured", settings.source.database);
    for (label, names) in [("left out", left_out), ("filtered", filtered)] {
        let more = names.len().saturating_sub(NAMES_MAX);
        if let Some(shown) = names.get(..names.len() - more).filter(|shown| !shown.is_empty()) {
            message.push_str(&format!("; {label}: {}", shown.join(", ")));
        }
        if more > 0 {
            message.push_str(&format!(" and {more} more"));
        }
    }
    SourceError::configuration(
        message,
        "create tables with a primary key, or set REPLICA IDENTITY FULL on those without, and \
         check table.include.list",
    )
}

/// Drops a publication of ours as long as nothing has been read by it: there is no slot yet.
///
/// # Errors
///
/// The server cannot be asked, or refuses.
pub(super) fn withdraw_publication(
    sql: &Sql,
    settings: &CaptureSettings,
) -> Result<(), SourceError> {
    let ours = publication::find_publication(sql, &settings.publication)?
        .is_some_and(|known| known.created_for.as_deref() == Some(&*settings.slot));
    if ours && slot::find_slot(sql, &settings.slot)?.is_none() {
        sql.execute(&publication::drop_command(&settings.publication))?;
    }
    Ok(())
}

/// A publication of ours: adds tables that have become eligible and takes out those whose identity
/// is gone, before their owner's UPDATE fails.
fn mend_publication(
    sql: &Sql,
    settings: &CaptureSettings,
    candidates: &[Candidate],
) -> Result<(), SourceError> {
    let name = &settings.publication;
    let published = publication::members(sql, name)?;
    let has = |table: &TableName| published.contains(table);
    for table in candidates.iter().filter(|table| has(&table.name)) {
        if let Some(reason) = &table.unusable {
            sql.execute(&publication::remove_command(name, &table.name))?;
            let reason = reason.to_string();
            tracing::warn!(
                table = %table.name, reason,
                "the table is no longer captured, because its UPDATE and DELETE would fail"
            );
        }
    }
    if settings.autocreate == PublicationAutocreate::Filtered {
        for table in published.iter().filter(|table| !settings.tables.allows(table)) {
            sql.execute(&publication::remove_command(name, table))?;
            tracing::info!(%table, "the filters exclude the table: it leaves the publication");
        }
    }
    let new: Vec<TableName> =
        eligible(settings, candidates).into_iter().filter(|table| !has(table)).collect();
    if !new.is_empty() && settings.autocreate == PublicationAutocreate::Filtered {
        let command = publication::add_command(name, &new);
        match sql.execute(&command) {
            Ok(()) => {
                for table in &new {
                    tracing::info!(%table, "new table added to the publication");
                }
            }
            Err(error) => tracing::warn!(
                %error, command,
                "new tables are not captured, because the publication cannot be changed"
            ),
        }
    }
    Ok(())
}

/// Names what is not captured, and why: in a metric always, in the log once.
pub(super) struct Report<'a> {
    /// Metrics.
    pub(super) metrics: &'a Metrics,
    /// Tables that have been named.
    pub(super) named: &'a Mutex<BTreeSet<TableName>>,
}

impl Report<'_> {
    /// Whether a table is named for the first time.
    fn is_first(&self, table: &TableName) -> bool {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).insert(table.clone())
    }

    /// Names the tables whose statements fail because of a publication that is not ours.
    fn refused(
        &self,
        sql: &Sql,
        captured: &Captured,
        (settings, candidates): (&CaptureSettings, &[Candidate]),
    ) -> Result<(), SourceError> {
        let name = &settings.publication;
        let mut refused = publication::refused(sql, name)?;
        if captured.publication.operations.iter().any(|sent| matches!(*sent, "update" | "delete")) {
            let has = |table: &&Candidate| captured.published.contains(&table.oid);
            for table in candidates.iter().filter(has) {
                let reason = table.unusable.as_ref().filter(|reason| reason.fails_at_once());
                refused.extend(reason.map(|reason| (table.name.clone(), reason.to_string())));
            }
        }
        for (table, reason) in refused {
            if self.is_first(&table) {
                tracing::warn!(
                    %table, reason, publication = name,
                    "the server refuses UPDATE and DELETE of the table because of the publication: \
                     take it out, or change its replica identity"
                );
            }
        }
        Ok(())
    }

    fn left_out(
        &self,
        settings: &CaptureSettings,
        candidates: &[Candidate],
        published: &HashSet<Oid>,
    ) {
        let count = |reason: &str| self.metrics.tables_left_out.with_label_values(&[reason]).inc();
        self.metrics.tables_left_out.reset();
        self.metrics.clear_left_out();
        for table in candidates {
            if published.contains(&table.oid) {
                continue;
            }
            if !settings.tables.allows(&table.name) {
                count("filtered");
                continue;
            }
            let first = self.is_first(&table.name);
            match &table.unusable {
                Some(reason) => {
                    count("no usable identity");
                    if first {
                        let (remedy, reason) = (reason.remedy(), reason.to_string());
                        tracing::warn!(
                            table = %table.name, reason,
                            "the table is not captured: in a publication its UPDATE and DELETE \
                             would fail; {remedy}"
                        );
                    }
                }
                None => {
                    count("not in the publication");
                    if first {
                        tracing::warn!(
                            table = %table.name, publication = settings.publication,
                            "the table is not in the publication"
                        );
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_version;
    use super::names_standby;

    #[test]
    fn servers_before_14_are_too_old() {
        assert!(check_version(140_000).is_ok());
        let error = check_version(130_023).unwrap_err();
        assert_eq!(error.to_string(), "PostgreSQL 13 is too old, expected 14 or later");
        assert_eq!(error.hint(), Some("upgrade the server"));
    }

    #[test]
    fn synchronous_standby_lists_are_understood() {
        for list in
            ["*", "a, cdc-agent", "FIRST 2 (x, \"CDC-Agent\")", "ANY 1 (*)", "1 (cdc-agent)"]
        {
            assert!(names_standby(list, "cdc-agent"), "{list}");
        }
        for list in ["", "other", "FIRST 1 (cdc, agent)"] {
            assert!(!names_standby(list, "cdc-agent"), "{list}");
        }
    }
}
