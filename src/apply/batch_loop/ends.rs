//! How far everything is applied: with `--once` up to the ends at the start, and new reads of a
//! table up to their last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::apply::applier::Partition;
use crate::apply::applier::offset_of;
use crate::apply::batch_loop::BatchLoop;
use crate::apply::error::ApplyError;
use crate::position::Position;

/// How often partitions are looked at that other members of the group have, with `--once`.
const OTHERS_INTERVAL: Duration = Duration::from_millis(500);

/// A partition that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) offset: i64,
    /// Of the record that waits: what it waits for is older.
    pub(super) position: Position,
    pub(super) since: Instant,
    pub(super) tried: Instant,
    /// Where the topic's other partitions ended when it had waited for long: what it waits for was
    /// sent before.
    pub(super) ends: Option<Arc<BTreeMap<i32, i64>>>,
}

impl BatchLoop<'_> {
    /// Tables that were read anew lose what was not read again.
    pub(super) fn finish_whole_reads(&mut self) -> Result<(), ApplyError> {
        self.commit()?;
        let consumer = &self.consumer;
        let first = |partition: &Partition| consumer.log_ends(partition).ok().map(|ends| ends.low);
        self.applier.find_whole_reads(first, |partition, from, to| {
            // A log that does not reach that far is another one, and what was removed was there.
            let ends = consumer.log_ends(partition);
            let reaches = ends.is_ok_and(|ends| ends.low <= from && ends.high >= to);
            reaches && consumer.has_record(partition, from, to).is_ok_and(|has| !has)
        })?;
        self.commit()
    }

    pub(super) fn others_are_done(&mut self, partition: &Partition) -> Result<bool, ApplyError> {
        for (other, end) in &self.ends {
            let Some(at) = self.applied.get(other).copied() else { continue };
            if other != partition
                && !self.waiting.contains_key(other)
                && self.consumer.has_record(other, at, *end)?
            {
                return Ok(false);
            }
        }
        self.are_foreign_done()
    }

    /// Where every other partition of a topic ends now, by number.
    pub(super) fn ends_of_others(
        &mut self,
        partition: &Partition,
    ) -> Result<BTreeMap<i32, i64>, ApplyError> {
        let counts = self.consumer.partition_counts()?;
        let count = counts.iter().find(|(topic, _)| *topic == partition.0).map_or(0, |(_, n)| *n);
        let mut ends = BTreeMap::new();
        for number in (0..count).filter(|number| *number != partition.1) {
            let other = (Arc::clone(&partition.0), number);
            ends.insert(number, self.consumer.log_ends(&other)?.high);
        }
        Ok(ends)
    }

    /// Whether every other partition of a topic, whoever has it, is applied up to these ends, or
    /// waits itself.
    pub(super) fn others_are_at(
        &mut self,
        partition: &Partition,
        ends: &BTreeMap<i32, i64>,
    ) -> Result<bool, ApplyError> {
        let stored = self.applier.warehouse().offsets(&self.settings.group)?;
        for (number, end) in ends {
            let other = (Arc::clone(&partition.0), *number);
            if self.waiting.contains_key(&other) {
                continue;
            }
            let at = self.applied.get(&other).copied();
            let at = at.unwrap_or_else(|| offset_of(&stored, &other));
            if self.consumer.has_record(&other, at, *end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether partitions that other members of the group have are applied up to where they ended
    /// at the start: they are part of what `--once` promises.
    pub(super) fn others_have_caught_up(&mut self) -> Result<bool, ApplyError> {
        if self.ends.keys().all(|partition| self.applied.contains_key(partition)) {
            return Ok(true);
        }
        if self.others_asked.elapsed() < OTHERS_INTERVAL {
            return Ok(false);
        }
        self.others_asked = Instant::now();
        let done = self.are_foreign_done()?;
        if !done {
            tracing::info!("waiting for partitions that other members of the group apply");
        }
        Ok(done)
    }

    pub(super) fn are_foreign_done(&mut self) -> Result<bool, ApplyError> {
        let is_foreign = |partition: &Partition| !self.applied.contains_key(partition);
        let foreign: Vec<(&Partition, &i64)> = self
            .ends
            .iter()
            .filter(|(partition, end)| is_foreign(partition) && **end > 0)
            .collect();
        if foreign.is_empty() {
            return Ok(true);
        }
        let stored = self.applier.warehouse().offsets(&self.settings.group)?;
        for (partition, end) in foreign {
            let at = offset_of(&stored, partition);
            if self.consumer.has_record(partition, at, *end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where every partition ends now, also those that are not ours.
    pub(super) fn note_ends(&mut self) -> Result<(), ApplyError> {
        for (topic, count) in self.consumer.partition_counts()? {
            for number in 0..count {
                let partition = (Arc::clone(&topic), number);
                if !self.ends.contains_key(&partition) {
                    let high = self.consumer.log_ends(&partition)?.high;
                    self.ends.insert(partition, high);
                }
            }
        }
        Ok(())
    }

    /// Whether every partition is applied up to where it ended at the start.
    pub(super) fn is_past_ends(&self) -> bool {
        let is_past = |(partition, at): (&Partition, &i64)| {
            self.ends.get(partition).is_some_and(|end| at >= end)
        };
        self.assigned && self.waiting.is_empty() && self.applied.iter().all(is_past)
    }

    pub(super) fn is_caught_up(&self) -> Result<bool, ApplyError> {
        if !self.assigned || !self.waiting.is_empty() {
            return Ok(false);
        }
        for (partition, applied) in &self.applied {
            let end = self.ends.get(partition).copied().unwrap_or(0);
            if *applied < end && self.consumer.has_record(partition, *applied, end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
