//! What a column of a warehouse holds, in no warehouse's words, and what two types have in common.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// Type of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// `t` or `f`.
    Boolean,
    /// 16 bits.
    Int16,
    /// 32 bits.
    Int32,
    /// 64 bits.
    Int64,
    /// 32-bit float; `NaN`, `Infinity`, `-Infinity`.
    Float32,
    /// 64-bit float.
    Float64,
    /// Exact decimal of any size; `NaN`, `Infinity`, `-Infinity`.
    Numeric,
    /// Exact decimal of so many digits, so many of them after the point.
    Decimal(u32, u32),
    /// Text of any length.
    #[default]
    Text,
    /// Text of at most so many characters.
    Varchar(u32),
    /// Bytes; their text is lower-case hexadecimal.
    Bytes,
    /// Day; `YYYY-MM-DD`, `infinity`, `-infinity`.
    Date,
    /// Time of day with microseconds; `24:00:00` is legal.
    Time,
    /// Time of day with an offset.
    TimeTz,
    /// Without time zone, with microseconds.
    Timestamp,
    /// A moment, printed at UTC.
    TimestampTz,
    /// Months, days and microseconds, as PostgreSQL prints it.
    Interval,
    /// 8-4-4-4-12 hexadecimal digits.
    Uuid,
    /// JSON, its text as it came.
    Json,
    /// JSON, its text normalised by PostgreSQL.
    Jsonb,
    /// Another type that every PostgreSQL has, by its name without modifiers: `inet`, `xml`,
    /// `int4range`.
    BuiltIn(String),
    /// An array of any dimensions.
    Array(Box<ColumnType>),
}

/// Types that every PostgreSQL has and that have no variant of their own.
const BUILT_IN: &[&str] = &[
    "bit varying",
    "box",
    "bpchar",
    "cidr",
    "circle",
    "datemultirange",
    "daterange",
    "inet",
    "int4multirange",
    "int4range",
    "int8multirange",
    "int8range",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "name",
    "nummultirange",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "txid_snapshot",
    "pg_snapshot",
    "xid",
    "xid8",
    "xml",
];

impl ColumnType {
    /// From what `format_type` prints; `None` if not every PostgreSQL has the type.
    pub fn from_format_type(text: &str) -> Option<Self> {
        if let Some(element) = text.strip_suffix("[]") {
            return Self::from_format_type(element).map(|element| Self::Array(Box::new(element)));
        }
        let (base, modifiers) = split_modifiers(text);
        let number = |at: usize| modifiers.get(at).and_then(|text| text.parse::<u32>().ok());
        Some(match base.as_str() {
            "boolean" => Self::Boolean,
            "smallint" => Self::Int16,
            "integer" => Self::Int32,
            "bigint" => Self::Int64,
            "real" => Self::Float32,
            "double precision" => Self::Float64,
            "numeric" => match (number(0), number(1)) {
                (Some(precision), Some(scale)) if scale <= precision => {
                    Self::Decimal(precision, scale)
                }
                _ => Self::Numeric,
            },
            // Its text depends on the server's locale; its values are decimals.
            "money" => Self::Numeric,
            "text" => Self::Text,
            "character varying" => number(0).map_or(Self::Text, Self::Varchar),
            "character" | "bpchar" => Self::BuiltIn("bpchar".to_owned()),
            "bit" | "bit varying" => Self::BuiltIn("bit varying".to_owned()),
            "\"char\"" => Self::Text,
            "bytea" => Self::Bytes,
            "date" => Self::Date,
            "time without time zone" => Self::Time,
            "time with time zone" => Self::TimeTz,
            "timestamp without time zone" => Self::Timestamp,
            "timestamp with time zone" => Self::TimestampTz,
            "uuid" => Self::Uuid,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            _ if base == "interval" || base.starts_with("interval ") => Self::Interval,
            _ if BUILT_IN.contains(&base.as_str()) => Self::BuiltIn(base),
            _ => return None,
        })
    }

