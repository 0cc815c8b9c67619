//! The table of properties.

use crate::config::properties::ANY;
use crate::config::properties::Kind;
use crate::config::properties::Kind::Bool;
use crate::config::properties::Kind::Bytes;
use crate::config::properties::Kind::Choice;
use crate::config::properties::Kind::Count;
use crate::config::properties::Kind::List;
use crate::config::properties::Kind::Millis;
use crate::config::properties::Kind::Secret;
use crate::config::properties::Kind::Text;
use crate::config::properties::Property;
use crate::config::properties::Subject;
use crate::config::properties::Support;
use crate::config::properties::Support::Different;
use crate::config::properties::Support::Ours;
use crate::config::properties::Support::Refused;
use crate::config::properties::Support::Supported;

const fn property(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    support: Support,
    meaning: &'static str,
) -> Property {
    Property { name, kind, default, debezium: None, support, meaning }
}

const fn in_debezium(property: Property, default: &'static str) -> Property {
    Property { debezium: Some(default), ..property }
}

/// A day.
const DAY: u64 = 86_400_000;

/// Reasons that stand more than once.
const JVM: &str = "it configures the JVM or a Java class";
const INCREMENTAL: &str = "signals and incremental snapshots are not supported";
const NOT_YET: &str = "not supported";

/// How names are adjusted.
const ADJUSTMENTS: &[&str] = &["none", "avro", "avro_unicode"];

