//! Signs of life: a record at an interval, and a statement for the source beside it.

use crate::capture::CaptureError;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::publisher::Batch;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::capture::settings::Heartbeat;
use crate::capture::tables::ReadyControl;
use crate::stop::Stop;
use crate::time::UnixMicros;

/// The SQLSTATE of a statement about a table that does not exist.
const UNDEFINED_TABLE: &str = "42P01";

/// Sends heartbeats.
pub(super) struct HeartbeatLoop<'a> {
    /// What is asked for.
    pub(super) heartbeat: &'a Heartbeat,
    /// `topic.prefix`.
    pub(super) prefix: &'a str,
    /// Where they go.
    pub(super) ready: ReadyControl,
    /// The destination.
    pub(super) publisher: &'a dyn Publisher,
    /// The source.
    pub(super) sql: &'a Sql,
}

impl HeartbeatLoop<'_> {
    /// Sends one and runs the statement.
    ///
    /// # Errors
    ///
    /// The destination has failed, or the statement is about a table that does not exist.
    pub(super) fn beat(&self, stop: &Stop) -> Result<(), CaptureError> {
        let mut bytes = Vec::new();
        let (key, value) =
            self.ready.writer.write_heartbeat(self.prefix, UnixMicros::now(), &mut bytes);
        let record = Record {
            route: self.ready.route,
            key: Some(key),
            value: Some(value),
            header: None,
            position: None,
            receipt: Receipt::Nobody,
        };
        let batch = Batch { bytes: &bytes, records: &[record] };
        self.publisher.send(batch, &|| !stop.is_requested())?;
        if self.heartbeat.action.is_empty() {
            return Ok(());
        }
        match self.sql.execute(&in_the_roles_schemas(&self.heartbeat.action)) {
            Ok(()) => Ok(()),
            Err(SourceError::Server { error, .. }) if error.sqlstate == UNDEFINED_TABLE => {
                Err(SourceError::configuration(
                    format!("heartbeat.action.query cannot be run: {error}"),
                    "create the table, or correct the statement",
                )
                .into())
            }
            Err(error) => {
                tracing::error!(%error, "heartbeat.action.query cannot be run");
                Ok(())
            }
        }
    }

    /// Runs until it is ended; a destination that fails is the encoder's business.
    pub(super) fn run(&self, ended: &Stop) {
        while !ended.wait(self.heartbeat.interval) {
            if let Err(error) = self.beat(ended) {
                tracing::error!(%error, "a heartbeat failed");
            }
        }
    }
}

/// The statement, with names looked up as in a session of the role's own: ours are pinned to
/// `pg_catalog`. The setting ends with the implicit transaction of the two.
fn in_the_roles_schemas(statement: &str) -> String {
    format!("SET LOCAL search_path TO DEFAULT; {statement}")
}

#[cfg(test)]
mod tests {
    use super::in_the_roles_schemas;

    #[test]
    fn a_heartbeats_statement_may_name_tables_without_their_schema() {
        let sql = in_the_roles_schemas("UPDATE beats SET n = n + 1");
        assert_eq!(sql, "SET LOCAL search_path TO DEFAULT; UPDATE beats SET n = n + 1");
    }
}
