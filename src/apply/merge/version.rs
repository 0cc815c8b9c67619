//! One version of a source table's columns, as its records carry them, and where it is learnt.
//!
//! In this order: the record's embedded schema, the entry of `PREFIX.__schemas` that it names, the
//! columns of the warehouse's table, and what its values look like.

use serde::Deserialize;
use serde::Deserializer;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::apply::merge::column_type::ColumnType;
use crate::apply::merge::encoding::Encoding;
use crate::apply::merge::plan::Target;
use crate::apply::merge::value;
use crate::apply::merge::value::Spelling;
use crate::envelope::read;
use crate::envelope::read::NotAChange;
use crate::envelope::schema::ConnectSchema;
use crate::envelope::schema::SchemaKind;
use crate::table::TableName;

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The source's table.
    pub table: TableName,
    /// Its `pg_class.oid`, if it is known.
    pub oid: Option<u32>,
    /// Its columns, in the order of records.
    pub columns: Vec<VersionColumn>,
    /// Names of the columns that tell rows apart; empty: nothing does.
    pub key: Vec<String>,
    /// How it was learnt.
    pub learnt: Learnt,
}

/// Where a version comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// A schema, embedded or in our topic.
    Schema,
    /// The warehouse's table.
    Target,
    /// The look of a record's values.
    Look,
}

/// An entry's columns with what older rows hold, as it is written.
#[derive(Deserialize)]
struct StoredDefaults {
    columns: Vec<StoredDefault>,
}

#[derive(Deserialize)]
struct StoredDefault {
    /// `None`: the entry does not say it.
    #[serde(default, deserialize_with = "written")]
    stored_default: Option<Box<RawValue>>,
}

fn written<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(value).map(Some)
}

/// A column of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionColumn {
    /// Name.
    pub name: String,
    /// How values stand in JSON.
    pub encoding: Encoding,
    /// What they are.
    pub column_type: ColumnType,
    /// Number in the source's catalog.
    pub attnum: Option<i16>,
    /// JSON of the value that rows have which are older than the column.
    pub default: Option<String>,
    /// The source has a default that may be another one for each row: what older rows have is not
    /// known.
    pub default_unknown: bool,
    /// Nothing is known of its type: the only value that was looked at is null.
    pub untyped: bool,
}

