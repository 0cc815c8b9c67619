//! Change data capture from PostgreSQL to Kafka, and from Kafka to warehouses.

pub mod lsn;
pub mod oid;
pub mod time;
pub mod table;
pub mod secret;
pub mod position;
pub mod kafka;
pub mod stop;

pub mod capture;
pub mod envelope;
pub mod lineage;
pub mod apply;
pub mod direct;

pub mod config;
pub mod error;
pub mod agent;
pub mod sink;
pub mod service;
mod command_line;
pub mod cli;
pub mod sink_cli;
pub mod telemetry;
