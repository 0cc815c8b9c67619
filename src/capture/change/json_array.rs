//! An array's text, written as JSON.

use crate::capture::change::json_value;
use crate::capture::change::json_value::Spelling;
use crate::capture::change::kind::ArrayKind;
use crate::capture::change::kind::Kind;
use crate::capture::change::settings::Fidelity;
use crate::capture::value::ValueError;
use crate::capture::value::array;
use crate::capture::value::array::Element;
use crate::capture::value::temporal;
use crate::capture::value::temporal::Moment;

/// Days that Debezium gives the ends of time in an array: those of Java's largest and smallest
/// `java.util.Date`, cut to 32 bits. Outside of an array they are others.
const DATE_POSITIVE_INFINITY: &[u8] = b"-622191234";
/// See [`DATE_POSITIVE_INFINITY`].
const DATE_NEGATIVE_INFINITY: &[u8] = b"-625821272";

/// What an element that its schema cannot hold does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Fails the whole array.
    Fails,
    /// Is null, where null is allowed.
    IsNull,
}

/// Appends the JSON of an array; on an error `out` may end in a part of it.
pub(super) fn write(
    kind: &ArrayKind,
    text: &[u8],
    (spelling, unfit): (Spelling, Unfit),
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    out.push(b'[');
    let mut first = true;
    array::for_each_element(text, kind.delimiter, |element| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match element {
            Element::Text(text) => {
                let start = out.len();
                match write_element(kind, text, spelling, out) {
                    Err(ValueError::OutOfRange { .. })
                        if unfit == Unfit::IsNull && kind.nullable =>
                    {
                        out.truncate(start);
                        out.extend_from_slice(b"null");
                        Ok(())
                    }
                    result => result,
                }
            }
            Element::Null if kind.nullable || kind.nested => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            Element::Null => {
                Err(ValueError::NotRepresentable { what: "NULL in an array of required elements" })
            }
            Element::Nested(text) if kind.nested => write(kind, text, (spelling, unfit), out),
            // Debezium converts the inner array as if it were an element, which fails.
            Element::Nested(_) if kind.fidelity == Fidelity::Debezium && kind.nullable => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            Element::Nested(_) => Err(ValueError::NotRepresentable { what: "an array of arrays" }),
        }
    })?;
    out.push(b']');
    Ok(())
}

fn write_element(
    kind: &ArrayKind,
    text: &[u8],
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    if kind.fidelity == Fidelity::Debezium && matches!(kind.element, Kind::Date | Kind::IsoDate) {
        let iso = kind.element == Kind::IsoDate;
        let infinite: &[u8] = match temporal::date(text)? {
            Moment::Finite(_) => return json_value::write(&kind.element, text, spelling, out),
            Moment::PositiveInfinity if iso => b"\"+292278994-08-16Z\"",
            Moment::NegativeInfinity if iso => b"\"+292269055-12-02Z\"",
            Moment::PositiveInfinity => DATE_POSITIVE_INFINITY,
            Moment::NegativeInfinity => DATE_NEGATIVE_INFINITY,
        };
        out.extend_from_slice(infinite);
        return Ok(());
    }
    json_value::write(&kind.element, text, spelling, out)
}
