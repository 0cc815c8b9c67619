//! What a value looks like in JSON, from the text that PostgreSQL prints for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Number;
use serde_json::Value;

use super::temporal;

/// How the values of a column are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `true`, `false`.
    Boolean,
    /// A JSON integer.
    Integer,
    /// A JSON number; `"NaN"`, `"Infinity"`, `"-Infinity"`.
    Float,
    /// A decimal in a string, with the scale of the column.
    ScaledNumeric,
    /// A decimal in a string; trailing zeros do not count.
    Numeric,
    /// Days since 1970.
    Date,
    /// Milliseconds of the day up to precision 3, else microseconds.
    Time {
        /// Digits after the point.
        digits: u32,
    },
    /// Milliseconds since 1970 up to precision 3, else microseconds, as if the zone were UTC.
    Timestamp {
        /// Digits after the point.
        digits: u32,
    },
    /// ISO 8601 in UTC with the column's precision.
    Timestamptz {
        /// Digits after the point.
        digits: u32,
    },
    /// ISO 8601 with every part: `P1Y2M3DT4H5M6.78S`.
    Interval,
    /// Base64.
    Bytea,
    /// The text itself: text types, JSON, uuid, enums, and whatever has no kind of its own.
    Text,
    /// A JSON array.
    Array(Box<Self>),
}

impl Kind {
    /// The kind of a type of `pg_catalog`, no array and no domain.
    pub(super) fn of_builtin(name: &str, typmod: i32) -> Self {
        let digits = u32::try_from(typmod).unwrap_or(6);
        match name {
            "bool" => Self::Boolean,
            "int2" | "int4" | "int8" | "oid" => Self::Integer,
            "float4" | "float8" => Self::Float,
            "numeric" if typmod >= 0 => Self::ScaledNumeric,
            "numeric" => Self::Numeric,
            "date" => Self::Date,
            "time" => Self::Time { digits },
            "timestamp" => Self::Timestamp { digits },
            "timestamptz" => Self::Timestamptz { digits },
            "interval" => Self::Interval,
            "bytea" => Self::Bytea,
            _ => Self::Text,
        }
    }

    /// The JSON value for PostgreSQL's text.
    ///
    /// # Panics
    ///
    /// If this is no text that PostgreSQL prints for such a value.
    pub fn expected(&self, text: &str) -> Value {
        match self {
            Self::Boolean => Value::Bool(match text {
                "t" => true,
                "f" => false,
                other => panic!("{other:?} is no boolean"),
            }),
            Self::Integer => Value::from(text.parse::<i64>().expect("PostgreSQL prints integers")),
            Self::Float => float(text),
            Self::ScaledNumeric | Self::Numeric => Value::from(match text {
                "NaN" => "NAN",
                "Infinity" => "POSITIVE_INFINITY",
                "-Infinity" => "NEGATIVE_INFINITY",
                number => number,
            }),
            Self::Date => temporal::date(text),
            Self::Time { digits } => temporal::time(text, *digits),
            Self::Timestamp { digits } => temporal::timestamp(text, *digits),
            Self::Timestamptz { digits } => temporal::timestamptz(text, *digits),
            Self::Interval => temporal::interval(text),
            Self::Bytea => Value::from(STANDARD.encode(hex(text))),
            Self::Text => Value::from(text),
            Self::Array(element) => array(text, element),
        }
    }

