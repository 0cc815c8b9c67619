//! One of the programs as a process, or what is left of it.

use std::path::Path;
use std::process::Command;

use cdc_testkit::http;
use cdc_testkit::http::Answer;
use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use tempfile::TempDir;

/// Folder, port and process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    // Declared before its folder, so that it ends first.
    daemon: Option<Daemon>,
    dir: TempDir,
    port: u16,
}

impl Program {
    /// Not started yet; its files bear the name.
    pub(crate) fn new(name: &'static str) -> Self {
        let (dir, port) = (process::scratch_dir(name), process::free_port());
        Self { name, daemon: None, dir, port }
    }

    /// A command of a binary in its folder, without settings of the caller's environment that
    /// begin so, and with these.
    pub(crate) fn command(
        &self,
        binary: &str,
        foreign: &str,
        environment: &[(String, String)],
    ) -> Command {
        let mut command = process::command(binary);
        for (name, _) in std::env::vars() {
            if name.starts_with("PG") || name.starts_with(foreign) {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.dir.path()).current_dir(self.dir.path());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(&mut self, command: Command) {
        assert!(self.daemon.is_none(), "the {} runs already", self.name);
        self.daemon = Some(Daemon::spawn(self.name, command, self.dir.path()));
    }

    /// Its process, which is the caller's now.
    #[track_caller]
    pub(crate) fn take(&mut self) -> Daemon {
        self.daemon.take().unwrap_or_else(|| panic!("the {} does not run", self.name))
    }

    /// Its process.
    #[track_caller]
    pub(crate) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap_or_else(|| panic!("the {} does not run", self.name))
    }

    /// Ends the test if it has ended by itself.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        let daemon = self.daemon.as_mut();
        let daemon = daemon.unwrap_or_else(|| panic!("the {} was not started", self.name));
        if let Some(status) = daemon.exit_status() {
            let (name, log) = (self.name, daemon.log_tail());
            panic!("the {name} has ended with {status}; its log ends:\n{log}");
        }
    }

    /// What all runs have logged.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join(format!("{}.err", self.name)));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }

    /// The folder that it runs in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The port that `--http` gives.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `GET` of its HTTP port.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, String> {
        http::get(&format!("http://127.0.0.1:{}{path}", self.port))
    }

    /// One scrape; `None` if nobody answers.
    pub(crate) fn metrics(&self) -> Option<Answer> {
        self.get("/metrics").ok().filter(Answer::is_success)
    }
}
