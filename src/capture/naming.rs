//! Names of topics and of the schemas within them.
//!
//! Source: Debezium 3.6.1.Final, `AbstractTopicNamingStrategy` and its kin, `SchemaNameAdjuster`,
//! as their recorded output shows them.

use crate::capture::java_regex::JavaRegex;
use crate::table::TableName;

/// Longest topic name that Kafka takes.
const TOPIC_UNITS_MAX: usize = 249;

/// `topic.naming.strategy` and what belongs to it.
#[derive(Clone, Debug)]
pub struct Naming {
    /// `topic.prefix`.
    pub prefix: String,
    /// `topic.delimiter`.
    pub delimiter: String,
    /// The schema's name stands in the topic's.
    pub with_schema: bool,
    /// Characters that Kafka does not allow are written by their number.
    pub unicode: bool,
    /// Renames topics.
    pub regex: Option<RegexNaming>,
    /// `topic.transaction`.
    pub transaction: String,
    /// `topic.heartbeat.prefix`.
    pub heartbeat_prefix: String,
    /// `topic.heartbeat.name`; empty: made of prefixes.
    pub heartbeat_name: String,
    /// `schema.name.adjustment.mode`.
    pub schemas: NameAdjustment,
    /// `field.name.adjustment.mode`.
    pub fields: NameAdjustment,
}

/// Topics that are renamed, and what tells their tables apart in keys.
#[derive(Clone, Debug)]
pub struct RegexNaming {
    /// `topic.regex` and `topic.replacement`.
    pub topic: Renaming,
    /// `topic.key.field.name`, if keys are told apart.
    pub key_field: Option<String>,
    /// `topic.key.field.regex` and `topic.key.field.replacement`.
    pub key: Option<Renaming>,
}

/// A regular expression that must match a whole name, and what takes its place.
#[derive(Clone, Debug)]
pub struct Renaming {
    pattern: JavaRegex,
    replacement: String,
}

/// How names are made to be names of Avro.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameAdjustment {
    /// Not at all.
    #[default]
    None,
    /// Other characters become underscores.
    Avro,
    /// Other characters, and underscores, are written by their number.
    AvroUnicode,
}

impl Naming {
    /// The default strategy.
    pub fn new(prefix: &str) -> Self {
        Naming {
            prefix: prefix.to_owned(),
            delimiter: ".".to_owned(),
            with_schema: true,
            unicode: false,
            regex: None,
            transaction: "transaction".to_owned(),
            heartbeat_prefix: "__debezium-heartbeat".to_owned(),
            heartbeat_name: String::new(),
            schemas: NameAdjustment::None,
            fields: NameAdjustment::None,
        }
    }

    /// The topic of a table's records.
    pub fn topic(&self, table: &TableName) -> String {
        let topic = self.sanitized(&self.origin(table));
        match self.regex.as_ref().and_then(|regex| regex.topic.apply(&topic)) {
            Some(renamed) if !renamed.is_empty() => renamed,
            _ => topic,
        }
    }

    /// Name and value of the key's member that tells tables of one topic apart.
    pub fn key_field(&self, table: &TableName) -> Option<(String, String)> {
        let regex = self.regex.as_ref()?;
        let name = regex.key_field.clone()?;
        let origin = self.origin(table);
        let value = regex.key.as_ref().and_then(|key| key.apply(&origin)).unwrap_or(origin);
        Some((name, value))
    }

    /// A schema's name.
    pub fn schema(&self, name: &str) -> String {
        self.schemas.adjust(name, true)
    }

    /// A column's name as a field.
    pub fn field(&self, column: &str) -> String {
        self.fields.adjust(column, false)
    }

    /// The topic of logical decoding messages.
    pub fn message_topic(&self) -> String {
        format!("{}.message", self.prefix)
    }

    /// The topic of transactions.
    pub fn transaction_topic(&self) -> String {
        [self.prefix.as_str(), &self.transaction].join(&self.delimiter)
    }

    /// The topic of heartbeats.
    pub fn heartbeat_topic(&self) -> String {
        match self.heartbeat_name.as_str() {
            "" => [self.heartbeat_prefix.as_str(), &self.prefix].join(&self.delimiter),
            name => name.to_owned(),
        }
    }

    /// The topic of one of our own records, as in `PREFIX.__state`.
    pub fn internal_topic(&self, name: &str) -> String {
        format!("{}.__{name}", self.prefix)
    }

