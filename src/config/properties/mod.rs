//! Every property: its name, its values, its defaults, and what becomes of it here.
//!
//! Flags, environment, TOML, Java properties and connector JSON are all read by this one table;
//! `cdc-agent config` prints it, and the manual's page is its text.

mod sink_table;
mod table;

use std::borrow::Cow;

/// Names whose values are secrets.
///
/// Source: Debezium 3.6.1.Final, `custom.sanitize.pattern`.
pub const SECRET_NAMES: &str = ".*secret$|.*password$|.*sasl\\.jaas\\.config$\
    |.*basic\\.auth\\.user\\.info|.*registry\\.auth\\.client-secret|.*credentials\\.json$\
    |.*connectionstring$|.*connection\\.string$";

/// Properties of one subject.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// What they are about.
    pub title: &'static str,
    /// They.
    pub properties: &'static [Property],
}

/// Whose properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// `cdc-agent`.
    #[default]
    Agent,
    /// `cdc-sink`.
    Sink,
}

impl Program {
    /// Every property, by subject.
    pub fn subjects(self) -> &'static [Subject] {
        match self {
            Program::Agent => table::SUBJECTS,
            Program::Sink => sink_table::SUBJECTS,
        }
    }

    /// Every property.
    pub fn all(self) -> impl Iterator<Item = &'static Property> {
        self.subjects().iter().flat_map(|subject| subject.properties)
    }

    /// The property of that name: its own entry, or the longest one that stands for it.
    pub fn find(self, name: &str) -> Option<&'static Property> {
        let exact = self.all().find(|property| property.name == name);
        exact.or_else(|| {
            self.all()
                .filter(|property| {
                    property
                        .name
                        .strip_suffix('*')
                        .is_some_and(|start| name.len() > start.len() && name.starts_with(start))
                })
                .max_by_key(|property| property.name.len())
        })
    }

    /// The known name that is nearest to a mistyped one.
    pub fn nearest(self, name: &str) -> &'static str {
        self.all()
            .filter(|property| !matches!(property.support, Support::Refused(_)))
            .map(|property| property.name)
            .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
            .unwrap_or_default()
    }

    /// Name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Program::Agent => "cdc-agent",
            Program::Sink => "cdc-sink",
        }
    }

    /// Start of its environment variables.
    pub fn environment_prefix(self) -> &'static str {
        match self {
            Program::Agent => "CDC_AGENT_",
            Program::Sink => "CDC_SINK_",
        }
    }
}

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Name; Debezium's where it has one. A name that ends in `.*` stands for all that begin so.
    pub name: &'static str,
    /// Which values it takes.
    pub kind: Kind,
    /// Default of flags and TOML; empty: none.
    pub default: &'static str,
    /// Default of a Debezium file where it differs.
    pub debezium: Option<&'static str>,
    /// What becomes of it.
    pub support: Support,
    /// What it does.
    pub meaning: &'static str,
}

/// Values of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    Text,
    /// Anything, never shown.
    Secret,
    /// `true` or `false`.
    Bool,
    /// A whole number in these bounds.
    Count(i64, i64),
    /// Milliseconds in these bounds.
    Millis(i64, i64),
    /// Bytes in these bounds.
    Bytes(i64, i64),
    /// One of these words, whatever the case.
    Choice(&'static [&'static str]),
    /// One of these words in this spelling: names of Java classes, and Connect's own words.
    Exact(&'static [&'static str]),
    /// Regular expressions, separated by commas.
    List,
}

