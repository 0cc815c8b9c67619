//! Replication slots: look at them, create and drop them.
//!
//! Source: PostgreSQL 18, "pg_replication_slots", "Streaming Replication Protocol".

use crate::capture::postgres::Connection;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::lsn::Lsn;
use crate::table::quote_identifier;

/// A slot as the server shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Output plug-in; `None` for a physical slot.
    pub plugin: Option<String>,
    /// Database that it decodes.
    pub database: Option<String>,
    /// Goes with its session.
    pub temporary: bool,
    /// A walsender uses it.
    pub active: bool,
    /// That walsender.
    pub active_pid: Option<i32>,
    /// Oldest log that it keeps.
    pub restart_lsn: Option<Lsn>,
    /// Where a client goes on: what was confirmed last.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Bytes that may still be written before the slot is in danger; `None` without a limit.
    pub safe_wal_bytes: Option<i64>,
    /// Prepared transactions are sent when they are prepared.
    pub two_phase: bool,
    /// Why the server gave it up (PostgreSQL 17 and later).
    pub invalidation_reason: Option<String>,
    /// The server's current end of log.
    pub current_lsn: Lsn,
}

/// The query for one slot by name, for this version of the server.
pub fn slot_query(server_version: i32) -> String {
    let reason = if server_version >= 170_000 { "s.invalidation_reason" } else { "NULL::text" };
    format!(
        "SELECT s.plugin::text, s.database::text, s.temporary, s.active, s.active_pid, \
         s.restart_lsn::text, s.confirmed_flush_lsn::text, s.wal_status, s.safe_wal_size, \
         s.two_phase, {reason}, \
         (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
               ELSE pg_current_wal_lsn() END)::text \
         FROM pg_replication_slots s WHERE s.slot_name = $1"
    )
}

/// Reads the row that [`slot_query`] gives.
pub fn slot_from_row(row: &tokio_postgres::Row) -> Slot {
    let lsn = |at: usize| row.get::<_, Option<String>>(at).and_then(|text| text.parse().ok());
    Slot {
        plugin: row.get(0),
        database: row.get(1),
        temporary: row.get(2),
        active: row.get(3),
        active_pid: row.get(4),
        restart_lsn: lsn(5),
        confirmed_flush_lsn: lsn(6),
        wal_status: row.get(7),
        safe_wal_bytes: row.get(8),
        two_phase: row.get(9),
        invalidation_reason: row.get(10),
        current_lsn: lsn(11).unwrap_or_default(),
    }
}

/// The slot of that name, if there is one.
///
/// # Errors
///
/// The server cannot be asked.
pub fn find_slot(sql: &Sql, name: &str) -> Result<Option<Slot>, SourceError> {
    let rows = sql.query(&slot_query(sql.server_version()), &[&name])?;
    Ok(rows.first().map(slot_from_row))
}

/// First key of the advisory locks on slots: `cdcA`. The second one is a hash of the slot's name.
const LOCK_CLASS: i32 = 0x6364_6341;

/// Takes the advisory lock on a slot's name for this session; gives whether nobody else holds it.
///
/// # Errors
///
/// The server cannot be asked.
pub fn try_lock(sql: &Sql, name: &str) -> Result<bool, SourceError> {
    let row =
        sql.query_one("SELECT pg_try_advisory_lock($1, hashtext($2))", &[&LOCK_CLASS, &name])?;
    Ok(row.get(0))
}

/// Who holds the advisory lock on a slot's name; see [`slot_holder`].
///
/// # Errors
///
/// The server cannot be asked.
pub fn lock_holder(
    sql: &Sql,
    name: &str,
    application_name: &str,
) -> Result<Option<(String, bool)>, SourceError> {
    let rows = sql.query(
        &format!(
            "SELECT l.pid, {HOLDER} FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND l.classid::int8 = $1::int4 AND l.objid::int8 = hashtext($2)::int8 & 4294967295"
        ),
        &[&LOCK_CLASS, &name],
    )?;
    Ok(rows.first().map(|row| holder(row, application_name)))
}

/// What is said of the session `a` that holds something.
const HOLDER: &str = "a.application_name, coalesce(host(a.client_addr), 'a local socket'), \
    a.usename::text, (extract(epoch FROM clock_timestamp() - a.backend_start))::int8";