/// All properties, by subject.
pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        title: "Where the source is",
        properties: &[
            property(
                "dsn",
                Secret,
                "",
                Ours,
                "Connection string of the source: a URI or key=value pairs.",
            ),
            property(
                "database.hostname",
                Text,
                "",
                Supported,
                "Host of the source; a path is a socket's folder.",
            ),
            property("database.port", Count(1, 65_535), "5432", Supported, "Port of the source."),
            property("database.user", Text, "", Supported, "Role."),
            property("database.password", Secret, "", Supported, "Its password."),
            property("database.dbname", Text, "", Supported, "Database."),
            property(
                "database.sslmode",
                Choice(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
                "prefer",
                Supported,
                "Whether and how TLS is used.",
            ),
            property(
                "database.sslrootcert",
                Text,
                "",
                Supported,
                "Certificates of known authorities (PEM), or system.",
            ),
            property("database.sslcert", Text, "", Supported, "Our certificate (PEM)."),
            property("database.sslkey", Text, "", Supported, "Its key (PEM)."),
            property(
                "application.name",
                Text,
                "cdc-agent",
                Ours,
                "How the server's views name us.",
            ),
            property(
                "connect.timeout.ms",
                Millis(100, DAY),
                "10000",
                Ours,
                "One attempt to connect to one host.",
            ),
        ],
    },
    Subject {
        title: "Slot and publication",
        properties: &[
            in_debezium(
                property(
                    "plugin.name",
                    Choice(&["pgoutput"]),
                    "pgoutput",
                    Different("only pgoutput: it is built into every server"),
                    "Output plug-in of the slot.",
                ),
                "pgoutput",
            ),
            in_debezium(
                property("slot.name", Text, "", Supported, "Replication slot."),
                "debezium",
            ),
            property(
                "slot.max.retries",
                Count(0, 1_000_000),
                "6",
                Supported,
                "How often a slot held by somebody else is asked for again.",
            ),
            property(
                "slot.retry.delay.ms",
                Millis(1, DAY),
                "10000",
                Supported,
                "Pause between those attempts.",
            ),
            in_debezium(
                property(
                    "publication.name",
                    Text,
                    "",
                    Supported,
                    "Publication; by default named as the slot.",
                ),
                "dbz_publication",
            ),
            in_debezium(
                property(
                    "publication.autocreate.mode",
                    Choice(&["all_tables", "disabled", "filtered", "no_tables"]),
                    "filtered",
                    Different("a publication is created of tables with a usable identity only"),
                    "What to do if the publication does not exist.",
                ),
                "all_tables",
            ),
            property(
                "status.update.interval.ms",
                Millis(10, 60_000),
                "10000",
                Supported,
                "At least so often the server hears from us.",
            ),
        ],
    },
    Subject {
        title: "Names and topics",
        properties: &[
            property(
                "topic.prefix",
                Text,
                "",
                Supported,
                "Start of every topic's name; by default the database's.",
            ),
            property(
                "topic.naming.strategy",
                Choice(&[
                    "io.debezium.schema.SchemaTopicNamingStrategy",
                    "io.debezium.schema.DefaultTopicNamingStrategy",
                    "io.debezium.schema.SchemaRegexTopicNamingStrategy",
                    "io.debezium.schema.DefaultRegexTopicNamingStrategy",
                    "io.debezium.schema.SchemaUnicodeTopicNamingStrategy",
                    "io.debezium.schema.DefaultUnicodeTopicNamingStrategy",
                ]),
                "io.debezium.schema.SchemaTopicNamingStrategy",
                Different("only the strategies that Debezium brings"),
                "How topics are named: with the schema or without, renamed, or in Unicode escapes.",
            ),
            property(
                "topic.delimiter",
                Text,
                ".",
                Supported,
                "Between the parts of a topic's name.",
            ),
            property(
                "topic.cache.size",
                Count(0, ANY),
                "10000",
                Different("names are made once per table, without a cache"),
                "Names of topics that are kept.",
            ),
            property("topic.regex", Text, "", Supported, "Which topics are renamed."),
            property("topic.replacement", Text, "", Supported, "What they are renamed to."),
            property(
                "topic.key.enforce.uniqueness",
                Bool,
                "true",
                Supported,
                "Keys of renamed topics name the table.",
            ),
            property(
                "topic.key.field.name",
                Text,
                "__dbz__physicalTableIdentifier",
                Supported,
                "The member of the key that does.",
            ),
            property(
                "topic.key.field.regex",
                Text,
                "",
                Supported,
                "Makes the table's name there out of the topic's.",
            ),
            property("topic.key.field.replacement", Text, "", Supported, "Into what."),
            property(
                "topic.transaction",
                Text,
                "transaction",
                Supported,
                "Name of the topic of transactions, after the prefix.",
            ),
            property(
                "topic.heartbeat.prefix",
                Text,
                "__debezium-heartbeat",
                Supported,
                "Start of the name of the topic of heartbeats, before the prefix.",
            ),
            property(
                "topic.heartbeat.name",
                Text,
                "",
                Supported,
                "Whole name of the topic of heartbeats.",
            ),
            property(
                "schema.name.adjustment.mode",
                Choice(ADJUSTMENTS),
                "none",
                Supported,
                "Makes names of schemas fit for Avro.",
            ),
            property(
                "field.name.adjustment.mode",
                Choice(ADJUSTMENTS),
                "none",
                Supported,
                "Makes names of fields fit for Avro.",
            ),
            property(
                "topic.creation.enable",
                Bool,
                "true",
                Supported,
                "Create topics that are missing.",
            ),
            property(
                "topic.creation.default.partitions",
                Count(1, 100_000),
                "1",
                Supported,
                "Partitions of a new topic.",
            ),
            property(
                "topic.creation.default.replication.factor",
                Text,
                "-1",
                Supported,
                "Replicas of a new topic; -1 for the broker's default.",
            ),
            property(
                "topic.creation.default.*",
                Text,
                "",
                Supported,
                "Further settings of a new topic, as in cleanup.policy.",
            ),
        ],
    },
    Subject {
        title: "Which tables and which operations",
        properties: &[
            property("schema.include.list", List, "", Supported, "Schemas to capture."),
            property("schema.exclude.list", List, "", Supported, "Schemas not to capture."),
            property(
                "table.include.list",
                List,
                "",
                Supported,
                "Tables to capture, as schema.table; its order is that of reading.",
            ),
            property("table.exclude.list", List, "", Supported, "Tables not to capture."),
            property(
                "column.include.list",
                List,
                "",
                Supported,
                "Columns to send, as schema.table.column; keys keep theirs.",
            ),
            property("column.exclude.list", List, "", Supported, "Columns not to send."),
            property(
                "message.key.columns",
                Text,
                "",
                Supported,
                "Columns of keys, as TABLES:COLUMN,COLUMN;TABLES:COLUMN.",
            ),
            property(
                "message.prefix.include.list",
                List,
                "",
                Supported,
                "Prefixes of logical decoding messages to send.",
            ),
            property(
                "message.prefix.exclude.list",
                List,
                "",
                Supported,
                "Prefixes of those not to send.",
            ),
            property(
                "skip.messages.without.change",
                Bool,
                "false",
                Supported,
                "Updates that change no column that is sent are left out, if the log has the old row.",
            ),
            in_debezium(
                property(
                    "skipped.operations",
                    Text,
                    "none",
                    Supported,
                    "Which of c, u, d and t are not sent, or none.",
                ),
                "t",
            ),
            property(
                "tombstones.on.delete",
                Bool,
                "true",
                Supported,
                "A record without value follows each delete.",
            ),
            property(
                "provide.transaction.metadata",
                Bool,
                "false",
                Supported,
                "Records where transactions begin and end, and each change's place in its own.",
            ),
            property(
                "heartbeat.interval.ms",
                Millis(0, DAY),
                "0",
                Supported,
                "Interval of heartbeats; 0: none.",
            ),
            property(
                "heartbeat.action.query",
                Text,
                "",
                Supported,
                "Statement that is run in the source with each heartbeat.",
            ),
            in_debezium(
                property(
                    "extended.headers.enabled",
                    Bool,
                    "false",
                    Supported,
                    "Headers __debezium.context.*.",
                ),
                "true",
            ),
        ],
    },
    Subject {
        title: "Form of values",
        properties: &[
            in_debezium(
                property(
                    "value.fidelity",
                    Choice(&["exact", "debezium"]),
                    "exact",
                    Ours,
                    "exact: nothing legal is lost; debezium: Debezium's schemas throughout.",
                ),
                "debezium",
            ),
            in_debezium(
                property(
                    "decimal.handling.mode",
                    Choice(&["precise", "double", "string"]),
                    "string",
                    Supported,
                    "Form of numeric and money.",
                ),
                "precise",
            ),
            in_debezium(
                property(
                    "interval.handling.mode",
                    Choice(&["numeric", "string"]),
                    "string",
                    Supported,
                    "Form of interval.",
                ),
                "numeric",
            ),
            property(
                "binary.handling.mode",
                Choice(&["bytes", "base64", "base64-url-safe", "hex"]),
                "bytes",
                Supported,
                "Form of bytea.",
            ),
            property(
                "hstore.handling.mode",
                Choice(&["json", "map"]),
                "json",
                Supported,
                "Form of hstore.",
            ),
            property(
                "time.precision.mode",
                Choice(&[
                    "adaptive",
                    "adaptive_time_microseconds",
                    "connect",
                    "isostring",
                    "microseconds",
                    "nanoseconds",
                ]),
                "adaptive",
                Supported,
                "Form of dates and times.",
            ),
            property(
                "column.mask.with.*",
                List,
                "",
                Supported,
                "column.mask.with.N.chars: columns that become N asterisks.",
            ),
            property(
                "column.mask.hash.*",
                List,
                "",
                Different("MD5, SHA-1, SHA-256, SHA-384 and SHA-512 only"),
                "column.mask.hash.[v2.]ALGORITHM.with.salt.SALT: columns that become a hash.",
            ),
            property(
                "column.truncate.to.*",
                List,
                "",
                Supported,
                "column.truncate.to.N.chars: columns that are cut.",
            ),
            property(
                "column.propagate.source.type",
                List,
                "",
                Supported,
                "Columns whose schemas say type, length, scale and name in the source.",
            ),
            property(
                "datatype.propagate.source.type",
                List,
                "",
                Supported,
                "The same for columns by schema.table.type.",
            ),
            property(
                "money.fraction.digits",
                Count(0, 100),
                "2",
                Supported,
                "Digits after the point of money.",
            ),
            property(
                "include.unknown.datatypes",
                Bool,
                "false",
                Supported,
                "Send columns of unknown types as bytes; exact fidelity sends their text.",
            ),
            property(
                "unavailable.value.placeholder",
                Text,
                "__debezium_unavailable_value",
                Supported,
                "Stands for a TOASTed value that an update left unchanged; hex: and digits for bytes.",
            ),
            in_debezium(
                property(
                    "event.converting.failure.handling.mode",
                    Choice(&["fail", "warn", "skip"]),
                    "fail",
                    Supported,
                    "What to do about a value that cannot be converted: stop, or null in its place.",
                ),
                "warn",
            ),
            in_debezium(
                property(
                    "key.converter.schemas.enable",
                    Bool,
                    "false",
                    Supported,
                    "Keys carry their schema.",
                ),
                "true",
            ),
            in_debezium(
                property(
                    "value.converter.schemas.enable",
                    Bool,
                    "false",
                    Supported,
                    "Values carry their schema.",
                ),
                "true",
            ),
            in_debezium(
                property(
                    "value.converter.replace.null.with.default",
                    Bool,
                    "false",
                    Supported,
                    "A null in a column with a default is written as the default.",
                ),
                "true",
            ),
            in_debezium(
                property(
                    "key.converter.replace.null.with.default",
                    Bool,
                    "false",
                    Supported,
                    "The same in keys.",
                ),
                "true",
            ),
            property(
                "value.converter.decimal.format",
                Choice(&["BASE64", "NUMERIC"]),
                "BASE64",
                Supported,
                "Spelling of exact decimals.",
            ),
            property(
                "key.converter.decimal.format",
                Choice(&["BASE64", "NUMERIC"]),
                "BASE64",
                Supported,
                "The same in keys.",
            ),
        ],
    },
    Subject {
        title: "Reading tables",
        properties: &[
            property(
                "snapshot.mode",
                Choice(&["initial", "initial_only", "no_data"]),
                "initial",
                Different("always, when_needed, configuration_based and custom are not supported"),
                "When tables are read.",
            ),
            in_debezium(
                property(
                    "snapshot.max.threads",
                    Count(1, 256),
                    "4",
                    Supported,
                    "Connections that read tables at once; with more than one, large tables are read in pieces.",
                ),
                "1",
            ),
        ],
    },
    Subject {
        title: "Destination",
        properties: &[
            property("to", Text, "kafka", Ours, "Destination: kafka, stdout or file:PATH."),
            property("bootstrap.servers", Text, "localhost:9092", Ours, "Kafka brokers."),
            property(
                "producer.*",
                Secret,
                "",
                Ours,
                "Properties of the Kafka producer, by librdkafka's names.",
            ),
            property(
                "kafka.*",
                Secret,
                "",
                Ours,
                "Properties of every Kafka client, as in kafka.security.protocol, by librdkafka's names.",
            ),
            property(
                "state",
                Text,
                "",
                Ours,
                "File for state with to=stdout and to=file:PATH; by default $STATE_DIRECTORY/SLOT.state.",
            ),
            in_debezium(
                property(
                    "max.queue.size.in.bytes",
                    Bytes(1 << 20, ANY),
                    "67108864",
                    Different("a default bounds all queues together"),
                    "Bytes that may wait in all queues together.",
                ),
                "67108864",
            ),
        ],
    },
    Subject {
        title: "The process",
        properties: &[
            property(
                "startup.timeout.ms",
                Millis(0, DAY),
                "30000",
                Ours,
                "How long the first connections are tried.",
            ),
            property(
                "shutdown.timeout.ms",
                Millis(0, DAY),
                "10000",
                Ours,
                "How long a stop may take.",
            ),
            property(
                "catalog.interval.ms",
                Millis(100, DAY),
                "30000",
                Ours,
                "How often the source is looked at for new tables and kept log.",
            ),
            property(
                "retained.wal.warning.bytes",
                Bytes(0, ANY),
                "5368709120",
                Ours,
                "Log kept for the slot from which on the log warns.",
            ),
            property(
                "http",
                Text,
                "127.0.0.1:8383",
                Ours,
                "Address of /metrics and /health; none turns it off.",
            ),
            property("log.format", Choice(&["text", "json"]), "text", Ours, "Form of the log."),
            property(
                "log.level",
                Text,
                "info",
                Ours,
                "error, warn, info, debug or trace, or a filter of tracing directives.",
            ),
        ],
    },
    Subject {
        title: "Connect's own",
        properties: &[
            property("name", Text, "", Different("only a name"), "Name of the connector."),
            property(
                "connector.class",
                Text,
                "",
                Different("only PostgreSQL's connector"),
                "Class of the connector.",
            ),
            property(
                "tasks.max",
                Count(1, ANY),
                "1",
                Different("one capture, as in Debezium"),
                "Tasks.",
            ),
            property(
                "key.converter",
                Text,
                "",
                Different("only JsonConverter"),
                "Converter of keys.",
            ),
            property(
                "value.converter",
                Text,
                "",
                Different("only JsonConverter"),
                "Converter of values.",
            ),
        ],
    },
    Subject {
        title: "What Debezium has and we do not",
        properties: &[
            property("signal.*", Text, "", Refused(INCREMENTAL), "Signals."),
            property("incremental.*", Text, "", Refused(INCREMENTAL), "Incremental snapshots."),
            property(
                "read.only",
                Bool,
                "false",
                Refused(INCREMENTAL),
                "Incremental snapshots without writing.",
            ),
            property("notification.*", Text, "", Refused(INCREMENTAL), "Notifications."),
            property("transforms", Text, "", Refused(NOT_YET), "Transforms."),
            property("transforms.*", Text, "", Refused(NOT_YET), "Transforms."),
            property("predicates", Text, "", Refused(NOT_YET), "Predicates of transforms."),
            property("predicates.*", Text, "", Refused(NOT_YET), "Predicates of transforms."),
            property("converters", Text, "", Refused(JVM), "Custom converters."),
            property("post.processors", Text, "", Refused(JVM), "Post-processors."),
            property(
                "replica.identity.autoset.values",
                Text,
                "",
                Refused(NOT_YET),
                "Replica identities to set.",
            ),
            property(
                "slot.drop.on.stop",
                Bool,
                "false",
                Refused(NOT_YET),
                "Drop the slot at the end.",
            ),
            property(
                "slot.failover",
                Bool,
                "false",
                Refused(NOT_YET),
                "A slot that follows a failover.",
            ),
            property(
                "slot.stream.params",
                Text,
                "",
                Refused(NOT_YET),
                "Further options of the stream.",
            ),
            property(
                "publish.via.partition.root",
                Bool,
                "false",
                Refused(NOT_YET),
                "Partitions appear as their root.",
            ),
            property("snapshot.*", Text, "", Refused(NOT_YET), "Further settings of reading."),
            property("lsn.flush.*", Text, "", Refused(NOT_YET), "When positions are confirmed."),
            property(
                "offset.mismatch.strategy",
                Text,
                "",
                Refused(NOT_YET),
                "What to do when slot and position differ.",
            ),
            property(
                "xmin.fetch.interval.ms",
                Count(0, ANY),
                "0",
                Refused(NOT_YET),
                "source.xmin.",
            ),
            property(
                "event.processing.failure.handling.mode",
                Text,
                "",
                Refused(NOT_YET),
                "What to do about a bad event.",
            ),
            property("database.*", Text, "", Refused(JVM), "Further settings of the JDBC driver."),
            property("driver.*", Text, "", Refused(JVM), "Settings of the JDBC driver."),
            property("internal.*", Text, "", Refused(JVM), "Debezium's internal settings."),
            property("openlineage.*", Text, "", Refused(JVM), "OpenLineage."),
        ],
    },
];
