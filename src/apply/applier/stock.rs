//! Records of a stock Debezium, which carry no position.
//!
//! A partition of such a topic has one writer, and **the order of its offsets is the truth**. What
//! was applied of a log up to an offset was applied, whichever group asks. Beyond that, positions
//! are derived: they order changes of several partitions, and tell what a connector that was
//! restarted sends again from what is new.
//!
//! - A connector that was created again takes a snapshot: its rows are a new epoch of the table,
//!   above everything that was streamed before.
//! - Its first transaction has no `sequence[0]`, and goes on where the partition stands.
//! - Rows without key that share a position are counted: as many as were applied are sent again.
//! - A tombstone whose delete was compacted away deletes where the partition stands.

use std::sync::Arc;

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::applier::NO_OFFSETS;
use crate::apply::applier::Partition;
use crate::apply::applier::record::Record;
use crate::apply::applier::record::RecordProblem;
use crate::apply::applier::tables::TableProblem;
use crate::apply::error::ApplyError;
use crate::apply::merge::Mark;
use crate::apply::merge::Snapshot;
use crate::apply::merge::Target;
use crate::apply::merge::mark::Ties;
use crate::envelope::Operation;
use crate::envelope::read::Envelope;
use crate::lsn::Lsn;
use crate::position::Position;
use crate::table::TableName;

/// Snapshots of a table that are remembered.
const SNAPSHOTS_MAX: usize = 16;

/// A change that commits so much later than everything before it, at a lower LSN, is of a history
/// that began again: a database that was restored.
const HISTORY_MS: i64 = 10_000;

/// No connector is restarted within so long.
const RESTART_MS: i64 = 1_000;

/// What is found of a record beside its position.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock {
    /// It was applied before.
    pub(super) is_done: bool,
    /// LSN of a snapshot of the table that is new to the warehouse.
    snapshot: Option<u64>,
    /// Records at its position.
    ties: Option<Ties>,
}

/// What is known of a record's table.
struct Place<'a> {
    record: &'a Record,
    envelope: &'a Envelope<'a>,
    target: Option<Arc<Target>>,
    epoch: u64,
    mark: Option<Mark>,
    /// Of dead letters that are replayed nothing is known of their log.
    is_assigned: bool,
}

