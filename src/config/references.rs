//! Values that stand elsewhere: `${…}` in a Debezium file.
//!
//! A connector's file refers to what a worker's providers have: `${env:NAME}`, `${file:PATH:KEY}`,
//! `${dir:FOLDER:FILE}`. A Debezium Server's refers to the environment and to its own properties:
//! `${NAME}`, `${NAME:DEFAULT}`; `\${` is no reference.
//!
//! Source: Apache Kafka 4.3, `ConfigTransformer`, `FileConfigProvider`, `DirectoryConfigProvider`,
//! `EnvVarConfigProvider`; Eclipse MicroProfile Config 3.1, "Property Expressions", and its rule for
//! environment variables.

use std::path::Path;

use crate::config::file::FileContent;
use crate::config::file::References;

/// References within references that are followed before they are taken for endless.
const DEEPEST: usize = 8;

/// Puts values in the places of references.
///
/// # Errors
///
/// The property, and what its reference lacks; never a value.
pub(super) fn resolved(
    mut content: FileContent,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<FileContent, String> {
    let known = content.settings.clone();
    for (name, value) in &mut content.settings {
        let found = match content.references {
            References::None => continue,
            References::Providers => of_providers(value, environment),
            References::Expressions => {
                of_expressions(value, &Names { known: &known, environment }, DEEPEST)
            }
        };
        *value = found.map_err(|reason| format!("{name}: {reason}"))?;
    }
    Ok(content)
}

/// `${provider:path:key}` or `${provider:key}`; anything else stays as it is.
fn of_providers(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let reference = after.split_once('}').filter(|(inner, _)| inner.contains(':'));
        let Some((inner, after)) = reference else {
            out.push_str("${");
            rest = after;
            continue;
        };
        out.push_str(&provided(inner, environment)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn provided(
    reference: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let (provider, rest) = reference.split_once(':').unwrap_or((reference, ""));
    let (path, key) = rest.split_once(':').unwrap_or(("", rest));
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| {
            format!("found ${{{reference}}}, and {} cannot be read: {error}", path.display())
        })
    };
    match provider {
        "env" => environment(key).ok_or_else(|| {
            format!("found ${{{reference}}}, and the environment has no variable {key}")
        }),
        "file" => {
            let content = read(Path::new(path))?;
            let pairs = crate::config::file::properties(&content).map_err(|reason| {
                format!("found ${{{reference}}}, and {path} is no file of properties: {reason}")
            })?;
            let found = pairs.into_iter().rev().find(|(name, _)| name == key);
            found
                .map(|(_, value)| value)
                .ok_or_else(|| format!("found ${{{reference}}}, and {path} has no property {key}"))
        }
        "dir" | "directory" if !key.contains('/') => read(&Path::new(path).join(key)),
        _ => Err(format!(
            "found ${{{reference}}}, expected ${{env:NAME}}, ${{file:PATH:KEY}} or \
             ${{dir:FOLDER:FILE}}"
        )),
    }
}

/// Where an expression's names are looked up.
struct Names<'a> {
    known: &'a [(String, String)],
    environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Names<'_> {
    /// The environment goes before the file, under the name itself or with everything but letters
    /// and digits as underscores, also in upper case.
    fn find(&self, name: &str) -> Option<String> {
        let plain: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        (self.environment)(name)
            .or_else(|| (self.environment)(&plain))
            .or_else(|| (self.environment)(&plain.to_ascii_uppercase()))
            .or_else(|| {
                let known = self.known.iter().rev().find(|(known, _)| known == name);
                known.map(|(_, value)| value.clone())
            })
    }
}

fn of_expressions(text: &str, names: &Names<'_>, depth: usize) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('\\') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let end = closing(after).ok_or("found ${ without its }")?;
        let (inner, after) = (after.get(..end).unwrap_or_default(), after.get(end + 1..));
        rest = after.unwrap_or_default();
        let (name, default) = match inner.split_once(':') {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let Some(deeper) = depth.checked_sub(1) else {
            return Err(format!("found ${{{name}}}, which refers to itself"));
        };
        let value = match (names.find(name), default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                return Err(format!(
                    "found ${{{name}}}, and neither the environment nor the file has {name}"
                ));
            }
        };
        out.push_str(&of_expressions(&value, names, deeper)?);
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace that closes a reference stands.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, character) in text.char_indices() {
        match character {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "PG_PASSWORD" => Some("se$cret".to_owned()),
            "DB_HOST" => Some("h".to_owned()),
            _ => None,
        }
    }

    fn resolve(references: References, pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let settings =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let content = FileContent { settings, is_debezium: true, references };
        let resolved = resolved(content, &environment)?;
        Ok(resolved.settings.into_iter().map(|(_, value)| value).collect())
    }

    #[test]
    fn a_connectors_references_are_those_of_kafkas_providers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.properties");
        std::fs::write(&file, "user = u\npassword=p:w\n").unwrap();
        std::fs::write(folder.path().join("plain"), "x").unwrap();
        let (file, folder) = (file.display().to_string(), folder.path().display().to_string());
        let connect = |value: &str| {
            resolve(References::Providers, &[("a", value)]).map(|values| values.concat())
        };
        assert_eq!(connect("<${env:PG_PASSWORD}>").unwrap(), "<se$cret>");
        assert_eq!(connect(&format!("${{file:{file}:password}}")).unwrap(), "p:w");
        assert_eq!(connect(&format!("${{dir:{folder}:plain}}${{1}}$")).unwrap(), "x${1}$");
        for (value, expected) in [
            ("${env:NONE}", "a: found ${env:NONE}, and the environment has no variable NONE"),
            ("${vault:a:b}", "a: found ${vault:a:b}, expected ${env:NAME}"),
            ("${file:/no:b}", "/no cannot be read"),
            (&format!("${{file:{file}:b}}"), "has no property b"),
            (&format!("${{dir:{folder}:../x}}"), "expected ${env:NAME}"),
        ] {
            let said = connect(value).unwrap_err();
            assert!(said.contains(expected), "{value}: {said}");
        }
    }

    #[test]
    fn a_servers_references_are_expressions() {
        let server = |value: &str| {
            let pairs = [("a", value), ("db.host", "file"), ("only.here", "y"), ("x", "${x}")];
            resolve(References::Expressions, &pairs[..if value == "${x}" { 4 } else { 3 }])
                .map(|values| values[0].clone())
        };
        assert_eq!(server("<${PG_PASSWORD}>").unwrap(), "<se$cret>");
        assert_eq!(server("${db.host}:${only.here}:${none:d:1}").unwrap(), "h:y:d:1");
        assert_eq!(server("${none:${db.host}}").unwrap(), "h");
        assert_eq!(server(r"\${none}").unwrap(), "${none}");
        assert!(server("${none}").unwrap_err().contains("neither the environment nor the file"));
        assert!(server("${none").unwrap_err().contains("without its }"));
        assert!(server("${x}").unwrap_err().contains("refers to itself"));
    }
}
