//! Connect schemas, and their JSON form as JsonConverter embeds it.
//!
//! Source: Kafka Connect, `JsonSchema`; Debezium 3.6, the schemas of its PostgreSQL connector.

use std::borrow::Cow;

use serde_json::Value;

use crate::envelope::json;

/// What a value is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is Connect's type of its name")]
pub enum SchemaKind {
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
    Bytes,
    Array(Box<ConnectSchema>),
    Map(Box<ConnectSchema>, Box<ConnectSchema>),
    Struct(Vec<Field>),
}

/// A member of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its schema.
    pub schema: ConnectSchema,
}

impl Field {
    /// From the two parts.
    pub fn new(name: impl Into<String>, schema: ConnectSchema) -> Self {
        Field { name: name.into(), schema }
    }
}

/// A schema of Kafka Connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectSchema {
    /// The type.
    pub kind: SchemaKind,
    /// Null is allowed.
    pub optional: bool,
    /// Semantic name.
    pub name: Option<Cow<'static, str>>,
    /// Version of the semantic name.
    pub version: Option<i32>,
    /// Description.
    pub doc: Option<&'static str>,
    /// Parameters, in order.
    pub parameters: Vec<(Cow<'static, str>, String)>,
    /// Default value, as JSON.
    pub default: Option<Vec<u8>>,
}

impl ConnectSchema {
    /// A required schema without a name.
    pub fn of(kind: SchemaKind) -> Self {
        ConnectSchema {
            kind,
            optional: false,
            name: None,
            version: None,
            doc: None,
            parameters: Vec::new(),
            default: None,
        }
    }

    /// A required schema with a semantic name of version 1.
    pub fn named(kind: SchemaKind, name: impl Into<Cow<'static, str>>) -> Self {
        ConnectSchema { name: Some(name.into()), version: Some(1), ..ConnectSchema::of(kind) }
    }

    /// A required struct without a name.
    pub fn of_fields(fields: impl IntoIterator<Item = Field>) -> Self {
        ConnectSchema::of(SchemaKind::Struct(fields.into_iter().collect()))
    }

    /// The same, null allowed.
    #[must_use]
    pub fn optional(self) -> Self {
        ConnectSchema { optional: true, ..self }
    }

