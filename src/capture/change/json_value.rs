//! A value's text, written as JSON.

use crate::capture::change::jdbc_text;
use crate::capture::change::json_array;
use crate::capture::change::json_array::Unfit;
use crate::capture::change::kind::Kind;
use crate::capture::change::kind::TimeUnit;
use crate::capture::change::settings::BinaryMode;
use crate::capture::change::settings::DecimalFormat;
use crate::capture::value::ValueError;
use crate::capture::value::binary;
use crate::capture::value::hstore;
use crate::capture::value::interval;
use crate::capture::value::interval::Span;
use crate::capture::value::number;
use crate::capture::value::number::Decimal;
use crate::capture::value::spatial;
use crate::capture::value::temporal;
use crate::capture::value::temporal::Date;
use crate::capture::value::temporal::Fraction;
use crate::capture::value::temporal::Moment;
use crate::capture::value::temporal::Timestamp;
use crate::envelope::json;
use crate::envelope::json::FloatDigits;

/// Spelling that does not depend on the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    /// Exact decimals.
    pub(super) decimal_format: DecimalFormat,
    /// Floats.
    pub(super) floats: FloatDigits,
}

/// Days that Debezium's stream gives the ends of time.
pub(super) const DATE_POSITIVE_INFINITY: i64 = -2_147_472_692;
/// See [`DATE_POSITIVE_INFINITY`].
pub(super) const DATE_NEGATIVE_INFINITY: i64 = -2_147_472_691;

/// Microseconds that Debezium gives the ends of time.
const TIMESTAMP_POSITIVE_INFINITY: i64 = 9_223_372_036_825_200_000;
/// See [`TIMESTAMP_POSITIVE_INFINITY`].
const TIMESTAMP_NEGATIVE_INFINITY: i64 = -9_223_372_036_832_400_000;

/// Appends what stands for a value that cannot be written as a whole, if parts of it can: an array
/// with null for each element that is out of range.
///
/// # Errors
///
/// There are no such parts; `out` may end in a piece of the value.
#[cold]
pub(super) fn write_parts(
    kind: &Kind,
    text: &[u8],
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    match kind {
        Kind::Array(array) => json_array::write(array, text, (spelling, Unfit::IsNull), out),
        _ => Err(ValueError::Syntax { expected: "an array" }),
    }
}

/// Appends the JSON of one value; on an error `out` may end in a part of it.
#[inline]
pub(super) fn write(
    kind: &Kind,
    text: &[u8],
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    match kind {
        Kind::Text => json::string(text, out),
        Kind::Integer => digits(text, out)?,
        Kind::Boolean => out.extend_from_slice(match text {
            b"t" => b"true",
            b"f" => b"false",
            _ => return Err(ValueError::Syntax { expected: "t or f" }),
        }),
        Kind::Timestamp(unit) => timestamp(*unit, text, out)?,
        Kind::ZonedTimestamp { digits } => zoned_timestamp(*digits, text, out)?,
        Kind::DecimalText => decimal_text(text, out)?,
        Kind::Float64 => json::float64(spatial::float(text)?, spelling.floats, out),
        _ => write_rare(kind, text, spelling, out)?,
    }
    Ok(())
}

