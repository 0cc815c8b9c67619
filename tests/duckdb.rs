//! Goal: a DuckDB file does what a plan says, wholly or not at all, and holds every value as it
//! came.
//!
//! Method: plans written by hand against a file in a temporary folder, looked at through the
//! warehouse itself and through its reader; random ones against a naive model; a second process
//! where only one may be.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that ends at the first surprise; one prints its seed"
)]

#[path = "duckdb/bench.rs"]
mod bench;
#[path = "duckdb/file.rs"]
mod file;
#[path = "duckdb/guards.rs"]
mod guards;
#[path = "duckdb/model.rs"]
mod model;
#[path = "duckdb/plans.rs"]
mod plans;
#[path = "duckdb/reader.rs"]
mod reader;
#[path = "duckdb/shapes.rs"]
mod shapes;
#[path = "duckdb/types.rs"]
mod types;
