//! Rows of one version of a relation, written as envelopes.
//!
//! Everything constant is rendered when the version becomes known; a row is one pass over its
//! columns into the output buffer, without an allocation.

use crate::capture::catalog::Shape;
use crate::capture::catalog::TypeCatalog;
use crate::capture::change::column::ColumnError;
use crate::capture::change::column::ColumnWriter;
use crate::capture::change::settings::ValueSettings;
use crate::capture::change::source;
use crate::capture::change::source::ClockText;
use crate::capture::change::source::SourceText;
use crate::capture::pgoutput::TupleValue;
use crate::envelope::Operation;
use crate::envelope::schema;
use crate::envelope::schema::ConnectSchema;
use crate::envelope::schema::Field;
use crate::lsn::Lsn;

/// A row that can be read more than once: a tuple of the stream or a line of COPY.
pub trait Row {
    /// The columns, in the shape's order.
    fn values(&self) -> impl Iterator<Item = TupleValue<'_>>;
}

impl Row for crate::capture::pgoutput::Tuple<'_> {
    #[inline]
    fn values(&self) -> impl Iterator<Item = TupleValue<'_>> {
        crate::capture::pgoutput::Tuple::values(self)
    }
}

/// Writes rows of one version of a relation.
#[derive(Clone, Debug)]
pub struct TableWriter {
    columns: Vec<Column>,
    /// Places of the key's columns, in the key's order.
    key: Vec<usize>,
    key_head: Vec<u8>,
    value_head: Vec<u8>,
    /// What closes a key or a value around its payload, beyond the payload's own brace.
    key_tail: &'static [u8],
    value_tail: &'static [u8],
    table: Vec<u8>,
    key_schema: ConnectSchema,
    row_schema: ConnectSchema,
}

/// A place in the tuple.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    type_oid: crate::oid::Oid,
    /// `None`: the column's type is left out.
    writer: Option<ColumnWriter>,
}

/// One change, in tuples.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a, R> {
    /// What happened.
    pub operation: Operation,
    /// The row before, as far as it is known.
    pub before: Option<&'a R>,
    /// The row after.
    pub after: Option<&'a R>,
    /// A whole old row to take unchanged TOASTed values from.
    pub unchanged: Option<&'a R>,
    /// Position of the change.
    pub lsn: Lsn,
}

/// Where rows are written, and what went wrong with single values.
#[derive(Debug, Default)]
pub struct Output {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Values that could not be converted; in their place stands null or a fallback.
    pub problems: Vec<ColumnError>,
}

