//! Types of DuckDB's columns, and the way of a text into one and out of it.
//!
//! A type is chosen so that it holds every value of its source's without changing one. Where a
//! value comes that its column cannot hold (an infinite interval, a timestamp after the year
//! 294246, an array of arrays), the column gets a wider type; [`StoredType::holds`] finds what
//! DuckDB's casts would change in silence, and the casts refuse the rest.

use std::borrow::Cow;
use std::fmt;

use crate::apply::merge::ColumnType;

/// Digits that a DECIMAL can have.
const DECIMAL_DIGITS_MAX: u32 = 38;

/// Type of a column that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoredType {
    Boolean,
    /// Name of a type of whole numbers.
    Integer(String),
    Real,
    Double,
    /// Digits, and how many of them after the point.
    Decimal(u32, u32),
    Varchar,
    Blob,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    List(Box<StoredType>),
    /// Another type of a table that was there before us.
    Other(String),
}

impl StoredType {
    /// The one that a column gets.
    pub(super) fn of(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::Boolean => Self::Boolean,
            ColumnType::Int16 => Self::Integer("SMALLINT".to_owned()),
            ColumnType::Int32 => Self::Integer("INTEGER".to_owned()),
            ColumnType::Int64 => Self::Integer("BIGINT".to_owned()),
            ColumnType::Float32 => Self::Real,
            ColumnType::Float64 => Self::Double,
            ColumnType::Decimal(precision @ 1..=DECIMAL_DIGITS_MAX, scale)
                if scale <= precision =>
            {
                Self::Decimal(*precision, *scale)
            }
            ColumnType::Bytes => Self::Blob,
            ColumnType::Date => Self::Date,
            ColumnType::Time => Self::Time,
            ColumnType::TimeTz => Self::TimeTz,
            ColumnType::Timestamp => Self::Timestamp,
            ColumnType::TimestampTz => Self::TimestampTz,
            ColumnType::Interval => Self::Interval,
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Json | ColumnType::Jsonb => Self::Json,
            ColumnType::Array(element) => match Self::of(element) {
                // No list of lists: an array's dimensions are its values' and not its type's.
                Self::List(_) => Self::Json,
                element => Self::List(Box::new(element)),
            },
            ColumnType::Numeric
            | ColumnType::Decimal(..)
            | ColumnType::Text
            | ColumnType::Varchar(_)
            | ColumnType::BuiltIn(_) => Self::Varchar,
        }
    }

    /// From the name that the catalog has.
    pub(super) fn parse(name: &str) -> Self {
        if let Some(element) = name.strip_suffix("[]") {
            return match Self::parse(element) {
                Self::List(_) | Self::Other(_) => Self::Other(name.to_owned()),
                element => Self::List(Box::new(element)),
            };
        }
        if let Some(digits) = name.strip_prefix("DECIMAL(").and_then(|rest| rest.strip_suffix(')'))
        {
            let mut digits = digits.split(',').map(|part| part.trim().parse().unwrap_or_default());
            return Self::Decimal(
                digits.next().unwrap_or_default(),
                digits.next().unwrap_or_default(),
            );
        }
        match name {
            "BOOLEAN" => Self::Boolean,
            "TINYINT" | "SMALLINT" | "INTEGER" | "BIGINT" | "HUGEINT" | "UTINYINT"
            | "USMALLINT" | "UINTEGER" | "UBIGINT" | "UHUGEINT" => Self::Integer(name.to_owned()),
            "FLOAT" => Self::Real,
            "DOUBLE" => Self::Double,
            "VARCHAR" => Self::Varchar,
            "BLOB" => Self::Blob,
            "DATE" => Self::Date,
            "TIME" => Self::Time,
            "TIME WITH TIME ZONE" => Self::TimeTz,
            "TIMESTAMP" => Self::Timestamp,
            "TIMESTAMP WITH TIME ZONE" => Self::TimestampTz,
            "INTERVAL" => Self::Interval,
            "UUID" => Self::Uuid,
            "JSON" => Self::Json,
            _ => Self::Other(name.to_owned()),
        }
    }

    /// What a column of a table that was there before us holds.
    pub(super) fn column_type(&self) -> ColumnType {
        match self {
            Self::Boolean => ColumnType::Boolean,
            Self::Integer(name) => match name.as_str() {
                "TINYINT" | "SMALLINT" | "UTINYINT" => ColumnType::Int16,
                "INTEGER" | "USMALLINT" => ColumnType::Int32,
                "BIGINT" | "UINTEGER" => ColumnType::Int64,
                _ => ColumnType::Numeric,
            },
            Self::Real => ColumnType::Float32,
            Self::Double => ColumnType::Float64,
            Self::Decimal(precision, scale) => ColumnType::Decimal(*precision, *scale),
            Self::Varchar | Self::Other(_) => ColumnType::Text,
            Self::Blob => ColumnType::Bytes,
            Self::Date => ColumnType::Date,
            Self::Time => ColumnType::Time,
            Self::TimeTz => ColumnType::TimeTz,
            Self::Timestamp => ColumnType::Timestamp,
            Self::TimestampTz => ColumnType::TimestampTz,
            Self::Interval => ColumnType::Interval,
            Self::Uuid => ColumnType::Uuid,
            Self::Json => ColumnType::Json,
            Self::List(element) => ColumnType::Array(Box::new(element.column_type())),
        }
    }

    /// The type that a column gets when a value comes that this one cannot hold.
    pub(super) fn wider(&self) -> Option<Self> {
        match self {
            Self::Varchar => None,
            Self::List(_) => Some(Self::Json),
            _ => Some(Self::Varchar),
        }
    }

    /// The type that a column of this one gets when its source's is widened: at least as wide as it
    /// is already.
    pub(super) fn widened(&self, from: &ColumnType, to: &ColumnType) -> Self {
        let expected = Self::of(from);
        let is_ahead = *self != expected;
        match (self, Self::of(to)) {
            (Self::Varchar, _) if is_ahead => Self::Varchar,
            (Self::Json, Self::List(_)) if is_ahead => Self::Json,
            (_, to) => to,
        }
    }

    /// SQL that makes a value of this type from a plan's text.
    pub(super) fn read(&self, text: &str) -> String {
        match self {
            Self::Varchar => text.to_owned(),
            Self::Blob => format!("unhex({text})"),
            // A plan has the era at the end, DuckDB after the day.
            Self::Timestamp | Self::TimestampTz => format!(
                "CAST(CASE WHEN suffix({text}, ' (BC)') THEN regexp_replace({text}, \
                 '^(\\S+) (.*) \\(BC\\)$', '\\1 (BC) \\2') ELSE {text} END AS {self})"
            ),
            // PostgreSQL says +3 days where a negative part went before.
            Self::Interval => format!("CAST(replace({text}, '+', '') AS INTERVAL)"),
            Self::List(element) => {
                let texts = format!("from_json({text}, '[\"VARCHAR\"]')");
                match &**element {
                    Self::Varchar => texts,
                    element => {
                        format!("list_transform({texts}, lambda e : {})", element.read("e"))
                    }
                }
            }
            _ => format!("CAST({text} AS {self})"),
        }
    }

    /// SQL that gives a value of this type as a plan spells it.
    pub(super) fn print(&self, value: &str) -> String {
        let text = format!("CAST({value} AS VARCHAR)");
        match self {
            Self::Varchar => value.to_owned(),
            Self::Boolean => format!("CASE WHEN {value} THEN 't' WHEN NOT {value} THEN 'f' END"),
            Self::Real | Self::Double => format!(
                "CASE {text} WHEN 'nan' THEN 'NaN' WHEN 'inf' THEN 'Infinity' \
                 WHEN '-inf' THEN '-Infinity' ELSE {text} END"
            ),
            Self::Decimal(precision, scale) if precision == scale => {
                format!("regexp_replace({text}, '^(-?)\\.', '\\10.')")
            }
            Self::Blob => format!("lower(hex({value}))"),
            Self::Timestamp => era_last(&text, ""),
            // Printing a TIMESTAMPTZ itself loses microseconds of far years.
            Self::TimestampTz => format!(
                "CASE WHEN isfinite({value}) THEN {} ELSE {text} END",
                era_last(&format!("CAST(make_timestamp(epoch_us({value})) AS VARCHAR)"), "+00")
            ),
            Self::Interval => format!(
                "regexp_replace(regexp_replace(replace({text}, 'month', 'mon'), \
                 '-1 (year|mon|day)\\b', '-1 \\1s', 'g'), '(-\\d+ \\w+) (\\d)', '\\1 +\\2', 'g')"
            ),
            Self::List(element) => format!(
                "CAST(to_json(list_transform({value}, lambda e : {})) AS VARCHAR)",
                element.print("e")
            ),
            _ => text,
        }
    }

    /// SQL that is true of two values that are one: equal, and printed equally (`1 mon` and
    /// `30 days` are equal, and so are `0` and `-0`). `equals` is `=` or `IS NOT DISTINCT FROM`.
    pub(super) fn same(&self, left: &str, equals: &str, right: &str) -> String {
        match self {
            Self::Real | Self::Double | Self::Interval | Self::TimeTz | Self::List(_) => {
                format!("CAST({left} AS VARCHAR) {equals} CAST({right} AS VARCHAR)")
            }
            _ => format!("{left} {equals} {right}"),
        }
    }

    /// Whether DuckDB's cast gives this text's value and not one near it: `1.235` would become
    /// `1.24`, `1.5` would become `2`, `1e400` infinite. What a cast refuses is not looked for.
    pub(super) fn holds(&self, text: &str) -> bool {
        match self {
            Self::Integer(_) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            }
            Self::Decimal(precision, scale) => decimal_fits(text, *precision, *scale),
            Self::Real => text.parse::<f32>().is_ok_and(f32::is_finite) || is_special(text),
            Self::Double => text.parse::<f64>().is_ok_and(f64::is_finite) || is_special(text),
            Self::Date => !text.contains(':'),
            Self::Timestamp => match text.split_once(':') {
                Some((_, clock)) => !clock.contains(['+', '-', 'Z']),
                None => true,
            },
            Self::List(element) => {
                let values = serde_json::from_str::<Vec<Option<Cow<'_, str>>>>(text);
                values.is_ok_and(|values| values.iter().flatten().all(|value| element.holds(value)))
            }
            _ => true,
        }
    }
}

