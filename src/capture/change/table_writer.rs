//! Rows of one version of a relation, written as envelopes.
//!
//! Everything constant is rendered when the version becomes known; a row is one pass over its
//! columns into the output buffer, without an allocation.

use std::ops::Range;

use crate::capture::catalog::Shape;
use crate::capture::catalog::ShapeColumn;
use crate::capture::catalog::TypeCatalog;
use crate::capture::change::column::ColumnError;
use crate::capture::change::column::ColumnWriter;
use crate::capture::change::column::Part;
use crate::capture::change::form::TableForm;
use crate::capture::change::settings::ValueSettings;
use crate::capture::change::source;
use crate::capture::change::source::ClockText;
use crate::capture::change::source::SourceText;
use crate::capture::pgoutput::TupleValue;
use crate::envelope::Operation;
use crate::envelope::header_text;
use crate::envelope::json;
use crate::envelope::schema;
use crate::envelope::schema::ConnectSchema;
use crate::envelope::schema::Field;
use crate::envelope::schema::SchemaKind;
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
    /// The key's columns, in the key's order, without those of types that are left out.
    key: Vec<KeyColumn>,
    /// There is a key, be it one of columns that are all left out.
    keyed: bool,
    /// A member that follows them, as JSON.
    key_field: Vec<u8>,
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
    /// `None`: the column is left out.
    writer: Option<ColumnWriter>,
    /// It was asked to be left out.
    unwanted: bool,
}

/// A column of the key.
#[derive(Clone, Debug)]
struct KeyColumn {
    /// Its place in the tuple.
    place: usize,
    column: Column,
    /// Writes it for a header.
    header: Column,
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
    /// An old row to take unchanged TOASTed values from: they are never NULL, so it has no value
    /// where it has NULL.
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
    /// Names of columns whose value is itself what stands for a value that was left out, as JSON,
    /// each with a comma behind it.
    literals: Vec<u8>,
}

impl Output {
    /// Appends the names of such columns of the last record as a JSON array, if there are any.
    #[inline]
    pub fn take_literals(&mut self) -> Option<Range<usize>> {
        if self.literals.is_empty() {
            return None;
        }
        let start = self.bytes.len();
        self.bytes.push(b'[');
        self.bytes.extend_from_slice(self.literals.strip_suffix(b",").unwrap_or_default());
        self.bytes.push(b']');
        self.literals.clear();
        Some(start..self.bytes.len())
    }
}

impl TableWriter {
    /// For a shape whose records go under this schema name, `PREFIX.schema.table`.
    pub fn new(
        shape: &Shape,
        schema_name: &str,
        types: &TypeCatalog,
        settings: &ValueSettings,
    ) -> Self {
        Self::with_form(shape, &TableForm::plain(shape, schema_name), types, settings)
    }

    /// For a shape whose records have this form.
    pub fn with_form(
        shape: &Shape,
        form: &TableForm,
        types: &TypeCatalog,
        settings: &ValueSettings,
    ) -> Self {
        let column = |place: usize, part: Part| {
            let (column, form) = (shape.columns.get(place)?, form.columns.get(place)?);
            let unwanted = part == Part::Row && form.left_out;
            // Of a streamed column that is not sent Debezium asks the catalog nothing.
            let bare = (form.left_out && !shape.read && settings.fidelity.is_debezium())
                .then(|| ShapeColumn { not_null: false, default: None, ..column.clone() });
            let known = bare.as_ref().unwrap_or(column);
            let writer = ColumnWriter::new(known, (form, part), types, settings);
            Some(Column {
                name: column.name.clone(),
                type_oid: column.type_oid,
                writer: writer.filter(|_| !unwanted),
                unwanted,
            })
        };
        let columns: Vec<Column> =
            (0..shape.columns.len()).filter_map(|place| column(place, Part::Row)).collect();
        let key: Vec<KeyColumn> = shape
            .key
            .iter()
            .filter_map(|&place| {
                let (header, column) = (column(place, Part::Header)?, column(place, Part::Key)?);
                column.writer.is_some().then_some(KeyColumn { place, column, header })
            })
            .collect();
        let name = |place: usize| form.columns.get(place).map_or("", |column| &column.name);
        let mut key_field = Vec::new();
        let mut key_fields: Vec<Field> =
            key.iter().filter_map(|key| key.column.field(name(key.place))).collect();
        if let Some((name, value)) = &form.key_field {
            json::string(name.as_bytes(), &mut key_field);
            key_field.push(b':');
            json::string(value.as_bytes(), &mut key_field);
            key_fields.push(Field::new(name.clone(), ConnectSchema::of(SchemaKind::String)));
        }
        let key_schema = ConnectSchema {
            name: Some(form.key_name.clone().into()),
            ..ConnectSchema::of_fields(key_fields)
        };
        let fields = columns.iter().enumerate();
        let row_schema = ConnectSchema {
            name: Some(form.row_name.clone().into()),
            ..ConnectSchema::of_fields(
                fields.filter_map(|(place, column)| column.field(name(place))),
            )
        };
        let envelope = schema::envelope(form.envelope_name.clone(), &row_schema);
        let (key_head, key_tail) = wrap(&key_schema, settings.key_schemas, b"");
        let (value_head, value_tail) = wrap(&envelope, settings.value_schemas, b"{\"before\":");
        TableWriter {
            columns,
            keyed: !shape.key.is_empty() || !key_field.is_empty(),
            key,
            key_field,
            key_head,
            value_head,
            key_tail,
            value_tail,
            table: source::table_fields(&shape.table.namespace, &shape.table.name),
            key_schema,
            row_schema,
        }
    }

