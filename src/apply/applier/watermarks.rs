//! The second layer: what a partition brings of a table at or below its watermark was applied
//! before, by whatever group.
//!
//! A watermark is of a table in a partition of a topic: several sources and several tables may
//! share a topic, and each has positions of its own. What is stored of a table that the warehouse
//! does not have any more does not count.
//!
//! All of it holds as long as a key's records are in one partition. Where a topic gets another
//! number of partitions, a change that was never acknowledged may be sent again to a partition that
//! is past its position: from then on watermarks of that epoch do not count, and the rows' own
//! versions judge. Records without a key are in partition 0 always.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::applier::Partition;
use crate::apply::applier::stock::Stock;
use crate::apply::error::ApplyError;
use crate::apply::merge::Mark;
use crate::apply::merge::StoredMark;
use crate::apply::merge::Target;
use crate::apply::merge::WatermarkPlan;
use crate::position::Position;
use crate::table::TableName;

/// Watermarks of a partition's tables; a table is filled by one prefix only.
pub(super) type Marks = HashMap<TableName, TableMark>;

/// The watermark of a table, and the prefix that brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableMark {
    pub(super) prefix: String,
    pub(super) mark: Mark,
}

/// Watermarks of a topic, and the topic.
type OfTopic = (Arc<str>, Vec<StoredMark>);

impl Applier {
    /// Reads the watermarks of all partitions that are assigned.
    pub(super) fn read_marks(&mut self) -> Result<Vec<OfTopic>, ApplyError> {
        let topics: HashSet<Arc<str>> =
            self.owned.keys().map(|(topic, _)| Arc::clone(topic)).collect();
        topics
            .into_iter()
            .map(|topic| {
                let marks = self.read_marks_of(&topic)?;
                Ok((topic, marks))
            })
            .collect()
    }

    pub(super) fn read_marks_of(
        &mut self,
        topic: &Arc<str>,
    ) -> Result<Vec<StoredMark>, ApplyError> {
        let stored = self.warehouse.watermarks(topic)?;
        for (_, owned) in self.owned.iter_mut().filter(|(partition, _)| partition.0 == *topic) {
            owned.marks.clear();
        }
        for StoredMark { partition, prefix, table, mark } in &stored {
            let Some(owned) = self.owned.get_mut(&(Arc::clone(topic), *partition)) else {
                continue;
            };
            let known = self.tables.get(table);
            if known.is_none_or(|known| known.target.prefix == *prefix) {
                let mark = TableMark { prefix: prefix.clone(), mark: mark.clone() };
                owned.marks.insert(table.clone(), mark);
            }
        }
        Ok(stored)
    }

    /// The watermark of a table in a partition.
    pub(super) fn mark(&self, partition: &Partition, table: &TableName) -> Option<&Mark> {
        self.owned.get(partition)?.marks.get(table).map(|known| &known.mark)
    }

    /// A table is created: what was applied to one of its name that is gone does not count.
    pub(super) fn forget_marks(&mut self, table: &TableName) {
        let of_table: Vec<Partition> = self
            .owned
            .iter()
            .filter(|(_, owned)| owned.marks.contains_key(table))
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in of_table {
            self.remember(&partition);
            if let Some(owned) = self.owned.get_mut(&partition) {
                owned.marks.remove(table);
            }
        }
    }

    /// Notes how many partitions a topic has, and how far its watermarks count.
    pub(super) fn void_if_shared_anew(
        &mut self,
        topic: &Arc<str>,
        marks: &[StoredMark],
    ) -> Result<(), ApplyError> {
        let count = self.partition_counts.get(topic).copied().unwrap_or_default();
        if count <= 0 {
            return Ok(());
        }
        let epochs = marks.iter().map(|stored| stored.mark.position.epoch.saturating_add(1));
        let next = epochs.max().unwrap_or_default();
        let below = self.warehouse.note_partitions(topic, count, next)?;
        if below > 0 && below == next {
            tracing::info!(
                topic = %topic, partitions = count,
                "the topic has had another number of partitions: what comes again is told by rows, \
                 not by watermarks"
            );
        }
        self.void_below.insert(Arc::clone(topic), below);
        Ok(())
    }

    /// Whether a partition brings nothing new here. Debezium's own order has ties, so that an equal
    /// position may be another change.
    pub(super) fn is_done_before(
        &mut self,
        event: &Event<'_>,
        target: &Target,
        (is_ours, is_read): (bool, bool),
    ) -> bool {
        if is_read && target.is_keyed() {
            return false;
        }
        let mark = self.mark(event.partition, event.table).map(|mark| mark.position);
        let Some(mark) = mark else { return false };
        if self.settings.broken.without_watermark {
            return false;
        }
        let is_below = if is_ours { event.position <= mark } else { event.position < mark };
        if !is_below || event.record.key.is_none() {
            return is_below;
        }
        let counts = self.counts(&event.record.topic, mark);
        if target.is_keyed() {
            if counts {
                self.relied_on.insert(Arc::clone(&event.record.topic));
            }
            return counts;
        }
        if !counts && target.reread.is_empty() {
            let reason = "its topic has got another number of partitions, and changes came again: \
                          without a key it is not known which were applied";
            self.mark_for_reread(event.table, event.position, reason);
        }
        true
    }

