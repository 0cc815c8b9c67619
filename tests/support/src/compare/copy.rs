//! Rows of the source, through COPY: the types' own output, without a cast that changes it.

use std::io::BufRead;
use std::io::BufReader;

use postgres::Client;
use serde_json::Map;
use serde_json::Value;

use super::catalog::Shape;

/// Gives every row with each value as it is expected in JSON.
pub(super) fn for_each_row(
    client: &mut Client,
    shape: &Shape,
    mut take: impl FnMut(Map<String, Value>),
) {
    let copy = client.copy_out(&shape.copy_statement());
    let copy = copy.unwrap_or_else(|error| panic!("{} cannot be read: {error:?}", shape.table));
    for line in BufReader::with_capacity(1 << 16, copy).lines() {
        let line = line.expect("the source goes on answering");
        let mut row = Map::new();
        let mut fields = line.split('\t');
        for column in &shape.columns {
            let field = fields.next().expect("COPY gives every column");
            let value = match field {
                "\\N" => Value::Null,
                text => column.kind.expected(&unescape(text)),
            };
            row.insert(column.name.clone(), value);
        }
        take(row);
    }
}

/// COPY's text format: a backslash before what would end a value or a row.
fn unescape(field: &str) -> String {
    if !field.contains('\\') {
        return field.to_owned();
    }
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next().expect("COPY never ends a value with a backslash") {
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'v' => text.push('\u{b}'),
                other => text.push(other),
            },
            plain => text.push(plain),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_of_copy_are_undone() {
        assert_eq!(unescape(r"a\tb\nc\\d\\n"), "a\tb\nc\\d\\n");
        assert_eq!(unescape(r"\b\f\v\r"), "\u{8}\u{c}\u{b}\r");
    }
}
