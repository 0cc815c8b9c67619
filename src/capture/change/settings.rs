//! How values become JSON.

/// `decimal.handling.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalMode {
    /// Exact, as bytes with a scale.
    Precise,
    /// As a 64-bit float.
    Double,
    /// As text.
    String,
}

/// `decimal.format` of the JSON converter, for exact decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalFormat {
    /// The unscaled value's bytes in base64.
    Base64,
    /// A JSON number.
    Numeric,
}

/// `interval.handling.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalMode {
    /// Microseconds, with months of an average length.
    Numeric,
    /// ISO 8601, exact.
    String,
}

/// `binary.handling.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryMode {
    /// Bytes (base64 in JSON).
    Bytes,
    /// Text in base64.
    Base64,
    /// Text in the base64 alphabet for URLs.
    Base64UrlSafe,
    /// Text in hexadecimal.
    Hex,
}

/// `hstore.handling.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HstoreMode {
    /// A string of JSON.
    Json,
    /// A map.
    Map,
}

/// `time.precision.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimePrecisionMode {
    /// Milliseconds up to three fractional digits, microseconds beyond.
    Adaptive,
    /// The same for timestamps; times always in microseconds.
    AdaptiveTimeMicroseconds,
    /// Connect's own types, in milliseconds.
    Connect,
    /// ISO 8601 text.
    IsoString,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// `value.fidelity`: whose rules hold where Debezium's would lose a legal value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// Nothing legal is lost: unknown types are text, NULL stays null beside a default.
    Exact,
    /// Debezium's schemas and spelling throughout.
    Debezium,
}

impl Fidelity {
    /// Whether Debezium's rules hold.
    pub fn is_debezium(self) -> bool {
        self == Fidelity::Debezium
    }
}

/// Everything that decides the form of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSettings {
    /// Decimals.
    pub decimal: DecimalMode,
    /// Spelling of exact decimals in values.
    pub decimal_format: DecimalFormat,
    /// The same in keys.
    pub key_decimal_format: DecimalFormat,
    /// Intervals.
    pub interval: IntervalMode,
    /// `bytea`.
    pub binary: BinaryMode,
    /// `hstore`.
    pub hstore: HstoreMode,
    /// Dates and times.
    pub time_precision: TimePrecisionMode,
    /// Columns of unknown types are sent as the bytes of their text instead of being left out
    /// (`include.unknown.datatypes`); without effect under [`Fidelity::Exact`].
    pub include_unknown: bool,
    /// Digits after the point of `money` (`money.fraction.digits`).
    pub money_fraction_digits: u16,
    /// What stands for an unchanged TOASTed value (`unavailable.value.placeholder`).
    pub unavailable: Vec<u8>,
    /// Whose rules hold.
    pub fidelity: Fidelity,
    /// A null in a column with a default is written as the default
    /// (`replace.null.with.default` of the JSON converter).
    pub replace_null_with_default: bool,
    /// The same in keys.
    pub key_replace_null_with_default: bool,
    /// Keys and values carry their schemas (`schemas.enable` of the JSON converters).
    pub key_schemas: bool,
    /// See `key_schemas`.
    pub value_schemas: bool,
}

impl Default for ValueSettings {
    /// The defaults of flags and TOML files.
    fn default() -> Self {
        ValueSettings {
            decimal: DecimalMode::String,
            decimal_format: DecimalFormat::Base64,
            key_decimal_format: DecimalFormat::Base64,
            interval: IntervalMode::String,
            binary: BinaryMode::Bytes,
            hstore: HstoreMode::Json,
            time_precision: TimePrecisionMode::Adaptive,
            include_unknown: false,
            money_fraction_digits: 2,
            unavailable: crate::envelope::UNAVAILABLE_VALUE.as_bytes().to_vec(),
            fidelity: Fidelity::Exact,
            replace_null_with_default: false,
            key_replace_null_with_default: false,
            key_schemas: false,
            value_schemas: false,
        }
    }
}

impl ValueSettings {
    /// What `source.snapshot` says of a streamed change. Debezium leaves it null, and the converter
    /// writes the schema's default in its place unless it is told not to.
    pub fn streamed_marker(&self) -> Option<&'static str> {
        let null = self.fidelity == Fidelity::Debezium && !self.replace_null_with_default;
        if null { None } else { Some("false") }
    }

    /// The defaults of a Debezium file.
    pub fn debezium() -> Self {
        ValueSettings {
            decimal: DecimalMode::Precise,
            interval: IntervalMode::Numeric,
            fidelity: Fidelity::Debezium,
            replace_null_with_default: true,
            key_replace_null_with_default: true,
            key_schemas: true,
            value_schemas: true,
            ..ValueSettings::default()
        }
    }
}
