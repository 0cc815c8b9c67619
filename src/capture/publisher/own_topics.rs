//! Whether topics of ours that exist already can keep what is entrusted to them.

use rdkafka::admin::AdminOptions;
use rdkafka::admin::ConfigResource;
use rdkafka::admin::ResourceSpecifier;
use rdkafka::error::KafkaError;

use crate::capture::publisher::PublishError;
use crate::capture::publisher::TopicSpec;
use crate::capture::publisher::failures::sorted;
use crate::capture::publisher::kafka::ADMIN_TIMEOUT;
use crate::capture::publisher::kafka::KafkaPublisher;

/// What a compacted topic of ours is created with. Positions are stored up to ten times a second
/// under one key: only segments that are closed are compacted, and the topic is read at a start.
pub(super) const SETTINGS: [(&str, &str); 3] =
    [(POLICY, COMPACT), (SEGMENT, "16777216"), ("min.cleanable.dirty.ratio", "0.1")];

/// Bytes of a segment.
const SEGMENT: &str = "segment.bytes";

/// A segment that is larger takes a start longer than anybody expects.
const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// What a compacted topic of ours must say, and nothing beside it.
const POLICY: &str = "cleanup.policy";
const COMPACT: &str = "compact";

impl KafkaPublisher {
    /// Looks at compacted topics that somebody else may have created.
    ///
    /// # Errors
    ///
    /// Their records would be lost or not be found again, or the broker cannot be asked.
    pub(super) fn check_own_topics(&self, topics: &[&TopicSpec]) -> Result<(), PublishError> {
        for topic in topics {
            self.check_partitions(&topic.name)?;
        }
        let resources: Vec<ResourceSpecifier<'_>> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT));
        let described = self
            .runtime
            .block_on(self.admin.describe_configs(&resources, &options))
            .map_err(|error| sorted(&self.settings.kafka, "asking for topics' settings", &error))?;
        for (topic, described) in topics.iter().zip(described) {
            match described {
                Ok(resource) => {
                    self.check_policy(&topic.name, &resource)?;
                    self.warn_of_segments(&topic.name, &resource);
                }
                Err(code) => tracing::warn!(
                    topic = topic.name, %code,
                    "the topic's settings cannot be seen; it has to have cleanup.policy=compact"
                ),
            }
        }
        Ok(())
    }

    fn check_partitions(&self, topic: &str) -> Result<(), PublishError> {
        let failed =
            |error: KafkaError| sorted(&self.settings.kafka, "asking for partitions", &error);
        let metadata =
            self.admin.inner().fetch_metadata(Some(topic), ADMIN_TIMEOUT).map_err(failed)?;
        let count = metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
        if count <= 1 {
            return Ok(());
        }
        Err(PublishError::Configuration {
            message: format!(
                "topic {topic} has {count} partitions, expected 1: what is stored there would not \
                 be found again"
            ),
            hint: "choose another topic.prefix; or, if nobody needs the topic, delete it: it is \
                   created as it has to be"
                .to_owned(),
        })
    }

    fn warn_of_segments(&self, topic: &str, resource: &ConfigResource) {
        let entry = resource.entries.iter().find(|entry| entry.name == SEGMENT);
        let bytes = entry.and_then(|entry| entry.value.as_deref()?.parse::<u64>().ok());
        if bytes.is_some_and(|bytes| bytes > SEGMENT_BYTES_MAX) {
            tracing::warn!(
                topic,
                segment_bytes = bytes,
                "the topic has large segments, which are read at each start before they are \
                 compacted; run: kafka-configs.sh --bootstrap-server {} --alter --entity-type \
                 topics --entity-name {topic} --add-config segment.bytes=16777216,\
                 min.cleanable.dirty.ratio=0.1",
                self.settings.kafka.brokers
            );
        }
    }

    fn check_policy(&self, topic: &str, resource: &ConfigResource) -> Result<(), PublishError> {
        let entry = resource.entries.iter().find(|entry| entry.name == POLICY);
        let found = entry.and_then(|entry| entry.value.as_deref()).unwrap_or(COMPACT);
        if found == COMPACT {
            return Ok(());
        }
        Err(PublishError::Configuration {
            message: format!(
                "topic {topic} has {POLICY}={found}, expected {COMPACT}: what is stored there \
                 would be deleted"
            ),
            hint: format!(
                "run: kafka-configs.sh --bootstrap-server {} --alter --entity-type topics \
                 --entity-name {topic} --add-config {POLICY}={COMPACT}",
                self.settings.kafka.brokers
            ),
        })
    }
}