fn write_rare(
    kind: &Kind,
    text: &[u8],
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    match kind {
        Kind::Float32 => json::float32(float32(text)?, spelling.floats, out),
        Kind::DecimalDouble => decimal_double(text, spelling, out)?,
        Kind::Decimal { scale } => decimal(text, Some(*scale), spelling, out)?,
        Kind::VariableScaleDecimal => decimal(text, None, spelling, out)?,
        Kind::PaddedDecimalText { scale } => padded_decimal_text(text, *scale, out)?,
        Kind::MoneyDecimal { .. } | Kind::MoneyDouble | Kind::MoneyText => {
            money(kind, text, spelling, out)?;
        }
        Kind::Bytea(mode) => {
            let mut bytes = Vec::new();
            binary::bytea(text, &mut bytes)?;
            binary_text(*mode, &bytes, out);
        }
        Kind::TextBytes(mode) => binary_text(*mode, text, out),
        Kind::JdbcText(mode) => {
            let mut printed = Vec::new();
            jdbc_text::geometry(text, spelling.floats, &mut printed)?;
            binary_text(*mode, &printed, out);
        }
        Kind::Bit => out.extend_from_slice(match text {
            b"1" => b"true",
            b"0" => b"false",
            b"" => return Err(ValueError::NotRepresentable { what: "an empty bit string" }),
            _ => return Err(ValueError::Syntax { expected: "one bit" }),
        }),
        Kind::Bits => {
            let mut bytes = Vec::new();
            binary::bits(text, &mut bytes)?;
            json::base64(&bytes, out);
        }
        Kind::Date => json::integer(days(text)?, out),
        Kind::IsoDate => iso_date(text, out)?,
        Kind::Time(unit) => time(*unit, text, out)?,
        Kind::ZonedTime => zoned_time(text, out)?,
        Kind::IntervalMicros | Kind::IntervalText => interval(kind, text, out)?,
        Kind::HstoreJson => {
            let mut object = Vec::new();
            hstore_object(text, &mut object)?;
            json::string(&object, out);
        }
        Kind::HstoreMap => hstore_object(text, out)?,
        Kind::Point => point(text, spelling, out)?,
        Kind::Geometry => geometry(text, out)?,
        Kind::Vector64 | Kind::Vector32 => vector(kind, text, spelling, out)?,
        Kind::SparseVector => sparse_vector(text, spelling, out)?,
        Kind::Array(array) => json_array::write(array, text, (spelling, Unfit::Fails), out)?,
        Kind::Unreadable(json) => out.extend_from_slice(json.as_bytes()),
        Kind::Masked(masked) => masked.write(text, spelling, out)?,
        Kind::Text
        | Kind::Integer
        | Kind::Boolean
        | Kind::Timestamp(_)
        | Kind::ZonedTimestamp { .. }
        | Kind::DecimalText
        | Kind::Float64 => return write(kind, text, spelling, out),
    }
    Ok(())
}

#[inline]
fn digits(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let number = text.strip_prefix(b"-").unwrap_or(text);
    // JSON has no number with needless zeros before it.
    let needless = matches!(number, [b'0', _, ..]);
    if number.is_empty() || needless || !number.iter().all(u8::is_ascii_digit) {
        return Err(ValueError::Syntax { expected: "a whole number" });
    }
    out.extend_from_slice(text);
    Ok(())
}

fn float32(text: &[u8]) -> Result<f32, ValueError> {
    let syntax = ValueError::Syntax { expected: "a floating-point number" };
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(syntax)
}

fn decimal_text(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    out.push(b'"');
    match Decimal::parse(text)? {
        Decimal::Finite(_) => out.extend_from_slice(text),
        Decimal::NaN => out.extend_from_slice(b"NAN"),
        Decimal::PositiveInfinity => out.extend_from_slice(b"POSITIVE_INFINITY"),
        Decimal::NegativeInfinity => out.extend_from_slice(b"NEGATIVE_INFINITY"),
    }
    out.push(b'"');
    Ok(())
}

/// With zeros up to a scale that the server's text does not have.
fn padded_decimal_text(text: &[u8], scale: usize, out: &mut Vec<u8>) -> Result<(), ValueError> {
    match Decimal::parse(text)? {
        Decimal::Finite(finite) => {
            out.push(b'"');
            out.extend_from_slice(text);
            pad(finite.scale(), scale, out);
            out.push(b'"');
            Ok(())
        }
        _ => decimal_text(text, out),
    }
}

/// Appends zeros to a number of `from` digits after the point until it has `to`.
fn pad(from: usize, to: usize, out: &mut Vec<u8>) {
    let missing = to.saturating_sub(from);
    if missing > 0 && from == 0 {
        out.push(b'.');
    }
    out.extend(std::iter::repeat_n(b'0', missing));
}

