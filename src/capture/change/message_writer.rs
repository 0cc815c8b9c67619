//! Logical decoding messages, written as Debezium's records.

use crate::capture::change::json_value;
use crate::capture::change::settings::BinaryMode;
use crate::capture::change::settings::ValueSettings;
use crate::capture::change::source;
use crate::capture::change::source::ClockText;
use crate::capture::change::source::SourceText;
use crate::capture::change::table_writer;
use crate::envelope::json;
use crate::envelope::schema;
use crate::envelope::schema::SchemaKind;
use crate::lsn::Lsn;

/// Writes messages: key `{prefix}`, value with `message` instead of rows.
#[derive(Clone, Debug)]
pub struct MessageWriter {
    key_head: Vec<u8>,
    value_head: Vec<u8>,
    key_tail: &'static [u8],
    value_tail: &'static [u8],
    /// `"schema":"","table":"",`: a message belongs to no table.
    table: Vec<u8>,
    content: BinaryMode,
}

impl MessageWriter {
    /// With content in the form that `bytea` has.
    pub fn new(settings: &ValueSettings) -> Self {
        let content = match settings.binary {
            BinaryMode::Bytes => SchemaKind::Bytes,
            _ => SchemaKind::String,
        };
        let key = schema::message_key();
        let value = schema::message_value(content);
        let (key_head, key_tail) = table_writer::wrap(&key, settings.key_schemas, b"");
        let (value_head, value_tail) = table_writer::wrap(&value, settings.value_schemas, b"");
        MessageWriter {
            key_head,
            value_head,
            key_tail,
            value_tail,
            table: source::table_fields("", ""),
            content: settings.binary,
        }
    }

    /// Appends a record's key.
    pub fn write_key(&self, prefix: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key_head);
        out.extend_from_slice(b"{\"prefix\":");
        json::string(prefix.as_bytes(), out);
        out.push(b'}');
        out.extend_from_slice(self.key_tail);
    }

    /// Appends a record's value.
    pub fn write_value(
        &self,
        (prefix, content): (&str, &[u8]),
        lsn: Lsn,
        (source, clock): (&SourceText, &ClockText),
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(&self.value_head);
        out.extend_from_slice(b"{\"op\":\"m\",\"ts_ms\":");
        json::integer(clock.now().millis(), out);
        source.write(lsn, &self.table, out);
        out.extend_from_slice(b",\"message\":{\"prefix\":");
        json::string(prefix.as_bytes(), out);
        out.extend_from_slice(b",\"content\":");
        json_value::binary_text(self.content, content, out);
        out.extend_from_slice(b"}}");
        out.extend_from_slice(self.value_tail);
    }
}
