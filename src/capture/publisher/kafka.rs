//! Records to Kafka.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::ffi::CStr;
use std::ffi::CString;
use std::ops::Range;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Handle;

use crate::capture::publisher::Ack;
use crate::capture::publisher::Batch;
use crate::capture::publisher::LastRoute;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Publisher;
use crate::capture::publisher::Receipt;
use crate::capture::publisher::Record;
use crate::capture::publisher::Route;
use crate::capture::publisher::RouteId;
use crate::capture::publisher::Routes;
use crate::capture::publisher::TopicSpec;
use crate::capture::publisher::failures::is_without_leader;
use crate::capture::publisher::failures::not_created;
use crate::capture::publisher::failures::sorted;
use crate::capture::publisher::failures::undeliverable;
use crate::capture::publisher::librdkafka::Event;
use crate::capture::publisher::librdkafka::HEADERS_MAX;
use crate::capture::publisher::librdkafka::Outgoing;
use crate::capture::publisher::librdkafka::Producer;
use crate::capture::publisher::librdkafka::Refused;
use crate::capture::publisher::librdkafka::Topic;
use crate::capture::publisher::own_topics;
use crate::capture::publisher::settings::PublisherSettings;
use crate::capture::publisher::settings::QueueBounds;
use crate::kafka;
use crate::kafka::KafkaSettings;
use crate::kafka::Outage;
use crate::kafka::log_ids;
use crate::kafka::refusal;
use crate::position::LITERAL_HEADER;
use crate::position::POSITION_HEADER;
use crate::position::SCHEMA_HEADER;
use crate::telemetry::Metrics;

/// How long a request for metadata or for a new topic may take.
pub(super) const ADMIN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one wait for room in the queue lasts before the caller is asked whether to go on.
const ROOM_TIMEOUT: Duration = Duration::from_millis(20);

/// Headers of a record beside those of its route: of its key, its literals, its
/// position and its schema.
const HEADERS_OF_RECORD: usize = 4;

/// Publishes to Kafka.
pub struct KafkaPublisher {
    producer: Producer,
    pub(super) admin: AdminClient<DefaultClientContext>,
    pub(super) runtime: Handle,
    pub(super) settings: PublisherSettings,
    routes: Routes<KafkaRoute>,
    /// Topics that are known to exist.
    known: Mutex<HashSet<String>>,
    /// Bytes and number of records that are sent and not acknowledged. The thread that polls sends
    /// internal records and must never wait for room, so that the bounds are kept here and the
    /// client's own queue is larger.
    in_flight_bytes: AtomicUsize,
    in_flight_records: AtomicUsize,
    bounds: QueueBounds,
    /// Signalled when acknowledgements have made room.
    room: (Mutex<()>, Condvar),
    /// The first failure; after it nothing is sent.
    failure: Mutex<Option<PublishError>>,
    metrics: Metrics,
    outage: Outage,
}

struct KafkaRoute {
    topic: Topic,
    /// Its records never wait for room.
    internal: bool,
    /// Its records go to partition 0.
    first_partition: bool,
    name: String,
    headers: Vec<(CString, Vec<u8>)>,
    schema: Option<Vec<u8>>,
}

impl KafkaRoute {
    fn new(producer: &Producer, route: &Route) -> Result<Self, PublishError> {
        let broken = |reason: String| PublishError::Configuration {
            message: format!("topic \"{}\" cannot be used: {reason}", route.topic),
            hint: "choose another topic.prefix or topic name".to_owned(),
        };
        let header = |(name, value): &(String, String)| {
            let c_name = CString::new(name.as_str()).map_err(|_| PublishError::Internal {
                message: format!("the name of header {name:?} holds a NUL"),
            })?;
            Ok((c_name, value.clone().into_bytes()))
        };
        if route.headers.len() + HEADERS_OF_RECORD > HEADERS_MAX {
            let message = format!("topic {} has more headers than there is room for", route.topic);
            return Err(PublishError::Internal { message });
        }
        Ok(KafkaRoute {
            topic: producer.topic(&route.topic).map_err(broken)?,
            internal: route.internal,
            first_partition: route.first_partition,
            name: route.topic.clone(),
            headers: route.headers.iter().map(header).collect::<Result<_, PublishError>>()?,
            schema: route.schema.clone().map(String::into_bytes),
        })
    }
}