/// The name in SQL.
impl fmt::Display for StoredType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Boolean => "BOOLEAN",
            Self::Integer(name) | Self::Other(name) => name,
            Self::Real => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Decimal(precision, scale) => {
                return write!(formatter, "DECIMAL({precision},{scale})");
            }
            Self::Varchar => "VARCHAR",
            Self::Blob => "BLOB",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::TimeTz => "TIME WITH TIME ZONE",
            Self::Timestamp => "TIMESTAMP",
            Self::TimestampTz => "TIMESTAMP WITH TIME ZONE",
            Self::Interval => "INTERVAL",
            Self::Uuid => "UUID",
            Self::Json => "JSON",
            Self::List(element) => return write!(formatter, "{element}[]"),
        })
    }
}

/// `0044-03-15 (BC) 10:00:00` as `0044-03-15 10:00:00 (BC)`, the zone before the era.
fn era_last(text: &str, zone: &str) -> String {
    format!(
        "CASE WHEN contains({text}, ' (BC)') THEN replace({text}, ' (BC)', '') || '{zone} (BC)' \
         ELSE {text} || '{}' END",
        zone
    )
}

fn is_special(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

/// Whether a number in decimal digits, with an exponent or without, needs no more than `precision`
/// digits, `scale` of them after the point.
fn decimal_fits(text: &str, precision: u32, scale: u32) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        None => (text, Some(0)),
    };
    let Some(exponent) = exponent else { return false };
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || whole.len() + fraction.len() == 0 {
        return false;
    }
    let joined = format!("{whole}{fraction}");
    let count = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let significant = joined.trim_start_matches('0');
    if significant.is_empty() {
        return true;
    }
    // The point stands behind so many of the digits that are not leading zeros.
    let before = count(whole) + exponent - (count(&joined) - count(significant));
    let after = count(significant.trim_end_matches('0')) - before;
    before <= i64::from(precision - scale.min(precision)) && after <= i64::from(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_that_would_be_rounded_does_not_fit() {
        for fits in
            ["1.23", "-12345678.90", "0.010", "1.2300", "1e2", "12e-2", "0", "0.000", "00012"]
        {
            assert!(decimal_fits(fits, 10, 2), "{fits}");
        }
        for not in ["1.235", "123456789.00", "1e9", "1e-3", "NaN", "", "-", ".", "1.2.3"] {
            assert!(!decimal_fits(not, 10, 2), "{not}");
        }
    }

    #[test]
    fn casts_that_change_a_value_are_known() {
        assert!(!StoredType::of(&ColumnType::Int32).holds("1.5"));
        assert!(!StoredType::of(&ColumnType::Int32).holds("1e3"));
        assert!(StoredType::of(&ColumnType::Int32).holds("-2147483648"));
        assert!(!StoredType::Real.holds("1e39"));
        assert!(StoredType::Real.holds("-Infinity"));
        assert!(!StoredType::Date.holds("2024-01-01 10:00:00"));
        let list = StoredType::of(&ColumnType::Array(Box::new(ColumnType::Text)));
        assert!(list.holds(r#"["[",null,"a\"b"]"#));
        assert!(!list.holds(r#"[["a"]]"#));
        assert!(!StoredType::of(&ColumnType::Array(Box::new(ColumnType::Int16))).holds(r#"["x"]"#));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let all = [
            ColumnType::Boolean,
            ColumnType::Int16,
            ColumnType::Float32,
            ColumnType::Decimal(38, 38),
            ColumnType::TimeTz,
            ColumnType::TimestampTz,
            ColumnType::Array(Box::new(ColumnType::Decimal(5, 2))),
            ColumnType::Json,
        ];
        for column_type in all {
            let stored = StoredType::of(&column_type);
            assert_eq!(StoredType::parse(&stored.to_string()), stored);
        }
        assert_eq!(StoredType::of(&ColumnType::Decimal(39, 2)), StoredType::Varchar);
    }

    #[test]
    fn a_column_that_is_ahead_of_its_source_stays_ahead() {
        let array = ColumnType::Array(Box::new(ColumnType::Int32));
        let wider = ColumnType::Array(Box::new(ColumnType::Int64));
        assert_eq!(StoredType::Json.widened(&array, &wider), StoredType::Json);
        let date = ColumnType::Timestamp;
        assert_eq!(
            StoredType::Varchar.widened(&date, &ColumnType::TimestampTz),
            StoredType::Varchar
        );
        let int = StoredType::of(&ColumnType::Int32);
        assert_eq!(
            int.widened(&ColumnType::Int32, &ColumnType::Int64),
            StoredType::of(&ColumnType::Int64)
        );
    }
}
