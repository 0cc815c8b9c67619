//! Which PostgreSQL type becomes what: the table of the manual's page on data types.
//!
//! Source: Debezium 3.6.1.Final, "Data type mappings" of the PostgreSQL connector, as its recorded
//! output shows them.

use crate::capture::catalog::TypeCatalog;
use crate::capture::catalog::TypeKind;
use crate::capture::change::mask::Masked;
use crate::capture::change::settings::BinaryMode;
use crate::capture::change::settings::DecimalMode;
use crate::capture::change::settings::Fidelity;
use crate::capture::change::settings::HstoreMode;
use crate::capture::change::settings::IntervalMode;
use crate::capture::change::settings::TimePrecisionMode;
use crate::capture::change::settings::ValueSettings;
use crate::envelope::schema::ConnectSchema;
use crate::envelope::schema::Field;
use crate::envelope::schema::SchemaKind;
use crate::oid::Oid;
use crate::oid::types;

/// How a value's text becomes JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `t` and `f`.
    Boolean,
    /// Digits, as they are.
    Integer,
    /// Java's spelling of a 32-bit float.
    Float32,
    /// Java's spelling of a 64-bit float.
    Float64,
    /// A decimal as text.
    DecimalText,
    /// A decimal as text, with zeros up to a scale that the server does not print.
    PaddedDecimalText {
        /// Digits after the point.
        scale: usize,
    },
    /// A decimal as a 64-bit float.
    DecimalDouble,
    /// Unscaled bytes at a fixed scale.
    Decimal {
        /// Digits after the point.
        scale: usize,
    },
    /// Unscaled bytes and their own scale.
    VariableScaleDecimal,
    /// `money` as unscaled bytes.
    MoneyDecimal {
        /// Digits after the point.
        scale: usize,
    },
    /// `money` as a 64-bit float.
    MoneyDouble,
    /// `money` as decimal text.
    MoneyText,
    /// The text itself.
    Text,
    /// `bytea`.
    Bytea(BinaryMode),
    /// The text's own bytes, for a type that is not known.
    TextBytes(BinaryMode),
    /// The same of a geometric type, as PostgreSQL's JDBC driver prints it.
    JdbcText(BinaryMode),
    /// A bit string of one bit.
    Bit,
    /// A longer bit string.
    Bits,
    /// Days since 1970.
    Date,
    /// ISO 8601 date.
    IsoDate,
    /// Time of day.
    Time(TimeUnit),
    /// Timestamp without time zone.
    Timestamp(TimeUnit),
    /// ISO 8601 at UTC with so many fractional digits.
    ZonedTimestamp {
        /// 0 to 6.
        digits: u32,
    },
    /// ISO 8601 time of day at UTC.
    ZonedTime,
    /// Microseconds.
    IntervalMicros,
    /// ISO 8601 duration.
    IntervalText,
    /// A string of JSON.
    HstoreJson,
    /// A map.
    HstoreMap,
    /// x, y and well-known binary.
    Point,
    /// Extended well-known binary and reference system.
    Geometry,
    /// An array of 64-bit floats.
    Vector64,
    /// An array of 32-bit floats.
    Vector32,
    /// Dimensions and a map from index to number.
    SparseVector,
    /// An array.
    Array(Box<ArrayKind>),
    /// Debezium has a schema for the column but no value: this JSON, null where it may be.
    Unreadable(&'static str),
    /// Masked, hashed or truncated.
    Masked(Box<Masked>),
}

/// Elements of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayKind {
    /// What each element is.
    pub element: Kind,
    /// The element's schema allows null.
    pub nullable: bool,
    /// What separates elements in the text.
    pub delimiter: u8,
    /// An array of arrays is written as such, although the schema has no place for it.
    pub nested: bool,
    /// Whose rules hold for what the schema has no place for.
    pub fidelity: Fidelity,
}

/// Unit of a time or a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the unit of its name")]
pub enum TimeUnit {
    Millis,
    Micros,
    Nanos,
    Iso,
}

/// A column's form: how to write it, and its schema, required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnType {
    /// How.
    pub kind: Kind,
    /// As what.
    pub schema: ConnectSchema,
}

impl ColumnType {
    fn new(kind: Kind, schema: ConnectSchema) -> Self {
        ColumnType { kind, schema }
    }

    fn plain(kind: Kind, schema: SchemaKind) -> Self {
        ColumnType { kind, schema: ConnectSchema::of(schema) }
    }

