//! Dates, times and intervals, from PostgreSQL's ISO style in UTC.

use serde_json::Value;

/// Debezium's stream for infinite dates.
const DATE_INFINITY: i64 = -2_147_472_692;
const DATE_MINUS_INFINITY: i64 = -2_147_472_691;

/// Debezium's stream for infinite timestamps, in milliseconds.
const TIMESTAMP_INFINITY_MS: i64 = 9_223_372_036_825_200;
const TIMESTAMP_MINUS_INFINITY_MS: i64 = -9_223_372_036_832_400;

pub(super) fn date(text: &str) -> Value {
    Value::from(match text {
        "infinity" => DATE_INFINITY,
        "-infinity" => DATE_MINUS_INFINITY,
        date => days(parse_date(date)),
    })
}

pub(super) fn time(text: &str, digits: u32) -> Value {
    Value::from(in_precision(micros_of_day(text), digits))
}

pub(super) fn timestamp(text: &str, digits: u32) -> Value {
    let thousand = if digits <= 3 { 1 } else { 1_000 };
    Value::from(match text {
        "infinity" => TIMESTAMP_INFINITY_MS * thousand,
        "-infinity" => TIMESTAMP_MINUS_INFINITY_MS * thousand,
        finite => {
            let (date, time) = split(finite);
            let micros = days(date) * 86_400_000_000 + micros_of_day(time);
            in_precision(micros, digits)
        }
    })
}

pub(super) fn timestamptz(text: &str, digits: u32) -> Value {
    if matches!(text, "infinity" | "-infinity") {
        return Value::from(text);
    }
    let ((year, month, day), time) = split(text);
    let time = time.strip_suffix("+00").expect("the session's time zone is UTC");
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let width = digits as usize;
    let fraction = match digits {
        0 => String::new(),
        _ => format!(".{fraction:0<width$}"),
    };
    let year = match year {
        10_000.. => format!("+{year}"),
        0..10_000 => format!("{year:04}"),
        _ => format!("-{:04}", -year),
    };
    Value::from(format!("{year}-{month:02}-{day:02}T{clock}{fraction}Z"))
}

/// `1 year 2 mons -3 days -04:05:06.789` to `P1Y2M-3DT-4H-5M-6.789S`.
pub(super) fn interval(text: &str) -> Value {
    let (mut years, mut months, mut days) = ("0", "0", "0");
    let mut clock = "P".to_owned();
    let mut time = "0H0M0S".to_owned();
    let mut words = text.split(' ');
    while let Some(amount) = words.next() {
        if amount.contains(':') {
            time = interval_time(amount);
            continue;
        }
        let amount = amount.strip_prefix('+').unwrap_or(amount);
        match words.next() {
            Some("year" | "years") => years = amount,
            Some("mon" | "mons") => months = amount,
            Some("day" | "days") => days = amount,
            // Infinity, from PostgreSQL 17 on: there is no ISO text for it.
            None => return Value::from(text),
            Some(other) => panic!("{other:?} in the interval {text:?}"),
        }
    }
    clock.push_str(&format!("{years}Y{months}M{days}DT{time}"));
    Value::from(clock)
}

/// `-04:05:06.789` to `-4H-5M-6.789S`: the sign is every part's own.
fn interval_time(text: &str) -> String {
    let negative = text.starts_with('-');
    let mut parts = text.trim_start_matches(['+', '-']).split(':');
    let mut part = || parts.next().expect("hours, minutes and seconds").trim_start_matches('0');
    let (hours, minutes, seconds) = (part(), part(), part());
    let seconds = match seconds.split_once('.') {
        Some((whole, fraction)) => {
            let whole = if whole.is_empty() { "0" } else { whole };
            format!("{whole}.{}", fraction.trim_end_matches('0'))
        }
        None => seconds.to_owned(),
    };
    let signed = |amount: &str| match amount {
        "" => "0".to_owned(),
        amount if negative => format!("-{amount}"),
        amount => amount.to_owned(),
    };
    format!("{}H{}M{}S", signed(hours), signed(minutes), signed(&seconds))
}

/// Date and time of `2020-01-02 03:04:05.6`, the era at the end taken to the year.
fn split(text: &str) -> ((i64, i64, i64), &str) {
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let (date, time) = text.split_once(' ').expect("a blank between date and time");
    (parse_date(&format!("{date}{era}")), time)
}