impl Version {
    /// From an entry of `PREFIX.__schemas`.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn of_entry(entry: &[u8]) -> Result<Self, &'static str> {
        let stored: StoredDefaults = serde_json::from_slice(entry).map_err(|_| "JSON columns")?;
        let entry: Value = serde_json::from_slice(entry).map_err(|_| "JSON")?;
        let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        let table = TableName::new(
            text(&entry, "schema").ok_or("an entry with a schema")?,
            text(&entry, "table").ok_or("an entry with a table")?,
        );
        let columns = entry.get("columns").and_then(Value::as_array);
        let columns = columns.ok_or("an entry with columns")?.iter().zip(stored.columns);
        let columns = columns.map(|(column, stored)| {
            let schema = column.get("connect").ok_or("a column with its Connect schema")?;
            let schema = ConnectSchema::read_json(schema)?;
            let type_name = text(column, "type").unwrap_or_default();
            let (encoding, column_type) = reconciled(&schema, &type_name);
            let attnum = column.get("attnum").and_then(Value::as_i64);
            let expression = text(column, "default");
            // What Debezium gives for a function's call is no value of any row.
            let constant = schema
                .default
                .filter(|_| expression.as_deref().is_none_or(is_literal))
                .and_then(|json| String::from_utf8(json).ok());
            let unknown_now = expression.is_some() && constant.is_none();
            let unknown = column.get("default_unknown").and_then(Value::as_bool);
            let (default, default_unknown) = match stored.stored_default {
                Some(stored) => {
                    (Some(stored.get().to_owned()).filter(|json| json != "null"), false)
                }
                None if unknown == Some(true) => (None, true),
                // An entry of an agent that does not say it.
                None => (constant, unknown_now),
            };
            Ok(VersionColumn {
                name: text(column, "name").ok_or("a column with a name")?,
                encoding,
                column_type,
                attnum: attnum.and_then(|attnum| i16::try_from(attnum).ok()),
                default_unknown,
                untyped: false,
                default,
            })
        });
        let columns = columns.collect::<Result<Vec<_>, &'static str>>()?;
        let key = entry.get("key").ok_or("an entry with a key")?;
        let unique = key.get("unique").and_then(Value::as_bool).unwrap_or_default();
        let names = key.get("columns").and_then(Value::as_array).into_iter().flatten();
        let key = names.filter_map(Value::as_str).map(str::to_owned).filter(|_| unique).collect();
        let oid = entry.get("oid").and_then(Value::as_u64).and_then(|oid| u32::try_from(oid).ok());
        Ok(Version { table, oid, columns, key, learnt: Learnt::Schema })
    }

    /// From the schema embedded in a record's value, and the columns of the record's key.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub fn of_embedded(
        table: TableName,
        schema: &str,
        key: Vec<String>,
    ) -> Result<Self, &'static str> {
        let schema: Value = serde_json::from_str(schema).map_err(|_| "a schema in JSON")?;
        let fields = schema.get("fields").and_then(Value::as_array);
        let row = fields.into_iter().flatten().find(|field| {
            matches!(field.get("field").and_then(Value::as_str), Some("after" | "before"))
        });
        let row = ConnectSchema::read_json(row.ok_or("a schema with the field \"after\"")?)?;
        let SchemaKind::Struct(fields) = row.kind else {
            return Err("the field \"after\" to be a struct");
        };
        let columns = fields
            .into_iter()
            .map(|field| {
                let (encoding, column_type) = Encoding::of_schema(&field.schema);
                VersionColumn {
                    name: field.name,
                    encoding,
                    column_type,
                    attnum: None,
                    default: field.schema.default.and_then(|json| String::from_utf8(json).ok()),
                    default_unknown: false,
                    untyped: false,
                }
            })
            .collect();
        Ok(Version { table, oid: None, columns, key, learnt: Learnt::Schema })
    }

    /// From the warehouse's table, for records that carry no schema.
    pub fn of_target(target: &Target) -> Self {
        let columns = target.columns.iter().filter(|column| !column.dropped);
        Version {
            table: target.table.clone(),
            oid: None,
            columns: columns
                .map(|column| VersionColumn {
                    name: column.name.clone(),
                    encoding: Encoding::of_type(&column.column_type, column.millis),
                    column_type: column.column_type.clone(),
                    attnum: None,
                    default: None,
                    default_unknown: false,
                    untyped: false,
                })
                .collect(),
            key: target.key_columns().map(|column| column.name.clone()).collect(),
            learnt: Learnt::Target,
        }
    }

    /// Whether it is what [`Version::of_target`] gives.
    pub fn is_of_target(&self, target: &Target) -> bool {
        let columns = target.columns.iter().filter(|column| !column.dropped);
        let key = target.key_columns().map(|column| &column.name);
        self.learnt == Learnt::Target
            && self.key.iter().eq(key)
            && columns.clone().count() == self.columns.len()
            && self.columns.iter().zip(columns).all(|(column, known)| {
                column.name == known.name && column.column_type == known.column_type
            })
    }

    /// From the look of a row's values. A column that is null holds text.
    ///
    /// # Errors
    ///
    /// The row is no JSON object.
    pub fn of_look(table: TableName, row: &str, key: Option<&[u8]>) -> Result<Self, NotAChange> {
        let mut columns = Vec::new();
        read::for_each_member(row, |name, value| {
            let column_type = look(value);
            columns.push(VersionColumn {
                name: name.to_owned(),
                encoding: Encoding::Any,
                column_type,
                attnum: None,
                default: None,
                default_unknown: false,
                untyped: value.get() == "null",
            });
        })?;
        Ok(Version { table, oid: None, columns, key: key_names(key), learnt: Learnt::Look })
    }

    /// The text of a column's default.
    pub fn default_text(column: &VersionColumn, spelling: Spelling) -> Option<String> {
        let json = column.default.as_deref()?;
        let mut text = Vec::new();
        value::write(&column.encoding, json, spelling, &mut text).ok()?;
        String::from_utf8(text).ok()
    }
}

/// Type of a value whose schema nobody says.
fn look(value: &RawValue) -> ColumnType {
    match value.get().as_bytes() {
        b"true" | b"false" => ColumnType::Boolean,
        [b'{' | b'[', ..] => ColumnType::Json,
        [b'-' | b'0'..=b'9', rest @ ..] => {
            let is_float = rest.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
            match is_float {
                true => ColumnType::Float64,
                false if value.get().parse::<i64>().is_ok() => ColumnType::Int64,
                false => ColumnType::Numeric,
            }
        }
        _ => ColumnType::Text,
    }
}

