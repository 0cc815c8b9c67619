//! Dates and times from the numbers and ISO texts of an envelope, as PostgreSQL spells them.
//!
//! The ends of time are what Debezium's stream writes for them.

use crate::apply::merge::value::Spelling;
use crate::apply::merge::value::ValueProblem;
use crate::time::CivilDate;
use crate::time::DAY_MICROS;
use crate::time::Fraction;
use crate::time::print_time;
use crate::time::two_digits;

/// Days that stand for the ends of time.
const DATE_INFINITIES: [(i64, &str); 2] =
    [(-2_147_472_692, "infinity"), (-2_147_472_691, "-infinity")];

/// Microseconds that stand for the ends of time.
const TIMESTAMP_INFINITIES: [(i64, &str); 2] =
    [(9_223_372_036_825_200_000, "infinity"), (-9_223_372_036_832_400_000, "-infinity")];

/// The same as ISO 8601 texts.
const ISO_INFINITIES: [(&str, &str); 4] = [
    ("+294247-01-10T04:00:25.2Z", "infinity"),
    ("-290308-12-21T19:59:27.6Z", "-infinity"),
    ("infinity", "infinity"),
    ("-infinity", "-infinity"),
];

/// `YYYY-MM-DD` of the era; whether it is BC.
fn civil(date: CivilDate, out: &mut Vec<u8>) -> bool {
    let bc = date.year <= 0;
    let year = if bc { 1 - i64::from(date.year) } else { i64::from(date.year) };
    out.extend_from_slice(format!("{year:04}").as_bytes());
    out.push(b'-');
    two_digits(date.month, out);
    out.push(b'-');
    two_digits(date.day, out);
    bc
}

/// A day from days since 1970.
pub(super) fn date(days: i64, spelling: Spelling, out: &mut Vec<u8>) {
    if let Some((_, text)) = DATE_INFINITIES.iter().find(|(number, _)| *number == days) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    if civil(CivilDate::from_days(days), out) {
        out.extend_from_slice(spelling.era.as_bytes());
    }
}

/// A time of day from microseconds since midnight.
pub(super) fn time(micros: i64, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    if !(0..=DAY_MICROS).contains(&micros) {
        return Err(ValueProblem::new("a time of day"));
    }
    print_time(micros, Fraction::Shortest, out);
    Ok(())
}

/// A timestamp from microseconds since 1970; `zone` is appended to finite ones.
pub(super) fn timestamp(micros: i128, zone: &str, spelling: Spelling, out: &mut Vec<u8>) {
    let infinite = |(number, _): &&(i64, &str)| i128::from(*number) == micros;
    if let Some((_, text)) = TIMESTAMP_INFINITIES.iter().find(infinite) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let days = i64::try_from(micros.div_euclid(i128::from(DAY_MICROS))).unwrap_or_default();
    let of_day = i64::try_from(micros.rem_euclid(i128::from(DAY_MICROS))).unwrap_or_default();
    let bc = civil(CivilDate::from_days(days), out);
    out.push(b' ');
    print_time(of_day, Fraction::Shortest, out);
    out.extend_from_slice(zone.as_bytes());
    if bc {
        out.extend_from_slice(spelling.era.as_bytes());
    }
}

/// A timestamp from milliseconds, where the ends of time are those of microseconds cut.
pub(super) fn timestamp_millis(millis: i64, spelling: Spelling, out: &mut Vec<u8>) {
    let infinite = |(number, _): &&(i64, &str)| number / 1000 == millis;
    match TIMESTAMP_INFINITIES.iter().find(infinite) {
        Some((_, text)) => out.extend_from_slice(text.as_bytes()),
        None => timestamp(i128::from(millis) * 1000, "", spelling, out),
    }
}

/// A timestamp from nanoseconds, whose ends are the ends of time.
pub(super) fn timestamp_nanos(nanos: i64, spelling: Spelling, out: &mut Vec<u8>) {
    match nanos {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        nanos => timestamp(i128::from(nanos.div_euclid(1000)), "", spelling, out),
    }
}

