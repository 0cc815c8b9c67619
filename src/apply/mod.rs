//! Kafka to a warehouse, exactly once in effect.

pub mod merge;
pub mod warehouse;
pub mod applier;
pub mod settings;
pub mod error;
