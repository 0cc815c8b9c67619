//! What stands where a value is missing: fallbacks, defaults and the placeholder for TOAST.
//!
//! Source: Debezium 3.6.1.Final, as its recorded output shows it.

use crate::capture::change::json_value;
use crate::capture::change::json_value::Spelling;
use crate::capture::change::kind::ColumnType;
use crate::capture::change::kind::Kind;
use crate::capture::change::kind::TimeUnit;
use crate::capture::change::kind::numeric_modifier;
use crate::capture::change::settings::BinaryMode;
use crate::capture::change::settings::Fidelity;
use crate::capture::change::settings::ValueSettings;
use crate::capture::value::ValueError;
use crate::capture::value::spatial;
use crate::envelope::json;
use crate::envelope::json::FloatDigits;
use crate::envelope::schema::SchemaKind;
use crate::envelope::uuid;
use crate::oid::Oid;
use crate::oid::types;

/// The JSON that fills a required column whose value the log does not carry, such as a NOT NULL
/// column outside the identity in the old row of a delete.
pub(super) fn fallback(kind: &Kind, type_modifier: i32, spelling: Spelling) -> Vec<u8> {
    let text = match kind {
        Kind::Boolean | Kind::Bit => "false",
        Kind::Integer | Kind::Date | Kind::IntervalMicros => "0",
        Kind::Float32 | Kind::Float64 | Kind::DecimalDouble | Kind::MoneyDouble => "0.0",
        Kind::Time(TimeUnit::Iso) | Kind::ZonedTime => "\"00:00:00Z\"",
        Kind::Time(_) | Kind::Timestamp(TimeUnit::Millis | TimeUnit::Micros | TimeUnit::Nanos) => {
            "0"
        }
        Kind::Timestamp(TimeUnit::Iso) | Kind::ZonedTimestamp { .. } => "\"1970-01-01T00:00:00Z\"",
        Kind::IsoDate => "\"1970-01-01Z\"",
        Kind::IntervalText => "\"P0Y0M0DT0H0M0S\"",
        Kind::Decimal { scale } | Kind::MoneyDecimal { scale } => {
            return written(&Kind::Decimal { scale: *scale }, "0", spelling);
        }
        Kind::PaddedDecimalText { .. } => return written(kind, "0", spelling),
        Kind::VariableScaleDecimal => "{\"scale\":0,\"value\":\"AA==\"}",
        Kind::MoneyText => "\"0.00\"",
        Kind::DecimalText => return decimal_zero(type_modifier),
        Kind::Text | Kind::Bytea(_) | Kind::TextBytes(_) | Kind::JdbcText(_) | Kind::Bits => "\"\"",
        Kind::HstoreJson => "\"{}\"",
        Kind::HstoreMap => "{}",
        Kind::Point => return point_zero(),
        // An empty collection in well-known binary.
        Kind::Geometry => "{\"wkb\":\"AQcAAAAAAAAA\",\"srid\":null}",
        Kind::SparseVector => "{\"dimensions\":0,\"vector\":[]}",
        Kind::Array(_) | Kind::Vector64 | Kind::Vector32 => "[]",
        Kind::Unreadable(json) => json,
        Kind::Masked(_) => "null",
    };
    text.as_bytes().to_vec()
}

fn written(kind: &Kind, text: &str, spelling: Spelling) -> Vec<u8> {
    let mut out = Vec::new();
    // The texts are our own.
    json_value::write(kind, text.as_bytes(), spelling, &mut out).ok();
    out
}

fn decimal_zero(type_modifier: i32) -> Vec<u8> {
    let scale = numeric_modifier(type_modifier).map_or(0, |(_, scale)| scale);
    let digits = "0".repeat(usize::try_from(scale).unwrap_or_default());
    let text = if digits.is_empty() { "\"0\"".to_owned() } else { format!("\"0.{digits}\"") };
    text.into_bytes()
}

