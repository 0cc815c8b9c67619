//! Being a good guest: what is looked at and set up before anything is read.
//!
//! Every refusal names the object, says what was found and what was expected, and gives the SQL
//! that mends it.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::capture::CaptureError;
use crate::capture::catalog::TableFacts;
use crate::capture::postgres::Connection;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::catalog_query;
use crate::capture::postgres::publication;
use crate::capture::postgres::publication::Candidate;
use crate::capture::postgres::publication::Publication;
use crate::capture::postgres::publication::PublishedTable;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::Slot;
use crate::capture::postgres::slot::SystemIdentity;
use crate::capture::settings::CaptureSettings;
use crate::capture::settings::PublicationAutocreate;
use crate::capture::state::State;
use crate::lsn::Lsn;
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
    if sql.server_version() < SERVER_VERSION_MIN {
        return Err(SourceError::configuration(
            format!(
                "PostgreSQL {} is too old, expected 14 or later",
                sql.server_version() / 10_000
            ),
            "upgrade the server",
        ));
    }
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
    let candidates = publication::candidates(sql)?;
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
    let mut published = publication::published_tables(sql, name)?;
    report.left_out(settings, &candidates, &published);
    let all_names = settings.values.fidelity.is_debezium();
    published.extend(publication::partition_relatives(sql, &published, all_names)?);
    let oids: Vec<Oid> = published.iter().map(|table| table.oid).collect();
    let mut facts = catalog_query::tables(sql, &oids)?;
    let mut tables: Vec<(PublishedTable, TableFacts)> = published
        .into_iter()
        .filter(|table| settings.tables.allows(&table.name))
        .filter_map(|table| {
            let facts = facts.remove(&table.oid)?;
            Some((table, facts))
        })
        .collect();
    tables.sort_by_key(|(table, _)| (settings.tables.order(&table.name), table.name.clone()));
    for (_, facts) in &tables {
        warn_of_identity(facts);
    }
    Ok(Captured { publication, tables })
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
        PublicationAutocreate::Filtered | PublicationAutocreate::AllTables => {
            eligible(settings, candidates)
        }
    };
    if tables.is_empty() && settings.autocreate != PublicationAutocreate::NoTables {
        let left_out: Vec<String> = candidates
            .iter()
            .filter_map(|table| {
                table.unusable.as_ref().map(|reason| format!("{} ({reason})", table.name))
            })
            .collect();
        return Err(SourceError::configuration(
            format!(
                "database \"{}\" has no table that can be captured{}{}",
                settings.source.database,
                if left_out.is_empty() { "" } else { "; left out: " },
                left_out.join(", ")
            ),
            "create tables with a primary key, or set REPLICA IDENTITY FULL on those without, and \
             check table.include.list",
        ));
    }
    let command = publication::create_command(name, &settings.slot, &tables);
    if let Err(error) = sql.execute(&command) {
        // The transaction of the command is still open, and failed.
        sql.execute("ROLLBACK")?;
        return Err(not_allowed(error, settings, &command));
    }
    tracing::info!(publication = name, tables = tables.len(), "publication created");
    Ok(())
}

/// Says which rights a publication of ours needs.
fn not_allowed(error: SourceError, settings: &CaptureSettings, command: &str) -> SourceError {
    match error {
        SourceError::Permission { message, .. } => SourceError::permission(
            format!("publication \"{}\" cannot be created: {message}", settings.publication),
            format!(
                "run as a superuser or the tables' owner: {command}; or GRANT CREATE ON DATABASE \
                 {} TO {} and make it the tables' owner",
                quote_identifier(&settings.source.database),
                quote_identifier(&settings.source.user)
            ),
        ),
        error => error,
    }
}

