//! One process of the agent: runtime, log, HTTP port, systemd, signals, and the capture within.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use tokio::runtime::Handle;

use crate::apply::tables_shown::TablesShown;
use crate::capture;
use crate::capture::Destination;
use crate::capture::Process;
use crate::config::AgentConfig;
use crate::config::RawConfig;
use crate::config::properties::Program;
use crate::direct::Direct;
use crate::envelope::uuid;
use crate::error::Failure;
use crate::error::Status;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::service;
use crate::sink;
use crate::sink::Opener;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Metrics;
use crate::telemetry::SinkMetrics;
use crate::telemetry::http;
use crate::time::UnixMicros;

/// Runs the agent until it is asked to stop.
///
/// # Errors
///
/// Why it ended though nobody asked.
pub fn run(raw: RawConfig) -> Result<(), Failure> {
    let effective = raw.effective();
    let mut config = AgentConfig::new(raw, |name| std::env::var(name).ok())
        .map_err(|errors| Failure::from_config(Program::Agent, &errors))?;
    for (name, value, origin) in effective {
        tracing::debug!(name, value, %origin, "setting");
    }
    let lineage = lineage(&mut config)?;
    let runtime = service::runtime()?;
    let process = Process {
        runtime: runtime.handle().clone(),
        metrics: Metrics::new(&config.capture.slot),
        health: Health::default(),
        stop: Stop::default(),
        status: capture::Status::new(&config.capture.slot),
        lineage,
    };
    let warehouse = place(&mut config, &process.runtime);
    service::listen_for_signals(&process.runtime, &process.stop, config.capture.times.shutdown);
    start_http(&config, &process, warehouse)?;
    service::tell_systemd(&process.runtime, &process.health, &process.stop);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        slot = config.capture.slot,
        publication = config.capture.publication,
        topic_prefix = config.capture.prefix,
        "cdc-agent starts"
    );
    let result = capture::run(config.capture, &process);
    service::tell_stopping();
    // Connections that hang must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result?;
    tracing::info!("cdc-agent ends");
    Ok(())
}

/// Who is told of this run.
fn lineage(config: &mut AgentConfig) -> Result<Lineage, Failure> {
    let mut random = [0; 16];
    // Without random bytes two runs of one millisecond share an id, which harms nobody.
    SystemRandom::new().fill(&mut random).ok();
    let millis = u64::try_from(UnixMicros::now().millis()).unwrap_or_default();
    let run_id = uuid::of_moment(millis, random);
    let Some(settings) = config.lineage.take() else { return Ok(Lineage::off(run_id)) };
    Lineage::start(settings, run_id).map_err(|error| {
        let hint = "correct the file of openlineage.integration.config.file.path";
        Failure::new(Status::Config, error.to_string(), hint)
    })
}

/// What the HTTP port shows of a warehouse.
#[derive(Clone)]
pub struct Shown {
    metrics: SinkMetrics,
    more: http::More,
}

/// Puts the warehouse that was asked for in the place of the capture's destination.
pub fn place(config: &mut AgentConfig, runtime: &Handle) -> Option<Shown> {
    let (warehouse, settings) = config.warehouse.take()?;
    let opener = Opener::new(warehouse, runtime.clone());
    let direct = Direct {
        open: opener.open(),
        settings,
        prefix: config.capture.prefix.clone(),
        queue_bytes: config.capture.source_queue_bytes,
        metrics: SinkMetrics::default(),
        tables: Arc::new(Mutex::new(TablesShown::default())),
    };
    let more = sink::more(&direct.tables, &opener);
    let shown = Shown { metrics: direct.metrics.clone(), more };
    config.capture.destination = Destination::Elsewhere(Arc::new(direct));
    Some(shown)
}

fn start_http(
    config: &AgentConfig,
    process: &Process,
    warehouse: Option<Shown>,
) -> Result<(), Failure> {
    let status = process.status.clone();
    let asked: http::AskedMetrics = Arc::new(move || {
        let status = status.clone();
        Box::pin(async move { slot_metrics(&status).await })
    });
    let metrics = process.metrics.clone();
    let more = warehouse.as_ref().map(|shown| shown.more.clone()).unwrap_or_default();
    let counted: http::CountedMetrics = Arc::new(move |out| {
        metrics.write(out);
        if let Some(warehouse) = &warehouse {
            warehouse.metrics.write(out);
        }
    });
    let shown = http::Shown {
        counted,
        asked,
        labels: config.labels.clone(),
        health: process.health.clone(),
    };
    service::start_http(&process.runtime, &config.process.http, shown, more)
}

/// How the slot looks now, in Prometheus' text format. While the source cannot be asked, or there
/// is no slot yet, only whether the source answers.
async fn slot_metrics(status: &capture::Status) -> String {
    let mut text = String::new();
    let name = status.slot();
    let asked = tokio::time::timeout(Duration::from_secs(3), status.ask_slot()).await;
    let answer = asked.ok().flatten();
    let mut gauge = |metric: &str, help: &str, labels: &str, value: String| {
        // Writing to a string does not fail.
        write!(
            text,
            "# HELP {metric} {help}\n# TYPE {metric} gauge\n{metric}{{slot=\"{name}\"{labels}}} \
             {value}\n"
        )
        .ok();
    };
    let up = if answer.is_some() { "1" } else { "0" };
    gauge(
        "cdc_agent_source_up",
        "1 if the source answered; while it does not, or there is no slot, the others are absent.",
        "",
        up.to_owned(),
    );
    let Some(slot) = answer.flatten() else { return text };
    let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
    let restart = slot.restart_lsn.unwrap_or_default();
    let lag = slot.current_lsn.bytes_since(confirmed).to_string();
    let help = "Current end of the WAL minus the confirmed position.";
    gauge("cdc_agent_slot_lag_bytes", help, "", lag);
    gauge(
        "cdc_agent_slot_lag_seconds",
        "Age of the oldest commit that the agent has received and the destination has not acknowledged; 0 if there is none.",
        "",
        status.lag_seconds().to_string(),
    );
    let mut lsn = |metric: &str, help: &str, lsn: Lsn| gauge(metric, help, "", lsn.0.to_string());
    lsn("cdc_agent_slot_confirmed_flush_lsn", "Confirmed WAL position, as a number.", confirmed);
    lsn("cdc_agent_slot_restart_lsn", "Oldest WAL position that the slot retains.", restart);
    lsn("cdc_agent_slot_current_lsn", "Current end of the WAL.", slot.current_lsn);
    let kept = slot.current_lsn.bytes_since(restart);
    gauge(
        "cdc_agent_slot_kept_wal_bytes",
        "WAL retained for the slot: current end minus the oldest.",
        "",
        kept.to_string(),
    );
    if let Some(bytes) = slot.safe_wal_bytes {
        gauge(
            "cdc_agent_slot_safe_wal_bytes",
            "WAL that may still be written before the slot is in danger; absent without max_slot_wal_keep_size.",
            "",
            bytes.to_string(),
        );
    }
    if let Some(wal_status) = &slot.wal_status {
        let label = format!(",wal_status=\"{wal_status}\"");
        gauge(
            "cdc_agent_slot_wal_status",
            "1 for the server's word: reserved, extended, unreserved, lost.",
            &label,
            "1".to_owned(),
        );
    }
    gauge(
        "cdc_agent_slot_active",
        "1 while a walsender uses the slot.",
        "",
        u8::from(slot.active).to_string(),
    );
    text
}
