//! Names of topics and of the schemas within them.
//!
//! Source: Debezium 3.6.1.Final, `AbstractTopicNamingStrategy` and its kin, `SchemaNameAdjuster`,
//! as their recorded output shows them.

use crate::capture::JavaRegex;

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
    replacement: Vec<Part>,
}

/// A part of a replacement.
#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// What the group of this number holds.
    Group(usize),
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
    /// The expression is not valid, or the replacement names a group that it does not have.
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, String> {
        let pattern = JavaRegex::new(pattern, false)?;
        let replacement = parts_of(replacement, &pattern)?;
        Ok(Renaming { pattern, replacement })
    }

    /// The name with its first match replaced, if it matches as a whole.
    fn apply(&self, name: &str) -> Option<String> {
        if !self.pattern.is_match(name) {
            return None;
        }
        let (place, groups) = self.pattern.find(name)?;
        let mut out = name.get(..place.start)?.to_owned();
        for part in &self.replacement {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Group(number) => groups.get(*number).copied().flatten().unwrap_or_default(),
            });
        }
        out.push_str(name.get(place.end..)?);
        Some(out)
    }
}

/// A replacement of Java's: `$1`, `${name}`, and `\` before what stands for itself.
fn parts_of(replacement: &str, pattern: &JavaRegex) -> Result<Vec<Part>, String> {
    let wrong = |what: &str| format!("\"{replacement}\" is not a replacement: {what}");
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => text.push(rest.next().ok_or_else(|| wrong("nothing follows the backslash"))?),
            '$' => {
                parts.push(Part::Text(std::mem::take(&mut text)));
                let group = if rest.next_if_eq(&'{').is_some() {
                    let name: String =
                        std::iter::from_fn(|| rest.next_if(|next| *next != '}')).collect();
                    rest.next();
                    pattern.group(&name).ok_or_else(|| wrong(&format!("no group is {name}")))?
                } else {
                    // As many digits as there is a group for, one at least.
                    let digit = rest.next().and_then(|next| next.to_digit(10));
                    let digit = digit.ok_or_else(|| wrong("no group follows the $"))?;
                    let mut number = usize::try_from(digit).unwrap_or_default();
                    while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
                        let longer = number * 10 + usize::try_from(digit).unwrap_or_default();
                        if longer >= pattern.groups() {
                            break;
                        }
                        number = longer;
                        rest.next();
                    }
                    number
                };
                if group >= pattern.groups() {
                    return Err(wrong(&format!("there is no group {group}")));
                }
                parts.push(Part::Group(group));
            }
            _ => text.push(character),
        }
    }
    parts.push(Part::Text(text));
    Ok(parts)
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
