//! A value's JSON in an envelope, as the text that a warehouse takes.
//!
//! The text is PostgreSQL's output form under the settings that the agent pins (ISO dates, UTC),
//! but for bytes, which are bare hexadecimal, and for what [`Spelling`] says.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigInt;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::apply::merge::encoding::Encoding;
use crate::apply::merge::encoding::Unit;
use crate::apply::merge::temporal;
use crate::envelope::json::hexadecimal;

/// What differs between warehouses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// Arrays.
    pub arrays: ArrayForm,
    /// What follows a date before Christ, with its space.
    pub era: &'static str,
}

/// Form of an array's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrayForm {
    /// `{"a","b",NULL}`.
    Postgres,
    /// A JSON array of strings and nulls.
    Json,
}

/// A value is not what its column's schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueProblem {
    /// What was expected.
    pub expected: &'static str,
}

impl ValueProblem {
    /// From what was expected.
    pub fn new(expected: &'static str) -> Self {
        ValueProblem { expected }
    }
}

impl fmt::Display for ValueProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "expected {}", self.expected)
    }
}

impl std::error::Error for ValueProblem {}

/// Appends the text of a value that is not null; on an error `out` may end in a part of it.
///
/// # Errors
///
/// The JSON is not what the encoding says.
pub fn write(
    encoding: &Encoding,
    json: &str,
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueProblem> {
    match encoding {
        Encoding::Number => number(json, out),
        Encoding::Whole(bits) => whole(json, *bits, out),
        Encoding::Text => {
            out.extend_from_slice(string(json)?.as_bytes());
            Ok(())
        }
        Encoding::DecimalText => decimal_text(&string(json)?, out),
        Encoding::Boolean => boolean(json, [b"f", b"t"], out),
        Encoding::Bit => boolean(json, [b"0", b"1"], out),
        Encoding::Days => {
            temporal::date(integer(json)?, spelling, out);
            Ok(())
        }
        Encoding::Time(unit) => temporal::time(time_micros(*unit, integer(json)?)?, out),
        Encoding::Timestamp(unit) => timestamp(*unit, json, spelling, out),
        Encoding::IsoDate => temporal::iso_day(&string(json)?, spelling, out),
        Encoding::IsoTime => temporal::iso_time(&string(json)?, "", out),
        Encoding::ZonedTime => temporal::iso_time(&string(json)?, "+00", out),
        Encoding::IsoTimestamp => temporal::iso_timestamp(&string(json)?, "", spelling, out),
        Encoding::ZonedTimestamp => temporal::iso_timestamp(&string(json)?, "+00", spelling, out),
        Encoding::IntervalText => temporal::iso_interval(&string(json)?, out),
        Encoding::IntervalMicros => {
            temporal::interval_micros(integer(json)?, out);
            Ok(())
        }
        Encoding::Array(element) => array(element, json, spelling, out),
        _ => write_rare(encoding, json, out),
    }
}

fn write_rare(encoding: &Encoding, json: &str, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    match encoding {
        Encoding::Decimal(scale) => decimal(json, *scale, out),
        Encoding::UnsaidDecimal(precision, scale) => {
            unsaid_decimal(json, (*precision, *scale), out)
        }
        Encoding::VariableScaleDecimal => variable_scale_decimal(json, out),
        Encoding::Base64 => {
            hexadecimal(&bytes(json)?, out);
            Ok(())
        }
        Encoding::Bits(length) => bits(&bytes(json)?, *length, out),
        Encoding::Point => point(json, out),
        Encoding::Geometry => {
            let value: Value =
                serde_json::from_str(json).map_err(|_| ValueProblem::new("a geometry"))?;
            let wkb = value.get("wkb").and_then(Value::as_str);
            let wkb = wkb.ok_or(ValueProblem::new("a geometry with wkb"))?;
            let wkb = STANDARD.decode(wkb).map_err(|_| ValueProblem::new("wkb in base64"))?;
            hexadecimal(&wkb, out);
            Ok(())
        }
        Encoding::JsonText => {
            out.extend_from_slice(json.as_bytes());
            Ok(())
        }
        _ => {
            // Whatever is known of no schema.
            if json.starts_with('"') {
                out.extend_from_slice(string(json)?.as_bytes());
            } else {
                out.extend_from_slice(json.as_bytes());
            }
            Ok(())
        }
    }
}

/// A JSON string's text.
pub fn string(json: &str) -> Result<Cow<'_, str>, ValueProblem> {
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        Some(_) => {
            let text = serde_json::from_str::<String>(json);
            text.map(Cow::Owned).map_err(|_| ValueProblem::new("a string"))
        }
        None => Err(ValueProblem::new("a string")),
    }
}

