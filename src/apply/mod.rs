//! Kafka to a warehouse, exactly once in effect.
//!
//! Two promises: an offset is stored only in the transaction that stored every record before it,
//! and of two changes of a row the later one wins, in whatever order and however often they come.

pub mod consumer;
pub mod merge;
pub mod warehouse;
pub mod applier;
pub mod batch_loop;
mod progress_line;
pub mod replay;
pub mod settings;
pub mod tables_shown;
pub mod error;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use crate::apply::applier::Applier;
use crate::apply::batch_loop::BatchLoop;
use crate::apply::batch_loop::Ended;
use crate::apply::batch_loop::Surroundings;
use crate::apply::consumer::Consumer;
use crate::apply::consumer::ConsumerSettings;
use crate::apply::consumer::TopicSchemas;
use crate::apply::error::ApplyError;
use crate::apply::settings::ApplySettings;
use crate::apply::tables_shown::TablesShown;
use crate::apply::warehouse::Warehouse;
use crate::apply::warehouse::WarehouseError;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::SinkMetrics;

/// First and longest pause between attempts.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// Opens the warehouse; called again after it was lost.
pub type OpenWarehouse = Arc<dyn Fn() -> Result<Box<dyn Warehouse>, WarehouseError> + Send + Sync>;

/// What an application needs from its process.
#[derive(Clone)]
pub struct Process {
    /// Metrics.
    pub metrics: SinkMetrics,
    /// Health.
    pub health: Health,
    /// Ends it.
    pub stop: Stop,
    /// What `/v1/tables` shows.
    pub tables: Arc<Mutex<TablesShown>>,
}

/// What is applied, and how.
pub struct Job {
    /// What is consumed.
    pub consumer: ConsumerSettings,
    /// How it is applied.
    pub settings: ApplySettings,
    /// The warehouse.
    pub open: OpenWarehouse,
    /// Stop when everything is applied that the topics held at the start.
    pub once: bool,
    /// How long everything may be unreachable at the start.
    pub startup: Duration,
}

/// Applies until it is asked to stop, or has caught up.
///
/// # Errors
///
/// Only a person can help, or nothing could be reached at the start.
pub fn run(job: &Job, process: &Process) -> Result<Ended, ApplyError> {
    let seen = process.clone();
    std::thread::spawn(move || progress_line::show(&seen));
    let began = Instant::now();
    let mut pause = PAUSE_FIRST;
    let mut reached = false;
    while !process.stop.is_requested() {
        let error = match attempt(job, process, &mut reached) {
            Ok(ended) => return Ok(ended),
            Err(error) => error,
        };
        if !error.is_passing() || (!reached && began.elapsed() + pause > job.startup) {
            return Err(error);
        }
        if reached {
            reached = false;
            pause = PAUSE_FIRST;
        }
        let kind = match &error {
            ApplyError::Warehouse(WarehouseError::Fenced { .. }) => "fenced",
            ApplyError::Warehouse(_) => "warehouse",
            _ => "kafka",
        };
        process.metrics.retries.with_label_values(&[kind]).inc();
        process.health.set_ready("warehouse", Err(error.to_string()));
        tracing::warn!(%error, retry_in_ms = pause.as_millis(), "trying again");
        wait(pause, process);
        pause = (pause * 2).min(PAUSE_LONGEST);
    }
    Ok(Ended::Stopped)
}

fn wait(pause: Duration, process: &Process) {
    let until = Instant::now() + pause;
    while Instant::now() < until && !process.stop.is_requested() {
        process.health.turn("batches");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn attempt(job: &Job, process: &Process, reached: &mut bool) -> Result<Ended, ApplyError> {
    process.health.set_phase("connecting");
    process.health.set_ready("warehouse", Err("connecting".to_owned()));
    let warehouse = (job.open)()?;
    tracing::info!(warehouse = warehouse.describe(), "warehouse reached");
    let schemas = Box::new(TopicSchemas::new(job.consumer.kafka.clone()));
    let mut applier = Applier::new(warehouse, schemas, job.settings.clone())?;
    let mut consumer = Consumer::open(job.consumer.clone())?;
    if consumer.topics().is_empty() {
        if job.once {
            return Err(ApplyError::Configuration {
                message: format!("no topic matches {}", job.consumer.topics),
                hint: "give a regular expression that the whole name of a topic matches, as in \
                       --topics 'shop\\.public\\..*'"
                    .to_owned(),
            });
        }
        tracing::warn!(topics = %job.consumer.topics, "no topic matches yet");
    }
    *reached = true;
    process.health.set_ready("warehouse", Err("waiting for partitions".to_owned()));
    show_reread(&applier, &process.metrics);
    let around = Surroundings {
        metrics: &process.metrics,
        health: &process.health,
        stop: &process.stop,
        tables: &process.tables,
    };
    BatchLoop::new(around, &mut consumer, &mut applier, (&job.settings, job.once)).run()
}

fn show_reread(applier: &Applier, metrics: &SinkMetrics) {
    for known in applier.tables().filter(|known| !known.target.reread.is_empty()) {
        let table = known.target.table.to_string();
        tracing::warn!(table, reason = known.target.reread, "this table must be read again");
        metrics.reread.with_label_values(&[&table]).set(1);
    }
}
