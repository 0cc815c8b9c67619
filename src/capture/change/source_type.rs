//! What `column.propagate.source.type` says of a column: its type's name, length and scale, as
//! PostgreSQL's JDBC driver counts them. Source: pgjdbc 42.7, `TypeInfoCache`.

use std::borrow::Cow;

use crate::capture::catalog::ShapeColumn;
use crate::capture::catalog::TypeCatalog;
use crate::capture::catalog::TypeKind;
use crate::oid::Oid;
use crate::oid::types;
use crate::table::TableName;

/// Length of a type without one.
const UNKNOWN_LENGTH: i32 = i32::MAX;

/// Length of `numeric` without a modifier.
const NUMERIC_LENGTH: i32 = 131_089;

/// Schemas whose types the driver names without them.
const VISIBLE: [&str; 2] = ["pg_catalog", "public"];

/// Name of a column's type; for columns that are read `serial` and its kin, and with the schema of
/// types that are in none of the usual ones.
pub fn type_name(column: &ShapeColumn, types: &TypeCatalog, read: bool) -> String {
    let generated = column.default.as_deref().is_some_and(|text| text.contains("nextval("));
    match column.type_oid {
        types::INT2 if read && generated => "smallserial".to_owned(),
        types::INT4 if read && generated => "serial".to_owned(),
        types::INT8 if read && generated => "bigserial".to_owned(),
        oid => match types.get(oid) {
            Some(facts) if read && !VISIBLE.contains(&facts.namespace.as_str()) => {
                TableName::new(&*facts.namespace, &*facts.name).quoted()
            }
            Some(facts) => facts.name.clone(),
            None => String::new(),
        },
    }
}

/// The parameters of its schema.
pub fn parameters(
    column: &ShapeColumn,
    types: &TypeCatalog,
    read: bool,
) -> Vec<(Cow<'static, str>, String)> {
    let mut all = vec![("type", type_name(column, types, read).to_uppercase())];
    let (oid, type_modifier) = types.resolve(column.type_oid, column.type_modifier);
    if read && is_unbounded_numeric(column) {
        all.push(("length", "0".to_owned()));
    } else {
        all.push(("length", length(types, oid, type_modifier).to_string()));
        all.push(("scale", scale(element(types, oid), type_modifier).to_string()));
    }
    all.push(("name", column.name.clone()));
    all.into_iter()
        .map(|(name, value)| (Cow::Owned(format!("__debezium.source.column.{name}")), value))
        .collect()
}

/// A column's length; `None` if any is possible.
pub fn known_length(types: &TypeCatalog, column: &ShapeColumn, read: bool) -> Option<usize> {
    let (oid, type_modifier) = types.resolve(column.type_oid, column.type_modifier);
    if read && is_unbounded_numeric(column) {
        return Some(0);
    }
    let length = length(types, oid, type_modifier);
    usize::try_from(length).ok().filter(|_| length != UNKNOWN_LENGTH)
}

/// Whether the driver knows no length of it when it is read. A domain is not looked through there.
fn is_unbounded_numeric(column: &ShapeColumn) -> bool {
    column.type_oid == types::NUMERIC && column.type_modifier == -1
}

fn element(types: &TypeCatalog, oid: Oid) -> Oid {
    match types.get(oid).map(|facts| &facts.kind) {
        Some(TypeKind::Array { element }) => *element,
        _ => oid,
    }
}

fn length(types: &TypeCatalog, oid: Oid, type_modifier: i32) -> i32 {
    match element(types, oid) {
        types::INT2 => 5,
        types::INT4 | types::OID => 10,
        types::INT8 => 19,
        types::FLOAT4 => 8,
        types::FLOAT8 => 17,
        types::NUMERIC if type_modifier == -1 => NUMERIC_LENGTH,
        types::NUMERIC => (type_modifier - 4) >> 16 & 0xFFFF,
        types::CHAR | types::BOOL => 1,
        types::BPCHAR | types::VARCHAR if type_modifier != -1 => type_modifier - 4,
        types::BIT if type_modifier == -1 => 1,
        types::BIT | types::VARBIT if type_modifier != -1 => type_modifier,
        types::DATE => 13,
        types::TIME => 8 + seconds(type_modifier),
        types::TIMETZ => 14 + seconds(type_modifier),
        types::TIMESTAMP => 22 + seconds(type_modifier),
        types::TIMESTAMPTZ => 28 + seconds(type_modifier),
        types::INTERVAL => 49,
        _ => UNKNOWN_LENGTH,
    }
}

/// Characters of a fraction of seconds.
fn seconds(type_modifier: i32) -> i32 {
    match type_modifier {
        -1 => 7,
        0 => 0,
        1 => 3,
        digits => digits + 1,
    }
}

fn scale(oid: Oid, type_modifier: i32) -> i32 {
    match oid {
        types::FLOAT4 => 8,
        types::FLOAT8 => 17,
        types::NUMERIC if type_modifier != -1 => (type_modifier - 4) & 0xFFFF,
        types::TIME | types::TIMETZ | types::TIMESTAMP | types::TIMESTAMPTZ
            if type_modifier == -1 =>
        {
            6
        }
        types::TIME | types::TIMETZ | types::TIMESTAMP | types::TIMESTAMPTZ => type_modifier,
        types::INTERVAL if type_modifier == -1 => 6,
        types::INTERVAL => type_modifier & 0xFFFF,
        _ => 0,
    }
}
