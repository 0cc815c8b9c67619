//! Records from Kafka, in a consumer group.
//!
//! Takes a group's assignment and gives records in the order of their partitions. Which offset a
//! partition begins at is the caller's business: it stands in the warehouse, never in the group's
//! committed offsets, which are kept only for tools that show lag.

mod context;
mod schemas;
mod standing;

pub use schemas::TopicSchemas;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::CommitMode;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::message::Headers;
use regex::Regex;

use crate::apply::applier::Partition;
use crate::apply::applier::Record;
use crate::apply::applier::may_be_internal;
use crate::apply::consumer::context::Context;
use crate::apply::consumer::context::Rebalanced;
use crate::apply::error::ApplyError;
use crate::kafka::KafkaFailure;
use crate::kafka::KafkaSettings;
use crate::kafka::client_config;
use crate::kafka::leader_epoch;
use crate::kafka::log_ids;
use crate::kafka::reach;
use crate::kafka::refusal;

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The same while records flow: the loop waits for it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Brokers that say nothing for so long are taken to be away.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Properties of the client that the guarantees rest on.
const OURS: [&str; 7] = [
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "partition.assignment.strategy",
];

/// What is consumed.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Kafka.
    pub kafka: KafkaSettings,
    /// Matches the whole name of every topic that is wanted.
    pub topics: Regex,
    /// Consumer group.
    pub group: String,
    /// Properties of the consumer, by librdkafka's names.
    pub consumer: Vec<(String, String)>,
}

/// What came.
#[derive(Debug)]
pub enum Polled {
    /// Nothing, in the time given.
    Nothing,
    /// A record.
    Record(Record),
    /// These partitions are ours now: say where each begins with [`Consumer::begin`].
    Assigned(Vec<Partition>),
    /// No partition is ours any more: finish, and say so with [`Consumer::release`].
    Revoked,
}

/// A member of a consumer group.
pub struct Consumer {
    client: BaseConsumer<Context>,
    settings: ConsumerSettings,
    subscribed: BTreeSet<String>,
    /// Names are shared by their records.
    names: BTreeMap<String, Arc<str>>,
    /// Partitions that the group has given us.
    held: Vec<Partition>,
    /// Records do not come: nothing can be applied now.
    paused: bool,
    /// Partitions of which a record came all the same; it has to come again.
    skipped: HashSet<Partition>,
    /// The first offset of each partition that is not in the warehouse.
    applied: HashMap<Partition, i64>,
}

/// Offsets of a partition in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// The first that is still there.
    pub low: i64,
    /// The one after the last.
    pub high: i64,
}

impl Consumer {
    /// Joins the group.
    ///
    /// # Errors
    ///
    /// A property is refused, or no broker answers within `timeout`.
    pub fn open(settings: ConsumerSettings, timeout: Duration) -> Result<Self, ApplyError> {
        let mut config = client_config(&settings.kafka, "cdc-sink");
        config
            .set("group.id", &settings.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "range")
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", "1000")
            .set("fetch.wait.max.ms", "100")
            .set("max.partition.fetch.bytes", "8388608");
        for (name, value) in &settings.consumer {
            if OURS.contains(&name.as_str()) {
                return Err(ApplyError::Configuration {
                    message: format!("consumer.{name} cannot be set: what is promised rests on it"),
                    hint: "leave it out".to_owned(),
                });
            }
            config.set(name, value);
        }
        let client: BaseConsumer<Context> = config
            .create_with_context(Context::default())
            .map_err(|error| ApplyError::Configuration {
                message: format!("a Kafka property is refused: {}", refusal(&error)),
                hint: "correct consumer.* or kafka.*".to_owned(),
            })?;
        let mut consumer = Consumer {
            client,
            settings,
            subscribed: BTreeSet::new(),
            names: BTreeMap::new(),
            held: Vec::new(),
            paused: false,
            skipped: HashSet::new(),
            applied: HashMap::new(),
        };
        reach(&consumer.settings.kafka, "cdc-sink", timeout.min(REQUEST_TIMEOUT))?;
        consumer.look_for_topics(REQUEST_TIMEOUT)?;
        Ok(consumer)
    }

    /// Partitions that the group has given us.
    pub fn held(&self) -> &[Partition] {
        &self.held
    }

    /// What the client says of brokers that do not answer.
    pub fn trouble(&self) -> Option<String> {
        self.client.context().outage.reason()
    }