    fn named(kind: Kind, schema: SchemaKind, name: &'static str) -> Self {
        ColumnType { kind, schema: ConnectSchema::named(schema, name) }
    }

    /// The form of a column of this type; `None` if it is left out.
    pub fn of(
        types: &TypeCatalog,
        oid: Oid,
        type_modifier: i32,
        settings: &ValueSettings,
    ) -> Option<Self> {
        let (oid, type_modifier) = types.resolve(oid, type_modifier);
        let element = match types.get(oid).map(|facts| &facts.kind) {
            Some(TypeKind::Array { element }) => *element,
            _ => {
                let known = scalar(types, oid, type_modifier, settings);
                return known.or_else(|| unknown(oid, settings));
            }
        };
        array(types, element, type_modifier, settings).or_else(|| {
            match settings.fidelity {
                Fidelity::Exact => unknown(element, settings),
                Fidelity::Debezium if NEVER_IN_ARRAYS.contains(&element) => None,
                // Debezium sends arrays of unknown elements as arrays of their bytes.
                Fidelity::Debezium => unknown(element, settings)
                    .map(|bytes| array_of(bytes, delimiter(types, element), false, settings)),
            }
        })
    }
}

/// A type that Debezium does not know: text, bytes, or nothing.
fn unknown(oid: Oid, settings: &ValueSettings) -> Option<ColumnType> {
    let mode = match (settings.fidelity, settings.include_unknown) {
        (Fidelity::Exact, _) => return Some(ColumnType::plain(Kind::Text, SchemaKind::String)),
        (Fidelity::Debezium, false) => return None,
        (Fidelity::Debezium, true) => settings.binary,
    };
    let kind = match oid {
        types::LINE | types::LSEG | types::BOX | types::PATH | types::POLYGON | types::CIRCLE => {
            Kind::JdbcText(mode)
        }
        _ => Kind::TextBytes(mode),
    };
    let bytes = mode == BinaryMode::Bytes;
    Some(ColumnType::plain(kind, if bytes { SchemaKind::Bytes } else { SchemaKind::String }))
}

fn scalar(
    types: &TypeCatalog,
    oid: Oid,
    type_modifier: i32,
    settings: &ValueSettings,
) -> Option<ColumnType> {
    if let Some(facts) = types.get(oid) {
        if let TypeKind::Enum { labels } = &facts.kind {
            let schema = ConnectSchema::named(SchemaKind::String, "io.debezium.data.Enum")
                .parameter("allowed", labels.join(","));
            return Some(ColumnType::new(Kind::Text, schema));
        }
        if facts.kind != TypeKind::Base {
            return None;
        }
    }
    built_in(oid, type_modifier, settings).or_else(|| {
        let name = &types.get(oid)?.name;
        extension(name, settings)
    })
}

/// Types with a fixed id.
fn built_in(oid: Oid, type_modifier: i32, settings: &ValueSettings) -> Option<ColumnType> {
    use SchemaKind as S;
    Some(match oid {
        types::BOOL => ColumnType::plain(Kind::Boolean, S::Boolean),
        types::INT2 => ColumnType::plain(Kind::Integer, S::Int16),
        types::INT4 => ColumnType::plain(Kind::Integer, S::Int32),
        types::INT8 | types::OID => ColumnType::plain(Kind::Integer, S::Int64),
        types::FLOAT4 => ColumnType::plain(Kind::Float32, S::Float32),
        types::FLOAT8 => ColumnType::plain(Kind::Float64, S::Float64),
        types::NUMERIC => numeric(type_modifier, settings),
        types::MONEY => money(settings),
        types::TEXT | types::VARCHAR | types::BPCHAR | types::NAME | types::CHAR => {
            ColumnType::plain(Kind::Text, S::String)
        }
        types::INET | types::CIDR | types::MACADDR | types::MACADDR8 => {
            ColumnType::plain(Kind::Text, S::String)
        }
        types::INT4RANGE | types::INT8RANGE | types::NUMRANGE => {
            ColumnType::plain(Kind::Text, S::String)
        }
        types::TSRANGE | types::TSTZRANGE | types::DATERANGE => {
            ColumnType::plain(Kind::Text, S::String)
        }
        types::JSON | types::JSONB => {
            ColumnType::named(Kind::Text, S::String, "io.debezium.data.Json")
        }
        types::XML => ColumnType::named(Kind::Text, S::String, "io.debezium.data.Xml"),
        types::UUID => ColumnType::named(Kind::Text, S::String, "io.debezium.data.Uuid"),
        types::TSVECTOR => ColumnType::named(Kind::Text, S::String, "io.debezium.data.Tsvector"),
        types::BYTEA => match settings.binary {
            BinaryMode::Bytes => ColumnType::plain(Kind::Bytea(BinaryMode::Bytes), S::Bytes),
            mode => ColumnType::plain(Kind::Bytea(mode), S::String),
        },
        types::BIT | types::VARBIT => bits(type_modifier),
        types::DATE => date(settings),
        types::TIME => time(type_modifier, settings),
        types::TIMESTAMP => timestamp(type_modifier, settings),
        types::TIMESTAMPTZ => ColumnType::named(
            Kind::ZonedTimestamp { digits: precision(type_modifier) },
            S::String,
            "io.debezium.time.ZonedTimestamp",
        ),
        types::TIMETZ => {
            ColumnType::named(Kind::ZonedTime, S::String, "io.debezium.time.ZonedTime")
        }
        types::INTERVAL => match settings.interval {
            IntervalMode::Numeric => {
                ColumnType::named(Kind::IntervalMicros, S::Int64, "io.debezium.time.MicroDuration")
            }
            IntervalMode::String => {
                ColumnType::named(Kind::IntervalText, S::String, "io.debezium.time.Interval")
            }
        },
        types::POINT => point(),
        _ => return None,
    })
}

