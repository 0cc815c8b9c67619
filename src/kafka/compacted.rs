//! Reading a small compacted topic whole.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;

use crate::kafka::KafkaFailure;
use crate::kafka::KafkaSettings;
use crate::kafka::client_config;

/// How long the whole reading may take.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The latest value of every key in partition 0; keys that ended in a tombstone are absent.
///
/// **A topic that does not exist is an error and never an empty one**: a broker that has just come
/// back knows none of its topics for a moment.
///
/// # Errors
///
/// No broker answers, it refuses, or it does not know the topic.
pub fn read_compacted(
    settings: &KafkaSettings,
    topic: &str,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, KafkaFailure> {
    let during = format!("reading topic {topic}");
    let failed = |error: KafkaError| KafkaFailure::new(settings, &during, &error);
    let mut config = client_config(settings, "cdc-agent");
    config
        // Kafka wants a group from every consumer; nothing is committed to it.
        .set("group.id", "cdc-agent-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        // The end of a topic is told by a fetch that finds nothing, and must not wait for more.
        .set("fetch.wait.max.ms", "10")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let (_, high) = match consumer.fetch_watermarks(topic, 0, Duration::from_secs(15)) {
        Ok(marks) => marks,
        Err(error) => return Err(failed(error)),
    };
    // An empty topic is read too: whether we may is not told by its ends.
    let mut found = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
    consumer.assign(&assignment).map_err(failed)?;
    let deadline = Instant::now() + READ_TIMEOUT;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => return Err(failed(error)),
            Some(Ok(message)) => {
                let key = message.key().unwrap_or_default().to_vec();
                match message.payload() {
                    Some(value) => found.insert(key, value.to_vec()),
                    None => found.remove(&key),
                };
                if message.offset() + 1 >= high {
                    return Ok(found);
                }
            }
        }
    }
    Err(KafkaFailure::Unreachable {
        brokers: settings.brokers.clone(),
        reason: format!("{during}: no end in {} s", READ_TIMEOUT.as_secs()),
    })
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
