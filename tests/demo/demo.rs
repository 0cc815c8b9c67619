//! The demonstration behind `./quickstart`: a scratch PostgreSQL with a small shop, a real Kafka, the
//! agent between them, a writer that never rests, and a live view of what arrives.
//!
//! Ends with Ctrl-C or after `--seconds N`; then compares what the topics add up to with the source
//! and ends with 0 only if both are equal. Nothing is left running.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program for people that ends at the first surprise"
)]

mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::compare;
use cdc_testkit::fold;
use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::shop;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;
use cdc_testkit::topics;
use cdc_testkit::topics::Tail;
use clap::Parser;

use crate::view::View;

/// Topics of the shop's tables.
const TOPICS: &str = r"shop\.shop\..*";

/// How long the agent may take to catch up at the end.
const CATCH_UP: Duration = Duration::from_secs(120);

/// Shows cdc-agent at work between a scratch PostgreSQL and a real Kafka.
#[derive(Debug, Parser)]
#[command(name = "./quickstart")]
struct Options {
    /// End after so many seconds; otherwise with Ctrl-C.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Changes a second that are written.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Customers in the shop at the beginning; all tables together have about 14 rows for each.
    #[arg(long, default_value_t = 500)]
    scale: u32,
    /// Seed of the writer.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The agent's binary.
    #[arg(long, default_value = "target/release/cdc-agent")]
    agent: PathBuf,
}

/// Says what happens, with the time since the beginning.
fn say(begun: Instant, text: &str) {
    println!("[{:5.1} s] {text}", begun.elapsed().as_secs_f64());
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    std::thread::spawn(move || wait_for_interrupt(&asked));
    if run(&options, &stop) {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

/// Ctrl-C ends the demonstration in good order; a second one at once.
fn wait_for_interrupt(stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::signal::ctrl_c().await.unwrap();
        stop.store(true, Ordering::SeqCst);
        tokio::signal::ctrl_c().await.unwrap();
        std::process::exit(130);
    });
}

fn run(options: &Options, stop: &AtomicBool) -> bool {
    let begun = Instant::now();
    say(begun, "starting a scratch PostgreSQL");
    let postgres = Postgres::system();
    say(begun, &format!("PostgreSQL {} on 127.0.0.1:{}", postgres.version(), postgres.port()));
    say(begun, "starting Kafka (one broker, KRaft)");
    let kafka = Kafka::start();
    say(begun, &format!("Kafka on {}", kafka.bootstrap()));
    postgres.create_database("shop");
    shop::create(&mut postgres.client("shop"), options.scale);
    say(begun, "the shop is open: customers, products, orders, order lines and more");
    let logs = process::scratch_dir("quickstart");
    let http = format!("127.0.0.1:{}", process::free_port());
    let mut command = process::command(&options.agent);
    command.args(["--slot", "etl_slot", "--dsn", &postgres.dsn("shop")]).args([
        "--brokers",
        &kafka.bootstrap(),
        "--http",
        &http,
    ]);
    say(
        begun,
        &format!(
            "running: cdc-agent --slot etl_slot --dsn {} --brokers {} --http {http}",
            postgres.dsn("shop"),
            kafka.bootstrap()
        ),
    );
    let mut agent = Daemon::spawn("cdc-agent", command, logs.path());
    let simulator = Simulator::start(
        &postgres.dsn("shop"),
        SimulatorOptions::new(options.seed).rate(options.rate).connections(3),
    );
    say(begun, &format!("writing about {} changes a second; Ctrl-C ends", options.rate));
    let alive = watch(options, stop, &kafka, &mut agent);
    let totals = simulator.stop();
    if !alive {
        eprintln!("the agent ended early:\n{}", agent.log_tail());
        return false;
    }
    println!();
    say(begun, &format!("writing ended after {} changes; catching up", totals.changes()));
    process::wait_until(CATCH_UP, "the agent has confirmed everything", || is_caught_up(&postgres));
    let status = agent.terminate(Duration::from_secs(15));
    say(begun, &format!("agent stopped ({status}); comparing topics with tables"));
    let fold = fold::fold(&topics::read_all(&kafka.bootstrap(), TOPICS));
    let comparison = compare::compare(&mut postgres.client("shop"), &shop::TABLES, &fold);
    println!("{comparison}");
    let equal = comparison.is_equal() && status.success();
    say(begun, if equal { "the topics add up to the source" } else { "NOT EQUAL" });
    equal
}

/// Shows what arrives until the time is up; `false` if the agent has ended.
fn watch(options: &Options, stop: &AtomicBool, kafka: &Kafka, agent: &mut Daemon) -> bool {
    let mut tail = Tail::new(&kafka.bootstrap(), TOPICS);
    let mut view = View::new();
    let begun = Instant::now();
    loop {
        if let Some(record) = tail.next(Duration::from_millis(50)) {
            view.take(&record);
        }
        view.show_if_due();
        if !agent.is_running() {
            return false;
        }
        let over = options.seconds.is_some_and(|seconds| begun.elapsed().as_secs() >= seconds);
        if over || stop.load(Ordering::SeqCst) {
            view.show();
            return true;
        }
    }
}

/// Whether the slot has been told of everything that was written.
fn is_caught_up(postgres: &Postgres) -> bool {
    static TARGET: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let target = TARGET.get_or_init(|| {
        postgres.query_one("shop", "SELECT pg_current_wal_insert_lsn()::text").unwrap_or_default()
    });
    let sql = format!(
        "SELECT (confirmed_flush_lsn >= '{target}')::text FROM pg_replication_slots \
         WHERE slot_name = 'etl_slot'"
    );
    postgres.query_one("shop", &sql).as_deref() == Some("true")
}