/// Types of extensions, known by name in whichever schema they lie.
fn extension(name: &str, settings: &ValueSettings) -> Option<ColumnType> {
    use SchemaKind as S;
    Some(match name {
        "citext" | "isbn" => ColumnType::plain(Kind::Text, S::String),
        "ltree" => ColumnType::named(Kind::Text, S::String, "io.debezium.data.Ltree"),
        "hstore" => match settings.hstore {
            HstoreMode::Json => {
                ColumnType::named(Kind::HstoreJson, S::String, "io.debezium.data.Json")
            }
            HstoreMode::Map => ColumnType::plain(
                Kind::HstoreMap,
                S::Map(
                    Box::new(ConnectSchema::of(S::String)),
                    Box::new(ConnectSchema::of(S::String).optional()),
                ),
            ),
        },
        "geometry" => geometry("io.debezium.data.geometry.Geometry", "Geometry"),
        "geography" => geometry("io.debezium.data.geometry.Geography", "Geography"),
        "vector" => ColumnType::named(
            Kind::Vector64,
            S::Array(Box::new(ConnectSchema::of(S::Float64))),
            "io.debezium.data.DoubleVector",
        ),
        "halfvec" => ColumnType::named(
            Kind::Vector32,
            S::Array(Box::new(ConnectSchema::of(S::Float32))),
            "io.debezium.data.FloatVector",
        ),
        "sparsevec" => {
            let numbers = S::Map(
                Box::new(ConnectSchema::of(S::Int16)),
                Box::new(ConnectSchema::of(S::Float64)),
            );
            let fields = vec![
                Field::new("dimensions", ConnectSchema::of(S::Int16)),
                Field::new("vector", ConnectSchema::of(numbers)),
            ];
            let schema =
                ConnectSchema::named(S::Struct(fields), "io.debezium.data.SparseDoubleVector")
                    .doc("Sparse double vector");
            ColumnType::new(Kind::SparseVector, schema)
        }
        _ => return None,
    })
}

/// Precision and scale of a `numeric` modifier; the scale is signed in eleven bits.
pub(super) fn numeric_modifier(type_modifier: i32) -> Option<(i32, i32)> {
    let packed = type_modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    Some((packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 0x400) - 0x400))
}

fn numeric(type_modifier: i32, settings: &ValueSettings) -> ColumnType {
    match settings.decimal {
        DecimalMode::String => return numeric_text(type_modifier, settings),
        DecimalMode::Double => return ColumnType::plain(Kind::DecimalDouble, SchemaKind::Float64),
        DecimalMode::Precise => {}
    }
    let Some((precision, scale)) = numeric_modifier(type_modifier) else {
        let fields = vec![
            Field::new("scale", ConnectSchema::of(SchemaKind::Int32)),
            Field::new("value", ConnectSchema::of(SchemaKind::Bytes)),
        ];
        let schema = ConnectSchema::named(
            SchemaKind::Struct(fields),
            "io.debezium.data.VariableScaleDecimal",
        )
        .doc("Variable scaled decimal");
        return ColumnType::new(Kind::VariableScaleDecimal, schema);
    };
    let schema = decimal_schema(debezium_scale(scale));
    let schema = schema.parameter("connect.decimal.precision", precision);
    let scale = usize::try_from(debezium_scale(scale)).unwrap_or_default();
    ColumnType::new(Kind::Decimal { scale }, schema)
}