impl KafkaPublisher {
    /// Makes a producer and checks that a broker answers.
    ///
    /// # Errors
    ///
    /// A property is refused, or no broker answers within `timeout`.
    pub fn connect(
        settings: PublisherSettings,
        runtime: Handle,
        metrics: Metrics,
        timeout: Duration,
    ) -> Result<Self, PublishError> {
        let refused = |reason: String| PublishError::Configuration {
            message: format!("a Kafka property is refused: {reason}"),
            hint: "correct producer.* or the Kafka client's properties".to_owned(),
        };
        let admin: AdminClient<DefaultClientContext> =
            client_config(&settings.kafka).create().map_err(|error| refused(refusal(&error)))?;
        kafka::reach(&settings.kafka, CLIENT_ID, timeout)?;
        let (properties, bounds) = settings.properties();
        let producer = Producer::new(&properties).map_err(refused)?;
        metrics.show_delivery_seconds();
        Ok(KafkaPublisher {
            producer,
            admin,
            runtime,
            settings,
            routes: Routes::default(),
            known: Mutex::new(HashSet::new()),
            in_flight_bytes: AtomicUsize::new(0),
            in_flight_records: AtomicUsize::new(0),
            bounds,
            room: (Mutex::new(()), Condvar::new()),
            failure: Mutex::new(None),
            metrics,
            outage: Outage::default(),
        })
    }

    fn failure(&self) -> Option<PublishError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, error: PublishError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
    }

    fn send_one(
        &self,
        route: &KafkaRoute,
        batch: &Batch<'_>,
        record: &Record,
        position: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let mut headers: [(&CStr, &[u8]); HEADERS_MAX] = [(c"", &[]); HEADERS_MAX];
        let mut slots = headers.iter_mut();
        let mut count = 0;
        let mut push = |name, value| {
            if let Some(slot) = slots.next() {
                *slot = (name, value);
                count += 1;
            }
        };
        if let Some((name, range)) = &record.header {
            push(key_header(name), batch.slice(range));
        }
        for (name, value) in &route.headers {
            push(name, value);
        }
        if let Some(range) = &record.literal {
            push(c"cdc.literal", batch.slice(range));
        }
        position.clear();
        if let Some(place) = &record.position {
            place.write(position);
            push(c"cdc.position", position);
        }
        if let Some(schema) = &route.schema {
            push(c"cdc.schema", schema);
        }
        debug_assert!(LITERAL_HEADER == "cdc.literal");
        debug_assert!(POSITION_HEADER == "cdc.position" && SCHEMA_HEADER == "cdc.schema");
        let outgoing = Outgoing {
            key: record.key.as_ref().map(|range| batch.slice(range)),
            value: record.value.as_ref().map(|range| batch.slice(range)),
            partition: if record.key.is_some() && !route.first_partition { BY_KEY } else { 0 },
            headers: headers.get(..count).unwrap_or_default(),
            opaque: record.receipt.to_bits(),
        };
        self.producer.send(route.topic, &outgoing)
    }

    /// Waits for room as long as `go_on` says.
    fn wait_for_room(&self, go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        while self.in_flight_bytes.load(Ordering::Relaxed) >= self.bounds.bytes
            || self.in_flight_records.load(Ordering::Relaxed) >= self.bounds.records
        {
            self.pause(go_on)?;
        }
        Ok(())
    }

    /// Waits until there may be room, once, unless there is no use in waiting.
    fn pause(&self, go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        if !go_on() {
            return Err(PublishError::Stopped);
        }
        let lock = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.room.1.wait_timeout(lock, ROOM_TIMEOUT));
        Ok(())
    }

    /// Sends one record. The client's queue has room for what our own bounds let in; should it not,
    /// an internal record gives up, because nobody would make room while its sender waits.
    fn send_or_wait(
        &self,
        (route, record): (&KafkaRoute, &Record),
        batch: &Batch<'_>,
        position: &mut Vec<u8>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), PublishError> {
        let bytes = weight(record);
        self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.in_flight_records.fetch_add(1, Ordering::Relaxed);
        loop {
            match self.send_one(route, batch, record, position) {
                Ok(()) => return Ok(()),
                Err(Refused::QueueFull) if route.internal => {
                    return Err(PublishError::Internal {
                        message: format!(
                            "the producer's queue has no room for a record of topic {}",
                            route.name
                        ),
                    });
                }
                Err(Refused::QueueFull) => self.pause(go_on)?,
                Err(Refused::Failed { code, reason }) => {
                    let bytes = record.value.as_ref().map_or(0, Range::len);
                    let place = record.position.map(|place| place.to_string()).unwrap_or_default();
                    return Err(undeliverable(code, reason, &route.name, &place, bytes));
                }
            }
        }
    }

    fn unknown_topics<'a>(&self, topics: &'a [TopicSpec]) -> Vec<&'a TopicSpec> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        topics.iter().filter(|topic| !known.contains(&topic.name)).collect()
    }

    fn missing_topics<'a>(
        &self,
        topics: &'a [TopicSpec],
    ) -> Result<Vec<&'a TopicSpec>, PublishError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.iter().any(|topic| !known.contains(&topic.name)) {
            let metadata = self
                .admin
                .inner()
                .fetch_metadata(None, ADMIN_TIMEOUT)
                .map_err(|error| sorted(&self.settings.kafka, "listing topics", &error))?;
            known.extend(metadata.topics().iter().map(|topic| topic.name().to_owned()));
        }
        Ok(topics.iter().filter(|topic| !known.contains(&topic.name)).collect())
    }

    fn create(&self, topics: &[&TopicSpec]) -> Result<(), PublishError> {
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let creation = self.settings.topics.of(&topic.name);
                let partitions = if topic.internal { 1 } else { creation.partitions };
                let replication = TopicReplication::Fixed(creation.replication_factor);
                let mut new = NewTopic::new(&topic.name, partitions, replication);
                if topic.compacted {
                    for (name, value) in own_topics::SETTINGS {
                        new = new.set(name, value);
                    }
                } else {
                    for (name, value) in &creation.config {
                        new = new.set(name, value);
                    }
                }
                new
            })
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT));
        let results = self
            .runtime
            .block_on(self.admin.create_topics(&new, &options))
            .map_err(|error| sorted(&self.settings.kafka, "creating topics", &error))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (result, topic) in results.into_iter().zip(topics) {
            match result {
                Ok(_) => tracing::info!(topic = topic.name, "topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(not_created(&name, code)),
            }
            known.insert(topic.name.clone());
        }
        drop(known);
        topics.iter().try_for_each(|topic| self.wait_for_leaders(&topic.name))
    }

    /// A topic that has just been created is not known by every broker yet, and its partitions may
    /// have no leader; one that is not ready in time says so when it is used.
    fn wait_for_leaders(&self, topic: &str) -> Result<(), PublishError> {
        let failed = |error: KafkaError| sorted(&self.settings.kafka, "asking for leaders", &error);
        let begun = Instant::now();
        while begun.elapsed() < ADMIN_TIMEOUT {
            let client = self.admin.inner();
            let metadata = client.fetch_metadata(Some(topic), ADMIN_TIMEOUT).map_err(failed)?;
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            let first = partitions.next();
            let has_leader = |leader: i32| leader >= 0;
            if first.is_some_and(|first| has_leader(first.leader()))
                && partitions.all(|partition| has_leader(partition.leader()))
            {
                break;
            }
            std::thread::sleep(ROOM_TIMEOUT);
        }
        Ok(())
    }
}

