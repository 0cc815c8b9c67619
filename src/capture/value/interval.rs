//! Intervals.
//!
//! Reads the output form under `IntervalStyle=postgres`. Source: PostgreSQL 18, "Interval Output".

use crate::capture::value::ValueError;
use crate::capture::value::temporal::Fraction;
use crate::capture::value::temporal::print_fraction;

/// An interval in the parts that the server prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Years.
    pub years: i64,
    /// Months beyond the years.
    pub months: i64,
    /// Days.
    pub days: i64,
    /// Hours, minutes, seconds and microseconds, in microseconds.
    pub time_micros: i64,
}

/// An interval or, from PostgreSQL 17 on, an infinite one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A finite interval.
    Finite(Interval),
    /// `infinity`.
    PositiveInfinity,
    /// `-infinity`.
    NegativeInfinity,
}

const EXPECTED: &str = "an interval as printed under IntervalStyle=postgres";

fn syntax() -> ValueError {
    ValueError::Syntax { expected: EXPECTED }
}

/// Reads an `interval`.
pub fn interval(text: &[u8]) -> Result<Span, ValueError> {
    match text {
        b"infinity" => return Ok(Span::PositiveInfinity),
        b"-infinity" => return Ok(Span::NegativeInfinity),
        _ => {}
    }
    let text = std::str::from_utf8(text).map_err(|_| syntax())?;
    let mut interval = Interval::default();
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        if word.contains(':') {
            interval.time_micros = clock(word)?;
            continue;
        }
        let number: i64 = word.parse().map_err(|_| syntax())?;
        match words.next() {
            Some("year" | "years") => interval.years = number,
            Some("mon" | "mons") => interval.months = number,
            Some("day" | "days") => interval.days = number,
            _ => return Err(syntax()),
        }
    }
    Ok(Span::Finite(interval))
}

/// `[-]HH:MM:SS[.ffffff]`, with any number of hours.
fn clock(word: &str) -> Result<i64, ValueError> {
    let (negative, word) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let mut parts = word.splitn(3, ':');
    let mut next = || parts.next().ok_or_else(syntax);
    let number = |digits: &str| {
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if all_digits { digits.parse::<i64>().map_err(|_| syntax()) } else { Err(syntax()) }
    };
    let (hours, minutes, last) = (number(next()?)?, number(next()?)?, next()?);
    let (seconds, fraction) = last.split_once('.').unwrap_or((last, ""));
    let seconds = number(seconds)?;
    let fraction = match fraction.len() {
        0 => 0,
        digits @ 1..=6 => {
            let scale = u32::try_from(6 - digits).unwrap_or_default();
            number(fraction)? * 10_i64.pow(scale)
        }
        _ => return Err(syntax()),
    };
    let micros = (i128::from(hours) * 3600 + i128::from(minutes) * 60 + i128::from(seconds))
        * 1_000_000
        + i128::from(fraction);
    i64::try_from(if negative { -micros } else { micros })
        .map_err(|_| ValueError::OutOfRange { target: "an interval's microseconds" })
}

impl Interval {
    /// Microseconds with a month of 365.25 / 12 days, computed in floating point and truncated,
    /// saturated at the ends, as Debezium's `MicroDuration` does.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the definition is in floating point; the final cast saturates"
    )]
    pub fn average_micros(self) -> i64 {
        const DAYS_PER_MONTH: f64 = 365.25 / 12.0;
        let sign = self.time_micros.signum();
        let time = self.time_micros.unsigned_abs();
        let signed = |part: u64| (part as f64).copysign(sign as f64);
        let hours = signed(time / 3_600_000_000);
        let minutes = signed(time / 60_000_000 % 60);
        let seconds = signed(time / 1_000_000 % 60) + signed(time % 1_000_000) / 1_000_000.0;
        let months = self.years as f64 * 12.0 + self.months as f64;
        let days = months * DAYS_PER_MONTH + self.days as f64;
        ((((days * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds) * 1_000_000.0) as i64
    }

    /// Appends `P1Y2M3DT4H5M6.78S`: every part always, each with its own sign.
    pub fn print(self, out: &mut Vec<u8>) {
        let mut buffer = itoa::Buffer::new();
        let negative = self.time_micros < 0;
        let time = self.time_micros.unsigned_abs();
        out.push(b'P');
        for (number, unit) in [(self.years, b'Y'), (self.months, b'M'), (self.days, b'D')] {
            out.extend_from_slice(buffer.format(number).as_bytes());
            out.push(unit);
        }
        out.push(b'T');
        let sign = |part: u64, out: &mut Vec<u8>| {
            if negative && part > 0 {
                out.push(b'-');
            }
        };
        for (number, unit) in [(time / 3_600_000_000, b'H'), (time / 60_000_000 % 60, b'M')] {
            sign(number, out);
            out.extend_from_slice(buffer.format(number).as_bytes());
            out.push(unit);
        }
        let seconds_micros = time % 60_000_000;
        sign(seconds_micros, out);
        out.extend_from_slice(buffer.format(seconds_micros / 1_000_000).as_bytes());
        let fraction = u32::try_from(seconds_micros % 1_000_000).unwrap_or_default();
        print_fraction(fraction, Fraction::Shortest, out);
        out.push(b'S');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_every_part_with_its_sign() {
        for (text, printed, micros) in [
            ("1 year 2 mons 3 days 04:05:06.789", "P1Y2M3DT4H5M6.789S", 37_091_106_789_000),
            (
                "-1 years -2 mons +3 days -04:05:06.789",
                "P-1Y-2M3DT-4H-5M-6.789S",
                -36_572_706_789_000,
            ),
            ("00:00:00", "P0Y0M0DT0H0M0S", 0),
            ("-00:00:00.5", "P0Y0M0DT0H0M-0.5S", -500_000),
            ("200000:00:00", "P0Y0M0DT200000H0M0S", 720_000_000_000_000),
            ("178000000 years", "P178000000Y0M0DT0H0M0S", i64::MAX),
        ] {
            let Span::Finite(interval) = interval(text.as_bytes()).unwrap() else { panic!() };
            let mut out = Vec::new();
            interval.print(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), printed);
            assert_eq!(interval.average_micros(), micros, "{text}");
        }
        for text in ["", "1", "1 week", "1:2", ":::", "1 day 1", "x:y:z", "1:2:3.1234567"] {
            assert!(interval(text.as_bytes()).is_err(), "{text}");
        }
    }
}
