//! Decimal digits of floating-point numbers as `Double.toString` and `Float.toString` of Java 17
//! give them, which is what Debezium's JSON shows.
//!
//! Java up to 18 does not always find the shortest digits; consumers that compare bytes see the
//! difference. Source: Java SE 17 API, `Double.toString`, and the output of that release, recorded
//! in `proto-fixtures/value/java-17-floats.txt`.

use num_bigint::BigUint;

/// Digits of a finite number other than zero: 0.DIGITS times ten to the power of `exponent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digits {
    /// `0` to `9`, the first not `0`.
    pub(super) digits: Vec<u8>,
    /// Power of ten.
    pub(super) exponent: i32,
}

/// A number's parts: 1.FRACTION times two to the power of `exponent`.
#[derive(Clone, Copy, Debug)]
struct Binary {
    /// 53 bits, the highest of them set.
    mantissa: u64,
    exponent: i32,
    /// Bits of precision that the number has.
    precision: i32,
}

const MANTISSA_BITS: i32 = 53;

/// Digits of a finite 64-bit float that is not zero.
pub(super) fn digits64(number: f64) -> Digits {
    let bits = number.abs().to_bits();
    let raw = i32::try_from(bits >> 52).unwrap_or_default();
    digits(normalized(raw, bits & ((1 << 52) - 1), 52, 1023))
}

/// Digits of a finite 32-bit float that is not zero.
pub(super) fn digits32(number: f32) -> Digits {
    let bits = u64::from(number.abs().to_bits());
    let raw = i32::try_from(bits >> 23).unwrap_or_default();
    digits(normalized(raw, bits & ((1 << 23) - 1), 23, 127))
}

fn normalized(raw_exponent: i32, fraction: u64, fraction_bits: u32, bias: i32) -> Binary {
    let scale = 52 - fraction_bits;
    let width = i32::try_from(fraction_bits).unwrap_or_default();
    if raw_exponent == 0 {
        let significant = 64 - fraction.leading_zeros();
        let shift = fraction_bits + 1 - significant;
        Binary {
            mantissa: fraction << shift << scale,
            exponent: 1 - i32::try_from(shift).unwrap_or_default() - bias,
            precision: i32::try_from(significant).unwrap_or_default(),
        }
    } else {
        let mantissa = (fraction | 1 << fraction_bits) << scale;
        Binary { mantissa, exponent: raw_exponent - bias, precision: width + 1 }
    }
}

fn digits(number: Binary) -> Digits {
    let tail_zeros = i32::try_from(number.mantissa.trailing_zeros()).unwrap_or_default();
    let fraction_bits = MANTISSA_BITS - tail_zeros;
    let tiny_bits = (fraction_bits - number.exponent - 1).max(0);
    if tiny_bits == 0 && (-21..=62).contains(&number.exponent) && fraction_bits < 64 {
        return whole_number(number);
    }
    fraction(number, fraction_bits, tiny_bits)
}

/// A number without a fractional part: its decimal digits, those that its precision does not
/// determine rounded away.
fn whole_number(number: Binary) -> Digits {
    let insignificant = match number.exponent - number.precision - 1 {
        power @ 2..=63 => decimal_digits_of_power_of_two(power),
        _ => 0,
    };
    let mut value = match number.exponent - (MANTISSA_BITS - 1) {
        shift @ 0.. => u128::from(number.mantissa) << shift,
        shift => u128::from(number.mantissa) >> -shift,
    };
    if insignificant > 0 && number.exponent > number.precision {
        let power = 10_u128.pow(insignificant);
        let residue = value % power;
        value /= power;
        if residue >= power / 2 {
            value += 1;
        }
        value *= power;
    }
    let text = value.to_string();
    let exponent = i32::try_from(text.len()).unwrap_or_default();
    Digits { digits: text.trim_end_matches('0').as_bytes().to_vec(), exponent }
}

/// floor(log10(2^power)).
fn decimal_digits_of_power_of_two(power: i32) -> u32 {
    (1_u128 << power).ilog10()
}

/// The powers of two and five that scale numerator, denominator and half a unit in the last place.
struct Scale {
    numerator: (i32, i32),
    denominator: (i32, i32),
    margin: (i32, i32),
}

fn fraction(number: Binary, fraction_bits: i32, tiny_bits: i32) -> Digits {
    let exponent = estimated_exponent(number);
    let mut scale = Scale {
        numerator: ((-exponent).max(0) + tiny_bits + number.exponent, (-exponent).max(0)),
        denominator: (exponent.max(0) + tiny_bits, exponent.max(0)),
        margin: (0, (-exponent).max(0)),
    };
    scale.margin.0 = scale.numerator.0 - number.precision;
    scale.numerator.0 -= fraction_bits - 1;
    let common = scale.numerator.0.min(scale.denominator.0);
    scale.numerator.0 -= common;
    scale.denominator.0 -= common;
    scale.margin.0 -= common;
    if fraction_bits == 1 {
        // Below a power of two the next number is half as far away.
        scale.margin.0 -= 1;
    }
    if scale.margin.0 < 0 {
        scale.numerator.0 -= scale.margin.0;
        scale.denominator.0 -= scale.margin.0;
        scale.margin.0 = 0;
    }
    let numerator_bits =
        fraction_bits + scale.numerator.0 + bits_of_power_of_five(scale.numerator.1);
    let denominator_bits = scale.denominator.0 + 1 + bits_of_power_of_five(scale.denominator.1 + 1);
    let mantissa = number.mantissa >> (MANTISSA_BITS - fraction_bits);
    let ten_denominators = power(10, scale.denominator);
    let division = Division {
        numerator: power(mantissa, scale.numerator),
        denominator: power(1, scale.denominator),
        margin: power(1, scale.margin),
        width: match numerator_bits.max(denominator_bits) {
            ..32 => Width::Int,
            32..64 => Width::Long,
            _ => Width::Big,
        },
        ten_denominators,
    };
    generate(division, exponent)
}

