//! The companion's settings.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use crate::apply::consumer::ConsumerSettings;
use crate::apply::settings::ApplySettings;
use crate::apply::settings::BrokenApply;
use crate::apply::settings::ErrorsTolerance;
use crate::apply::warehouse::BrokenRules;
use crate::apply::warehouse::DeleteMode;
use crate::capture::postgres::SourceSettings;
use crate::capture::postgres::conninfo::ConnInfo;
use crate::config::ConfigError;
use crate::config::ProcessSettings;
use crate::config::RawConfig;
use crate::config::java_client;
use crate::kafka::KafkaSettings;
use crate::secret::Secret;

/// What the companion's process is asked to do.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Kafka, which `replay` asks for schemas.
    pub kafka: KafkaSettings,
    /// What is consumed; nothing for `replay`.
    pub consumer: Option<ConsumerSettings>,
    /// How it is applied.
    pub apply: ApplySettings,
    /// Where it goes.
    pub warehouse: WarehouseConfig,
    /// How long everything may be unreachable at the start.
    pub startup: Duration,
    /// How long stopping may take.
    pub shutdown: Duration,
    /// The process.
    pub process: ProcessSettings,
}

/// A warehouse.
#[derive(Clone, Debug)]
pub struct WarehouseConfig {
    /// Which.
    pub place: WarehousePlace,
    /// What becomes of deleted rows.
    pub delete_mode: DeleteMode,
    /// Rules that tests turn off.
    pub broken: BrokenRules,
    /// Memory that DuckDB may use.
    pub duckdb_memory: String,
    /// Threads that DuckDB may use.
    pub duckdb_threads: u32,
}

/// Where a warehouse is.
#[derive(Clone, Debug)]
pub enum WarehousePlace {
    /// A PostgreSQL.
    Postgres(Box<SourceSettings>),
    /// A file of DuckDB.
    DuckDb(PathBuf),
}

impl SinkConfig {
    /// Checks everything that was given; `needs_topics` unless nothing is to be consumed.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub fn new(
        mut raw: RawConfig,
        needs_topics: bool,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let process = ProcessSettings::new(&mut raw);
        let warehouse = warehouse_config(&mut raw, &environment);
        let group = raw.text("group.id").to_owned();
        if group.is_empty() && needs_topics {
            raw.fail("group.id", "no consumer group is given: use --group NAME");
        }
        let topics = needs_topics.then(|| topics(&mut raw));
        let kafka = kafka_settings(&mut raw);
        let consumer = raw.family("consumer.");
        let consumer = client_properties(&mut raw, "consumer.", consumer);
        let errors = raw.take_errors();
        let (Some(warehouse), true) = (warehouse, errors.is_empty()) else { return Err(errors) };
        let millis = |name: &str| Duration::from_millis(raw.number(name));
        let consumer = topics.flatten().map(|topics| ConsumerSettings {
            kafka: kafka.clone(),
            topics,
            group: group.clone(),
            consumer,
        });
        Ok(SinkConfig {
            kafka,
            consumer,
            apply: ApplySettings {
                key_change_wait: millis("key.change.wait.ms"),
                broken: BrokenApply::from_environment(&environment),
                ..apply_settings(&raw, group)
            },
            warehouse,
            startup: millis("startup.timeout.ms"),
            shutdown: millis("shutdown.timeout.ms"),
            process,
        })
    }
}

/// Brokers and the client's properties.
pub fn kafka_settings(raw: &mut RawConfig) -> KafkaSettings {
    let mut client = producers(raw);
    client.retain(|(name, _)| CONNECTION.iter().any(|start| name.starts_with(start)));
    client.extend(raw.family("kafka."));
    let client = client_properties(raw, "kafka.", client).into_iter();
    KafkaSettings {
        brokers: raw.text("bootstrap.servers").to_owned(),
        client: client.map(|(name, value)| (name, Secret::new(value))).collect(),
    }
}

/// What a connector's or a Debezium Server's file says of the producer; the agent's own clients
/// connect as it does.
const CONNECTION: [&str; 4] = ["security.", "sasl.", "ssl.", "client.dns.lookup"];