fn point_zero() -> Vec<u8> {
    let mut out = b"{\"x\":0.0,\"y\":0.0,\"wkb\":".to_vec();
    json::base64(&spatial::point_wkb(0.0, 0.0), &mut out);
    out.extend_from_slice(b",\"srid\":null}");
    out
}

/// The JSON that says that a TOASTed value was left unchanged and is not in the log; `None` if the
/// column's schema has no room for it.
///
/// In a required decimal the placeholder's bytes stand as digits would: a value that nobody takes
/// for a real one, where a zero would be believed.
pub(super) fn unavailable(column: &ColumnType, settings: &ValueSettings) -> Option<Vec<u8>> {
    let placeholder = settings.unavailable.as_slice();
    let mut out = Vec::new();
    match &column.kind {
        Kind::Bytea(BinaryMode::Bytes) => json::base64(placeholder, &mut out),
        Kind::HstoreMap => hstore(placeholder, &mut out),
        Kind::HstoreJson => {
            let mut object = Vec::new();
            hstore(placeholder, &mut object);
            json::string(&object, &mut out);
        }
        Kind::Array(array) => match &array.element {
            Kind::Text if element_name(column) == Some("io.debezium.data.Uuid") => {
                json::string(uuid::of_name(placeholder).as_bytes(), &mut out);
                out = [b"[", out.as_slice(), b"]"].concat();
            }
            Kind::Text
            | Kind::Bytea(BinaryMode::Hex | BinaryMode::Base64 | BinaryMode::Base64UrlSafe) => {
                json::string(placeholder, &mut out);
                out = [b"[", out.as_slice(), b"]"].concat();
            }
            Kind::Bytea(BinaryMode::Bytes) => {
                json::base64(placeholder, &mut out);
                out = [b"[", out.as_slice(), b"]"].concat();
            }
            Kind::Integer | Kind::Date => {
                // Bytes of Java's, which have a sign.
                let signed = placeholder.iter().map(|byte| byte.cast_signed().to_string());
                let numbers: Vec<String> = signed.collect();
                out = format!("[{}]", numbers.join(",")).into_bytes();
            }
            _ => return any_string(placeholder, settings),
        },
        _ if column.schema.kind == SchemaKind::String => json::string(placeholder, &mut out),
        Kind::Decimal { .. } if !column.schema.optional => json::base64(placeholder, &mut out),
        Kind::VariableScaleDecimal if !column.schema.optional => {
            out.extend_from_slice(b"{\"scale\":0,\"value\":");
            json::base64(placeholder, &mut out);
            out.push(b'}');
        }
        _ => return any_string(placeholder, settings),
    }
    Some(out)
}

/// Without a schema beside it, a placeholder may stand in place of any value.
fn any_string(placeholder: &[u8], settings: &ValueSettings) -> Option<Vec<u8>> {
    if settings.fidelity == Fidelity::Debezium || settings.value_schemas {
        return None;
    }
    let mut out = Vec::new();
    json::string(placeholder, &mut out);
    Some(out)
}

fn element_name(column: &ColumnType) -> Option<&str> {
    match &column.schema.kind {
        SchemaKind::Array(element) => element.name.as_deref(),
        _ => None,
    }
}

fn hstore(placeholder: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    json::string(placeholder, out);
    out.push(b':');
    json::string(placeholder, out);
    out.push(b'}');
}

/// A column's default, as the catalog has it.
pub(super) struct Default<'a> {
    /// What `pg_get_expr` prints.
    pub(super) expression: &'a str,
    /// Name of the column's type, if it is an enumeration.
    pub(super) enum_name: Option<&'a str>,
    /// The column's type, a domain not followed.
    pub(super) type_oid: Oid,
    /// `atttypmod`; -1 without one.
    pub(super) type_modifier: i32,
}

