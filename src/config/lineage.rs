//! `openlineage.*` and the client's file, made into settings of lineage.

use std::path::Path;

use crate::capture::postgres::SourceSettings;
use crate::config::RawConfig;
use crate::config::sink::client_properties;
use crate::lineage::Client;
use crate::lineage::KafkaTransportSettings;
use crate::lineage::LineageSettings;
use crate::lineage::TransportSettings;
use crate::secret::Secret;

/// Where the client's settings are.
const FILE: &str = "openlineage.integration.config.file.path";

/// What lineage is told of this capture; `None`: it is off, or something is wrong.
pub(super) fn settings(
    raw: &mut RawConfig,
    source: Option<&SourceSettings>,
    prefix: &str,
    environment: &impl Fn(&str) -> Option<String>,
) -> Option<LineageSettings> {
    let tags = pairs(raw, "openlineage.integration.job.tags", "KEY=VALUE");
    let owners = pairs(raw, "openlineage.integration.job.owners", "NAME=ROLE");
    if !raw.flag("openlineage.integration.enabled") {
        return None;
    }
    let client = match client(raw.get(FILE), environment) {
        Ok(client) => Some(client),
        Err(message) => {
            raw.fail(FILE, message);
            None
        }
    };
    let (mut client, source) = (client?, source?);
    if let TransportSettings::Kafka(kafka) = &mut client.transport {
        take_java_names(raw, kafka);
    }
    for name in &client.unused {
        tracing::warn!(name, "the member of openlineage.yml has no effect here");
    }
    let text = |name: &str, otherwise: String| raw.get(name).map_or(otherwise, str::to_owned);
    Some(LineageSettings {
        namespace: text("openlineage.integration.job.namespace", prefix.to_owned()),
        job: format!("{prefix}.0"),
        description: text(
            "openlineage.integration.job.description",
            format!("Debezium CDC job for {prefix}"),
        ),
        tags,
        owners,
        source: namespace(source),
        database: source.database.clone(),
        configs: given(raw),
        disabled_facets: client.disabled_facets,
        transport: client.transport,
    })
}

/// The file is a Java client's: its names for the producer become librdkafka's.
fn take_java_names(raw: &mut RawConfig, kafka: &mut KafkaTransportSettings) {
    let given = std::mem::take(&mut kafka.properties).into_iter();
    let given = given.map(|(name, value)| (name, value.reveal().to_owned())).collect();
    let known = client_properties(raw, "openlineage.yml: transport.properties.", given);
    kafka.properties = known.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
}

/// The client's settings: from the file, or from the environment if there is none.
fn client(
    path: Option<&str>,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Client, String> {
    if environment("OPENLINEAGE_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Ok(Client::nowhere());
    }
    let path = path.unwrap_or_default();
    if !path.is_empty() && Path::new(path).exists() {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        return Client::parse(&text).map_err(|message| format!("{path}: {message}"));
    }
    match Client::of_environment(environment) {
        Some(client) => client.map_err(|message| format!("OPENLINEAGE__TRANSPORT: {message}")),
        None if path.is_empty() => Err("it is missing: OpenLineage's own settings \
                                        (openlineage.yml) say where events go"
            .to_owned()),
        None => Err(format!("{path} does not exist")),
    }
}

/// Pairs between commas.
fn pairs(raw: &mut RawConfig, name: &str, form: &str) -> Vec<(String, String)> {
    let text = raw.get(name).unwrap_or_default().to_owned();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let pair = item.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        match pair.filter(|(key, value)| !key.is_empty() && !value.is_empty()) {
            Some((key, _)) if pairs.iter().any(|(known, _)| known == key) => {
                raw.fail(name, format!("\"{key}\" stands there twice"));
            }
            Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
            None => raw.fail(name, format!("found \"{item}\", expected {form} between commas")),
        }
    }
    pairs
}

/// The first host, so that a source keeps its name when another of its hosts answers. A socket is
/// this machine.
fn namespace(source: &SourceSettings) -> String {
    let Some(host) = source.hosts.first() else { return "postgres://localhost:5432".to_owned() };
    let port = host.port;
    match host.name.as_str() {
        _ if host.is_local() => format!("postgres://localhost:{port}"),
        name if name.contains(':') => format!("postgres://[{name}]:{port}"),
        name => format!("postgres://{name}:{port}"),
    }
}

/// What was given, as `NAME=VALUE`, secrets masked.
fn given(raw: &RawConfig) -> Vec<String> {
    let is_hidden = raw.hidden();
    // Without Kafka the destination is a connection string.
    let masked =
        |name: &str| is_hidden(name) || matches!(name, "to" | "dsn") || name.contains("ssl.key");
    let shown = raw.given.iter().map(|(name, given)| {
        let value = if masked(name) { "********" } else { &given.value };
        format!("{name}={value}")
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::conninfo::ConnInfo;
    use crate::config::Origin;

    #[test]
    fn a_source_is_named_by_its_first_host() {
        for (dsn, expected) in [
            ("postgres://u@h/d", "postgres://h:5432"),
            ("postgres://u@h:1,i:2/d", "postgres://h:1"),
            ("postgres://u@[::1]:7/d", "postgres://[::1]:7"),
            ("host=/tmp port=7 dbname=d user=u", "postgres://localhost:7"),
        ] {
            let source = SourceSettings::new(&ConnInfo::parse(dsn).unwrap(), "a").unwrap();
            assert_eq!(namespace(&source), expected, "{dsn}");
        }
    }

    #[test]
    fn secrets_are_masked() {
        let mut raw = RawConfig::default();
        for (name, value) in [
            ("dsn", "postgres://u:p@h/d"),
            ("to", "postgres://u:p@h/d"),
            ("database.password", "p"),
            ("producer.sasl.password", "p"),
            ("producer.ssl.key.pem", "p"),
            ("slot.name", "s"),
            ("topic.prefix", "p"),
            ("custom.sanitize.pattern", ".*prefix"),
        ] {
            raw.give(name, value, Origin::File);
        }
        assert_eq!(raw.take_errors(), []);
        assert_eq!(
            given(&raw),
            [
                "custom.sanitize.pattern=.*prefix",
                "database.password=********",
                "dsn=********",
                "producer.sasl.password=********",
                "producer.ssl.key.pem=********",
                "slot.name=s",
                "to=********",
                "topic.prefix=********",
            ]
        );
    }

    #[test]
    fn pairs_keep_what_follows_the_first_equals_sign() {
        let name = "openlineage.integration.job.tags";
        let read = |text: &str| {
            let mut raw = RawConfig::default();
            raw.give(name, text, Origin::File);
            let pairs = pairs(&mut raw, name, "KEY=VALUE");
            (pairs, raw.take_errors().into_iter().map(|error| error.message).collect::<Vec<_>>())
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(read(" a = 1 , b=x=y,"), (vec![pair("a", "1"), pair("b", "x=y")], vec![]));
        assert_eq!(read("").0, []);
        assert_eq!(read("a=1,a=2").1, ["\"a\" stands there twice"]);
        assert_eq!(read("a=").1, ["found \"a=\", expected KEY=VALUE between commas"]);
    }
}
