//! What can go wrong between us and the destination.

use std::fmt;

use crate::kafka::KafkaFailure;

/// An error of the destination. Records that were not acknowledged are not lost: they are read
/// again from the confirmed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Nobody answers: try again later.
    Unreachable {
        /// Which brokers.
        brokers: String,
        /// What the client said.
        reason: String,
    },
    /// A producer of its own and a new read may mend it.
    Broken {
        /// What was going on.
        during: String,
        /// What the broker or the client said.
        reason: String,
    },
    /// The broker refuses us: only a person can help.
    Unauthorized {
        /// What was going on.
        during: String,
        /// What the broker said.
        reason: String,
    },
    /// No broker lets us in, or what we are told of the brokers does not fit them: a person has to
    /// help, but after it has worked it may pass.
    Connection {
        /// Which brokers.
        brokers: String,
        /// What the client said.
        reason: String,
        /// What to do.
        hint: String,
        /// A password or a certificate is wrong, and not a name or a protocol.
        credentials: bool,
    },
    /// A record is larger than the destination takes: only a person can help.
    TooLarge {
        /// Topic.
        topic: String,
        /// Where the record stands in the source's history.
        position: String,
        /// Its size.
        bytes: usize,
        /// What the broker or the client said.
        reason: String,
    },
    /// A setting is refused, or a topic is not as it must be: only a person can help.
    Configuration {
        /// What was found.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The file or the pipe cannot be written.
    Output {
        /// Which.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Another process writes there.
    InUse {
        /// Which file.
        path: String,
    },
    /// A destination other than Kafka does not answer: try again later.
    Unavailable {
        /// What was said.
        message: String,
    },
    /// A destination other than Kafka refuses us: only a person can help.
    Refused {
        /// What was said.
        message: String,
        /// What to do.
        hint: String,
    },
    /// We were asked to stop while waiting.
    Stopped,
    /// Our own invariant broke.
    Internal {
        /// Which.
        message: String,
    },
}

/// What to do when no broker lets us in.
const CREDENTIALS_HINT: &str = "give the credentials that the broker asks for \
    (kafka.security.protocol, kafka.sasl.*, kafka.ssl.*)";

impl PublishError {
    /// What to do about it, where a person can do something.
    pub fn hint(&self) -> Option<String> {
        match self {
            PublishError::Unauthorized { .. } => Some(
                "run, with our principal and topic.prefix: kafka-acls.sh --add --allow-principal \
                 User:NAME --operation Create --operation Describe --operation DescribeConfigs \
                 --operation Read --operation Write --topic PREFIX. --resource-pattern-type \
                 prefixed; these are all rights that are needed"
                    .to_owned(),
            ),
            PublishError::TooLarge { bytes, .. } => Some(format!(
                "raise producer.max.request.size here and max.message.bytes of the topic above \
                 {bytes}, then start again: nothing is lost"
            )),
            PublishError::Configuration { hint, .. }
            | PublishError::Refused { hint, .. }
            | PublishError::Connection { hint, .. } => Some(hint.clone()),
            PublishError::Output { .. } => {
                Some("mend what the system names, then start again: nothing is lost".to_owned())
            }
            PublishError::Unreachable { .. } => Some(
                "check that it runs and can be reached (--brokers, and the broker's \
                 advertised.listeners)"
                    .to_owned(),
            ),
            PublishError::InUse { .. } => {
                Some("stop that process, or choose another file (--to, --state)".to_owned())
            }
            PublishError::Broken { .. }
            | PublishError::Unavailable { .. }
            | PublishError::Stopped
            | PublishError::Internal { .. } => None,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Unreachable { brokers, reason }
            | PublishError::Connection { brokers, reason, .. } => {
                write!(formatter, "cannot reach Kafka at {brokers}: {reason}")
            }
            PublishError::Broken { during, reason } => {
                write!(formatter, "Kafka failed while {during}: {reason}")
            }
            PublishError::Unauthorized { during, reason } => {
                write!(formatter, "Kafka refused while {during}: {reason}")
            }
            PublishError::TooLarge { topic, position, bytes, reason } => write!(
                formatter,
                "a record of {bytes} bytes for topic {topic} at position {position} is too \
                 large: {reason}"
            ),
            PublishError::Configuration { message, .. }
            | PublishError::Internal { message }
            | PublishError::Unavailable { message }
            | PublishError::Refused { message, .. } => formatter.write_str(message),
            PublishError::Output { path, reason } => {
                write!(formatter, "cannot write to {path}: {reason}")
            }
            PublishError::InUse { path } => {
                write!(formatter, "{path} is in use by another process")
            }
            PublishError::Stopped => formatter.write_str("asked to stop"),
        }
    }
}

impl std::error::Error for PublishError {}

impl From<KafkaFailure> for PublishError {
    fn from(failure: KafkaFailure) -> Self {
        match failure {
            KafkaFailure::Unauthorized { during, reason } => {
                PublishError::Unauthorized { during, reason }
            }
            KafkaFailure::Unreachable { brokers, reason } => {
                PublishError::Unreachable { brokers, reason }
            }
            KafkaFailure::NotLetIn { brokers, reason } => PublishError::Connection {
                brokers,
                reason,
                hint: CREDENTIALS_HINT.to_owned(),
                credentials: true,
            },
            KafkaFailure::Unusable { brokers, reason, hint } => {
                PublishError::Connection { brokers, reason, hint, credentials: false }
            }
        }
    }
}
