//! Configuration files: TOML, Java properties, connector JSON.

use std::path::Path;

use serde_json::Value;

use crate::config::server_names;

/// A file's names and values, and whose defaults hold beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContent {
    /// Names and values, in the file's order.
    pub settings: Vec<(String, String)>,
    /// It is a Debezium file: what it does not say has Debezium's and Connect's defaults.
    pub is_debezium: bool,
    /// What `${…}` in its values means.
    pub references: References,
}

/// Values that stand elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// There are none.
    #[default]
    None,
    /// `${provider:path:key}`, as in a connector's file.
    Providers,
    /// `${name:default}`, as in a Debezium Server's file.
    Expressions,
}

/// Reads a file by its ending, or by its look if the ending says nothing.
///
/// # Errors
///
/// What is wrong and where.
pub fn parse(path: &Path, content: &str) -> Result<FileContent, String> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending {
        "json" => parse_json(content),
        "properties" => parse_properties(content),
        "toml" => parse_toml(content),
        _ if content.trim_start().starts_with('{') => parse_json(content),
        _ => parse_toml(content).or_else(|error| {
            let found = parse_properties(content);
            found.map_err(|_| error)
        }),
    }
}

/// `{"name": …, "config": {…}}`, or the inner object alone.
fn parse_json(content: &str) -> Result<FileContent, String> {
    let value: Value = serde_json::from_str(content).map_err(|error| {
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or_default();
        format!("line {}: {message}", error.line())
    })?;
    let Value::Object(outer) = value else {
        return Err("expected an object of names and values".to_owned());
    };
    let mut settings = Vec::new();
    let inner = match outer.get("config") {
        Some(Value::Object(inner)) => {
            if let Some(Value::String(name)) = outer.get("name") {
                settings.push(("name".to_owned(), name.clone()));
            }
            inner.clone()
        }
        _ => outer,
    };
    for (name, value) in inner {
        if name == "name" {
            settings.retain(|(known, _)| known != "name");
        }
        let text = match value {
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null => continue,
            Value::Array(_) | Value::Object(_) => {
                return Err(format!("\"{name}\" is a list or an object, expected text"));
            }
        };
        settings.push((name, text));
    }
    Ok(FileContent { settings, is_debezium: true, references: References::Providers })
}

/// Java properties: a connector's, or a Debezium Server's.
fn parse_properties(content: &str) -> Result<FileContent, String> {
    let settings = properties(content)?;
    let is_servers = settings.iter().any(|(name, _)| server_names::is_servers(name));
    let references = if is_servers { References::Expressions } else { References::Providers };
    let settings = server_names::as_a_connectors(settings);
    Ok(FileContent { settings, is_debezium: true, references })
}

/// The pairs of a file of Java properties.
///
/// # Errors
///
/// The number of a line without a name.
pub(super) fn properties(content: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings = Vec::new();
    let mut lines = content.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_in_single_backslash(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (name, value) = split_property(&logical)
            .ok_or_else(|| format!("line {}: expected name=value", number + 1))?;
        settings.push((name, value));
    }
    Ok(settings)
}

fn ends_in_single_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or space that no backslash precedes, and resolves escapes.
fn split_property(line: &str) -> Option<(String, String)> {
    let mut name = String::new();
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => name.push(escaped(&mut characters)?),
            '=' | ':' => break,
            ' ' | '\t' => {
                while characters.next_if(|next| matches!(next, ' ' | '\t' | '=' | ':')).is_some() {}
                break;
            }
            _ => name.push(character),
        }
    }
    while characters.next_if(|next| matches!(next, ' ' | '\t')).is_some() {}
    let mut value = String::new();
    while let Some(character) = characters.next() {
        value.push(if character == '\\' { escaped(&mut characters)? } else { character });
    }
    Some((name, value)).filter(|(name, _)| !name.is_empty())
}

fn escaped(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    Some(match characters.next()? {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\u{C}',
        'u' => {
            let mut unit = 0;
            for _ in 0..4 {
                unit = unit << 4 | characters.next()?.to_digit(16)?;
            }
            char::from_u32(unit)?
        }
        other => other,
    })
}

/// Tables are parts of names: `[slot] name = "x"` is `slot.name`.
fn parse_toml(content: &str) -> Result<FileContent, String> {
    let table: toml::Table = content.parse().map_err(|error| at_line(content, &error))?;
    let mut settings = Vec::new();
    flatten("", &table, &mut settings)?;
    Ok(FileContent { settings, ..FileContent::default() })
}

/// What is wrong and where, without the text that stands there: it may be a password.
fn at_line(content: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
    let message = error.message().replace('\n', ", ");
    format!("line {}: {message}", before.matches('\n').count() + 1)
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    out: &mut Vec<(String, String)>,
) -> Result<(), String> {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, out)?,
            toml::Value::Array(items) => {
                let texts: Result<Vec<String>, String> =
                    items.iter().map(|item| scalar(&name, item)).collect();
                out.push((name, texts?.join(",")));
            }
            value => {
                let text = scalar(&name, value)?;
                out.push((name, text));
            }
        }
    }
    Ok(())
}

fn scalar(name: &str, value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(value) => Ok(value.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        _ => Err(format!("\"{name}\" is a {}, expected text", value.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(name: &str, content: &str) -> Vec<(String, String)> {
        parse(Path::new(name), content).unwrap().settings
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_same_settings_come_from_every_format() {
        let expected = pairs(&[("slot.name", "s"), ("tombstones.on.delete", "false")]);
        let toml = "[slot]\nname = \"s\"\n[tombstones]\non.delete = false\n";
        assert_eq!(settings("x.toml", toml), expected);
        assert_eq!(settings("x", toml), expected);
        let java = "# comment\nslot.name = s\ntombstones.on.delete=fal\\\n   se\n";
        assert_eq!(settings("x.properties", java), expected);
        let server = "debezium.source.slot.name=s\ndebezium.source.tombstones.on.delete:false";
        assert_eq!(settings("x.properties", server), expected);
        let sink = "debezium.sink.kafka.producer.bootstrap.servers=h:1\n\
                    debezium.sink.kafka.producer.linger.ms=5";
        let expected_sink = pairs(&[("bootstrap.servers", "h:1"), ("producer.linger.ms", "5")]);
        assert_eq!(settings("x.properties", sink), expected_sink);
        for json in [
            r#"{"slot.name":"s","tombstones.on.delete":false}"#,
            r#"{"config":{"slot.name":"s","tombstones.on.delete":"false"}}"#,
        ] {
            assert_eq!(settings("x.json", json), expected);
            assert_eq!(settings("x", json), expected);
        }
        assert!(parse(Path::new("x.json"), "{}").unwrap().is_debezium);
        assert!(!parse(Path::new("x.toml"), "").unwrap().is_debezium);
    }

    #[test]
    fn properties_follow_javas_rules() {
        for (line, name, value) in [
            ("a=b=c", "a", "b=c"),
            ("a b", "a", "b"),
            ("a : b ", "a", "b "),
            (r"a\ b=c\\d", "a b", r"c\d"),
            (r"a=\u00e9\t", "a", "é\t"),
            ("a", "a", ""),
        ] {
            assert_eq!(settings("x.properties", line), pairs(&[(name, value)]), "{line}");
        }
    }
}
