//! How to reach Kafka: shared by publisher and consumer.

use crate::secret::Secret;

/// Brokers and the client's properties for security, by librdkafka's names.
#[derive(Clone, Debug, Default)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Properties that any client needs, as in `security.protocol`.
    pub client: Vec<(String, Secret)>,
}

impl KafkaSettings {
    /// All properties with their values revealed, for the one call that makes a client.
    pub fn properties(&self) -> Vec<(String, String)> {
        let brokers = ("bootstrap.servers".to_owned(), self.brokers.clone());
        let client = self.client.iter();
        let revealed = client.map(|(name, value)| (name.clone(), value.reveal().to_owned()));
        std::iter::once(brokers).chain(revealed).collect()
    }
}
