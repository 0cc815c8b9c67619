//! What is not determined, taken out of a record's bytes; every other byte stays.

use std::ops::Range;

/// A member's place: its names and indexes from the outside in.
pub type Path = Vec<String>;

/// Every leaf of some JSON, with its place and where it lies in the bytes.
pub fn leaves(json: &[u8]) -> Vec<(Path, Range<usize>)> {
    let mut scanner = Scanner { json, at: 0, path: Vec::new(), leaves: Vec::new() };
    scanner.value();
    scanner.leaves
}

struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
    path: Path,
    leaves: Vec<(Path, Range<usize>)>,
}

impl Scanner<'_> {
    fn peek(&self) -> u8 {
        self.json.get(self.at).copied().unwrap_or(b' ')
    }

    fn value(&mut self) {
        match self.peek() {
            b'{' | b'[' => self.items(),
            _ => {
                let start = self.at;
                self.token();
                self.leaves.push((self.path.clone(), start..self.at));
            }
        }
    }

    fn items(&mut self) {
        let is_object = self.peek() == b'{';
        self.at += 1;
        let mut index = 0;
        while !matches!(self.peek(), b'}' | b']') && self.at < self.json.len() {
            if self.peek() == b',' {
                self.at += 1;
            }
            let name = if is_object {
                let start = self.at + 1;
                self.token();
                let name = String::from_utf8_lossy(&self.json[start..self.at - 1]).into_owned();
                self.at += 1;
                name
            } else {
                index.to_string()
            };
            self.path.push(name);
            self.value();
            self.path.pop();
            index += 1;
        }
        self.at += 1;
    }

    /// A string, or anything else up to its end.
    fn token(&mut self) {
        if self.peek() == b'"' {
            self.at += 1;
            while self.at < self.json.len() && self.peek() != b'"' {
                self.at += if self.peek() == b'\\' { 2 } else { 1 };
            }
            // Bytes may end within a string.
            self.at = (self.at + 1).min(self.json.len());
            return;
        }
        while self.at < self.json.len() && !matches!(self.peek(), b',' | b'}' | b']') {
            self.at += 1;
        }
    }
}

/// The bytes with question marks in place of these parts.
pub fn without(json: &[u8], mut parts: Vec<Range<usize>>) -> Vec<u8> {
    parts.sort_by_key(|part| part.start);
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    for part in parts {
        out.extend_from_slice(&json[at..part.start]);
        out.push(b'?');
        at = part.end;
    }
    out.extend_from_slice(&json[at..]);
    out
}

/// The text of the leaf at a place below the payload.
pub fn text<'a>(json: &'a [u8], leaves: &[(Path, Range<usize>)], place: &[&str]) -> &'a str {
    leaves
        .iter()
        .find(|(path, _)| below_payload(path) == place)
        .and_then(|(_, range)| std::str::from_utf8(&json[range.clone()]).ok())
        .unwrap_or_default()
}

/// A place without the member that a value stands in beside its schema; empty inside a schema.
pub fn below_payload(path: &Path) -> Vec<&str> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match names.split_first() {
        Some((&"payload", rest)) => rest.to_vec(),
        Some((&"schema", _)) => Vec::new(),
        _ => names,
    }
}