impl TableWriter {
    /// For a shape whose records go under this schema name, `PREFIX.schema.table`.
    pub fn new(
        shape: &Shape,
        schema_name: &str,
        types: &TypeCatalog,
        settings: &ValueSettings,
    ) -> Self {
        let columns: Vec<Column> = shape
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                type_oid: column.type_oid,
                writer: ColumnWriter::new(column, types, settings),
            })
            .collect();
        let key: Vec<usize> = shape
            .key
            .iter()
            .copied()
            .filter(|&place| columns.get(place).is_some_and(|column| column.writer.is_some()))
            .collect();
        let key_schema = ConnectSchema {
            name: Some(format!("{schema_name}.Key").into()),
            ..ConnectSchema::of_fields(
                key.iter().filter_map(|&place| columns.get(place)).filter_map(Column::field),
            )
        };
        let row_schema = ConnectSchema {
            name: Some(format!("{schema_name}.Value").into()),
            ..ConnectSchema::of_fields(columns.iter().filter_map(Column::field))
        };
        let envelope = schema::envelope(format!("{schema_name}.Envelope"), &row_schema);
        let (key_head, key_tail) = wrap(&key_schema, settings.key_schemas, b"");
        let (value_head, value_tail) = wrap(&envelope, settings.value_schemas, b"{\"before\":");
        TableWriter {
            columns,
            key,
            key_head,
            value_head,
            key_tail,
            value_tail,
            table: source::table_fields(&shape.table.namespace, &shape.table.name),
            key_schema,
            row_schema,
        }
    }

    /// Whether records of this table have a key.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Schema of the key; without fields if there is none.
    pub fn key_schema(&self) -> &ConnectSchema {
        &self.key_schema
    }

    /// Schema of `before` and `after`.
    pub fn row_schema(&self) -> &ConnectSchema {
        &self.row_schema
    }

    /// Schema of each column, in the shape's order; `None` for a column that is left out.
    pub fn column_schemas(&self) -> impl Iterator<Item = Option<&ConnectSchema>> {
        self.columns.iter().map(|column| column.writer.as_ref().map(ColumnWriter::schema))
    }

    /// How many columns a tuple must have.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Names of columns that the schema leaves out because Debezium does not know their type.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| column.writer.is_none()).map(|column| &*column.name)
    }

    /// Whether the key's columns differ between two rows; an unchanged TOASTed value does not.
    pub fn key_differs<R: Row>(&self, old: &R, new: &R) -> bool {
        self.key.iter().any(|&place| match (old.values().nth(place), new.values().nth(place)) {
            (_, Some(TupleValue::UnchangedToast)) => false,
            (old, new) => old != new,
        })
    }

    /// Appends a record's key; `unchanged` is where unchanged TOASTed values are taken from.
    #[inline]
    pub fn write_key<R: Row>(&self, row: &R, unchanged: Option<&R>, out: &mut Output) {
        out.bytes.extend_from_slice(&self.key_head);
        self.write_key_payload(row, unchanged, out);
        out.bytes.extend_from_slice(self.key_tail);
    }

    /// Appends the key without its schema, for headers.
    pub fn write_key_payload<R: Row>(&self, row: &R, unchanged: Option<&R>, out: &mut Output) {
        let mut separator = b'{';
        for &place in &self.key {
            let Some(column) = self.columns.get(place) else { continue };
            let mut value = row.values().nth(place).unwrap_or(TupleValue::Null);
            if let (TupleValue::UnchangedToast, Some(old)) = (value, unchanged) {
                value = old.values().nth(place).unwrap_or(value);
            }
            column.write(separator, value, out);
            separator = b',';
        }
        if separator == b'{' {
            out.bytes.push(b'{');
        }
        out.bytes.push(b'}');
    }

    /// Appends a record's value. `transaction` is the transaction block's JSON, or `null`.
    #[inline]
    pub fn write_value<R: Row>(
        &self,
        event: &Event<'_, R>,
        source: &SourceText,
        clock: &ClockText,
        out: &mut Output,
    ) {
        out.bytes.extend_from_slice(&self.value_head);
        self.write_row(event.before, None, out);
        out.bytes.extend_from_slice(b",\"after\":");
        self.write_row(event.after, event.unchanged, out);
        source.write(event.lsn, &self.table, &mut out.bytes);
        out.bytes.extend_from_slice(match event.operation {
            Operation::Read => b"null,\"op\":\"r\"",
            Operation::Create => b"null,\"op\":\"c\"",
            Operation::Update => b"null,\"op\":\"u\"",
            Operation::Delete => b"null,\"op\":\"d\"",
            Operation::Truncate => b"null,\"op\":\"t\"",
            Operation::Message => b"null,\"op\":\"m\"",
        });
        out.bytes.extend_from_slice(clock.as_bytes());
        out.bytes.push(b'}');
        out.bytes.extend_from_slice(self.value_tail);
    }

    fn write_row<R: Row>(&self, row: Option<&R>, unchanged: Option<&R>, out: &mut Output) {
        let Some(row) = row else {
            out.bytes.extend_from_slice(b"null");
            return;
        };
        let start = out.bytes.len();
        match unchanged {
            None => {
                for (column, value) in self.columns.iter().zip(row.values()) {
                    column.write(b',', value, out);
                }
            }
            Some(old) => {
                for ((column, value), old) in
                    self.columns.iter().zip(row.values()).zip(old.values())
                {
                    let unchanged = matches!(value, TupleValue::UnchangedToast);
                    column.write(b',', if unchanged { old } else { value }, out);
                }
            }
        }
        match out.bytes.get_mut(start) {
            Some(first) => *first = b'{',
            None => out.bytes.push(b'{'),
        }
        out.bytes.push(b'}');
    }
}

/// What surrounds a payload: nothing, or its schema.
pub(super) fn wrap(schema: &ConnectSchema, embed: bool, head: &[u8]) -> (Vec<u8>, &'static [u8]) {
    if !embed {
        return (head.to_vec(), b"");
    }
    let mut out = b"{\"schema\":".to_vec();
    schema.write_json(None, &mut out);
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(head);
    (out, b"}")
}

impl Column {
    fn field(&self) -> Option<Field> {
        let writer = self.writer.as_ref()?;
        Some(Field { name: self.name.clone(), schema: writer.schema().clone() })
    }

    /// Appends separator, name and value; nothing if the column is left out.
    #[inline]
    fn write(&self, separator: u8, value: TupleValue<'_>, out: &mut Output) {
        let Some(writer) = &self.writer else { return };
        out.bytes.push(separator);
        out.bytes.extend_from_slice(&writer.label);
        let start = out.bytes.len();
        if let Err(error) = writer.write(value, &mut out.bytes) {
            out.bytes.truncate(start);
            writer.write_missing(value, &mut out.bytes);
            out.problems.push(ColumnError {
                column: self.name.clone(),
                type_oid: self.type_oid,
                error,
            });
        }
    }
}