/// Properties that are given for the producer alone, the connector's own first.
pub(super) fn producers(raw: &RawConfig) -> Vec<(String, String)> {
    let mut all = raw.family("producer.override.");
    all.extend(raw.family("producer."));
    all.retain(|(name, _)| !name.starts_with("override."));
    all
}

/// Properties of a Kafka client by librdkafka's names; what cannot be taken is noted.
pub(super) fn client_properties(
    raw: &mut RawConfig,
    prefix: &str,
    properties: Vec<(String, String)>,
) -> Vec<(String, String)> {
    java_client::as_librdkafkas(properties).unwrap_or_else(|refused| {
        for (name, message) in refused {
            raw.fail(&format!("{prefix}{name}"), message);
        }
        Vec::new()
    })
}

/// How records are applied, where both ways to a warehouse have the same settings.
pub fn apply_settings(raw: &RawConfig, group: String) -> ApplySettings {
    let count = |name: &str| usize::try_from(raw.number(name)).unwrap_or(usize::MAX);
    ApplySettings {
        group,
        tolerance: match raw.text("errors.tolerance") {
            "all" => ErrorsTolerance::All,
            _ => ErrorsTolerance::None,
        },
        placeholder: raw.text("unavailable.value.placeholder").to_owned(),
        batch_records: count("batch.records"),
        batch_bytes: count("batch.bytes"),
        batch_time: Duration::from_millis(raw.number("batch.time.ms")),
        commit_times: raw.flag("commit.time.column"),
        ..ApplySettings::default()
    }
}

/// The whole name has to match.
fn topics(raw: &mut RawConfig) -> Option<Regex> {
    let text = raw.text("topics.regex").to_owned();
    if text.is_empty() {
        raw.fail("topics.regex", "no topics are given: use --topics 'PREFIX\\..*'");
        return None;
    }
    match Regex::new(&format!("^(?:{text})$")) {
        Ok(regex) => Some(regex),
        Err(error) => {
            raw.fail(
                "topics.regex",
                format!("found \"{text}\", expected a regular expression: {error}"),
            );
            None
        }
    }
}

/// The warehouse that `to` names.
pub fn warehouse_config(
    raw: &mut RawConfig,
    environment: &impl Fn(&str) -> Option<String>,
) -> Option<WarehouseConfig> {
    let to = raw.text("to").to_owned();
    let place = match to.split_once(':') {
        Some(("duckdb", path)) if !path.is_empty() => {
            Ok(WarehousePlace::DuckDb(PathBuf::from(path)))
        }
        Some(("postgres" | "postgresql", _)) => postgres(&to, environment),
        _ if to.is_empty() => Err("no warehouse is given: use --to postgres://… or --to \
                                   duckdb:PATH"
            .to_owned()),
        scheme => {
            // What follows may hold a password.
            let shown = scheme.map_or("no scheme", |(scheme, _)| scheme);
            Err(format!("found {shown}, expected postgres://… or duckdb:PATH"))
        }
    };
    match place {
        Ok(place) => Some(WarehouseConfig {
            place,
            delete_mode: match raw.text("delete.mode") {
                "soft" => DeleteMode::Soft,
                _ => DeleteMode::Hard,
            },
            broken: BrokenApply::from_environment(environment).warehouse,
            duckdb_memory: raw.text("duckdb.memory.limit").to_owned(),
            duckdb_threads: u32::try_from(raw.number("duckdb.threads")).unwrap_or(2),
        }),
        Err(message) => {
            raw.fail("to", message);
            None
        }
    }
}

fn postgres(
    to: &str,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<WarehousePlace, String> {
    let given = ConnInfo::parse(to)?;
    let environment = ConnInfo::from_environment(environment)?;
    let named = given.clone().or(environment.clone());
    let info = given.or(named.service()?).or(environment);
    let mut settings = SourceSettings::new(&info, "cdc-sink")?;
    if info.get("connect_timeout").is_none() {
        settings.connect_timeout = Duration::from_secs(10);
    }
    Ok(WarehousePlace::Postgres(Box::new(settings)))
}
