//! The companion beside real servers: a source, agents, a broker, `cdc-sink` and warehouses.

#![allow(dead_code, unused_imports, reason = "each test file uses its part of this module")]

pub(crate) mod cases;
pub(crate) mod compare;
pub(crate) mod produce;
pub(crate) mod play;
pub(crate) mod process;
pub(crate) mod records;
pub(crate) mod scene;
pub(crate) mod warehouse;

pub(crate) use play::Play;
pub(crate) use process::Sink;
pub(crate) use process::SinkOptions;
pub(crate) use warehouse::Store;
