//! The log: to stderr, as text or JSON.
//!
//! Never in it: a row's value, a password, the text of a query. Error is for what needs a person,
//! warn for what may, info for what an operator wants to know of a healthy process, debug for us.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `level` is a level or a filter of `tracing` directives. A second call does
/// nothing.
///
/// # Errors
///
/// The filter cannot be read.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!("log.level is \"{level}\", expected error, warn, info, debug or trace: {error}")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).try_init(),
    };
    // Another subscriber is in place: a test's.
    result.ok();
    Ok(())
}
