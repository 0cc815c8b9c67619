//! Sessions one after the other, until we are asked to stop or only a person can help.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::Handle;

use crate::capture::Blame;
use crate::capture::CaptureError;
use crate::capture::Disposition;
use crate::capture::deliveries::DESTINATION;
use crate::capture::pipeline::Pipeline;
use crate::capture::postgres::SourceError;
use crate::capture::prepare::Report;
use crate::capture::session::Session;
use crate::capture::settings::CaptureSettings;
use crate::capture::status::Status;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::stop::Stop;
use crate::table::TableName;
use crate::telemetry::Health;
use crate::telemetry::Metrics;

/// First and longest pause between attempts; each is twice the one before, and a little random, so
/// that many agents do not come back at the same moment.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// What a capture needs from its process.
#[derive(Clone, Debug)]
pub struct Process {
    /// The runtime of SQL connections and of requests to Kafka.
    pub runtime: Handle,
    /// Metrics.
    pub metrics: Metrics,
    /// Health.
    pub health: Health,
    /// Ends the capture.
    pub stop: Stop,
    /// What is seen from outside.
    pub status: Status,
    /// Is told what is read, and how it goes.
    pub lineage: Lineage,
}

/// Why a capture ended though nobody asked.
#[derive(Debug)]
pub struct CaptureFailure {
    /// What happened last.
    pub error: Box<CaptureError>,
    /// What is to be done about it.
    pub disposition: Disposition,
}

impl fmt::Display for CaptureFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl std::error::Error for CaptureFailure {}

/// Runs a capture.
///
/// # Errors
///
/// Why it ended though nobody asked, and what is to be done about it.
pub fn run(settings: CaptureSettings, process: &Process) -> Result<(), CaptureFailure> {
    let settings = Arc::new(settings);
    let mut supervisor = Supervisor {
        settings: &settings,
        process,
        begun: Instant::now(),
        connected: false,
        streamed: AtomicBool::new(false),
        pause: PAUSE_FIRST,
        slot_attempts: 0,
        slot_told: None,
        sessions: 0,
        undecodable: Undecodable::default(),
        named: Mutex::default(),
    };
    process.lineage.begun();
    let result = supervisor.run();
    process.lineage.end(result.as_ref().err().map(|failure| &*failure.error as _));
    result
}

/// Bytes that cannot be decoded may be an accident of the line; the same again and again at one
/// place are not.
#[derive(Debug, Default)]
struct Undecodable {
    at: Lsn,
    times: u32,
}

/// How often it is tried at one place.
const DECODE_ATTEMPTS: u32 = 10;

impl Undecodable {
    fn judge(&mut self, error: CaptureError, pipeline: Option<&Pipeline>) -> CaptureError {
        if !matches!(
            error,
            CaptureError::Decode(_) | CaptureError::Source(SourceError::Decode { .. })
        ) {
            return error;
        }
        let at = pipeline.map_or(Lsn::ZERO, |pipeline| pipeline.resume(Lsn::ZERO).lsn);
        if self.count(at) < DECODE_ATTEMPTS {
            return error;
        }
        CaptureError::OutOfStep {
            message: format!("{error}; so it was {DECODE_ATTEMPTS} times in a row after {at}"),
        }
    }

    /// How often in a row it has been so at this place.
    fn count(&mut self, at: Lsn) -> u32 {
        self.times = if self.at == at { self.times.saturating_add(1) } else { 1 };
        self.at = at;
        self.times
    }
}

struct Supervisor<'a> {
    settings: &'a Arc<CaptureSettings>,
    process: &'a Process,
    begun: Instant,
    /// Source and destination have both answered once.
    connected: bool,
    streamed: AtomicBool,
    pause: Duration,
    slot_attempts: u32,
    slot_told: Option<Instant>,
    sessions: u64,
    undecodable: Undecodable,
    /// Tables that are not captured and have been named.
    named: Mutex<BTreeSet<TableName>>,
}

