//! Values as text in headers, as Kafka Connect's `SimpleHeaderConverter` writes them.
//!
//! Nearly JSON: strings have only quotes and backslashes escaped, floats that are no numbers
//! have no quotes, and Connect's own dates and times are ISO 8601. Source: Kafka 4.3, `Values`.

use crate::envelope::schema::ConnectSchema;
use crate::envelope::schema::SchemaKind;
use crate::time::CivilDate;

/// A day.
const DAY_MILLIS: i64 = 86_400_000;

/// Appends a value of this schema as text; `value` is its JSON as
/// [`json`](crate::envelope::json) writes it, with exact decimals as numbers.
pub fn write(schema: &ConnectSchema, value: &[u8], out: &mut Vec<u8>) {
    let mut cursor = Cursor { rest: value };
    cursor.value(schema, out);
}

/// What is left of a value's JSON. It is ours, so that nothing stands between its tokens.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn value(&mut self, schema: &ConnectSchema, out: &mut Vec<u8>) {
        if let Some(rest) = self.rest.strip_prefix(b"null") {
            self.rest = rest;
            out.extend_from_slice(b"null");
            return;
        }
        match &schema.kind {
            SchemaKind::Struct(fields) => {
                for field in fields {
                    // The opening brace or the comma before the name.
                    self.pass(1, out);
                    self.text(true, out);
                    self.pass(1, out);
                    self.value(&field.schema, out);
                }
                if fields.is_empty() {
                    self.pass(1, out);
                }
                self.pass(1, out);
            }
            SchemaKind::Array(items) => self.items(out, |cursor, out| cursor.value(items, out)),
            SchemaKind::Map(keys, values) => self.items(out, |cursor, out| {
                cursor.value(keys, out);
                cursor.pass(1, out);
                cursor.value(values, out);
            }),
            SchemaKind::Float32 | SchemaKind::Float64 => self.text(false, out),
            _ if self.rest.first() == Some(&b'"') => self.text(true, out),
            SchemaKind::Int32 | SchemaKind::Int64 => match schema.name.as_deref() {
                Some("org.apache.kafka.connect.data.Date") => self.moment(DAY_MILLIS, out),
                Some(
                    "org.apache.kafka.connect.data.Time"
                    | "org.apache.kafka.connect.data.Timestamp",
                ) => self.moment(1, out),
                _ => self.text(true, out),
            },
            _ => self.text(true, out),
        }
    }

    /// Everything between an opening and a closing bracket.
    fn items(&mut self, out: &mut Vec<u8>, mut item: impl FnMut(&mut Self, &mut Vec<u8>)) {
        self.pass(1, out);
        while let Some(next) = self.rest.first().filter(|next| !matches!(next, b']' | b'}')) {
            if *next == b',' {
                self.pass(1, out);
            }
            item(self, out);
        }
        self.pass(1, out);
    }

    /// Copies bytes as they are.
    fn pass(&mut self, count: usize, out: &mut Vec<u8>) {
        let (start, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        out.extend_from_slice(start);
        self.rest = rest;
    }

    /// Copies a string, with quotes or without, or anything else up to its end.
    fn text(&mut self, quoted: bool, out: &mut Vec<u8>) {
        if self.rest.first() != Some(&b'"') {
            let end = self.rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}' | b':'));
            return self.pass(end.unwrap_or(self.rest.len()), out);
        }
        let text = self.string();
        if !quoted {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        out.push(b'"');
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                out.push(b'\\');
            }
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.push(b'"');
    }

    /// Takes a JSON string.
    fn string(&mut self) -> String {
        let mut escaped = false;
        let end = self.rest.iter().skip(1).position(|byte| match byte {
            _ if escaped => {
                escaped = false;
                false
            }
            b'\\' => {
                escaped = true;
                false
            }
            byte => *byte == b'"',
        });
        let length = end.map_or(self.rest.len(), |end| end + 2);
        let (string, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        serde_json::from_slice(string).unwrap_or_default()
    }

    /// A date, time or timestamp of Connect, which are all one class in Java: what is written is
    /// decided by the value alone.
    fn moment(&mut self, unit: i64, out: &mut Vec<u8>) {
        let mut digits = Vec::new();
        self.text(false, &mut digits);
        let number = std::str::from_utf8(&digits).ok().and_then(|text| text.parse::<i64>().ok());
        let Some(millis) = number.and_then(|number| number.checked_mul(unit)) else {
            out.extend_from_slice(&digits);
            return;
        };
        let (day, within) = (millis.div_euclid(DAY_MILLIS), millis.rem_euclid(DAY_MILLIS));
        let CivilDate { year, month, day } = CivilDate::from_days(day);
        let part = |per: i64, modulus: i64| within / per % modulus;
        let time = format!(
            "{:02}:{:02}:{:02}.{:03}Z",
            part(3_600_000, 24),
            part(60_000, 60),
            part(1_000, 60),
            within % 1_000
        );
        let date = format!("{year:04}-{month:02}-{day:02}");
        let text = match (millis < DAY_MILLIS, within == 0) {
            (true, _) => time,
            (false, true) => date,
            (false, false) => format!("{date}T{time}"),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::schema::Field;

    fn text(schema: ConnectSchema, json: &str) -> String {
        let mut out = Vec::new();
        write(&schema, json.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn structs_are_nearly_json() {
        use SchemaKind as S;
        let floats = S::Array(Box::new(ConnectSchema::of(S::Float64)));
        let map = S::Map(
            Box::new(ConnectSchema::of(S::String)),
            Box::new(ConnectSchema::of(S::String).optional()),
        );
        let schema = ConnectSchema::of_fields([
            Field::new("a\"b", ConnectSchema::of(S::String)),
            Field::new("f", ConnectSchema::of(floats)),
            Field::new("m", ConnectSchema::of(map)),
            Field::new("n", ConnectSchema::of(S::Int32)),
        ]);
        assert_eq!(
            text(
                schema,
                r#"{"a\"b":"x\n\\\uD83D\uDE00","f":["NaN",1.5,null],"m":{"k":null},"n":5}"#
            ),
            "{\"a\\\"b\":\"x\n\\\\😀\",\"f\":[NaN,1.5,null],\"m\":{\"k\":null},\"n\":5}"
        );
        assert_eq!(text(ConnectSchema::of_fields([]), "{}"), "{}");
    }

    #[test]
    fn moments_are_written_by_their_value() {
        let timestamp = "org.apache.kafka.connect.data.Timestamp";
        for (millis, expected) in [
            (-500_i64, "23:59:59.500Z"),
            (18_000_000, "05:00:00.000Z"),
            (86_400_000, "1970-01-02"),
            (1_577_934_245_678, "2020-01-02T03:04:05.678Z"),
        ] {
            let schema = ConnectSchema::named(SchemaKind::Int64, timestamp);
            assert_eq!(text(schema, &millis.to_string()), expected);
        }
    }
}
