//! Why a value's text could not be read.

use std::fmt;

/// What is wrong with a value's text. It never carries the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// The text is not the type's output form.
    Syntax {
        /// What was expected.
        expected: &'static str,
    },
    /// The value does not fit what it must become.
    OutOfRange {
        /// What it must become.
        target: &'static str,
    },
    /// A special value (NaN, infinity, NULL within an array) that the schema in force cannot hold.
    NotRepresentable {
        /// The special value.
        what: &'static str,
    },
}

impl fmt::Display for ValueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::Syntax { expected } => write!(formatter, "expected {expected}"),
            ValueError::OutOfRange { target } => write!(formatter, "out of range for {target}"),
            ValueError::NotRepresentable { what } => {
                write!(formatter, "{what} cannot be represented in the column's schema")
            }
        }
    }
}

impl std::error::Error for ValueError {}
