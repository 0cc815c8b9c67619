//! What is watched while streaming: log that is kept because of us, and tables that could be
//! captured.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;
use std::time::Instant;

use crate::capture::deliveries::Deliveries;
use crate::capture::gate::Change;
use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::partitions;
use crate::capture::postgres::publication;
use crate::capture::postgres::publication::PublishedTable;
use crate::capture::postgres::slot;
use crate::capture::prepare::Captured;
use crate::capture::settings::CaptureSettings;
use crate::capture::state::Published;
use crate::lsn::Lsn;
use crate::oid::Oid;
use crate::stop::Stop;
use crate::table::TableName;
use crate::telemetry::Health;
use crate::telemetry::Metrics;

/// Looks at the source from time to time.
pub(super) struct Monitor<'a> {
    /// Settings.
    pub(super) settings: &'a CaptureSettings,
    /// The source.
    pub(super) sql: &'a Sql,
    /// Metrics.
    pub(super) metrics: &'a Metrics,
    /// Health.
    pub(super) health: &'a Health,
    /// How far the stream has been received.
    pub(super) deliveries: &'a Deliveries,
    /// Ends the watching.
    pub(super) ended: &'a Stop,
    /// What is captured.
    pub(super) captured: &'a Captured,
    /// Partitions of captured tables.
    pub(super) partitions: HashMap<u32, Vec<u32>>,
    /// Ends the session when that has changed.
    pub(super) change: &'a Change,
}

/// The obstacle to readiness that is found here.
const PART: &str = "stream";

/// The server writes WAL and the stream brings nothing: after so long it stands still. A server
/// says at least every half of `wal_sender_timeout` how far it has come.
const STREAM_SILENT_AFTER: Duration = Duration::from_secs(60);

/// How far the stream had come when it moved last.
#[derive(Debug, Default)]
struct Received {
    lsn: Lsn,
    since: Option<Instant>,
}

impl Received {
    /// Since when the stream stands while there is more WAL; `None` if it moves.
    fn stands(&mut self, received: Lsn, end: Lsn) -> Option<Duration> {
        if received != self.lsn || received >= end || self.since.is_none() {
            *self = Received { lsn: received, since: Some(Instant::now()) };
            return None;
        }
        self.since.map(|since| since.elapsed())
    }
}