impl Default<'_> {
    /// The default's JSON, as far as Debezium reads it from the expression.
    pub(super) fn to_json(&self, kind: &Kind, spelling: Spelling) -> Option<Vec<u8>> {
        let text = match self.enum_name {
            Some(name) => enum_label(name, self.expression)?.to_owned(),
            None => literal(self.type_oid, self.expression)?,
        };
        let java = spelling.floats == FloatDigits::Java;
        if java && let Some(odd) = odd_default(kind, &text) {
            return odd.map(|json| json.as_bytes().to_vec());
        }
        let mut out = Vec::new();
        let write = |kind: &Kind, text: &str, out: &mut Vec<u8>| {
            json_value::write(kind, text.as_bytes(), spelling, out).ok()
        };
        match kind {
            Kind::Boolean => {
                write(kind, if text.eq_ignore_ascii_case("true") { "t" } else { "f" }, &mut out)
            }
            Kind::DecimalText
            | Kind::DecimalDouble
            | Kind::PaddedDecimalText { .. }
            | Kind::Decimal { .. } => write(kind, &scaled(&text, self.type_modifier)?, &mut out),
            Kind::Timestamp(TimeUnit::Micros) if java => {
                match json_value::write(kind, text.as_bytes(), spelling, &mut out) {
                    Err(ValueError::OutOfRange { .. }) => out = wrapped(&text).into_bytes(),
                    result => result.ok()?,
                }
                Some(())
            }
            // Whatever is no `1` counts as a zero.
            Kind::Bits => write(kind, &text.replace(|c: char| c != '1', "0"), &mut out),
            // Its default would be a struct, which Debezium leaves out.
            Kind::VariableScaleDecimal => None,
            // A default is not rounded to the column's precision.
            Kind::ZonedTimestamp { digits } => {
                let own = u32::try_from(fraction_digits(&text)).unwrap_or_default();
                write(&Kind::ZonedTimestamp { digits: own.max(*digits) }, &text, &mut out)
            }
            _ => write(kind, &text, &mut out),
        }?;
        Some(out)
    }
}

/// Defaults that Debezium reads otherwise than values; the inner `None`: it has none. Java's
/// largest and smallest moments stand for the infinite ones and are cut to the number's bits.
fn odd_default(kind: &Kind, text: &str) -> Option<Option<&'static str>> {
    let infinite = match text {
        "infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    };
    Some(match (kind, infinite) {
        (Kind::Date, Some(true)) => Some("169560311"),
        (Kind::Date, Some(false)) => Some("-170999002"),
        (Kind::IsoDate, Some(true)) => Some("\"+999999999-12-31Z\""),
        (Kind::IsoDate, Some(false)) => Some("\"-999999999-01-01Z\""),
        (Kind::Timestamp(TimeUnit::Micros), Some(true)) => Some("-9223372036853775810"),
        (Kind::Timestamp(TimeUnit::Micros), Some(false)) => Some("-9223372036854775808"),
        (Kind::Timestamp(TimeUnit::Iso), Some(true)) => {
            Some("\"+999999999-12-31T23:59:59.999999999Z\"")
        }
        (Kind::Timestamp(TimeUnit::Iso), Some(false)) => Some("\"-999999999-01-01T00:00:00Z\""),
        (Kind::Timestamp(_) | Kind::ZonedTimestamp { .. }, Some(_)) => None,
        (Kind::Time(unit), _) if text.starts_with("24:00:00") => Some(match unit {
            TimeUnit::Millis => "86399999",
            TimeUnit::Micros => "86399999999",
            TimeUnit::Nanos => "86399999999999",
            TimeUnit::Iso => "\"23:59:59.999999999Z\"",
        }),
        (Kind::DecimalText | Kind::DecimalDouble | Kind::PaddedDecimalText { .. }, _)
            if matches!(text, "NaN" | "Infinity" | "-Infinity") =>
        {
            None
        }
        _ => return None,
    })
}

