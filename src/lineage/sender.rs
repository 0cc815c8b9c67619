//! The thread that sends: facts to events, one after the other.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::lineage::Item;
use crate::lineage::LineageSettings;
use crate::lineage::Tables;
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
    /// Tables of the last connection.
    pub(super) tables: Arc<Tables>,
}

/// Events that are lost, since one arrived.
#[derive(Debug, Default)]
struct Losses {
    count: u64,
    /// When that was last told.
    told: Option<Instant>,
}

impl Sending {
    /// Sends until nobody tells facts any more.
    pub(super) fn run(mut self, items: &Receiver<(UnixMicros, Item)>) {
        let mut losses = Losses::default();
        for (time, item) in items {
            match item {
                Item::Fact(fact) => self.send(time, &fact, &mut losses),
                Item::Tables => {
                    let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
                    let taken = tables.take().unwrap_or_default();
                    drop(tables);
                    for dataset in taken {
                        self.send(time, &Fact::Table(dataset), &mut losses);
                    }
                }
            }
        }
        self.transport.close();
    }

    fn send(&mut self, time: UnixMicros, fact: &Fact, losses: &mut Losses) {
        let event = event::of_fact(&self.settings, &self.run_id, time, fact).to_string();
        losses.count += self.left_out.swap(0, Ordering::Relaxed);
        match self.transport.send(event) {
            Ok(()) if losses.count > 0 => {
                let lost = losses.count;
                tracing::warn!(lost, "lineage events are sent again; some were lost");
                *losses = Losses::default();
            }
            Ok(()) => {}
            Err(error) => {
                losses.count += 1;
                if losses.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
                    losses.told = Some(Instant::now());
                    tracing::warn!(
                        %error, lost = losses.count,
                        "a lineage event could not be sent; the capture goes on"
                    );
                }
            }
        }
    }
}