impl Monitor<'_> {
    /// Runs until it is ended; a source that cannot be asked is the reader's business.
    pub(super) fn run(&self) {
        let mut named = BTreeSet::new();
        let mut warned = false;
        let mut received = Received::default();
        let mut partitions = self.partitions.clone();
        while !self.ended.wait(self.settings.times.catalog) {
            let looked = self
                .look_at_slot(&mut warned, &mut received)
                .and_then(|()| self.look_at_partitions(&mut partitions))
                .and_then(|()| self.look_at_members())
                .and_then(|published| self.look_at_tables(&published, &mut named));
            if let Err(error) = looked {
                tracing::debug!(%error, "the source could not be looked at");
            }
        }
        self.health.set_ready(PART, Ok(()));
    }

    fn look_at_slot(&self, warned: &mut bool, received: &mut Received) -> Result<(), SourceError> {
        let Some(slot) = slot::find_slot(self.sql, &self.settings.slot)? else { return Ok(()) };
        let stands = received.stands(self.deliveries.received_lsn(), slot.current_lsn);
        let ready = match stands {
            Some(since) if since > STREAM_SILENT_AFTER => Err(format!(
                "the stream has brought nothing for {} s, and the server has written WAL meanwhile",
                since.as_secs()
            )),
            _ => Ok(()),
        };
        self.health.set_ready(PART, ready);
        let kept = slot.current_lsn.bytes_since(slot.restart_lsn.unwrap_or(slot.current_lsn));
        let status = slot.wal_status.as_deref().unwrap_or_default();
        let much = kept > self.settings.retained_wal_warning_bytes
            || matches!(status, "unreserved" | "lost");
        if much && !*warned {
            tracing::warn!(
                slot = self.settings.slot, kept_wal_bytes = kept, wal_status = status,
                restart_lsn = %slot.restart_lsn.unwrap_or_default(),
                confirmed_flush_lsn = %slot.confirmed_flush_lsn.unwrap_or_default(),
                safe_wal_bytes = slot.safe_wal_bytes,
                "the server keeps much log for this slot: the destination is slow or dead, or an \
                 old transaction is open"
            );
        }
        *warned = much;
        Ok(())
    }

    /// Looks for rows that have come or gone with partitions.
    fn look_at_partitions(&self, known: &mut HashMap<u32, Vec<u32>>) -> Result<(), SourceError> {
        let roots: Vec<u32> = known.keys().copied().collect();
        for (root, now) in partitions::partitions(self.sql, &roots)? {
            let Some(before) = known.get_mut(&root).filter(|before| **before != now) else {
                continue;
            };
            if before.iter().any(|partition| !now.contains(partition)) {
                self.change.note(|| "a partition was detached or dropped".to_owned());
            }
            for partition in now.iter().filter(|partition| !before.contains(partition)) {
                if let Some(name) = partitions::came_with_rows(self.sql, *partition)? {
                    self.change.note(|| format!("partition {name} was attached with rows in it"));
                }
            }
            *before = now;
        }
        Ok(())
    }

    /// Compares what the publication publishes with what is captured, and gives it. What has come
    /// since and was published from its creation on, the stream brings.
    fn look_at_members(&self) -> Result<HashSet<Oid>, SourceError> {
        let name = &self.settings.publication;
        let published = publication::published_tables(self.sql, name, false)?;
        let now: HashMap<Oid, &PublishedTable> =
            published.iter().map(|table| (table.oid, table)).collect();
        let mut before = HashSet::new();
        for (table, _) in &self.captured.tables {
            before.insert(table.oid);
            if table.membership.entries.is_empty() {
                continue;
            }
            match now.get(&table.oid) {
                None => self.change.note(|| format!("{} is not published any more", table.name)),
                Some(now) if now.name != table.name => {
                    self.change.note(|| format!("{} was renamed to {}", table.name, now.name));
                }
                Some(now) if !continues(table, now) => {
                    self.change.note(|| format!("{} is published in another way", table.name));
                }
                Some(_) => {}
            }
        }
        let come = |table: &&PublishedTable| {
            !before.contains(&table.oid) && self.settings.tables.allows(&table.name)
        };
        for table in published.iter().filter(come) {
            if publication::birth(self.sql, name, table.oid)?.is_none() {
                self.change.note(|| format!("{} has come into the publication", table.name));
            }
        }
        Ok(now.into_keys().collect())
    }

    /// Names each table once that could be captured and is not.
    fn look_at_tables(
        &self,
        published: &HashSet<Oid>,
        named: &mut BTreeSet<TableName>,
    ) -> Result<(), SourceError> {
        let (settings, name) = (self.settings, &self.settings.publication);
        let new: Vec<TableName> = publication::candidates(self.sql, !settings.via_root, name)?
            .into_iter()
            .filter(|table| {
                table.unusable.is_none()
                    && !published.contains(&table.oid)
                    && self.settings.tables.allows(&table.name)
            })
            .map(|table| table.name)
            .collect();
        let count = i64::try_from(new.len()).unwrap_or(i64::MAX);
        self.metrics.tables_left_out.with_label_values(&["new"]).set(count);
        for table in new {
            if named.insert(table.clone()) {
                tracing::warn!(
                    %table, publication = self.settings.publication,
                    "a table could be captured and is not in the publication; a publication of \
                     ours takes it in at the next start"
                );
            }
        }
        Ok(())
    }
}

/// Whether a table has been published the same way ever since.
fn continues(before: &PublishedTable, now: &PublishedTable) -> bool {
    Published::from(&before.membership).continues(&(&now.membership).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_stands_only_while_the_server_has_more_wal() {
        let mut received = Received::default();
        assert_eq!(received.stands(Lsn(10), Lsn(20)), None, "it has moved");
        assert!(received.stands(Lsn(10), Lsn(30)).is_some());
        assert_eq!(received.stands(Lsn(15), Lsn(30)), None, "it has moved");
        assert!(received.stands(Lsn(15), Lsn(30)).is_some());
        assert_eq!(received.stands(Lsn(15), Lsn(15)), None, "there is nothing more");
    }
}
