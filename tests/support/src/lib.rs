//! Real servers, the shop simulator and comparisons for cdc-agent's tests, benches and demonstration.
//!
//! ```text
//! servers::postgres ─▶ shop (writes)        what a test captures from
//!                        │
//!                  [ cdc-agent, a process::Daemon ]
//!                        │
//! servers::kafka ────▶ topics (reads) ─▶ fold (tables) ─▶ compare (with the source, row by row)
//! ```
//!
//! Everything blocks: a test reads from top to bottom. Nothing here uses cdc-agent's own code, so
//! that [`fold`] and [`compare`] can be its oracle. Servers listen on free loopback ports, keep
//! their data in folders of their own, and end with the process that started them, also when that
//! one is killed. What they need is installed by `tests/support/install.sh`.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans are for the product's own clocks and queues, and tests wait on real ones"
)]

pub mod process;
pub mod http;
pub mod servers;
pub mod topics;
pub mod fold;
pub mod compare;
pub mod shop;
pub mod promtool;
