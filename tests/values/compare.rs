//! Whether two pieces of JSON mean the same.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigInt;
use serde_json::value::RawValue;

/// How what is written is compared with what is expected, inside arrays and objects too.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compare {
    /// Strings character by character, numbers digit by digit.
    Exact,
    /// Numbers as decimals, written in any way.
    Decimal,
    /// Numbers as 64-bit floats, bit by bit.
    Float64,
    /// Numbers as 32-bit floats, bit by bit.
    Float32,
    /// Written: a whole number's bytes in base64. Expected: its digits in a string.
    Unscaled,
    /// Written: scale and such bytes. Expected: scale and digits.
    VariableScale,
    /// Both strings hold JSON.
    Json,
    /// Whole numbers, as near as a computation in 64-bit floats comes.
    Near,
}

impl Compare {
    pub(crate) fn equal(self, ours: &str, expected: &str) -> bool {
        if ours == "null" || expected == "null" {
            return ours == expected;
        }
        if let (Compare::VariableScale, Some(b'{')) = (self, ours.as_bytes().first()) {
            return variable_scale(ours).is_some_and(|ours| {
                serde_json::from_str::<(i64, String)>(expected).is_ok_and(|found| found == ours)
            });
        }
        match (ours.as_bytes().first(), expected.as_bytes().first()) {
            (Some(b'['), Some(b'[')) => {
                let (Some(ours), Some(expected)) = (elements(ours), elements(expected)) else {
                    return false;
                };
                let pairs = ours.iter().zip(&expected);
                ours.len() == expected.len()
                    && pairs.into_iter().all(|(ours, theirs)| self.equal(ours.get(), theirs.get()))
            }
            (Some(b'{'), Some(b'{')) => {
                let (Some(ours), Some(expected)) = (members(ours), members(expected)) else {
                    return false;
                };
                let equal = |(name, theirs): (&String, &&RawValue)| {
                    ours.get(name).is_some_and(|ours| self.equal(ours.get(), theirs.get()))
                };
                ours.len() == expected.len() && expected.iter().all(equal)
            }
            (Some(b'"'), Some(b'"')) => {
                let text = |json: &str| serde_json::from_str::<String>(json).ok();
                match (text(ours), text(expected)) {
                    (Some(ours), Some(expected)) => self.equal_strings(&ours, &expected),
                    _ => false,
                }
            }
            _ => self.equal_numbers(ours, expected),
        }
    }

    fn equal_strings(self, ours: &str, expected: &str) -> bool {
        match self {
            Compare::Unscaled => unscaled(ours).is_some_and(|digits| digits == expected),
            Compare::Json => Compare::Exact.equal(ours, expected),
            _ => ours == expected,
        }
    }

    fn equal_numbers(self, ours: &str, expected: &str) -> bool {
        match self {
            Compare::Decimal => decimal(ours).is_some_and(|ours| Some(ours) == decimal(expected)),
            Compare::Float64 => {
                let bits = |text: &str| text.parse::<f64>().ok().map(f64::to_bits);
                bits(ours) == bits(expected)
            }
            Compare::Float32 => {
                let bits = |text: &str| text.parse::<f32>().ok().map(f32::to_bits);
                bits(ours) == bits(expected)
            }
            Compare::Near => {
                let number = |text: &str| text.parse::<i128>();
                let (Ok(ours), Ok(expected)) = (number(ours), number(expected)) else {
                    return false;
                };
                ours.abs_diff(expected) <= 1 + (expected.unsigned_abs() >> 50)
            }
            _ => ours == expected,
        }
    }
}

fn elements(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

fn members(json: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json).ok()
}

/// Digits of the number whose bytes are in base64, if they are as few as it needs.
fn unscaled(base64: &str) -> Option<String> {
    let bytes = STANDARD.decode(base64).ok()?;
    let number = BigInt::from_signed_bytes_be(&bytes);
    (number.to_signed_bytes_be() == bytes).then(|| number.to_string())
}

/// Digits and the power of ten that they count, without needless zeros.
fn decimal(json: &str) -> Option<(BigInt, i64)> {
    let (mantissa, exponent) = json.split_once(['e', 'E']).unwrap_or((json, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: BigInt = (whole.to_owned() + fraction).parse().ok()?;
    let kept = digits.to_string().trim_end_matches('0').len();
    let zeros = digits.to_string().len() - kept;
    let power = exponent.parse::<i64>().ok()? - i64::try_from(fraction.len()).ok()?;
    if digits == BigInt::ZERO {
        return Some((digits, 0));
    }
    let stripped = digits / BigInt::from(10).pow(u32::try_from(zeros).ok()?);
    Some((stripped, power + i64::try_from(zeros).ok()?))
}

fn variable_scale(json: &str) -> Option<(i64, String)> {
    let members = members(json)?;
    let scale = members.get("scale")?.get().parse().ok()?;
    let value: String = serde_json::from_str(members.get("value")?.get()).ok()?;
    (members.len() == 2).then(|| unscaled(&value)).flatten().map(|digits| (scale, digits))
}
