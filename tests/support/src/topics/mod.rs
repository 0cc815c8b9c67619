//! What is in Kafka: topics read from their beginning, or followed live.

mod tail;

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::message::Headers;
use regex::Regex;

pub use tail::Tail;

/// A reader that has received nothing for so long gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// One record, as it lies in its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRecord {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Key; `None` for a null key.
    pub key: Option<Vec<u8>>,
    /// Value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order. A null value and an empty one look alike.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The record's time in milliseconds since 1970, if it has one.
    pub timestamp: Option<i64>,
}

impl TopicRecord {
    /// The first header of this name, as text.
    ///
    /// # Panics
    ///
    /// If it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(std::str::from_utf8(value).expect("headers are text"))
    }

    /// The value as text; empty for a tombstone.
    pub fn value_text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    fn new(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|headers| {
            let owned = |header: rdkafka::message::Header<'_, &[u8]>| {
                (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
            };
            headers.iter().map(owned).collect()
        });
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
            timestamp: message.timestamp().to_millis(),
        }
    }
}

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All of them.
    Uncommitted,
    /// Those of committed transactions, and those written outside of any.
    Committed,
}

/// Every record of the topics whose whole name matches a pattern, up to the end that each partition
/// has at the time of the call; by partition in order, topics and partitions in no order.
///
/// # Panics
///
/// If the broker is silent for a minute, or the pattern is no regular expression.
#[track_caller]
pub fn read_all(bootstrap: &str, pattern: &str) -> Vec<TopicRecord> {
    let mut records = Vec::new();
    for_each(bootstrap, pattern, Isolation::Uncommitted, |record| records.push(record));
    records
}

/// As [`read_all`], without the records of open and aborted transactions.
///
/// # Panics
///
/// As [`read_all`].
#[track_caller]
pub fn read_committed(bootstrap: &str, pattern: &str) -> Vec<TopicRecord> {
    let mut records = Vec::new();
    for_each(bootstrap, pattern, Isolation::Committed, |record| records.push(record));
    records
}

/// As [`read_all`], one record at a time: for topics that are too large to be kept.
///
/// # Panics
///
/// As [`read_all`].
#[track_caller]
pub fn for_each(
    bootstrap: &str,
    pattern: &str,
    isolation: Isolation,
    mut take: impl FnMut(TopicRecord),
) {
    let consumer = consumer(bootstrap, isolation);
    for (topic, partitions) in matching(&consumer, pattern) {
        read_topic(&consumer, &topic, partitions, &mut take);
    }
}

/// One topic at a time: the end of a partition is told by its number alone.
fn read_topic(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: i32,
    take: &mut impl FnMut(TopicRecord),
) {
    let mut open = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        let (low, high) = watermarks(consumer, topic, partition);
        if low < high {
            open.insert(partition, high);
            let added = assignment.add_partition_offset(topic, partition, Offset::Offset(low));
            added.expect("offsets are not negative");
        }
    }
    consumer.assign(&assignment).expect("partitions can be assigned");
    let mut heard = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                // What came after the call is not asked for.
                let Some(&end) = open.get(&message.partition()) else { continue };
                if message.offset() < end {
                    take(TopicRecord::new(&message));
                }
                if message.offset() + 1 >= end {
                    open.remove(&message.partition());
                }
            }
            // Markers of transactions, open transactions and compaction leave no record at the end.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(_)) | None => {
                let silent = heard.elapsed();
                assert!(silent < PATIENCE, "{topic}: no record for {silent:?}, ends: {open:?}");
            }
        }
    }
}

/// Number of records in the topics whose whole name matches, by the partitions' first and last
/// offsets: markers and compacted records count too.
///
/// # Panics
///
/// If the broker does not answer.
pub fn count(bootstrap: &str, pattern: &str) -> u64 {
    let consumer = consumer(bootstrap, Isolation::Uncommitted);
    let mut count = 0;
    for (topic, partitions) in matching(&consumer, pattern) {
        for partition in 0..partitions {
            let (low, high) = watermarks(&consumer, &topic, partition);
            count += u64::try_from(high - low).unwrap_or(0);
        }
    }
    count
}

/// The topics whose whole name matches, with their number of partitions.
fn matching(consumer: &BaseConsumer, pattern: &str) -> Vec<(String, i32)> {
    let pattern = Regex::new(&format!("^(?:{pattern})$")).expect("a regular expression");
    let metadata = consumer.fetch_metadata(None, PATIENCE).expect("the broker answers");
    let topics = metadata.topics().iter().filter(|topic| pattern.is_match(topic.name()));
    let counted = topics.map(|topic| {
        let partitions = i32::try_from(topic.partitions().len()).expect("partitions are few");
        (topic.name().to_owned(), partitions)
    });
    counted.collect()
}

fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let begun = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok(watermarks) => return watermarks,
            // A topic that has just been created may have no leader yet.
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable,
            )) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("{topic}/{partition} has no end: {error}"),
        }
    }
}

fn consumer(bootstrap: &str, isolation: Isolation) -> BaseConsumer {
    let isolation = match isolation {
        Isolation::Uncommitted => "read_uncommitted",
        Isolation::Committed => "read_committed",
    };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "cdc-testkit")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", isolation)
        .set("fetch.wait.max.ms", "50")
        .set("fetch.queue.backoff.ms", "5")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("topic.metadata.refresh.interval.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Emerg);
    config.create().expect("the settings are good")
}
