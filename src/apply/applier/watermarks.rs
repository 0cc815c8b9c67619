//! The second layer: what a partition brings at or below its watermark was applied before.
//!
//! That holds as long as a key's records are in one partition. Where a topic gets another number of
//! partitions, a change that was never acknowledged may be sent again to a partition that is past
//! its position: from then on watermarks of that epoch do not count, and the rows' own versions
//! judge. Records without a key are in partition 0 always.

use std::sync::Arc;

use crate::apply::applier::Applier;
use crate::apply::applier::Event;
use crate::apply::applier::Partition;
use crate::apply::error::ApplyError;
use crate::apply::merge::Target;
use crate::position::Position;

impl Applier {
    /// Notes how many partitions a topic has, and how far its watermarks count.
    pub(super) fn void_if_shared_anew(
        &mut self,
        topic: &Arc<str>,
        marks: &[(i32, Position)],
    ) -> Result<(), ApplyError> {
        let count = self.partition_counts.get(topic).copied().unwrap_or_default();
        if count <= 0 {
            return Ok(());
        }
        let next = marks.iter().map(|(_, mark)| mark.epoch + 1).max().unwrap_or_default();
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
        let owned = self.owned.get(event.partition);
        let Some(mark) = owned.and_then(|owned| owned.watermark) else { return false };
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
            tracing::error!(table = %event.table, reason, "this table must be read again");
            self.change_target(event.table, |known| {
                let target = Arc::make_mut(&mut known.target);
                reason.clone_into(&mut target.reread);
                target.reread_at = Some(event.position);
            });
        }
        true
    }

    /// Whether a watermark tells what its partition has brought.
    pub(super) fn counts(&self, topic: &Arc<str>, mark: Position) -> bool {
        mark.epoch >= self.void_below.get(topic).copied().unwrap_or_default()
    }

    pub(super) fn raise_watermark(&mut self, event: &Event<'_>) {
        self.remember(event.partition);
        if let Some(owned) = self.owned.get_mut(event.partition) {
            owned.watermark = owned.watermark.max(Some(event.position));
        }
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
    pub(super) fn is_below_watermark(&self, partition: &Partition, position: Position) -> bool {
        let mark = self.owned.get(partition).and_then(|owned| owned.watermark);
        mark.is_some_and(|mark| position <= mark && self.counts(&partition.0, mark))
    }
}