    /// The same with a parameter added.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.parameters.push((name.into(), value.to_string()));
        self
    }

    /// The same with a description.
    #[must_use]
    pub fn doc(self, doc: &'static str) -> Self {
        ConnectSchema { doc: Some(doc), ..self }
    }

    /// Appends the JSON form; `field` is the member's name inside a struct.
    pub fn write_json(&self, field: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"");
        match &self.kind {
            SchemaKind::Int8 => out.extend_from_slice(b"int8\""),
            SchemaKind::Int16 => out.extend_from_slice(b"int16\""),
            SchemaKind::Int32 => out.extend_from_slice(b"int32\""),
            SchemaKind::Int64 => out.extend_from_slice(b"int64\""),
            SchemaKind::Float32 => out.extend_from_slice(b"float\""),
            SchemaKind::Float64 => out.extend_from_slice(b"double\""),
            SchemaKind::Boolean => out.extend_from_slice(b"boolean\""),
            SchemaKind::String => out.extend_from_slice(b"string\""),
            SchemaKind::Bytes => out.extend_from_slice(b"bytes\""),
            SchemaKind::Array(items) => {
                out.extend_from_slice(b"array\",\"items\":");
                items.write_json(None, out);
            }
            SchemaKind::Map(keys, values) => {
                out.extend_from_slice(b"map\",\"keys\":");
                keys.write_json(None, out);
                out.extend_from_slice(b",\"values\":");
                values.write_json(None, out);
            }
            SchemaKind::Struct(fields) => {
                out.extend_from_slice(b"struct\",\"fields\":[");
                for (at, field) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    field.schema.write_json(Some(&field.name), out);
                }
                out.push(b']');
            }
        }
        self.write_attributes(field, out);
        out.push(b'}');
    }

    /// From the JSON form; a description is left out.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn read_json(json: &Value) -> Result<Self, &'static str> {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let inner = |name: &str| {
            let inner = json.get(name).ok_or("a schema of what is inside");
            inner.and_then(Self::read_json).map(Box::new)
        };
        let kind = match text("type").ok_or("a schema with a type")? {
            "int8" => SchemaKind::Int8,
            "int16" => SchemaKind::Int16,
            "int32" => SchemaKind::Int32,
            "int64" => SchemaKind::Int64,
            "float" => SchemaKind::Float32,
            "double" => SchemaKind::Float64,
            "boolean" => SchemaKind::Boolean,
            "string" => SchemaKind::String,
            "bytes" => SchemaKind::Bytes,
            "array" => SchemaKind::Array(inner("items")?),
            "map" => SchemaKind::Map(inner("keys")?, inner("values")?),
            "struct" => {
                let fields = json.get("fields").and_then(Value::as_array);
                let fields = fields.ok_or("a struct with fields")?.iter().map(|field| {
                    let name = field.get("field").and_then(Value::as_str);
                    Ok(Field::new(name.ok_or("a field with a name")?, Self::read_json(field)?))
                });
                SchemaKind::Struct(fields.collect::<Result<_, &'static str>>()?)
            }
            _ => return Err("a type of Kafka Connect"),
        };
        let parameters = json.get("parameters").and_then(Value::as_object);
        let parameters = parameters.into_iter().flatten().filter_map(|(name, value)| {
            Some((Cow::Owned(name.clone()), value.as_str()?.to_owned()))
        });
        let version = json.get("version").and_then(Value::as_i64);
        Ok(ConnectSchema {
            kind,
            optional: json.get("optional").and_then(Value::as_bool).unwrap_or_default(),
            name: text("name").map(|name| Cow::Owned(name.to_owned())),
            version: version.and_then(|version| i32::try_from(version).ok()),
            doc: None,
            parameters: parameters.collect(),
            default: json
                .get("default")
                .filter(|default| !default.is_null())
                .map(|default| default.to_string().into_bytes()),
        })
    }

    fn write_attributes(&self, field: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.optional {
            b",\"optional\":true"
        } else {
            b",\"optional\":false"
        });
        let text = |name: &[u8], value: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(name);
            json::string(value.as_bytes(), out);
        };
        if let Some(name) = &self.name {
            text(b",\"name\":", name, out);
        }
        if let Some(version) = self.version {
            out.extend_from_slice(b",\"version\":");
            json::integer(i64::from(version), out);
        }
        if let Some(doc) = self.doc {
            text(b",\"doc\":", doc, out);
        }
        for (at, (name, value)) in self.parameters.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"parameters\":{" } else { b"," });
            json::string(name.as_bytes(), out);
            text(b":", value, out);
        }
        if !self.parameters.is_empty() {
            out.push(b'}');
        }
        if let Some(default) = &self.default {
            out.extend_from_slice(b",\"default\":");
            out.extend_from_slice(default);
        }
        if let Some(field) = field {
            text(b",\"field\":", field, out);
        }
    }

    /// The JSON form on its own.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(None, &mut out);
        out
    }
}

/// Package of Debezium's classes for PostgreSQL, which the connector's own schemas are named after.
const CONNECTOR: &str = "io.debezium.connector.postgresql";

/// Shorthands for fields of the fixed schemas below.
fn required(name: &str, kind: SchemaKind) -> Field {
    Field::new(name, ConnectSchema::of(kind))
}

fn optional(name: &str, kind: SchemaKind) -> Field {
    Field::new(name, ConnectSchema::of(kind).optional())
}

/// Schema of the `source` block.
pub fn source() -> ConnectSchema {
    use SchemaKind::Int64;
    use SchemaKind::String;
    let snapshot = ConnectSchema {
        default: Some(b"\"false\"".to_vec()),
        ..ConnectSchema::named(String, "io.debezium.data.Enum").optional().parameter(
            "allowed",
            "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental",
        )
    };
    let fields = vec![
        required("version", String),
        required("connector", String),
        required("name", String),
        required("ts_ms", Int64),
        Field::new("snapshot", snapshot),
        required("db", String),
        optional("sequence", String),
        optional("ts_us", Int64),
        optional("ts_ns", Int64),
        required("schema", String),
        required("table", String),
        optional("txId", Int64),
        optional("lsn", Int64),
        optional("xmin", Int64),
        optional("origin", String),
        optional("origin_lsn", Int64),
    ];
    ConnectSchema::named(SchemaKind::Struct(fields), "io.debezium.connector.postgresql.Source")
}

