//! What the source server says of its log and of a slot.

use std::time::Duration;

use cdc_testkit::servers::postgres::Postgres;

use super::Agent;

/// A slot and the log, as bytes from the begin of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// What was confirmed last.
    pub(crate) confirmed: u64,
    /// Oldest log that is kept.
    pub(crate) restart: u64,
    /// End of the log.
    pub(crate) current: u64,
    /// A walsender uses it.
    pub(crate) active: bool,
}

impl Slot {
    /// Bytes of log that are kept.
    pub(crate) fn kept(&self) -> u64 {
        self.current.saturating_sub(self.restart)
    }
}

/// The slot of this name; `None` if there is none, or the server does not answer.
pub(crate) fn slot(postgres: &Postgres, name: &str) -> Option<Slot> {
    let sql = format!(
        "SELECT (confirmed_flush_lsn - '0/0')::int8, (restart_lsn - '0/0')::int8, \
         (pg_current_wal_lsn() - '0/0')::int8, active \
         FROM pg_replication_slots WHERE slot_name = '{name}'"
    );
    let mut client = postgres.try_client("postgres").ok()?;
    let row = client.query_opt(&sql, &[]).ok()??;
    let lsn = |at: usize| row.get::<_, Option<i64>>(at).and_then(|lsn| u64::try_from(lsn).ok());
    let active = row.get(3);
    Some(Slot { confirmed: lsn(0)?, restart: lsn(1)?, current: lsn(2)?, active })
}

/// End of the log.
#[track_caller]
pub(crate) fn current_lsn(postgres: &Postgres) -> u64 {
    let lsn = postgres.query_one("postgres", "SELECT (pg_current_wal_lsn() - '0/0')::int8");
    lsn.and_then(|lsn| lsn.parse().ok()).expect("the server has a log")
}

/// Waits until all that has been written so far is confirmed.
#[track_caller]
pub(crate) fn wait_caught_up(
    postgres: &Postgres,
    agent: &mut Agent,
    name: &str,
    timeout: Duration,
) {
    let end = current_lsn(postgres);
    agent.wait(timeout, "the agent to confirm everything", |_| {
        slot(postgres, name).is_some_and(|slot| slot.confirmed >= end)
    });
}
