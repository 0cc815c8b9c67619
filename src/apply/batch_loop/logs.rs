//! Which log an offset belongs to.
//!
//! A topic that was deleted and created again, or that lost its end to an unclean election or a
//! broker's crash, has other records at the same offsets. Two things tell: the topic's id, which
//! every log has of its own, and the record before the stored offset, which must be the one that
//! was applied last. Where either differs, the log is read from its beginning; what it brings that
//! was applied before is told by positions.

use std::sync::Arc;

use crate::apply::applier::Partition;
use crate::apply::applier::Record;
use crate::apply::batch_loop::BatchLoop;
use crate::apply::consumer::LogEnds;
use crate::apply::error::ApplyError;
use crate::apply::merge::LogPlace;
use crate::apply::warehouse::Claim;

/// Where a partition begins.
pub(super) struct Begin {
    pub(super) offset: i64,
    pub(super) place: LogPlace,
    /// What must stand before it.
    pub(super) proof: Option<Proof>,
}

/// The last record that was applied: where it stands in the log, and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) offset: i64,
    digest: String,
}

impl Proof {
    /// Of the record before this offset, if that is the one that was applied last.
    fn before(stored: i64, place: &LogPlace) -> Option<Self> {
        let (offset, _) = place.last_record.split_once(':')?;
        let offset = offset.parse().ok().filter(|offset| *offset + 1 == stored)?;
        Some(Proof { offset, digest: place.last_record.clone() })
    }
}

impl BatchLoop<'_> {
    /// Where a partition begins: where the warehouse stands, if its log is still there.
    pub(super) fn start(
        &mut self,
        partition: &Partition,
        claim: Option<&Claim>,
    ) -> Result<Begin, ApplyError> {
        let ends = self.consumer.log_ends(partition)?;
        let (topic, number) = partition;
        let id = self.log_ids.get(topic).cloned().unwrap_or_default();
        let stored = if self.settings.broken.offsets_first {
            self.consumer.shown_offset(partition)?
        } else {
            claim.and_then(|claim| claim.next_offset)
        };
        let place = claim.map(|claim| claim.place.clone()).unwrap_or_default();
        // A broker that tells no ids now may have told them before.
        let is_other = !id.is_empty() && !place.log.is_empty() && id != place.log;
        let log = if id.is_empty() { place.log.clone() } else { id };
        match stored {
            None => {
                if ends.low > 0 {
                    tracing::warn!(
                        topic = %topic, partition = number, first = ends.low,
                        "the topic does not have its first records any more: what they brought is \
                         missing unless it was applied before"
                    );
                }
                Ok(Begin::at_the_first(ends, log))
            }
            Some(stored) if is_other => {
                tracing::warn!(
                    topic = %topic, partition = number, stored,
                    "the topic was deleted and created again: it is read from its beginning; what \
                     was applied is not applied twice"
                );
                Ok(Begin::at_the_first(ends, log))
            }
            Some(stored) if stored > ends.high => {
                tracing::warn!(
                    topic = %topic, partition = number, stored, end = ends.high,
                    "the topic is shorter than what was applied: it was created again or has lost \
                     its end, and is read from its beginning; what was applied is not applied twice"
                );
                Ok(Begin::at_the_first(ends, log))
            }
            Some(stored) if stored < ends.low => Err(removed(partition, stored, ends)),
            Some(stored) => {
                let proof = Proof::before(stored, &place).filter(|at| at.offset >= ends.low);
                Ok(Begin { offset: stored, place: LogPlace { log, ..place }, proof })
            }
        }
    }

    /// Whether a record is to be applied: the first of a partition may be the one that was applied
    /// last, which proves that the log is the same, or that it is not.
    pub(super) fn prove(
        &mut self,
        partition: &Partition,
        record: &Record,
    ) -> Result<bool, ApplyError> {
        let Some(proof) = self.unproven.remove(partition) else { return Ok(true) };
        if record.offset != proof.offset {
            // The record is gone, and so nothing tells.
            return Ok(true);
        }
        if record.digest() == proof.digest {
            return Ok(false);
        }
        let ends = self.consumer.log_ends(partition)?;
        tracing::warn!(
            topic = %partition.0, partition = partition.1, offset = record.offset,
            "the topic has another record where the last one was applied: it was created again or \
             has lost its end, and is read from its beginning; what was applied is not applied twice"
        );
        let log = self.log_ids.get(&partition.0).cloned().unwrap_or_default();
        let begin = Begin::at_the_first(ends, log);
        self.commit()?;
        self.applier.begin_at(partition, begin.offset, begin.place);
        self.applied.insert(partition.clone(), begin.offset);
        self.consumer.resume(partition, begin.offset)?;
        Ok(false)
    }

    /// Whether every log has shown that it is the one of its stored offset, as far as it can.
    pub(super) fn is_proven(&mut self, quiet: bool) -> Result<bool, ApplyError> {
        if !quiet {
            return Ok(self.unproven.is_empty());
        }
        for (partition, proof) in &self.unproven {
            if self.consumer.has_record(partition, proof.offset, proof.offset + 1)? {
                return Ok(false);
            }
        }
        self.unproven.clear();
        Ok(true)
    }

    /// Whether topics are still the logs that they were when partitions were assigned: the client
    /// goes on at its offset in a topic that was created again. It is asked after the records have
    /// come, so that what is committed is of the log that was claimed.
    pub(super) fn check_logs(&mut self) -> Result<(), ApplyError> {
        if self.log_ids.is_empty() {
            return Ok(());
        }
        let found = self.consumer.log_ids(self.applier.touched_topics())?;
        let differs = |(topic, id): &(&Arc<str>, &String)| {
            self.log_ids.get(*topic).is_some_and(|known| known != *id)
        };
        match found.iter().find(differs) {
            None => Ok(()),
            Some((topic, _)) => Err(ApplyError::Unreachable {
                message: format!("topic {topic} was deleted and created again"),
            }),
        }
    }
}

impl Begin {
    fn at_the_first(ends: LogEnds, log: String) -> Self {
        let place = LogPlace { log, begun_at: ends.low, last_record: String::new() };
        Begin { offset: ends.low, place, proof: None }
    }
}

fn removed((topic, number): &Partition, stored: i64, ends: LogEnds) -> ApplyError {
    ApplyError::Configuration {
        message: format!(
            "partition {number} of topic {topic} begins at offset {}, and the warehouse has it up \
             to {stored}: {} records were removed before they were applied",
            ends.low,
            ends.low - stored
        ),
        hint: "snapshot the source's tables again (drop the slot and start the agent again), then \
               use another --group; give topics a longer retention"
            .to_owned(),
    }
}