    /// How long no broker has answered, if that is so long that they are taken to be away.
    pub fn silence(&self) -> Option<Duration> {
        self.client.context().silence().filter(|silence| *silence >= SILENCE_MAX)
    }

    /// Topics that are consumed.
    pub fn topics(&self) -> &BTreeSet<String> {
        &self.subscribed
    }

    /// Looks for topics that match and subscribes to them; whether there are new ones. While no
    /// broker answers there are none: [`Consumer::silence`] tells of that.
    ///
    /// # Errors
    ///
    /// The broker refuses us.
    pub fn subscribe_to_matching(&mut self) -> Result<bool, ApplyError> {
        if self.silence().is_some() {
            return Ok(false);
        }
        match self.look_for_topics(LOOK_TIMEOUT) {
            Err(ApplyError::Unreachable { message }) => {
                tracing::debug!(message, "topics are looked for later");
                Ok(false)
            }
            looked => looked,
        }
    }

    fn look_for_topics(&mut self, timeout: Duration) -> Result<bool, ApplyError> {
        let metadata = self
            .client
            .fetch_metadata(None, timeout)
            .map_err(|error| self.failed("listing topics", &error))?;
        self.client.context().note_answer();
        let all: BTreeSet<&str> = metadata.topics().iter().map(|topic| topic.name()).collect();
        let found: BTreeSet<String> = all
            .iter()
            .filter(|name| self.settings.topics.is_match(name))
            .filter(|name| **name != "__consumer_offsets" && !is_internal(name, &all))
            .map(|name| (*name).to_owned())
            .collect();
        if found == self.subscribed {
            return Ok(false);
        }
        let names: Vec<&str> = found.iter().map(String::as_str).collect();
        self.client.subscribe(&names).map_err(|error| self.failed("subscribing", &error))?;
        for name in found.difference(&self.subscribed) {
            tracing::info!(topic = name, "consuming");
            self.names.insert(name.clone(), Arc::from(name.as_str()));
        }
        self.subscribed = found;
        Ok(true)
    }

    /// How many partitions each topic has.
    ///
    /// # Errors
    ///
    /// No broker answers.
    pub fn partition_counts(&self) -> Result<Vec<(Arc<str>, i32)>, ApplyError> {
        let metadata = self
            .client
            .fetch_metadata(None, REQUEST_TIMEOUT)
            .map_err(|error| self.failed("listing partitions", &error))?;
        let counts = metadata.topics().iter().filter_map(|topic| {
            let name = self.names.get(topic.name())?;
            Some((Arc::clone(name), i32::try_from(topic.partitions().len()).ok()?))
        });
        Ok(counts.collect())
    }

