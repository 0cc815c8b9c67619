//! Moments, each with its epoch in its type; the only conversions between the two epochs.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_between_the_epochs_without_overflow() {
        assert_eq!(UnixMicros::from(PgTimestamp(0)).0, EPOCH_DISTANCE_MICROS);
        assert_eq!(PgTimestamp::from(UnixMicros(EPOCH_DISTANCE_MICROS)).0, 0);
        assert_eq!(UnixMicros::from(PgTimestamp(i64::MAX)).0, i64::MAX);
        assert_eq!(PgTimestamp::from(UnixMicros(i64::MIN)).0, i64::MIN);
        assert_eq!(UnixMicros(-1).millis(), -1);
    }
}
