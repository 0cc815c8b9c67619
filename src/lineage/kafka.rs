//! Events written to a topic.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer;
use rdkafka::producer::ProducerContext;
use rdkafka::producer::ThreadedProducer;
use serde_json::Value;

use crate::kafka::refusal;
use crate::lineage::KafkaTransportSettings;
use crate::lineage::transport::Transport;

/// Events that may wait for a broker.
const QUEUE_EVENTS: &str = "1000";

/// How long the end waits for the broker.
const FLUSH: Duration = Duration::from_secs(4);

/// A producer beside the capture's own: it may lose events.
pub(super) struct Kafka {
    settings: KafkaTransportSettings,
    producer: ThreadedProducer<Reports>,
    lost: Arc<AtomicU64>,
}

impl Kafka {
    /// Does not wait for a broker.
    ///
    /// # Errors
    ///
    /// A property is refused.
    pub(super) fn new(settings: &KafkaTransportSettings) -> Result<Self, String> {
        let mut config = ClientConfig::new();
        config.set("queue.buffering.max.messages", QUEUE_EVENTS);
        config.set("client.id", "cdc-agent-lineage");
        // The Java client's.
        config.set("partitioner", "murmur2_random");
        for (name, value) in &settings.properties {
            config.set(name, value.reveal());
        }
        config.set_log_level(RDKafkaLogLevel::Critical);
        let lost = Arc::new(AtomicU64::new(0));
        let producer = config
            .create_with_context(Reports { lost: Arc::clone(&lost) })
            .map_err(|error| format!("transport.properties: {}", refusal(&error)))?;
        Ok(Kafka { settings: settings.clone(), producer, lost })
    }
}

impl Transport for Kafka {
    fn send(&mut self, event: String) -> Result<(), String> {
        let KafkaTransportSettings { topic, key, .. } = &self.settings;
        let key = key.clone().unwrap_or_else(|| key_of(&event));
        let record = BaseRecord::to(topic).key(&key).payload(&event);
        let failed = |error: KafkaError| format!("topic {topic}: {error}");
        self.producer.send(record).map_err(|(error, _)| failed(error))?;
        match self.lost.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            lost => Err(format!("topic {topic}: {lost} events before were not delivered")),
        }
    }

    fn close(&mut self) {
        if let Err(error) = self.producer.flush(FLUSH) {
            tracing::warn!(%error, "lineage events are lost");
        }
    }
}

/// Events of a job stay in order: one key, one partition.
fn key_of(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let text = |member: &str| event.pointer(member).and_then(Value::as_str).unwrap_or_default();
    format!("run:{}/{}", text("/job/namespace"), text("/job/name"))
}

/// Counts what did not arrive.
struct Reports {
    lost: Arc<AtomicU64>,
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "lineage");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