/// Debezium reads a modifier's eleven bits as unsigned, so that a scale of -2 becomes 2046.
fn debezium_scale(scale: i32) -> i32 {
    if scale < 0 { scale + 0x800 } else { scale }
}

fn numeric_text(type_modifier: i32, settings: &ValueSettings) -> ColumnType {
    let negative = numeric_modifier(type_modifier).map(|(_, scale)| scale).filter(|s| *s < 0);
    let kind = match (negative, settings.fidelity) {
        (Some(scale), Fidelity::Debezium) => Kind::PaddedDecimalText {
            scale: usize::try_from(debezium_scale(scale)).unwrap_or_default(),
        },
        _ => Kind::DecimalText,
    };
    ColumnType::plain(kind, SchemaKind::String)
}

fn decimal_schema(scale: i32) -> ConnectSchema {
    ConnectSchema::named(SchemaKind::Bytes, "org.apache.kafka.connect.data.Decimal")
        .parameter("scale", scale)
}

fn money(settings: &ValueSettings) -> ColumnType {
    match settings.decimal {
        DecimalMode::String => ColumnType::plain(Kind::MoneyText, SchemaKind::String),
        DecimalMode::Double => ColumnType::plain(Kind::MoneyDouble, SchemaKind::Float64),
        DecimalMode::Precise => ColumnType::new(
            Kind::MoneyDecimal { scale: usize::from(settings.money_fraction_digits) },
            decimal_schema(i32::from(settings.money_fraction_digits)),
        ),
    }
}

fn bits(type_modifier: i32) -> ColumnType {
    if type_modifier == 1 {
        return ColumnType::plain(Kind::Bit, SchemaKind::Boolean);
    }
    let length = if type_modifier < 0 { i32::MAX } else { type_modifier };
    let schema = ConnectSchema::named(SchemaKind::Bytes, "io.debezium.data.Bits")
        .parameter("length", length);
    ColumnType::new(Kind::Bits, schema)
}

fn date(settings: &ValueSettings) -> ColumnType {
    use SchemaKind as S;
    match settings.time_precision {
        TimePrecisionMode::IsoString => {
            ColumnType::named(Kind::IsoDate, S::String, "io.debezium.time.IsoDate")
        }
        TimePrecisionMode::Connect => {
            ColumnType::named(Kind::Date, S::Int32, "org.apache.kafka.connect.data.Date")
        }
        _ => ColumnType::named(Kind::Date, S::Int32, "io.debezium.time.Date"),
    }
}

/// Fractional digits of a time or a timestamp.
fn precision(type_modifier: i32) -> u32 {
    u32::try_from(type_modifier).map_or(6, |digits| digits.min(6))
}

fn time(type_modifier: i32, settings: &ValueSettings) -> ColumnType {
    use SchemaKind as S;
    use TimePrecisionMode as Mode;
    let millis = precision(type_modifier) <= 3;
    match settings.time_precision {
        Mode::Adaptive if millis => {
            ColumnType::named(Kind::Time(TimeUnit::Millis), S::Int32, "io.debezium.time.Time")
        }
        Mode::Connect => ColumnType::named(
            Kind::Time(TimeUnit::Millis),
            S::Int32,
            "org.apache.kafka.connect.data.Time",
        ),
        Mode::IsoString => {
            ColumnType::named(Kind::Time(TimeUnit::Iso), S::String, "io.debezium.time.IsoTime")
        }
        Mode::Nanoseconds => {
            ColumnType::named(Kind::Time(TimeUnit::Nanos), S::Int64, "io.debezium.time.NanoTime")
        }
        Mode::Adaptive | Mode::AdaptiveTimeMicroseconds | Mode::Microseconds => {
            ColumnType::named(Kind::Time(TimeUnit::Micros), S::Int64, "io.debezium.time.MicroTime")
        }
    }
}

