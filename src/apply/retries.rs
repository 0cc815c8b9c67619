//! When an attempt is made again, and how that is reported.

use std::time::Duration;
use std::time::Instant;

use crate::apply::error::ApplyError;

/// First and longest pause between attempts.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// An attempt that lived so long was none that failed at once.
const SOUND: Duration = Duration::from_secs(30);

/// An outage is told of at its first failure, and then so often.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Attempts that failed one after the other.
#[derive(Debug)]
pub(super) struct Retries {
    startup: Duration,
    started: Instant,
    /// Both sides were reached once: from then on every outage is waited out.
    ever_reached: bool,
    attempt_began: Instant,
    reached: bool,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    told: Instant,
    attempts: u32,
    pause: Duration,
}

impl Retries {
    /// `startup` is how long everything may be unreachable at the start.
    pub(super) fn new(startup: Duration) -> Self {
        let now = Instant::now();
        Retries {
            startup,
            started: now,
            ever_reached: false,
            attempt_began: now,
            reached: false,
            outage: None,
        }
    }

    /// Whether both sides were reached once.
    pub(super) fn have_reached(&self) -> bool {
        self.ever_reached
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self) {
        self.attempt_began = Instant::now();
        self.reached = false;
    }

    /// The attempt has reached both sides.
    pub(super) fn reached(&mut self) {
        self.ever_reached = true;
        self.reached = true;
        if let Some(outage) = &self.outage {
            let away_s = outage.since.elapsed().as_secs();
            tracing::debug!(away_s, attempts = outage.attempts, "reached again");
        }
    }

    /// The attempt has failed for a passing reason: how long to wait for the next one; `None` if
    /// nothing was ever reached and the time for the start is over.
    pub(super) fn pause(&mut self, error: &ApplyError) -> Option<Duration> {
        let now = Instant::now();
        if self.reached && self.attempt_began.elapsed() >= SOUND {
            self.outage = None;
        }
        let first = self.outage.is_none();
        let outage = self.outage.get_or_insert(Outage {
            since: now,
            told: now,
            attempts: 0,
            pause: PAUSE_FIRST,
        });
        outage.attempts += 1;
        let pause = jittered(outage.pause, now);
        outage.pause = (outage.pause * 2).min(PAUSE_LONGEST);
        if !self.ever_reached && self.started.elapsed() + pause > self.startup {
            return None;
        }
        let (away_s, attempts) = (outage.since.elapsed().as_secs(), outage.attempts);
        let retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        if first || outage.told.elapsed() >= TELL_INTERVAL {
            outage.told = now;
            tracing::warn!(%error, away_s, attempts, retry_in_ms, "trying again");
        } else {
            tracing::debug!(%error, away_s, attempts, retry_in_ms, "trying again");
        }
        Some(pause)
    }
}

/// Between a half and the whole of it, so that many that lost the same server do not come back at
/// once. The clock is random enough for that.
fn jittered(pause: Duration, now: Instant) -> Duration {
    let grain = u64::from(std::process::id()).wrapping_mul(2_654_435_761)
        ^ u64::try_from(now.elapsed().as_nanos()).unwrap_or_default();
    let share = u32::try_from(grain % 512).unwrap_or_default();
    pause / 2 + pause / 2 * share / 512
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::PAUSE_LONGEST;
    use super::Retries;
    use crate::apply::error::ApplyError;

    fn away() -> ApplyError {
        ApplyError::Unreachable { message: "away".to_owned() }
    }

    #[test]
    fn an_outage_after_the_first_contact_is_waited_out_however_late_it_comes() {
        let mut retries = Retries::new(Duration::ZERO);
        retries.begin();
        retries.reached();
        // Longer than the start may take, attempt after attempt.
        for attempt in 0..200 {
            let pause = retries.pause(&away());
            assert!(pause.is_some(), "attempt {attempt} ended it");
            retries.begin();
        }
    }

    #[test]
    fn what_was_never_reached_is_given_up() {
        let mut retries = Retries::new(Duration::ZERO);
        retries.begin();
        assert_eq!(retries.pause(&away()), None);
    }

    #[test]
    fn pauses_grow_though_every_attempt_gets_as_far_as_the_one_before() {
        let mut retries = Retries::new(Duration::from_secs(3600));
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            retries.begin();
            retries.reached();
            last = retries.pause(&away()).unwrap();
            assert!(last <= PAUSE_LONGEST);
        }
        assert!(last >= PAUSE_LONGEST / 2, "{last:?}");
    }
}
