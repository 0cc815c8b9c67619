//! What can end an application, and what is to be done about it.

use std::fmt;

use crate::apply::warehouse::WarehouseError;

/// An error of the companion, from whichever stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// A record cannot be applied, and the policy is to stop.
    Record {
        /// Topic, partition and offset.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The warehouse.
    Warehouse(WarehouseError),
    /// The broker does not answer, or has gone away.
    Unreachable {
        /// What was said.
        message: String,
    },
    /// No broker lets us in, or what we are told of the brokers does not fit them: a person has to
    /// help, but after it has worked it may pass.
    Connection {
        /// What was found.
        message: String,
        /// What to do.
        hint: String,
        /// A password or a certificate is wrong, and not a name or a protocol.
        credentials: bool,
    },
    /// A right is missing, or a password is wrong.
    Permission {
        /// What was found.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Only a person can help.
    Configuration {
        /// What was found and what was expected.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl ApplyError {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            ApplyError::Record { .. } => {
                "mend it at its source, or put bad records aside with errors.tolerance=all: they \
                 stand in _cdc.dead_letters and `cdc-sink replay` applies them again"
                    .to_owned()
            }
            ApplyError::Warehouse(
                WarehouseError::Permission { hint, .. }
                | WarehouseError::Configuration { hint, .. },
            )
            | ApplyError::Connection { hint, .. }
            | ApplyError::Permission { hint, .. }
            | ApplyError::Configuration { hint, .. } => hint.clone(),
            ApplyError::Warehouse(WarehouseError::Internal { .. }) => {
                "this is a bug: report it with the log; nothing of the batch is applied".to_owned()
            }
            ApplyError::Warehouse(_) | ApplyError::Unreachable { .. } => String::new(),
        }
    }

    /// Whether another attempt may help.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            ApplyError::Unreachable { .. }
                | ApplyError::Warehouse(
                    WarehouseError::Unreachable { .. }
                        | WarehouseError::Locked { .. }
                        | WarehouseError::Conflict { .. }
                        | WarehouseError::Fenced { .. }
                )
        )
    }
}

impl ApplyError {
    /// Whether the warehouse did not take what it was given, and nothing else is wrong.
    pub fn is_of_the_warehouse(&self) -> bool {
        matches!(
            self,
            ApplyError::Warehouse(
                WarehouseError::Unreachable { .. }
                    | WarehouseError::Locked { .. }
                    | WarehouseError::Conflict { .. }
            )
        )
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplyError::Record { place, reason } => {
                write!(formatter, "the record at {place} cannot be applied: {reason}")
            }
            ApplyError::Warehouse(error) => error.fmt(formatter),
            ApplyError::Unreachable { message }
            | ApplyError::Connection { message, .. }
            | ApplyError::Permission { message, .. }
            | ApplyError::Configuration { message, .. } => formatter.write_str(message),
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<WarehouseError> for ApplyError {
    fn from(error: WarehouseError) -> Self {
        ApplyError::Warehouse(error)
    }
}