fn timestamp(type_modifier: i32, settings: &ValueSettings) -> ColumnType {
    use SchemaKind as S;
    use TimePrecisionMode as Mode;
    let millis = precision(type_modifier) <= 3;
    let (unit, schema, name) = match settings.time_precision {
        Mode::Adaptive | Mode::AdaptiveTimeMicroseconds if millis => {
            (TimeUnit::Millis, S::Int64, "io.debezium.time.Timestamp")
        }
        Mode::Adaptive | Mode::AdaptiveTimeMicroseconds | Mode::Microseconds => {
            (TimeUnit::Micros, S::Int64, "io.debezium.time.MicroTimestamp")
        }
        Mode::Connect => (TimeUnit::Millis, S::Int64, "org.apache.kafka.connect.data.Timestamp"),
        Mode::IsoString => (TimeUnit::Iso, S::String, "io.debezium.time.IsoTimestamp"),
        Mode::Nanoseconds => (TimeUnit::Nanos, S::Int64, "io.debezium.time.NanoTimestamp"),
    };
    ColumnType::named(Kind::Timestamp(unit), schema, name)
}

fn point() -> ColumnType {
    use SchemaKind as S;
    let fields = vec![
        Field::new("x", ConnectSchema::of(S::Float64)),
        Field::new("y", ConnectSchema::of(S::Float64)),
        Field::new("wkb", ConnectSchema::of(S::Bytes).optional()),
        Field::new("srid", ConnectSchema::of(S::Int32).optional()),
    ];
    let schema = ConnectSchema::named(S::Struct(fields), "io.debezium.data.geometry.Point")
        .doc("Geometry (POINT)");
    ColumnType::new(Kind::Point, schema)
}

fn geometry(name: &'static str, doc: &'static str) -> ColumnType {
    let fields = vec![
        Field::new("wkb", ConnectSchema::of(SchemaKind::Bytes)),
        Field::new("srid", ConnectSchema::of(SchemaKind::Int32).optional()),
    ];
    let schema = ConnectSchema::named(SchemaKind::Struct(fields), name).doc(doc);
    ColumnType::new(Kind::Geometry, schema)
}

/// Arrays whose elements Debezium knows; the others are unknown types.
fn array(
    types: &TypeCatalog,
    element: Oid,
    type_modifier: i32,
    settings: &ValueSettings,
) -> Option<ColumnType> {
    let facts = types.get(element);
    let exact = settings.fidelity == Fidelity::Exact;
    match element {
        types::BIT if exact => return None,
        // The schema is the element's and no value is ever read.
        types::BIT => {
            let scalar = bits(type_modifier);
            let fallback = if scalar.kind == Kind::Bit { "false" } else { "\"\"" };
            return Some(ColumnType::new(Kind::Unreadable(fallback), scalar.schema));
        }
        _ if NEVER_IN_ARRAYS.contains(&element) => return None,
        _ => {}
    }
    let extension_array = facts.is_none_or(|facts| match facts.kind {
        TypeKind::Base if element.0 >= FIRST_NORMAL_OID => {
            matches!(&*facts.name, "citext" | "ltree" | "hstore" | "geometry" | "geography")
        }
        TypeKind::Base | TypeKind::Enum { .. } => true,
        _ => false,
    });
    if !extension_array {
        return None;
    }
    let element_type = scalar(types, element, type_modifier, settings)?;
    let nullable = !types.is_enum(element) && element != types::TSVECTOR;
    Some(array_of(element_type, delimiter(types, element), nullable, settings))
}

/// What stands between the elements of an array of this type, its `typdelim`.
fn delimiter(types: &TypeCatalog, element: Oid) -> u8 {
    match types.get(element).map(|facts| &*facts.name) {
        _ if element == types::BOX => b';',
        Some("geometry" | "geography") => b':',
        _ => b',',
    }
}

/// Known types whose arrays Debezium leaves out whatever it is told.
const NEVER_IN_ARRAYS: [Oid; 7] = [
    types::MONEY,
    types::NAME,
    types::INTERVAL,
    types::VARBIT,
    types::XML,
    types::POINT,
    types::REFCURSOR,
];

/// Ids from here on are given to objects that users create.
const FIRST_NORMAL_OID: u32 = 16_384;

fn array_of(
    element: ColumnType,
    delimiter: u8,
    nullable: bool,
    settings: &ValueSettings,
) -> ColumnType {
    let schema = ConnectSchema { optional: nullable, ..element.schema };
    let kind = ArrayKind {
        element: element.kind,
        nullable,
        delimiter,
        nested: settings.fidelity == Fidelity::Exact && !settings.value_schemas,
        fidelity: settings.fidelity,
    };
    ColumnType::plain(Kind::Array(Box::new(kind)), SchemaKind::Array(Box::new(schema)))
}
