//! What can be wrong with bytes from the server.

use std::fmt;

/// Bytes that are not a message of the protocol. The stream is out of step: drop the connection.
///
/// Field names are the specification's, as in `Begin.final_lsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The message ends inside a field.
    Truncated {
        /// The field.
        field: &'static str,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A length or a count is negative.
    NegativeLength {
        /// The field.
        field: &'static str,
        /// What was found.
        value: i64,
    },
    /// A length is one that no message has.
    WrongLength {
        /// The field.
        field: &'static str,
        /// What was found.
        value: usize,
    },
    /// The message goes on after its last field.
    TrailingBytes {
        /// The message.
        message: &'static str,
        /// Bytes that were left.
        left: usize,
    },
    /// No message or part of one has this tag.
    UnknownTag {
        /// Where the tag stood.
        field: &'static str,
        /// The tag.
        tag: u8,
    },
    /// A name is not UTF-8, though the connection's `client_encoding` is.
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DecodeError::Truncated { field, needed, left } => {
                write!(formatter, "{field} needs {needed} bytes, {left} are left in the message")
            }
            DecodeError::NegativeLength { field, value } => {
                write!(formatter, "{field} is {value}, expected 0 or more")
            }
            DecodeError::WrongLength { field, value } => {
                write!(formatter, "{field} is {value}, which no message has")
            }
            DecodeError::TrailingBytes { message, left } => {
                write!(formatter, "{left} bytes follow the last field of {message}")
            }
            DecodeError::UnknownTag { field, tag } => {
                write!(formatter, "{field} is {:?} ({tag}), which is not known", char::from(tag))
            }
            DecodeError::NotUtf8 { field } => write!(formatter, "{field} is not UTF-8"),
        }
    }
}

impl std::error::Error for DecodeError {}
