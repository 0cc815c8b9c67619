//! PostgreSQL's text output, read type by type.
//!
//! Takes the text of one value as snapshot and stream both send it, under the settings that every
//! connection pins (`DateStyle=ISO`, `IntervalStyle=postgres`, `bytea_output=hex`,
//! `lc_monetary=C`, `TimeZone=UTC`); gives what it means. Holds nothing, allocates only for
//! numerics beyond 38 digits and for escaped elements.
//!
//! Refuses, with a [`ValueError`] that never carries the value: a text that is not the type's, a
//! value that does not fit its target.

pub mod array;
pub mod binary;
mod error;
pub mod hstore;
pub mod interval;
pub mod number;
pub mod spatial;
pub mod temporal;

pub use error::ValueError;