fn decimal_double(text: &[u8], spelling: Spelling, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let number = match Decimal::parse(text)? {
        Decimal::Finite(_) => spatial::float(text)?,
        Decimal::NaN => f64::NAN,
        Decimal::PositiveInfinity => f64::INFINITY,
        Decimal::NegativeInfinity => f64::NEG_INFINITY,
    };
    json::float64(number, spelling.floats, out);
    Ok(())
}

/// At a fixed scale, or at the value's own.
fn decimal(
    text: &[u8],
    scale: Option<usize>,
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let finite = match Decimal::parse(text)? {
        Decimal::Finite(finite) => finite,
        Decimal::NaN => return Err(ValueError::NotRepresentable { what: "NaN" }),
        Decimal::PositiveInfinity | Decimal::NegativeInfinity => {
            return Err(ValueError::NotRepresentable { what: "an infinite numeric" });
        }
    };
    match (scale, spelling.decimal_format) {
        (Some(scale), DecimalFormat::Base64) => {
            json::base64(finite.unscaled(scale)?.as_bytes(), out);
        }
        (Some(scale), DecimalFormat::Numeric) if finite.scale() > scale => {
            return Err(ValueError::OutOfRange { target: "the column's scale" });
        }
        (Some(scale), DecimalFormat::Numeric) => finite.print_java(scale, out),
        (None, _) => {
            let stripped = finite.stripped();
            out.extend_from_slice(b"{\"scale\":");
            json::integer(i64::try_from(stripped.scale()).unwrap_or_default(), out);
            out.extend_from_slice(b",\"value\":");
            json::base64(stripped.unscaled(stripped.scale())?.as_bytes(), out);
            out.push(b'}');
        }
    }
    Ok(())
}

fn money(
    kind: &Kind,
    text: &[u8],
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let mut plain = Vec::with_capacity(text.len());
    number::money_text(text, &mut plain)?;
    match kind {
        Kind::MoneyDouble => decimal_double(&plain, spelling, out),
        Kind::MoneyDecimal { scale } => {
            decimal(&rounded_half_up(plain, *scale), Some(*scale), spelling, out)
        }
        _ => decimal_text(&plain, out),
    }
}

/// Rounds plain decimal text to `scale` digits after the point, halves away from zero.
fn rounded_half_up(mut plain: Vec<u8>, scale: usize) -> Vec<u8> {
    let Some(point) = memchr::memchr(b'.', &plain) else { return plain };
    let kept = if scale == 0 { point } else { point + 1 + scale };
    let up = plain.get(point + 1 + scale).is_some_and(|digit| *digit >= b'5');
    if plain.len() <= kept {
        return plain;
    }
    plain.truncate(kept);
    if up {
        increment(&mut plain);
    } else if plain.iter().all(|byte| !matches!(byte, b'1'..=b'9')) {
        // Nothing is left of a negative number but its sign.
        plain.retain(|byte| *byte != b'-');
    }
    plain
}

/// Adds one to the last digit.
fn increment(plain: &mut Vec<u8>) {
    for digit in plain.iter_mut().rev() {
        match digit {
            b'9' => *digit = b'0',
            b'0'..=b'8' => {
                *digit += 1;
                return;
            }
            _ => {}
        }
    }
    let sign = usize::from(plain.first() == Some(&b'-'));
    plain.insert(sign, b'1');
}

pub(super) fn binary_text(mode: BinaryMode, bytes: &[u8], out: &mut Vec<u8>) {
    match mode {
        BinaryMode::Bytes | BinaryMode::Base64 => json::base64(bytes, out),
        BinaryMode::Base64UrlSafe => json::base64_url_safe(bytes, out),
        BinaryMode::Hex => {
            out.push(b'"');
            json::hexadecimal(bytes, out);
            out.push(b'"');
        }
    }
}

fn days(text: &[u8]) -> Result<i64, ValueError> {
    Ok(match temporal::date(text)? {
        Moment::Finite(date) => date.days(),
        Moment::PositiveInfinity => DATE_POSITIVE_INFINITY,
        Moment::NegativeInfinity => DATE_NEGATIVE_INFINITY,
    })
}

