//! The agent's settings, composed from every stage's.

use std::path::PathBuf;
use std::time::Duration;

use crate::apply::settings::ApplySettings;
use crate::capture::CaptureSettings;
use crate::capture::ConversionFailure;
use crate::capture::Destination;
use crate::capture::Heartbeat;
use crate::capture::NameList;
use crate::capture::NotificationSettings;
use crate::capture::PublicationAutocreate;
use crate::capture::Times;
use crate::capture::change::BinaryMode;
use crate::capture::change::DecimalFormat;
use crate::capture::change::DecimalMode;
use crate::capture::change::Fidelity;
use crate::capture::change::HstoreMode;
use crate::capture::change::IntervalMode;
use crate::capture::change::TimePrecisionMode;
use crate::capture::change::ValueSettings;
use crate::capture::postgres::SourceSettings;
use crate::capture::postgres::conninfo::ConnInfo;
use crate::capture::publisher::PublisherSettings;
use crate::config::ConfigError;
use crate::config::RawConfig;
use crate::config::WarehouseConfig;
use crate::config::apply_settings;
use crate::config::file;
use crate::config::kafka_settings;
use crate::config::lineage;
use crate::config::reading;
use crate::config::references;
use crate::config::shaping;
use crate::config::sink::client_properties;
use crate::config::sink::producers;
use crate::config::warehouse_config;
use crate::lineage::LineageSettings;
use crate::telemetry::Labels;
use crate::telemetry::http::Port;
use crate::telemetry::log::LogFormat;

/// What the agent's process is asked to do.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The capture.
    pub capture: CaptureSettings,
    /// A warehouse in place of the capture's destination, and how records are applied to it.
    pub warehouse: Option<(WarehouseConfig, ApplySettings)>,
    /// What is told of it; `None`: nothing.
    pub lineage: Option<LineageSettings>,
    /// The process around it.
    pub process: ProcessSettings,
    /// `custom.metric.tags`: labels of all metrics.
    pub labels: Labels,
}

/// What surrounds the capture.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// Where `/metrics` and `/health` answer.
    pub http: Port,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Level or filter of the log.
    pub log_level: String,
}

impl ProcessSettings {
    /// Reads them first, because the log needs them.
    pub fn new(raw: &mut RawConfig) -> Self {
        let address = raw.text("http").to_owned();
        let http = match address.as_str() {
            "none" => None,
            address => match address.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    let message =
                        format!("found \"{address}\", expected ADDRESS:PORT as in 127.0.0.1:8383");
                    raw.fail("http", message);
                    None
                }
            },
        };
        let json = raw.text("log.format") == "json";
        ProcessSettings {
            http: Port {
                address: http,
                asked: raw.given("http").is_some(),
                hosts: (raw.text("http.hosts").split(','))
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect(),
            },
            log_format: if json { LogFormat::Json } else { LogFormat::Text },
            log_level: raw.text("log.level").to_owned(),
        }
    }
}

