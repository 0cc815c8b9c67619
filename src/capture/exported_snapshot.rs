//! Slots that are created, and the snapshots that come with them.

use std::time::Instant;

use crate::capture::CaptureError;
use crate::capture::postgres::Connection;
use crate::capture::postgres::Purpose;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::slot;
use crate::capture::postgres::slot::CreatedSlot;
use crate::capture::read::Reader;
use crate::capture::snapshot;
use crate::lsn::Lsn;
use crate::table::quote_literal;
use crate::time::UnixMicros;

/// A transaction that holds a snapshot as long as it lives.
pub(super) struct Parent {
    /// Its session.
    pub(super) sql: Sql,
    /// The snapshot's name, to take it over elsewhere.
    pub(super) name: String,
    /// The snapshot as the server prints it.
    pub(super) text: String,
    /// When it began.
    pub(super) time: UnixMicros,
}

impl Reader<'_> {
    /// Creates a slot, which waits for every transaction that is running; a stop ends the waiting.
    pub(super) fn create_slot(
        &self,
        connection: &mut Connection,
        name: &str,
        temporary: bool,
    ) -> Result<CreatedSlot, CaptureError> {
        let closer = connection.closer()?;
        let failover = !temporary && self.session.settings.slot_options.failover;
        let done = crate::stop::Stop::default();
        let (session, sql) = (&self.session, self.sql);
        self.session.health.set_phase("creating the slot");
        self.session.health.set_ready("source", Err("the slot is being created".to_owned()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begun = Instant::now();
                let mut told = 0;
                while !done.wait(std::time::Duration::from_millis(100)) {
                    if session.stop.is_requested() {
                        closer.shutdown();
                    }
                    if begun.elapsed().as_secs() / 10 > told {
                        told = begun.elapsed().as_secs() / 10;
                        name_old_transactions(sql);
                    }
                }
            });
            let created = slot::create_slot(connection, name, temporary, failover);
            done.request();
            created.map_err(|error| slots_exhausted(error).into())
        })
    }

    /// A snapshot of its own, exact at a position of the log: that of a temporary slot.
    pub(super) fn temporary_snapshot(&self) -> Result<(Parent, Lsn), CaptureError> {
        let mut connection = Connection::open(&self.session.settings.source, Purpose::Replication)?;
        let created = self.create_slot(&mut connection, &temporary_name(), true)?;
        let parent = self.parent(&created)?;
        connection.close();
        Ok((parent, created.consistent_point))
    }

    /// The session's slot, whose decoding knows all that the snapshot shows.
    ///
    /// While a slot is being created the server waits for running transactions, and what those that
    /// began and committed meanwhile did to its catalogs is not known to whoever decodes from the
    /// slot's first position: columns would lack, or the stream could not be decoded at all ("could
    /// not map filenumber"). The snapshot that comes with the slot shows their work: then the slot
    /// is created once more, [witnessed](Reader::create_witnessed_slot).
    pub(super) fn create_sound_slot(
        &self,
        connection: &mut Connection,
    ) -> Result<(CreatedSlot, Parent), CaptureError> {
        let name = &self.session.settings.slot;
        let before: String = self
            .sql
            .query_one("SELECT pg_snapshot_xmax(pg_current_snapshot())::xid::text", &[])?
            .get(0);
        let created = self.create_slot(connection, name, false)?;
        let parent = self.parent(&created)?;
        let changed = changed_since(&parent.sql, &before, &self.session.settings.publication)?;
        if changed.is_empty() {
            return Ok((created, parent));
        }
        drop(parent);
        tracing::info!(
            slot = name,
            changed = changed.join(", "),
            "what is decoded changed while the slot was being created; it is created again, \
             beside a temporary one that sees such changes"
        );
        slot::drop_slot(self.sql, name)?;
        self.create_witnessed_slot(connection)
    }

    /// The session's slot, created while another one decodes. The server keeps what that one knows
    /// of the catalogs at each list of running transactions in the log, and decoding from the
    /// slot's first position begins with it instead of gathering it anew.
    ///
    /// Source: PostgreSQL 18, `src/backend/replication/logical/snapbuild.c`.
    fn create_witnessed_slot(
        &self,
        connection: &mut Connection,
    ) -> Result<(CreatedSlot, Parent), CaptureError> {
        let mut witness = Connection::open(&self.session.settings.source, Purpose::Replication)?;
        let witness_name = temporary_name();
        self.create_slot(&mut witness, &witness_name, true)?;
        let created = self.create_slot(connection, &self.session.settings.slot, false)?;
        let parent = self.parent(&created)?;
        witness.query(&format!(
            "SELECT pg_replication_slot_advance({}, {})",
            quote_literal(&witness_name),
            quote_literal(&created.consistent_point.to_string())
        ))?;
        witness.close();
        Ok((created, parent))
    }

    /// Takes over an exported snapshot into a transaction that holds it.
    pub(super) fn parent(&self, created: &CreatedSlot) -> Result<Parent, CaptureError> {
        let sql = Sql::open(&self.session.settings.source, self.session.runtime)?;
        sql.execute(&snapshot::transaction(&created.snapshot_name))?;
        let row = sql.query_one(
            "SELECT pg_export_snapshot(), pg_current_snapshot()::text, \
             (extract(epoch FROM current_timestamp) * 1000000)::int8",
            &[],
        )?;
        let time = UnixMicros(row.get(2));
        Ok(Parent { name: row.get(0), text: row.get(1), time, sql })
    }
}

