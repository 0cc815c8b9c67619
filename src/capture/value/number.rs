//! Numbers: `numeric` and `money` as exact decimals.
//!
//! Integers, floats and `numeric` in text need no reading here: the server's text is what is
//! written. Source: PostgreSQL 18, "Numeric Types", "Monetary Types".

use num_bigint::BigInt;

use crate::capture::value::ValueError;

/// A decimal as the server prints it, split but not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decimal<'a> {
    /// A finite value.
    Finite(FiniteDecimal<'a>),
    /// Not a number.
    NaN,
    /// Greater than every number.
    PositiveInfinity,
    /// Less than every number.
    NegativeInfinity,
}

/// Sign and digits before and after the decimal point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiniteDecimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Decimal<'a> {
    /// Reads the output form of `numeric`: digits with an optional sign and point, never an
    /// exponent.
    pub fn parse(text: &'a [u8]) -> Result<Self, ValueError> {
        match text {
            b"NaN" => return Ok(Decimal::NaN),
            b"Infinity" => return Ok(Decimal::PositiveInfinity),
            b"-Infinity" => return Ok(Decimal::NegativeInfinity),
            _ => {}
        }
        let (negative, digits) = match text.split_first() {
            Some((b'-', digits)) => (true, digits),
            _ => (false, text),
        };
        let (whole, point_and_fraction) = match memchr::memchr(b'.', digits) {
            Some(at) => digits.split_at_checked(at).unwrap_or_default(),
            None => (digits, &[][..]),
        };
        let fraction = point_and_fraction.get(1..).unwrap_or_default();
        let all_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        // The text may be written as a JSON number, which neither begins with a needless zero nor
        // ends in a point.
        let needless = matches!(whole, [b'0', _, ..]) || point_and_fraction == b".";
        if whole.is_empty() || needless || !all_digits(whole) || !all_digits(fraction) {
            return Err(ValueError::Syntax { expected: "a decimal number" });
        }
        if digits.len() > MAX_DIGITS {
            return Err(ValueError::OutOfRange { target: "numeric" });
        }
        Ok(Decimal::Finite(FiniteDecimal { negative, whole, fraction }))
    }
}

impl FiniteDecimal<'_> {
    /// Digits after the point.
    pub fn scale(&self) -> usize {
        self.fraction.len()
    }

    /// The same value with as few digits after the point as it needs.
    pub fn stripped(mut self) -> Self {
        while let Some((b'0', rest)) = self.fraction.split_last() {
            self.fraction = rest;
        }
        self
    }

    /// Appends the value at `scale` digits after the point as Java's `BigDecimal.toString` does:
    /// with an exponent if it is below a millionth, zero too.
    pub fn print_java(&self, scale: usize, out: &mut Vec<u8>) {
        let padding = scale.saturating_sub(self.fraction.len());
        let digits = self.whole.iter().chain(self.fraction).copied();
        let digits: Vec<u8> = digits.chain(std::iter::repeat_n(b'0', padding)).collect();
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        let significant =
            digits.get(zeros.min(digits.len().saturating_sub(1))..).unwrap_or_default();
        if self.negative {
            out.push(b'-');
        }
        let exponent = scale.saturating_sub(significant.len().saturating_sub(1));
        if exponent > LARGEST_PLAIN_EXPONENT {
            let (first, rest) = significant.split_at_checked(1).unwrap_or_default();
            out.extend_from_slice(first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
            out.extend_from_slice(format!("E-{exponent}").as_bytes());
            return;
        }
        out.extend_from_slice(self.whole);
        if scale > 0 {
            out.push(b'.');
            out.extend(digits.iter().skip(self.whole.len()));
        }
    }

    /// The unscaled value at `scale` digits after the point, as Java's `BigInteger.toByteArray`:
    /// big-endian two's complement, as short as possible.
    ///
    /// # Errors
    ///
    /// The value has more digits after the point than `scale`.
    pub fn unscaled(&self, scale: usize) -> Result<Unscaled, ValueError> {
        let padding = scale
            .checked_sub(self.fraction.len())
            .ok_or(ValueError::OutOfRange { target: "the column's scale" })?;
        let digits = self.whole.len() + self.fraction.len() + padding;
        let all = self.whole.iter().chain(self.fraction).copied();
        if digits <= MAX_I128_DIGITS {
            let mut number = all.fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
            for _ in 0..padding {
                number *= 10;
            }
            return Ok(Unscaled::from_i128(if self.negative { -number } else { number }));
        }
        let text: Vec<u8> = all.chain(std::iter::repeat_n(b'0', padding)).collect();
        let number = BigInt::parse_bytes(&text, 10)
            .ok_or(ValueError::Syntax { expected: "decimal digits" })?;
        let number = if self.negative { -number } else { number };
        Ok(Unscaled::Big(number.to_signed_bytes_be()))
    }
}

