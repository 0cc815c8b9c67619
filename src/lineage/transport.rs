//! Ways out for events.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::lineage::TransportSettings;
use crate::lineage::http::Http;
use crate::lineage::kafka::Kafka;

/// A way out. Used by one thread, which may wait.
pub(super) trait Transport: Send {
    /// Sends one event.
    ///
    /// # Errors
    ///
    /// Why it is lost.
    fn send(&mut self, event: String) -> Result<(), String>;

    /// Waits for what is on its way.
    fn close(&mut self) {}
}

/// Makes the way out that settings ask for.
///
/// # Errors
///
/// What is wrong with them.
pub(super) fn open(settings: &TransportSettings) -> Result<Box<dyn Transport>, String> {
    Ok(match settings {
        TransportSettings::Nowhere => Box::new(Nowhere),
        TransportSettings::Console => Box::new(Console),
        TransportSettings::File(path) => Box::new(File { path: path.clone() }),
        TransportSettings::Http(http) => Box::new(Http::new(http)),
        TransportSettings::Kafka(kafka) => Box::new(Kafka::new(kafka)?),
    })
}

struct Nowhere;

impl Transport for Nowhere {
    fn send(&mut self, _event: String) -> Result<(), String> {
        Ok(())
    }
}

/// The log: Debezium's console transport is a logger too.
struct Console;

impl Transport for Console {
    fn send(&mut self, event: String) -> Result<(), String> {
        tracing::info!(event, "lineage");
        Ok(())
    }
}

/// Opened anew for each event, so that it may be moved away at any time.
struct File {
    path: PathBuf,
}

impl Transport for File {
    fn send(&mut self, event: String) -> Result<(), String> {
        let written = || {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            file.write_all((event + "\n").as_bytes())
        };
        written().map_err(|error| format!("{}: {error}", self.path.display()))
    }
}