    /// The rows of a table cannot be made right from its records: it must be snapshotted again.
    pub(super) fn mark_for_reread(&mut self, table: &TableName, at: Position, reason: &str) {
        tracing::error!(%table, reason, "this table must be read again");
        self.change_target(table, |known| {
            let target = Arc::make_mut(&mut known.target);
            reason.clone_into(&mut target.reread);
            target.reread_at = Some(at);
        });
    }

    /// Whether a watermark tells what its partition has brought.
    pub(super) fn counts(&self, topic: &Arc<str>, mark: Position) -> bool {
        mark.epoch >= self.void_below.get(topic).copied().unwrap_or_default()
    }

    pub(super) fn raise_watermark(&mut self, event: &Event<'_>) {
        self.remember(event.partition);
        let Some(owned) = self.owned.get_mut(event.partition) else { return };
        let known = owned.marks.get(event.table).map(|known| &known.mark);
        if let Some(known) = known
            && (known.position > event.position
                || (known.position == event.position && event.stock.is_none()))
        {
            return self.pass(event);
        }
        let mark = Mark {
            position: event.position,
            offset: event.record.offset,
            log: owned.place.log.clone(),
            leader_epoch: event.record.leader_epoch,
            commit_ms: event.envelope.source.ts_ms.unwrap_or_default(),
            ties: event.stock.as_ref().and_then(Stock::ties),
        };
        let prefix = event.envelope.source.name.as_ref().to_owned();
        owned.marks.insert(event.table.clone(), TableMark { prefix, mark });
    }

    /// Watermarks that the batch raises, in the order in which everybody locks them.
    pub(super) fn watermark_plans(&self) -> Vec<WatermarkPlan> {
        let mut plans = Vec::new();
        for (partition, before) in &self.owned_before {
            let Some(owned) = self.owned.get(partition) else { continue };
            for (table, TableMark { prefix, mark }) in &owned.marks {
                let before = before.marks.get(table).filter(|known| known.prefix == *prefix);
                if before.is_some_and(|before| before.mark == *mark) {
                    continue;
                }
                plans.push(WatermarkPlan {
                    topic: partition.0.to_string(),
                    partition: partition.1,
                    prefix: prefix.clone(),
                    table: table.clone(),
                    before: before.filter(|_| !self.is_new(table)).map(|known| known.mark.clone()),
                    mark: mark.clone(),
                });
            }
        }
        let order = |plan: &WatermarkPlan| {
            (plan.topic.clone(), plan.partition, plan.prefix.clone(), plan.table.clone())
        };
        plans.sort_by_cached_key(order);
        plans
    }

    /// Whether the batch has left out records because of a watermark.
    pub fn relies_on_watermarks(&self) -> bool {
        !self.relied_on.is_empty()
    }

    /// A topic of such records that has got another number of partitions: they may have been new.
    pub fn shared_anew(&self, counts: &[(Arc<str>, i32)]) -> Option<Arc<str>> {
        let differs = |(topic, count): &&(Arc<str>, i32)| {
            self.relied_on.contains(topic)
                && self.partition_counts.get(topic).is_some_and(|known| known != count)
        };
        counts.iter().find(differs).map(|(topic, _)| Arc::clone(topic))
    }

    /// Whether a tombstone's delete was applied.
    pub(super) fn is_below_watermark(
        &self,
        partition: &Partition,
        (table, position): (&TableName, Position),
    ) -> bool {
        let mark = self.mark(partition, table).map(|mark| mark.position);
        mark.is_some_and(|mark| position <= mark && self.counts(&partition.0, mark))
    }

    /// Whether a row's state that a partition brings may be older than what was applied of it: a
    /// snapshot that is consumed once more stands below changes that are not consumed again.
    pub(super) fn may_be_stale(&self, event: &Event<'_>) -> bool {
        let mark = self.mark(event.partition, event.table).map(|mark| mark.position);
        !self.is_new(event.table)
            && mark.is_some_and(|mark| {
                mark > event.position || !self.counts(&event.record.topic, mark)
            })
    }

    /// Whether every other partition of the topic is past a position, so that nothing of it can
    /// come any more. Positions of several tables compare within one epoch only.
    pub(super) fn others_have_passed(
        &mut self,
        event: &Event<'_>,
        position: Position,
    ) -> Result<bool, ApplyError> {
        let topic = &event.record.topic;
        let count = self.partition_counts.get(topic).copied().unwrap_or(1);
        let stored = self.warehouse.watermarks(topic)?;
        let prefix = event.envelope.source.name.as_ref();
        let is_past = |(table, mark): (&TableName, Position)| {
            (table == event.table || mark.epoch == position.epoch)
                && mark > position
                && self.counts(topic, mark)
        };
        let passed = |partition: i32| {
            let ours = self.owned.get(&(Arc::clone(topic), partition));
            let ours = ours.into_iter().flat_map(|owned| &owned.marks);
            let ours = ours.filter(|(_, known)| known.prefix == prefix);
            let of_partition = stored
                .iter()
                .filter(|stored| stored.partition == partition && stored.prefix == prefix);
            ours.map(|(table, known)| (table, known.mark.position)).any(is_past)
                || of_partition.map(|stored| (&stored.table, stored.mark.position)).any(is_past)
        };
        Ok((0..count).filter(|partition| *partition != event.record.partition).all(passed))
    }
}
