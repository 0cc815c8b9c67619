//! What both programs do around their work: threads, signals, the HTTP port, systemd.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::error::Failure;
use crate::error::Status;
use crate::stop::Stop;
use crate::telemetry::Health;
use crate::telemetry::hosts::Hosts;
use crate::telemetry::http;
use crate::telemetry::http::More;
use crate::telemetry::http::Port;
use crate::telemetry::http::Shown;

/// How often systemd is told what the process is doing.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Beyond `shutdown.timeout.ms` the process ends whatever hangs.
const LAST_RESORT: Duration = Duration::from_secs(2);

/// A runtime for SQL, HTTP and requests to Kafka; the hot path has threads of its own.
///
/// # Errors
///
/// The system gives no threads.
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

/// Asks to stop at SIGTERM or SIGINT. A second one, or `shutdown` and a little more, ends the
/// process at once.
pub fn listen_for_signals(runtime: &Handle, stop: &Stop, shutdown: Duration) {
    let stop = stop.clone();
    runtime.spawn(async move {
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

/// Serves the HTTP port. A default port that is taken only warns; one that was `asked` for is an
/// error.
///
/// # Errors
///
/// The port cannot be used.
pub fn start_http(runtime: &Handle, port: &Port, shown: Shown, more: More) -> Result<(), Failure> {
    let Some(address) = port.address else { return Ok(()) };
    let listener = match runtime.block_on(http::bind(address)) {
        Ok(listener) => listener,
        Err(error) if port.asked => {
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
    let hosts = Hosts::new(address, &port.hosts);
    runtime.spawn(http::serve(listener, hosts, shown, more));
    Ok(())
}

/// READY at once, what is being done as STATUS, and the watchdog as long as the loops turn, whether
/// or not records flow.
pub fn tell_systemd(runtime: &Handle, health: &Health, stop: &Stop) {
    notify(&[sd_notify::NotifyState::Ready]);
    let watched = sd_notify::watchdog_enabled().is_some();
    let (health, stop) = (health.clone(), stop.clone());
    runtime.spawn(async move {
        let mut told = String::new();
        while !stop.is_requested() {
            let phase = match health.ready() {
                Ok(phase) => phase,
                Err(reason) => match health.phase() {
                    phase if phase.is_empty() => reason,
                    phase => format!("{phase}; {reason}"),
                },
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

/// Tells systemd that the process is about to end.
pub fn tell_stopping() {
    notify(&[sd_notify::NotifyState::Stopping]);
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    sd_notify::notify(states).ok();
}
