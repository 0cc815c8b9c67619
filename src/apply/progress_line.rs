//! One line for a person at a terminal: what has been applied, how fast, and how far behind.

use std::io::IsTerminal;
use std::io::Write;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::apply::Process;
use crate::time::UnixMicros;

/// How often it is written anew.
const INTERVAL: Duration = Duration::from_millis(500);

/// Columns of a terminal, less one.
const WIDTH: usize = 79;

/// Writes the line until the process is asked to stop; at once if nobody sees it.
pub(super) fn show(process: &Process) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let (mut before, mut at) = (0, Instant::now());
    while !process.stop.is_requested() {
        std::thread::sleep(INTERVAL);
        let (tables, changes) = {
            let shown = process.tables.lock().unwrap_or_else(PoisonError::into_inner);
            let changes: u64 = shown.tables.values().flat_map(|table| table.applied.values()).sum();
            (shown.tables.len(), changes)
        };
        let seconds = at.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = changes.saturating_sub(before) as f64 / seconds;
        (before, at) = (changes, Instant::now());
        let lag = process.metrics.lag.milliseconds(UnixMicros::now().millis());
        let phase = process.health.ready().unwrap_or_else(|reason| reason);
        // The next line of the log is written over it.
        let mut line =
            format!("{phase}: {changes} changes of {tables} tables applied, {rate:.0}/s");
        if let Some(lag) = lag {
            line.push_str(&format!(", {} s behind", lag / 1000));
        }
        // One that wraps cannot be written over.
        let line: String = line.chars().take(WIDTH).collect();
        std::io::stderr().write_all(format!("\r\x1b[2K{line}\r").as_bytes()).ok();
    }
    std::io::stderr().write_all(b"\r\x1b[2K").ok();
}
