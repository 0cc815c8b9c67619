//! One column of a row, ready to be written.

use crate::capture::catalog::ShapeColumn;
use crate::capture::catalog::TypeCatalog;
use crate::capture::change::form::ColumnForm;
use crate::capture::change::json_value;
use crate::capture::change::json_value::Spelling;
use crate::capture::change::kind::ColumnType;
use crate::capture::change::kind::Kind;
use crate::capture::change::mask::Mask;
use crate::capture::change::mask::Masked;
use crate::capture::change::settings::DecimalFormat;
use crate::capture::change::settings::Fidelity;
use crate::capture::change::settings::ValueSettings;
use crate::capture::change::stand_in;
use crate::capture::pgoutput::TupleValue;
use crate::capture::value::ValueError;
use crate::envelope::json;
use crate::envelope::json::FloatDigits;
use crate::envelope::schema::ConnectSchema;
use crate::oid::Oid;
use crate::oid::types;

/// How one column is written: everything that does not change from row to row is rendered.
#[derive(Clone, Debug)]
pub struct ColumnWriter {
    /// `"name":`
    pub(super) label: Vec<u8>,
    column: ColumnType,
    spelling: Spelling,
    /// JSON for NULL.
    null: Vec<u8>,
    /// That is the column's default, which the converter puts in the place of a null.
    null_is_default: bool,
    /// JSON for an unchanged TOASTed value; `None` if the schema has no room for it.
    unavailable: Option<Vec<u8>>,
    not_null: bool,
    /// JSON for NULL where the schema requires a value.
    fallback: Vec<u8>,
}

/// A value that could not be written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnError {
    /// The column.
    pub column: String,
    /// Its type, as the server names it.
    pub type_oid: Oid,
    /// What is wrong.
    pub error: ValueError,
}

/// Where a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// In rows: masked, if it is.
    Row,
    /// In keys.
    Key,
    /// In keys that are headers, before they become text.
    Header,
}

impl ColumnWriter {
    /// For a column of a shape; `None` if its type is left out.
    pub fn new(
        shape: &ShapeColumn,
        (form, part): (&ColumnForm, Part),
        types: &TypeCatalog,
        settings: &ValueSettings,
    ) -> Option<Self> {
        let mut column = ColumnType::of(types, shape.type_oid, shape.type_modifier, settings)?;
        let (decimal_format, replace_null) = match part {
            Part::Row => (settings.decimal_format, settings.replace_null_with_default),
            Part::Key => (settings.key_decimal_format, settings.key_replace_null_with_default),
            Part::Header => (DecimalFormat::Numeric, true),
        };
        let spelling = Spelling {
            decimal_format,
            floats: match settings.fidelity {
                Fidelity::Exact => FloatDigits::Shortest,
                Fidelity::Debezium => FloatDigits::Java,
            },
        };
        column.schema.optional = !shape.not_null;
        if let (Kind::Unreadable(json), false) = (&mut column.kind, shape.not_null) {
            *json = "null";
        }
        column.schema.default = shape.default.as_deref().and_then(|expression| {
            let default = stand_in::Default {
                expression,
                enum_name: types
                    .is_enum(shape.type_oid)
                    .then(|| types.get(shape.type_oid).map_or("", |facts| &facts.name)),
                type_oid: shape.type_oid,
                type_modifier: shape.type_modifier,
            };
            default.to_json(&column.kind, spelling)
        });
        let (_, type_modifier) = types.resolve(shape.type_oid, shape.type_modifier);
        let fallback = match &column.schema.default {
            Some(default) => default.clone(),
            None => stand_in::fallback(&column.kind, type_modifier, spelling),
        };
        let null = match &column.schema.default {
            _ if shape.not_null => fallback.clone(),
            Some(default) if replace_null => default.clone(),
            _ => b"null".to_vec(),
        };
        let null_is_default = !shape.not_null && replace_null && column.schema.default.is_some();
        let mut label = Vec::new();
        json::string(form.name.as_bytes(), &mut label);
        label.push(b':');
        let unavailable = stand_in::unavailable(&column, settings);
        let mut writer = ColumnWriter {
            label,
            column,
            spelling,
            null,
            null_is_default,
            unavailable,
            not_null: shape.not_null,
            fallback,
        };
        if part == Part::Row {
            writer.take_form(shape, form, types);
        }
        Some(writer)
    }

