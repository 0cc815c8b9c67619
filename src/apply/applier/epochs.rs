//! Incarnations of the source's history: what a new one does not bring again, goes.
//!
//! Rows that the source deleted while nobody was reading are told of by no record. Once a table was
//! read wholly in an epoch, and all of these reads are applied, what is older is what they did not
//! bring.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::applier::Partition;
use crate::apply::applier::offset_of;
use crate::apply::error::ApplyError;
use crate::apply::merge::Target;
use crate::lsn::Lsn;
use crate::position::Position;
use crate::table::TableName;

/// A table that was read wholly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeRead {
    /// Table.
    pub table: TableName,
    /// Epoch of the reads.
    pub epoch: u64,
    /// Topic of the table.
    pub topic: String,
    /// Offsets after the last read, by partition.
    pub end_offsets: BTreeMap<i32, i64>,
}

impl Applier {
    /// Prefixes of the tables.
    pub(super) fn prefixes(&self) -> BTreeSet<String> {
        self.tables.values().map(|known| known.target.prefix.clone()).collect()
    }

    /// A table without key is emptied at the first record of a higher epoch.
    pub(super) fn enter_epoch(
        &mut self,
        event: &Event<'_>,
        target: Arc<Target>,
        epoch: u64,
    ) -> Arc<Target> {
        if event.position.epoch <= epoch {
            return target;
        }
        let is_new = self.is_new(event.table);
        let target = self.change_target(event.table, |known| {
            known.epoch = event.position.epoch;
            // A table that is new may have taken rows of an older epoch in this very batch.
            if !is_new || epoch > 0 {
                Arc::make_mut(&mut known.target).has_older = true;
            }
        });
        if target.is_keyed() || epoch == 0 {
            self.batch.note_epoch(&target, event.position.epoch);
        } else {
            self.batch.begin_epoch(&target, event.position.epoch);
        }
        target
    }

    /// Finds tables that were read wholly in an epoch that is new to the warehouse, with all of it
    /// stored there; [`Applier::commit`] then removes what is older. To be called with an empty
    /// batch; `is_bare` says whether a partition has no record in a range of offsets.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    pub fn find_whole_reads(
        &mut self,
        is_bare: impl Fn(&Partition, i64, i64) -> bool,
    ) -> Result<(), ApplyError> {
        let mut due = Vec::new();
        for prefix in self.prefixes() {
            let reads = match self.schemas.whole_reads(&prefix) {
                Ok(reads) => reads,
                Err(error) => {
                    tracing::warn!(%error, prefix, "not known which tables were read anew");
                    continue;
                }
            };
            due.extend(
                reads
                    .into_iter()
                    .filter(|read| self.is_to_be_swept(&prefix, &read.table, read.epoch))
                    .map(|read| (prefix.clone(), read)),
            );
        }
        if due.is_empty() {
            return Ok(());
        }
        let stored = self.warehouse.offsets(&self.settings.group)?;
        for (prefix, read) in due {
            let topic: Arc<str> = Arc::from(read.topic.as_str());
            let mut is_applied = true;
            for (number, end) in &read.end_offsets {
                let partition = (Arc::clone(&topic), *number);
                // What is ours may have begun anew.
                let ours = self.owned.get(&partition);
                let at =
                    ours.map_or_else(|| offset_of(&stored, &partition), |owned| owned.next_offset);
                is_applied &= at >= *end || is_bare(&partition, at, *end);
            }
            if is_applied {
                self.put_whole_read(&prefix, read.table, read.epoch);
            }
        }
        Ok(())
    }

    /// Says that a table was read wholly in an epoch, and that these reads are applied: what is
    /// older goes with the batch.
    pub fn put_whole_read(&mut self, prefix: &str, table: TableName, epoch: u64) {
        if self.is_to_be_swept(prefix, &table, epoch) {
            self.read_whole.push((table, epoch));
        }
    }

    fn is_to_be_swept(&self, prefix: &str, table: &TableName, epoch: u64) -> bool {
        let known = self.tables.get(table).filter(|known| known.target.prefix == prefix);
        // Where not one row was read, no record has told of the epoch.
        known.is_some_and(|known| {
            known.epoch < epoch || (known.epoch == epoch && known.target.has_older)
        })
    }

    /// Removes what is older than the epochs that were read wholly.
    pub(super) fn sweep(&mut self) {
        for (table, epoch) in self.read_whole.clone() {
            // Another process may have gone on.
            if self.tables.get(&table).is_none_or(|known| known.epoch > epoch) {
                continue;
            }
            let floor = last_before(epoch);
            let target = self.change_target(&table, |known| {
                known.epoch = epoch;
                known.floor = known.floor.max(Some(floor));
                let target = Arc::make_mut(&mut known.target);
                target.has_older = false;
                // A record of the stream may have marked it since.
                let streamed = Position { commit_lsn: Lsn(1), ..first_of(epoch) };
                if target.reread_at.is_none_or(|at| at < streamed) {
                    target.reread.clear();
                    target.reread_at = None;
                }
            });
            self.batch.note_epoch(&target, epoch);
            self.batch.truncate(&target, floor);
            tracing::info!(%table, epoch, "read anew: rows that were not read again are removed");
            self.done.read_anew.push(table);
        }
    }
}

fn first_of(epoch: u64) -> Position {
    Position { epoch, ..Position::default() }
}

/// Above every position of older epochs.
fn last_before(epoch: u64) -> Position {
    Position { epoch: epoch.saturating_sub(1), commit_lsn: Lsn(u64::MAX), ord: u64::MAX, sub: 1 }
}
