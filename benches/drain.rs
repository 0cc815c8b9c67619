//! How fast a backlog drains to Kafka with the shipped defaults, beside `pg_recvlogical` over the
//! same log in the same run.
//!
//! `cargo bench --bench drain -- [--rows N] [--version MAJOR] [--rounds N]`; asserts that every row
//! arrived, never a time.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a program for people that ends at the first surprise"
)]

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use cdc_testkit::topics;

/// Longest that one side may take.
const TIMEOUT: Duration = Duration::from_secs(300);

struct Figures {
    rows_per_second: f64,
    cpu_seconds: f64,
}

fn option(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args();
    match arguments.find(|argument| argument == name) {
        Some(_) => arguments.next().and_then(|text| text.parse().ok()).expect("a number"),
        None => default,
    }
}

fn main() {
    let rows = option("--rows", 1_000_000);
    let version = u32::try_from(option("--version", 15)).unwrap();
    let rounds = option("--rounds", 1);
    let options = PostgresOptions::new(version)
        .setting("shared_buffers", "512MB")
        .setting("max_wal_size", "16GB")
        .setting("synchronous_commit", "off");
    let postgres = Postgres::with(options);
    let kafka = Kafka::start();
    postgres.create_database("bench");
    postgres.execute(
        "bench",
        "CREATE TABLE public.drained (id bigint PRIMARY KEY, customer int NOT NULL, note text, \
         amount numeric(12,2))",
    );
    let logs = process::scratch_dir("drain");
    println!("rows a round: {rows}; PostgreSQL {version}; transactions of 1000 rows, 4 columns");
    // The agent reads the empty table once, so that what follows is a backlog of its slot.
    let mut agent = start_agent(&postgres, &kafka, logs.path());
    process::wait_until(TIMEOUT, "the agent streams", || slot_is_active(&postgres));
    agent.terminate(Duration::from_secs(20));
    let mut before = 0;
    for round in 1..=rounds {
        postgres.execute("bench", "SELECT pg_create_logical_replication_slot('peer', 'pgoutput')");
        load(&postgres, (round - 1) * rows, rows);
        let reference = drain_with_recvlogical(&postgres);
        let ours = drain_with_agent(&postgres, &kafka, logs.path(), (before, rows));
        before += rows;
        let million = rows as f64 / 1e6;
        println!(
            "round {round}: pg_recvlogical {:.0} rows/s, {:.2} CPU-s per M; cdc-agent {:.0} rows/s, \
             {:.2} CPU-s per M; ratio {:.2}",
            rows as f64 / reference.rows_per_second,
            reference.cpu_seconds / million,
            rows as f64 / ours.rows_per_second,
            ours.cpu_seconds / million,
            reference.rows_per_second / ours.rows_per_second,
        );
    }
}

fn start_agent(postgres: &Postgres, kafka: &Kafka, logs: &Path) -> Daemon {
    let mut command = process::command(env!("CARGO_BIN_EXE_cdc-agent"));
    command
        .args(["--slot", "ours", "--dsn", &postgres.dsn("bench"), "--http", "none"])
        .args(["--brokers", &kafka.bootstrap()]);
    Daemon::spawn("agent", command, logs)
}

fn slot_is_active(postgres: &Postgres) -> bool {
    let sql = "SELECT active::text FROM pg_replication_slots WHERE slot_name = 'ours'";
    postgres.query_one("bench", sql).as_deref() == Some("true")
}

fn load(postgres: &Postgres, first: u64, rows: u64) {
    let mut client = postgres.client("bench");
    for start in (first..first + rows).step_by(1000) {
        let end = (start + 1000).min(first + rows) - 1;
        let sql = format!(
            "INSERT INTO drained SELECT g, g % 1000, 'a note of some length for row ' || g || \
             ', as orders have', (g % 100000) / 100.0 FROM generate_series({start}, {end}) g"
        );
        client.batch_execute(&sql).unwrap();
    }
}

/// Reads the peer's slot to its end.
fn drain_with_recvlogical(postgres: &Postgres) -> Figures {
    let end = postgres.query_one("bench", "SELECT pg_current_wal_insert_lsn()::text").unwrap();
    let logs = process::scratch_dir("recvlogical");
    let mut command = process::command("pg_recvlogical");
    command
        .args(["-d", &postgres.dsn("bench"), "-S", "peer", "--start", "-f", "/dev/null"])
        .args(["-o", "proto_version=1", "-o", "publication_names=ours"])
        .args(["--no-loop", "--endpos", &end]);
    let begun = Instant::now();
    let mut daemon = Daemon::spawn("pg_recvlogical", command, logs.path());
    let mut cpu = Duration::ZERO;
    while daemon.is_running() && begun.elapsed() < TIMEOUT {
        cpu = cpu.max(daemon.cpu_time());
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = begun.elapsed().as_secs_f64();
    postgres.execute("bench", "SELECT pg_drop_replication_slot('peer')");
    Figures { rows_per_second: seconds, cpu_seconds: cpu.as_secs_f64() }
}

/// Timed from the agent's start to the last record in the topic; the first record's arrival is
/// where the clock starts.
fn drain_with_agent(
    postgres: &Postgres,
    kafka: &Kafka,
    logs: &Path,
    (before, rows): (u64, u64),
) -> Figures {
    let bootstrap = kafka.bootstrap();
    let count = || topics::count(&bootstrap, r"bench\.public\.drained");
    let mut agent = start_agent(postgres, kafka, logs);
    let mut first = None;
    let started = Instant::now();
    loop {
        let there = count();
        if there > before && first.is_none() {
            first = Some((Instant::now(), there));
        }
        if there >= before + rows {
            break;
        }
        assert!(started.elapsed() < TIMEOUT, "only {there} rows arrived\n{}", agent.log_tail());
        std::thread::sleep(Duration::from_millis(2));
    }
    let (begun, seen) = first.unwrap();
    let share = (before + rows - seen) as f64 / rows as f64;
    let seconds = begun.elapsed().as_secs_f64() / share.max(0.01);
    let cpu = agent.cpu_time();
    println!("  agent: resident {:.0} MiB", agent.rss_bytes() as f64 / 1048576.0);
    agent.terminate(Duration::from_secs(20));
    assert_eq!(count(), before + rows, "every row once");
    Figures { rows_per_second: seconds, cpu_seconds: cpu.as_secs_f64() }
}
