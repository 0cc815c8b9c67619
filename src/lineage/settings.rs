//! What events say of the job, and where they go.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// Settings of lineage, checked.
#[derive(Clone, Debug)]
pub struct LineageSettings {
    /// `openlineage.integration.job.namespace`, or the topic prefix.
    pub namespace: String,
    /// The topic prefix and the number of the task.
    pub job: String,
    /// `openlineage.integration.job.description`, or Debezium's sentence.
    pub description: String,
    /// `openlineage.integration.job.tags`.
    pub tags: Vec<(String, String)>,
    /// `openlineage.integration.job.owners`.
    pub owners: Vec<(String, String)>,
    /// Where the tables are: `postgres://HOST:PORT`.
    pub source: String,
    /// The database, which a table's name begins with.
    pub database: String,
    /// The settings that were given, as `NAME=VALUE`, secrets masked.
    pub configs: Vec<String>,
    /// Facets that are left out.
    pub disabled_facets: Vec<String>,
    /// Where events go.
    pub transport: TransportSettings,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportSettings {
    /// Nowhere: `OPENLINEAGE_DISABLED=true`.
    Nowhere,
    /// Into the log.
    Console,
    /// To a file, one event a line.
    File(PathBuf),
    /// To a server.
    Http(HttpSettings),
    /// To a topic.
    Kafka(KafkaTransportSettings),
}

/// A server that events are posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The whole URL.
    pub url: String,
    /// Bounds one request from connecting to the end of the answer.
    pub timeout: Duration,
    /// The key of `Authorization: Bearer`.
    pub api_key: Option<Secret>,
    /// Further headers; they may hold secrets.
    pub headers: Vec<(String, Secret)>,
    /// `compression: gzip`.
    pub gzip: bool,
}

/// A topic that events are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTransportSettings {
    /// The topic.
    pub topic: String,
    /// The key of all events; `None`: `run:NAMESPACE/JOB`.
    pub key: Option<String>,
    /// Properties of the producer, by librdkafka's names.
    pub properties: Vec<(String, Secret)>,
}
