//! Topics of a broker: create, delete, list, describe.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewPartitions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::ResourceSpecifier;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::metadata::Metadata;

use super::Kafka;
use crate::process;

const TIMEOUT: Duration = Duration::from_secs(20);

impl Kafka {
    /// Creates a topic and waits until the broker's metadata shows all its partitions.
    ///
    /// # Panics
    ///
    /// If the broker refuses it.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let results = block_on(self.admin().create_topics([&topic], &admin_options()));
        for result in results.expect("the broker answers") {
            result.unwrap_or_else(|(topic, code)| panic!("{topic} is not created: {code}"));
        }
        let wanted = usize::try_from(partitions).expect("partitions are counted from 1");
        process::wait_until(TIMEOUT, "the topic to be in the metadata", || {
            self.topics().get(name) == Some(&wanted)
        });
    }

    /// Gives a topic more partitions and waits until the metadata has them.
    ///
    /// # Panics
    ///
    /// If the broker refuses it.
    #[track_caller]
    pub fn grow_topic(&self, name: &str, partitions: usize) {
        let wanted = NewPartitions::new(name, partitions);
        let results = block_on(self.admin().create_partitions([&wanted], &admin_options()));
        for result in results.expect("the broker answers") {
            result.unwrap_or_else(|(topic, code)| panic!("{topic} does not grow: {code}"));
        }
        process::wait_until(TIMEOUT, "the partitions to be in the metadata", || {
            self.topics().get(name) == Some(&partitions)
        });
    }

    /// Deletes the records of a partition before an offset, as retention does.
    ///
    /// # Panics
    ///
    /// If the broker refuses it.
    #[track_caller]
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(before);
        offsets.add_partition_offset(topic, partition, offset).expect("the offset is good");
        let done = block_on(self.admin().delete_records(&offsets, &admin_options()));
        done.expect("the broker answers");
    }

    /// Deletes a topic and waits until the metadata has forgotten it.
    ///
    /// # Panics
    ///
    /// If the broker refuses it.
    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        let results = block_on(self.admin().delete_topics(&[name], &admin_options()));
        for result in results.expect("the broker answers") {
            result.unwrap_or_else(|(topic, code)| panic!("{topic} is not deleted: {code}"));
        }
        process::wait_until(TIMEOUT, "the topic to be gone from the metadata", || {
            !self.topics().contains_key(name)
        });
    }

    /// Every topic with its number of partitions; the broker's own (`__...` without a prefix before
    /// it) are left out.
    ///
    /// # Panics
    ///
    /// If the broker does not answer.
    #[track_caller]
    pub fn topics(&self) -> BTreeMap<String, usize> {
        let metadata = self.metadata(TIMEOUT).expect("the broker answers");
        let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
        topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
    }

    /// The configuration of a topic, defaults included.
    ///
    /// # Panics
    ///
    /// If there is no such topic.
    #[track_caller]
    pub fn topic_config(&self, name: &str) -> BTreeMap<String, String> {
        let topic = ResourceSpecifier::Topic(name);
        let results = block_on(self.admin().describe_configs([&topic], &admin_options()));
        let mut results = results.expect("the broker answers");
        let resource = results.pop().expect("one answer for one topic");
        let resource = resource.unwrap_or_else(|code| panic!("{name} is not described: {code}"));
        let entries = resource.entries.into_iter();
        entries.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect()
    }

    /// Forbids everybody an operation on topics whose names begin so, or with no name on the cluster,
    /// and allows all others. The broker has to have an authorizer, see
    /// [`super::KafkaOptions::authorizer`].
    ///
    /// # Panics
    ///
    /// If the broker refuses it.
    #[track_caller]
    pub fn forbid(&self, operation: &str, topics: Option<&str>) {
        for (principal, operation) in
            [("--allow-principal", "All"), ("--deny-principal", operation)]
        {
            let mut arguments = vec![principal, "User:*", "--operation", operation];
            match topics {
                Some(start) => {
                    arguments.extend(["--topic", start, "--resource-pattern-type", "prefixed"]);
                }
                None => arguments.push("--cluster"),
            }
            self.acls(&arguments);
        }
    }

    /// `kafka-acls.sh --add` with these arguments.
    ///
    /// # Panics
    ///
    /// If the broker refuses it.
    #[track_caller]
    pub fn acls(&self, arguments: &[&str]) {
        let jars = crate::servers::servers_dir().join("kafka");
        let mut command = crate::servers::java(64, &jars, self.dir.path());
        command.args(["org.apache.kafka.tools.AclCommand", "--add", "--force"]);
        command.args(["--bootstrap-server", &self.bootstrap()]).args(arguments);
        let output = command.output().expect("java can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kafka-acls: {said}");
    }

    pub(super) fn answers(&self) -> bool {
        let metadata = self.metadata(Duration::from_millis(500));
        metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
    }

    fn metadata(&self, timeout: Duration) -> Result<Metadata, rdkafka::error::KafkaError> {
        let consumer: BaseConsumer = self.config().create()?;
        consumer.fetch_metadata(None, timeout)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("the settings are good")
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap())
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "200")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        config
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}