/// Year (astronomical: 1 BC is 0), month and day.
fn parse_date(text: &str) -> (i64, i64, i64) {
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut parts = text.split('-').map(|part| part.parse::<i64>().expect("a number in a date"));
    let mut part = || parts.next().expect("year, month and day");
    let (year, month, day) = (part(), part(), part());
    (if before_christ { 1 - year } else { year }, month, day)
}

/// Days since 1970 in the proleptic Gregorian calendar, counted year by year from the era of four
/// centuries that a date lies in.
fn days((year, month, day): (i64, i64, i64)) -> i64 {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let era = year.div_euclid(400);
    let mut days = (era - 4) * DAYS_OF_400_YEARS;
    days += (0..year.rem_euclid(400)).map(|year| 365 + i64::from(is_leap(year))).sum::<i64>();
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days +=
        lengths.iter().take(usize::try_from(month - 1).expect("months count from 1")).sum::<i64>();
    // The era began on 1600-01-01, which is 135,140 days before 1970.
    days + day - 1 - 135_140
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn micros_of_day(text: &str) -> i64 {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().expect("a number in a time"));
    let mut part = || parts.next().expect("hours, minutes and seconds");
    let seconds = part() * 3_600 + part() * 60 + part();
    seconds * 1_000_000 + format!("{fraction:0<6}").parse::<i64>().expect("digits of a second")
}

fn in_precision(micros: i64, digits: u32) -> i64 {
    if digits <= 3 { micros.div_euclid(1_000) } else { micros }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_as_debezium_has_them() {
        let cases = [
            ("2026-11-21", 20_778),
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2262-04-11", 106_751),
            ("1900-02-28", -25_509),
            ("0044-03-15 BC", -735_160),
            ("infinity", -2_147_472_692),
        ];
        for (text, days) in cases {
            assert_eq!(date(text), json!(days), "{text}");
        }
    }

    #[test]
    fn times_and_timestamps_as_debezium_has_them() {
        assert_eq!(time("12:34:56.789012", 6), json!(45_296_789_012_i64));
        assert_eq!(time("12:34:56.789", 3), json!(45_296_789));
        assert_eq!(time("24:00:00", 6), json!(86_400_000_000_i64));
        assert_eq!(timestamp("2026-11-21 12:34:56.789012", 6), json!(1_795_264_496_789_012_i64));
        assert_eq!(timestamp("1969-12-31 23:59:59.999", 3), json!(-1));
        assert_eq!(timestamp("infinity", 6), json!(9_223_372_036_825_200_000_i64));
        let far = timestamp("4713-12-31 23:59:59.999999 BC", 6);
        assert_eq!(far, json!(-210_831_897_600_000_001_i64));
        let cases = [
            ("2026-11-21 10:34:56.789012+00", 6, "2026-11-21T10:34:56.789012Z"),
            ("1900-02-28 01:02:03.04+00", 3, "1900-02-28T01:02:03.040Z"),
            ("1970-01-01 00:00:00+00", 6, "1970-01-01T00:00:00.000000Z"),
            ("1970-01-01 00:00:00+00", 0, "1970-01-01T00:00:00Z"),
            ("21016-11-04 06:51:30.123456+00", 6, "+21016-11-04T06:51:30.123456Z"),
            ("4714-12-31 23:59:59.999999+00 BC", 6, "-4713-12-31T23:59:59.999999Z"),
            ("-infinity", 6, "-infinity"),
        ];
        for (text, digits, expected) in cases {
            assert_eq!(timestamptz(text, digits), json!(expected), "{text}");
        }
    }

    #[test]
    fn intervals_as_debezium_has_them() {
        let cases = [
            ("1 year 2 mons 3 days 04:05:06.789", "P1Y2M3DT4H5M6.789S"),
            ("00:00:00", "P0Y0M0DT0H0M0S"),
            ("-1 years -2 mons +3 days -04:05:06.789", "P-1Y-2M3DT-4H-5M-6.789S"),
            ("-00:00:00.5", "P0Y0M0DT0H0M-0.5S"),
            ("100 years 400 days 100:00:00.000001", "P100Y0M400DT100H0M0.000001S"),
            ("200000:00:00", "P0Y0M0DT200000H0M0S"),
            ("-178000000 years", "P-178000000Y0M0DT0H0M0S"),
            ("00:00:10", "P0Y0M0DT0H0M10S"),
        ];
        for (text, expected) in cases {
            assert_eq!(interval(text), json!(expected), "{text}");
        }
    }
}