/// Bits of 5^power; beyond the powers that fit 63 bits, three for each.
fn bits_of_power_of_five(power: i32) -> i32 {
    match u32::try_from(power) {
        Ok(small @ 0..=26) => i32::try_from(64 - 5_u64.pow(small).leading_zeros()).unwrap_or(64),
        _ => power * 3,
    }
}

/// log10(2) to as many digits as Java has it.
#[allow(clippy::approx_constant, reason = "another last digit would give other estimates")]
const LOG10_2: f64 = 0.301_029_995_663_981;

/// floor(log10(number)), or one more.
fn estimated_exponent(number: Binary) -> i32 {
    let unit = f64::from_bits(1023 << 52 | number.mantissa & ((1 << 52) - 1));
    let estimate =
        (unit - 1.5) * 0.289_529_654 + 0.176_091_259 + f64::from(number.exponent) * LOG10_2;
    #[allow(clippy::cast_possible_truncation, reason = "between -330 and 310")]
    let floor = estimate.floor() as i32;
    floor
}

fn power(factor: u64, (twos, fives): (i32, i32)) -> BigUint {
    let exponent = |power: i32| u32::try_from(power).unwrap_or_default();
    (BigUint::from(factor) * BigUint::from(5_u8).pow(exponent(fives))) << exponent(twos)
}

/// In which numbers Java computes: the narrow ones overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Int,
    Long,
    Big,
}

struct Division {
    numerator: BigUint,
    denominator: BigUint,
    /// Half a unit in the last place.
    margin: BigUint,
    ten_denominators: BigUint,
    width: Width,
}

impl Division {
    /// One digit, and whether the rest is within the margin of this digit and of the next.
    fn step(&mut self) -> (u8, bool, bool) {
        let ten = BigUint::from(10_u8);
        let quotient = &self.numerator / &self.denominator;
        self.numerator = (&self.numerator % &self.denominator) * &ten;
        self.margin *= &ten;
        let (low, high) = self.within();
        (b'0' + u8::try_from(&quotient).unwrap_or_default(), low, high)
    }

    fn within(&self) -> (bool, bool) {
        let sum = &self.numerator + &self.margin;
        let exact_low = self.numerator < self.margin;
        let limit = match self.width {
            Width::Big => return (exact_low, sum >= self.ten_denominators),
            Width::Long => BigUint::from(i64::MAX.unsigned_abs()),
            Width::Int => BigUint::from(i32::MAX.unsigned_abs()),
        };
        if self.margin > limit {
            return (true, true);
        }
        // A sum that overflows is negative, and so not above anything.
        (exact_low, sum > self.ten_denominators && sum <= limit)
    }
}

/// Divides digit by digit until the rest is within the margin.
fn generate(mut division: Division, exponent: i32) -> Digits {
    let mut exponent = exponent;
    let mut digits = Vec::with_capacity(20);
    let (digit, mut low, mut high) = division.step();
    if digit == b'0' && !high {
        exponent -= 1;
    } else {
        digits.push(digit);
    }
    if !(-3..8).contains(&exponent) {
        // The form with an exponent shows two digits at least.
        low = false;
        high = false;
    }
    while !low && !high {
        let (digit, next_low, next_high) = division.step();
        digits.push(digit);
        (low, high) = (next_low, next_high);
    }
    let round_up = match (low, high) {
        (_, false) => false,
        (false, true) => true,
        (true, true) => match (&division.numerator << 1_u32).cmp(&division.ten_denominators) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => digits.last().is_some_and(|digit| digit % 2 == 1),
        },
    };
    exponent += 1;
    if round_up {
        exponent += increment(&mut digits);
    }
    Digits { digits, exponent }
}

/// Adds one in the last place; gives by how much the exponent grows.
fn increment(digits: &mut [u8]) -> i32 {
    let trailing_nines = digits.iter().rev().take_while(|&&digit| digit == b'9').count();
    let kept = digits.len() - trailing_nines;
    for digit in digits.iter_mut().skip(kept) {
        *digit = b'0';
    }
    match kept.checked_sub(1).and_then(|last| digits.get_mut(last)) {
        Some(last) => {
            *last += 1;
            0
        }
        None => {
            if let Some(first) = digits.first_mut() {
                *first = b'1';
            }
            1
        }
    }
}