fn iso_date(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let date = match temporal::date(text)? {
        Moment::Finite(date) => date,
        Moment::PositiveInfinity => Date::from_days(DATE_POSITIVE_INFINITY),
        Moment::NegativeInfinity => Date::from_days(DATE_NEGATIVE_INFINITY),
    };
    out.push(b'"');
    temporal::print_date(date, out);
    out.extend_from_slice(b"Z\"");
    Ok(())
}

fn time(unit: TimeUnit, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let micros = temporal::time(text)?;
    match unit {
        TimeUnit::Millis => json::integer(micros / 1000, out),
        TimeUnit::Micros => json::integer(micros, out),
        TimeUnit::Nanos => json::integer(micros.saturating_mul(1000), out),
        TimeUnit::Iso => {
            out.push(b'"');
            temporal::print_time(micros % temporal::DAY_MICROS, Fraction::Shortest, out);
            out.extend_from_slice(b"Z\"");
        }
    }
    Ok(())
}

fn timestamp(unit: TimeUnit, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let moment = temporal::timestamp(text)?;
    match (unit, moment) {
        (TimeUnit::Iso, _) => iso_timestamp(moment, out),
        (_, Moment::Finite(finite)) => scaled_timestamp(unit, finite, out)?,
        (TimeUnit::Nanos, Moment::PositiveInfinity) => json::integer(i64::MAX, out),
        (TimeUnit::Nanos, Moment::NegativeInfinity) => json::integer(i64::MIN, out),
        (TimeUnit::Millis, Moment::PositiveInfinity) => {
            json::integer(TIMESTAMP_POSITIVE_INFINITY / 1000, out);
        }
        (TimeUnit::Millis, Moment::NegativeInfinity) => {
            json::integer(TIMESTAMP_NEGATIVE_INFINITY / 1000, out);
        }
        (TimeUnit::Micros, Moment::PositiveInfinity) => {
            json::integer(TIMESTAMP_POSITIVE_INFINITY, out);
        }
        (TimeUnit::Micros, Moment::NegativeInfinity) => {
            json::integer(TIMESTAMP_NEGATIVE_INFINITY, out);
        }
    }
    Ok(())
}

#[inline]
fn scaled_timestamp(
    unit: TimeUnit,
    finite: Timestamp,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    match (unit, finite.micros()) {
        (TimeUnit::Millis, Some(micros)) => json::integer(micros.div_euclid(1000), out),
        (TimeUnit::Millis, None) => json::wide_integer(finite.wide_micros().div_euclid(1000), out),
        (TimeUnit::Nanos, micros) => {
            let nanos = micros.and_then(|micros| micros.checked_mul(1000));
            json::integer(nanos.ok_or(ValueError::OutOfRange { target: "nanoseconds" })?, out);
        }
        (_, Some(micros)) => json::integer(micros, out),
        (_, None) => return Err(ValueError::OutOfRange { target: "64 bits of microseconds" }),
    }
    Ok(())
}

fn iso_timestamp(moment: Moment<Timestamp>, out: &mut Vec<u8>) {
    out.push(b'"');
    match moment {
        Moment::Finite(finite) => {
            temporal::print_date(finite.date, out);
            out.push(b'T');
            temporal::print_time(finite.micros_of_day, Fraction::Shortest, out);
            out.push(b'Z');
        }
        Moment::PositiveInfinity => out.extend_from_slice(b"+294247-01-10T04:00:25.2Z"),
        Moment::NegativeInfinity => out.extend_from_slice(b"-290308-12-21T19:59:27.6Z"),
    }
    out.push(b'"');
}

fn zoned_timestamp(digits: u32, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    out.push(b'"');
    match temporal::timestamp_with_zone(text)? {
        Moment::Finite(finite) => {
            temporal::print_date(finite.date, out);
            out.push(b'T');
            temporal::print_time(finite.micros_of_day, Fraction::Fixed(digits), out);
            out.push(b'Z');
        }
        Moment::PositiveInfinity => out.extend_from_slice(b"infinity"),
        Moment::NegativeInfinity => out.extend_from_slice(b"-infinity"),
    }
    out.push(b'"');
    Ok(())
}