/// The columns of a record's key; empty if it has none, or if null may be in it.
pub fn key_names(key: Option<&[u8]>) -> Vec<String> {
    let Some(key) = key.and_then(|key| serde_json::from_slice::<Value>(key).ok()) else {
        return Vec::new();
    };
    let fields = key.get("schema").and_then(|schema| schema.get("fields"));
    if let Some(fields) = fields.and_then(Value::as_array) {
        let optional = |field: &Value| field.get("optional").and_then(Value::as_bool);
        if fields.iter().any(|field| optional(field).unwrap_or_default()) {
            return Vec::new();
        }
    }
    let row = if fields.is_some() { key.get("payload") } else { Some(&key) };
    let Some(row) = row.and_then(Value::as_object) else { return Vec::new() };
    if row.values().any(Value::is_null) {
        return Vec::new();
    }
    row.keys().cloned().collect()
}

/// The text of the schema that a record's key carries.
pub fn key_schema(key: &[u8]) -> Option<&str> {
    #[derive(serde::Deserialize)]
    struct Key<'a> {
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
        #[serde(borrow, rename = "payload")]
        _payload: &'a RawValue,
    }
    let schema = serde_json::from_slice::<Key<'_>>(key).ok()?.schema?.get();
    schema.starts_with('{').then_some(schema)
}

/// Whether a record's key is no more than a row, and a value in it is null.
pub fn has_null(key: &[u8]) -> bool {
    let Ok(key) = serde_json::from_slice::<Value>(key) else { return false };
    let has_schema = key.get("schema").is_some_and(|schema| schema.get("fields").is_some());
    !has_schema && key.as_object().is_some_and(|row| row.values().any(Value::is_null))
}

/// Whether a default's expression is one value: a number, a truth value, NULL, or a quoted text
/// with casts behind it.
fn is_literal(expression: &str) -> bool {
    let Some(inner) = expression.strip_prefix('\'') else {
        let value = expression.split("::").next().unwrap_or_default().trim_matches(['(', ')']);
        return matches!(value, "true" | "false" | "NULL") || value.parse::<f64>().is_ok();
    };
    // A doubled quote stands for one and does not end the text.
    let text = inner.replace("''", "");
    let Some((_, casts)) = text.split_once('\'') else { return false };
    casts.is_empty() || (casts.starts_with("::") && !casts.contains(['\'', '|', '+']))
}

/// How values stand and what they are, from the Connect schema and the source's own type.
fn reconciled(schema: &ConnectSchema, type_name: &str) -> (Encoding, ColumnType) {
    use ColumnType as T;
    let (encoding, natural) = Encoding::of_schema(schema);
    let Some(own) = T::from_format_type(type_name) else { return (encoding, natural) };
    match (&encoding, &own) {
        (Encoding::Text, T::Numeric | T::Decimal(..)) => (Encoding::DecimalText, own),
        (Encoding::Boolean, T::BuiltIn(name)) if name == "bit varying" => (Encoding::Bit, own),
        // Which text the bytes stand in is not known: it is kept as it is.
        (Encoding::Text, T::Bytes) => (encoding, T::Text),
        (Encoding::Array(_), T::Array(_)) => array(encoding, own),
        (Encoding::Array(_), _) | (_, T::Array(_)) => (encoding, natural),
        (Encoding::Number | Encoding::Whole(_), T::Numeric | T::Decimal(..)) => (encoding, natural),
        (Encoding::JsonText, _) => (encoding, natural),
        _ => (encoding, own),
    }
}