/// `[±]YYYY-MM-DD`, cut from the front of a text; the rest.
fn iso_date(text: &str) -> Option<(CivilDate, &str)> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (year, rest) = unsigned.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let year: i32 = year.parse().ok()?;
    let date = CivilDate {
        year: if negative { -year } else { year },
        month: month.parse().ok()?,
        day: day.parse().ok()?,
    };
    Some((date, rest))
}

/// An ISO 8601 date, with or without `Z`.
pub(super) fn iso_day(
    text: &str,
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueProblem> {
    let problem = || ValueProblem::new("an ISO 8601 date");
    let (date, rest) = iso_date(text).ok_or_else(problem)?;
    if !matches!(rest, "" | "Z") {
        return Err(problem());
    }
    self::date(date.days(), spelling, out);
    Ok(())
}

/// An ISO 8601 time of day at UTC: its digits, and `zone` in place of `Z`.
pub(super) fn iso_time(text: &str, zone: &str, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    let problem = || ValueProblem::new("an ISO 8601 time of day");
    let (digits, offset) = match text.find(['Z', '+', '-']) {
        Some(at) => text.split_at_checked(at).ok_or_else(problem)?,
        None => (text, ""),
    };
    let legal = |byte: u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.');
    if digits.is_empty() || !digits.bytes().all(legal) {
        return Err(problem());
    }
    out.extend_from_slice(digits.as_bytes());
    match offset {
        "" | "Z" => out.extend_from_slice(zone.as_bytes()),
        offset if !zone.is_empty() => out.extend_from_slice(offset.as_bytes()),
        _ => return Err(problem()),
    }
    Ok(())
}

/// An ISO 8601 timestamp at UTC or with an offset; `zone` in place of `Z`.
pub(super) fn iso_timestamp(
    text: &str,
    zone: &str,
    spelling: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), ValueProblem> {
    if let Some((_, infinite)) = ISO_INFINITIES.iter().find(|(iso, _)| *iso == text) {
        out.extend_from_slice(infinite.as_bytes());
        return Ok(());
    }
    let problem = || ValueProblem::new("an ISO 8601 timestamp");
    let (date, rest) = iso_date(text).ok_or_else(problem)?;
    let clock = rest.strip_prefix('T').ok_or_else(problem)?;
    let bc = civil(date, out);
    out.push(b' ');
    iso_time(clock, zone, out)?;
    if bc {
        out.extend_from_slice(spelling.era.as_bytes());
    }
    Ok(())
}

/// An interval of microseconds, as Debezium's numeric mode has it; its ends are infinite.
pub(super) fn interval_micros(micros: i64, out: &mut Vec<u8>) {
    match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        micros => {
            if micros < 0 {
                out.push(b'-');
            }
            let micros = micros.unsigned_abs();
            let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let text = format!("{hours:02}:{minutes:02}:{:02}.{fraction:06}", seconds % 60);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// An ISO 8601 duration as PostgreSQL prints an interval: `1 year 2 mons -3 days 04:05:06.7`.
pub(super) fn iso_interval(text: &str, out: &mut Vec<u8>) -> Result<(), ValueProblem> {
    let problem = || ValueProblem::new("an ISO 8601 duration");
    if matches!(text, "infinity" | "-infinity") {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    let mut rest = text.strip_prefix('P').ok_or_else(problem)?;
    let mut in_time = false;
    let (mut months, mut days, mut micros) = (0_i64, 0_i64, 0_i64);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            (in_time, rest) = (true, after);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(problem)?;
        let (number, tail) = rest.split_at_checked(end).ok_or_else(problem)?;
        let unit = tail.chars().next().ok_or_else(problem)?;
        let whole = || number.parse::<i64>().map_err(|_| problem());
        match (unit, in_time) {
            ('Y', false) => months = months.saturating_add(whole()?.saturating_mul(12)),
            ('M', false) => months = months.saturating_add(whole()?),
            ('W', false) => days = days.saturating_add(whole()?.saturating_mul(7)),
            ('D', false) => days = days.saturating_add(whole()?),
            ('H', true) => micros = micros.saturating_add(whole()?.saturating_mul(3_600_000_000)),
            ('M', true) => micros = micros.saturating_add(whole()?.saturating_mul(60_000_000)),
            ('S', true) => {
                micros = micros.saturating_add(decimal_micros(number).ok_or_else(problem)?);
            }
            _ => return Err(problem()),
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    print_interval((months, days, micros), out);
    Ok(())
}

/// Seconds with a fraction as microseconds.
fn decimal_micros(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let padded: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?;
    let micros = micros.checked_add(padded.parse().ok()?)?;
    Some(if negative { -micros } else { micros })
}

/// `IntervalStyle=postgres`.
fn print_interval((months, days, micros): (i64, i64, i64), out: &mut Vec<u8>) {
    let start = out.len();
    let mut after_negative = false;
    let mut part = |number: i64, unit: &str, out: &mut Vec<u8>| {
        if number == 0 {
            return;
        }
        if out.len() > start {
            out.push(b' ');
        }
        let plus = if after_negative && number > 0 { "+" } else { "" };
        let plural = if number == 1 { "" } else { "s" };
        out.extend_from_slice(format!("{plus}{number} {unit}{plural}").as_bytes());
        after_negative = number < 0;
    };
    part(months / 12, "year", out);
    part(months % 12, "mon", out);
    part(days, "day", out);
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
            if after_negative && micros > 0 {
                out.push(b'+');
            }
        }
        if micros < 0 {
            out.push(b'-');
        }
        let micros = micros.unsigned_abs();
        let seconds = micros / 1_000_000;
        let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        out.extend_from_slice(text.as_bytes());
        if micros % 1_000_000 != 0 {
            let fraction = format!(".{:06}", micros % 1_000_000);
            out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::merge::value::ArrayForm;

    const POSTGRES: Spelling = Spelling { arrays: ArrayForm::Postgres, era: " BC" };

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_become_dates_and_timestamps() {
        assert_eq!(text(|out| date(0, POSTGRES, out)), "1970-01-01");
        assert_eq!(text(|out| date(-735_160, POSTGRES, out)), "0044-03-15 BC");
        assert_eq!(text(|out| date(-2_147_472_692, POSTGRES, out)), "infinity");
        let stamp = |micros| text(|out| timestamp(micros, "", POSTGRES, out));
        assert_eq!(stamp(1_500_000), "1970-01-01 00:00:01.5");
        assert_eq!(stamp(9_223_372_036_825_200_000), "infinity");
        assert_eq!(stamp(-62_167_219_200_000_000 - 1), "0002-12-31 23:59:59.999999 BC");
        assert_eq!(text(|out| time(86_400_000_000, out).unwrap()), "24:00:00");
    }

    #[test]
    fn iso_texts_become_what_postgresql_prints() {
        let stamp = |iso: &str| text(|out| iso_timestamp(iso, "+00", POSTGRES, out).unwrap());
        assert_eq!(stamp("2026-11-21T12:34:56.789012Z"), "2026-11-21 12:34:56.789012+00");
        assert_eq!(stamp("-0043-03-15T00:00:00Z"), "0044-03-15 00:00:00+00 BC");
        assert_eq!(stamp("+21016-01-02T00:00:00Z"), "21016-01-02 00:00:00+00");
        assert_eq!(stamp("infinity"), "infinity");
        let interval = |iso: &str| text(|out| iso_interval(iso, out).unwrap());
        assert_eq!(interval("P1Y2M3DT4H5M6.78S"), "1 year 2 mons 3 days 04:05:06.78");
        assert_eq!(interval("P0Y0M0DT0H0M0S"), "00:00:00");
        assert_eq!(interval("P0Y-1M2DT-3H0M-0.5S"), "-1 mons +2 days -03:00:00.5");
        assert!(iso_interval("P1X", &mut Vec::new()).is_err());
    }
}
