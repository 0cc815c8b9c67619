//! PostgreSQL to Kafka.

pub mod wire;
pub mod pgoutput;
pub mod value;
