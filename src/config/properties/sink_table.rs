//! The table of the companion's properties.

use crate::config::properties::ANY;
use crate::config::properties::Kind;
use crate::config::properties::Kind::Bool;
use crate::config::properties::Kind::Bytes;
use crate::config::properties::Kind::Choice;
use crate::config::properties::Kind::Count;
use crate::config::properties::Kind::Millis;
use crate::config::properties::Kind::Secret;
use crate::config::properties::Kind::Text;
use crate::config::properties::Property;
use crate::config::properties::Subject;
use crate::config::properties::Support::Ours;

const fn property(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Property {
    Property { name, kind, default, debezium: None, support: Ours, meaning }
}

/// All properties, by subject.
pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        title: "What is consumed",
        properties: &[
            property(
                "bootstrap.servers",
                Text,
                "localhost:9092",
                "Kafka brokers, separated by commas.",
            ),
            property(
                "topics.regex",
                Text,
                "",
                "Regular expression that the whole name of every wanted topic matches.",
            ),
            property(
                "group.id",
                Text,
                "",
                "Consumer group; offsets are stored in the warehouse under it.",
            ),
            property(
                "kafka.*",
                Secret,
                "",
                "Properties of every Kafka client, as in kafka.security.protocol, by librdkafka's names.",
            ),
            property(
                "consumer.*",
                Secret,
                "",
                "Properties of the consumer, as in consumer.session.timeout.ms, by librdkafka's names.",
            ),
        ],
    },
    Subject {
        title: "Where it goes",
        properties: &[
            property("to", Secret, "", "The warehouse: postgres://… or duckdb:PATH."),
            property(
                "delete.mode",
                Choice(&["hard", "soft"]),
                "hard",
                "hard removes deleted rows; soft keeps them, marked in _cdc_deleted.",
            ),
            property(
                "commit.time.column",
                Bool,
                "true",
                "New tables have _cdc_committed_at, the commit time of each row's last change.",
            ),
            property("duckdb.memory.limit", Text, "1GB", "Memory that DuckDB may use."),
            property("duckdb.threads", Count(1, 1024), "2", "Threads that DuckDB may use."),
        ],
    },
    Subject {
        title: "How it is applied",
        properties: &[
            property(
                "errors.tolerance",
                Choice(&["none", "all"]),
                "none",
                "none stops at a bad record; all puts it aside in _cdc.dead_letters.",
            ),
            property(
                "unavailable.value.placeholder",
                Text,
                "__debezium_unavailable_value",
                "What stands for a value that was left out.",
            ),
            property(
                "batch.records",
                Count(1, 10_000_000),
                "50000",
                "Records after which a batch is committed.",
            ),
            property(
                "batch.bytes",
                Bytes(1024, ANY),
                "16777216",
                "Bytes after which a batch is committed.",
            ),
            property(
                "batch.time.ms",
                Millis(1, 3_600_000),
                "500",
                "Time after which a batch is committed.",
            ),
            property(
                "key.change.wait.ms",
                Millis(0, 3_600_000),
                "30000",
                "How long the second half of a key change waits for a first half that is nowhere.",
            ),
        ],
    },
    Subject {
        title: "The process",
        properties: &[
            property(
                "startup.timeout.ms",
                Millis(0, ANY),
                "30000",
                "How long Kafka and warehouse may be unreachable at the start.",
            ),
            property(
                "shutdown.timeout.ms",
                Millis(100, 600_000),
                "10000",
                "How long stopping may take.",
            ),
            property(
                "http",
                Text,
                "127.0.0.1:8384",
                "Address of /metrics, /health and /v1; none turns it off.",
            ),
            property(
                "http.hosts",
                Text,
                "",
                "Names that the HTTP port is asked by beside its address and localhost.",
            ),
            property("log.format", Choice(&["text", "json"]), "text", "Form of the log."),
            property(
                "log.level",
                Text,
                "info",
                "error, warn, info, debug or trace, or a filter of tracing directives.",
            ),
        ],
    },
];
