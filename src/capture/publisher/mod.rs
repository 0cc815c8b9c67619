//! Records to their destination.
//!
//! Takes batches of records (topic, key, payload, headers, receipt) and gives acknowledgements.
//! Holds the destination's client and its bounded queue; when that is full, sending waits. Never
//! sees a row.
//!
//! **A record is never given up while later ones of its partition go out**: the first that fails
//! for good ends the publisher, and everything unacknowledged is read again.

mod error;
mod failures;
mod kafka;
mod librdkafka;
mod lines;
mod own_topics;
mod record;
mod room;
mod routes;
mod settings;

pub use error::PublishError;
pub use kafka::KafkaPublisher;
pub use lines::LinesPublisher;
pub use lines::lock;
pub use record::Ack;
pub use record::Batch;
pub use record::Receipt;
pub use record::Record;
pub use record::Route;
pub use record::RouteId;
pub use routes::LastRoute;
pub use routes::Routes;
pub use settings::PublisherSettings;
pub use settings::TopicCreation;
pub use settings::TopicGroup;
pub use settings::check_producer_property;

use std::collections::BTreeMap;
use std::time::Duration;

/// A topic that must exist before the first record goes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Only the latest record of each key is kept.
    pub compacted: bool,
    /// One of ours, not a table's: it has one partition.
    pub internal: bool,
}

/// A destination.
pub trait Publisher: Send + Sync {
    /// Makes sure that topics exist.
    ///
    /// # Errors
    ///
    /// They do not and cannot be created.
    fn prepare(&self, topics: &[TopicSpec]) -> Result<(), PublishError>;

    /// Registers where records of one version of a table go.
    ///
    /// # Errors
    ///
    /// The topic's name is refused.
    fn route(&self, route: Route) -> Result<RouteId, PublishError>;

    /// Takes a batch, in order. Waits while there is no room, as long as `go_on` gives `true`. A
    /// record of an internal route never waits: the thread that polls sends it, and nobody else
    /// makes room.
    ///
    /// # Errors
    ///
    /// The destination has failed, now or before; or `go_on` gave `false`.
    fn send(&self, batch: Batch<'_>, go_on: &dyn Fn() -> bool) -> Result<(), PublishError>;

    /// Waits for acknowledgements, not longer than this, and appends them.
    ///
    /// # Errors
    ///
    /// The destination has failed.
    fn poll(&self, timeout: Duration, acks: &mut Vec<Ack>) -> Result<(), PublishError>;

    /// Whether records were sent that are not acknowledged.
    fn is_waiting(&self) -> bool;

    /// Whether a send was given up that nobody goes on with: what it left is not acknowledged by
    /// waiting.
    fn has_given_up(&self) -> bool {
        false
    }

    /// Offsets after the last record of a topic, by partition; none where the destination has no
    /// offsets.
    ///
    /// # Errors
    ///
    /// The destination cannot be asked.
    fn end_offsets(&self, _topic: &str) -> Result<BTreeMap<i32, i64>, PublishError> {
        Ok(BTreeMap::new())
    }

    /// The log that a topic's name stands for, by its id; empty where the destination has none.
    ///
    /// # Errors
    ///
    /// The destination cannot be asked.
    fn log_id(&self, _topic: &str) -> Result<String, PublishError> {
        Ok(String::new())
    }

    /// Why the destination does not answer, if it has said so.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// The destination, for people.
    fn describe(&self) -> String;
}
