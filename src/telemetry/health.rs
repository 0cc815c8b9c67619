//! Whether the loops turn and whether records flow: what a supervisor and a load balancer ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// A loop that has not turned for so long is taken for dead.
const LOOP_DEAD_AFTER: Duration = Duration::from_secs(30);

/// A loop that has not turned for so long holds records up: loops that wait still turn.
const LOOP_SLOW_AFTER: Duration = Duration::from_secs(8);

/// Shared by all loops. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    loops: BTreeMap<&'static str, Instant>,
    phase: String,
    /// Why records do not flow, by the part that stops them.
    obstacles: BTreeMap<&'static str, String>,
}

impl Shared {
    /// Loops that have not turned for so long.
    fn slow(&self, after: Duration) -> impl Iterator<Item = (&'static str, &Instant)> {
        let loops = self.loops.iter().map(|(name, turned)| (*name, turned));
        loops.filter(move |(_, turned)| turned.elapsed() > after)
    }
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A loop turned. Blocked on a full queue it still turns.
    pub fn turn(&self, name: &'static str) {
        self.lock().loops.insert(name, Instant::now());
    }

    /// A loop ended in good order.
    pub fn leave(&self, name: &'static str) {
        self.lock().loops.remove(name);
    }

    /// What the process is doing, in a few words.
    pub fn set_phase(&self, phase: impl Into<String>) {
        self.lock().phase = phase.into();
    }

    /// What the process is doing.
    pub fn phase(&self) -> String {
        self.lock().phase.clone()
    }

    /// A part lets records flow, or why it does not.
    pub fn set_ready(&self, part: &'static str, ready: Result<(), String>) {
        let mut shared = self.lock();
        match ready {
            Ok(()) => shared.obstacles.remove(part),
            Err(reason) => shared.obstacles.insert(part, reason),
        };
    }

    /// Whether a part stops records from flowing.
    pub fn is_stopped_by(&self, part: &'static str) -> bool {
        self.lock().obstacles.contains_key(part)
    }

    /// Reading or streaming, with the sink acknowledging and every loop turning; or the reason.
    ///
    /// # Errors
    ///
    /// Why records do not flow.
    pub fn ready(&self) -> Result<String, String> {
        let shared = self.lock();
        if let Some(reason) = shared.obstacles.values().next() {
            return Err(reason.clone());
        }
        if let Some((name, turned)) = shared.slow(LOOP_SLOW_AFTER).next() {
            return Err(format!("the {name} has not turned for {} s", turned.elapsed().as_secs()));
        }
        if shared.phase.is_empty() {
            return Err("starting".to_owned());
        }
        Ok(shared.phase.clone())
    }

    /// Every loop turned lately; otherwise the names of those that did not.
    ///
    /// # Errors
    ///
    /// Which loops stand still.
    pub fn live(&self) -> Result<(), String> {
        let shared = self.lock();
        let dead: Vec<&str> = shared.slow(LOOP_DEAD_AFTER).map(|(name, _)| name).collect();
        if dead.is_empty() { Ok(()) } else { Err(format!("no turn of: {}", dead.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_loop_stands_still_is_not_ready() {
        let health = Health::default();
        assert_eq!(health.ready(), Err("starting".to_owned()));
        health.set_phase("streaming");
        health.turn("encoder");
        assert_eq!(health.ready(), Ok("streaming".to_owned()));
        let before = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
        health.lock().loops.insert("encoder", before);
        assert_eq!(health.ready(), Err("the encoder has not turned for 9 s".to_owned()));
        assert_eq!(health.live(), Ok(()), "it may turn again");
        health.leave("encoder");
        assert_eq!(health.ready(), Ok("streaming".to_owned()));
    }
}