/// A timestamp too late for microseconds in 64 bits: its seconds are cut, its fraction overflows.
fn wrapped(text: &str) -> String {
    let digits = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let micros: i64 = format!("{digits:0<6}").parse().unwrap_or_default();
    i64::MAX.wrapping_add(micros).to_string()
}

/// Digits after the point of a timestamp's seconds, zeros at the end left out.
fn fraction_digits(text: &str) -> usize {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    fraction.get(..digits).unwrap_or_default().trim_end_matches('0').len()
}

/// Pads a number with zeros to its column's scale; `None` if it has more digits than that.
fn scaled(text: &str, type_modifier: i32) -> Option<String> {
    let Some((_, scale)) = numeric_modifier(type_modifier) else { return Some(text.to_owned()) };
    let scale = usize::try_from(scale).unwrap_or_default();
    let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if digits > scale {
        let more = text.get(text.len() - (digits - scale)..)?;
        let cut = text.len() - more.len();
        let rounds = more.bytes().any(|byte| byte != b'0');
        return text.get(..cut).filter(|_| !rounds).map(str::to_owned);
    }
    let point = if digits == 0 && scale > 0 { "." } else { "" };
    Some(format!("{text}{point}{}", "0".repeat(scale - digits)))
}

/// The label of a default that is nothing but a label: `'label'::type`, the type's schema or not.
fn enum_label<'a>(name: &str, expression: &'a str) -> Option<&'a str> {
    let (label, cast) = expression.rsplit_once("::")?;
    let unquoted = cast.strip_suffix('"').and_then(|cast| cast.rsplit_once('"'));
    let cast = match unquoted {
        Some((_, quoted)) => quoted,
        None => cast.rsplit('.').next().unwrap_or(cast),
    };
    let label = label.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(label).filter(|_| cast == name)
}

/// The value's text that Debezium takes from a default's expression: what stands between the first
/// two quotes, if on one line, or the whole expression; a fixed value where it is a function's
/// call.
fn literal(oid: Oid, expression: &str) -> Option<String> {
    let generated = match oid {
        types::BIT => "00",
        types::VARBIT => "0",
        types::BOOL => "false",
        types::BPCHAR | types::VARCHAR | types::TEXT | types::XML => "",
        types::NUMERIC | types::FLOAT4 | types::FLOAT8 => "0.0",
        types::INT2 | types::INT4 | types::INT8 => "0",
        types::JSON | types::JSONB => "{}",
        types::UUID => "00000000-0000-0000-0000-000000000000",
        types::DATE => "1970-01-01",
        types::TIME => "00:00:00",
        types::TIMESTAMP => "1970-01-01 00:00:00",
        types::TIMESTAMPTZ => "1970-01-01 00:00:00+00",
        types::INTERVAL => "00:00:00",
        _ => return None,
    };
    if is_function_call(expression) || is_time_keyword(expression) {
        return Some(generated.to_owned());
    }
    match expression.split_once('\'') {
        Some((_, rest)) => {
            let (text, _) = rest.split_once('\'')?;
            Some(text.to_owned()).filter(|text| !text.contains(['\n', '\r']))
        }
        None => Some(expression.to_owned()).filter(|text| !text.starts_with("NULL::")),
    }
}

/// `name(…)` on one line, possibly qualified, possibly after an opening parenthesis.
fn is_function_call(expression: &str) -> bool {
    let expression = expression.strip_prefix('(').unwrap_or(expression);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let Some((name, rest)) = expression.split_once('(') else { return false };
    let line = rest.split(['\n', '\r']).next().unwrap_or_default();
    !name.is_empty() && name.chars().all(is_name) && line.contains(')')
}

fn is_time_keyword(expression: &str) -> bool {
    ["current_timestamp", "current_time", "current_date", "localtime", "localtimestamp"]
        .iter()
        .any(|keyword| expression.eq_ignore_ascii_case(keyword))
}
