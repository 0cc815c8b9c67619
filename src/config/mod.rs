//! Files, flags and environment, made into checked settings.
//!
//! Precedence: flag, `--set`, environment (`CDC_AGENT_NAME_WITH_UNDERSCORES`, then libpq's `PG*`
//! and the password file), file, default. **A Debezium file means what it means in Debezium**: a
//! connector's JSON and Java properties bring Debezium's and Connect's defaults with them; flags,
//! environment and TOML have ours.
//!
//! All that is wrong is reported at once.

mod agent;
mod lineage;
mod sink;
pub mod file;
mod java_client;
pub mod properties;
mod reading;
mod references;
mod server_names;
mod shaping;

pub use agent::AgentConfig;
pub use agent::ProcessSettings;
pub use sink::SinkConfig;
pub use sink::WarehouseConfig;
pub use sink::WarehousePlace;
pub use sink::apply_settings;
pub use sink::kafka_settings;
pub use sink::warehouse_config;

use std::collections::BTreeMap;
use std::fmt;

use crate::capture::NameList;
use crate::capture::publisher::check_producer_property;
use crate::config::properties::Program;
use crate::config::properties::Property;
use crate::config::properties::SECRET_NAMES;
use crate::config::properties::Support;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// What it is about: a property, a file.
    pub key: String,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// A file.
    File,
    /// An environment variable.
    Environment,
    /// `--set`.
    Set,
    /// A flag of its own.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Environment => "environment",
            Origin::Set => "--set",
            Origin::Flag => "flag",
        })
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The value.
    pub value: String,
    /// Where from.
    pub origin: Origin,
}

/// Values that were given, by name, and whose defaults hold beside them.
#[derive(Clone, Debug, Default)]
pub struct RawConfig {
    program: Program,
    given: BTreeMap<String, Given>,
    /// A Debezium file was given.
    pub is_debezium: bool,
    errors: Vec<ConfigError>,
}

impl RawConfig {
    /// For a program, of whose properties it is.
    pub fn new(program: Program) -> Self {
        RawConfig { program, ..RawConfig::default() }
    }

    /// Whose properties these are.
    pub fn program(&self) -> Program {
        self.program
    }

    /// Takes a value, if nothing that goes before it was given; notes what is wrong with it.
    pub fn give(&mut self, name: &str, value: impl Into<String>, origin: Origin) {
        let value = match check(self.program, name, &value.into()) {
            Ok(value) => value,
            Err(error) => {
                self.errors.push(error);
                return;
            }
        };
        if self.given.get(name).is_none_or(|known| known.origin <= origin) {
            self.given.insert(name.to_owned(), Given { value, origin });
        }
    }

    /// Takes a file's values.
    pub fn give_file(&mut self, content: file::FileContent) {
        self.is_debezium |= content.is_debezium;
        for (name, value) in content.settings {
            self.give(&name, value, Origin::File);
        }
    }

    /// Takes the values of the file at a path.
    ///
    /// # Errors
    ///
    /// The file cannot be read; a wrong content is among the errors that are taken later.
    pub fn read_file(&mut self, path: &std::path::Path) -> std::io::Result<()> {
        agent::read_file(self, path)
    }

