//! What is sent and in which form: filters, columns, keys, names.

use crate::capture::ColumnMapper;
use crate::capture::ColumnRules;
use crate::capture::JavaRegex;
use crate::capture::MessageFilter;
use crate::capture::NameAdjustment;
use crate::capture::NameList;
use crate::capture::Naming;
use crate::capture::RegexNaming;
use crate::capture::Renaming;
use crate::capture::TableFilter;
use crate::capture::change::HashAlgorithm;
use crate::capture::change::HashMask;
use crate::capture::change::Mask;
use crate::capture::publisher::TopicCreation;
use crate::capture::publisher::TopicGroup;
use crate::config::RawConfig;
use crate::envelope::Operation;

/// Of two lists at most one may be given.
fn exclusive(raw: &mut RawConfig, include: &str, exclude: &str) {
    if [include, exclude].iter().all(|name| !raw.text(name).is_empty()) {
        raw.fail(include, format!("{exclude} is given too, expected one of them"));
    }
}

/// A list that has this name.
pub(super) fn list(raw: &mut RawConfig, name: &str) -> NameList {
    let text = raw.text(name).to_owned();
    parse_list(raw, name, &text)
}

/// An empty list is as none. One of blanks and commas is not: Debezium takes it for a list that
/// matches nothing, which nobody can have meant.
fn parse_list(raw: &mut RawConfig, name: &str, text: &str) -> NameList {
    let parsed = NameList::parse(text).and_then(|list| {
        let is_blank = list.is_empty() && !text.is_empty();
        if is_blank { Err(format!("found \"{text}\", expected an expression")) } else { Ok(list) }
    });
    parsed.unwrap_or_else(|message| {
        raw.fail(name, message);
        NameList::default()
    })
}

/// Splits as Java's `String.split`: without the empty parts at the end, if there is another.
pub(super) fn java_split(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(separator).collect();
    if parts.len() > 1 {
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
    }
    parts
}

/// Which tables.
pub(super) fn table_filter(raw: &mut RawConfig) -> TableFilter {
    exclusive(raw, "schema.include.list", "schema.exclude.list");
    exclusive(raw, "table.include.list", "table.exclude.list");
    TableFilter {
        schema_include: list(raw, "schema.include.list"),
        schema_exclude: list(raw, "schema.exclude.list"),
        table_include: list(raw, "table.include.list"),
        table_exclude: list(raw, "table.exclude.list"),
    }
}

/// Which logical decoding messages.
pub(super) fn message_filter(raw: &mut RawConfig) -> MessageFilter {
    exclusive(raw, "message.prefix.include.list", "message.prefix.exclude.list");
    MessageFilter {
        include: list(raw, "message.prefix.include.list"),
        exclude: list(raw, "message.prefix.exclude.list"),
    }
}

/// Which operations are not sent.
pub(super) fn skipped_operations(raw: &mut RawConfig) -> Vec<Operation> {
    const NAME: &str = "skipped.operations";
    let text = raw.text(NAME).to_owned();
    let (mut skipped, mut none) = (Vec::new(), false);
    for word in java_split(&text, ',').into_iter().map(str::trim) {
        skipped.push(match word {
            "c" => Operation::Create,
            "u" => Operation::Update,
            "d" => Operation::Delete,
            "t" => Operation::Truncate,
            "r" => Operation::Read,
            "none" => {
                none = true;
                continue;
            }
            _ => {
                let message = format!("found \"{word}\", expected c, u, d, t, r or none");
                raw.fail(NAME, message);
                continue;
            }
        });
    }
    if skipped.is_empty() && !none || none && text.contains(',') {
        raw.fail(NAME, format!("found \"{text}\", expected operations or none"));
    }
    skipped
}

/// Which columns, how masked, and which are keys. Of several mappers that match a column Debezium
/// takes the first: truncation, asterisks, types, types by type, hashes.
pub(super) fn columns(raw: &mut RawConfig) -> ColumnRules {
    exclusive(raw, "column.include.list", "column.exclude.list");
    let mut mappers = Vec::new();
    for (rest, value) in raw.family("column.truncate.to.") {
        let name = format!("column.truncate.to.{rest}");
        let count = characters(raw, &name, &rest);
        mappers.push(ColumnMapper::Mask(parse_list(raw, &name, &value), Mask::Truncate(count)));
    }
    for (rest, value) in raw.family("column.mask.with.") {
        let name = format!("column.mask.with.{rest}");
        let count = characters(raw, &name, &rest);
        mappers.push(ColumnMapper::Mask(parse_list(raw, &name, &value), Mask::Stars(count)));
    }
    mappers.push(ColumnMapper::SourceType(list(raw, "column.propagate.source.type")));
    mappers.push(ColumnMapper::SourceTypeByType(list(raw, "datatype.propagate.source.type")));
    let mut hashes = Vec::new();
    for (rest, value) in raw.family("column.mask.hash.") {
        let name = format!("column.mask.hash.{rest}");
        let (java_object, rest) = match rest.strip_prefix("v2.") {
            Some(rest) => (false, rest),
            None => (true, rest.as_str()),
        };
        let parts = rest.split_once(".with.salt.");
        let parts = parts.filter(|(_, salt)| !salt.is_empty());
        let hash = parts.and_then(|(algorithm, salt)| {
            let algorithm = HashAlgorithm::from_name(algorithm)?;
            Some(HashMask { algorithm, salt: salt.as_bytes().to_vec(), java_object })
        });
        let Some(hash) = hash else {
            raw.fail(
                &name,
                "expected column.mask.hash.[v2.]ALGORITHM.with.salt.SALT with ALGORITHM of MD2, MD5, \
                 SHA-1, SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224, SHA-512/256, SHA3-224, \
                 SHA3-256, SHA3-384, SHA3-512",
            );
            continue;
        };
        hashes.push(ColumnMapper::Mask(parse_list(raw, &name, &value), Mask::Hash(hash)));
    }
    mappers.extend(hashes);
    ColumnRules {
        include: list(raw, "column.include.list"),
        exclude: list(raw, "column.exclude.list"),
        mappers,
        keys: key_columns(raw),
    }
}