    /// The logs that the topics' names stand for, by their ids; a broker that is older than topic
    /// ids has none.
    ///
    /// # Errors
    ///
    /// No broker answers.
    pub fn log_ids<'a>(
        &self,
        topics: impl IntoIterator<Item = &'a Arc<str>>,
    ) -> Result<HashMap<Arc<str>, String>, ApplyError> {
        let names: BTreeSet<&str> = topics.into_iter().map(|topic| &**topic).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let ids = log_ids(self.client.client(), &names, REQUEST_TIMEOUT)
            .map_err(|error| self.failed("asking for the ids of topics", &error))?;
        Ok(ids.into_iter().map(|(topic, id)| (self.name(&topic), id)).collect())
    }

    /// First and last offsets of a partition.
    ///
    /// # Errors
    ///
    /// No broker answers.
    pub fn log_ends(&self, partition: &Partition) -> Result<LogEnds, ApplyError> {
        let ends = self.client.fetch_watermarks(&partition.0, partition.1, REQUEST_TIMEOUT);
        let (low, high) = ends.map_err(|error| self.failed("asking for offsets", &error))?;
        Ok(LogEnds { low, high })
    }

    /// Whether a partition has a record that can be read in this range of offsets. Marks of
    /// transactions, aborted records and what was compacted leave none.
    ///
    /// # Errors
    ///
    /// No broker answers.
    pub fn has_record(
        &self,
        partition: &Partition,
        from: i64,
        to: i64,
    ) -> Result<bool, ApplyError> {
        if from >= to {
            return Ok(false);
        }
        let failed = |error: KafkaError| self.failed("looking for a last record", &error);
        let mut config = client_config(&self.settings.kafka, "cdc-sink");
        config
            // It is not joined: the right to our own is there.
            .set("group.id", &self.settings.group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed");
        let probe: BaseConsumer = config.create().map_err(failed)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.0, partition.1, Offset::Offset(from))
            .map_err(failed)?;
        probe.assign(&list).map_err(failed)?;
        let began = Instant::now();
        while began.elapsed() < REQUEST_TIMEOUT {
            match probe.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => return Ok(message.offset() < to),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(false),
                Some(Err(error)) => return Err(failed(error)),
            }
        }
        // Nobody answered: the consumer itself will say why.
        Ok(true)
    }

    /// Says where assigned partitions begin.
    ///
    /// # Errors
    ///
    /// The client refuses.
    pub fn begin(&mut self, offsets: &[(Partition, i64)]) -> Result<(), ApplyError> {
        self.applied = offsets.iter().cloned().collect();
        self.paused = false;
        self.skipped.clear();
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .map_err(|error| self.failed("beginning", &error))?;
        }
        self.client
            .assign(&list)
            // A partition that was paused before stays so, also when it comes back.
            .and_then(|()| self.client.resume(&list))
            .map_err(|error| self.failed("beginning", &error))
    }

    /// Lets go of all partitions.
    ///
    /// # Errors
    ///
    /// The client refuses.
    pub fn release(&mut self) -> Result<(), ApplyError> {
        self.applied.clear();
        self.held.clear();
        self.client.unassign().map_err(|error| self.failed("letting go of partitions", &error))
    }

    /// Stops a partition at a record, which comes again after [`Consumer::resume`].
    ///
    /// # Errors
    ///
    /// The client refuses.
    pub fn pause(&self, partition: &Partition) -> Result<(), ApplyError> {
        let list = Self::list(partition);
        self.client.pause(&list).map_err(|error| self.failed("pausing", &error))
    }

    /// Goes on at an offset.
    ///
    /// # Errors
    ///
    /// The client refuses.
    pub fn resume(&self, partition: &Partition, offset: i64) -> Result<(), ApplyError> {
        let (topic, number) = partition;
        self.client
            .seek(topic, *number, Offset::Offset(offset), REQUEST_TIMEOUT)
            .and_then(|()| self.client.resume(&Self::list(partition)))
            .map_err(|error| self.failed("going on", &error))
    }

    fn list(partition: &Partition) -> TopicPartitionList {
        Self::list_of(std::slice::from_ref(partition))
    }

    fn list_of(partitions: &[Partition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (topic, number) in partitions {
            list.add_partition(topic, *number);
        }
        list
    }

    /// Notes which offsets are applied and tells Kafka, for tools that show lag; nothing rests on
    /// it.
    pub fn show_offsets(&mut self, offsets: &[(Partition, i64)], wait: bool) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in offsets {
            if let Some(applied) = self.applied.get_mut(&(Arc::clone(topic), *partition)) {
                *applied = *offset;
            }
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).ok();
        }
        let mode = if wait { CommitMode::Sync } else { CommitMode::Async };
        if list.count() > 0
            && let Err(error) = self.client.commit(&list, mode)
        {
            tracing::debug!(%error, "the group's offsets are not shown");
        }
    }

    /// Offsets that the group has committed to Kafka.
    ///
    /// # Errors
    ///
    /// No broker answers.
    pub fn shown_offset(&self, partition: &Partition) -> Result<Option<i64>, ApplyError> {
        let list = Self::list(partition);
        let found = self
            .client
            .committed_offsets(list, REQUEST_TIMEOUT)
            .map_err(|error| self.failed("asking for committed offsets", &error))?;
        let offset = found.elements().first().and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        });
        Ok(offset)
    }

    /// Waits for something to come.
    ///
    /// # Errors
    ///
    /// The broker refuses us, or what we asked for is not there any more.
    pub fn poll(&mut self, timeout: Duration) -> Result<Polled, ApplyError> {
        let polled = self.client.poll(timeout);
        // A rebalance is told within a poll; it goes before anything else.
        let event = self.client.context().take();
        match event {
            Some(Rebalanced::Assigned(partitions)) => {
                let name = |(topic, number): (String, i32)| (self.name(&topic), number);
                let held: Vec<Partition> = partitions.into_iter().map(name).collect();
                self.held.clone_from(&held);
                return Ok(Polled::Assigned(held));
            }
            Some(Rebalanced::Revoked) => {
                self.held.clear();
                return Ok(Polled::Revoked);
            }
            None => {}
        }
        match polled {
            None => Ok(Polled::Nothing),
            Some(Ok(message)) => Ok(Polled::Record(self.record(&message))),
            Some(Err(error)) => match error.rdkafka_error_code() {
                // The client goes on by itself.
                Some(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::Resolve
                    | RDKafkaErrorCode::SSL
                    | RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::SaslAuthenticationFailed
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::PollExceeded
                    | RDKafkaErrorCode::MessageTimedOut,
                ) => {
                    tracing::debug!(%error, "Kafka client");
                    Ok(Polled::Nothing)
                }
                _ => Err(self.failed("consuming", &error)),
            },
        }
    }

    fn name(&self, topic: &str) -> Arc<str> {
        self.names.get(topic).map_or_else(|| Arc::from(topic), Arc::clone)
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Record {
        let headers = message.headers().map(|headers| {
            let one = |header: rdkafka::message::Header<'_, &[u8]>| {
                (Box::from(header.key), header.value.map(Box::from))
            };
            headers.iter().map(one).collect()
        });
        Record {
            topic: self.name(message.topic()),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(Box::from),
            value: message.payload().map(Box::from),
            headers: headers.unwrap_or_default(),
            leader_epoch: leader_epoch(message),
        }
    }

    fn failed(&self, during: &str, error: &KafkaError) -> ApplyError {
        KafkaFailure::new(&self.settings.kafka, during, error).into()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.client.context().close();
        self.client.unassign().ok();
    }
}

