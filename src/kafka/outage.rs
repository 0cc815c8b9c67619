//! What a running client says while brokers are away: logged when it begins, then once a minute.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// How often an outage that lasts is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Without an error for so long, an answer ends the outage: of several brokers one may answer while
/// others do not.
const QUIET_AFTER: Duration = Duration::from_secs(15);

/// A client tries at least so often: after so long a silence another outage begins.
const OVER_AFTER: Duration = Duration::from_secs(120);

/// An outage of the brokers, if there is one.
#[derive(Debug, Default)]
pub struct Outage {
    inner: Mutex<Option<Inner>>,
}

#[derive(Debug)]
struct Inner {
    reason: String,
    errors: u64,
    began: Instant,
    logged: Instant,
    last: Instant,
}

impl Outage {
    fn lock(&self) -> MutexGuard<'_, Option<Inner>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client has said this of its brokers, and goes on trying.
    pub fn note(&self, reason: &str) {
        let now = Instant::now();
        let mut inner = self.lock();
        if inner.as_ref().is_some_and(|outage| outage.last.elapsed() >= OVER_AFTER) {
            *inner = None;
        }
        let Some(outage) = &mut *inner else {
            tracing::warn!(reason, "a Kafka broker does not answer; trying again");
            let reason = reason.to_owned();
            *inner = Some(Inner { reason, errors: 1, began: now, logged: now, last: now });
            return;
        };
        outage.errors += 1;
        outage.last = now;
        // That all are down says less than why one is.
        if !reason.contains("brokers are down") {
            reason.clone_into(&mut outage.reason);
        }
        if outage.logged.elapsed() >= LOG_INTERVAL {
            outage.logged = now;
            let (seconds, errors) = (outage.began.elapsed().as_secs(), outage.errors);
            tracing::warn!(
                reason = outage.reason,
                seconds,
                errors,
                "a Kafka broker still does not answer"
            );
        }
    }

    /// A broker has answered.
    pub fn end(&self) {
        let quiet = |outage: &mut Inner| outage.last.elapsed() >= QUIET_AFTER;
        let Some(outage) = self.lock().take_if(quiet) else { return };
        let (seconds, errors) = (outage.began.elapsed().as_secs(), outage.errors);
        tracing::info!(seconds, errors, "Kafka answers again");
    }

    /// Why no broker answers.
    pub fn reason(&self) -> Option<String> {
        self.lock().as_ref().map(|outage| outage.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::Outage;

    #[test]
    fn the_reason_is_the_last_one_that_says_why() {
        let outage = Outage::default();
        assert_eq!(outage.reason(), None);
        outage.note("Connect failed: Connection refused");
        outage.note("1/1 brokers are down");
        assert_eq!(outage.reason().unwrap(), "Connect failed: Connection refused");
        outage.note("SASL authentication error");
        assert_eq!(outage.reason().unwrap(), "SASL authentication error");
    }
}
