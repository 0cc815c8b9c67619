//! Reading small compacted topics.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;

use crate::kafka::KafkaFailure;
use crate::kafka::KafkaSettings;
use crate::kafka::client_config;

/// How long reading may go on without a record.
const SILENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A compacted topic of one partition: read whole once, and then only what has been added.
#[derive(Debug)]
pub struct CompactedTopic {
    settings: KafkaSettings,
    topic: String,
    /// The latest value of every key; keys that ended in a tombstone are absent.
    found: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The last record that was read: where the next reading begins, if it is there still.
    last: Option<Last>,
}

/// What a record is known again by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    offset: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl CompactedTopic {
    /// Nothing is read yet.
    pub fn new(settings: KafkaSettings, topic: String) -> Self {
        CompactedTopic { settings, topic, found: BTreeMap::new(), last: None }
    }

    /// The latest value of every key in partition 0.
    ///
    /// **A topic that does not exist is an error and never an empty one**: a broker that has just
    /// come back knows none of its topics for a moment.
    ///
    /// # Errors
    ///
    /// No broker answers, it refuses, or it does not know the topic.
    pub fn read(&mut self) -> Result<&BTreeMap<Vec<u8>, Vec<u8>>, KafkaFailure> {
        let during = format!("reading topic {}", self.topic);
        let settings = self.settings.clone();
        let failed = |error: KafkaError| KafkaFailure::new(&settings, &during, &error);
        let consumer = self.consumer().map_err(failed)?;
        let (_, high) =
            consumer.fetch_watermarks(&self.topic, 0, Duration::from_secs(15)).map_err(failed)?;
        let goes_on = self.last.as_ref().is_some_and(|last| last.offset < high)
            && self.read_on(&consumer, high).map_err(failed)?;
        if !goes_on {
            // Nothing is read yet, or what was read last is gone: the topic was compacted there, or
            // is another one.
            self.found.clear();
            self.last = None;
            self.read_from(&consumer, Offset::Beginning, high).map_err(failed)?;
        }
        Ok(&self.found)
    }

    fn consumer(&self) -> Result<BaseConsumer, KafkaError> {
        let mut config = client_config(&self.settings, "cdc-agent");
        config
            // The client wants a group from every consumer; it is never joined, and nothing is
            // committed to it, so that no right to it is needed.
            .set("group.id", &self.topic)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // The end of a topic is told by a fetch that finds nothing, and must not wait for more.
            .set("fetch.wait.max.ms", "10")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false");
        config.create()
    }

    /// Reads on from the last record; gives whether that one is still there.
    fn read_on(&mut self, consumer: &BaseConsumer, high: i64) -> Result<bool, KafkaError> {
        let Some(known) = self.last.take() else { return Ok(false) };
        let offset = known.offset;
        let mut first = true;
        let mut is_known = false;
        self.each(consumer, (Offset::Offset(offset), high), |found, record| {
            if std::mem::replace(&mut first, false) {
                is_known = record == known;
            } else if is_known {
                take_in(found, record);
            }
            is_known
        })?;
        Ok(is_known)
    }

    fn read_from(
        &mut self,
        consumer: &BaseConsumer,
        from: Offset,
        high: i64,
    ) -> Result<(), KafkaError> {
        self.each(consumer, (from, high), |found, record| {
            take_in(found, record);
            true
        })
    }

    /// Hands over each record from there to the end, as long as `each` gives `true`.
    fn each(
        &mut self,
        consumer: &BaseConsumer,
        (from, high): (Offset, i64),
        mut each: impl FnMut(&mut BTreeMap<Vec<u8>, Vec<u8>>, Last) -> bool,
    ) -> Result<(), KafkaError> {
        // An empty topic is read too: whether we may is not told by its ends.
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.topic, 0, from)?;
        consumer.assign(&assignment)?;
        let mut heard = Instant::now();
        while heard.elapsed() < SILENT_TIMEOUT {
            match consumer.poll(Duration::from_millis(200)) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) if is_about_the_group(&error) => {}
                Some(Err(error)) => return Err(error),
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let offset = message.offset();
                    let key = message.key().unwrap_or_default().to_vec();
                    let value = message.payload().map(<[u8]>::to_vec);
                    let record = Last { offset, key, value };
                    if !each(&mut self.found, record.clone()) {
                        return Ok(());
                    }
                    self.last = Some(record);
                    if offset + 1 >= high {
                        return Ok(());
                    }
                }
            }
        }
        Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
    }
}

fn take_in(found: &mut BTreeMap<Vec<u8>, Vec<u8>>, record: Last) {
    match record.value {
        Some(value) => found.insert(record.key, value),
        None => found.remove(&record.key),
    };
}

/// The client asks who coordinates its group, although nobody joins it.
fn is_about_the_group(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// Whether the broker lists a topic.
///
/// # Errors
///
/// No broker answers, or it refuses.
pub fn topic_exists(settings: &KafkaSettings, topic: &str) -> Result<bool, KafkaFailure> {
    let failed = |error: KafkaError| KafkaFailure::new(settings, "listing topics", &error);
    let consumer: BaseConsumer = client_config(settings, "cdc-agent").create().map_err(failed)?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(15)).map_err(failed)?;
    Ok(metadata.topics().iter().any(|known| known.name() == topic))
}