/// `N` of a name that ends in `N.chars`.
fn characters(raw: &mut RawConfig, name: &str, rest: &str) -> usize {
    /// More would fit into no record.
    const MOST: usize = 1 << 20;
    let number = rest.strip_suffix(".chars").and_then(|number| number.parse().ok());
    number.filter(|number| *number <= MOST || name.contains(".truncate.")).unwrap_or_else(|| {
        let message = format!("expected a number up to {MOST} and .chars at the end of the name");
        raw.fail(name, message);
        0
    })
}

/// `message.key.columns`: `tables:column,column;tables:column`, each column under the expression of
/// its tables.
fn key_columns(raw: &mut RawConfig) -> Vec<NameList> {
    const NAME: &str = "message.key.columns";
    if raw.given(NAME).is_none() {
        return Vec::new();
    }
    let text = raw.text(NAME).to_owned();
    let mut keys = Vec::new();
    for part in java_split(&text, ';') {
        let parsed = part.split_once(':').filter(|(tables, columns)| {
            let known = columns.split(',').all(|column| !column.is_empty());
            !tables.trim().is_empty() && known && !columns.contains(':')
        });
        let Some((tables, columns)) = parsed else {
            let message =
                format!("found \"{part}\", expected TABLES:COLUMN,COLUMN between semicolons");
            raw.fail(NAME, message);
            continue;
        };
        for column in columns.split(',') {
            let expression = format!("{}.{}", tables.trim_start(), column.trim());
            keys.push(parse_list(raw, NAME, &expression));
        }
    }
    keys
}

/// How topics and schemas are named.
pub(super) fn naming(raw: &mut RawConfig, prefix: &str) -> Naming {
    let strategy = raw.text("topic.naming.strategy").to_owned();
    let short = strategy.rsplit('.').next().unwrap_or_default();
    let regex = short.contains("Regex").then(|| regex_naming(raw)).flatten();
    let adjustment = |name: &str| match raw.text(name) {
        "avro" => NameAdjustment::Avro,
        "avro_unicode" => NameAdjustment::AvroUnicode,
        _ => NameAdjustment::None,
    };
    let naming = Naming {
        prefix: prefix.to_owned(),
        delimiter: raw.text("topic.delimiter").to_owned(),
        with_schema: short.starts_with("Schema"),
        unicode: short.contains("Unicode"),
        regex,
        transaction: raw.text("topic.transaction").to_owned(),
        heartbeat_prefix: raw.text("topic.heartbeat.prefix").to_owned(),
        heartbeat_name: raw.text("topic.heartbeat.name").to_owned(),
        schemas: adjustment("schema.name.adjustment.mode"),
        fields: adjustment("field.name.adjustment.mode"),
    };
    for name in
        ["topic.delimiter", "topic.transaction", "topic.heartbeat.prefix", "topic.heartbeat.name"]
    {
        let text = raw.text(name).to_owned();
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
            let message =
                format!("found \"{text}\", expected letters, digits, dots, underscores, hyphens");
            raw.fail(name, message);
        }
    }
    naming
}

/// How topics are created that are missing, by groups of their names.
pub(super) fn topic_creation(raw: &mut RawConfig) -> TopicCreation {
    let names: Vec<String> = raw
        .text("topic.creation.groups")
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty() && name != "default")
        .collect();
    if let Some(name) = names.iter().enumerate().find_map(|(at, name)| {
        let mut before = names.iter().take(at);
        before.any(|other| other == name).then(|| name.clone())
    }) {
        raw.fail("topic.creation.groups", format!("\"{name}\" stands there twice"));
    }
    for (name, _) in raw.family("topic.creation.") {
        let known =
            |group: &str| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'));
        let ours = ["enable", "groups"].contains(&name.as_str()) || known("default");
        if !ours && !names.iter().any(|group| known(group)) {
            let message = "topic.creation.groups names no such group";
            raw.fail(&format!("topic.creation.{name}"), message);
        }
    }
    let default = topic_group(raw, "default");
    TopicCreation {
        enabled: raw.flag("topic.creation.enable"),
        groups: names.iter().map(|name| topic_group(raw, name)).collect(),
        default,
    }
}

