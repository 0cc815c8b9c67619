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

    /// Reading or streaming, with the sink acknowledging; otherwise the reason.
    ///
    /// # Errors
    ///
    /// Why records do not flow.
    pub fn ready(&self) -> Result<String, String> {
        let shared = self.lock();
        match shared.obstacles.values().next() {
            None if shared.phase.is_empty() => Err("starting".to_owned()),
            None => Ok(shared.phase.clone()),
            Some(reason) => Err(reason.clone()),
        }
    }

    /// Every loop turned lately; otherwise the names of those that did not.
    ///
    /// # Errors
    ///
    /// Which loops stand still.
    pub fn live(&self) -> Result<(), String> {
        let shared = self.lock();
        let dead: Vec<&str> = shared
            .loops
            .iter()
            .filter(|(_, turned)| turned.elapsed() > LOOP_DEAD_AFTER)
            .map(|(name, _)| *name)
            .collect();
        if dead.is_empty() { Ok(()) } else { Err(format!("no turn of: {}", dead.join(", "))) }
    }
}