/// Elements as columns of their type.
fn array(encoding: Encoding, own: ColumnType) -> (Encoding, ColumnType) {
    match (encoding, own) {
        (Encoding::Array(element), ColumnType::Array(own)) => {
            let element = match (*element, &*own) {
                (Encoding::Text, ColumnType::Numeric | ColumnType::Decimal(..)) => {
                    Encoding::DecimalText
                }
                (Encoding::Boolean, ColumnType::BuiltIn(name)) if name == "bit varying" => {
                    Encoding::Bit
                }
                (Encoding::Text, ColumnType::Bytes) => {
                    let text = ColumnType::Array(Box::new(ColumnType::Text));
                    return (Encoding::Array(Box::new(Encoding::Text)), text);
                }
                (element, _) => element,
            };
            (Encoding::Array(Box::new(element)), ColumnType::Array(own))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_gives_types_keys_and_defaults() {
        let entry = br#"{"schema":"shop","table":"t","columns":[
            {"attnum":1,"name":"id","type":"integer","not_null":true,"default":null,
             "connect":{"type":"int32","optional":false}},
            {"attnum":3,"name":"price","type":"numeric(10,2)","not_null":false,"default":"7",
             "connect":{"type":"string","optional":true,"default":"7.00"}},
            {"attnum":4,"name":"at","type":"timestamp(3) without time zone","not_null":true,
             "default":"now()","connect":{"type":"int64","optional":false,
             "name":"io.debezium.time.Timestamp","version":1}}],
            "key":{"columns":["id"],"unique":true}}"#;
        let version = Version::of_entry(entry).unwrap();
        assert_eq!(version.key, ["id"]);
        let [id, price, at] = version.columns.as_slice() else { panic!("three columns") };
        assert_eq!((id.attnum, &id.column_type), (Some(1), &ColumnType::Int32));
        assert_eq!(price.encoding, Encoding::DecimalText);
        let spelling = Spelling { arrays: value::ArrayForm::Postgres, era: " BC" };
        assert_eq!(Version::default_text(price, spelling).as_deref(), Some("7.00"));
        assert!(at.default_unknown && !price.default_unknown);
    }

    #[test]
    fn what_older_rows_hold_is_the_stored_default_and_not_the_one_of_now() {
        let of = |member: &str| {
            let entry = format!(
                r#"{{"oid":7,"schema":"shop","table":"t","columns":[{{"attnum":1,"name":"n",
                "type":"numeric","not_null":false,"default":"2"{member},
                "connect":{{"type":"string","optional":true,"default":"2"}}}}],
                "key":{{"columns":[],"unique":false}}}}"#
            );
            let mut version = Version::of_entry(entry.as_bytes()).unwrap();
            let column = version.columns.remove(0);
            (column.default, column.default_unknown)
        };
        let stored = Some("12345678901234567890.10".to_owned());
        assert_eq!(of(r#","stored_default":12345678901234567890.10"#), (stored, false));
        assert_eq!(of(r#","stored_default":null"#), (None, false));
        assert_eq!(of(r#","default_unknown":true"#), (None, true));
        assert_eq!(of(""), (Some("\"2\"".to_owned()), false));
    }

    #[test]
    fn a_whole_number_above_bigint_is_numeric_by_its_look() {
        let of = |value: &str| {
            let row = format!(r#"{{"a":{value}}}"#);
            let version = Version::of_look(TableName::new("s", "t"), &row, None).unwrap();
            version.columns.into_iter().next().unwrap().column_type
        };
        assert_eq!(of("9223372036854775807"), ColumnType::Int64);
        assert_eq!(of("9223372036854775808"), ColumnType::Numeric);
        assert_eq!(of("-9223372036854775809"), ColumnType::Numeric);
        assert_eq!(of("1.5"), ColumnType::Float64);
    }

    #[test]
    fn a_call_is_no_literal() {
        for literal in ["7", "'-7'::integer", "true", "NULL::text", "'it''s'::text", "(-1)"] {
            assert!(is_literal(literal), "{literal}");
        }
        for call in ["now()", "random()", "nextval('s'::regclass)", "'a'::text || 'b'::text"] {
            assert!(!is_literal(call), "{call}");
        }
    }

    #[test]
    fn keys_that_may_hold_null_are_no_identity() {
        let names = |key: &str| key_names(Some(key.as_bytes()));
        assert_eq!(names(r#"{"a":1,"b":"x"}"#), ["a", "b"]);
        assert!(names(r#"{"a":null}"#).is_empty());
        let optional = r#"{"schema":{"type":"struct","fields":[{"type":"int32","optional":true,"field":"a"}]},"payload":{"a":1}}"#;
        assert!(names(optional).is_empty());
        assert_eq!(names(&optional.replace("true", "false")), ["a"]);
        assert!(key_names(None).is_empty());
    }
}
