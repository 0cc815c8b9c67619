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
const TRANSFORMS: &str = "transforms are not supported";

const NO_WAITING: &str = "a confirmation is a message in the stream and is not waited for";
const PIECES: &str = "tables are read in pieces of 128 MiB by as many connections as are given";
const BATCHES: &str = "batches are what one read of the socket brings; queues are bounded in bytes";
const RETRIES: &str = "what can pass is tried again for ever, with growing pauses up to seconds";

/// The converter that there is, by the names that Connect has for it.
const JSON_CONVERTER: &[&str] =
    &["org.apache.kafka.connect.json.JsonConverter", "JsonConverter", "Json"];

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
                "database.tcpKeepAlive",
                Bool,
                "true",
                Different("always on, but for what the connection string says"),
                "TCP keepalives.",
            ),
            property(
                "database.connection.timeout.ms",
                Millis(0, ANY),
                "600000",
                Different("connect.timeout.ms bounds every attempt to connect"),
                "How long connecting may take.",
            ),
            property(
                "database.query.timeout.ms",
                Millis(0, ANY),
                "600000",
                Different("reads may take any time, other queries a minute"),
                "How long a query may take.",
            ),
            property(
                "application.name",
                Text,
                "cdc-agent",
                Ours,
                "How the server's views name us.",
            ),
            property(
                "database.initial.statements",
                Text,
                "",
                Different("settings that values are printed by are ours whatever they say"),
                "Statements that each connection for SQL begins with, separated by `;`; `;;` is a \
                 semicolon within one.",
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
                    Different(
                        "all_tables holds only if it is said; a default gives one of the tables with a usable identity",
                    ),
                    "What to do if the publication does not exist.",
                ),
                "all_tables",
            ),
            in_debezium(
                property(
                    "publish.via.partition.root",
                    Bool,
                    "true",
                    Supported,
                    "A publication that we create sends changes of partitions as their root's.",
                ),
                "false",
            ),
            property(
                "replica.identity.autoset.values",
                Text,
                "",
                Supported,
                "Replica identities to set at the start, as TABLES:FULL,TABLES:INDEX NAME.",
            ),
            property(
                "slot.drop.on.stop",
                Bool,
                "false",
                Different("the next start reads everything again, in a new epoch"),
                "Drop the slot when stopping.",
            ),
            property(
                "slot.failover",
                Bool,
                "false",
                Supported,
                "The slot goes over to a standby (PostgreSQL 17 and later).",
            ),
            property(
                "slot.stream.params",
                Text,
                "",
                Different("not proto_version, publication_names, streaming, binary and two_phase"),
                "Further options of the stream, as NAME=VALUE;NAME=VALUE.",
            ),
            property(
                "xmin.fetch.interval.ms",
                Millis(0, DAY),
                "0",
                Supported,
                "How often source.xmin is asked for; 0: not at all.",
            ),
            property(
                "lsn.flush.mode",
                Choice(&["connector", "manual", "connector_and_driver"]),
                "connector",
                Different(
                    "connector confirms an idle log too, as connector_and_driver does in Debezium",
                ),
                "Whether the server hears what is stored; manual: never.",
            ),
            property(
                "flush.lsn.source",
                Bool,
                "true",
                Supported,
                "The old name: false is lsn.flush.mode=manual.",
            ),
            property(
                "lsn.flush.timeout.ms",
                Millis(0, DAY),
                "30000",
                Different(NO_WAITING),
                "How long a confirmation may take.",
            ),
            property(
                "lsn.flush.timeout.action",
                Choice(&["fail", "warn", "ignore"]),
                "fail",
                Different(NO_WAITING),
                "What to do when it takes longer.",
            ),
            property(
                "offset.mismatch.strategy",
                Choice(&["no_validation", "trust_offset", "trust_slot", "trust_greater_lsn"]),
                "no_validation",
                Different(
                    "a slot ahead of the stored position is always noticed: trust_slot and \
                     trust_greater_lsn read everything again, the others stop with an error",
                ),
                "What to do when slot and stored position differ.",
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
                "topic.creation.groups",
                Text,
                "",
                Supported,
                "Names of groups of topics with settings of their own, separated by commas.",
            ),
            property(
                "topic.creation.*",
                Text,
                "",
                Supported,
                "topic.creation.GROUP.include, .exclude, .partitions and so on.",
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
                "table.ignore.builtin",
                Bool,
                "true",
                Different("tables of the system are never captured"),
                "Leave out tables of the system.",
            ),
            property(
                "guardrail.collections.max",
                Count(0, ANY),
                "0",
                Supported,
                "How many tables may be captured; 0: any number.",
            ),
            property(
                "guardrail.collections.limit.action",
                Choice(&["warn", "fail"]),
                "warn",
                Supported,
                "What to do about more.",
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
            property(
                "notification.enabled.channels",
                Text,
                "",
                Different("the channel jmx and those of Java classes are refused"),
                "Where it is told how reading tables goes on: sink (a topic), log.",
            ),
            property(
                "notification.sink.topic.name",
                Text,
                "",
                Supported,
                "Topic of the channel sink.",
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
            property(
                "event.processing.failure.handling.mode",
                Choice(&["fail", "warn", "skip", "ignore"]),
                "fail",
                Different(
                    "no event is ever dropped: event.converting.failure.handling.mode says what \
                     becomes of a value",
                ),
                "What to do about an event that cannot be processed.",
            ),
            property(
                "schema.refresh.mode",
                Choice(&["columns_diff", "columns_diff_exclude_unchanged_toast"]),
                "columns_diff",
                Different("without effect, as with pgoutput in Debezium"),
                "When a table's schema is read again.",
            ),
            property(
                "include.schema.comments",
                Bool,
                "false",
                Different("without effect, as in Debezium's connector for PostgreSQL"),
                "Comments of columns in schemas.",
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
                Choice(&[
                    "always",
                    "initial",
                    "initial_only",
                    "no_data",
                    "when_needed",
                    "configuration_based",
                ]),
                "initial",
                Different(
                    "custom is a Java class; a new read has a new epoch, and loses no change",
                ),
                "When tables are read.",
            ),
            property(
                "snapshot.mode.configuration.based.snapshot.data",
                Bool,
                "false",
                Supported,
                "configuration_based: read rows at every start.",
            ),
            property(
                "snapshot.mode.configuration.based.snapshot.schema",
                Bool,
                "false",
                Different("the catalog is always read"),
                "configuration_based: read the catalog.",
            ),
            property(
                "snapshot.mode.configuration.based.start.stream",
                Bool,
                "false",
                Supported,
                "configuration_based: stream.",
            ),
            property(
                "snapshot.mode.configuration.based.snapshot.on.schema.error",
                Bool,
                "false",
                Different("there is no history of schemas that could fail"),
                "configuration_based: read the catalog again.",
            ),
            property(
                "snapshot.mode.configuration.based.snapshot.on.data.error",
                Bool,
                "false",
                Supported,
                "configuration_based: read rows again when the slot's position does not fit.",
            ),
            property(
                "snapshot.include.collection.list",
                List,
                "",
                Supported,
                "Captured tables whose rows are read; the others are only streamed.",
            ),
            property(
                "snapshot.select.statement.overrides",
                Text,
                "",
                Supported,
                "Tables that are read by a statement of one's own.",
            ),
            property(
                "snapshot.select.statement.overrides.*",
                Text,
                "",
                Supported,
                "That statement of each, after its schema and name.",
            ),
            property(
                "snapshot.locking.mode",
                Choice(&["none", "shared"]),
                "none",
                Different("custom is a Java class"),
                "shared: nobody alters the tables while they are read.",
            ),
            property(
                "snapshot.lock.timeout.ms",
                Millis(0, DAY),
                "10000",
                Supported,
                "How long those locks are waited for.",
            ),
            property(
                "snapshot.isolation.mode",
                Choice(&["serializable", "repeatable_read", "read_committed", "read_uncommitted"]),
                "serializable",
                Different("all rows are read under one exported snapshot, as repeatable_read"),
                "Isolation of the reads.",
            ),
            property(
                "snapshot.query.mode",
                Choice(&["select_all"]),
                "select_all",
                Different("custom is a Java class"),
                "What is read.",
            ),
            property(
                "snapshot.fetch.size",
                Count(0, ANY),
                "10240",
                Different("rows come in one stream (COPY), which needs no size"),
                "Rows of one fetch.",
            ),
            property(
                "snapshot.tables.order.by.row.count",
                Choice(&["disabled", "ascending", "descending"]),
                "disabled",
                Different("by the planner's estimate"),
                "Small or large tables first.",
            ),
            property(
                "snapshot.delay.ms",
                Millis(0, DAY),
                "0",
                Supported,
                "Pause before tables are read.",
            ),
            property(
                "streaming.delay.ms",
                Millis(0, DAY),
                "0",
                Supported,
                "Pause between reading and streaming.",
            ),
            property(
                "snapshot.max.threads.multiplier",
                Count(1, ANY),
                "1",
                Different(PIECES),
                "Pieces of a table for each connection.",
            ),
            property(
                "snapshot.max.threads.multiplier.*",
                Count(1, ANY),
                "1",
                Different(PIECES),
                "The same for one table.",
            ),
            property(
                "legacy.snapshot.max.threads",
                Bool,
                "false",
                Different(PIECES),
                "Whole tables instead of pieces.",
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
            property(
                "to",
                Secret,
                "kafka",
                Ours,
                "Destination: kafka, stdout, file:PATH, or a warehouse: duckdb:PATH, postgres://….",
            ),
            property("bootstrap.servers", Text, "localhost:9092", Ours, "Kafka brokers."),
            property(
                "producer.*",
                Secret,
                "",
                Ours,
                "Properties of the Kafka producer, by librdkafka's names.",
            ),
            property(
                "producer.override.*",
                Secret,
                "",
                Different("by librdkafka's names"),
                "A connector's own properties of the producer.",
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
        title: "A warehouse as the destination",
        properties: &[
            property(
                "delete.mode",
                Choice(&["hard", "soft"]),
                "hard",
                Ours,
                "hard removes deleted rows; soft keeps them, marked in _cdc_deleted.",
            ),
            property(
                "errors.tolerance",
                Choice(&["none", "all"]),
                "none",
                Ours,
                "none stops at a record that cannot be applied; all puts it aside in _cdc.dead_letters.",
            ),
            property(
                "batch.records",
                Count(1, 10_000_000),
                "50000",
                Ours,
                "Records after which a batch is committed.",
            ),
            property(
                "batch.bytes",
                Bytes(1024, ANY),
                "16777216",
                Ours,
                "Bytes after which a batch is committed.",
            ),
            property(
                "batch.time.ms",
                Millis(1, 3_600_000),
                "500",
                Ours,
                "Time after which a batch is committed.",
            ),
            property("duckdb.memory.limit", Text, "1GB", Ours, "Memory that DuckDB may use."),
            property("duckdb.threads", Count(1, 1024), "2", Ours, "Threads that DuckDB may use."),
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
                "header.converter",
                Choice(&[
                    "org.apache.kafka.connect.storage.SimpleHeaderConverter",
                    "SimpleHeaderConverter",
                    "Simple",
                ]),
                "org.apache.kafka.connect.storage.SimpleHeaderConverter",
                Supported,
                "Converter of headers.",
            ),
            property(
                "exactly.once.support",
                Choice(&["requested"]),
                "requested",
                Different("records come at least once: required is not supported"),
                "Whether each record must come exactly once.",
            ),
            property(
                "transaction.boundary",
                Choice(&["poll", "connector", "interval"]),
                "poll",
                Different("without effect: there are no transactions of Kafka"),
                "Where Kafka's transactions end.",
            ),
            property(
                "config.action.reload",
                Choice(&["none", "restart"]),
                "restart",
                Different("there are no providers of settings"),
                "What to do when a provider's setting changes.",
            ),
            property(
                "errors.*",
                Text,
                "",
                Different(
                    "event.converting.failure.handling.mode says what becomes of a value; what can \
                     pass is tried again for ever",
                ),
                "Errors of converters and transforms.",
            ),
            property(
                "max.batch.size",
                Count(1, ANY),
                "2048",
                Different(BATCHES),
                "Changes of one batch.",
            ),
            property(
                "max.queue.size",
                Count(1, ANY),
                "8192",
                Different(BATCHES),
                "Changes that may wait.",
            ),
            property(
                "poll.interval.ms",
                Millis(0, DAY),
                "500",
                Different(BATCHES),
                "Pause between batches.",
            ),
            property(
                "query.fetch.size",
                Count(0, ANY),
                "0",
                Different("rows come in one stream (COPY), which needs no size"),
                "Rows of one fetch.",
            ),
            property(
                "errors.max.retries",
                Text,
                "-1",
                Different(RETRIES),
                "How often an error is tried again.",
            ),
            property(
                "retriable.restart.connector.wait.ms",
                Millis(0, DAY),
                "10000",
                Different(RETRIES),
                "Pause before that.",
            ),
            property(
                "executor.shutdown.timeout.ms",
                Millis(0, DAY),
                "4000",
                Different("shutdown.timeout.ms bounds the whole stop"),
                "How long threads may take to stop.",
            ),
            property(
                "connection.validation.timeout.ms",
                Millis(0, DAY),
                "60000",
                Different("connect.timeout.ms bounds every attempt to connect"),
                "How long the first connection may take.",
            ),
            property(
                "statistics.metrics.enabled",
                Bool,
                "true",
                Different("metrics are Prometheus', with a histogram of latencies"),
                "Quantiles of the lag.",
            ),
            property(
                "connector.class",
                Choice(&[
                    "io.debezium.connector.postgresql.PostgresConnector",
                    "PostgresConnector",
                    "Postgres",
                ]),
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
                Choice(JSON_CONVERTER),
                "",
                Different("only JsonConverter"),
                "Converter of keys.",
            ),
            property(
                "value.converter",
                Choice(JSON_CONVERTER),
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
            property("transforms", Text, "", Refused(TRANSFORMS), "Transforms."),
            property("transforms.*", Text, "", Refused(TRANSFORMS), "Transforms."),
            property("predicates", Text, "", Refused(TRANSFORMS), "Predicates of transforms."),
            property("predicates.*", Text, "", Refused(TRANSFORMS), "Predicates of transforms."),
            property("converters", Text, "", Refused(JVM), "Custom converters."),
            property("post.processors", Text, "", Refused(JVM), "Post-processors."),
            property("snapshot.*", Text, "", Refused(JVM), "Snapshots by a Java class."),
            property("custom.*", Text, "", Refused(JVM), "Tags and patterns of MBeans and logs."),
            property("queue.provider.*", Text, "", Refused(JVM), "Queues on the disk."),
            property("sourceinfo.struct.maker", Text, "", Refused(JVM), "Another source block."),
            property(
                "transaction.metadata.factory",
                Text,
                "",
                Refused(JVM),
                "Another form of transaction metadata.",
            ),
            property("database.*", Text, "", Refused(JVM), "Further settings of the JDBC driver."),
            property("driver.*", Text, "", Refused(JVM), "Settings of the JDBC driver."),
            property("internal.*", Text, "", Refused(JVM), "Debezium's internal settings."),
            property("openlineage.*", Text, "", Refused(JVM), "OpenLineage."),
        ],
    },
];