/// Java writes numbers from ten to the power of minus this on without an exponent.
const LARGEST_PLAIN_EXPONENT: usize = 6;

/// More digits than a `numeric` can have: 131,072 before the point and 16,383 after it. Conversion
/// into bytes takes time with their square.
const MAX_DIGITS: usize = 150_000;

/// Digits that always fit an `i128`.
const MAX_I128_DIGITS: usize = 38;

/// Bytes of an unscaled decimal; short ones without an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unscaled {
    /// Sixteen bytes, and how many leading ones to leave out.
    Small([u8; 16], usize),
    /// Any length.
    Big(Vec<u8>),
}

impl Unscaled {
    fn from_i128(number: i128) -> Self {
        // A leading byte may go if the next one still shows the sign.
        let magnitude = if number < 0 { !number } else { number };
        let significant_bits = 128 - magnitude.leading_zeros() + 1;
        let bytes = usize::try_from(significant_bits.div_ceil(8)).unwrap_or(16).clamp(1, 16);
        Unscaled::Small(number.to_be_bytes(), 16 - bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Unscaled::Small(bytes, skip) => bytes.get(*skip..).unwrap_or_default(),
            Unscaled::Big(bytes) => bytes,
        }
    }
}

/// Reads `money` as printed under `lc_monetary=C` (`-$1,234.56`) into plain decimal text.
pub fn money_text(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let syntax = ValueError::Syntax { expected: "money as printed under lc_monetary=C" };
    let (negative, digits) = match text {
        [b'-', b'$', digits @ ..] => (true, digits),
        [b'(', b'$', digits @ .., b')'] => (true, digits),
        [b'$', digits @ ..] => (false, digits),
        _ => return Err(syntax),
    };
    if negative {
        out.push(b'-');
    }
    for &byte in digits {
        match byte {
            b',' => {}
            b'0'..=b'9' | b'.' => out.push(byte),
            _ => return Err(syntax),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unscaled(text: &str, scale: usize) -> Vec<u8> {
        match Decimal::parse(text.as_bytes()).unwrap() {
            Decimal::Finite(decimal) => decimal.unscaled(scale).unwrap().as_bytes().to_vec(),
            special => panic!("{special:?}"),
        }
    }

    #[test]
    fn unscaled_bytes_are_the_shortest_twos_complement() {
        for number in
            [0_i64, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, i64::MAX, i64::MIN]
        {
            let expected = BigInt::from(number).to_signed_bytes_be();
            assert_eq!(unscaled(&number.to_string(), 0), expected, "{number}");
        }
        assert_eq!(unscaled("1.5", 3), [0x05, 0xDC]);
        let big = "9".repeat(60);
        assert_eq!(unscaled(&big, 0), big.parse::<BigInt>().unwrap().to_signed_bytes_be());
    }

    #[test]
    fn refuses_what_numeric_never_prints() {
        for text in ["", "-", ".", "1e5", "1.2.3", "+1", " 1", "nan", "1.", "00", "-01.5"] {
            assert!(Decimal::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn java_writes_small_decimals_with_an_exponent() {
        // The output of Java 17 for `new BigDecimal(text).setScale(scale)`.
        for (text, scale, expected) in [
            ("0", 0, "0"),
            ("0", 6, "0.000000"),
            ("0", 7, "0E-7"),
            ("0.0000000000", 10, "0E-10"),
            ("0.000001", 6, "0.000001"),
            ("0.0000010", 7, "0.0000010"),
            ("0.00000099", 8, "9.9E-7"),
            ("-0.0000001234", 10, "-1.234E-7"),
            ("1.5", 3, "1.500"),
            ("0.5", 20, "0.50000000000000000000"),
            ("123.000000000", 9, "123.000000000"),
            ("0.00000000010000000000", 20, "1.0000000000E-10"),
        ] {
            let Decimal::Finite(decimal) = Decimal::parse(text.as_bytes()).unwrap() else {
                panic!("{text}");
            };
            let mut out = Vec::new();
            decimal.print_java(scale, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn money_loses_its_currency_and_grouping_only() {
        for (text, plain) in [("$1,234.56", "1234.56"), ("-$0.01", "-0.01"), ("($5.00)", "-5.00")] {
            let mut out = Vec::new();
            money_text(text.as_bytes(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), plain);
        }
    }
}
