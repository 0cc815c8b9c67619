//! How to reach Kafka: shared by publisher and consumer.

mod compacted;
mod log_ids;
mod outage;
mod reach;

pub use compacted::CompactedTopic;
pub use compacted::topic_exists;
pub use log_ids::leader_epoch;
pub use log_ids::log_ids;
pub use outage::Outage;
pub use reach::reach;

use rdkafka::config::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;

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

/// Why a request to Kafka failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaFailure {
    /// The broker refuses us: only a person can help.
    Unauthorized {
        /// What was going on.
        during: String,
        /// What the broker said.
        reason: String,
    },
    /// No broker lets us in: a password or a certificate is wrong.
    NotLetIn {
        /// Which brokers.
        brokers: String,
        /// What the client said.
        reason: String,
    },
    /// What we are told of the brokers does not fit them: a name, TLS, a protocol.
    Unusable {
        /// Which brokers.
        brokers: String,
        /// What the client said.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// Nobody answers, or something else that may pass.
    Unreachable {
        /// Which brokers.
        brokers: String,
        /// What the client said.
        reason: String,
    },
}

impl KafkaFailure {
    /// What an error of the client means.
    pub fn new(settings: &KafkaSettings, during: &str, error: &KafkaError) -> Self {
        let brokers = settings.brokers.clone();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                KafkaFailure::NotLetIn { brokers, reason: format!("{during}: {error}") }
            }
            Some(
                RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed,
            ) => {
                KafkaFailure::Unauthorized { during: during.to_owned(), reason: error.to_string() }
            }
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut,
            ) => KafkaFailure::Unreachable {
                brokers,
                reason: format!("no broker answers while {during}"),
            },
            _ => KafkaFailure::Unreachable { brokers, reason: format!("{during}: {error}") },
        }
    }
}

/// What the client says of a setting that it refuses, without the value, which may be a password.
pub fn refusal(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => format!("{name}: {reason}"),
        other => other.to_string(),
    }
}

/// A client of the safe crate, for requests and for reading.
pub fn client_config(settings: &KafkaSettings, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in settings.properties() {
        config.set(name, value);
    }
    config.set("client.id", client_id);
    config.set_log_level(RDKafkaLogLevel::Critical);
    config
}

#[cfg(test)]
mod tests {
    use rdkafka::config::ClientConfig;
    use rdkafka::producer::BaseProducer;

    use super::refusal;

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        let mut config = ClientConfig::new();
        config.set("ssl.key.passwort", "s3cret");
        let refused = config.create::<BaseProducer>().err().unwrap();
        assert_eq!(
            refusal(&refused),
            "ssl.key.passwort: No such configuration property: \"ssl.key.passwort\""
        );
    }
}
