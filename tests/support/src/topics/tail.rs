//! Topics followed live.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use regex::Regex;

use super::Isolation;
use super::TopicRecord;

/// How often new topics and partitions are looked for.
const DISCOVERY: Duration = Duration::from_millis(500);

/// Follows the topics whose whole name matches a pattern from their beginning, also topics that
/// appear later. It belongs to no group and commits nothing.
pub struct Tail {
    consumer: BaseConsumer,
    pattern: Regex,
    known: BTreeSet<(String, i32)>,
    looked: Option<Instant>,
}

impl Tail {
    /// Begins to follow. The broker need not be there yet.
    ///
    /// # Panics
    ///
    /// If the pattern is no regular expression.
    pub fn new(bootstrap: &str, pattern: &str) -> Self {
        Self {
            consumer: super::consumer(bootstrap, Isolation::Uncommitted),
            pattern: Regex::new(&format!("^(?:{pattern})$")).expect("a regular expression"),
            known: BTreeSet::new(),
            looked: None,
        }
    }

    /// The next record, or `None` if none came in this time.
    pub fn next(&mut self, timeout: Duration) -> Option<TopicRecord> {
        let began = Instant::now();
        loop {
            self.discover();
            let left = timeout.saturating_sub(began.elapsed());
            // Errors are ends of partitions, and a broker that is away for a while.
            if let Some(Ok(message)) = self.consumer.poll(left.min(DISCOVERY)) {
                return Some(TopicRecord::new(&message));
            }
            if began.elapsed() >= timeout {
                return None;
            }
        }
    }

    /// Asks in short turns: a broker that does not answer must not hold up records that are here.
    fn discover(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < DISCOVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let metadata = self.consumer.fetch_metadata(None, Duration::from_millis(300));
        let Ok(metadata) = metadata else { return };
        let mut added = TopicPartitionList::new();
        for topic in metadata.topics().iter().filter(|topic| self.pattern.is_match(topic.name())) {
            for partition in topic.partitions() {
                if self.known.insert((topic.name().to_owned(), partition.id())) {
                    let offset = Offset::Beginning;
                    let partition =
                        added.add_partition_offset(topic.name(), partition.id(), offset);
                    partition.expect("the beginning is an offset");
                }
            }
        }
        if added.count() > 0 {
            self.consumer.incremental_assign(&added).expect("partitions can be assigned");
        }
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tail").field("known", &self.known).finish_non_exhaustive()
    }
}
