//! Random values as SQL.

use fastrand::Rng;

/// An SQL string.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The same of each.
pub(crate) fn all_quoted(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| quoted(text)).collect()
}

/// A whole number of so many bits at most, small ones as likely as large ones.
pub(crate) fn integer(bits: u32, random: &mut Rng) -> i64 {
    random.i64(..) >> (64 - random.u32(1..=bits))
}

/// A decimal with up to so many digits before and after the point.
pub(crate) fn decimal(whole: usize, fraction: usize, random: &mut Rng) -> String {
    let mut digits = |most: usize| -> String {
        let count = random.usize(..=most);
        let style = random.u8(..4);
        let digit = |random: &mut Rng| match style {
            0 => '0',
            1 => '9',
            _ => random.digit(10),
        };
        std::iter::repeat_with(|| digit(random)).take(count).collect()
    };
    let (whole, fraction) = (digits(whole), digits(fraction));
    let sign = if random.bool() { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}0{whole}{point}{fraction}")
}

/// A 64-bit float of any size.
pub(crate) fn float64(random: &mut Rng) -> String {
    let number = match random.u8(..4) {
        0 => f64::from(random.i32(..)) / f64::from(random.u16(1..)),
        1 => (random.f64() - 0.5) * 1e7,
        _ => f64::from_bits(random.u64(..)),
    };
    spelled(number.is_nan(), format!("{number:?}"))
}

/// A 32-bit float of any size.
pub(crate) fn float32(random: &mut Rng) -> String {
    let number = match random.u8(..3) {
        0 => (random.f32() - 0.5) * 1e4,
        _ => f32::from_bits(random.u32(..)),
    };
    spelled(number.is_nan(), format!("{number:?}"))
}

fn spelled(nan: bool, text: String) -> String {
    if nan { "'NaN'".to_owned() } else { quoted(&text.replace("inf", "Infinity")) }
}

/// Characters that mean something in one of the formats.
const TELLING: &str = "\u{1}\u{8}\t\n\u{B}\u{C}\r\u{1F}\u{7F}\"'\\/{}[],: \u{2028}\u{FFFD}";

/// Text of any characters but NUL.
pub(crate) fn text(length_max: usize, random: &mut Rng) -> String {
    let style = random.u8(..5);
    let character = |random: &mut Rng| match style {
        0 => random.char('\u{1}'..='\u{7F}'),
        1 => random.char('\u{1}'..='\u{7FF}'),
        2 => random.choice(TELLING.chars().collect::<Vec<_>>()).unwrap_or(' '),
        3 => random.char('\u{800}'..='\u{FFFF}'),
        _ => random.char('\u{10000}'..='\u{10FFFF}'),
    };
    let length = random.usize(..=length_max);
    std::iter::repeat_with(|| character(random)).take(length).collect()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(length_max: usize, random: &mut Rng) -> String {
    let length = random.usize(..=length_max);
    std::iter::repeat_with(|| format!("{:02x}", random.u8(..))).take(length).collect()
}

/// So many bits, sparse ones as likely as dense ones.
pub(crate) fn bits(length: usize, random: &mut Rng) -> String {
    let ones = random.u8(..=255);
    let bit = || if random.u8(..) < ones { '1' } else { '0' };
    std::iter::repeat_with(bit).take(length).collect()
}

/// A time of day, with a fraction of up to six digits.
pub(crate) fn time(random: &mut Rng) -> String {
    let (hours, minutes, seconds) = (random.u8(..24), random.u8(..60), random.u8(..60));
    let micros = match random.u8(..3) {
        0 => 0,
        1 => random.u32(..1000) * 1000,
        _ => random.u32(..1_000_000),
    };
    format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")
}

/// An offset from UTC of less than sixteen hours, seldom with seconds.
pub(crate) fn offset(random: &mut Rng) -> String {
    let sign = if random.bool() { '+' } else { '-' };
    let seconds = if random.u8(..3) == 0 { random.u8(..60) } else { 0 };
    format!("{sign}{:02}:{:02}:{seconds:02}", random.u8(..16), random.u8(..60))
}

/// Days since 2000 of a date, most of them in our time.
pub(crate) fn days(first: i32, last: i32, random: &mut Rng) -> i32 {
    match random.u8(..3) {
        0 => random.i32(-40_000..40_000),
        1 => random.i32(first.max(-1_000_000)..last.min(4_000_000)),
        _ => random.i32(first..=last),
    }
}

/// A timestamp anywhere in the server's range.
pub(crate) fn timestamp(random: &mut Rng) -> String {
    let days = days(-2_451_545, 106_741_000, random);
    format!("('2000-01-01'::date + {days} + '{}'::time)", time(random))
}

/// An interval whose parts have signs of their own.
pub(crate) fn interval(random: &mut Rng) -> String {
    let part = |bits: u32, random: &mut Rng| match random.u8(..3) {
        0 => 0,
        _ => integer(bits, random),
    };
    let (months, days) = (part(32, random), part(32, random));
    let hours = part(31, random);
    let (sign, hours) = if hours < 0 { ("-", -(hours + 1)) } else { ("", hours) };
    let clock = time(random);
    format!("'{months} months {days} days {sign}{hours}{}'", &clock[2..])
}
