//! Writes to the shop from the command line: for the demonstration, and to try things by hand.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::shop;
use cdc_testkit::shop::Mix;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;
use clap::Parser;
use postgres::Client;
use postgres::NoTls;

/// Keeps writing to a small shop in PostgreSQL
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// URI of the database
    #[arg(long, default_value = "postgres://postgres@127.0.0.1:5432/postgres")]
    dsn: String,
    /// Create and fill the schema "shop" first
    #[arg(long)]
    create: bool,
    /// Customers that --create makes; about 14 rows each
    #[arg(long, default_value_t = 1_000)]
    scale: u32,
    /// Changes a second; 0 is as fast as possible
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Stop after so many seconds; 0 only creates, and without it only a signal stops
    #[arg(long)]
    seconds: Option<u64>,
    /// Seed of all random choices; without it a new one, which is printed
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Connections
    #[arg(long, default_value_t = 3)]
    connections: u32,
    /// What is done how often, as insert=34,update=40,...; "none," first sets all to 0
    #[arg(long, default_value = "")]
    mix: Mix,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.create {
        match Client::connect(&arguments.dsn, NoTls) {
            Ok(mut client) => shop::create(&mut client, arguments.scale),
            Err(error) => {
                eprintln!("shop-simulator: no connection: {error}");
                return ExitCode::from(69);
            }
        }
    }
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let options = SimulatorOptions::new(seed)
        .rate(arguments.rate)
        .connections(arguments.connections)
        .mix(arguments.mix);
    if arguments.seconds == Some(0) {
        return ExitCode::SUCCESS;
    }
    let simulator = Simulator::start(&arguments.dsn, options);
    let began = Instant::now();
    let mut before = 0;
    while arguments.seconds.is_none_or(|seconds| began.elapsed().as_secs() < seconds) {
        thread::sleep(Duration::from_secs(1));
        let totals = simulator.totals();
        let changes = totals.changes();
        eprintln!("{:>5} s {:>7} changes/s, {totals}", began.elapsed().as_secs(), changes - before);
        before = changes;
    }
    let totals = simulator.stop();
    println!("{totals}");
    if totals.refused > 0 {
        println!("refused, by SQLSTATE: {:?}", totals.reasons);
    }
    ExitCode::SUCCESS
}
