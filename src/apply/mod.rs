//! Kafka to a warehouse, exactly once in effect.

pub mod merge;
pub mod warehouse;
