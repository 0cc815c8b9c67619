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
mod retries;
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
use crate::apply::retries::Retries;
use crate::apply::settings::ApplySettings;
use crate::apply::tables_shown::TablesShown;
use crate::apply::warehouse::Warehouse;
use crate::apply::warehouse::WarehouseError;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::SinkMetrics;

/// How long one wait within a pause lasts.
const WAIT: Duration = Duration::from_millis(20);

/// Opens the warehouse; called again after it was lost.
pub type OpenWarehouse = Arc<dyn Fn() -> Result<Box<dyn Warehouse>, WarehouseError> + Send + Sync>;

/// So long a broker has to answer, whatever `startup.timeout.ms` says.
const LOOK_LEAST: Duration = Duration::from_secs(1);

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
    let mut retries = Retries::new(job.startup);
    let mut consumer = None;
    let mut refused = None;
    while !process.stop.is_requested() {
        retries.begin();
        let error = match attempt(job, process, (&mut consumer, &refused), &mut retries) {
            Ok(ended) => return Ok(ended),
            Err(error) => error,
        };
        process.health.turn("batches");
        let may_pass = matches!(error, ApplyError::Connection { .. }) && retries.have_reached();
        if !error.is_passing() && !may_pass {
            return Err(error);
        }
        let Some(pause) = retries.pause(&error) else { return Err(error) };
        note_outage(&error, process);
        if error.is_of_the_warehouse() {
            refused = Some(error.to_string());
        } else {
            // The group is joined anew.
            consumer = None;
        }
        wait(pause, process, consumer.as_mut());
    }
    Ok(Ended::Stopped)
}

/// Which side does not answer.
fn note_outage(error: &ApplyError, process: &Process) {
    let metrics = &process.metrics;
    let kind = match error {
        ApplyError::Warehouse(WarehouseError::Fenced { .. }) => "fenced",
        ApplyError::Warehouse(_) => "warehouse",
        _ => "kafka",
    };
    match kind {
        "warehouse" => {
            // One that is only locked answers.
            let locked = matches!(error, ApplyError::Warehouse(WarehouseError::Locked { .. }));
            metrics.warehouse_up.set(i64::from(locked));
            process.health.set_ready("warehouse", Err(error.to_string()));
        }
        "kafka" => {
            metrics.set_kafka_up(false);
            metrics.lag.set_unknown();
            metrics.lag_records.reset();
            process.health.set_ready("kafka", Err(error.to_string()));
        }
        _ => process.health.set_ready("partitions", Err(error.to_string())),
    }
    metrics.retries.with_label_values(&[kind]).inc();
}

/// Waits for the next attempt; a consumer stays in its group.
fn wait(pause: Duration, process: &Process, mut consumer: Option<&mut Consumer>) {
    let until = Instant::now() + pause;
    let around = surroundings(process, &None);
    while Instant::now() < until && !process.stop.is_requested() {
        process.health.turn("batches");
        let Some(consumer) = &mut consumer else {
            std::thread::sleep(WAIT);
            continue;
        };
        if let Err(error) = consumer.idle(WAIT) {
            tracing::debug!(%error, "the consumer says it again in the next attempt");
            std::thread::sleep(WAIT);
        }
        batch_loop::reckon(consumer, &around, false, |_| true);
    }
}

fn surroundings<'a>(process: &'a Process, refused: &Option<String>) -> Surroundings<'a> {
    Surroundings {
        metrics: &process.metrics,
        health: &process.health,
        stop: &process.stop,
        tables: &process.tables,
        refused: refused.clone(),
    }
}

fn attempt(
    job: &Job,
    process: &Process,
    (kept, refused): (&mut Option<Consumer>, &Option<String>),
    retries: &mut Retries,
) -> Result<Ended, ApplyError> {
    process.health.set_phase("connecting");
    let connecting = refused.clone().unwrap_or_else(|| "connecting".to_owned());
    process.health.set_ready("warehouse", Err(connecting));
    let warehouse = (job.open)()?;
    process.health.turn("batches");
    if refused.is_none() {
        tracing::info!(warehouse = warehouse.describe(), "warehouse reached");
    }
    let schemas = Box::new(TopicSchemas::new(job.consumer.kafka.clone()));
    let mut applier = Applier::new(warehouse, schemas, job.settings.clone())?;
    if refused.is_none() {
        process.metrics.warehouse_up.set(1);
        process.health.set_ready("warehouse", Ok(()));
    }
    let consumer = match kept {
        Some(consumer) => consumer,
        None => kept.insert(Consumer::open(job.consumer.clone(), job.startup.max(LOOK_LEAST))?),
    };
    process.metrics.set_kafka_up(true);
    process.health.set_ready("kafka", Ok(()));
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
    retries.reached();
    process.health.set_ready("partitions", Err("waiting for partitions".to_owned()));
    show_reread(&applier, &process.metrics);
    let around = surroundings(process, refused);
    BatchLoop::new(around, consumer, &mut applier, (&job.settings, job.once)).run()
}

fn show_reread(applier: &Applier, metrics: &SinkMetrics) {
    for known in applier.tables().filter(|known| !known.target.reread.is_empty()) {
        let table = known.target.table.to_string();
        tracing::warn!(table, reason = known.target.reread, "this table must be read again");
        metrics.reread.with_label_values(&[&table]).set(1);
    }
}