impl AgentConfig {
    /// Checks everything that was given.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub fn new(
        mut raw: RawConfig,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let process = ProcessSettings::new(&mut raw);
        let source = source(&mut raw, &environment);
        let slot = raw.text("slot.name").to_owned();
        if let Err(message) = check_slot_name(&slot) {
            raw.fail("slot.name", message);
        }
        let or = |text: &str, otherwise: &str| {
            if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
        };
        let prefix = prefix(&mut raw, source.as_ref());
        let publication = or(raw.text("publication.name"), &slot);
        let destination = destination(&mut raw, &slot, &environment);
        let warehouse = direct(&mut raw, &slot, &environment);
        let tables = shaping::table_filter(&mut raw);
        let columns = shaping::columns(&mut raw);
        let messages = shaping::message_filter(&mut raw);
        let naming = shaping::naming(&mut raw, &prefix);
        let snapshot = reading::snapshot(&mut raw);
        let slot_options = reading::slot(&mut raw);
        let identities = reading::identities(&mut raw);
        let skipped = shaping::skipped_operations(&mut raw);
        let notifications = notifications(&mut raw);
        let values = value_settings(&mut raw);
        let lineage = lineage::settings(&mut raw, source.as_ref(), &prefix, &environment);
        let labels = labels(&mut raw);
        check_batches(&mut raw);
        let errors = raw.take_errors();
        let (Some(source), Some(destination), true) = (source, destination, errors.is_empty())
        else {
            return Err(errors);
        };
        let capture = CaptureSettings {
            autocreate: autocreate(&raw),
            slot,
            publication,
            prefix,
            source,
            destination,
            tables,
            naming,
            columns,
            messages,
            skip_unchanged: raw.flag("skip.messages.without.change"),
            values,
            conversion_failure: conversion_failure(&raw),
            skipped,
            transaction_metadata: raw.flag("provide.transaction.metadata"),
            heartbeat: heartbeat(&raw),
            notifications,
            tombstones: raw.flag("tombstones.on.delete"),
            context_headers: raw.flag("extended.headers.enabled"),
            snapshot,
            slot_options,
            via_root: raw.flag("publish.via.partition.root"),
            identities,
            tables_limit: reading::tables_limit(&raw),
            source_queue_bytes: queue_bytes(&raw) / SOURCE_QUEUE_SHARE,
            times: times(&raw),
            slot_retries: u32::try_from(raw.number("slot.max.retries")).unwrap_or(u32::MAX),
            retained_wal_warning_bytes: raw.number("retained.wal.warning.bytes"),
        };
        Ok(AgentConfig { capture, warehouse, lineage, process, labels })
    }
}

/// Start of all names of topics; by default the database's, which a Debezium file does not know.
fn prefix(raw: &mut RawConfig, source: Option<&SourceSettings>) -> String {
    const NAME: &str = "topic.prefix";
    let mut prefix = raw.text(NAME).to_owned();
    if prefix.is_empty() && raw.is_debezium {
        raw.fail(NAME, "found nothing, expected the start of every topic's name");
    } else if prefix.is_empty() {
        prefix = source.map(|source| source.database.clone()).unwrap_or_default();
    }
    if !prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        let message =
            format!("found \"{prefix}\", expected letters, digits, dots, underscores, hyphens");
        raw.fail(NAME, message);
    }
    prefix
}

/// One part of so many of all queues' bytes is for what waits between the source and the encoder;
/// half is for the producer, the rest is slack for records on their way.
const SOURCE_QUEUE_SHARE: usize = 4;

/// No fewer bytes may wait.
const LEAST_QUEUE_BYTES: usize = 1 << 20;

fn count(raw: &RawConfig, name: &str) -> usize {
    usize::try_from(raw.number(name)).unwrap_or(usize::MAX)
}

/// Debezium's 0 is no bound, and there always is one here; less than a MiB would hold no record.
fn queue_bytes(raw: &RawConfig) -> usize {
    const NAME: &str = "max.queue.size.in.bytes";
    match count(raw, NAME) {
        0 => raw.default_of(NAME).parse().unwrap_or(LEAST_QUEUE_BYTES),
        bytes => bytes.max(LEAST_QUEUE_BYTES),
    }
}

/// As Debezium: what waits must be more than one batch.
fn check_batches(raw: &mut RawConfig) {
    let (queue, batch) = (raw.number("max.queue.size"), raw.number("max.batch.size"));
    if queue <= batch {
        let message = format!("found {queue}, expected more than max.batch.size, which is {batch}");
        raw.fail("max.queue.size", message);
    }
}

fn autocreate(raw: &RawConfig) -> PublicationAutocreate {
    let given = raw.given("publication.autocreate.mode").is_some();
    match raw.text("publication.autocreate.mode") {
        // A default never makes a publication that breaks the UPDATE of tables without identity.
        "all_tables" if given => PublicationAutocreate::AllTables,
        "no_tables" => PublicationAutocreate::NoTables,
        "disabled" => PublicationAutocreate::Disabled,
        _ => PublicationAutocreate::Filtered,
    }
}

