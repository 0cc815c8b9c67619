//! What can go wrong in a warehouse.

use std::fmt;

/// An error of a warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarehouseError {
    /// It cannot be reached, or has gone away: worth another attempt.
    Unreachable {
        /// Which, and what was said.
        message: String,
    },
    /// Somebody holds a lock that is needed: worth another attempt after a pause.
    Locked {
        /// What was said.
        message: String,
    },
    /// Another process has done something at the same time: worth another attempt at once.
    Conflict {
        /// What was said.
        message: String,
    },
    /// A partition was taken by somebody else; what we hold of it is not ours any more.
    Fenced {
        /// Topic and partition.
        partition: String,
    },
    /// A value was refused: one of the records of the batch is bad.
    Data {
        /// What was said.
        message: String,
    },
    /// A right is missing, or the password is wrong.
    Permission {
        /// What was found.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What cannot be has happened: nothing is done rather than something lost.
    Internal {
        /// The invariant that does not hold.
        invariant: &'static str,
    },
    /// Only a person can help.
    Configuration {
        /// What was found and what was expected.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl fmt::Display for WarehouseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WarehouseError::Unreachable { message }
            | WarehouseError::Locked { message }
            | WarehouseError::Conflict { message }
            | WarehouseError::Data { message }
            | WarehouseError::Permission { message, .. }
            | WarehouseError::Configuration { message, .. } => formatter.write_str(message),
            WarehouseError::Internal { invariant } => {
                write!(formatter, "an invariant of the load does not hold: {invariant}")
            }
            WarehouseError::Fenced { partition } => {
                write!(formatter, "{partition} was taken by another cdc-sink of this group")
            }
        }
    }
}

impl std::error::Error for WarehouseError {}