impl Applier {
    /// The position of a record that has none.
    pub(super) fn place(
        &mut self,
        record: &Record,
        partition: &Partition,
        (envelope, table): (&Envelope<'_>, &TableName),
    ) -> Result<(Position, Stock), TableProblem> {
        let known = self.tables.get(table);
        let place = Place {
            record,
            envelope,
            target: known.map(|known| Arc::clone(&known.target)),
            epoch: known.map_or(0, |known| known.epoch),
            mark: known.and_then(|_| self.mark(partition, table)).cloned(),
            is_assigned: self.owned.get(partition).is_some_and(|own| own.fence != NO_OFFSETS),
        };
        if let Some(mark) = &place.mark
            && self.is_applied(mark, record, partition)
        {
            return Ok((mark.position, Stock { is_done: true, ..Stock::default() }));
        }
        if envelope.operation == Operation::Read {
            return Ok(self.place_read(&place, table)?);
        }
        Ok(place.change()?)
    }

    /// Whether a record stands at or before the last one that was applied of its table, in the same
    /// log. A higher epoch of the leader means that the log was truncated in between.
    fn is_applied(&self, mark: &Mark, record: &Record, partition: &Partition) -> bool {
        let owned = self.owned.get(partition);
        owned.is_some_and(|owned| owned.fence != NO_OFFSETS && owned.place.log == mark.log)
            && record.offset <= mark.offset
            && record.leader_epoch <= mark.leader_epoch
    }

    fn place_read(
        &mut self,
        place: &Place<'_>,
        table: &TableName,
    ) -> Result<(Position, Stock), ApplyError> {
        let lsn = place.envelope.source.lsn.unwrap_or_default();
        let at = |epoch| Position { epoch, ord: lsn, ..Position::default() };
        let new = |epoch| (at(epoch), Stock { snapshot: Some(lsn), ..Stock::default() });
        let marker = place.envelope.source.snapshot();
        let mark = place.mark.as_ref().map(|mark| mark.position);
        if marker == "incremental" {
            // A chunk is read after everything that stands before it.
            let lowest = Position { epoch: place.epoch, ..Position::default() };
            return Ok((mark.unwrap_or(lowest), Stock::default()));
        }
        let Some(target) = &place.target else { return Ok(new(0)) };
        let known = target.snapshots.iter().rev().find(|snapshot| snapshot.lsn == lsn);
        // An interrupted snapshot of an idle database is taken again at the same LSN.
        let again = !target.is_keyed()
            && marker.starts_with("first")
            && known.is_some_and(|known| mark == Some(at(known.epoch)));
        if let Some(known) = known.filter(|_| !again) {
            return Ok((at(known.epoch), Stock::default()));
        }
        if !place.is_assigned {
            return Ok((at(place.epoch), Stock::default()));
        }
        let is_later = again
            || !target.snapshots.is_empty()
            || lsn > self.highest_lsn(&place.record.topic, table)?;
        Ok(new(if is_later { place.epoch + 1 } else { place.epoch }))
    }

    /// The highest LSN that was applied of a table, in any partition.
    fn highest_lsn(&mut self, topic: &Arc<str>, table: &TableName) -> Result<u64, ApplyError> {
        let stored = self.warehouse.watermarks(topic)?;
        let stored = stored.iter().filter(|stored| stored.table == *table);
        let owned = self.owned.values().filter_map(|owned| owned.marks.get(table));
        let positions =
            stored.map(|stored| stored.mark.position).chain(owned.map(|known| known.mark.position));
        // The LSN of a change of ours is its commit's, and its place in it is a small number.
        let lsn = |position: Position| position.commit_lsn.0.max(position.ord);
        Ok(positions.map(lsn).max().unwrap_or_default())
    }

    /// Notes a snapshot of the table that is new to the warehouse.
    pub(super) fn note_snapshot(&mut self, event: &Event<'_>) {
        let Some(lsn) = event.stock.as_ref().and_then(|stock| stock.snapshot) else { return };
        let epoch = event.position.epoch;
        tracing::info!(table = %event.table, epoch, "a snapshot of a connector begins");
        self.change_target(event.table, |known| {
            let snapshots = &mut Arc::make_mut(&mut known.target).snapshots;
            snapshots.push(Snapshot { lsn, epoch });
            let surplus = snapshots.len().saturating_sub(SNAPSHOTS_MAX);
            snapshots.drain(..surplus);
        });
    }

    /// Notes that a partition is past a record, though it raises no position.
    pub(super) fn pass(&mut self, event: &Event<'_>) {
        if event.stock.is_none() {
            return;
        }
        let is_below = |mark: &Mark| event.position < mark.position;
        let ties = event.stock.as_ref().and_then(|stock| stock.ties.clone());
        self.note_offset(event.partition, (event.record, event.table), |mark| {
            if let Some(ties) = ties {
                mark.ties = Some(ties);
            } else if is_below(mark)
                && let Some(known) = &mut mark.ties
            {
                // What is below comes again, and then what is at the mark.
                known.again = 0;
            }
        });
    }

    /// Notes the offset of a record among those of its table.
    pub(super) fn note_offset(
        &mut self,
        partition: &Partition,
        (record, table): (&Record, &TableName),
        change: impl FnOnce(&mut Mark),
    ) {
        let Some(known) = self.mark(partition, table) else { return };
        if self.is_applied(known, record, partition) {
            return;
        }
        self.remember(partition);
        let Some(owned) = self.owned.get_mut(partition) else { return };
        let Some(known) = owned.marks.get_mut(table) else { return };
        known.mark.offset = record.offset;
        known.mark.log.clone_from(&owned.place.log);
        known.mark.leader_epoch = record.leader_epoch;
        change(&mut known.mark);
    }

    /// Where a tombstone deletes whose delete is not there: above everything that its partition has
    /// brought of the table. `None`: it was applied, or nothing of the table was.
    pub(super) fn place_tombstone(
        &self,
        record: &Record,
        (partition, table): (&Partition, &TableName),
    ) -> Option<Position> {
        let mark = self.mark(partition, table)?;
        if self.is_applied(mark, record, partition) {
            return None;
        }
        Some(Position { sub: mark.position.sub.saturating_add(1), ..mark.position })
    }
}

impl Stock {
    /// Records at the position of one that was taken.
    pub(super) fn ties(&self) -> Option<Ties> {
        self.ties.clone()
    }
}

impl Place<'_> {
    /// The position of a streamed change.
    fn change(&self) -> Result<(Position, Stock), RecordProblem> {
        let source = &self.envelope.source;
        let sequence = source.sequence.as_deref().unwrap_or("[]");
        let pair: Vec<Option<String>> = serde_json::from_str(sequence).unwrap_or_default();
        let number = |at: usize| -> Option<u64> { pair.get(at)?.as_ref()?.parse().ok() };
        let lsn = number(1).or(source.lsn).ok_or_else(|| {
            RecordProblem::new("it has neither the header cdc.position nor source.sequence")
        })?;
        let commit = number(0);
        let is_keyed = self.target.as_ref().is_some_and(|target| target.is_keyed());
        let mut position = self.after(self.epoch_of(commit, lsn), (commit, lsn));
        if let Some(mark) = &self.mark
            && is_keyed
            && mark.commit_ms > 0
            && position < mark.position
            && source.ts_ms.unwrap_or_default() > mark.commit_ms.saturating_add(HISTORY_MS)
        {
            position = self.after(mark.position.epoch + 1, (commit, lsn));
        }
        if is_keyed || self.target.is_none() && self.envelope.operation == Operation::Truncate {
            return Ok((position, Stock::default()));
        }
        let (is_done, ties) = self.count(position);
        Ok((position, Stock { is_done, ties, snapshot: None }))
    }