fn integer(json: &str) -> Result<i64, ValueProblem> {
    json.parse().map_err(|_| ValueProblem::new("a whole number"))
}

/// A value that its own schema cannot hold is no value of that column, whatever a warehouse would
/// make of it.
fn whole(json: &str, bits: u32, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    let value = integer(json)?;
    if bits < i64::BITS && !(-1..=0).contains(&(value >> (bits - 1))) {
        return Err(ValueProblem::new("a whole number that its schema's type holds"));
    }
    out.extend_from_slice(json.as_bytes());
    Ok(())
}

fn number(json: &str, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        out.extend_from_slice(json.as_bytes());
        return Ok(());
    }
    match &*string(json).map_err(|_| ValueProblem::new("a number"))? {
        text @ ("NaN" | "Infinity" | "-Infinity") => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        _ => Err(ValueProblem::new("a number")),
    }
}

fn boolean(json: &str, words: [&[u8]; 2], out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    let [no, yes] = words;
    out.extend_from_slice(match json {
        "true" => yes,
        "false" => no,
        _ => return Err(ValueProblem::new("true or false")),
    });
    Ok(())
}

fn decimal_text(text: &str, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    let text = match text {
        "NAN" | "NaN" => "NaN",
        "POSITIVE_INFINITY" | "Infinity" => "Infinity",
        "NEGATIVE_INFINITY" | "-Infinity" => "-Infinity",
        text if text.starts_with(|c: char| c == '-' || c == '+' || c.is_ascii_digit()) => text,
        _ => return Err(ValueProblem::new("a decimal number")),
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn decimal(json: &str, scale: i32, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    // decimal.format=numeric.
    if !json.starts_with('"') {
        return number(json, out);
    }
    // decimal.handling.mode=string, where nobody says it: no base64 has these.
    if json.contains(['.', '-']) {
        return decimal_text(&string(json)?, out);
    }
    unscaled(&bytes(json)?, scale, out);
    Ok(())
}

/// Digits alone are a number or base64, whichever can be a value of the column's type.
fn unsaid_decimal(
    json: &str,
    (precision, scale): (u32, u32),
    out: &mut Vec<u8>,
) -> Result<(), ValueProblem> {
    if !json.starts_with('"') {
        return number(json, out);
    }
    let text = string(json)?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if text.contains(['.', '-', '_']) || matches!(&*text, "NaN" | "NAN" | "Infinity") {
        return decimal_text(&text, out);
    }
    let fits = |length: usize| u32::try_from(length).is_ok_and(|length| length <= precision);
    // The text of a number has all digits of its fraction.
    let is_number =
        digits && scale == 0 && fits(text.len()) && (*text == *"0" || !text.starts_with('0'));
    let bytes =
        STANDARD.decode(text.as_bytes()).ok().filter(|bytes| is_shortest(bytes)).filter(|bytes| {
            fits(BigInt::from_signed_bytes_be(bytes).magnitude().to_string().len())
        });
    match (is_number, bytes) {
        (true, None) => decimal_text(&text, out),
        (false, Some(bytes)) => {
            unscaled(&bytes, i32::try_from(scale).unwrap_or(i32::MAX), out);
            Ok(())
        }
        (true, Some(_)) => Err(ValueProblem::new(
            "a schema, since these digits may be a number or bytes in base64: give the records \
             schemas (value.converter.schemas.enable=true)",
        )),
        (false, None) => Err(ValueProblem::new("a decimal of its column's digits")),
    }
}

/// Java writes no byte more than a number needs.
fn is_shortest(bytes: &[u8]) -> bool {
    match bytes {
        [] => false,
        [0, next, ..] => *next >= 0x80,
        [0xff, next, ..] => *next < 0x80,
        _ => true,
    }
}

fn variable_scale_decimal(json: &str, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    if json.starts_with('"') {
        // A table whose schema is not known; text is what a decimal is sent as by our defaults.
        return decimal_text(&string(json)?, out);
    }
    if !json.starts_with('{') {
        return number(json, out);
    }
    let problem = || ValueProblem::new("a decimal with its scale");
    let value: Value = serde_json::from_str(json).map_err(|_| problem())?;
    let scale = value.get("scale").and_then(Value::as_i64).ok_or_else(problem)?;
    let digits = value.get("value").and_then(Value::as_str).ok_or_else(problem)?;
    let digits = STANDARD.decode(digits).map_err(|_| problem())?;
    unscaled(&digits, i32::try_from(scale).map_err(|_| problem())?, out);
    Ok(())
}

/// Two's complement, most significant first, over a power of ten.
fn unscaled(bytes: &[u8], scale: i32, out: &mut Vec<u8>) {
    let number = BigInt::from_signed_bytes_be(bytes);
    let text = number.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    out.extend_from_slice(sign.as_bytes());
    match usize::try_from(scale) {
        Ok(0) => out.extend_from_slice(digits.as_bytes()),
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) =
                padded.split_at_checked(padded.len() - scale).unwrap_or((padded.as_str(), ""));
            out.extend_from_slice(format!("{whole}.{fraction}").as_bytes());
        }
        Err(_) => {
            out.extend_from_slice(digits.as_bytes());
            if digits != "0" {
                let zeros = usize::try_from(scale.unsigned_abs()).unwrap_or_default();
                out.extend(std::iter::repeat_n(b'0', zeros));
            }
        }
    }
}