    fn origin(&self, table: &TableName) -> String {
        let schema = if self.with_schema { table.namespace.as_str() } else { "" };
        let parts = [self.prefix.as_str(), schema, &table.name];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.trim().is_empty()).collect();
        parts.join(&self.delimiter)
    }

    /// Replaces every UTF-16 unit that Kafka does not allow and cuts what is too long.
    fn sanitized(&self, name: &str) -> String {
        let mut topic = String::with_capacity(name.len());
        for character in name.chars() {
            let plain = character.is_ascii_alphanumeric() || matches!(character, '.' | '-');
            if plain || (character == '_' && !self.unicode) {
                topic.push(character);
            } else {
                replace(character, self.unicode, &mut topic);
            }
        }
        topic.truncate(TOPIC_UNITS_MAX);
        match (topic.as_str(), self.unicode) {
            (".", false) => "_".to_owned(),
            (".", true) => "_u002e".to_owned(),
            ("..", false) => "__".to_owned(),
            ("..", true) => "_u002e_u002e".to_owned(),
            _ => topic,
        }
    }
}

impl Renaming {
    /// From Java's spelling of both.
    ///
    /// # Errors
    ///
    /// The expression is not valid.
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, String> {
        let pattern = JavaRegex::new(pattern, false)?;
        let replacement = from_java(replacement, pattern.groups());
        Ok(Renaming { pattern, replacement })
    }

    /// What takes the name's place, if it matches.
    fn apply(&self, name: &str) -> Option<String> {
        self.pattern.replaced(name, &self.replacement)
    }
}

/// A replacement of Java's in the spelling of [`regex`]: `$1a` is `${1}a`, `\$` is `$$`.
fn from_java(replacement: &str, groups: usize) -> String {
    let mut out = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some('$') => out.push_str("$$"),
                Some(next) => out.push(next),
                None => {}
            },
            '$' if rest.peek() == Some(&'{') => out.push('$'),
            '$' => {
                // As many digits as there is a group for, one at least.
                let mut number = 0;
                let mut first = true;
                while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
                    let longer = number * 10 + usize::try_from(digit).unwrap_or_default();
                    if !first && longer >= groups {
                        break;
                    }
                    (number, first) = (longer, false);
                    rest.next();
                }
                out.push_str(&format!("${{{number}}}"));
            }
            _ => out.push(character),
        }
    }
    out
}

impl NameAdjustment {
    /// A name as Avro allows it; `dotted` is whether its parts are separated by dots.
    fn adjust(self, name: &str, dotted: bool) -> String {
        let unicode = match self {
            NameAdjustment::None => return name.to_owned(),
            NameAdjustment::Avro => false,
            NameAdjustment::AvroUnicode => true,
        };
        let mut out = String::with_capacity(name.len());
        for (at, character) in name.chars().enumerate() {
            let letter = character.is_ascii_alphabetic() || (character == '_' && !unicode);
            let later = character.is_ascii_digit() || (dotted && character == '.');
            if letter || (at > 0 && later) {
                out.push(character);
                continue;
            }
            replace(character, unicode, &mut out);
            if at == 0 && !unicode && character.is_numeric() {
                out.push(character);
            }
        }
        out
    }
}

/// Writes each UTF-16 unit as an underscore, or by its number.
fn replace(character: char, unicode: bool, out: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        if unicode {
            let hex = format!("{unit:x}");
            let zeros = if hex.len() <= 2 { "00" } else { "" };
            out.push_str(&format!("_u{zeros}{hex}"));
        } else {
            out.push('_');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kafka_does_not_allow_are_mended() {
        let naming = Naming::new("P");
        for (schema, table, expected) in [
            ("public", "orders", "P.public.orders"),
            ("Odd Schema", "Odd.Table", "P.Odd_Schema.Odd.Table"),
            ("public", "Ünï$code", "P.public._n__code"),
            ("public", "😀", "P.public.__"),
        ] {
            assert_eq!(naming.topic(&TableName::new(schema, table)), expected);
        }
        let long = naming.topic(&TableName::new("s", "x".repeat(300)));
        assert_eq!(long.len(), TOPIC_UNITS_MAX);
        let unicode = Naming { unicode: true, ..naming };
        assert_eq!(unicode.topic(&TableName::new("s", "a_é")), "P.s.a_u005f_u00e9");
    }

    #[test]
    fn replacements_are_java_s() {
        let renaming = Renaming::new("(.*)shard_([0-9]+)", "$1all\\$$2").unwrap();
        assert_eq!(renaming.apply("P.shard_7").unwrap(), "P.all$7");
        assert_eq!(renaming.apply("P.other"), None);
        assert_eq!(Renaming::new("(a)b", "$12").unwrap().apply("ab").unwrap(), "a2");
    }

    #[test]
    fn names_are_made_to_be_avro_s() {
        assert_eq!(NameAdjustment::Avro.adjust("1 a.b", false), "_1_a_b");
        assert_eq!(NameAdjustment::Avro.adjust("P.my-s.1é", true), "P.my_s.1_");
        assert_eq!(NameAdjustment::AvroUnicode.adjust("_a b", false), "_u005fa_u0020b");
    }
}