/// What becomes of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As in Debezium.
    Supported,
    /// Debezium has none of this name.
    Ours,
    /// Taken, with this difference.
    Different(&'static str),
    /// Refused, for this reason.
    Refused(&'static str),
}

/// No bound from above that anybody would meet.
const ANY: i64 = i64::MAX;

/// Largest number of a property that is an `int` in Java.
const INT: i64 = i32::MAX as i64;

impl Property {
    /// Whether a value may be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

impl Kind {
    /// What is expected, in words.
    pub fn expected(self) -> String {
        match self {
            Kind::Text | Kind::Secret => "text".to_owned(),
            Kind::Bool => "true or false".to_owned(),
            Kind::Count(low, ANY) => format!("a whole number from {low}"),
            Kind::Count(low, high) => format!("a whole number from {low} to {high}"),
            Kind::Millis(low, ANY) => format!("milliseconds from {low}"),
            Kind::Millis(low, high) => format!("milliseconds from {low} to {high}"),
            Kind::Bytes(low, ANY) => format!("bytes from {low}"),
            Kind::Bytes(low, high) => format!("bytes from {low} to {high}"),
            Kind::Choice(words) | Kind::Exact(words) => words.join(", "),
            Kind::List => "regular expressions, separated by commas".to_owned(),
        }
    }

    /// The value in its one spelling, if it takes it. As in Debezium, words and truth values are
    /// read whatever their case and with blanks around them; numbers as Java reads them, with a
    /// sign and leading zeros, and without blanks.
    pub fn canonical(self, value: &str) -> Option<Cow<'_, str>> {
        let word = value.trim();
        match self {
            Kind::Text | Kind::Secret | Kind::List => Some(Cow::Borrowed(value)),
            Kind::Bool => same_word(&["true", "false"], word),
            Kind::Count(low, high) | Kind::Millis(low, high) | Kind::Bytes(low, high) => {
                let number: i64 = value.parse().ok()?;
                (low..=high).contains(&number).then(|| Cow::Owned(number.to_string()))
            }
            Kind::Choice(words) => same_word(words, word),
            Kind::Exact(words) => words.contains(&value).then_some(Cow::Borrowed(value)),
        }
    }
}

fn same_word(words: &[&'static str], word: &str) -> Option<Cow<'static, str>> {
    words.iter().find(|known| known.eq_ignore_ascii_case(word)).copied().map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once_and_every_default_is_accepted() {
        for (at, property) in Program::Agent.all().enumerate() {
            assert!(
                Program::Agent.all().skip(at + 1).all(|other| other.name != property.name),
                "{} stands twice",
                property.name
            );
            for default in [Some(property.default), property.debezium].into_iter().flatten() {
                assert!(
                    default.is_empty()
                        || property.kind.canonical(default).as_deref() == Some(default),
                    "{}={default}",
                    property.name
                );
            }
        }
    }

    #[test]
    fn values_are_read_as_debezium_reads_them() {
        let choice = Kind::Choice(&["no_data", "BASE64"]);
        let exact = Kind::Exact(&["a.B"]);
        let count = Kind::Count(-1, INT);
        for (kind, value, expected) in [
            (Kind::Bool, " TRUE ", Some("true")),
            (Kind::Bool, "False", Some("false")),
            (Kind::Bool, "yes", None),
            (Kind::Bool, "", None),
            (choice, " NO_Data", Some("no_data")),
            (choice, "base64", Some("BASE64")),
            (choice, "nodata", None),
            (exact, "a.B", Some("a.B")),
            (exact, " a.B", None),
            (exact, "a.b", None),
            (count, "+007", Some("7")),
            (count, "-1", Some("-1")),
            (count, "-2", None),
            (count, " 5", None),
            (count, "1e3", None),
            (count, "", None),
            (count, "2147483647", Some("2147483647")),
            (count, "2147483648", None),
        ] {
            assert_eq!(kind.canonical(value).as_deref(), expected, "{kind:?} of \"{value}\"");
        }
    }

    #[test]
    fn the_longest_family_wins_and_typos_find_their_neighbour() {
        assert_eq!(
            Program::Agent.find("topic.creation.default.cleanup.policy").unwrap().name,
            "topic.creation.default.*"
        );
        assert_eq!(Program::Agent.find("snapshot.mode").unwrap().name, "snapshot.mode");
        assert_eq!(Program::Agent.find("snapshot.mode.custom.name").unwrap().name, "snapshot.*");
        assert!(Program::Agent.find("no.such.thing").is_none());
        assert_eq!(Program::Agent.nearest("slot.nam"), "slot.name");
        assert_eq!(Program::Agent.nearest("table.includ.list"), "table.include.list");
    }
}
