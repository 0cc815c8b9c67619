//! How fast a topic of inserts gets into a warehouse, beside the Debezium JDBC sink over the same
//! topic in the same run.
//!
//! `cargo bench --bench apply -- [--rows N] [--rounds N] [--jdbc 1]`; asserts that every row arrived,
//! never a time. Records carry their schemas, which the JDBC sink needs; `--jdbc 1` needs
//! `tests/support/install.sh jdbc-sink`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a program for people that ends at the first surprise"
)]

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::connect::Connect;
use cdc_testkit::servers::connect::ConnectOptions;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use cdc_testkit::servers::servers_dir;
use cdc_testkit::topics;
use serde_json::json;

/// Longest that one side may take.
const TIMEOUT: Duration = Duration::from_secs(600);

const TOPIC: &str = "bench.public.orders";

/// What one side took.
struct Figures {
    seconds: f64,
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
    let (rows, rounds) = (option("--rows", 200_000), option("--rounds", 1));
    let options = PostgresOptions::system()
        .setting("shared_buffers", "512MB")
        .setting("max_wal_size", "16GB")
        .setting("synchronous_commit", "off");
    let postgres = Postgres::with(options);
    let kafka = Kafka::start();
    let logs = process::scratch_dir("apply");
    write_topic(&postgres, &kafka, logs.path(), rows);
    println!("{rows} inserts with schemas, 5 columns, one partition");
    let connect = (option("--jdbc", 0) > 0).then(|| worker(&kafka));
    for round in 1..=rounds {
        let database = format!("copy_{round}");
        postgres.create_database(&database);
        let to = format!("postgres://postgres@127.0.0.1:{}/{database}", postgres.port());
        let into_postgres = with_sink(&kafka, logs.path(), &to, round);
        let sql = "SELECT count(*)::text FROM public.orders";
        let copied = postgres.query_one(&database, sql);
        assert_eq!(copied, Some(rows.to_string()), "every row is in PostgreSQL once");
        let file = logs.path().join(format!("copy_{round}.duckdb"));
        let into_duckdb =
            with_sink(&kafka, logs.path(), &format!("duckdb:{}", file.display()), round);
        let show = |name: &str, figures: &Figures| {
            println!(
                "round {round}: {name}: {:.0} rows/s, {:.1} CPU-s per M",
                rows as f64 / figures.seconds,
                figures.cpu_seconds / (rows as f64 / 1e6)
            );
        };
        show("cdc-sink to PostgreSQL", &into_postgres);
        show("cdc-sink to DuckDB", &into_duckdb);
        if let Some(connect) = &connect {
            let jdbc = with_jdbc(connect, &postgres, rows, round);
            show("Debezium JDBC sink to PostgreSQL", &jdbc);
            println!(
                "round {round}: rows/s of the JDBC sink: 1; cdc-sink to PostgreSQL {:.2}, to DuckDB \
                 {:.2}",
                jdbc.seconds / into_postgres.seconds,
                jdbc.seconds / into_duckdb.seconds
            );
        }
    }
}

/// An agent publishes inserts.
fn write_topic(postgres: &Postgres, kafka: &Kafka, logs: &Path, rows: u64) {
    postgres.create_database("bench");
    postgres.execute(
        "bench",
        "CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, note text, \
         amount numeric(12,2), placed timestamptz)",
    );
    let mut command = process::command(env!("CARGO_BIN_EXE_cdc-agent"));
    command
        .args(["--slot", "bench", "--dsn", &postgres.dsn("bench"), "--http", "none"])
        .args(["--brokers", &kafka.bootstrap(), "--set", "snapshot.mode=no_data"])
        .args(["--set", "key.converter.schemas.enable=true"])
        .args(["--set", "value.converter.schemas.enable=true"]);
    let mut agent = Daemon::spawn("agent", command, logs);
    let streams = "SELECT active::text FROM pg_replication_slots WHERE slot_name = 'bench'";
    process::wait_until(TIMEOUT, "the agent to stream", || {
        postgres.query_one("bench", streams).as_deref() == Some("true")
    });
    let mut client = postgres.client("bench");
    for start in (0..rows).step_by(1000) {
        let end = (start + 1000).min(rows) - 1;
        let sql = format!(
            "INSERT INTO orders SELECT g, g % 1000, 'a note of some length for row ' || g, \
             (g % 100000) / 100.0, now() FROM generate_series({start}, {end}) g"
        );
        client.batch_execute(&sql).unwrap();
    }
    let pattern = TOPIC.replace('.', "\\.");
    process::wait_until(TIMEOUT, "the topic to be written", || {
        assert!(agent.is_running(), "{}", agent.log_tail());
        topics::count(&kafka.bootstrap(), &pattern) >= rows
    });
    agent.terminate(Duration::from_secs(20));
}