impl Supervisor<'_> {
    fn run(&mut self) -> Result<(), CaptureFailure> {
        let mut pipeline: Option<Pipeline> = None;
        self.process.health.set_ready("source", Err("connecting".to_owned()));
        while !self.process.stop.is_requested() {
            let result = self.session(&mut pipeline);
            let Err(error) = result else { return Ok(()) };
            if self.process.stop.is_requested() {
                tracing::debug!(%error, "ended while stopping");
                return Ok(());
            }
            if let CaptureError::Changed { what } = &error {
                tracing::info!(what, "what is captured has changed: looking at it anew");
                // The server needs a moment to let go of the slot.
                self.process.stop.wait(PAUSE_FIRST);
                continue;
            }
            let error = self.undecodable.judge(error, pipeline.as_ref());
            let mut disposition = error.disposition();
            if self.connected && error.is_connection_lost() {
                disposition = Disposition::Restart;
            }
            match &disposition {
                Disposition::Reconnect => self.wait_before_retry(error)?,
                Disposition::Restart => {
                    pipeline = None;
                    self.wait_before_retry(error)?;
                }
                Disposition::Halt { .. } | Disposition::Bug => {
                    return Err(CaptureFailure { error: Box::new(error), disposition });
                }
            }
        }
        Ok(())
    }

    fn session(&mut self, pipeline: &mut Option<Pipeline>) -> Result<(), CaptureError> {
        let Process { runtime, metrics, health, stop, status, lineage } = self.process;
        if pipeline.is_none() {
            health.set_phase("connecting");
            let new = Pipeline::connect(self.settings, runtime, metrics, health, lineage.run_id())?;
            status.set_deliveries(Arc::clone(&new.deliveries));
            *pipeline = Some(new);
        }
        let Some(pipeline) = pipeline else { return Ok(()) };
        self.sessions += 1;
        if self.sessions > 1 {
            metrics.reconnects.inc();
        }
        let streamed = self.streamed.load(Ordering::Relaxed);
        let begun = Instant::now();
        let result = Session {
            settings: self.settings,
            pipeline,
            runtime,
            metrics,
            health,
            stop,
            status,
            lineage,
            streamed: &self.streamed,
            report: &Report { metrics, named: &self.named },
        }
        .run();
        let got_in = !matches!(
            result,
            Err(CaptureError::Source(
                SourceError::Unreachable { .. } | SourceError::SlotInUse { .. }
            ))
        );
        self.connected |= got_in;
        let worked = begun.elapsed() > PAUSE_LONGEST;
        if worked || (!streamed && self.streamed.load(Ordering::Relaxed)) {
            self.pause = PAUSE_FIRST;
            self.slot_attempts = 0;
        }
        result
    }

    /// Waits, if trying again makes sense.
    fn wait_before_retry(&mut self, error: CaptureError) -> Result<(), CaptureFailure> {
        let Process { metrics, health, stop, lineage, .. } = self.process;
        lineage.failed(&error);
        metrics.errors.with_label_values(&[kind(&error)]).inc();
        let part = if let CaptureError::Publish(_) = &error { DESTINATION } else { "source" };
        health.set_ready(part, Err(error.to_string()));
        if let CaptureError::Source(SourceError::SlotInUse { ours, .. }) = &error {
            let for_ever = *ours || self.streamed.load(Ordering::Relaxed);
            return self.wait_for_slot(error, for_ever);
        }
        let waited = self.begun.elapsed();
        if !self.connected && waited >= self.settings.times.startup {
            let hint = error.hint().unwrap_or_else(|| "check that it runs".to_owned());
            let hint = format!("{hint}; tried for {} s (startup.timeout.ms)", waited.as_secs());
            let disposition = Disposition::Halt { hint, blame: Blame::Unavailable };
            return Err(CaptureFailure { error: Box::new(error), disposition });
        }
        let pause = self.pause.mul_f64(0.5 + fraction() / 2.0);
        tracing::warn!(%error, retry_in_ms = millis(pause), "trying again");
        stop.wait(pause);
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
        Ok(())
    }

    /// The slot is held: by a connection of ours that the server has not given up yet, or by
    /// somebody else, who may go.
    fn wait_for_slot(&mut self, error: CaptureError, for_ever: bool) -> Result<(), CaptureFailure> {
        let times = &self.settings.times;
        self.slot_attempts += 1;
        if !for_ever && self.slot_attempts > self.settings.slot_retries {
            let hint = format!(
                "stop it first, or use another slot (--slot); tried {} times (slot.max.retries, \
                 slot.retry.delay.ms)",
                self.slot_attempts
            );
            let disposition = Disposition::Halt { hint, blame: Blame::Unavailable };
            return Err(CaptureFailure { error: Box::new(error), disposition });
        }
        let pause = if for_ever { self.pause } else { times.slot_retry };
        let tell = self.slot_told.is_none_or(|told| told.elapsed() >= Duration::from_secs(10));
        if tell {
            self.slot_told = Some(Instant::now());
            tracing::warn!(%error, retry_in_ms = millis(pause), "waiting for the slot");
        }
        self.process.stop.wait(pause);
        if for_ever {
            self.pause = (self.pause * 2).min(PAUSE_LONGEST);
        }
        Ok(())
    }
}

fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}

/// The metric's label.
fn kind(error: &CaptureError) -> &'static str {
    match error {
        CaptureError::Source(_) | CaptureError::Changed { .. } => "source",
        CaptureError::Publish(_) => "destination",
        CaptureError::Decode(_) | CaptureError::OutOfStep { .. } => "stream",
        CaptureError::Value { .. } => "value",
        CaptureError::Outdated { .. } | CaptureError::Lost { .. } => "internal",
    }
}

/// A number from 0 to 1 that differs between processes and moments.
fn fraction() -> f64 {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    f64::from(nanos % 1000) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::wire;

    fn undecodable() -> CaptureError {
        // A length that no frame has.
        wire::split_frame(b"d\0\0\0\0rest").expect_err("it is no frame").into()
    }

    #[test]
    fn what_cannot_be_decoded_at_one_place_is_not_tried_for_ever() {
        let mut judge = Undecodable::default();
        for _ in 1..DECODE_ATTEMPTS {
            let error = judge.judge(undecodable(), None);
            assert_eq!(error.disposition(), Disposition::Reconnect);
        }
        let error = judge.judge(undecodable(), None);
        assert_eq!(error.disposition(), Disposition::Bug);
        assert!(error.to_string().contains("10 times in a row after 0/0"), "{error}");
        // The stream went on meanwhile: it is another place.
        assert_eq!(judge.count(Lsn(1)), 1);
        assert_eq!(judge.count(Lsn(1)), 2);
    }
}
