//! Moments, each with its epoch in its type, and days; the only conversions between the two epochs.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Microseconds from 1970-01-01 to 2000-01-01, both 00:00 UTC.
const EPOCH_DISTANCE_MICROS: i64 = 946_684_800_000_000;

/// Microseconds since 2000-01-01 00:00 UTC, the server's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PgTimestamp(pub i64);

/// Microseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// This machine's clock.
    pub fn now() -> Self {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |n| -n),
        };
        UnixMicros(micros)
    }

    /// Whole milliseconds, towards the past.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Seconds from `earlier` to this moment; 0 if `earlier` is later, as another machine's clock
    /// may have it.
    pub fn seconds_since(self, earlier: UnixMicros) -> f64 {
        let micros = self.0.saturating_sub(earlier.0).max(0);
        std::time::Duration::from_micros(micros.unsigned_abs()).as_secs_f64()
    }
}

impl From<PgTimestamp> for UnixMicros {
    fn from(timestamp: PgTimestamp) -> Self {
        UnixMicros(timestamp.0.saturating_add(EPOCH_DISTANCE_MICROS))
    }
}

impl From<UnixMicros> for PgTimestamp {
    fn from(micros: UnixMicros) -> Self {
        PgTimestamp(micros.0.saturating_sub(EPOCH_DISTANCE_MICROS))
    }
}

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CivilDate {
    /// Astronomical: 1 BC is 0, 2 BC is -1.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

impl CivilDate {
    /// Days since 1970-01-01.
    pub fn days(self) -> i64 {
        // Years that begin in March put the leap day last.
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The day that is so many days after 1970-01-01.
    pub fn from_days(days: i64) -> Self {
        let shifted = days.saturating_add(719_468);
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        CivilDate {
            year: i32::try_from(year).unwrap_or(if year < 0 { i32::MIN } else { i32::MAX }),
            month: u32::try_from(month).unwrap_or(1),
            day: u32::try_from(day).unwrap_or(1),
        }
    }
}

/// Microseconds in a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// How many digits follow the seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fraction {
    /// Exactly so many, 0 to 6, and no point for 0.
    Fixed(u32),
    /// As many as the value needs.
    Shortest,
}

/// Appends `HH:MM:SS` and the fraction; `micros` is below one day or [`DAY_MICROS`] itself.
pub fn print_time(micros: i64, fraction: Fraction, out: &mut Vec<u8>) {
    let micros = u64::try_from(micros).unwrap_or_default();
    let seconds = micros / 1_000_000;
    let part = |number: u64| u32::try_from(number).unwrap_or_default();
    two_digits(part(seconds / 3600), out);
    out.push(b':');
    two_digits(part(seconds / 60 % 60), out);
    out.push(b':');
    two_digits(part(seconds % 60), out);
    print_fraction(part(micros % 1_000_000), fraction, out);
}

/// Appends a point and microseconds as `fraction` says.
pub fn print_fraction(micros: u32, fraction: Fraction, out: &mut Vec<u8>) {
    let mut digits = match fraction {
        Fraction::Fixed(digits) => digits.min(6),
        Fraction::Shortest => 6,
    };
    let mut number = micros / 10_u32.pow(6 - digits);
    if fraction == Fraction::Shortest {
        while digits > 0 && number.is_multiple_of(10) {
            number /= 10;
            digits -= 1;
        }
    }
    if digits == 0 {
        return;
    }
    out.push(b'.');
    let mut power = 10_u32.pow(digits - 1);
    while power > 0 {
        out.push(b'0' + u8::try_from(number / power % 10).unwrap_or_default());
        power /= 10;
    }
}

/// Appends a number below 100 with a leading zero.
pub fn two_digits(number: u32, out: &mut Vec<u8>) {
    let digit = |number: u32| b'0' + u8::try_from(number % 10).unwrap_or_default();
    out.push(digit(number / 10));
    out.push(digit(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        assert_eq!(CivilDate { year: 1970, month: 1, day: 1 }.days(), 0);
        assert_eq!(CivilDate { year: 2000, month: 3, day: 1 }.days(), 11_017);
        assert_eq!(CivilDate { year: -4713, month: 11, day: 24 }.days(), -2_440_588);
        for days in (-2_500_000..2_500_000).step_by(77) {
            assert_eq!(CivilDate::from_days(days).days(), days);
        }
    }

    #[test]
    fn converts_between_the_epochs_without_overflow() {
        assert_eq!(UnixMicros::from(PgTimestamp(0)).0, EPOCH_DISTANCE_MICROS);
        assert_eq!(PgTimestamp::from(UnixMicros(EPOCH_DISTANCE_MICROS)).0, 0);
        assert_eq!(UnixMicros::from(PgTimestamp(i64::MAX)).0, i64::MAX);
        assert_eq!(PgTimestamp::from(UnixMicros(i64::MIN)).0, i64::MIN);
        assert_eq!(UnixMicros(-1).millis(), -1);
    }
}
