//! A case of the corpus: SQL, settings, and what Debezium wrote.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::json::Json;
use super::records::Record;

/// One folder of `proto-fixtures/debezium`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
}

/// The release that the cases were recorded from.
pub const RELEASE: &str = "3.6.1.Final";

/// All cases, by name.
pub fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/debezium").join(RELEASE);
    let mut cases: Vec<Case> = fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| Case { name: entry.file_name().into_string().unwrap(), folder: entry.path() })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

impl Case {
    /// Major versions of PostgreSQL that it was recorded on.
    pub fn versions(&self) -> Vec<u32> {
        self.read("postgres").split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    /// Its database.
    pub fn database(&self) -> String {
        format!("o_{}", self.name.to_lowercase())
    }

    /// Whether it has been recorded; one that is being added has not.
    pub fn is_recorded(&self) -> bool {
        self.folder.join("records.jsonl").exists()
    }

    /// What runs before the connector starts.
    pub fn setup(&self) -> Vec<String> {
        statements(&self.read("setup.sql"))
    }

    /// What runs while it streams, in the parts between the lines `-- wait`.
    pub fn work(&self) -> Vec<Vec<String>> {
        let mut parts = vec![String::new()];
        for line in self.read("work.sql").lines() {
            if line.trim() == "-- wait" {
                parts.push(String::new());
            } else if let Some(last) = parts.last_mut() {
                last.push_str(line);
                last.push('\n');
            }
        }
        parts.iter().map(|part| statements(part)).collect()
    }

    /// The settings that differ from Debezium's defaults.
    pub fn connector(&self) -> Vec<(String, Json)> {
        match Json::parse(&self.read("connector.json")).unwrap() {
            Json::Object(members) => members,
            other => panic!("{}: settings are no object but {other}", self.name),
        }
    }

    /// Whether Debezium refused the settings.
    pub fn is_refused(&self) -> bool {
        let outcome = self.folder.join("outcome.txt");
        fs::read_to_string(outcome).is_ok_and(|text| text.starts_with("The task FAILED (config)"))
    }

    /// What Debezium wrote, on this version of PostgreSQL.
    pub fn records(&self, version: u32) -> Vec<Record> {
        let of_version = format!("records.pg{version}.jsonl");
        let name =
            if self.folder.join(&of_version).exists() { &of_version } else { "records.jsonl" };
        self.read(name).lines().map(Record::parse).collect()
    }

    fn read(&self, name: &str) -> String {
        let path = self.folder.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// A setting's value; a topic that is named in it has this prefix instead of `P`.
pub fn with_prefix(name: &str, value: &str, prefix: &str) -> String {
    let from = if name.ends_with(".topic.name") { "P." } else { "P.public" };
    value.replace(from, &from.replacen('P', prefix, 1))
}

/// Takes SQL apart at semicolons that stand outside of quotes and comments.
pub fn statements(sql: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current = String::new();
    let mut rest = sql;
    while !rest.is_empty() {
        let length = token(rest, &current);
        let (token, after) = rest.split_at(length);
        rest = after;
        match token {
            ";" => all.push(std::mem::take(&mut current)),
            _ if token.starts_with("--") => {}
            _ => current.push_str(token),
        }
    }
    all.push(current);
    all.retain(|statement| !statement.trim().is_empty());
    all
}

/// Bytes of the first token: a quoted piece, a comment, or one character.
fn token(text: &str, before: &str) -> usize {
    let until = |end: &str, from: usize| {
        text[from..].find(end).map_or(text.len(), |found| from + found + end.len())
    };
    if text.starts_with("--") {
        return until("\n", 0);
    }
    if let Some(rest) = text.strip_prefix('$') {
        let tag = rest.find('$').map(|end| &text[..end + 2]);
        let is_tag = |tag: &&str| tag.chars().all(|c| c == '$' || c == '_' || c.is_alphabetic());
        if let Some(tag) = tag.filter(is_tag) {
            return until(tag, tag.len());
        }
    }
    let escapes = before.ends_with(['E', 'e']);
    match text.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let mut escaped = false;
            for (at, character) in text.char_indices().skip(1) {
                match character {
                    _ if escaped => escaped = false,
                    '\\' if escapes && quote == '\'' => escaped = true,
                    _ if character == quote => return at + 1,
                    _ => {}
                }
            }
            text.len()
        }
        Some(character) => character.len_utf8(),
        None => 0,
    }
}
