//! How records are published.

use crate::capture::java_regex::JavaRegex;
use crate::kafka::KafkaSettings;

/// Settings of the Kafka publisher.
#[derive(Clone, Debug)]
pub struct PublisherSettings {
    /// Brokers and security.
    pub kafka: KafkaSettings,
    /// Producer properties, by librdkafka's names, over the defaults below.
    pub producer: Vec<(String, String)>,
    /// Bytes that may wait in the producer.
    pub queue_bytes: usize,
    /// How topics are created that do not exist.
    pub topics: TopicCreation,
}

/// `topic.creation.*`.
#[derive(Clone, Debug)]
pub struct TopicCreation {
    /// Create what is missing.
    pub enabled: bool,
    /// Topics with settings of their own: the first that fits holds.
    pub groups: Vec<TopicGroup>,
    /// All others.
    pub default: TopicGroup,
}

/// How some topics are created.
#[derive(Clone, Debug)]
pub struct TopicGroup {
    /// Whole names.
    pub include: Vec<JavaRegex>,
    /// Whole names of those that do not belong to it.
    pub exclude: Vec<JavaRegex>,
    /// Partitions.
    pub partitions: i32,
    /// Replicas; -1 for the broker's default.
    pub replication_factor: i32,
    /// Further settings of the topic, as in `cleanup.policy`.
    pub config: Vec<(String, String)>,
}

impl TopicCreation {
    /// How a topic of this name is created.
    pub(super) fn of(&self, topic: &str) -> &TopicGroup {
        let fits = |group: &&TopicGroup| {
            let any =
                |patterns: &[JavaRegex]| patterns.iter().any(|pattern| pattern.is_match(topic));
            any(&group.include) && !any(&group.exclude)
        };
        self.groups.iter().find(fits).unwrap_or(&self.default)
    }
}

/// Defaults of the producer. What a record must go through for our guarantees is not among them:
/// see [`FIXED`].
///
/// `linger.ms` is small, because batches are formed by what one read of the socket brings;
/// a large `batch.size` makes few requests of a backlog, and lz4 costs broker and client less than
/// no compression.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "cdc-agent"),
    ("linger.ms", "2"),
    ("batch.size", "1000000"),
    ("batch.num.messages", "20000"),
    ("compression.type", "lz4"),
    ("message.max.bytes", "1048576"),
    ("queue.buffering.max.messages", "0"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("log.connection.close", "false"),
];

/// What the guarantees rest on: no record is given up, none overtakes another of its partition,
/// partitions are chosen as the Java client chooses them.
pub(super) const FIXED: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("enable.gapless.guarantee", "true"),
    ("acks", "all"),
    ("message.timeout.ms", "0"),
    ("partitioner", "murmur2_random"),
    ("log.queue", "true"),
];

/// Other names that librdkafka has for them.
const ALIASES: &[(&str, &str)] =
    &[("request.required.acks", "acks"), ("delivery.timeout.ms", "message.timeout.ms")];

/// Whether a property of the producer may have a value: what the guarantees rest on has one only.
///
/// # Errors
///
/// The value that it has.
pub fn check_producer_property(name: &str, value: &str) -> Result<(), &'static str> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    match FIXED.iter().find(|(fixed, _)| *fixed == name) {
        Some((_, fixed)) if value != *fixed && (name, value) != ("acks", "-1") => Err(*fixed),
        _ => Ok(()),
    }
}

/// How much may be in flight before the encoder waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueBounds {
    /// Bytes.
    pub(super) bytes: usize,
    /// Records.
    pub(super) records: usize,
}

/// The client's own bounds of its queue.
const QUEUE_KIB: &str = "queue.buffering.max.kbytes";
const QUEUE_RECORDS: &str = "queue.buffering.max.messages";

/// Room in the client's queue beyond our own bound, for internal records and the largest record.
const QUEUE_SLACK_KIB: usize = 1 << 20;

impl PublisherSettings {
    /// All properties of the producer, the later ones over the earlier ones, and how much may be
    /// in flight. Bounds of the client's queue that are given are kept by us: a full queue would
    /// refuse internal records, too.
    pub(super) fn properties(&self) -> (Vec<(String, String)>, QueueBounds) {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let given = |name: &str| -> Option<usize> {
            let value = self.producer.iter().rev().find(|(given, _)| given == name)?.1.parse();
            value.ok().filter(|value| *value > 0)
        };
        let bytes = given(QUEUE_KIB).map_or(usize::MAX, |kib| kib.saturating_mul(1024));
        let bounds = QueueBounds {
            bytes: bytes.min(self.queue_bytes),
            records: given(QUEUE_RECORDS).unwrap_or(usize::MAX),
        };
        let room = (bounds.bytes.div_ceil(1024) + QUEUE_SLACK_KIB).to_string();
        let is_bound = |name: &str| matches!(name, QUEUE_KIB | QUEUE_RECORDS);
        let mut all = owned(DEFAULTS);
        all.push((QUEUE_KIB.to_owned(), room));
        all.extend(self.producer.iter().filter(|(name, _)| !is_bound(name)).cloned());
        all.extend(self.kafka.properties());
        all.extend(owned(FIXED));
        (all, bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::PublisherSettings;
    use super::TopicCreation;
    use super::TopicGroup;

    #[test]
    fn a_bound_of_the_clients_queue_leaves_room_for_internal_records() {
        let default = TopicGroup {
            include: Vec::new(),
            exclude: Vec::new(),
            partitions: 1,
            replication_factor: -1,
            config: Vec::new(),
        };
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let settings = PublisherSettings {
            kafka: crate::kafka::KafkaSettings::default(),
            producer: vec![
                owned("queue.buffering.max.kbytes", "100"),
                owned("queue.buffering.max.messages", "7"),
                owned("linger.ms", "9"),
            ],
            queue_bytes: 1 << 20,
            topics: TopicCreation { enabled: true, groups: Vec::new(), default },
        };
        let (properties, bounds) = settings.properties();
        assert_eq!((bounds.bytes, bounds.records), (100 << 10, 7));
        let value = |name: &str| {
            let last = properties.iter().rev().find(|(known, _)| known == name).unwrap();
            last.1.clone()
        };
        assert_eq!(value("queue.buffering.max.messages"), "0");
        assert_eq!(value("queue.buffering.max.kbytes"), (100 + (1 << 20)).to_string());
        assert_eq!(value("linger.ms"), "9");
    }
}