/// Who holds a slot, for people: process, application, address, since when; and whether it bears
/// this application name.
///
/// # Errors
///
/// The server cannot be asked.
pub fn slot_holder(
    sql: &Sql,
    name: &str,
    application_name: &str,
) -> Result<Option<(String, bool)>, SourceError> {
    let rows = sql.query(
        &format!(
            "SELECT s.active_pid, {HOLDER} \
             FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid \
             WHERE s.slot_name = $1 AND s.active_pid IS NOT NULL"
        ),
        &[&name],
    )?;
    Ok(rows.first().map(|row| holder(row, application_name)))
}

fn holder(row: &tokio_postgres::Row, application_name: &str) -> (String, bool) {
    let pid: i32 = row.get(0);
    let application: Option<String> = row.get(1);
    let address: Option<String> = row.get(2);
    let user: Option<String> = row.get(3);
    let seconds: Option<i64> = row.get(4);
    let ours = application.as_deref() == Some(application_name);
    let text = format!(
        "process {pid} (application \"{}\", role \"{}\", from {}, for {} s)",
        application.unwrap_or_default(),
        user.unwrap_or_default(),
        address.unwrap_or_default(),
        seconds.unwrap_or_default()
    );
    (text, ours)
}

/// What creating a slot gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Every transaction that commits from here on will be sent; all that committed before are in
    /// the snapshot.
    pub consistent_point: Lsn,
    /// Name of the snapshot, valid until the connection runs its next command.
    pub snapshot_name: String,
}

/// Creates a logical slot and exports its snapshot.
///
/// # Errors
///
/// The server refuses.
pub fn create_slot(
    connection: &mut Connection,
    name: &str,
    temporary: bool,
    failover: bool,
) -> Result<CreatedSlot, SourceError> {
    let temporary = if temporary { "TEMPORARY " } else { "" };
    let version = connection.server_version();
    if failover && version < 170_000 {
        tracing::warn!("slot.failover needs PostgreSQL 17 or later: the slot is an ordinary one");
    }
    let option = match version {
        170_000.. if failover => "(SNAPSHOT 'export', FAILOVER true)",
        150_000.. => "(SNAPSHOT 'export')",
        _ => "EXPORT_SNAPSHOT",
    };
    let rows = connection.query(&format!(
        "CREATE_REPLICATION_SLOT {} {temporary}LOGICAL pgoutput {option}",
        quote_identifier(name)
    ))?;
    let incomplete = || SourceError::Closed {
        during: "creating a slot",
        reason: "the server's answer is not complete".to_owned(),
    };
    match rows.into_iter().next().as_deref() {
        Some([_, Some(point), Some(snapshot), ..]) => Ok(CreatedSlot {
            consistent_point: point.parse().map_err(|_| incomplete())?,
            snapshot_name: snapshot.clone(),
        }),
        _ => Err(incomplete()),
    }
}

/// Drops a slot.
///
/// # Errors
///
/// It is in use, or the server refuses.
pub fn drop_slot(sql: &Sql, name: &str) -> Result<(), SourceError> {
    sql.query("SELECT pg_drop_replication_slot($1)", &[&name]).map(drop)
}

/// Who the server is: what positions belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// System identifier: the same for a server and its standbys.
    pub system_identifier: String,
    /// Timeline: changes when a standby is promoted or a backup restored.
    pub timeline: u32,
    /// Current end of log.
    pub wal_lsn: Lsn,
}

/// Asks the server who it is.
///
/// # Errors
///
/// The server cannot be asked.
pub fn identify_system(connection: &mut Connection) -> Result<SystemIdentity, SourceError> {
    let rows = connection.query("IDENTIFY_SYSTEM")?;
    let incomplete = || SourceError::Closed {
        during: "identifying the system",
        reason: "the server's answer is not complete".to_owned(),
    };
    match rows.into_iter().next().as_deref() {
        Some([Some(system), Some(timeline), Some(lsn), ..]) => Ok(SystemIdentity {
            system_identifier: system.clone(),
            timeline: timeline.parse().map_err(|_| incomplete())?,
            wal_lsn: lsn.parse().map_err(|_| incomplete())?,
        }),
        _ => Err(incomplete()),
    }
}

/// Where each earlier timeline ended: pairs of timeline and the position where the next one began.
///
/// # Errors
///
/// The server cannot be asked, or its history file is gone.
pub fn timeline_history(
    connection: &mut Connection,
    timeline: u32,
) -> Result<Vec<(u32, Lsn)>, SourceError> {
    if timeline <= 1 {
        return Ok(Vec::new());
    }
    let rows = connection.query(&format!("TIMELINE_HISTORY {timeline}"))?;
    let content = match rows.into_iter().next().as_deref() {
        Some([_, Some(content), ..]) => content.clone(),
        _ => String::new(),
    };
    Ok(content
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect())
}