fn zoned_time(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (micros, offset) = temporal::time_with_zone(text)?;
    let utc = (micros - offset * 1_000_000).rem_euclid(temporal::DAY_MICROS);
    out.push(b'"');
    temporal::print_time(utc, Fraction::Shortest, out);
    out.extend_from_slice(b"Z\"");
    Ok(())
}

fn interval(kind: &Kind, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match (kind, interval::interval(text)?) {
        (Kind::IntervalMicros, Span::Finite(interval)) => {
            json::integer(interval.average_micros(), out);
        }
        (Kind::IntervalMicros, Span::PositiveInfinity) => json::integer(i64::MAX, out),
        (Kind::IntervalMicros, Span::NegativeInfinity) => json::integer(i64::MIN, out),
        (_, Span::Finite(interval)) => {
            out.push(b'"');
            interval.print(out);
            out.push(b'"');
        }
        (_, Span::PositiveInfinity | Span::NegativeInfinity) => json::string(text, out),
    }
    Ok(())
}

fn hstore_object(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    out.push(b'{');
    for (at, (key, value)) in hstore::pairs_in_java_order(text)?.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::string(key, out);
        out.push(b':');
        match value {
            Some(value) => json::string(value, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    Ok(())
}

fn point(text: &[u8], spelling: Spelling, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (x, y) = spatial::point(text)?;
    out.extend_from_slice(b"{\"x\":");
    json::float64(x, spelling.floats, out);
    out.extend_from_slice(b",\"y\":");
    json::float64(y, spelling.floats, out);
    out.extend_from_slice(b",\"wkb\":");
    json::base64(&spatial::point_wkb(x, y), out);
    out.extend_from_slice(b",\"srid\":null}");
    Ok(())
}

fn geometry(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut bytes = Vec::new();
    let srid = spatial::geometry(text, &mut bytes)?;
    out.extend_from_slice(b"{\"wkb\":");
    json::base64(&bytes, out);
    out.extend_from_slice(b",\"srid\":");
    match srid {
        Some(srid) => json::integer(i64::from(srid), out),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    Ok(())
}

fn vector(
    kind: &Kind,
    text: &[u8],
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    out.push(b'[');
    let mut first = true;
    spatial::for_each_number(text, |number| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match kind {
            Kind::Vector32 => json::float32(float32(number)?, spelling.floats, out),
            _ => json::float64(spatial::float(number)?, spelling.floats, out),
        }
        Ok(())
    })?;
    out.push(b']');
    Ok(())
}

/// A map with keys that are not strings is an array of pairs in JSON.
/// Debezium's schema has 16 bits for dimensions and indexes of a sparse vector.
const BEYOND_16_BITS: ValueError = ValueError::OutOfRange { target: "16 bits" };

fn small(index: &[u8]) -> Result<(), ValueError> {
    let number = std::str::from_utf8(index).ok().and_then(|text| text.parse::<i16>().ok());
    number.map(drop).ok_or(BEYOND_16_BITS)
}

fn sparse_vector(text: &[u8], spelling: Spelling, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut pairs = Vec::new();
    let dimensions = spatial::sparse_vector(text, |index, number| {
        pairs.extend_from_slice(if pairs.is_empty() { b"[" } else { b",[" });
        small(index)?;
        digits(index, &mut pairs)?;
        pairs.push(b',');
        json::float64(spatial::float(number)?, spelling.floats, &mut pairs);
        pairs.push(b']');
        Ok(())
    })?;
    out.extend_from_slice(b"{\"dimensions\":");
    json::integer(i64::from(dimensions), out);
    out.extend_from_slice(b",\"vector\":[");
    out.extend_from_slice(&pairs);
    out.extend_from_slice(b"]}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::rounded_half_up;

    #[test]
    fn money_that_is_rounded_to_nothing_has_no_sign() {
        for (text, scale, expected) in
            [("-0.01", 0, "0"), ("-0.50", 0, "-1"), ("9.99", 1, "10.0"), ("-0.04", 1, "0.0")]
        {
            let rounded = rounded_half_up(text.into(), scale);
            assert_eq!(String::from_utf8(rounded).unwrap(), expected, "{text}");
        }
    }
}