fn bytes(json: &str) -> Result<Vec<u8>, ValueProblem> {
    STANDARD.decode(string(json)?.as_bytes()).map_err(|_| ValueProblem::new("bytes in base64"))
}

/// Debezium's bytes have the last bit of the string in the lowest bit of the first byte.
fn bits(bytes: &[u8], length: Option<usize>, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    let all = bytes.len() * 8;
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    // Without a fixed length zeros in front are not in the bytes and are lost.
    let length =
        length.unwrap_or_else(|| (0..all).rev().find(|at| bit(*at)).map_or(0, |at| at + 1));
    if (length..all).any(bit) {
        return Err(ValueProblem::new("no more bits than the column's length"));
    }
    out.extend((0..length).rev().map(|at| if bit(at) { b'1' } else { b'0' }));
    Ok(())
}

fn point(json: &str, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    let problem = || ValueProblem::new("a point with x and y");
    let value: std::collections::BTreeMap<&str, &RawValue> =
        serde_json::from_str(json).map_err(|_| problem())?;
    out.push(b'(');
    float(value.get("x").ok_or_else(problem)?.get(), out)?;
    out.push(b',');
    float(value.get("y").ok_or_else(problem)?.get(), out)?;
    out.push(b')');
    Ok(())
}

/// A double as PostgreSQL prints it, where Java writes `15.0`.
fn float(json: &str, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    let Some(value) = json.parse::<f64>().ok().filter(|value| value.is_finite()) else {
        return number(json, out);
    };
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().map_err(|_| ValueProblem::new("a number"))?;
    let text = match exponent {
        -4..15 => value.to_string(),
        _ => format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn time_micros(unit: Unit, number: i64) -> Result<i64, ValueProblem> {
    match unit {
        Unit::Millis => number.checked_mul(1000).ok_or(ValueProblem::new("a time of day")),
        Unit::Micros => Ok(number),
        Unit::Nanos => Ok(number.div_euclid(1000)),
    }
}

fn timestamp(
    unit: Unit,
    json: &str,
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueProblem> {
    match unit {
        Unit::Millis => temporal::timestamp_millis(integer(json)?, spelling, out),
        Unit::Micros => {
            let micros = json.parse::<i128>().map_err(|_| ValueProblem::new("a whole number"))?;
            temporal::timestamp(micros, "", spelling, out);
        }
        Unit::Nanos => temporal::timestamp_nanos(integer(json)?, spelling, out),
    }
    Ok(())
}

fn array(
    element: &Encoding,
    json: &str,
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueProblem> {
    let values: Vec<Option<&RawValue>> =
        serde_json::from_str(json).map_err(|_| ValueProblem::new("an array"))?;
    let (open, close, null): (u8, u8, &[u8]) = match spelling.arrays {
        ArrayForm::Postgres => (b'{', b'}', b"NULL"),
        ArrayForm::Json => (b'[', b']', b"null"),
    };
    out.push(open);
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match value.map(RawValue::get) {
            None => out.extend_from_slice(null),
            Some(inner) if inner.starts_with('[') => array(element, inner, spelling, out)?,
            Some(inner) => {
                let mut text = Vec::new();
                write(element, inner, spelling, &mut text)?;
                if matches!(element, Encoding::Base64) && spelling.arrays == ArrayForm::Postgres {
                    text.splice(..0, *b"\\x");
                }
                quoted(&text, spelling.arrays, out)?;
            }
        }
    }
    out.push(close);
    Ok(())
}

fn quoted(text: &[u8], form: ArrayForm, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    match form {
        ArrayForm::Postgres => {
            out.push(b'"');
            for byte in text {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
            out.push(b'"');
            Ok(())
        }
        ArrayForm::Json => {
            let text = std::str::from_utf8(text).map_err(|_| ValueProblem::new("UTF-8"))?;
            serde_json::to_writer(out, text).map_err(|_| ValueProblem::new("a string"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: Spelling = Spelling { arrays: ArrayForm::Postgres, era: " BC" };

    fn text(encoding: &Encoding, json: &str) -> String {
        let mut out = Vec::new();
        write(encoding, json, POSTGRES, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_come_out_of_bytes_words_and_structs() {
        assert_eq!(text(&Encoding::Decimal(2), "\"AN4=\""), "2.22");
        assert_eq!(text(&Encoding::Decimal(2), "\"/w==\""), "-0.01");
        assert_eq!(text(&Encoding::Decimal(2), "12.50"), "12.50");
        assert_eq!(text(&Encoding::Decimal(2), "\"-12.50\""), "-12.50");
        assert_eq!(text(&Encoding::DecimalText, "\"NAN\""), "NaN");
        let variable = r#"{"scale":3,"value":"AQ=="}"#;
        assert_eq!(text(&Encoding::VariableScaleDecimal, variable), "0.001");
        assert!(write(&Encoding::Number, "true", POSTGRES, &mut Vec::new()).is_err());
    }

    #[test]
    fn digits_without_a_schema_are_a_number_or_base64_and_never_guessed_at() {
        let unsaid = |precision, scale| Encoding::UnsaidDecimal(precision, scale);
        for (encoding, json, value) in [
            (unsaid(10, 0), "\"12\"", "12"),
            (unsaid(10, 0), "\"12345678\"", "12345678"),
            (unsaid(10, 0), "\"-1234\"", "-1234"),
            (unsaid(10, 2), "\"1234.50\"", "1234.50"),
            (unsaid(10, 2), "\"1234\"", "-26588.24"),
            (unsaid(10, 2), "\"AN4=\"", "2.22"),
            (unsaid(10, 0), "\"0012\"", "-2929290"),
            (unsaid(10, 0), "\"NaN\"", "NaN"),
            (unsaid(10, 0), "7", "7"),
        ] {
            assert_eq!(text(&encoding, json), value, "{json}");
        }
        let both = write(&unsaid(10, 0), "\"1234\"", POSTGRES, &mut Vec::new());
        assert!(both.unwrap_err().to_string().contains("give the records schemas"));
        assert!(write(&unsaid(3, 0), "\"99999\"", POSTGRES, &mut Vec::new()).is_err());
    }

    #[test]
    fn points_are_postgresqls_text() {
        for (json, value) in [
            (r#"{"x":15.0,"y":12.0}"#, "(15,12)"),
            (r#"{"x":1.5,"y":-0.0}"#, "(1.5,-0)"),
            (r#"{"x":1.0E15,"y":1.0E-5}"#, "(1e+15,1e-05)"),
            (r#"{"x":1.0E14,"y":1.0E-4}"#, "(100000000000000,0.0001)"),
            (r#"{"x":1.25E300,"y":"NaN"}"#, "(1.25e+300,NaN)"),
        ] {
            assert_eq!(text(&Encoding::Point, json), value);
        }
    }

    #[test]
    fn a_whole_number_is_no_larger_than_its_schema_says() {
        for (bits, edge) in [(16, "-32768"), (32, "2147483647"), (64, "-9223372036854775808")] {
            assert_eq!(text(&Encoding::Whole(bits), edge), edge);
        }
        for (bits, json) in [(16, "32768"), (32, "-2147483649"), (64, "9223372036854775808")] {
            let written = write(&Encoding::Whole(bits), json, POSTGRES, &mut Vec::new());
            assert!(written.is_err(), "{json}");
        }
        assert!(write(&Encoding::Whole(32), "1.5", POSTGRES, &mut Vec::new()).is_err());
    }

    #[test]
    fn bits_are_read_from_the_last_one() {
        assert_eq!(text(&Encoding::Bits(Some(10)), "\"BQE=\""), "0100000101");
        assert_eq!(text(&Encoding::Bits(None), "\"BQ==\""), "101");
        assert!(write(&Encoding::Bits(Some(2)), "\"BQ==\"", POSTGRES, &mut Vec::new()).is_err());
    }

    #[test]
    fn arrays_are_spelled_for_their_warehouse() {
        let element = Encoding::Array(Box::new(Encoding::Text));
        assert_eq!(text(&element, r#"["a\"b",null,["c\\",""]]"#), r#"{"a\"b",NULL,{"c\\",""}}"#);
        let json = Spelling { arrays: ArrayForm::Json, era: " (BC)" };
        let mut out = Vec::new();
        let days = Encoding::Array(Box::new(Encoding::Days));
        write(&days, "[0,null,-735160]", json, &mut out).unwrap();
        assert_eq!(out, br#"["1970-01-01",null,"0044-03-15 (BC)"]"#);
        let bytes = Encoding::Array(Box::new(Encoding::Base64));
        assert_eq!(text(&bytes, "[\"AQ==\"]"), r#"{"\\x01"}"#);
    }
}
