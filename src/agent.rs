//! One process of the agent: runtime, log, HTTP port, systemd, signals, and the capture within.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::capture;
use crate::capture::Process;
use crate::config::AgentConfig;
use crate::config::RawConfig;
use crate::error::Failure;
use crate::error::Status;
use crate::lsn::Lsn;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::Metrics;
use crate::telemetry::http;
use crate::telemetry::http::Shown;

/// How often systemd is told what the process is doing.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Beyond `shutdown.timeout.ms` the process ends whatever hangs.
const LAST_RESORT: Duration = Duration::from_secs(2);

/// Runs the agent until it is asked to stop.
///
/// # Errors
///
/// Why it ended though nobody asked.
pub fn run(raw: RawConfig) -> Result<(), Failure> {
    let effective = raw.effective();
    let config = AgentConfig::new(raw, |name| std::env::var(name).ok())
        .map_err(|errors| Failure::from_config(&errors))?;
    for (name, value, origin) in effective {
        tracing::debug!(name, value, %origin, "setting");
    }
    let runtime = runtime()?;
    let process = Process {
        runtime: runtime.handle().clone(),
        metrics: Metrics::default(),
        health: Health::default(),
        stop: Stop::default(),
        status: capture::Status::new(&config.capture.slot),
    };
    listen_for_signals(&process, config.capture.times.shutdown);
    start_http(&config, &process)?;
    tell_systemd(&process);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        slot = config.capture.slot,
        publication = config.capture.publication,
        topic_prefix = config.capture.prefix,
        "cdc-agent starts"
    );
    let result = capture::run(config.capture, &process);
    notify(&[sd_notify::NotifyState::Stopping]);
    // Connections that hang must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result?;
    tracing::info!("cdc-agent ends");
    Ok(())
}

/// A runtime for SQL, HTTP and requests to Kafka; the hot path has threads of its own.
pub fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("runtime")
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Status::Unavailable, format!("threads cannot be started: {error}"), "")
        })
}

fn listen_for_signals(process: &Process, shutdown: Duration) {
    let stop = process.stop.clone();
    process.runtime.spawn(async move {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be listened for");
            return;
        };
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        stop.request();
        tokio::select! {
            () = tokio::time::sleep(shutdown + LAST_RESORT) => {
                tracing::error!("stopping takes too long; nothing is lost, the rest is read again");
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(Status::Ok as i32);
    });
}

fn start_http(config: &AgentConfig, process: &Process) -> Result<(), Failure> {
    let Some(address) = config.process.http else { return Ok(()) };
    let listener = match process.runtime.block_on(http::bind(address)) {
        Ok(listener) => listener,
        Err(error) if config.process.http_asked => {
            return Err(Failure::new(
                Status::Config,
                format!("HTTP port {address} cannot be used: {error}"),
                "choose another with --http ADDRESS:PORT, or turn it off with --http none",
            ));
        }
        Err(error) => {
            tracing::warn!(
                %address, %error,
                "the default HTTP port cannot be used; metrics and health are not shown (choose \
                 another with --http)"
            );
            return Ok(());
        }
    };
    tracing::info!(%address, "metrics and health");
    let status = process.status.clone();
    let asked: http::AskedMetrics = Arc::new(move || {
        let status = status.clone();
        Box::pin(async move { slot_metrics(&status).await })
    });
    let metrics = process.metrics.clone();
    let counted: http::CountedMetrics = Arc::new(move |out| metrics.write(out));
    let shown = Shown { counted, asked, health: process.health.clone() };
    process.runtime.spawn(http::serve(listener, shown, axum::Router::new()));
    Ok(())
}

/// How the slot looks now, in Prometheus' text format. While the source cannot be asked, only that.
async fn slot_metrics(status: &capture::Status) -> String {
    let mut text = String::new();
    let name = status.slot();
    let asked = tokio::time::timeout(Duration::from_secs(3), status.ask_slot()).await;
    let slot = asked.ok().flatten();
    let mut gauge = |metric: &str, help: &str, labels: &str, value: String| {
        // Writing to a string does not fail.
        write!(
            text,
            "# HELP {metric} {help}\n# TYPE {metric} gauge\n{metric}{{slot=\"{name}\"{labels}}} \
             {value}\n"
        )
        .ok();
    };
    let up = if slot.is_some() { "1" } else { "0" };
    gauge("cdc_agent_source_up", "1 if the source answers.", "", up.to_owned());
    let Some(slot) = slot else { return text };
    let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
    let restart = slot.restart_lsn.unwrap_or_default();
    let lag = slot.current_lsn.bytes_since(confirmed);
    gauge(
        "cdc_agent_slot_lag_bytes",
        "Current end of log minus confirmed position.",
        "",
        lag.to_string(),
    );
    gauge(
        "cdc_agent_slot_lag_seconds",
        "Age of the oldest commit that is not confirmed.",
        "",
        status.lag_seconds().to_string(),
    );
    let mut lsn = |metric: &str, help: &str, lsn: Lsn| gauge(metric, help, "", lsn.0.to_string());
    lsn("cdc_agent_slot_confirmed_flush_lsn", "Confirmed position.", confirmed);
    lsn("cdc_agent_slot_restart_lsn", "Oldest log that the slot keeps.", restart);
    lsn("cdc_agent_slot_current_lsn", "Current end of log.", slot.current_lsn);
    let kept = slot.current_lsn.bytes_since(restart);
    gauge("cdc_agent_slot_kept_wal_bytes", "Log kept for the slot.", "", kept.to_string());
    if let Some(bytes) = slot.safe_wal_bytes {
        gauge(
            "cdc_agent_slot_safe_wal_bytes",
            "Log that may still be written before the slot is in danger.",
            "",
            bytes.to_string(),
        );
    }
    if let Some(wal_status) = &slot.wal_status {
        let label = format!(",wal_status=\"{wal_status}\"");
        gauge("cdc_agent_slot_wal_status", "State of the slot's log.", &label, "1".to_owned());
    }
    gauge(
        "cdc_agent_slot_active",
        "1 while a walsender uses the slot.",
        "",
        u8::from(slot.active).to_string(),
    );
    text
}

/// READY at once, what is being done as STATUS, and the watchdog as long as the loops turn, whether
/// or not records flow.
fn tell_systemd(process: &Process) {
    notify(&[sd_notify::NotifyState::Ready]);
    let watched = sd_notify::watchdog_enabled().is_some();
    let (health, stop) = (process.health.clone(), process.stop.clone());
    process.runtime.spawn(async move {
        let mut told = String::new();
        while !stop.is_requested() {
            let phase = match health.ready() {
                Ok(phase) => phase,
                Err(reason) => format!("{}; {reason}", health.phase()),
            };
            if phase != told {
                notify(&[sd_notify::NotifyState::Status(&phase)]);
                told = phase;
            }
            if watched && health.live().is_ok() {
                notify(&[sd_notify::NotifyState::Watchdog]);
            }
            tokio::time::sleep(TELL_INTERVAL).await;
        }
    });
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    sd_notify::notify(states).ok();
}
