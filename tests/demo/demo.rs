//! The demonstration behind `./quickstart`: a scratch PostgreSQL with a small shop, a real Kafka, the
//! agent and the companion between them and a DuckDB file, a writer that never rests, and a live
//! view of what arrives. With `--no-kafka` the agent writes to the file itself.
//!
//! Ends with Ctrl-C or after `--seconds N`; then compares the warehouse with the source and ends
//! with 0 only if both are equal. Nothing is left running.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program for people that ends at the first surprise"
)]

mod view;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::compare;
use cdc_testkit::compare::Rows;
use cdc_testkit::http;
use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::shop;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;
use clap::Parser;
use serde_json::Value;

use crate::view::View;

/// Topics of the shop's tables.
const TOPICS: &str = r"shop\.shop\..*";

/// How long everything may take to catch up at the end.
const CATCH_UP: Duration = Duration::from_secs(120);

/// How long nothing may have been waiting before all has arrived.
const SETTLED: Duration = Duration::from_secs(3);

/// The question that is asked of the warehouse.
const QUESTION: &str = "SELECT status, count(*) AS orders, sum(total) AS total, max(placed_at)::DATE AS \
    latest FROM shop.orders GROUP BY status ORDER BY orders DESC";

/// Shows cdc-agent and cdc-sink at work between a scratch PostgreSQL and a DuckDB file.
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
    /// The agent writes to the warehouse itself.
    #[arg(long)]
    no_kafka: bool,
    /// Where the programs are.
    #[arg(long, default_value = "target/release", value_name = "FOLDER")]
    programs: PathBuf,
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

/// The programs at work.
struct Programs {
    agent: Daemon,
    /// Of the way over Kafka.
    sink: Option<Daemon>,
    /// Where the process answers that has the warehouse open.
    warehouse: String,
}

impl Programs {
    fn start(options: &Options, source: &str, kafka: Option<&Kafka>, folder: &Path) -> Self {
        let agent_http = format!("127.0.0.1:{}", process::free_port());
        let file = format!("duckdb:{}", folder.join("shop.duckdb").display());
        let mut arguments = vec!["--slot", "etl_slot", "--dsn", source, "--http", &agent_http];
        let brokers = kafka.map(Kafka::bootstrap).unwrap_or_default();
        match kafka {
            Some(_) => arguments.extend(["--brokers", &brokers]),
            None => arguments.extend(["--to", &file]),
        }
        let agent = spawn(options, "cdc-agent", &arguments, folder);
        if kafka.is_none() {
            return Programs { agent, sink: None, warehouse: agent_http };
        }
        let sink_http = format!("127.0.0.1:{}", process::free_port());
        let arguments = [
            "--brokers",
            &brokers,
            "--topics",
            TOPICS,
            "--group",
            "warehouse",
            "--to",
            &file,
            "--http",
            &sink_http,
        ];
        let sink = spawn(options, "cdc-sink", &arguments, folder);
        Programs { agent, sink: Some(sink), warehouse: sink_http }
    }

    /// The log of a program that has ended, if one has.
    fn ended(&mut self) -> Option<String> {
        let sink = self.sink.as_mut();
        [Some(&mut self.agent), sink].into_iter().flatten().find_map(|program| {
            program.exit_status().map(|status| format!("{status}:\n{}", program.log_tail()))
        })
    }

    fn get(&self, path: &str) -> Option<http::Answer> {
        let url = format!("http://{}{path}", self.warehouse);
        http::get(&url).ok().filter(http::Answer::is_success)
    }

    /// Asks the process that owns the file.
    fn ask(&self, sql: &str) -> Result<(Vec<String>, Rows), String> {
        let answer = http::post_text(&format!("http://{}/v1/query", self.warehouse), sql)?;
        if !answer.is_success() {
            return Err(answer.body);
        }
        let json = answer.json();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let columns = list(json.get("columns").unwrap_or(&Value::Null));
        let columns = columns.iter().map(text_of).map(Option::unwrap_or_default).collect();
        let rows = list(json.get("rows").unwrap_or(&Value::Null));
        Ok((columns, rows.iter().map(|row| list(row).iter().map(text_of).collect()).collect()))
    }

    /// Whether the agent has confirmed everything and nothing waits for the warehouse.
    fn is_settled(&self, postgres: &Postgres) -> bool {
        let waiting = self.get("/metrics").is_none_or(|metrics| {
            metrics.body.lines().any(|line| {
                let lag = line.starts_with("cdc_sink_lag_records{");
                lag && !line.ends_with(" 0")
            })
        });
        !waiting && is_confirmed(postgres)
    }

    fn stop(mut self) -> bool {
        let mut good = self.agent.terminate(Duration::from_secs(15)).success();
        if let Some(mut sink) = self.sink {
            good &= sink.terminate(Duration::from_secs(15)).success();
        }
        good
    }
}

