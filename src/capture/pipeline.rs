//! What outlives a connection to the source: the destination, the ledger and the stored state.
//!
//! When only the source's connection breaks, records in flight stay in flight and the stream goes
//! on after the last whole transaction that was sent. When the destination fails for good, all of
//! this is made anew and the stream goes on from the stored position.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::capture::CaptureError;
use crate::capture::deliveries::Deliveries;
use crate::capture::deliveries::DeliveryLoop;
use crate::capture::publisher::KafkaPublisher;
use crate::capture::publisher::LinesPublisher;
use crate::capture::publisher::Publisher;
use crate::capture::settings::CaptureSettings;
use crate::capture::settings::Destination;
use crate::capture::settings::Reached;
use crate::capture::slot_record::SlotRecord;
use crate::capture::state::FileStore;
use crate::capture::state::StateStore;
use crate::capture::state::TopicStore;
use crate::capture::tables::Tables;
use crate::lsn::Lsn;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Metrics;

/// How long one attempt to reach Kafka may take; `startup.timeout.ms` may bound it, but a broker
/// has to have time to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(5);
const KAFKA_TIMEOUT_LEAST: Duration = Duration::from_secs(1);

/// The destination and what is known of deliveries.
pub(super) struct Pipeline {
    /// The destination.
    pub(super) publisher: Arc<dyn Publisher>,
    /// The ledger.
    pub(super) deliveries: Arc<Deliveries>,
    /// Where state is stored, for who removes it.
    pub(super) store: Arc<dyn StateStore>,
    /// What is stored of the slot, and who changes it.
    pub(super) record: Arc<SlotRecord>,
    /// Makes tables ready.
    pub(super) tables: Tables,
    resume: Mutex<Option<Resume>>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

/// Where a new connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    /// After the last whole transaction that was sent.
    pub(super) lsn: Lsn,
    /// End of the last transaction, for `source.sequence`.
    pub(super) last_commit: Option<Lsn>,
}

impl Pipeline {
    /// Reaches the destination and starts polling it.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or refuses a setting.
    pub(super) fn connect(
        settings: &Arc<CaptureSettings>,
        runtime: &Handle,
        metrics: &Metrics,
        health: &Health,
        run_id: &str,
    ) -> Result<Self, CaptureError> {
        let (publisher, store) = reach(settings, runtime, metrics)?;
        let deliveries = Arc::new(Deliveries::default());
        let record = Arc::new(SlotRecord::new(Arc::clone(&store)));
        let tables = Tables::new(
            Arc::clone(settings),
            Arc::clone(&publisher),
            Arc::clone(&deliveries),
            metrics.clone(),
            run_id,
        )?;
        let stop = Stop::default();
        let thread = {
            let (publisher, deliveries) = (Arc::clone(&publisher), Arc::clone(&deliveries));
            let (record, stop) = (Arc::clone(&record), stop.clone());
            let (metrics, health) = (metrics.clone(), health.clone());
            std::thread::spawn(move || {
                DeliveryLoop {
                    deliveries: &deliveries,
                    publisher: &*publisher,
                    record: &record,
                    metrics: &metrics,
                    health: &health,
                    stop: &stop,
                }
                .run();
            })
        };
        tracing::info!(destination = publisher.describe(), "destination reached");
        Ok(Pipeline {
            publisher,
            deliveries,
            store,
            record,
            tables,
            resume: Mutex::new(None),
            stop,
            thread: Some(thread),
        })
    }

    /// Where the stream goes on: where it was left, but not before this position.
    pub(super) fn resume(&self, from: Lsn) -> Resume {
        let kept = *self.resume.lock().unwrap_or_else(PoisonError::into_inner);
        kept.filter(|kept| kept.lsn >= from).unwrap_or(Resume { lsn: from, last_commit: None })
    }

    /// The stream goes on where it was stored, if it was not left later: at the end of a
    /// transaction that was sent before.
    pub(super) fn keep_resume_at_least(&self, from: Lsn) {
        let mut kept = self.resume.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none_or(|kept| kept.lsn < from) {
            *kept = Some(Resume { lsn: from, last_commit: Some(from) });
        }
    }

    /// Notes where the stream was left.
    pub(super) fn keep_resume(&self, lsn: Lsn, last_commit: Option<Lsn>) {
        *self.resume.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Resume { lsn, last_commit });
    }
}

/// Reaches the destination, and the place of the state.
fn reach(
    settings: &CaptureSettings,
    runtime: &Handle,
    metrics: &Metrics,
) -> Result<Reached, CaptureError> {
    let lines = |publisher: LinesPublisher, state: &Path| {
        let store = FileStore::new(state.to_owned(), settings.slot.clone())?;
        Ok((Arc::new(publisher) as Arc<dyn Publisher>, Arc::new(store) as Arc<dyn StateStore>))
    };
    match &settings.destination {
        Destination::Kafka(kafka) => {
            let publisher: Arc<dyn Publisher> = Arc::new(KafkaPublisher::connect(
                kafka.clone(),
                runtime.clone(),
                metrics.clone(),
                KAFKA_TIMEOUT.min(settings.times.startup.max(KAFKA_TIMEOUT_LEAST)),
            )?);
            let store = TopicStore::new(
                kafka.kafka.clone(),
                settings.naming.internal_topic("state"),
                settings.slot.clone(),
                Arc::clone(&publisher),
            )?;
            Ok((publisher, Arc::new(store)))
        }
        Destination::Stdout { state } => lines(LinesPublisher::stdout(), state),
        Destination::File { path, state } => lines(LinesPublisher::file(path)?, state),
        Destination::Elsewhere(elsewhere) => Ok(elsewhere.connect(&settings.slot)?),
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(thread) = self.thread.take() {
            // A panic has been logged where it happened.
            thread.join().ok();
        }
    }
}