    /// Masks everything that is written of the column.
    fn take_form(&mut self, shape: &ShapeColumn, form: &ColumnForm, types: &TypeCatalog) {
        self.column.schema.parameters.extend(form.parameters.iter().cloned());
        let Some(mask) = &form.mask else { return };
        let length = form.length;
        match mask {
            Mask::Truncate(most) if length.is_none_or(|length| length > *most) => {
                self.column.schema.parameters.push(("truncateLength".into(), most.to_string()));
            }
            Mask::Truncate(_) => {}
            Mask::Stars(_) | Mask::Hash(_) => {
                self.column.schema.parameters.push(("masked".into(), "true".to_owned()));
            }
        }
        let exact = self.spelling.floats == FloatDigits::Shortest;
        let characters = is_of_characters(shape, types, &self.column.kind, exact);
        let known = (&self.column.kind, &self.column.schema);
        let Some(masked) = Masked::new(known, characters, length, mask) else { return };
        let apply = |json: &[u8]| {
            let mut out = Vec::new();
            masked.apply(json, &mut out);
            out
        };
        // The converter puts the default in place of a null that the mask leaves.
        let by_converter = !self.not_null && self.null != b"null";
        if !by_converter || matches!(mask, Mask::Stars(_)) {
            self.null = apply(&self.null);
            self.null_is_default = false;
        }
        self.fallback = apply(&self.fallback);
        // What stands for unchanged bytes is not cut.
        if masked.is_of_strings() {
            self.unavailable = self.unavailable.as_deref().map(apply);
        }
        self.column.kind = Kind::Masked(Box::new(masked));
    }

    /// Whether two values can be alike before the converter spells them: a null is not the default
    /// that it becomes there.
    pub(super) fn may_equal(&self, one: TupleValue<'_>, other: TupleValue<'_>) -> bool {
        let is_null = |value| matches!(value, TupleValue::Null);
        !self.null_is_default || is_null(one) == is_null(other)
    }

    /// Whether this is what stands for an unchanged TOASTed value. Behind a mask nobody can tell.
    #[inline]
    pub(super) fn is_unavailable(&self, json: &[u8]) -> bool {
        self.unavailable.as_deref() == Some(json) && !matches!(self.column.kind, Kind::Masked(_))
    }

    /// The column's schema.
    pub fn schema(&self) -> &ConnectSchema {
        &self.column.schema
    }

    /// Appends the JSON of one value.
    #[inline]
    pub fn write(&self, value: TupleValue<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match value {
            TupleValue::Text(text) => {
                json_value::write(&self.column.kind, text, self.spelling, out)
            }
            TupleValue::Null => {
                out.extend_from_slice(&self.null);
                Ok(())
            }
            TupleValue::UnchangedToast => {
                match &self.unavailable {
                    Some(json) => out.extend_from_slice(json),
                    None if self.not_null => out.extend_from_slice(&self.fallback),
                    None => out.extend_from_slice(b"null"),
                }
                Ok(())
            }
            TupleValue::Binary(_) => Err(ValueError::Syntax { expected: "a value in text form" }),
        }
    }

    /// Appends what stands for a value that cannot be converted: what can be converted of it, else
    /// null, or the fallback where the schema requires a value.
    pub fn write_missing(&self, value: TupleValue<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        if let TupleValue::Text(text) = value {
            match json_value::write_parts(&self.column.kind, text, self.spelling, out) {
                Ok(()) => return,
                Err(_) => out.truncate(start),
            }
        }
        out.extend_from_slice(if self.not_null { &self.fallback } else { b"null" });
    }
}

/// Types whose values are masked; under exact fidelity every type that is plain text.
fn is_of_characters(shape: &ShapeColumn, types: &TypeCatalog, kind: &Kind, exact: bool) -> bool {
    let (oid, _) = types.resolve(shape.type_oid, shape.type_modifier);
    match oid {
        types::TEXT | types::VARCHAR | types::BPCHAR | types::NAME | types::CHAR => true,
        _ if types.is_enum(oid) => true,
        _ => exact && *kind == Kind::Text,
    }
}