/// One group; what it does not say is the default's.
fn topic_group(raw: &mut RawConfig, group: &str) -> TopicGroup {
    const OWN: [&str; 4] = ["partitions", "replication.factor", "include", "exclude"];
    let key = |name: &str| format!("topic.creation.{group}.{name}");
    let mut number = |name: &str| {
        let text = raw
            .get(&key(name))
            .unwrap_or_else(|| raw.text(&format!("topic.creation.default.{name}")));
        let text = text.to_owned();
        text.trim().parse().ok().filter(|number| *number == -1 || *number > 0).unwrap_or_else(
            || {
                let message = format!("found \"{text}\", expected a number from 1, or -1");
                raw.fail(&key(name), message);
                -1
            },
        )
    };
    let (partitions, replication_factor) = (number("partitions"), number("replication.factor"));
    let mut patterns = |name: &str| {
        let text = raw.get(&key(name)).unwrap_or_default().to_owned();
        let mut all = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match JavaRegex::new(part, false) {
                Ok(pattern) => all.push(pattern),
                Err(message) => raw.fail(&key(name), message),
            }
        }
        all
    };
    TopicGroup {
        include: patterns("include"),
        exclude: patterns("exclude"),
        partitions,
        replication_factor,
        config: raw
            .family(&format!("topic.creation.{group}."))
            .into_iter()
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .collect(),
    }
}

fn regex_naming(raw: &mut RawConfig) -> Option<RegexNaming> {
    let mut renaming = |pattern: &str, replacement: &str, needed: bool| {
        let (expression, text) = (raw.text(pattern).to_owned(), raw.text(replacement).to_owned());
        if expression.trim().is_empty() && !needed {
            return None;
        }
        for (name, value) in [(pattern, &expression), (replacement, &text)] {
            if value.trim().is_empty() {
                raw.fail(name, "expected a value, because topic.naming.strategy needs it");
            }
        }
        match Renaming::new(&expression, &text) {
            Ok(renaming) => Some(renaming),
            Err(message) => {
                raw.fail(pattern, message);
                None
            }
        }
    };
    let topic = renaming("topic.regex", "topic.replacement", true);
    let key = renaming("topic.key.field.regex", "topic.key.field.replacement", false);
    let key_field = raw
        .flag("topic.key.enforce.uniqueness")
        .then(|| raw.text("topic.key.field.name").to_owned());
    Some(RegexNaming { topic: topic?, key_field, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn raw(settings: &[(&str, &str)]) -> RawConfig {
        let mut raw = RawConfig::default();
        for (name, value) in settings {
            raw.give(name, *value, Origin::File);
        }
        raw
    }

    #[test]
    fn groups_of_topics_take_the_default_where_they_say_nothing() {
        let mut raw = raw(&[
            ("topic.creation.groups", "logs, big"),
            ("topic.creation.default.partitions", "3"),
            ("topic.creation.logs.include", "p\\.public\\.log_.*,p\\.other"),
            ("topic.creation.logs.exclude", ".*_old"),
            ("topic.creation.logs.partitions", "6"),
            ("topic.creation.logs.cleanup.policy", "compact"),
            ("topic.creation.bog.partitions", "1"),
        ]);
        let creation = topic_creation(&mut raw);
        let partitions: Vec<i32> = creation.groups.iter().map(|group| group.partitions).collect();
        assert_eq!(partitions, [6, 3]);
        let logs = creation.groups.first().unwrap();
        assert!(logs.include.iter().any(|pattern| pattern.is_match("p.public.log_1")));
        assert!(!logs.include.iter().any(|pattern| pattern.is_match("p.public.log")));
        assert_eq!(logs.config, [("cleanup.policy".to_owned(), "compact".to_owned())]);
        let errors: Vec<String> = raw.take_errors().into_iter().map(|error| error.key).collect();
        assert_eq!(errors, ["topic.creation.bog.partitions"]);
    }

    #[test]
    fn masks_are_taken_apart_and_refused_by_their_names() {
        let mut raw = raw(&[
            ("column.mask.with.4.chars", "a.b.c"),
            ("column.mask.hash.SHA-256.with.salt.a.b", "a.b.d"),
            ("column.mask.hash.v2.MD5.with.salt.x", "a.b.e"),
            ("column.mask.hash.SHA-3.with.salt.x", "a.b.f"),
            ("column.truncate.to.x.chars", "a.b.g"),
        ]);
        let rules = columns(&mut raw);
        let hashes: Vec<(bool, Vec<u8>)> = rules
            .mappers
            .iter()
            .filter_map(|mapper| match mapper {
                ColumnMapper::Mask(_, Mask::Hash(hash)) => {
                    Some((hash.java_object, hash.salt.clone()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(hashes, [(true, b"a.b".to_vec()), (false, b"x".to_vec())]);
        let errors: Vec<String> = raw.take_errors().into_iter().map(|error| error.key).collect();
        assert_eq!(errors, ["column.truncate.to.x.chars", "column.mask.hash.SHA-3.with.salt.x"]);
    }
}