    /// Takes our environment variables: `CDC_AGENT_SLOT_NAME` is `slot.name`. A name that matches
    /// no property is an error; a family's member is written with dots as underscores.
    pub fn give_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (variable, value) in variables {
            let Some(rest) = variable.strip_prefix(self.program.environment_prefix()) else {
                continue;
            };
            let wanted = rest.to_ascii_lowercase();
            let known = self
                .program
                .all()
                .map(|property| property.name)
                .find(|name| name.replace(['.', '-'], "_") == wanted);
            let name = known.map_or_else(|| wanted.replace('_', "."), str::to_owned);
            let before = self.errors.len();
            self.give(&name, value, Origin::Environment);
            for error in self.errors.iter_mut().skip(before) {
                error.key = format!("{variable} ({})", error.key);
            }
        }
    }

    /// Notes an error found elsewhere.
    pub fn fail(&mut self, key: &str, message: impl Into<String>) {
        let error = ConfigError { key: key.to_owned(), message: message.into() };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// All errors so far; none are left behind.
    pub fn take_errors(&mut self) -> Vec<ConfigError> {
        std::mem::take(&mut self.errors)
    }

    /// What was given for a name.
    pub fn given(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// The value that was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given(name).map(|given| given.value.as_str())
    }

    /// The value that holds: what was given, or the default; empty if there is none.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(value) => value,
            None => self.default_of(name),
        }
    }

    /// The default that holds for a name.
    pub fn default_of(&self, name: &str) -> &'static str {
        let Some(property) = self.program.find(name) else { return "" };
        match property.debezium {
            Some(default) if self.is_debezium => default,
            _ => property.default,
        }
    }

    /// The value as a truth value.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The value as a number; every value has been checked when it was given. Of those that may be
    /// negative, such a value is as none.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_default()
    }

    /// Members of a family that were given: what follows the prefix, and the value.
    pub fn family(&self, prefix: &str) -> Vec<(String, String)> {
        self.given
            .iter()
            .filter_map(|(name, given)| {
                Some((name.strip_prefix(prefix)?.to_owned(), given.value.clone()))
            })
            .collect()
    }

    /// Whether the value of a name is never shown.
    fn hidden(&self) -> impl Fn(&str) -> bool {
        let hidden = NameList::single(match self.text("custom.sanitize.pattern") {
            "" => SECRET_NAMES,
            pattern => pattern,
        });
        move |name: &str| {
            let is_secret = self.program.find(name).is_some_and(Property::is_secret);
            is_secret || hidden.as_ref().is_ok_and(|pattern| pattern.matches(name))
        }
    }

    /// Every property that has a value, with where it came from; secrets as `***`.
    pub fn effective(&self) -> Vec<(String, String, Origin)> {
        let is_hidden = self.hidden();
        let shown = |name: &str, value: &str| match value {
            "" => String::new(),
            _ if is_hidden(name) => "***".to_owned(),
            value => value.to_owned(),
        };
        let mut all: Vec<(String, String, Origin)> = self
            .program
            .all()
            .filter(|property| {
                !property.name.ends_with('*') && !matches!(property.support, Support::Refused(_))
            })
            .filter(|property| self.given(property.name).is_none())
            .map(|property| (property, self.default_of(property.name)))
            .filter(|(_, default)| !default.is_empty())
            .map(|(property, default)| {
                (property.name.to_owned(), default.to_owned(), Origin::Default)
            })
            .collect();
        all.extend(
            self.given
                .iter()
                .map(|(name, given)| (name.clone(), shown(name, &given.value), given.origin)),
        );
        all.sort();
        all
    }
}

/// Numbers that Kafka Connect reads, not Debezium: they may have blanks around them.
const CONNECTS_NUMBERS: [&str; 7] = [
    "tasks.max",
    "errors.retry.timeout",
    "errors.retry.delay.max.ms",
    "transaction.boundary.interval.ms",
    "key.converter.schemas.cache.size",
    "value.converter.schemas.cache.size",
    "topic.creation.default.partitions",
];

/// The value in its one spelling, if the name is known and takes it.
fn check(program: Program, name: &str, value: &str) -> Result<String, ConfigError> {
    let error = |message: String| ConfigError { key: name.to_owned(), message };
    let Some(property) = program.find(name) else {
        return Err(error(format!("no such property; the nearest is {}", program.nearest(name))));
    };
    if let Support::Refused(reason) = property.support {
        // What asks for nothing is not refused: an empty value, or Debezium's own default.
        let is_default = |value: &str| value.trim() == property.default;
        let harmless = property.kind.canonical(value).is_some_and(|value| is_default(&value));
        if !harmless && !value.trim().is_empty() {
            return Err(error(format!("a property of Debezium that is refused here: {reason}")));
        }
        return Ok(value.to_owned());
    }
    if let Some(inner) = ["producer.override.", "producer.", "kafka."]
        .iter()
        .find_map(|start| name.strip_prefix(start))
    {
        if matches!(inner, "bootstrap.servers" | "metadata.broker.list") {
            return Err(error("give the brokers by bootstrap.servers or --brokers".to_owned()));
        }
        if let Err(fixed) = check_producer_property(inner, value) {
            return Err(error(format!("it is always {fixed}: the guarantees rest on it")));
        }
    }
    let value = if CONNECTS_NUMBERS.contains(&name) { value.trim() } else { value };
    property.kind.canonical(value).map(std::borrow::Cow::into_owned).ok_or_else(|| {
        let expected = property.kind.expected();
        error(if property.is_secret() {
            format!("expected {expected}")
        } else {
            format!("found \"{value}\", expected {expected}")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::Origin;
    use super::RawConfig;

    #[test]
    fn what_the_guarantees_rest_on_is_refused_and_not_overruled_in_silence() {
        for (name, value, message) in [
            ("producer.acks", "1", "it is always all: the guarantees rest on it"),
            ("kafka.enable.idempotence", "false", "it is always true: the guarantees rest on it"),
            ("producer.delivery.timeout.ms", "120000", "it is always 0: the guarantees rest on it"),
            (
                "producer.bootstrap.servers",
                "h:9092",
                "give the brokers by bootstrap.servers or --brokers",
            ),
        ] {
            let mut raw = RawConfig::default();
            raw.give(name, value, Origin::Set);
            let errors: Vec<String> =
                raw.take_errors().into_iter().map(|error| error.message).collect();
            assert_eq!(errors, [message], "{name}");
        }
        let mut raw = RawConfig::default();
        for (name, value) in
            [("producer.acks", "-1"), ("producer.acks", "all"), ("producer.linger.ms", "1")]
        {
            raw.give(name, value, Origin::Set);
        }
        assert_eq!(raw.take_errors(), []);
    }
}
