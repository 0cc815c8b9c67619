//! A small shop to capture from, and a simulator that keeps writing to it.
//!
//! The shop has what makes capture hard: a composite key, a table without a key, truncates, values
//! stored apart (TOAST), and a table with a column of every common type. The simulator makes
//! transactions of every shape from a seed.

mod mix;
mod simulator;
mod statement;
mod transaction;
mod values;
mod worker;

use postgres::Client;

pub use mix::Mix;
pub use simulator::Simulator;
pub use simulator::SimulatorOptions;
pub use simulator::Totals;

/// Every table of the shop, for [`crate::compare::compare`].
pub const TABLES: [&str; 8] = [
    "shop.customers",
    "shop.products",
    "shop.orders",
    "shop.order_lines",
    "shop.page_views",
    "shop.carts",
    "shop.documents",
    "shop.samples",
];

/// Creates the shop in a database and fills it; the same rows for the same scale.
///
/// `scale` is the number of customers, at least 1; all tables together get about 14 rows for each.
/// A scale of 1,000 takes less than a second.
///
/// # Panics
///
/// If the database has a schema `shop` already, or cannot be written.
#[track_caller]
pub fn create(client: &mut Client, scale: u32) {
    client.batch_execute(include_str!("schema.sql")).expect("there is no schema shop yet");
    let fill = include_str!("fill.sql").replace("SCALE", &scale.max(1).to_string());
    client.batch_execute(&fill).expect("the shop can be filled");
    client.batch_execute("ANALYZE").expect("the shop can be analysed");
}