/// A value as text, JSON's own text if it is no string.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn spawn(options: &Options, program: &'static str, arguments: &[&str], logs: &Path) -> Daemon {
    println!("          running: {program} {}", arguments.join(" "));
    let mut command = process::command(options.programs.join(program));
    command.args(arguments);
    Daemon::spawn(program, command, logs)
}

fn run(options: &Options, stop: &AtomicBool) -> bool {
    let begun = Instant::now();
    say(begun, "starting a scratch PostgreSQL");
    let postgres = Postgres::system();
    say(begun, &format!("PostgreSQL {} on 127.0.0.1:{}", postgres.version(), postgres.port()));
    let kafka = (!options.no_kafka).then(|| {
        say(begun, "starting Kafka (one broker, KRaft)");
        Kafka::start()
    });
    if let Some(kafka) = &kafka {
        say(begun, &format!("Kafka on {}", kafka.bootstrap()));
    }
    postgres.create_database("shop");
    shop::create(&mut postgres.client("shop"), options.scale);
    say(begun, "the shop is open: customers, products, orders, order lines and more");
    let folder = process::scratch_dir("quickstart");
    let source = postgres.dsn("shop");
    let mut programs = Programs::start(options, &source, kafka.as_ref(), folder.path());
    let simulator = Simulator::start(
        &source,
        SimulatorOptions::new(options.seed).rate(options.rate).connections(3),
    );
    say(begun, &format!("writing about {} changes a second; Ctrl-C ends", options.rate));
    let ended = watch(options, stop, &mut programs);
    let totals = simulator.stop();
    if let Some(ended) = ended {
        eprintln!("a program ended early, {ended}");
        return false;
    }
    println!();
    say(begun, &format!("writing ended after {} changes; catching up", totals.changes()));
    if !wait_until_settled(&programs, &postgres) {
        eprintln!("the warehouse has not caught up in {} s", CATCH_UP.as_secs());
    }
    show_question(&programs);
    say(begun, "comparing the warehouse with the source");
    let mut ask = |sql: &str| programs.ask(sql).expect("the warehouse answers").1;
    let comparison =
        compare::compare_with_warehouse(&mut postgres.client("shop"), &shop::TABLES, &mut ask);
    println!("{comparison}");
    let equal = comparison.is_equal();
    let stopped = programs.stop();
    say(begun, if equal { "the warehouse equals the source" } else { "NOT EQUAL" });
    if !stopped {
        eprintln!("a program did not stop in good order");
    }
    equal && stopped
}

/// Shows what arrives until the time is up; the log of a program that has ended, if one has.
fn watch(options: &Options, stop: &AtomicBool, programs: &mut Programs) -> Option<String> {
    let mut view = View::new();
    let begun = Instant::now();
    let time_is_up = || options.seconds.is_some_and(|n| begun.elapsed() >= Duration::from_secs(n));
    while !stop.load(Ordering::SeqCst) && !time_is_up() {
        if let Some(ended) = programs.ended() {
            return Some(ended);
        }
        if view.is_due() {
            look(programs, &mut view);
            view.show();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    look(programs, &mut view);
    view.show();
    None
}

fn look(programs: &Programs, view: &mut View) {
    if let Some(tables) = programs.get("/v1/tables") {
        view.take_tables(&tables.json());
    }
    if let Some(metrics) = programs.get("/metrics")
        && metrics.metric("cdc_sink_batches_total").is_some_and(|batches| batches > 0.0)
        && let Some(lag) = metrics.metric("cdc_sink_delay_seconds")
    {
        view.take_lag(lag * 1e3);
    }
    let latest = "SELECT id, status, total, placed_at FROM shop.orders ORDER BY placed_at DESC \
                  LIMIT 1";
    if let Ok((_, rows)) = programs.ask(latest)
        && let Some(row) = rows.first()
    {
        let cells: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect();
        view.take_last(&cells.join("  "));
    }
}

fn wait_until_settled(programs: &Programs, postgres: &Postgres) -> bool {
    let begun = Instant::now();
    let mut since: Option<Instant> = None;
    while begun.elapsed() < CATCH_UP {
        if programs.is_settled(postgres) {
            if since.get_or_insert_with(Instant::now).elapsed() >= SETTLED {
                return true;
            }
        } else {
            since = None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

/// One question to the warehouse, and its answer.
fn show_question(programs: &Programs) {
    println!("\n  POST http://{}/v1/query\n  {QUESTION}\n", programs.warehouse);
    match programs.ask(QUESTION) {
        Ok((columns, rows)) => {
            let line = |cells: Vec<String>| {
                let padded: Vec<String> =
                    cells.iter().map(|cell| format!("{cell:>14}  ")).collect();
                println!("  {}", padded.concat());
            };
            line(columns);
            for row in rows {
                line(row.into_iter().map(Option::unwrap_or_default).collect());
            }
            println!();
        }
        Err(error) => eprintln!("no answer: {error}"),
    }
}

/// Whether the slot has been told of everything that was written.
fn is_confirmed(postgres: &Postgres) -> bool {
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