fn conversion_failure(raw: &RawConfig) -> ConversionFailure {
    match raw.text("event.converting.failure.handling.mode") {
        "warn" => ConversionFailure::Warn,
        "skip" => ConversionFailure::Skip,
        _ => ConversionFailure::Fail,
    }
}

/// As Debezium: what lets the driver confirm has heartbeats of its own, unless transactions'
/// records tell as much.
fn heartbeat(raw: &RawConfig) -> Option<Heartbeat> {
    const OF_THE_DRIVER: Duration = Duration::from_secs(600);
    let mut interval = Duration::from_millis(raw.number("heartbeat.interval.ms"));
    let by_driver = raw.text("lsn.flush.mode") == "connector_and_driver";
    if interval.is_zero() && by_driver && !raw.flag("provide.transaction.metadata") {
        interval = OF_THE_DRIVER;
    }
    let action = raw.text("heartbeat.action.query").to_owned();
    (!interval.is_zero()).then_some(Heartbeat { interval, action })
}

/// Labels of all metrics; what is shown beside them is checked too.
fn labels(raw: &mut RawConfig) -> Labels {
    const NAME: &str = "custom.metric.tags";
    if let Err(message) = NameList::single(raw.text("custom.sanitize.pattern")) {
        raw.fail("custom.sanitize.pattern", message);
    }
    Labels::parse(raw.text(NAME)).unwrap_or_else(|message| {
        raw.fail(NAME, message);
        Labels::default()
    })
}

/// Channels of notifications: Debezium's `jmx`, and those of Java classes, need a JVM.
fn notifications(raw: &mut RawConfig) -> NotificationSettings {
    const CHANNELS: &str = "notification.enabled.channels";
    const TOPIC: &str = "notification.sink.topic.name";
    let mut settings = NotificationSettings::default();
    let channels = raw.text(CHANNELS).to_owned();
    let topic = raw.text(TOPIC).to_owned();
    for channel in channels.split(',').map(str::trim).filter(|channel| !channel.is_empty()) {
        match channel {
            "log" => settings.to_log = true,
            "sink" if topic.is_empty() => raw.fail(
                TOPIC,
                format!("found nothing, expected a topic, because {CHANNELS} has sink"),
            ),
            "sink" => settings.topic = Some(topic.clone()),
            other => raw.fail(
                CHANNELS,
                format!("found \"{other}\", expected sink, log (jmx and classes need a JVM)"),
            ),
        }
    }
    settings
}

fn times(raw: &RawConfig) -> Times {
    let millis = |name: &str| Duration::from_millis(raw.number(name));
    Times {
        startup: millis("startup.timeout.ms"),
        shutdown: millis("shutdown.timeout.ms"),
        slot_retry: millis("slot.retry.delay.ms"),
        status: millis("status.update.interval.ms"),
        catalog: millis("catalog.interval.ms"),
    }
}

/// A slot's name by PostgreSQL's rule.
fn check_slot_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("no slot is given: use --slot NAME".to_owned());
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.len() > 63 || !name.chars().all(allowed) {
        return Err(format!(
            "found \"{name}\", expected at most 63 lower-case letters, digits and underscores"
        ));
    }
    Ok(())
}

/// Connection parameters: those of the connection string and of flags, then of the service file,
/// then `PG*`, then of a configuration file.
fn source(
    raw: &mut RawConfig,
    environment: &impl Fn(&str) -> Option<String>,
) -> Option<SourceSettings> {
    let merged = connection_parameters(raw, environment);
    let settings = merged.and_then(|info| {
        let source = SourceSettings::new(&info, raw.text("application.name"))?;
        Ok((info, source))
    });
    match settings {
        Ok((info, mut source)) => {
            if info.get("connect_timeout").is_none() {
                source.connect_timeout = Duration::from_millis(raw.number("connect.timeout.ms"));
            }
            source.initial_statements = statements(raw.text("database.initial.statements"));
            Some(source)
        }
        Err(message) => {
            raw.fail("connection to PostgreSQL", message);
            None
        }
    }
}