/// A publication of ours: adds tables that have become eligible and takes out those whose identity
/// is gone, before their owner's UPDATE fails.
fn mend_publication(
    sql: &Sql,
    settings: &CaptureSettings,
    candidates: &[Candidate],
) -> Result<(), SourceError> {
    let name = &settings.publication;
    let published = publication::published_tables(sql, name)?;
    let has = |table: &TableName| published.iter().any(|known| known.name == *table);
    for table in candidates.iter().filter(|table| has(&table.name)) {
        if let Some(reason) = &table.unusable {
            sql.execute(&publication::remove_command(name, &table.name))?;
            tracing::warn!(
                table = %table.name, reason,
                "the table is no longer captured, because its UPDATE and DELETE would fail"
            );
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
    fn left_out(
        &self,
        settings: &CaptureSettings,
        candidates: &[Candidate],
        published: &[PublishedTable],
    ) {
        let count = |reason: &str| self.metrics.tables_left_out.with_label_values(&[reason]).inc();
        self.metrics.tables_left_out.reset();
        for table in candidates {
            if published.iter().any(|known| known.oid == table.oid) {
                continue;
            }
            if !settings.tables.allows(&table.name) {
                count("filtered");
                continue;
            }
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            let first = named.insert(table.name.clone());
            match &table.unusable {
                Some(reason) => {
                    count("no usable identity");
                    if first {
                        tracing::warn!(
                            table = %table.name, reason,
                            "the table is not captured: in a publication its UPDATE and DELETE \
                             would fail; add a primary key, or run ALTER TABLE … REPLICA IDENTITY \
                             FULL"
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

/// A key that old rows do not carry cannot be right in deletes and key changes.
fn warn_of_identity(facts: &TableFacts) {
    use crate::capture::pgoutput::ReplicaIdentity;
    if facts.replica_identity == ReplicaIdentity::Index && !facts.key.is_empty() {
        tracing::debug!(table = %facts.name, "replica identity is an index");
    }
}

/// What the slot and the state mean together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing is there yet: create the slot and read under its snapshot, in this epoch.
    Fresh {
        /// Epoch of the reads.
        epoch: u64,
    },
    /// The slot is there, and reading has not been completed.
    ReadAgain {
        /// The slot's position: where the stream begins afterwards.
        confirmed: Lsn,
    },
    /// Go on streaming.
    Stream {
        /// From here.
        from: Lsn,
    },
}

/// Compares the slot with what is stored, before anything is read.
///
/// # Errors
///
/// They do not belong together, or the slot cannot be used.
pub(super) fn check_slot(
    settings: &CaptureSettings,
    slot: Option<&Slot>,
    state: Option<&State>,
) -> Result<Start, SourceError> {
    let name = &settings.slot;
    let drop_hint = format!(
        "to start over with a new read of all tables: cdc-agent drop --slot {name}, then start \
         again"
    );
    let refuse = |message: String| Err(SourceError::configuration(message, drop_hint.clone()));
    let Some(slot) = slot else {
        return match state {
            Some(state) if state.slot.complete => refuse(format!(
                "slot \"{name}\" does not exist any more, and {} was confirmed to it: changes \
                 since then are gone",
                state.slot.lsn
            )),
            Some(state) => Ok(Start::Fresh {
                epoch: state.slot.epoch + u64::from(state.slot.read_attempts > 0),
            }),
            None => Ok(Start::Fresh { epoch: 1 }),
        };
    };
    if slot.plugin.as_deref() != Some("pgoutput") {
        let plugin = slot.plugin.as_deref().unwrap_or("none: it is a physical slot");
        return refuse(format!("slot \"{name}\" has plug-in {plugin}, expected pgoutput"));
    }
    if slot.database.as_deref() != Some(settings.source.database.as_str()) {
        return refuse(format!(
            "slot \"{name}\" belongs to database \"{}\", expected \"{}\"",
            slot.database.as_deref().unwrap_or_default(),
            settings.source.database
        ));
    }
    if slot.two_phase {
        return refuse(format!(
            "slot \"{name}\" was created with TWO_PHASE, which sends prepared transactions before \
             they commit"
        ));
    }
    if slot.wal_status.as_deref() == Some("lost") || slot.invalidation_reason.is_some() {
        let reason = slot.invalidation_reason.as_deref().unwrap_or("the log it needs was removed");
        return refuse(format!("slot \"{name}\" is lost ({reason}): changes are gone"));
    }
    let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
    match state {
        None => Ok(Start::ReadAgain { confirmed }),
        Some(state) if !state.slot.complete => Ok(Start::ReadAgain { confirmed }),
        Some(state) if confirmed > state.slot.lsn => refuse(format!(
            "slot \"{name}\" is at {confirmed}, ahead of the stored position {}: it was re-created \
             or moved by somebody else, and the changes between are gone",
            state.slot.lsn
        )),
        Some(state) => Ok(Start::Stream { from: state.slot.lsn }),
    }
}

/// Compares who the server is with what is stored.
///
/// # Errors
///
/// Another system, or a timeline that left ours before the stored position.
pub(super) fn check_identity(
    connection: &mut Connection,
    settings: &CaptureSettings,
    identity: &SystemIdentity,
    state: &State,
) -> Result<(), SourceError> {
    let stored = &state.slot;
    let hint = format!(
        "connect to the right server, or start over with a new read of all tables: cdc-agent drop \
         --slot {}, then start again",
        settings.slot
    );
    if stored.system_identifier != identity.system_identifier {
        return Err(SourceError::configuration(
            format!(
                "the server is another one: its system identifier is {}, the stored position \
                 belongs to {}",
                identity.system_identifier, stored.system_identifier
            ),
            hint,
        ));
    }
    if stored.timeline != identity.timeline {
        let history = slot::timeline_history(connection, identity.timeline)?;
        let left = history.iter().find(|(timeline, _)| *timeline == stored.timeline);
        let diverged = left.is_none_or(|(_, end)| *end < stored.lsn);
        if diverged {
            return Err(SourceError::configuration(
                format!(
                    "the server is on timeline {}, which left timeline {} before the stored \
                     position {}: it lacks changes that were published",
                    identity.timeline, stored.timeline, stored.lsn
                ),
                hint,
            ));
        }
        tracing::info!(
            from = stored.timeline,
            to = identity.timeline,
            "the server has changed its timeline after the stored position"
        );
    }
    if identity.wal_lsn < stored.lsn {
        return Err(SourceError::configuration(
            format!(
                "the server's log ends at {}, before the stored position {}: it was restored from a \
                 backup",
                identity.wal_lsn, stored.lsn
            ),
            hint,
        ));
    }
    Ok(())
}

/// Compares the publication with what is stored.
///
/// # Errors
///
/// It was dropped and created again, or its options changed while changes were unconfirmed.
pub(super) fn check_publication(
    settings: &CaptureSettings,
    publication: &Publication,
    slot: &Slot,
    state: &State,
) -> Result<(), SourceError> {
    let stored = &state.slot;
    let hint = format!(
        "start over with a new read of all tables: cdc-agent drop --slot {}, then start again",
        settings.slot
    );
    if stored.publication != settings.publication || stored.publication_oid != publication.oid.0 {
        return Err(SourceError::configuration(
            format!(
                "publication \"{}\" is not the one that was used before (\"{}\", object {}): it was \
                 dropped and created again, or renamed, and changes between may be missing",
                settings.publication, stored.publication, stored.publication_oid
            ),
            hint,
        ));
    }
    if stored.order_options != publication.options() {
        let clean = slot.confirmed_flush_lsn == Some(stored.lsn);
        if !clean {
            return Err(SourceError::configuration(
                format!(
                    "the options of publication \"{}\" changed from {} to {} while changes were \
                     unconfirmed, which would give them other positions",
                    settings.publication,
                    stored.order_options,
                    publication.options()
                ),
                "put the options back, let the agent catch up and stop it, then change them",
            ));
        }
    }
    Ok(())
}

/// Tables that cannot be read for want of rights, with the SQL that grants them.
///
/// # Errors
///
/// There are such tables, or the server cannot be asked.
pub(super) fn check_select_rights(
    sql: &Sql,
    settings: &CaptureSettings,
    tables: &[(PublishedTable, TableFacts)],
) -> Result<(), SourceError> {
    let oids: Vec<u32> = tables.iter().map(|(table, _)| table.oid.0).collect();
    let names: HashMap<u32, &TableName> =
        tables.iter().map(|(table, _)| (table.oid.0, &table.name)).collect();
    let rows = sql.query(
        "SELECT c.oid, has_schema_privilege(c.relnamespace, 'USAGE') FROM pg_class c \
         WHERE c.oid = ANY ($1) AND NOT (has_schema_privilege(c.relnamespace, 'USAGE') \
         AND has_any_column_privilege(c.oid, 'SELECT')) ORDER BY c.oid",
        &[&oids],
    )?;
    if rows.is_empty() {
        return Ok(());
    }
    let user = quote_identifier(&settings.source.user);
    let mut lacking = Vec::new();
    let mut grants = Vec::new();
    for row in &rows {
        let Some(name) = names.get(&row.get::<_, u32>(0)) else { continue };
        lacking.push(name.to_string());
        if !row.get::<_, bool>(1) {
            let schema = quote_identifier(&name.namespace);
            grants.push(format!("GRANT USAGE ON SCHEMA {schema} TO {user}"));
        }
        grants.push(format!("GRANT SELECT ON {} TO {user}", name.quoted()));
    }
    grants.dedup();
    Err(SourceError::permission(
        format!("role {user} may not read {}", lacking.join(", ")),
        format!("run as a superuser or the tables' owner: {}", grants.join("; ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::names_standby;

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