impl From<KafkaFailure> for ApplyError {
    fn from(failure: KafkaFailure) -> Self {
        match failure {
            KafkaFailure::Unauthorized { during, reason } => ApplyError::Permission {
                message: format!("Kafka refuses us while {during}: {reason}"),
                hint:
                    "run, with our principal, the topics' prefix and --group: kafka-acls.sh --add \
                       --allow-principal User:NAME --operation Read --operation Describe --topic \
                       PREFIX. --resource-pattern-type prefixed; and kafka-acls.sh --add \
                       --allow-principal User:NAME --operation Read --group GROUP; these are all \
                       rights that are needed"
                        .to_owned(),
            },
            KafkaFailure::NotLetIn { brokers, reason } => ApplyError::Connection {
                message: format!("Kafka at {brokers} does not let us in: {reason}"),
                hint: "give the credentials that the broker asks for (kafka.security.protocol, \
                       kafka.sasl.*, kafka.ssl.*)"
                    .to_owned(),
                credentials: true,
            },
            KafkaFailure::Unusable { brokers, reason, hint } => ApplyError::Connection {
                message: format!("Kafka at {brokers} cannot be used: {reason}"),
                hint,
                credentials: false,
            },
            KafkaFailure::Unreachable { brokers, reason } => ApplyError::Unreachable {
                message: format!("Kafka at {brokers} cannot be used: {reason}"),
            },
        }
    }
}

/// Whether a topic is one of the agent's own, `PREFIX.__state` and its like, and not that of a
/// table of such a name, `PREFIX.SCHEMA.__state`. A prefix may have dots: what else is there tells.
fn is_internal(topic: &str, all: &BTreeSet<&str>) -> bool {
    let Some((before, _)) = topic.rsplit_once('.').filter(|_| may_be_internal(topic)) else {
        return may_be_internal(topic);
    };
    let Some((prefix, _)) = before.rsplit_once('.') else { return true };
    let below = |name: &&str| name.strip_prefix(before)?.strip_prefix('.').map(str::to_owned);
    let below: Vec<String> = all.iter().filter_map(below).collect();
    if below.iter().any(|rest| rest.contains('.')) {
        return true;
    }
    let of_prefix = ["__state", "__schemas"].map(|name| format!("{prefix}.{name}"));
    let is_table = below.iter().any(|rest| !may_be_internal(rest))
        || of_prefix.iter().any(|name| all.contains(name.as_str()));
    !is_table
}

/// Locks, whoever panicked.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_may_have_the_name_of_an_internal_topic() {
        let all = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<&str>>();
        let agents = all(&["shop.__state", "shop.__schemas", "shop.public.__state"]);
        assert!(is_internal("shop.__state", &agents));
        assert!(!is_internal("shop.public.__state", &agents));
        let stock = all(&["shop.public.__schemas", "shop.public.orders"]);
        assert!(!is_internal("shop.public.__schemas", &stock));
        let dotted = all(&["eu.shop.__state", "eu.shop.__applied", "eu.shop.public.orders"]);
        assert!(is_internal("eu.shop.__state", &dotted));
        assert!(is_internal("eu.shop.__state", &all(&["eu.shop.__state"])));
        assert!(!is_internal("shop.public.orders", &stock));
    }
}
