//! What can go wrong between us and the source database.

use std::fmt;

use crate::capture::wire::DecodeError;
use crate::capture::wire::ServerError;

/// An error of a connection to the source, or of what was found there.
#[derive(Debug)]
pub enum SourceError {
    /// Nobody answers, or the server does not accept connections now: try again later.
    Unreachable {
        /// Where.
        address: String,
        /// What the system or the server said.
        reason: String,
        /// What to do if it stays so.
        hint: String,
    },
    /// The connection ended: connect again.
    Closed {
        /// What was going on.
        during: &'static str,
        /// What the system or the server said.
        reason: String,
    },
    /// The stream is out of step: connect again.
    Decode {
        /// What was going on.
        during: &'static str,
        /// What was found.
        error: DecodeError,
    },
    /// The slot is in use by another process.
    SlotInUse {
        /// The slot.
        slot: String,
        /// Who holds it: process, application, address, since when.
        holder: String,
        /// The holder bears our own application name: a connection of ours that the server has not
        /// given up yet.
        ours: bool,
    },
    /// The server refused a command for a reason that may pass.
    Server {
        /// What was going on.
        during: &'static str,
        /// What the server said.
        error: Box<ServerError>,
    },
    /// A command of ours is wrong: a bug.
    Internal {
        /// What was going on.
        during: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The server does not let us in, or the role lacks a right: only a person can help.
    Permission {
        /// What is missing.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A setting of ours or of the server, a slot or a publication is not as it must be: only a
    /// person can help.
    Configuration {
        /// What was found and what was expected.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl SourceError {
    /// A definite error with its remedy.
    pub fn configuration(message: impl Into<String>, hint: impl Into<String>) -> Self {
        SourceError::Configuration { message: message.into(), hint: hint.into() }
    }

    /// A missing right with its remedy.
    pub fn permission(message: impl Into<String>, hint: impl Into<String>) -> Self {
        SourceError::Permission { message: message.into(), hint: hint.into() }
    }

    /// What to do about it, where a person can do something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            SourceError::Permission { hint, .. }
            | SourceError::Configuration { hint, .. }
            | SourceError::Unreachable { hint, .. } => Some(hint),
            SourceError::SlotInUse { .. } => Some("stop it first, or use another slot (--slot)"),
            SourceError::Closed { .. }
            | SourceError::Decode { .. }
            | SourceError::Internal { .. }
            | SourceError::Server { .. } => None,
        }
    }

    /// Somebody holds the lock of a table that the command is about.
    pub fn is_lock_timeout(&self) -> bool {
        matches!(self, SourceError::Server { error, .. } if error.sqlstate == "55P03")
    }

    /// The server's answer to a command, sorted by what it asks of us.
    ///
    /// Source: PostgreSQL 18, "PostgreSQL Error Codes".
    pub fn from_server(during: &'static str, error: ServerError) -> Self {
        match error.sqlstate.as_str() {
            "57P01" | "57P02" | "57P03" | "08006" | "53300" => {
                SourceError::Closed { during, reason: error.to_string() }
            }
            // A name that is missing is no bug: a table or a column may go, or get another name,
            // between being looked at and being read.
            "42601" => SourceError::Internal { during, reason: error.to_string() },
            "42501" => SourceError::permission(
                format!("{during}: {error}"),
                "grant the right that the server names to the role that connects",
            ),
            // What the decoding of a slot does not know of the catalogs, it never learns.
            "XX000" if error.message.contains("could not map file") => SourceError::configuration(
                format!(
                    "{during}: {error}: the slot was created while a table was being created, \
                     altered or truncated, and cannot be decoded"
                ),
                "start over with a new read of all tables: cdc-agent drop, then start again",
            ),
            _ => SourceError::Server { during, error: Box::new(error) },
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Unreachable { address, reason, .. } => {
                write!(formatter, "cannot connect to PostgreSQL at {address}: {reason}")
            }
            SourceError::Closed { during, reason } => {
                write!(formatter, "the connection to PostgreSQL ended while {during}: {reason}")
            }
            SourceError::Decode { during, error } => {
                write!(formatter, "PostgreSQL's answer while {during} cannot be read: {error}")
            }
            SourceError::SlotInUse { slot, holder, .. } => {
                write!(formatter, "replication slot \"{slot}\" is in use by {holder}")
            }
            SourceError::Server { during, error } => {
                write!(formatter, "PostgreSQL refused while {during}: {error}")
            }
            SourceError::Internal { during, reason } => {
                write!(formatter, "a command while {during} is wrong: {reason}")
            }
            SourceError::Permission { message, .. }
            | SourceError::Configuration { message, .. } => formatter.write_str(message),
        }
    }
}

impl std::error::Error for SourceError {}
