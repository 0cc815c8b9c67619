//! The log: to stderr, as text or JSON.
//!
//! Never in it: a row's value, a password, the text of a query. Error is for what needs a person,
//! warn for what may, info for what an operator wants to know of a healthy process, debug for us.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The form that was chosen.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Whether whoever reads the log expects one JSON object a line, errors included.
pub fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json) && tracing::enabled!(tracing::Level::ERROR)
}

/// Starts logging; `level` is a level or a filter of `tracing` directives. A second call does
/// nothing.
///
/// # Errors
///
/// The filter cannot be read.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).try_init(),
    };
    // Another subscriber is in place: a test's.
    result.ok();
    FORMAT.get_or_init(|| format);
    Ok(())
}

/// A word alone is a level. `tracing` would take any other word for a module, and log nothing else.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let wrong = || {
        format!(
            "found \"{level}\", expected error, warn, info, debug or trace, or directives as in \
             info,cdc_agent::capture=debug"
        )
    };
    let mut words = level.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    if level.trim().is_empty() || words.any(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(wrong());
    }
    EnvFilter::try_new(level).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_mistyped_level_is_an_error_and_not_silence() {
        for level in ["loud", "wran", "", "info,loud", "info,cdc_agent=loud"] {
            assert!(filter(level).is_err(), "{level}");
        }
        for level in ["warn", "DEBUG", "off", "info,cdc_agent::capture=debug", "cdc_agent=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
    }
}