/// Says what the creation of a slot waits for.
fn name_old_transactions(sql: &Sql) {
    let rows = sql.query(
        "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), \
         (extract(epoch FROM clock_timestamp() - xact_start))::int8 FROM pg_stat_activity \
         WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY 4 DESC LIMIT 3",
        &[],
    );
    for row in rows.unwrap_or_default() {
        tracing::warn!(
            pid = row.get::<_, i32>(0),
            role = row.get::<_, String>(1),
            application = row.get::<_, String>(2),
            open_seconds = row.get::<_, Option<i64>>(3),
            "creating the slot waits for a transaction to end"
        );
    }
}

/// A name for a slot that goes with its session.
fn temporary_name() -> String {
    format!("cdc_agent_tmp_{}_{}", std::process::id(), UnixMicros::now().0)
}

/// What of the catalogs that decoding looks at was written by transactions from this one on, for
/// people; no more than a few. Temporary and unlogged tables are not decoded.
fn changed_since(
    sql: &Sql,
    transaction: &str,
    publication: &str,
) -> Result<Vec<String>, SourceError> {
    let schemas = if sql.server_version() >= 150_000 {
        "UNION ALL SELECT n.xmin, 'publication', p.oid FROM pg_publication_namespace n \
         JOIN pg_publication p ON p.oid = n.pnpubid WHERE p.pubname = $2"
    } else {
        ""
    };
    let rows = sql.query(
        &format!(
            "WITH relations AS (SELECT oid, xmin FROM pg_class \
             WHERE oid >= 16384 AND relpersistence = 'p' AND relkind IN ('r', 'p', 'm', 't')), \
             written (transaction, kind, object) AS (\
             SELECT xmin, 'table', oid FROM relations \
             UNION ALL SELECT a.xmin, 'table', r.oid FROM pg_attribute a JOIN relations r \
             ON r.oid = a.attrelid \
             UNION ALL SELECT i.xmin, 'table', r.oid FROM pg_index i JOIN relations r \
             ON r.oid = i.indrelid WHERE i.indisprimary OR i.indisreplident \
             UNION ALL SELECT xmin, 'type', enumtypid FROM pg_enum \
             UNION ALL SELECT xmin, 'type', oid FROM pg_type \
             WHERE oid >= 16384 AND typrelid = 0 AND typelem = 0 \
             UNION ALL SELECT xmin, 'schema', oid FROM pg_namespace \
             WHERE nspname NOT LIKE 'pg\\_%' \
             UNION ALL SELECT xmin, 'publication', oid FROM pg_publication WHERE pubname = $2 \
             UNION ALL SELECT r.xmin, 'publication', p.oid FROM pg_publication_rel r \
             JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $2 {schemas}) \
             SELECT DISTINCT kind || ' ' || CASE kind WHEN 'table' THEN object::regclass::text \
             WHEN 'type' THEN object::regtype::text WHEN 'schema' THEN object::regnamespace::text \
             ELSE $2 END FROM written \
             WHERE age(transaction) <= age($1::text::xid) ORDER BY 1 LIMIT 5"
        ),
        &[&transaction, &publication],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// No room for another slot.
fn slots_exhausted(error: SourceError) -> SourceError {
    match &error {
        SourceError::Server { error: server, .. } if server.sqlstate == "53400" => {
            SourceError::configuration(
                format!("a slot cannot be created: {server}"),
                "raise max_replication_slots and restart the server, or drop slots that nobody \
                 uses (SELECT * FROM pg_replication_slots)",
            )
        }
        _ => error,
    }
}
