//! Rows of COPY's text format.
//!
//! Source: PostgreSQL 18, "COPY", section "Text Format".

use crate::capture::change::Row;
use crate::capture::pgoutput::TupleValue;
use crate::capture::value::ValueError;

/// Memory that a row leaves to the next one.
const KEPT_BYTES: usize = 1 << 20;

/// One row, taken apart. The same value is filled again for the next row.
#[derive(Clone, Debug, Default)]
pub(super) struct CopyRow {
    bytes: Vec<u8>,
    /// Where each column ends in `bytes`; `None` is NULL.
    columns: Vec<Option<(usize, usize)>>,
}

impl CopyRow {
    /// Takes a line apart.
    ///
    /// # Errors
    ///
    /// It ends in a backslash, which the server never writes.
    pub(super) fn parse(&mut self, line: &[u8]) -> Result<(), ValueError> {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.columns.clear();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        for field in line.split(|byte| *byte == b'\t') {
            if field == b"\\N" {
                self.columns.push(None);
                continue;
            }
            let start = self.bytes.len();
            unescape(field, &mut self.bytes)?;
            self.columns.push(Some((start, self.bytes.len())));
        }
        Ok(())
    }

    /// How many columns it has.
    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }
}

impl Row for CopyRow {
    fn values(&self) -> impl Iterator<Item = TupleValue<'_>> {
        self.columns.iter().map(|column| match column {
            Some((start, end)) => {
                TupleValue::Text(self.bytes.get(*start..*end).unwrap_or_default())
            }
            None => TupleValue::Null,
        })
    }
}

/// Appends a field with its escapes resolved.
fn unescape(field: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut rest = field;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let [_, escaped, after @ ..] = escape else {
            return Err(ValueError::Syntax { expected: "a character after a backslash" });
        };
        out.push(match escaped {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0B,
            other => *other,
        });
        rest = after;
    }
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_is_resolved_and_null_is_not_text() {
        let mut row = CopyRow::default();
        row.parse(b"1\t\\N\t\ta\\tb\\\\N\\n\\b\\f\\r\\v\t\\\\N\n").unwrap();
        let values: Vec<TupleValue<'_>> = row.values().collect();
        assert_eq!(
            values,
            [
                TupleValue::Text(b"1"),
                TupleValue::Null,
                TupleValue::Text(b""),
                TupleValue::Text(b"a\tb\\N\n\x08\x0C\r\x0B"),
                TupleValue::Text(b"\\N"),
            ]
        );
        assert!(row.parse(b"a\\").is_err());
    }
}