/// What a record in flight weighs beside its key and value: headers and the client's bookkeeping.
const RECORD_BYTES: usize = 256;

fn weight(record: &Record) -> usize {
    let length = |range: &Option<Range<usize>>| range.as_ref().map_or(0, Range::len);
    length(&record.key) + length(&record.value) + RECORD_BYTES
}

/// librdkafka's word for: let the partitioner choose.
const BY_KEY: i32 = -1;

/// Our name in the broker's logs and quotas.
const CLIENT_ID: &str = "cdc-agent";

/// Headers that stand first have fixed names.
fn key_header(name: &str) -> &'static CStr {
    match name {
        "__debezium.newkey" => c"__debezium.newkey",
        _ => c"__debezium.oldkey",
    }
}

impl Publisher for KafkaPublisher {
    fn prepare(&self, topics: &[TopicSpec]) -> Result<(), PublishError> {
        let new = self.unknown_topics(topics);
        let missing = self.missing_topics(topics)?;
        let found = |topic: &&TopicSpec| topic.compacted && !missing.contains(topic);
        let own: Vec<&TopicSpec> = new.into_iter().filter(found).collect();
        if !own.is_empty() {
            self.check_own_topics(&own)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        if !self.settings.topics.enabled {
            let names: Vec<&str> = missing.iter().map(|topic| topic.name.as_str()).collect();
            return Err(PublishError::Configuration {
                message: format!(
                    "topics do not exist and topic.creation.enable is false: {}",
                    names.join(", ")
                ),
                hint: "create them, or set topic.creation.enable=true".to_owned(),
            });
        }
        self.create(&missing)
    }

    fn route(&self, route: Route) -> Result<RouteId, PublishError> {
        self.routes.register(route, |route| KafkaRoute::new(&self.producer, route))
    }

    fn send(&self, batch: Batch<'_>, go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let mut last = LastRoute::default();
        let mut position = Vec::with_capacity(48);
        for record in batch.records {
            let route = last.find(&self.routes, record.route)?;
            if !route.internal {
                self.wait_for_room(go_on)?;
            }
            self.send_or_wait((route, record), &batch, &mut position, go_on)?;
        }
        Ok(())
    }

    fn poll(&self, timeout: Duration, acks: &mut Vec<Ack>) -> Result<(), PublishError> {
        let mut slowest = None;
        let (mut freed, mut delivered) = (0, 0);
        self.producer.poll(timeout, |event| match event {
            Event::Delivered { opaque, bytes, latency } => {
                slowest = slowest.max(Some(latency));
                freed += bytes + RECORD_BYTES;
                delivered += 1;
                let receipt = Receipt::from_bits(opaque);
                match acks.last_mut() {
                    Some(last) if last.receipt == receipt => last.records += 1,
                    _ => acks.push(Ack { receipt, records: 1 }),
                }
            }
            Event::Undelivered { code, reason, topic, bytes } => {
                self.fail(undeliverable(code, reason, &topic, "", bytes));
            }
            Event::Trouble { code, reason, fatal } => self.note_trouble(code, reason, fatal),
            Event::Log { level, text } => match level {
                // What hinders it comes as trouble, too.
                ..=2 => tracing::warn!(text, "librdkafka"),
                _ => tracing::debug!(text, "librdkafka"),
            },
        });
        if let Some(latency) = slowest {
            self.outage.end();
            self.metrics.delivery_seconds.observe(latency.as_secs_f64());
            self.in_flight_bytes.fetch_sub(freed, Ordering::Relaxed);
            self.in_flight_records.fetch_sub(delivered, Ordering::Relaxed);
            self.room.1.notify_all();
        }
        let length = i64::try_from(self.producer.queue_length()).unwrap_or(i64::MAX);
        self.metrics.publisher_queue_records.set(length);
        match self.failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn is_waiting(&self) -> bool {
        self.in_flight_bytes.load(Ordering::Relaxed) > 0
    }

    fn end_offsets(&self, topic: &str) -> Result<BTreeMap<i32, i64>, PublishError> {
        let failed = |error: KafkaError| sorted(&self.settings.kafka, "asking for offsets", &error);
        let client = self.admin.inner();
        let metadata = client.fetch_metadata(Some(topic), ADMIN_TIMEOUT).map_err(failed)?;
        let mut offsets = BTreeMap::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let begun = Instant::now();
            let high = loop {
                match client.fetch_watermarks(topic, partition.id(), ADMIN_TIMEOUT) {
                    Ok((_, high)) => break high,
                    // A topic that has just been created may have no leader yet.
                    Err(error) if is_without_leader(&error) && begun.elapsed() < ADMIN_TIMEOUT => {
                        std::thread::sleep(ROOM_TIMEOUT);
                    }
                    Err(error) => return Err(failed(error)),
                }
            };
            offsets.insert(partition.id(), high);
        }
        Ok(offsets)
    }

    fn log_id(&self, topic: &str) -> Result<String, PublishError> {
        let failed = |error: KafkaError| {
            sorted(&self.settings.kafka, "asking for the id of a topic", &error)
        };
        let mut ids = log_ids(self.admin.inner(), &[topic], ADMIN_TIMEOUT).map_err(failed)?;
        Ok(ids.remove(topic).unwrap_or_default())
    }

    fn trouble(&self) -> Option<String> {
        self.outage.reason()
    }

    fn describe(&self) -> String {
        format!("Kafka at {}", self.settings.kafka.brokers)
    }
}

impl KafkaPublisher {
    /// A problem of the producer as a whole: most pass, and librdkafka goes on trying.
    fn note_trouble(&self, code: i32, reason: &str, fatal: bool) {
        self.metrics.errors.with_label_values(&["kafka"]).inc();
        if fatal {
            self.fail(PublishError::Broken {
                during: "producing".to_owned(),
                reason: reason.to_owned(),
            });
        } else {
            tracing::debug!(code, reason, "Kafka client");
            self.outage.note(reason);
        }
    }
}

/// A client of the safe crate, for requests.
fn client_config(settings: &KafkaSettings) -> ClientConfig {
    kafka::client_config(settings, CLIENT_ID)
}