    /// The narrowest type known here that holds every value of both without changing one.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        use ColumnType as T;
        if self == other {
            return self.clone();
        }
        match (self, other) {
            (T::Int16, T::Int32) | (T::Int32, T::Int16) => T::Int32,
            (T::Int16 | T::Int32, T::Int64) | (T::Int64, T::Int16 | T::Int32) => T::Int64,
            (T::Float32, T::Float64) | (T::Float64, T::Float32) => T::Float64,
            (T::Int16, T::Float64) | (T::Float64, T::Int16) => T::Float64,
            (T::Int32, T::Float64) | (T::Float64, T::Int32) => T::Float64,
            (T::Decimal(p1, s1), T::Decimal(p2, s2)) => {
                let scale = *s1.max(s2);
                T::Decimal((p1 - s1).max(p2 - s2) + scale, scale)
            }
            (T::Numeric | T::Decimal(..) | T::Int16 | T::Int32 | T::Int64, T::Numeric)
            | (T::Numeric, T::Decimal(..) | T::Int16 | T::Int32 | T::Int64) => T::Numeric,
            (T::Decimal(p, s), T::Int16 | T::Int32 | T::Int64)
            | (T::Int16 | T::Int32 | T::Int64, T::Decimal(p, s)) => {
                T::Decimal((p - s).max(19) + s, *s)
            }
            (T::Varchar(a), T::Varchar(b)) => T::Varchar(*a.max(b)),
            (T::Array(a), T::Array(b)) => T::Array(Box::new(a.common(b))),
            _ => T::Text,
        }
    }

    /// Whether a value of this type can be so large that an update leaves it out.
    pub fn is_toastable(&self) -> bool {
        use ColumnType as T;
        match self {
            T::Numeric | T::Decimal(..) | T::Text | T::Varchar(_) | T::Bytes => true,
            T::Json | T::Jsonb | T::Array(_) => true,
            T::BuiltIn(name) => !matches!(
                name.as_str(),
                "box"
                    | "circle"
                    | "line"
                    | "lseg"
                    | "macaddr"
                    | "macaddr8"
                    | "name"
                    | "oid"
                    | "pg_lsn"
                    | "point"
                    | "xid"
                    | "xid8"
            ),
            _ => false,
        }
    }
}

/// The name in PostgreSQL.
impl fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ColumnType as T;
        formatter.write_str(match self {
            T::Boolean => "boolean",
            T::Int16 => "smallint",
            T::Int32 => "integer",
            T::Int64 => "bigint",
            T::Float32 => "real",
            T::Float64 => "double precision",
            T::Decimal(precision, scale) => {
                return write!(formatter, "numeric({precision},{scale})");
            }
            T::Numeric => "numeric",
            T::Text => "text",
            T::Varchar(length) => return write!(formatter, "character varying({length})"),
            T::Bytes => "bytea",
            T::Date => "date",
            T::Time => "time without time zone",
            T::TimeTz => "time with time zone",
            T::Timestamp => "timestamp without time zone",
            T::TimestampTz => "timestamp with time zone",
            T::Interval => "interval",
            T::Uuid => "uuid",
            T::Json => "json",
            T::Jsonb => "jsonb",
            T::BuiltIn(name) => name,
            T::Array(element) => return write!(formatter, "{element}[]"),
        })
    }
}

/// `numeric(10,2)` as `numeric`, `["10", "2"]`; modifiers may stand inside, as in
/// `timestamp(3) with time zone`.
fn split_modifiers(text: &str) -> (String, Vec<&str>) {
    let Some((before, rest)) = text.split_once('(') else { return (text.to_owned(), Vec::new()) };
    let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
    (format!("{before}{after}"), inside.split(',').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::ColumnType as T;

    #[test]
    fn reads_what_format_type_prints() {
        let read = |text| T::from_format_type(text);
        assert_eq!(read("numeric(10,2)"), Some(T::Decimal(10, 2)));
        assert_eq!(read("numeric(3,-2)"), Some(T::Numeric));
        assert_eq!(read("numeric(2,5)"), Some(T::Numeric));
        assert_eq!(read("timestamp(3) with time zone"), Some(T::TimestampTz));
        assert_eq!(read("interval day to second(3)"), Some(T::Interval));
        assert_eq!(read("character varying(20)[]"), Some(T::Array(Box::new(T::Varchar(20)))));
        assert_eq!(read("bit(3)"), Some(T::BuiltIn("bit varying".to_owned())));
        assert_eq!(read("shop.mood"), None);
    }

    #[test]
    fn what_two_types_have_in_common_holds_both() {
        assert_eq!(T::Int32.common(&T::Int64), T::Int64);
        assert_eq!(T::Int64.common(&T::Float64), T::Text);
        assert_eq!(T::Decimal(10, 2).common(&T::Decimal(8, 4)), T::Decimal(12, 4));
        assert_eq!(T::Varchar(5).common(&T::Text), T::Text);
        assert_eq!(T::Decimal(10, 2).common(&T::Int64), T::Decimal(21, 2));
        assert_eq!(T::Date.common(&T::Timestamp), T::Text);
    }
}
