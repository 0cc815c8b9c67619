//! What is watched while streaming: log that is kept because of us, and tables that could be
//! captured.

use std::collections::BTreeSet;
use std::collections::HashSet;

use crate::capture::postgres::SourceError;
use crate::capture::postgres::Sql;
use crate::capture::postgres::publication;
use crate::capture::postgres::slot;
use crate::capture::settings::CaptureSettings;
use crate::oid::Oid;
use crate::stop::Stop;
use crate::table::TableName;
use crate::telemetry::Metrics;

/// Looks at the source from time to time.
pub(super) struct Monitor<'a> {
    /// Settings.
    pub(super) settings: &'a CaptureSettings,
    /// The source.
    pub(super) sql: &'a Sql,
    /// Metrics.
    pub(super) metrics: &'a Metrics,
    /// Ends the watching.
    pub(super) ended: &'a Stop,
    /// Tables that the publication publishes.
    pub(super) published: HashSet<Oid>,
}

impl Monitor<'_> {
    /// Runs until it is ended; a source that cannot be asked is the reader's business.
    pub(super) fn run(&self) {
        let mut named = BTreeSet::new();
        let mut warned = false;
        while !self.ended.wait(self.settings.times.catalog) {
            let looked =
                self.look_at_slot(&mut warned).and_then(|()| self.look_at_tables(&mut named));
            if let Err(error) = looked {
                tracing::debug!(%error, "the source could not be looked at");
            }
        }
    }

    fn look_at_slot(&self, warned: &mut bool) -> Result<(), SourceError> {
        let Some(slot) = slot::find_slot(self.sql, &self.settings.slot)? else { return Ok(()) };
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

    /// Names each table once that could be captured and is not.
    fn look_at_tables(&self, named: &mut BTreeSet<TableName>) -> Result<(), SourceError> {
        let (settings, name) = (self.settings, &self.settings.publication);
        let new: Vec<TableName> = publication::candidates(self.sql, !settings.via_root, name)?
            .into_iter()
            .filter(|table| {
                table.unusable.is_none()
                    && !self.published.contains(&table.oid)
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