/// Statements between semicolons; two of them stand for one within a statement.
fn statements(text: &str) -> Vec<String> {
    let parts = text.replace(";;", "\0");
    let parts = parts.split(';').map(|part| part.replace('\0', ";").trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

fn connection_parameters(
    raw: &RawConfig,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<ConnInfo, String> {
    let of_file = |name: &str| {
        raw.given(name).is_some_and(|given| given.origin == crate::config::Origin::File)
    };
    let dsn = ConnInfo::parse(raw.get("dsn").unwrap_or_default())?;
    let shown = raw.given("dsn").is_some_and(|given| given.origin == crate::config::Origin::Flag);
    if shown && (dsn.get("password").is_some() || dsn.get("sslpassword").is_some()) {
        tracing::warn!(
            "everybody on this machine can see the password in --dsn (ps); give it in PGPASSWORD, \
             ~/.pgpass or CDC_AGENT_DSN"
        );
    }
    let (mut above, mut below) = (ConnInfo::default(), ConnInfo::default());
    for (property, parameter) in [
        ("database.hostname", "host"),
        ("database.port", "port"),
        ("database.user", "user"),
        ("database.password", "password"),
        ("database.dbname", "dbname"),
        ("database.sslmode", "sslmode"),
        ("database.sslrootcert", "sslrootcert"),
        ("database.sslcert", "sslcert"),
        ("database.sslkey", "sslkey"),
        ("database.sslpassword", "sslpassword"),
        ("application.name", "application_name"),
    ] {
        let Some(value) = raw.get(property) else { continue };
        let info = if of_file(property) { &mut below } else { &mut above };
        info.set(parameter, value)?;
    }
    let (above, below) =
        if of_file("dsn") { (above, dsn.or(below)) } else { (dsn.or(above), below) };
    let environment = ConnInfo::from_environment(environment)?;
    let named = above.clone().or(environment.clone()).or(below.clone());
    Ok(above.or(named.service()?).or(environment).or(below))
}

fn destination(
    raw: &mut RawConfig,
    slot: &str,
    environment: &impl Fn(&str) -> Option<String>,
) -> Option<Destination> {
    let to = raw.text("to").to_owned();
    let state = match raw.text("state") {
        "" => PathBuf::from(environment("STATE_DIRECTORY").unwrap_or_else(|| ".".to_owned()))
            .join(format!("{slot}.state")),
        path => PathBuf::from(path),
    };
    match to.split_once(':') {
        _ if to == "kafka" => Some(Destination::Kafka(publisher(raw))),
        _ if to == "stdout" => Some(Destination::Stdout { state }),
        Some(("file", path)) if !path.is_empty() => {
            Some(Destination::File { path: PathBuf::from(path), state })
        }
        // A warehouse is reached by another way; see [`AgentConfig::warehouse`].
        Some(("duckdb" | "postgres" | "postgresql", _)) => Some(Destination::Stdout { state }),
        scheme => {
            // What follows may hold a password.
            let shown = scheme.map_or(to.as_str(), |(scheme, _)| scheme);
            let message = format!(
                "found \"{shown}\", expected kafka, stdout, file:PATH, duckdb:PATH or postgres://…"
            );
            raw.fail("to", message);
            None
        }
    }
}

/// The way without Kafka. What the connection string of a warehouse leaves out comes from the
/// password file alone: `PG*` are the source's.
fn direct(
    raw: &mut RawConfig,
    slot: &str,
    environment: &impl Fn(&str) -> Option<String>,
) -> Option<(WarehouseConfig, ApplySettings)> {
    let (scheme, _) = raw.text("to").split_once(':')?;
    if !matches!(scheme, "duckdb" | "postgres" | "postgresql") {
        return None;
    }
    let of_files = |name: &str| {
        let wanted = matches!(name, "HOME" | "PGPASSFILE" | "PGSERVICEFILE" | "PGSYSCONFDIR");
        environment(name).filter(|_| wanted)
    };
    let warehouse = warehouse_config(raw, &of_files)?;
    Some((warehouse, apply_settings(raw, format!("slot {slot}"))))
}

fn publisher(raw: &mut RawConfig) -> PublisherSettings {
    let topics = shaping::topic_creation(raw);
    let producer = producers(raw);
    PublisherSettings {
        kafka: kafka_settings(raw),
        producer: client_properties(raw, "producer.", producer),
        queue_bytes: queue_bytes(raw) / 2,
        topics,
    }
}

fn value_settings(raw: &mut RawConfig) -> ValueSettings {
    let placeholder = raw.text("unavailable.value.placeholder").to_owned();
    let unavailable = match placeholder.strip_prefix("hex:") {
        Some(digits) => {
            let mut bytes = Vec::new();
            if crate::capture::value::binary::hex(digits.as_bytes(), &mut bytes).is_err() {
                let message = format!("found \"{digits}\" after hex:, expected pairs of digits");
                raw.fail("unavailable.value.placeholder", message);
            }
            bytes
        }
        None => placeholder.into_bytes(),
    };
    ValueSettings {
        decimal: match raw.text("decimal.handling.mode") {
            "precise" => DecimalMode::Precise,
            "double" => DecimalMode::Double,
            _ => DecimalMode::String,
        },
        decimal_format: decimal_format(raw, "value.converter.decimal.format"),
        key_decimal_format: decimal_format(raw, "key.converter.decimal.format"),
        interval: match raw.text("interval.handling.mode") {
            "numeric" => IntervalMode::Numeric,
            _ => IntervalMode::String,
        },
        binary: match raw.text("binary.handling.mode") {
            "base64" => BinaryMode::Base64,
            "base64-url-safe" => BinaryMode::Base64UrlSafe,
            "hex" => BinaryMode::Hex,
            _ => BinaryMode::Bytes,
        },
        hstore: match raw.text("hstore.handling.mode") {
            "map" => HstoreMode::Map,
            _ => HstoreMode::Json,
        },
        time_precision: match raw.text("time.precision.mode") {
            "adaptive_time_microseconds" => TimePrecisionMode::AdaptiveTimeMicroseconds,
            "connect" => TimePrecisionMode::Connect,
            "isostring" => TimePrecisionMode::IsoString,
            "microseconds" => TimePrecisionMode::Microseconds,
            "nanoseconds" => TimePrecisionMode::Nanoseconds,
            _ => TimePrecisionMode::Adaptive,
        },
        include_unknown: raw.flag("include.unknown.datatypes"),
        money_fraction_digits: u16::try_from(raw.number("money.fraction.digits"))
            .unwrap_or_default(),
        unavailable,
        fidelity: match raw.text("value.fidelity") {
            "debezium" => Fidelity::Debezium,
            _ => Fidelity::Exact,
        },
        replace_null_with_default: raw.flag("value.converter.replace.null.with.default"),
        key_replace_null_with_default: raw.flag("key.converter.replace.null.with.default"),
        key_schemas: raw.flag("key.converter.schemas.enable"),
        value_schemas: raw.flag("value.converter.schemas.enable"),
    }
}

fn decimal_format(raw: &RawConfig, name: &str) -> DecimalFormat {
    match raw.text(name) {
        "NUMERIC" => DecimalFormat::Numeric,
        _ => DecimalFormat::Base64,
    }
}

/// Reads a configuration file into `raw`.
///
/// # Errors
///
/// The file cannot be read, which is another kind of error than a wrong content.
pub(super) fn read_file(raw: &mut RawConfig, path: &std::path::Path) -> std::io::Result<()> {
    let content = std::fs::read_to_string(path)?;
    let environment = |name: &str| std::env::var(name).ok();
    let content = file::parse(path, &content);
    match content.and_then(|content| references::resolved(content, &environment)) {
        Ok(content) => raw.give_file(content),
        Err(message) => raw.fail(&format!("configuration file {}", path.display()), message),
    }
    Ok(())
}