    fn after(&self, epoch: u64, (commit, lsn): (Option<u64>, u64)) -> Position {
        let mark = self.mark.as_ref().map(|mark| mark.position);
        // A connector's first transaction does not know the commit before it.
        let before = mark.filter(|mark| mark.epoch == epoch).map(|mark| mark.commit_lsn.0);
        Position {
            epoch,
            // Never zero: that is what reads have.
            commit_lsn: Lsn(commit.or(before).unwrap_or_default().max(1)),
            ord: lsn,
            sub: u8::from(self.envelope.operation != Operation::Delete),
        }
    }

    /// The epoch that a streamed change belongs to: that of the latest snapshot which its partition
    /// has brought, or which was taken before it.
    fn epoch_of(&self, commit: Option<u64>, lsn: u64) -> u64 {
        let snapshots = self.target.as_ref().map_or(&[][..], |target| &target.snapshots);
        let at = commit.unwrap_or_default().max(lsn);
        let of_mark = self.mark.as_ref().map(|mark| mark.position.epoch);
        let by_lsn = snapshots.iter().filter(|snapshot| snapshot.lsn <= at);
        let by_lsn = by_lsn.map(|snapshot| snapshot.epoch).max();
        // The first transaction of a connector, in a partition of which nothing else is known.
        let is_first = commit.is_none() && self.mark.is_none();
        let newest = snapshots.last().filter(|_| is_first).map(|snapshot| snapshot.epoch);
        of_mark.max(by_lsn).max(newest).unwrap_or(self.epoch)
    }

    /// Whether a change of a table without key was applied, and the count of those at its position.
    fn count(&self, position: Position) -> (bool, Option<Ties>) {
        let read_ms = self.envelope.ts_ms.unwrap_or_default();
        let first = self.digest();
        let known = self.mark.as_ref().filter(|mark| mark.position == position);
        let Some(known) = known else {
            let is_below = self.mark.as_ref().is_some_and(|mark| mark.position > position);
            let ties = Ties { applied: 1, again: 1, first, read_ms };
            return (false, Some(ties).filter(|_| !is_below));
        };
        let ties = known.ties.clone().unwrap_or(Ties { applied: 1, again: 1, first, read_ms });
        let comes_again = ties.again < ties.applied;
        let begins_again = first == ties.first && read_ms >= ties.read_ms + RESTART_MS;
        match (comes_again, begins_again) {
            (true, _) => (true, Some(Ties { again: ties.again + 1, read_ms, ..ties })),
            (false, true) => (true, Some(Ties { again: 1, read_ms, ..ties })),
            (false, false) => {
                let applied = ties.applied + 1;
                (false, Some(Ties { applied, again: applied, read_ms, ..ties }))
            }
        }
    }

    /// Digest of what happened to the row.
    fn digest(&self) -> u64 {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(&[self.envelope.operation.letter() as u8]);
        for row in [self.envelope.before, self.envelope.after] {
            context.update(row.map_or("", |row| row.get()).as_bytes());
            context.update(&[0]);
        }
        let mut bytes = [0; 8];
        for (byte, found) in bytes.iter_mut().zip(context.finish().as_ref()) {
            *byte = *found;
        }
        u64::from_be_bytes(bytes)
    }
}
