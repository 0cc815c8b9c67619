//! Incarnations of the source's history: what a new one does not bring again, goes.
//!
//! Rows that the source deleted while nobody was reading are told of by no record. Once a table was
//! read wholly in an epoch, and all of these reads are applied, what is older is what they did not
//! bring. That they are applied is proven, not derived from an offset: some group has applied the
//! log, without a gap, from the first of these reads to the last, and it is the log that they were
//! written to.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::applier::Owned;
use crate::apply::applier::Partition;
use crate::apply::error::ApplyError;
use crate::apply::merge::AppliedRange;
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
    /// The log that the topic stood for; empty: not known.
    pub topic_id: String,
    /// Offsets before the first read, by partition; a partition that is not there: its beginning.
    pub begin_offsets: BTreeMap<i32, i64>,
    /// Offsets after the last read, by partition.
    pub end_offsets: BTreeMap<i32, i64>,
}

impl Applier {
    /// Prefixes of the tables.
    pub(super) fn prefixes(&self) -> BTreeSet<String> {
        self.tables.values().map(|known| known.target.prefix.clone()).collect()
    }

    /// A table without key is emptied at the first record of a higher epoch, unless that goes on
    /// with what a stock Debezium has brought.
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
        let is_read = event.position.commit_lsn == Lsn::ZERO;
        // Before our agent's first epoch there may be rows of a stock Debezium.
        let has_rows = !is_new || !target.snapshots.is_empty();
        let goes_on = !is_read && (epoch == 0 || event.stock.is_some());
        if target.is_keyed() || goes_on || (epoch == 0 && !has_rows) {
            self.batch.note_epoch(&target, event.position.epoch);
        } else {
            self.batch.begin_epoch(&target, event.position.epoch);
        }
        target
    }

    /// Finds tables that were read wholly in an epoch that is new to the warehouse, with all of it
    /// stored there; [`Applier::commit`] then removes what is older. To be called with an empty
    /// batch; `first` gives the first offset that a partition still has, and `is_bare` says whether
    /// it has no record in a range of offsets.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    pub fn find_whole_reads(
        &mut self,
        first: impl Fn(&Partition) -> Option<i64>,
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
        for (prefix, read) in due {
            let topic: Arc<str> = Arc::from(read.topic.as_str());
            // Whoever has the topic's partitions knows which log it stands for.
            let Some(ranges) = self.ranges(&topic, &read.topic_id)? else { continue };
            let mut is_applied = true;
            let mut is_lost = false;
            for (number, end) in &read.end_offsets {
                let begin = read.begin_offsets.get(number).copied().unwrap_or(0);
                let partition = (Arc::clone(&topic), *number);
                let of_partition: Vec<&AppliedRange> =
                    ranges.iter().filter(|range| range.partition == *number).collect();
                let reaches = |range: &&AppliedRange| {
                    range.next_offset >= *end || is_bare(&partition, range.next_offset, *end)
                };
                let begins = |range: &&AppliedRange| range.begun_at <= begin;
                if begin >= *end || of_partition.iter().any(|range| begins(range) && reaches(range))
                {
                    continue;
                }
                is_applied = false;
                // Nobody will apply them: all who go on there have begun after them.
                let low = first(&partition);
                let goes_on = |range: &&AppliedRange| {
                    begins(range) && low.is_none_or(|low| range.next_offset >= low)
                };
                is_lost |= of_partition.iter().any(reaches) && !of_partition.iter().any(goes_on);
            }
            if is_applied {
                self.put_whole_read(&prefix, read.table, read.epoch);
            } else if is_lost {
                self.mark_lost_reads(&read);
            }
        }
        Ok(())
    }

    /// What any group has applied of the log that a topic stands for, from its end on if the table
    /// was read into another one; `None`: no partition of it is assigned.
    fn ranges(
        &mut self,
        topic: &Arc<str>,
        read_into: &str,
    ) -> Result<Option<Vec<AppliedRange>>, ApplyError> {
        let mut ranges = self.warehouse.applied_ranges(topic)?;
        let owned: Vec<(i32, &Owned)> = self
            .owned
            .iter()
            .filter(|(partition, _)| partition.0 == *topic)
            .map(|(partition, owned)| (partition.1, owned))
            .collect();
        let Some((_, first)) = owned.first() else { return Ok(None) };
        let current = first.place.log.clone();
        ranges.retain(|range| range.log == current);
        ranges.extend(owned.into_iter().map(|(partition, owned)| AppliedRange {
            partition,
            log: owned.place.log.clone(),
            begun_at: owned.place.begun_at,
            next_offset: owned.next_offset,
        }));
        if !read_into.is_empty() && !current.is_empty() && read_into != current {
            // The log that they were read into is gone.
            for range in &mut ranges {
                (range.begun_at, range.next_offset) = (i64::MAX, i64::MAX);
            }
        }
        Ok(Some(ranges))
    }

    /// A table's reads whose epoch is not above the one that the warehouse knows, in a log that
    /// this group has not applied, and later than everything that is applied: the source was begun
    /// again, and the epoch that was known of it is lost. The rows there are in the way.
    pub(super) fn mark_if_begun_again(&mut self, event: &Event<'_>) {
        let Some(lsn) = event.envelope.source.lsn else { return };
        let owned = self.owned.get(event.partition);
        let Some(owned) = owned.filter(|owned| owned.is_new_log) else { return };
        let mark = self.mark(event.partition, event.table);
        let is_later = mark.filter(|mark| mark.log != owned.place.log).is_some_and(|mark| {
            let at = mark.position;
            at.epoch >= event.position.epoch && at.commit_lsn.0 > 0 && lsn > at.commit_lsn.0
        });
        let known = self.tables.get(event.table);
        if is_later && known.is_some_and(|known| known.target.reread.is_empty()) {
            let reason = "its rows were snapshotted in an epoch that the warehouse knows already: \
                          the agent's state was lost, and rows that are there are taken for newer";
            let at = Position { commit_lsn: Lsn(lsn), ..event.position };
            self.mark_for_reread(event.table, at, reason);
        }
    }

    /// Reads of a table were removed from its topic before they were applied.
    fn mark_lost_reads(&mut self, read: &WholeRead) {
        let known = self.tables.get(&read.table);
        if known.is_none_or(|known| !known.target.reread.is_empty()) {
            return;
        }
        let reason = format!(
            "rows of the snapshot of epoch {} were removed from topic {} before they were applied",
            read.epoch, read.topic
        );
        let at = Position { commit_lsn: Lsn(1), ..first_of(read.epoch) };
        self.mark_for_reread(&read.table, at, &reason);
        self.marks_only = true;
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