    /// The value with that taken away which does not count: how a number is spelled.
    pub(super) fn canonical(&self, value: &Value) -> Value {
        match (self, value) {
            (Self::Float, Value::Number(number)) => match number.as_f64() {
                Some(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
                None => value.clone(),
            },
            (Self::Numeric, Value::String(text)) => Value::from(without_trailing_zeros(text)),
            (Self::Array(element), Value::Array(elements)) => elements
                .iter()
                .map(|value| match value {
                    Value::Array(_) => self.canonical(value),
                    scalar => element.canonical(scalar),
                })
                .collect(),
            _ => value.clone(),
        }
    }
}

fn float(text: &str) -> Value {
    match text {
        "NaN" | "Infinity" | "-Infinity" => Value::from(text),
        // A float4 is the decimal that PostgreSQL prints for it, not its longer value as a double.
        number => Value::from(number.parse::<f64>().expect("PostgreSQL prints floats")),
    }
}

/// Only of plain decimals: anything else stays as it is, and differs.
fn without_trailing_zeros(text: &str) -> &str {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain && text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix("\\x").expect("bytea_output is hex").as_bytes();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hex digits are ASCII");
        u8::from_str_radix(pair, 16).expect("two hex digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// `{1,NULL,"a b"}`, also nested and with bounds before it: `[0:1]={7,8}`.
fn array(text: &str, element: &Kind) -> Value {
    let body = match text.split_once('=') {
        Some((bounds, body)) if bounds.starts_with('[') => body,
        _ => text,
    };
    let mut rest = body.chars().peekable();
    let value = array_level(&mut rest, element);
    assert!(rest.next().is_none(), "something follows the array {text:?}");
    value
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn array_level(rest: &mut Characters<'_>, element: &Kind) -> Value {
    assert_eq!(rest.next(), Some('{'), "an array begins with a brace");
    let mut elements = Vec::new();
    if rest.next_if_eq(&'}').is_some() {
        return Value::Array(elements);
    }
    loop {
        elements.push(match rest.peek() {
            Some('{') => array_level(rest, element),
            Some('"') => element.expected(&quoted(rest)),
            _ => match bare(rest).as_str() {
                "NULL" => Value::Null,
                text => element.expected(text),
            },
        });
        match rest.next() {
            Some(',') => {}
            Some('}') => return Value::Array(elements),
            other => panic!("{other:?} in an array"),
        }
    }
}

fn quoted(rest: &mut Characters<'_>) -> String {
    let mut text = String::new();
    rest.next();
    loop {
        match rest.next().expect("a quote ends") {
            '"' => return text,
            '\\' => text.push(rest.next().expect("something is escaped")),
            plain => text.push(plain),
        }
    }
}

fn bare(rest: &mut Characters<'_>) -> String {
    let mut text = String::new();
    while let Some(plain) = rest.next_if(|character| !matches!(character, ',' | '}')) {
        text.push(plain);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Kind;

    #[test]
    fn scalars() {
        assert_eq!(Kind::Boolean.expected("t"), json!(true));
        assert_eq!(Kind::Integer.expected("-9223372036854775808"), json!(i64::MIN));
        assert_eq!(Kind::Float.expected("NaN"), json!("NaN"));
        assert_eq!(Kind::Float.expected("1e-05"), json!(1e-5));
        assert_eq!(Kind::ScaledNumeric.expected("1.10"), json!("1.10"));
        assert_eq!(Kind::Numeric.expected("NaN"), json!("NAN"));
        assert_eq!(Kind::Bytea.expected("\\x00ff10"), json!("AP8Q"));
        assert_eq!(Kind::Bytea.expected("\\x"), json!(""));
    }

    #[test]
    fn arrays() {
        let integers = Kind::Array(Box::new(Kind::Integer));
        assert_eq!(integers.expected("{1,2,NULL}"), json!([1, 2, null]));
        assert_eq!(integers.expected("[0:1]={7,8}"), json!([7, 8]));
        assert_eq!(integers.expected("{{1,2},{3,4}}"), json!([[1, 2], [3, 4]]));
        let texts = Kind::Array(Box::new(Kind::Text));
        assert_eq!(texts.expected("{}"), json!([]));
        let text = r#"{a,"b,c",NULL,"NULL","","\\","\"","{}"," ",a=b}"#;
        let elements = json!(["a", "b,c", null, "NULL", "", "\\", "\"", "{}", " ", "a=b"]);
        assert_eq!(texts.expected(text), elements);
    }

    #[test]
    fn spelling_counts_only_where_it_should() {
        assert_eq!(Kind::Numeric.canonical(&json!("100.00")), json!("100"));
        assert_eq!(Kind::Numeric.canonical(&json!("100")), json!("100"));
        assert_eq!(Kind::Numeric.canonical(&json!("1E+2")), json!("1E+2"));
        assert_eq!(Kind::ScaledNumeric.canonical(&json!("1.10")), json!("1.10"));
        assert_eq!(Kind::Float.canonical(&json!(1)).to_string(), "1.0");
        assert_eq!(Kind::Float.canonical(&json!(-0.0)).to_string(), "-0.0");
        assert_eq!(Kind::Integer.canonical(&json!(1.0)).to_string(), "1.0");
        let numerics = Kind::Array(Box::new(Kind::Numeric));
        assert_eq!(numerics.canonical(&json!(["1.50", null])), json!(["1.5", null]));
    }
}