/// From the sink's start to its end, with `--once`.
fn with_sink(kafka: &Kafka, logs: &Path, to: &str, round: u64) -> Figures {
    let mut command = process::command(env!("CARGO_BIN_EXE_cdc-sink"));
    command
        .args(["--brokers", &kafka.bootstrap(), "--topics", r"bench\.public\..*"])
        .args(["--group", &format!("round {round}"), "--to", to])
        .args(["--once", "--http", "none"]);
    let begun = Instant::now();
    let mut sink = Daemon::spawn("sink", command, logs);
    let mut cpu = Duration::ZERO;
    while sink.is_running() {
        cpu = cpu.max(sink.cpu_time());
        assert!(begun.elapsed() < TIMEOUT, "{}", sink.log_tail());
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(sink.log().contains("has caught up"), "{}", sink.log_tail());
    Figures { seconds, cpu_seconds: cpu.as_secs_f64() }
}

/// A worker with the JDBC sink.
fn worker(kafka: &Kafka) -> Connect {
    let plugins = servers_dir().join("jdbc-sink");
    assert!(plugins.is_dir(), "it is missing: run tests/support/install.sh jdbc-sink");
    let plugins = plugins.canonicalize().unwrap();
    let options = ConnectOptions::default()
        .heap_mib(2048)
        .property("plugin.path", &plugins.display().to_string())
        .property("key.converter.schemas.enable", "true")
        .property("value.converter.schemas.enable", "true");
    Connect::with(kafka, &options)
}

/// From the first row in the table to the last.
fn with_jdbc(connect: &Connect, postgres: &Postgres, rows: u64, round: u64) -> Figures {
    let database = format!("jdbc_{round}");
    postgres.create_database(&database);
    let name = format!("jdbc-{round}");
    connect.put_connector(
        &name,
        &json!({
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
            "tasks.max": "1",
            "topics": TOPIC,
            "connection.url": format!("jdbc:postgresql://127.0.0.1:{}/{database}", postgres.port()),
            "connection.username": "postgres",
            "connection.password": "postgres",
            "insert.mode": "upsert",
            "delete.enabled": "true",
            "primary.key.mode": "record_key",
            "schema.evolution": "basic",
            "collection.name.format": "orders",
            "consumer.override.auto.offset.reset": "earliest",
            "consumer.override.max.poll.records": "2000",
            "batch.size": "2000",
        }),
    );
    let count = || -> u64 {
        let there = "SELECT to_regclass('public.orders')::text";
        if postgres.query_one(&database, there).is_none() {
            return 0;
        }
        let counted = postgres.query_one(&database, "SELECT count(*)::text FROM public.orders");
        counted.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let started = Instant::now();
    let mut first = None;
    loop {
        let there = count();
        if there > 0 && first.is_none() {
            first = Some((Instant::now(), there, connect.daemon().cpu_time()));
        }
        if there >= rows {
            break;
        }
        assert!(started.elapsed() < TIMEOUT, "{there} rows: {}", connect.status(&name));
        std::thread::sleep(Duration::from_millis(20));
    }
    let (begun, seen, cpu) = first.unwrap();
    let share = ((rows - seen) as f64 / rows as f64).max(0.01);
    let figures = Figures {
        seconds: begun.elapsed().as_secs_f64() / share,
        cpu_seconds: (connect.daemon().cpu_time().saturating_sub(cpu)).as_secs_f64() / share,
    };
    connect.delete_connector(&name);
    figures
}
