//! PostgreSQL to Kafka.

pub mod wire;
pub mod postgres;
pub mod pgoutput;
pub mod catalog;
pub mod value;
pub mod change;
pub mod progress;
