//! Goal: every value that PostgreSQL can store comes out of the row writer as what it means.
//!
//! Method: the server is the oracle. It stores edge cases and thousands of random values of a type;
//! it gives their text under the settings that every connection of ours pins, which we write as
//! JSON, and it computes with its own functions what that JSON must be. Both are compared, numbers
//! exactly. PostgreSQL 15 with thousands of values of a type, the other versions with fewer.
//! `SEED=n` repeats a run; `ONLY=numeric` checks types of that name only.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "the seeds of a random test are printed")]

mod values;

use cdc_testkit::servers::postgres::Postgres;
use values::Oracle;
use values::cases;

/// Random values of each type where they are thousands, and where they are fewer.
const MANY: usize = 3000;
const FEW: usize = 150;

#[test]
fn writes_values_of_postgresql_14_as_the_server_means_them() {
    check(14, FEW);
}

#[test]
fn writes_values_of_postgresql_15_as_the_server_means_them() {
    check(15, MANY);
}

#[test]
fn writes_values_of_postgresql_16_as_the_server_means_them() {
    check(16, FEW);
}

#[test]
fn writes_values_of_postgresql_17_as_the_server_means_them() {
    check(17, FEW);
}

#[test]
fn writes_values_of_postgresql_18_as_the_server_means_them() {
    check(18, FEW);
}

fn check(major: u32, count: usize) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let only = std::env::var("ONLY").unwrap_or_default();
    let server = Postgres::start(major);
    let mut oracle = Oracle::new(&server);
    let mut mismatches = Vec::new();
    for case in cases::all(major, count, &mut random) {
        if case.sql_type.contains(&only) {
            mismatches.extend(oracle.mismatches(&case));
        }
    }
    println!("PostgreSQL {major}: {} values compared", oracle.compared);
    assert!(oracle.compared > 0, "no type is called {only}");
    assert!(mismatches.is_empty(), "SEED={seed}\n{}", mismatches.join("\n"));
}
