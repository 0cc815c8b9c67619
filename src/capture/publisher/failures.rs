//! What the client's errors mean.

use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;

use crate::capture::publisher::PublishError;
use crate::capture::publisher::librdkafka::code;
use crate::kafka::KafkaFailure;
use crate::kafka::KafkaSettings;

/// What a record that will never be delivered means.
pub(super) fn undeliverable(
    code: i32,
    reason: String,
    topic: &str,
    position: &str,
    bytes: usize,
) -> PublishError {
    let during = format!("producing to topic {topic}");
    match code {
        code::MESSAGE_SIZE => PublishError::TooLarge {
            topic: topic.to_owned(),
            position: position.to_owned(),
            bytes,
            reason,
        },
        code::TOPIC_AUTHORIZATION | code::CLUSTER_AUTHORIZATION => {
            PublishError::Unauthorized { during, reason }
        }
        code::INVALID_RECORD => PublishError::Configuration {
            message: format!("topic {topic} refuses a record: {reason}"),
            hint: "a compacted topic takes no records without a key: give it \
                   cleanup.policy=delete or the table a key (message.key.columns)"
                .to_owned(),
        },
        _ => PublishError::Broken { during, reason },
    }
}

/// What a topic that was not created means.
pub(super) fn not_created(topic: &str, code: RDKafkaErrorCode) -> PublishError {
    let during = format!("creating topic {topic}");
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            PublishError::Unauthorized { during, reason: code.to_string() }
        }
        RDKafkaErrorCode::InvalidReplicationFactor
        | RDKafkaErrorCode::InvalidPartitions
        | RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidTopic => PublishError::Configuration {
            message: format!("Kafka refused while {during}: {code}"),
            hint: "correct topic.creation.* or create the topic yourself".to_owned(),
        },
        _ => PublishError::Broken { during, reason: code.to_string() },
    }
}

/// Whether a partition has no leader, or another one than we were told: both pass.
pub(super) fn is_without_leader(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}

/// What an error of the client means.
pub(super) fn sorted(settings: &KafkaSettings, during: &str, error: &KafkaError) -> PublishError {
    KafkaFailure::new(settings, during, error).into()
}
