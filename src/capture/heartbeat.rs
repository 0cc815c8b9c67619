//! Signs of life: a record at an interval, and a statement for the source beside it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::capture::CaptureError;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::SourceSettings;
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

/// The server gives the statement up after the heartbeat's interval, within these bounds.
const STATEMENT_TIMEOUT_LEAST: Duration = Duration::from_secs(1);
const STATEMENT_TIMEOUT_MOST: Duration = Duration::from_secs(10);

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
    /// The statement, if there is one.
    pub(super) action: Option<Action>,
}

impl HeartbeatLoop<'_> {
    /// Sends one and runs the statement.
    ///
    /// # Errors
    ///
    /// The destination has failed, or the statement is about a table that does not exist.
    pub(super) fn beat(&self, stop: &Stop) -> Result<(), CaptureError> {
        self.send(stop)?;
        let Some(action) = &self.action else { return Ok(()) };
        match action.run() {
            Err(SourceError::Server { error, .. }) if error.sqlstate == UNDEFINED_TABLE => {
                Err(SourceError::configuration(
                    format!("heartbeat.action.query cannot be run: {error}"),
                    "create the table, or correct the statement",
                )
                .into())
            }
            result => {
                report(result);
                Ok(())
            }
        }
    }

    fn send(&self, stop: &Stop) -> Result<(), CaptureError> {
        let mut bytes = Vec::new();
        let (key, value) =
            self.ready.writer.write_heartbeat(self.prefix, UnixMicros::now(), &mut bytes);
        let record = Record {
            route: self.ready.route,
            key: Some(key),
            value: Some(value),
            header: None,
            literal: None,
            position: None,
            receipt: Receipt::Nobody,
        };
        let batch = Batch { bytes: &bytes, records: &[record] };
        Ok(self.publisher.send(batch, &|| !stop.is_requested())?)
    }

    /// Runs until it is ended; a destination that fails is the encoder's business. The statement is
    /// never waited for: while one runs, no other is begun.
    pub(super) fn run(&self, ended: &Stop) {
        let mut running: Option<JoinHandle<()>> = None;
        while !ended.wait(self.heartbeat.interval) {
            if let Err(error) = self.send(ended) {
                tracing::error!(%error, "a heartbeat failed");
            }
            let idle = running.as_ref().is_none_or(JoinHandle::is_finished);
            if let (Some(action), true) = (&self.action, idle) {
                let (runtime, action) = (action.runtime.clone(), action.clone());
                running = Some(runtime.spawn_blocking(move || report(action.run())));
            }
        }
        if let Some(action) = &self.action {
            action.end();
        }
    }
}

fn report(result: Result<(), SourceError>) {
    if let Err(error) = result {
        tracing::error!(%error, "heartbeat.action.query cannot be run");
    }
}

/// `heartbeat.action.query`, on a connection of its own: it may wait for locks of the application.
#[derive(Clone)]
pub(super) struct Action {
    statement: Arc<str>,
    source: Arc<SourceSettings>,
    runtime: Handle,
    connection: Arc<Mutex<Connection>>,
}

#[derive(Debug)]
enum Connection {
    /// None yet, or it is lost.
    None,
    Open(Sql),
    /// The session is over.
    Ended,
}

impl Action {
    /// Of a heartbeat; `None` if it has no statement.
    pub(super) fn new(
        heartbeat: &Heartbeat,
        source: &SourceSettings,
        runtime: &Handle,
    ) -> Option<Self> {
        if heartbeat.action.is_empty() {
            return None;
        }
        let timeout = heartbeat.interval.clamp(STATEMENT_TIMEOUT_LEAST, STATEMENT_TIMEOUT_MOST);
        Some(Action {
            statement: Arc::from(in_the_roles_schemas(&heartbeat.action, timeout)),
            source: Arc::new(source.clone()),
            runtime: runtime.clone(),
            connection: Arc::new(Mutex::new(Connection::None)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the statement once.
    fn run(&self) -> Result<(), SourceError> {
        let known = match &*self.lock() {
            Connection::Ended => return Ok(()),
            Connection::Open(sql) if sql.ended().is_none() => Some(sql.clone()),
            Connection::Open(_) | Connection::None => None,
        };
        let sql = match known {
            Some(sql) => sql,
            None => self.open()?,
        };
        let result = sql.execute(&self.statement);
        match &*self.lock() {
            // It was ended under our hands.
            Connection::Ended => Ok(()),
            Connection::Open(_) | Connection::None => result,
        }
    }

    fn open(&self) -> Result<Sql, SourceError> {
        let sql = Sql::open(&self.source, &self.runtime)?;
        let mut connection = self.lock();
        match &*connection {
            Connection::Ended => sql.close(),
            Connection::Open(_) | Connection::None => *connection = Connection::Open(sql.clone()),
        }
        Ok(sql)
    }

    /// Ends a statement that runs, and begins no other.
    fn end(&self) {
        if let Connection::Open(sql) = std::mem::replace(&mut *self.lock(), Connection::Ended) {
            sql.close();
        }
    }
}

/// The statement, with names looked up as in a session of the role's own: ours are pinned to
/// `pg_catalog`. The settings end with the implicit transaction of all of it.
fn in_the_roles_schemas(statement: &str, timeout: Duration) -> String {
    let millis = timeout.as_millis();
    format!(
        "SET LOCAL search_path TO DEFAULT; SET LOCAL lock_timeout TO {millis}; \
         SET LOCAL statement_timeout TO {millis}; {statement}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeats_statement_may_name_tables_without_their_schema() {
        let sql = in_the_roles_schemas("UPDATE beats SET n = n + 1", STATEMENT_TIMEOUT_MOST);
        assert_eq!(
            sql,
            "SET LOCAL search_path TO DEFAULT; SET LOCAL lock_timeout TO 10000; \
             SET LOCAL statement_timeout TO 10000; UPDATE beats SET n = n + 1"
        );
    }
}
