//! How a column's values stand in an envelope's JSON, read from its Connect schema.
//!
//! Source: Debezium 3.6.1.Final, "Data type mappings"; Kafka Connect, `JsonConverter`.

use crate::apply::merge::column_type::ColumnType;
use crate::envelope::schema::ConnectSchema;
use crate::envelope::schema::SchemaKind;

/// Form of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `true` or `false`.
    Boolean,
    /// A number, its digits as they stand; floats also as `"NaN"`.
    Number,
    /// A whole number of at most so many bits.
    Whole(u32),
    /// A string, its text.
    Text,
    /// A decimal as a string, with Debezium's words for what is no number.
    DecimalText,
    /// Unscaled big-endian bytes in base64, or a number.
    Decimal(i32),
    /// Bytes in base64 or a number as text, of so many digits, so many of them after the point:
    /// where no schema says which.
    UnsaidDecimal(u32, u32),
    /// Such bytes with their scale in a struct.
    VariableScaleDecimal,
    /// Bytes in base64.
    Base64,
    /// A bit string's bytes in base64, least significant first; its length if it is fixed.
    Bits(Option<usize>),
    /// `true` or `false`, one bit.
    Bit,
    /// Days since 1970.
    Days,
    /// An ISO 8601 date.
    IsoDate,
    /// So many of these since midnight are a microsecond times the second number.
    Time(Unit),
    /// An ISO 8601 time of day without zone.
    IsoTime,
    /// An ISO 8601 time of day with a zone.
    ZonedTime,
    /// Since 1970, without zone.
    Timestamp(Unit),
    /// An ISO 8601 timestamp without zone.
    IsoTimestamp,
    /// An ISO 8601 timestamp at UTC.
    ZonedTimestamp,
    /// Microseconds of an interval.
    IntervalMicros,
    /// An ISO 8601 duration.
    IntervalText,
    /// x and y.
    Point,
    /// Extended well-known binary and its reference system.
    Geometry,
    /// A map or an object: its JSON.
    JsonText,
    /// An array of these.
    Array(Box<Encoding>),
    /// Anything: strings as their text, all else as its JSON. Where no schema is known.
    Any,
}

/// Unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the unit of its name")]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Encoding {
    /// From a Connect schema, with the type that fits it.
    pub fn of_schema(schema: &ConnectSchema) -> (Self, ColumnType) {
        use ColumnType as T;
        let parameter = |name: &str| {
            let found = schema.parameters.iter().find(|(known, _)| known == name);
            found.and_then(|(_, value)| value.parse::<i32>().ok())
        };
        if let Some(found) = Self::of_name(schema, &parameter) {
            return found;
        }
        match &schema.kind {
            SchemaKind::Boolean => (Self::Boolean, T::Boolean),
            SchemaKind::Int8 => (Self::Whole(8), T::Int16),
            SchemaKind::Int16 => (Self::Whole(16), T::Int16),
            SchemaKind::Int32 => (Self::Whole(32), T::Int32),
            SchemaKind::Int64 => (Self::Whole(64), T::Int64),
            SchemaKind::Float32 => (Self::Number, T::Float32),
            SchemaKind::Float64 => (Self::Number, T::Float64),
            SchemaKind::String => (Self::Text, T::Text),
            SchemaKind::Bytes => (Self::Base64, T::Bytes),
            SchemaKind::Array(element) => {
                let (encoding, column_type) = Self::of_schema(element);
                (Self::Array(Box::new(encoding)), T::Array(Box::new(column_type)))
            }
            SchemaKind::Map(..) | SchemaKind::Struct(_) => (Self::JsonText, T::Jsonb),
        }
    }

    fn of_name(
        schema: &ConnectSchema,
        parameter: &dyn Fn(&str) -> Option<i32>,
    ) -> Option<(Self, ColumnType)> {
        use ColumnType as T;
        Some(match schema.name.as_deref()? {
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => (Self::Days, T::Date),
            "io.debezium.time.IsoDate" => (Self::IsoDate, T::Date),
            "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => {
                (Self::Time(Unit::Millis), T::Time)
            }
            "io.debezium.time.MicroTime" => (Self::Time(Unit::Micros), T::Time),
            "io.debezium.time.NanoTime" => (Self::Time(Unit::Nanos), T::Time),
            "io.debezium.time.IsoTime" => (Self::IsoTime, T::Time),
            "io.debezium.time.ZonedTime" => (Self::ZonedTime, T::TimeTz),
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
                (Self::Timestamp(Unit::Millis), T::Timestamp)
            }
            "io.debezium.time.MicroTimestamp" => (Self::Timestamp(Unit::Micros), T::Timestamp),
            "io.debezium.time.NanoTimestamp" => (Self::Timestamp(Unit::Nanos), T::Timestamp),
            "io.debezium.time.IsoTimestamp" => (Self::IsoTimestamp, T::Timestamp),
            "io.debezium.time.ZonedTimestamp" => (Self::ZonedTimestamp, T::TimestampTz),
            "io.debezium.time.MicroDuration" => (Self::IntervalMicros, T::Interval),
            "io.debezium.time.Interval" => (Self::IntervalText, T::Interval),
            "io.debezium.data.Json" => (Self::Text, T::Json),
            "io.debezium.data.Xml" => (Self::Text, T::BuiltIn("xml".to_owned())),
            "io.debezium.data.Uuid" => (Self::Text, T::Uuid),
            "io.debezium.data.Tsvector" => (Self::Text, T::BuiltIn("tsvector".to_owned())),
            "io.debezium.data.Bits" => {
                let length = parameter("length").and_then(|length| usize::try_from(length).ok());
                let fixed = length.filter(|length| *length != MAX_LENGTH);
                (Self::Bits(fixed), T::BuiltIn("bit varying".to_owned()))
            }
            "io.debezium.data.VariableScaleDecimal" => (Self::VariableScaleDecimal, T::Numeric),
            "org.apache.kafka.connect.data.Decimal" => {
                let scale = parameter("scale").unwrap_or_default();
                let precision = parameter("connect.decimal.precision");
                let sizes = (precision.map(u32::try_from), u32::try_from(scale));
                let column_type = match sizes {
                    (Some(Ok(precision)), Ok(scale)) if scale <= precision => {
                        T::Decimal(precision, scale)
                    }
                    _ => T::Numeric,
                };
                (Self::Decimal(scale), column_type)
            }
            "io.debezium.data.geometry.Point" => (Self::Point, T::BuiltIn("point".to_owned())),
            "io.debezium.data.geometry.Geometry" | "io.debezium.data.geometry.Geography" => {
                (Self::Geometry, T::Bytes)
            }
            _ => return None,
        })
    }

    /// How values of a column of this type stand in Debezium's JSON by its defaults, where nobody
    /// says it. `millis`: it has three digits of a second at most.
    pub fn of_type(column_type: &ColumnType, millis: bool) -> Self {
        use ColumnType as T;
        match column_type {
            T::Boolean => Self::Boolean,
            T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 => Self::Number,
            T::Numeric => Self::VariableScaleDecimal,
            T::Decimal(precision, scale) => Self::UnsaidDecimal(*precision, *scale),
            T::Bytes => Self::Base64,
            T::Date => Self::Days,
            T::Time if millis => Self::Time(Unit::Millis),
            T::Time => Self::Time(Unit::Micros),
            T::TimeTz => Self::ZonedTime,
            T::Timestamp if millis => Self::Timestamp(Unit::Millis),
            T::Timestamp => Self::Timestamp(Unit::Micros),
            T::TimestampTz => Self::ZonedTimestamp,
            T::Interval => Self::IntervalMicros,
            T::Array(element) => Self::Array(Box::new(Self::of_type(element, millis))),
            T::Uuid | T::Json | T::Jsonb | T::BuiltIn(_) | T::Text | T::Varchar(_) => Self::Any,
        }
    }
}

/// Length that Debezium gives a bit string without one.
const MAX_LENGTH: usize = 2_147_483_647;
