//! Dates, times and timestamps, with infinities and BC years.
//!
//! Reads the output forms under `DateStyle=ISO`; the calendar is the proleptic Gregorian one, as
//! the server's is. Source: PostgreSQL 18, "Date/Time Types".

use crate::capture::value::ValueError;
pub use crate::time::CivilDate as Date;
pub use crate::time::DAY_MICROS;
pub use crate::time::Fraction;
pub use crate::time::print_fraction;
pub use crate::time::print_time;
use crate::time::two_digits;

/// A date or a timestamp, or one of the two ends of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment<T> {
    /// A moment of the calendar.
    Finite(T),
    /// `infinity`.
    PositiveInfinity,
    /// `-infinity`.
    NegativeInfinity,
}

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// The day.
    pub date: Date,
    /// Microseconds since midnight.
    pub micros_of_day: i64,
}

impl Timestamp {
    /// Microseconds since 1970-01-01 00:00, if they fit.
    pub fn micros(self) -> Option<i64> {
        i64::try_from(self.wide_micros()).ok()
    }

    /// Microseconds since 1970-01-01 00:00: every timestamp of the server fits.
    pub fn wide_micros(self) -> i128 {
        i128::from(self.date.days()) * i128::from(DAY_MICROS) + i128::from(self.micros_of_day)
    }

    /// The same moment, given that this one is local to `offset_seconds` east of UTC.
    fn at_utc(self, offset_seconds: i64) -> Self {
        if offset_seconds == 0 {
            return self;
        }
        let micros = self.micros_of_day - offset_seconds * 1_000_000;
        Timestamp {
            date: Date::from_days(self.date.days() + micros.div_euclid(DAY_MICROS)),
            micros_of_day: micros.rem_euclid(DAY_MICROS),
        }
    }
}

/// What is left of a text while it is read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ValueError> {
        if self.eat(byte) { Ok(()) } else { Err(ValueError::Syntax { expected }) }
    }

    /// One or more digits; at most nine, so that they always fit.
    fn number(&mut self, expected: &'static str) -> Result<u32, ValueError> {
        let mut number = 0_u32;
        let mut count = 0;
        while let Some((digit @ b'0'..=b'9', rest)) = self.0.split_first() {
            count += 1;
            if count > 9 {
                return Err(ValueError::Syntax { expected });
            }
            number = number * 10 + u32::from(digit - b'0');
            self.0 = rest;
        }
        if count == 0 { Err(ValueError::Syntax { expected }) } else { Ok(number) }
    }

    /// Up to six digits after a point, as microseconds; 0 if there is no point.
    fn fraction(&mut self, expected: &'static str) -> Result<i64, ValueError> {
        if !self.eat(b'.') {
            return Ok(0);
        }
        let before = self.0.len();
        let number = self.number(expected)?;
        let digits = u32::try_from(before - self.0.len()).unwrap_or(9);
        let scale = 6_u32.checked_sub(digits).ok_or(ValueError::Syntax { expected })?;
        Ok(i64::from(number) * 10_i64.pow(scale))
    }

    /// `HH:MM[:SS[.ffffff]]` as microseconds; 24:00:00 is one day.
    fn time(&mut self) -> Result<i64, ValueError> {
        const EXPECTED: &str = "a time of the form HH:MM:SS.ffffff";
        let hours = self.number(EXPECTED)?;
        self.expect(b':', EXPECTED)?;
        let minutes = self.number(EXPECTED)?;
        self.expect(b':', EXPECTED)?;
        let seconds = self.number(EXPECTED)?;
        let fraction = self.fraction(EXPECTED)?;
        if hours > 24 || minutes > 59 || seconds > 60 {
            return Err(ValueError::Syntax { expected: EXPECTED });
        }
        let whole = (i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds);
        Ok(whole * 1_000_000 + fraction)
    }

    /// `±HH[:MM[:SS]]` as seconds east of UTC.
    fn offset(&mut self) -> Result<i64, ValueError> {
        const EXPECTED: &str = "an offset of the form +HH:MM";
        let east = self.eat(b'+');
        if !east {
            self.expect(b'-', EXPECTED)?;
        }
        let mut seconds = i64::from(self.number(EXPECTED)?) * 3600;
        if self.eat(b':') {
            seconds += i64::from(self.number(EXPECTED)?) * 60;
            if self.eat(b':') {
                seconds += i64::from(self.number(EXPECTED)?);
            }
        }
        Ok(if east { seconds } else { -seconds })
    }

    fn date(&mut self) -> Result<Date, ValueError> {
        const EXPECTED: &str = "a date of the form YYYY-MM-DD";
        let year = i32::try_from(self.number(EXPECTED)?).unwrap_or(i32::MAX);
        self.expect(b'-', EXPECTED)?;
        let month = self.number(EXPECTED)?;
        self.expect(b'-', EXPECTED)?;
        let day = self.number(EXPECTED)?;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(ValueError::Syntax { expected: EXPECTED });
        }
        Ok(Date { year, month, day })
    }

    /// Takes the era that may end a date: years BC become astronomical ones.
    fn era(&mut self, date: Date) -> Date {
        if self.0 == b" BC" {
            self.0 = &[];
            return Date { year: 1 - date.year, ..date };
        }
        date
    }

    fn finish(self, expected: &'static str) -> Result<(), ValueError> {
        if self.0.is_empty() { Ok(()) } else { Err(ValueError::Syntax { expected }) }
    }
}

