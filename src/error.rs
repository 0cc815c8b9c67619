//! How a process ends: exit statuses by `sysexits.h`, and the one message that goes with each.

use std::fmt;
use std::process::ExitCode;

use crate::apply::error::ApplyError;
use crate::apply::warehouse::WarehouseError;
use crate::capture::Blame;
use crate::capture::CaptureError;
use crate::capture::CaptureFailure;
use crate::capture::Disposition;
use crate::config::ConfigError;
use crate::config::properties::Program;

/// Exit status of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Stopped as asked.
    Ok = 0,
    /// Wrong flags.
    Usage = 64,
    /// No such file.
    NoInput = 66,
    /// A service is unavailable for good.
    Unavailable = 69,
    /// A bug of ours.
    Software = 70,
    /// A right is missing.
    NoPermission = 77,
    /// A setting is wrong, here or at the server.
    Config = 78,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        ExitCode::from(status as u8)
    }
}

/// Why a process ends though nobody asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit status.
    pub status: Status,
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Failure {
    /// From its parts.
    pub fn new(status: Status, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { status, message: message.into(), hint: hint.into() }
    }

    /// All that is wrong with the settings of a program.
    pub fn from_config(program: Program, errors: &[ConfigError]) -> Self {
        let lines: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
        Failure::new(
            Status::Config,
            lines.join("; "),
            format!("correct the settings; {} config lists all of them", program.name()),
        )
    }

    /// From an error of a single step.
    pub fn from_capture_error(error: CaptureError) -> Self {
        let disposition = error.disposition();
        CaptureFailure { error: Box::new(error), disposition }.into()
    }
}

impl From<CaptureFailure> for Failure {
    fn from(failure: CaptureFailure) -> Self {
        let (status, hint) = match failure.disposition {
            Disposition::Halt { hint, blame: Blame::Permission } => (Status::NoPermission, hint),
            Disposition::Halt { hint, blame: Blame::Configuration } => (Status::Config, hint),
            Disposition::Halt { hint, blame: Blame::Unavailable } => (Status::Unavailable, hint),
            Disposition::Reconnect | Disposition::Restart => {
                let hint = failure.error.hint();
                (Status::Unavailable, hint.unwrap_or_else(|| "try again".to_owned()))
            }
            Disposition::Bug => (
                Status::Software,
                "this is a bug of cdc-agent: report it with the log; nothing is lost, and a start \
                 goes on from the confirmed position"
                    .to_owned(),
            ),
        };
        Failure { status, message: failure.error.to_string(), hint }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        let status = match &error {
            ApplyError::Warehouse(WarehouseError::Permission { .. })
            | ApplyError::Connection { credentials: true, .. }
            | ApplyError::Permission { .. } => Status::NoPermission,
            ApplyError::Warehouse(
                WarehouseError::Unreachable { .. }
                | WarehouseError::Locked { .. }
                | WarehouseError::Conflict { .. }
                | WarehouseError::Fenced { .. },
            )
            | ApplyError::Unreachable { .. } => Status::Unavailable,
            ApplyError::Warehouse(WarehouseError::Internal { .. }) => Status::Software,
            ApplyError::Record { .. }
            | ApplyError::Warehouse(_)
            | ApplyError::Connection { .. }
            | ApplyError::Configuration { .. } => Status::Config,
        };
        let hint = match status {
            Status::Unavailable if error.hint().is_empty() => {
                "check that it runs and can be reached from here; a start waits \
                 startup.timeout.ms for it"
                    .to_owned()
            }
            _ => error.hint(),
        };
        Failure { status, message: error.to_string(), hint }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.message)?;
        if !self.hint.is_empty() {
            write!(formatter, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_that_does_not_hold_is_a_bug_and_no_setting() {
        let error = WarehouseError::Internal { invariant: "a file is open" };
        let failure = Failure::from(ApplyError::from(error));
        assert_eq!(failure.status, Status::Software);
        assert!(failure.message.contains("a file is open") && failure.hint.contains("a bug"));
    }
}