    /// Whether records of this table have a key; it is empty if Debezium knows the type of none of
    /// its columns.
    pub fn has_key(&self) -> bool {
        self.keyed
    }

    /// Schema of the key; without fields if there is none.
    pub fn key_schema(&self) -> &ConnectSchema {
        &self.key_schema
    }

    /// Schema of `before` and `after`.
    pub fn row_schema(&self) -> &ConnectSchema {
        &self.row_schema
    }

    /// Schema of one column; `None` if it is left out.
    pub fn column_schema(&self, place: usize) -> Option<&ConnectSchema> {
        Some(self.columns.get(place)?.writer.as_ref()?.schema())
    }

    /// Appends the JSON of one value of a column; `false` if it cannot be written.
    pub fn write_alone(&self, place: usize, text: &str, out: &mut Vec<u8>) -> bool {
        let writer = self.columns.get(place).and_then(|column| column.writer.as_ref());
        let value = TupleValue::Text(text.as_bytes());
        writer.is_some_and(|writer| writer.write(value, out).is_ok())
    }

    /// How many columns a tuple must have.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Names of columns that the schema leaves out because Debezium does not know their type.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        let unknown = |column: &&Column| column.writer.is_none() && !column.unwanted;
        self.columns.iter().filter(unknown).map(|column| &*column.name)
    }

    /// Whether the key differs between two rows as it is written: a column that the old row lacks
    /// stands there as its fallback. An unchanged TOASTed value does not differ.
    pub fn key_differs<R: Row>(&self, old: &R, new: &R) -> bool {
        self.key.iter().any(|key| {
            match (old.values().nth(key.place), new.values().nth(key.place)) {
                (Some(old), Some(new)) => key.column.differs(old, new),
                _ => false,
            }
        })
    }

    /// Whether two rows are alike in all columns that are sent, as they are sent.
    pub fn rows_equal<R: Row>(&self, old: &R, new: &R) -> bool {
        let mut pairs = self.columns.iter().zip(old.values().zip(new.values()));
        pairs.all(|(column, (old, new))| !column.differs(old, new))
    }

    /// Appends a record's key; `unchanged` is where unchanged TOASTed values are taken from.
    #[inline]
    pub fn write_key<R: Row>(&self, row: &R, unchanged: Option<&R>, out: &mut Output) {
        out.bytes.extend_from_slice(&self.key_head);
        self.write_key_payload(row, unchanged, |key| &key.column, out);
        out.bytes.extend_from_slice(self.key_tail);
    }

    /// Appends the key as the text of a header.
    pub fn write_key_header<R: Row>(&self, row: &R, unchanged: Option<&R>, out: &mut Output) {
        let mut json = Output::default();
        self.write_key_payload(row, unchanged, |key| &key.header, &mut json);
        header_text::write(&self.key_schema, &json.bytes, &mut out.bytes);
    }

    #[inline]
    fn write_key_payload<R: Row>(
        &self,
        row: &R,
        unchanged: Option<&R>,
        column: impl Fn(&KeyColumn) -> &Column,
        out: &mut Output,
    ) {
        let mut separator = b'{';
        for key in &self.key {
            let mut value = row.values().nth(key.place).unwrap_or(TupleValue::Null);
            if let (TupleValue::UnchangedToast, Some(old)) = (value, unchanged) {
                value = completed(value, old.values().nth(key.place).unwrap_or(value));
            }
            column(key).write(separator, value, out);
            separator = b',';
        }
        if separator == b'{' || !self.key_field.is_empty() {
            out.bytes.push(separator);
            out.bytes.extend_from_slice(&self.key_field);
        }
        out.bytes.push(b'}');
    }

    /// Appends a record's value.
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
            Operation::Read => b",\"op\":\"r\"",
            Operation::Create => b",\"op\":\"c\"",
            Operation::Update => b",\"op\":\"u\"",
            Operation::Delete => b",\"op\":\"d\"",
            Operation::Truncate => b",\"op\":\"t\"",
            Operation::Message => b",\"op\":\"m\"",
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
                    column.write(b',', completed(value, old), out);
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

/// A value, or the old row's if it is left out and the old row has one.
#[inline]
fn completed<'a>(value: TupleValue<'a>, old: TupleValue<'a>) -> TupleValue<'a> {
    match (value, old) {
        (TupleValue::UnchangedToast, TupleValue::Null) => value,
        (TupleValue::UnchangedToast, old) => old,
        (value, _) => value,
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
    fn field(&self, name: &str) -> Option<Field> {
        Some(Field::new(name, self.writer.as_ref()?.schema().clone()))
    }

    /// Whether a new value is another than the old one, as they are sent: what differs may be
    /// masked or cut, and an unchanged TOASTed value does not differ.
    fn differs(&self, old: TupleValue<'_>, new: TupleValue<'_>) -> bool {
        let Some(writer) = &self.writer else { return false };
        if old == new || new == TupleValue::UnchangedToast {
            return false;
        }
        let written = |value| {
            let mut out = Output::default();
            self.write(b',', value, &mut out);
            out.bytes
        };
        !writer.may_equal(old, new) || written(old) != written(new)
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
        let written = out.bytes.get(start..).unwrap_or_default();
        if matches!(value, TupleValue::Text(_)) && writer.is_unavailable(written) {
            out.literals.extend_from_slice(writer.label.strip_suffix(b":").unwrap_or_default());
            out.literals.push(b',');
        }
    }
}
