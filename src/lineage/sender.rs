//! The thread that sends: facts to events, one after the other.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::lineage::LineageSettings;
use crate::lineage::event;
use crate::lineage::event::Fact;
use crate::lineage::transport::Transport;
use crate::time::UnixMicros;

/// How often failures in a row are told.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

/// What the thread has.
pub(super) struct Sending {
    /// What events say.
    pub(super) settings: LineageSettings,
    /// Whose events.
    pub(super) run_id: String,
    /// Where they go.
    pub(super) transport: Box<dyn Transport>,
    /// Facts that found no room, since they were last told of.
    pub(super) left_out: Arc<AtomicU64>,
}

impl Sending {
    /// Sends until nobody tells facts any more.
    pub(super) fn run(mut self, facts: &Receiver<(UnixMicros, Fact)>) {
        let mut lost: u64 = 0;
        let mut told: Option<Instant> = None;
        for (time, fact) in facts {
            let event = event::of_fact(&self.settings, &self.run_id, time, &fact).to_string();
            let left_out = self.left_out.swap(0, Ordering::Relaxed);
            lost += left_out;
            match self.transport.send(event) {
                Ok(()) if lost > 0 => {
                    tracing::warn!(lost, "lineage events are sent again; some were lost");
                    (lost, told) = (0, None);
                }
                Ok(()) => {}
                Err(error) => {
                    lost += 1;
                    if told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
                        told = Some(Instant::now());
                        tracing::warn!(
                            %error, lost, "a lineage event could not be sent; the capture goes on"
                        );
                    }
                }
            }
        }
        self.transport.close();
    }
}
