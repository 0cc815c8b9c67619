//! How far a warehouse is behind its source, reckoned when it is scraped: while nothing is applied
//! it grows, whatever the loops do.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Shared by the loops and the scrapes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SinkLag {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether something waits; `None` while nobody can know.
    waits: Option<bool>,
    /// Milliseconds since 1970 of the latest commit that is applied.
    latest_commit: Option<i64>,
    /// Milliseconds since 1970 when nothing waited the last time, or when this began.
    caught_up: Option<i64>,
}

impl SinkLag {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch was applied; its latest commit is of this time.
    pub fn applied(&self, commit_ms: i64) {
        let mut shared = self.lock();
        shared.latest_commit = shared.latest_commit.max(Some(commit_ms));
    }

    /// Whether records wait to be applied, at this time.
    pub fn set_waits(&self, waits: bool, now_ms: i64) {
        let mut shared = self.lock();
        if waits {
            shared.caught_up.get_or_insert(now_ms);
        } else {
            shared.caught_up = Some(now_ms);
        }
        shared.waits = Some(waits);
    }

    /// Nobody can know whether records wait: the broker does not answer.
    pub fn set_unknown(&self) {
        self.lock().waits = None;
    }

    /// Whether records wait, if that is known.
    pub fn waits(&self) -> Option<bool> {
        self.lock().waits
    }

    /// At most so many milliseconds old is the oldest commit that waits: it came after everything
    /// was applied the last time, and after the latest commit that is applied. 0 if nothing waits.
    pub fn milliseconds(&self, now_ms: i64) -> Option<i64> {
        let shared = self.lock();
        let waits = shared.waits?;
        let since = shared.latest_commit.max(shared.caught_up).unwrap_or(now_ms);
        Some(if waits { (now_ms - since).max(0) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::SinkLag;

    #[test]
    fn the_lag_grows_while_nothing_is_applied() {
        let lag = SinkLag::default();
        assert_eq!(lag.milliseconds(1_000), None, "nobody has looked");
        lag.set_waits(false, 5_000);
        assert_eq!(lag.milliseconds(9_000), Some(0));
        // The warehouse is away: records wait, and the loop does not come by.
        lag.set_waits(true, 6_000);
        assert_eq!(lag.milliseconds(6_000), Some(1_000));
        assert_eq!(lag.milliseconds(65_000), Some(60_000));
        lag.applied(60_000);
        assert_eq!(lag.milliseconds(65_000), Some(5_000));
        lag.set_waits(false, 66_000);
        assert_eq!(lag.milliseconds(67_000), Some(0));
    }

    #[test]
    fn the_lag_of_a_backlog_is_the_age_of_what_is_applied() {
        let lag = SinkLag::default();
        lag.set_waits(true, 100_000);
        assert_eq!(lag.milliseconds(100_000), Some(0), "nothing is known of its age");
        lag.applied(40_000);
        assert_eq!(lag.milliseconds(130_000), Some(30_000));
    }

    #[test]
    fn without_a_broker_the_lag_is_not_known() {
        let lag = SinkLag::default();
        lag.set_waits(false, 1_000);
        lag.set_unknown();
        assert_eq!((lag.milliseconds(2_000), lag.waits()), (None, None));
    }
}
