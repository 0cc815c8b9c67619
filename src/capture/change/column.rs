//! One column of a row, ready to be written.

use crate::capture::catalog::ShapeColumn;
use crate::capture::catalog::TypeCatalog;
use crate::capture::change::json_value;
use crate::capture::change::json_value::Spelling;
use crate::capture::change::kind::ColumnType;
use crate::capture::change::settings::Fidelity;
use crate::capture::change::settings::ValueSettings;
use crate::capture::change::stand_in;
use crate::capture::pgoutput::TupleValue;
use crate::capture::value::ValueError;
use crate::envelope::json;
use crate::envelope::json::FloatDigits;
use crate::envelope::schema::ConnectSchema;
use crate::oid::Oid;

/// How one column is written: everything that does not change from row to row is rendered.
#[derive(Clone, Debug)]
pub struct ColumnWriter {
    /// `"name":`
    pub(super) label: Vec<u8>,
    column: ColumnType,
    spelling: Spelling,
    /// JSON for NULL.
    null: Vec<u8>,
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

impl ColumnWriter {
    /// For a column of a shape; `None` if its type is left out.
    pub fn new(shape: &ShapeColumn, types: &TypeCatalog, settings: &ValueSettings) -> Option<Self> {
        let mut column = ColumnType::of(types, shape.type_oid, shape.type_modifier, settings)?;
        let spelling = Spelling {
            decimal_format: settings.decimal_format,
            floats: match settings.fidelity {
                Fidelity::Exact => FloatDigits::Shortest,
                Fidelity::Debezium => FloatDigits::Java,
            },
        };
        column.schema.optional = !shape.not_null;
        column.schema.default = shape.default.as_deref().and_then(|expression| {
            let default = stand_in::Default {
                expression,
                is_enum: types.is_enum(shape.type_oid),
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
            Some(default) if settings.replace_null_with_default => default.clone(),
            _ => b"null".to_vec(),
        };
        let mut label = Vec::new();
        json::string(shape.name.as_bytes(), &mut label);
        label.push(b':');
        Some(ColumnWriter {
            label,
            unavailable: stand_in::unavailable(&column, settings),
            column,
            spelling,
            null,
            not_null: shape.not_null,
            fallback,
        })
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
