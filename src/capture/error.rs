//! What can end a session of capture, and what is to be done about it.

use std::fmt;

use crate::capture::postgres::SourceError;
use crate::capture::publisher::PublishError;
use crate::capture::value::ValueError;
use crate::capture::wire::DecodeError;
use crate::oid::Oid;

/// An error of capture, from whichever stage.
#[derive(Debug)]
pub enum CaptureError {
    /// The source.
    Source(SourceError),
    /// The destination, or where state is kept.
    Publish(PublishError),
    /// The stream's bytes.
    Decode(DecodeError),
    /// A row message names a relation that was never described, or has another number of columns.
    OutOfStep {
        /// What was found and what was expected.
        message: String,
    },
    /// A value cannot be written, and the policy is to stop.
    Value {
        /// Table.
        table: String,
        /// Column.
        column: String,
        /// Its type.
        type_oid: Oid,
        /// Where the row stands in the source's history.
        position: String,
        /// What is wrong.
        error: ValueError,
    },
    /// What this process has in memory does not belong to the slot's history any more.
    Outdated {
        /// Why.
        reason: String,
    },
    /// What is captured has changed: the next session looks anew.
    Changed {
        /// What has changed.
        what: String,
    },
    /// A thread of ours ended without a word.
    Lost {
        /// Which.
        thread: &'static str,
    },
}

/// What is to be done about an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Drop the source's connection, keep what is in flight, and connect again.
    Reconnect,
    /// Drop the producer too, and go on from the confirmed position.
    Restart,
    /// Only a person can help.
    Halt {
        /// What to do.
        hint: String,
        /// Which kind of help.
        blame: Blame,
    },
    /// Our own invariant broke.
    Bug,
}

/// What kind of help a halt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// A right or a password.
    Permission,
    /// A setting, a slot, a publication, a record that does not fit.
    Configuration,
    /// A service that cannot be reached or is held by somebody else.
    Unavailable,
}

impl CaptureError {
    /// What to do about it, where it is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            CaptureError::Source(error) => error.hint().map(str::to_owned),
            CaptureError::Publish(error) => error.hint(),
            CaptureError::Decode(_)
            | CaptureError::OutOfStep { .. }
            | CaptureError::Value { .. }
            | CaptureError::Outdated { .. }
            | CaptureError::Changed { .. }
            | CaptureError::Lost { .. } => None,
        }
    }

    /// Whether the destination was not reached, for a reason that may pass once it was.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, CaptureError::Publish(PublishError::Connection { .. }))
    }

    /// What is to be done.
    pub fn disposition(&self) -> Disposition {
        match self {
            CaptureError::Source(error) => source_disposition(error),
            CaptureError::Publish(error) => publish_disposition(error),
            CaptureError::Decode(_) | CaptureError::Changed { .. } => Disposition::Reconnect,
            CaptureError::Outdated { .. } => Disposition::Restart,
            CaptureError::OutOfStep { .. } | CaptureError::Lost { .. } => Disposition::Bug,
            CaptureError::Value { .. } => Disposition::Halt {
                hint: "choose a mode whose schema can hold the value \
                       (decimal.handling.mode=string), or accept null in its place with \
                       event.converting.failure.handling.mode=warn"
                    .to_owned(),
                blame: Blame::Configuration,
            },
        }
    }
}

fn source_disposition(error: &SourceError) -> Disposition {
    match error {
        SourceError::Unreachable { .. }
        | SourceError::Closed { .. }
        | SourceError::Decode { .. }
        | SourceError::SlotInUse { .. }
        | SourceError::Server { .. } => Disposition::Reconnect,
        SourceError::Internal { .. } => Disposition::Bug,
        SourceError::Permission { hint, .. } => {
            Disposition::Halt { hint: hint.clone(), blame: Blame::Permission }
        }
        SourceError::Configuration { hint, .. } => {
            Disposition::Halt { hint: hint.clone(), blame: Blame::Configuration }
        }
    }
}

fn publish_disposition(error: &PublishError) -> Disposition {
    let halt = |blame| Disposition::Halt { hint: error.hint().unwrap_or_default(), blame };
    match error {
        PublishError::Unreachable { .. }
        | PublishError::Broken { .. }
        | PublishError::Unavailable { .. }
        | PublishError::Stopped => Disposition::Restart,
        PublishError::Internal { .. } => Disposition::Bug,
        PublishError::Unauthorized { .. } | PublishError::Refused { .. } => halt(Blame::Permission),
        PublishError::Connection { credentials: true, .. } => halt(Blame::Permission),
        PublishError::InUse { .. } => halt(Blame::Unavailable),
        PublishError::TooLarge { .. }
        | PublishError::Connection { .. }
        | PublishError::Configuration { .. }
        | PublishError::Output { .. } => halt(Blame::Configuration),
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::Source(error) => error.fmt(formatter),
            CaptureError::Publish(error) => error.fmt(formatter),
            CaptureError::Decode(error) => {
                write!(formatter, "the replication stream cannot be read: {error}")
            }
            CaptureError::OutOfStep { message } => formatter.write_str(message),
            CaptureError::Value { table, column, type_oid, position, error } => write!(
                formatter,
                "column \"{column}\" (type {type_oid}) of table {table} at position {position} \
                 cannot be written: {error}"
            ),
            CaptureError::Outdated { reason } => {
                write!(formatter, "everything in flight is given up: {reason}")
            }
            CaptureError::Changed { what } => {
                write!(formatter, "what is captured has changed: {what}")
            }
            CaptureError::Lost { thread } => write!(formatter, "the {thread} thread ended early"),
        }
    }
}

impl std::error::Error for CaptureError {}

impl From<SourceError> for CaptureError {
    fn from(error: SourceError) -> Self {
        CaptureError::Source(error)
    }
}

impl From<PublishError> for CaptureError {
    fn from(error: PublishError) -> Self {
        CaptureError::Publish(error)
    }
}

impl From<DecodeError> for CaptureError {
    fn from(error: DecodeError) -> Self {
        CaptureError::Decode(error)
    }
}
