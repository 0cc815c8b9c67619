//! Kafka to a warehouse, exactly once in effect.

pub mod merge;
pub mod warehouse;
pub mod applier;
pub mod settings;
pub mod error;
pub mod consumer;
pub mod batch_loop;
pub mod tables_shown;