/// Schema of the `transaction` block.
pub fn transaction() -> ConnectSchema {
    let fields = vec![
        required("id", SchemaKind::String),
        required("total_order", SchemaKind::Int64),
        required("data_collection_order", SchemaKind::Int64),
    ];
    ConnectSchema::named(SchemaKind::Struct(fields), "event.block").optional()
}

/// Package of the schemas that all of Debezium's connectors have.
const COMMON: &str = "io.debezium.connector.common";

/// Schema of the key of a transaction that begins or ends.
pub fn transaction_key() -> ConnectSchema {
    let fields = vec![required("id", SchemaKind::String)];
    ConnectSchema::named(SchemaKind::Struct(fields), format!("{COMMON}.TransactionMetadataKey"))
}

/// Schema of its value.
pub fn transaction_value() -> ConnectSchema {
    let collection = vec![
        required("data_collection", SchemaKind::String),
        required("event_count", SchemaKind::Int64),
    ];
    let collection = ConnectSchema::named(SchemaKind::Struct(collection), "event.collection");
    let fields = vec![
        required("status", SchemaKind::String),
        required("id", SchemaKind::String),
        optional("event_count", SchemaKind::Int64),
        optional("data_collections", SchemaKind::Array(Box::new(collection.optional()))),
        required("ts_ms", SchemaKind::Int64),
    ];
    ConnectSchema::named(SchemaKind::Struct(fields), format!("{COMMON}.TransactionMetadataValue"))
}

/// Schema of a heartbeat's key.
pub fn heartbeat_key() -> ConnectSchema {
    let fields = vec![required("serverName", SchemaKind::String)];
    ConnectSchema::named(SchemaKind::Struct(fields), format!("{COMMON}.ServerNameKey"))
}

/// Schema of a heartbeat.
pub fn heartbeat_value() -> ConnectSchema {
    let fields = vec![required("ts_ms", SchemaKind::Int64)];
    ConnectSchema::named(SchemaKind::Struct(fields), format!("{COMMON}.Heartbeat"))
}

/// Schema of a notification's key.
pub fn notification_key() -> ConnectSchema {
    let fields = vec![required("id", SchemaKind::String)];
    ConnectSchema::named(SchemaKind::Struct(fields), format!("{COMMON}.NotificationKey"))
}

/// Schema of a notification.
pub fn notification_value() -> ConnectSchema {
    let text = || Box::new(ConnectSchema::of(SchemaKind::String));
    let fields = vec![
        required("id", SchemaKind::String),
        required("type", SchemaKind::String),
        required("aggregate_type", SchemaKind::String),
        optional("additional_data", SchemaKind::Map(text(), text())),
        required("timestamp", SchemaKind::Int64),
    ];
    ConnectSchema::named(SchemaKind::Struct(fields), format!("{COMMON}.Notification"))
}

/// Schema of a logical decoding message's key.
pub fn message_key() -> ConnectSchema {
    let fields = vec![optional("prefix", SchemaKind::String)];
    ConnectSchema::named(SchemaKind::Struct(fields), format!("{CONNECTOR}.MessageKey"))
}

/// Schema of a logical decoding message's value, with its content in this form.
pub fn message_value(content: SchemaKind) -> ConnectSchema {
    let message = vec![optional("prefix", SchemaKind::String), optional("content", content)];
    let message = ConnectSchema::named(SchemaKind::Struct(message), format!("{CONNECTOR}.Message"));
    let fields = vec![
        required("op", SchemaKind::String),
        optional("ts_ms", SchemaKind::Int64),
        Field::new("source", source()),
        Field::new("transaction", transaction()),
        Field::new("message", message),
    ];
    ConnectSchema::named(SchemaKind::Struct(fields), format!("{CONNECTOR}.MessageValue"))
}

/// Schema of a change event's value, around the schema of the table's rows.
pub fn envelope(name: String, row: &ConnectSchema) -> ConnectSchema {
    let fields = vec![
        Field::new("before", row.clone().optional()),
        Field::new("after", row.clone().optional()),
        Field::new("source", source()),
        Field::new("transaction", transaction()),
        required("op", SchemaKind::String),
        optional("ts_ms", SchemaKind::Int64),
        optional("ts_us", SchemaKind::Int64),
        optional("ts_ns", SchemaKind::Int64),
    ];
    ConnectSchema { version: Some(2), ..ConnectSchema::named(SchemaKind::Struct(fields), name) }
}