fn infinity<T>(text: &[u8]) -> Option<Moment<T>> {
    match text {
        b"infinity" => Some(Moment::PositiveInfinity),
        b"-infinity" => Some(Moment::NegativeInfinity),
        _ => None,
    }
}

/// Reads a `date`.
pub fn date(text: &[u8]) -> Result<Moment<Date>, ValueError> {
    if let Some(moment) = infinity(text) {
        return Ok(moment);
    }
    let mut cursor = Cursor(text);
    let date = cursor.date()?;
    let date = cursor.era(date);
    cursor.finish("the end of a date")?;
    Ok(Moment::Finite(date))
}

/// Reads a `time` as microseconds since midnight; 24:00:00 is [`DAY_MICROS`].
pub fn time(text: &[u8]) -> Result<i64, ValueError> {
    let mut cursor = Cursor(text);
    let micros = cursor.time()?;
    cursor.finish("the end of a time")?;
    Ok(micros)
}

/// Reads a `timetz` as microseconds since midnight there and seconds east of UTC.
pub fn time_with_zone(text: &[u8]) -> Result<(i64, i64), ValueError> {
    let mut cursor = Cursor(text);
    let micros = cursor.time()?;
    let offset = cursor.offset()?;
    cursor.finish("the end of a time with time zone")?;
    Ok((micros, offset))
}

/// Reads a `timestamp`.
pub fn timestamp(text: &[u8]) -> Result<Moment<Timestamp>, ValueError> {
    if let Some(moment) = infinity(text) {
        return Ok(moment);
    }
    let mut cursor = Cursor(text);
    let date = cursor.date()?;
    cursor.expect(b' ', "a space between date and time")?;
    let micros_of_day = cursor.time()?;
    let date = cursor.era(date);
    cursor.finish("the end of a timestamp")?;
    Ok(Moment::Finite(Timestamp { date, micros_of_day }))
}

/// Reads a `timestamptz`, at UTC.
pub fn timestamp_with_zone(text: &[u8]) -> Result<Moment<Timestamp>, ValueError> {
    if let Some(moment) = infinity(text) {
        return Ok(moment);
    }
    let mut cursor = Cursor(text);
    let date = cursor.date()?;
    cursor.expect(b' ', "a space between date and time")?;
    let micros_of_day = cursor.time()?;
    let offset = cursor.offset()?;
    let date = cursor.era(date);
    cursor.finish("the end of a timestamp with time zone")?;
    Ok(Moment::Finite(Timestamp { date, micros_of_day }.at_utc(offset)))
}

/// Appends `YYYY-MM-DD` as ISO 8601 has it: a sign before years above 9999 and below 0.
pub fn print_date(date: Date, out: &mut Vec<u8>) {
    let year = date.year.unsigned_abs();
    if date.year < 0 {
        out.push(b'-');
    } else if date.year > 9999 {
        out.push(b'+');
    }
    if year > 9999 {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    } else {
        two_digits(year / 100, out);
        two_digits(year % 100, out);
    }
    out.push(b'-');
    two_digits(date.month, out);
    out.push(b'-');
    two_digits(date.day, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_eras_offsets_and_infinities() {
        let date_of = |text: &str| date(text.as_bytes()).unwrap();
        assert_eq!(date_of("0044-03-15 BC"), Moment::Finite(Date { year: -43, month: 3, day: 15 }));
        assert_eq!(date_of("-infinity"), Moment::NegativeInfinity);
        let Moment::Finite(moment) = timestamp_with_zone(b"2026-11-21 12:34:56.5+02").unwrap()
        else {
            panic!("finite")
        };
        assert_eq!(moment.micros_of_day, 38_096_500_000);
        assert_eq!(time(b"24:00:00").unwrap(), DAY_MICROS);
        assert_eq!(time_with_zone(b"01:02:03-01:30:15").unwrap(), (3_723_000_000, -5415));
    }

    #[test]
    fn refuses_cut_and_strange_texts_without_panic() {
        let read_all = |text: &[u8]| {
            std::hint::black_box(date(text).is_ok());
            std::hint::black_box(timestamp(text).is_ok());
            std::hint::black_box(timestamp_with_zone(text).is_ok());
            std::hint::black_box(time(text).is_ok());
        };
        let texts: [&[u8]; 3] =
            [b"2026-11-21", b"2026-11-21 12:34:56.789012+05:30 BC", b"24:00:00"];
        for text in texts {
            for end in 0..text.len() {
                read_all(&text[..end]);
                for byte in [0, b'9', b':', b'-', 0xFF] {
                    let mut changed = text.to_vec();
                    changed[end] = byte;
                    read_all(&changed);
                }
            }
        }
        assert!(date(b"99999999999999-01-01").is_err());
    }

    #[test]
    fn prints_years_and_fractions_as_iso_8601() {
        let print = |year| {
            let mut out = Vec::new();
            print_date(Date { year, month: 1, day: 2 }, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(print(44), "0044-01-02");
        assert_eq!(print(-4713), "-4713-01-02");
        assert_eq!(print(21_016), "+21016-01-02");
        let fraction = |micros, fraction| {
            let mut out = Vec::new();
            print_fraction(micros, fraction, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(fraction(120_000, Fraction::Shortest), ".12");
        assert_eq!(fraction(0, Fraction::Shortest), "");
        assert_eq!(fraction(120_000, Fraction::Fixed(6)), ".120000");
        assert_eq!(fraction(120_000, Fraction::Fixed(0)), "");
    }
}
