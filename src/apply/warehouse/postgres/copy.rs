//! Rows as the text of COPY.
//!
//! Source: PostgreSQL 18, COPY, "Text Format".

use crate::apply::merge::Cell;
use crate::apply::merge::ColumnType;
use crate::apply::merge::Target;
use crate::apply::merge::Texts;

/// Appends one field and the tab after it.
pub(super) fn field(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        None => out.extend_from_slice(b"\\N"),
        Some(text) => escaped(text, out),
    }
    out.push(b'\t');
}

/// Appends the cells of a row; what is missing is NULL.
pub(super) fn cells(target: &Target, cells: &[Cell], texts: &Texts, out: &mut Vec<u8>) {
    for (column, cell) in target.columns.iter().zip(cells) {
        let text = texts.text(*cell);
        if let (ColumnType::Bytes, Some(_)) = (&column.column_type, text) {
            out.extend_from_slice(b"\\\\x");
        }
        field(text, out);
    }
}

/// Ends a row: the last field's tab becomes a line feed.
pub(super) fn end_row(out: &mut [u8]) {
    if let Some(last) = out.last_mut() {
        *last = b'\n';
    }
}

/// Names as an array's text.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut out = b"{".to_vec();
    for (at, name) in names.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'"');
        for byte in name.bytes() {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
    out
}

fn escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r'))
    {
        let (clean, tail) = rest.split_at(at);
        out.extend_from_slice(clean);
        out.extend_from_slice(match tail.first() {
            Some(b'\t') => b"\\t",
            Some(b'\n') => b"\\n",
            Some(b'\r') => b"\\r",
            _ => b"\\\\",
        });
        rest = tail.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_field_or_a_row_is_escaped() {
        let mut out = Vec::new();
        field(Some(b"a\tb\\c\r\n"), &mut out);
        field(None, &mut out);
        field(Some(b""), &mut out);
        end_row(&mut out);
        assert_eq!(out, b"a\\tb\\\\c\\r\\n\t\\N\t\n");
        assert_eq!(names(["a\"b", "c"].into_iter()), br#"{"a\"b","c"}"#);
    }
}
