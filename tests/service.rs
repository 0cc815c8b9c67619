//! Goal: whoever runs the agent as a service is told the truth: systemd when it may go on and when to
//! start it anew, a load balancer whether records flow, Prometheus how far behind it is; and it ends
//! when it is asked to.
//!
//! Method: a socket of our own in systemd's place (`NOTIFY_SOCKET`), the HTTP port, and signals,
//! beside real servers that are frozen, killed and started again. One thread of the agent is stopped
//! as a debugger would stop it, to see that a loop which hangs is noticed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "progress is shown to a person")]

mod run;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::process::Signal;
use cdc_testkit::promtool;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use cdc_testkit::shop;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;
use tempfile::TempDir;

use run::Agent;
use run::AgentOptions;
use run::judge::judge;
use run::say;
use run::source;

/// What stands in systemd's place.
struct Systemd {
    socket: UnixDatagram,
    // Holds the socket's file.
    dir: TempDir,
}

impl Systemd {
    fn new() -> Self {
        let dir = process::scratch_dir("systemd");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("the folder is ours");
        Self { socket, dir }
    }

    /// As a unit with `WatchdogSec=60`.
    fn watch(&self, options: AgentOptions) -> AgentOptions {
        let path = self.dir.path().join("notify");
        let options = options.variable("NOTIFY_SOCKET", path.to_str().expect("a plain path"));
        options.variable("WATCHDOG_USEC", "60000000")
    }

    /// What comes within this time; each line of a message by itself.
    fn hear(&self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return heard;
            }
            self.socket.set_read_timeout(Some(left)).expect("the time is not zero");
            if let Ok(length) = self.socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                heard.extend(text.lines().map(str::to_owned));
            }
        }
    }

    /// Listens until this comes; gives all that has come.
    #[track_caller]
    fn wait_for(&self, line: &str, timeout: Duration) -> Vec<String> {
        let began = Instant::now();
        let mut heard = Vec::new();
        while began.elapsed() < timeout {
            heard.extend(self.hear(Duration::from_millis(50)));
            if heard.iter().any(|heard| heard == line) {
                return heard;
            }
        }
        panic!("no {line} within {timeout:?}, but {heard:?}");
    }
}

const WATCHDOG: &str = "WATCHDOG=1";

fn watchdogs(heard: &[String]) -> usize {
    heard.iter().filter(|line| *line == WATCHDOG).count()
}

/// A database or a broker that is down is waited for, and must not make the unit fail.
#[test]
fn ready_is_said_before_anybody_answers_and_stopping_at_the_end() {
    let systemd = Systemd::new();
    let nobody = process::free_port();
    let dsn = format!("postgres://postgres@127.0.0.1:{nobody}/x");
    let to = AgentOptions::to_lines(&dsn, "file:lines", "nobody");
    let mut agent = Agent::start(systemd.watch(to));
    let mut heard = systemd.wait_for("READY=1", Duration::from_secs(5));
    heard.extend(systemd.hear(Duration::from_secs(4)));
    assert!(watchdogs(&heard) >= 2, "{heard:?}");
    let status = heard.iter().find(|line| line.starts_with("STATUS="));
    assert!(status.is_some_and(|status| status.contains("connect")), "{heard:?}");
    assert_eq!(agent.get("/health/live").expect("the port answers").status, 200);
    let ready = agent.get("/health/ready").expect("the port answers");
    assert_eq!(ready.status, 503, "{}", ready.body);
    let took = agent.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
    systemd.wait_for("STOPPING=1", Duration::from_secs(1));
}

/// A thread that is stopped as by a debugger; the others go on. Ended by the thread that began it.
struct StoppedThread(libc::pid_t);

#[allow(unsafe_code, reason = "no safe library stops a single thread of another process")]
impl StoppedThread {
    /// The main thread of a child of ours.
    fn main_of(pid: u32) -> Self {
        let pid = libc::pid_t::try_from(pid).expect("process ids are small");
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: neither request reads or writes memory of ours; `status` outlives the wait.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing), 0, "seize");
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, nothing, nothing), 0, "stop");
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, libc::__WALL), pid);
        }
        Self(pid)
    }
}

#[allow(unsafe_code, reason = "as above")]
impl Drop for StoppedThread {
    fn drop(&mut self) {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: the request neither reads nor writes memory of ours.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, nothing, nothing) };
    }
}

#[test]
fn the_watchdog_follows_the_loops_and_not_the_broker() {
    let name = "watchdog";
    let postgres = run::shared_postgres(15);
    postgres.create_database(name);
    postgres.execute(name, "CREATE TABLE items (id int PRIMARY KEY)");
    let kafka = Kafka::start();
    let systemd = Systemd::new();
    let options = systemd.watch(AgentOptions::new(&postgres.dsn(name), &kafka, name));
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::SOON);
    systemd.wait_for("STATUS=streaming", run::SOON);

    kafka.freeze();
    postgres.execute(name, "INSERT INTO items SELECT generate_series(1, 1000)");
    let heard = systemd.hear(Duration::from_secs(36));
    let count = watchdogs(&heard);
    say(name, format_args!("broker frozen for 36 s: {count} times fed; {:?}", heard.last()));
    assert!(count > 20, "{heard:?}");
    let told = |line: &String| line.starts_with("STATUS=") && line.contains("acknowledged nothing");
    assert!(heard.iter().any(told), "{heard:?}");
    assert_eq!(agent.get("/health/live").expect("the port answers").status, 200);
    kafka.thaw();
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);

    let stopped = StoppedThread::main_of(agent.daemon().pid());
    let began = Instant::now();
    process::wait_until(run::SOON, "the hanging loop to be noticed", || {
        agent.get("/health/live").is_ok_and(|live| live.status == 503)
    });
    let live = agent.get("/health/live").expect("the port answers");
    say(name, format_args!("thread stopped: after {:?} {}", began.elapsed(), live.body.trim()));
    assert!(live.body.contains("encoder"), "{}", live.body);
    systemd.hear(Duration::from_secs(1));
    let heard = systemd.hear(Duration::from_secs(5));
    assert_eq!(watchdogs(&heard), 0, "{heard:?}");
    drop(stopped);
    systemd.wait_for(WATCHDOG, Duration::from_secs(5));
    assert_eq!(agent.get("/health/live").expect("the port answers").status, 200);
    agent.stop();
    systemd.wait_for("STOPPING=1", Duration::from_secs(1));
}

/// With a broker that answers, one that does not, and an operator who does not wait.
#[test]
fn a_stop_with_records_in_flight_ends_in_time_and_loses_nothing() {
    let name = "stop";
    let postgres = run::shared_postgres(15);
    postgres.create_database(name);
    shop::create(&mut postgres.client(name), 100);
    let kafka = run::kafka_with_append_times();
    let mut agent = Agent::start(AgentOptions::new(&postgres.dsn(name), &kafka, name));
    agent.wait_streaming(run::SOON);
    let simulator = Simulator::start(&postgres.dsn(name), SimulatorOptions::new(process::seed()));
    // Not the first ones of a run, which wait for schemas to be acknowledged.
    let wait_flowing = |agent: &mut Agent| {
        agent.wait_streaming(run::SOON);
        agent.wait(run::SOON, "records to flow", |agent| {
            agent.metric("cdc_agent_acknowledged_records_total") > Some(3_000.0)
        });
    };
    let wait_in_flight = |agent: &mut Agent| {
        agent.wait(run::SOON, "records in flight", |agent| {
            agent.metric("cdc_agent_publisher_queue_records") > Some(100.0)
        });
    };
    wait_flowing(&mut agent);
    wait_in_flight(&mut agent);
    let took = agent.stop();
    say(name, format_args!("the broker answers: {took:?}"));
    assert!(took < Duration::from_secs(5), "{took:?}");

    agent.start_again();
    wait_flowing(&mut agent);
    kafka.freeze();
    wait_in_flight(&mut agent);
    let took = agent.stop();
    say(name, format_args!("the broker is frozen: {took:?}"));
    let times = Duration::from_secs(5)..Duration::from_secs(13);
    assert!(times.contains(&took), "it waits for the broker, but not too long: {took:?}");
    kafka.thaw();

    agent.start_again();
    wait_flowing(&mut agent);
    kafka.freeze();
    wait_in_flight(&mut agent);
    agent.daemon().signal(Signal::Terminate);
    agent.wait(run::SOON, "not to be ready", |agent| {
        let ready = agent.get("/health/ready").expect("the port answers");
        ready.status == 503 && ready.body.contains("stopping")
    });
    std::thread::sleep(Duration::from_secs(1));
    let took = agent.stop();
    say(name, format_args!("a second SIGTERM: {took:?}"));
    assert!(took < Duration::from_secs(2), "{took:?}");
    kafka.thaw();

    simulator.stop();
    agent.start_again();
    source::wait_caught_up(postgres, &mut agent, name, run::LONG);
    agent.stop();
    let verdict = judge(&kafka, name);
    say(name, &verdict);
    verdict.assert_sound_and_equal(postgres, name, &shop::TABLES);
}

#[test]
fn ready_means_that_records_flow() {
    let name = "ready";
    let mut postgres = Postgres::start(15);
    postgres.create_database(name);
    postgres.execute(name, "CREATE TABLE items (id int PRIMARY KEY)");
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    postgres.kill();
    let mut agent = Agent::start(options);
    let wait_ready = |agent: &mut Agent, status: u16| {
        agent.wait(run::SOON, &format!("ready to be {status}"), |agent| {
            agent.get("/health/ready").is_ok_and(|ready| ready.status == status)
        });
        let ready = agent.get("/health/ready").expect("the port answers");
        say(name, format_args!("{}: {}", ready.status, ready.body.trim()));
        assert_eq!(agent.get("/health/live").expect("the port answers").status, 200);
        ready.body
    };
    wait_ready(&mut agent, 503);
    assert_eq!(agent.metric("cdc_agent_source_up"), Some(0.0));
    assert_eq!(agent.metric("cdc_agent_slot_lag_bytes"), None, "nobody knows");
    postgres.start_again();
    wait_ready(&mut agent, 200);
    agent.wait(run::SOON, "the stream", |agent| {
        agent.get("/health/ready").is_ok_and(|ready| ready.body.trim() == "streaming")
    });
    assert_eq!(agent.metric("cdc_agent_source_up"), Some(1.0));
    postgres.kill();
    let reason = wait_ready(&mut agent, 503);
    assert!(!reason.trim().is_empty());
    postgres.start_again();
    wait_ready(&mut agent, 200);
    agent.stop();
}

/// Samples by series, after looking at every line.
fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let (mut types, mut helped) = (BTreeMap::new(), BTreeSet::new());
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().expect("split gives one part");
            assert!(helped.insert(name.to_owned()), "two HELP of {name}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "two TYPE of {name}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let name = series.split('{').next().expect("split gives one part");
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|name| types.contains_key(*name)))
                .unwrap_or(name);
            assert!(types.contains_key(family) && helped.contains(family), "undeclared: {line}");
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            let ours = name.starts_with("cdc_agent_") || name.starts_with("process_");
            assert!(ours && name.chars().all(plain), "{line}");
            let of_slot = name.starts_with("process_") || series.contains("slot=\"");
            assert!(of_slot, "no slot: {line}");
            assert!(!series.contains('{') || series.ends_with("\"}"), "{line}");
            assert!(types[family] != "counter" || name.ends_with("_total"), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {series}");
        }
    }
    samples
}

#[test]
fn metrics_are_prometheus_text_and_tell_what_is_so() {
    let name = "metrics";
    let options = PostgresOptions::new(15).setting("max_slot_wal_keep_size", "256MB");
    let postgres = Postgres::with(options);
    postgres.create_database(name);
    let create = "CREATE TABLE items (id int PRIMARY KEY, v text); CREATE TABLE \"o\"\"dd\" (id \
                  int PRIMARY KEY); CREATE TABLE keyless (v text); \
                  INSERT INTO items SELECT n, 'x' FROM generate_series(1, 7) n";
    postgres.execute(name, create);
    let kafka = Kafka::start();
    let mut agent = Agent::start(AgentOptions::new(&postgres.dsn(name), &kafka, name));
    agent.wait_streaming(run::SOON);
    let change = "INSERT INTO items SELECT n, 'x' FROM generate_series(11, 30) n; \
                  UPDATE items SET v = 'y' WHERE id <= 5; DELETE FROM items WHERE id = 1; \
                  INSERT INTO \"o\"\"dd\" VALUES (1)";
    postgres.execute(name, change);
    source::wait_caught_up(&postgres, &mut agent, name, run::SOON);
    let scraped = agent.metrics().expect("the port answers");
    let text = &scraped.body;
    parse_metrics(text);
    promtool::check_metrics(text).unwrap_or_else(|said| panic!("{said}"));
    texts_are_those_of_the_manual(text);
    let get = |series: &str| {
        let found = scraped.metric(series);
        found.unwrap_or_else(|| panic!("{series} is missing:\n{text}"))
    };
    let slot = |metric: &str| get(&format!("cdc_agent_slot_{metric}{{slot=\"metrics\"}}"));
    let count = |table: &str, operation: &str| {
        let labels = format!("{{operation=\"{operation}\",table=\"{table}\"}}");
        let bytes = get(&format!("cdc_agent_record_bytes_total{labels}"));
        assert!(bytes > 50.0, "{table} {operation}: {bytes} bytes");
        get(&format!("cdc_agent_records_total{labels}"))
    };
    let counts = ["read", "create", "update", "delete"].map(|op| count("public.items", op));
    assert_eq!(counts.map(|count| format!("{count}")), ["7", "20", "5", "1"]);
    assert!((count("public.o\\\"dd", "create") - 1.0).abs() < 0.1);
    assert!((get("cdc_agent_snapshot_rows{table=\"public.items\"}") - 7.0).abs() < 0.1);
    let left_out = get("cdc_agent_tables_left_out{reason=\"no usable identity\"}");
    assert!((left_out - 1.0).abs() < 0.1, "{left_out}");
    // What the source itself says of the slot.
    let now = source::slot(&postgres, name).expect("the slot is there");
    assert!(slot("confirmed_flush_lsn") >= slot("restart_lsn"), "{text}");
    assert!(slot("restart_lsn") > 0.0 && slot("current_lsn") <= now.current as f64, "{text}");
    assert!(slot("lag_bytes") < 100_000.0, "{text}");
    assert!(slot("lag_seconds") < 1.0, "{text}");
    let safe = slot("safe_wal_bytes");
    assert!(safe > 1e6 && safe < 512e6, "{safe}");
    get("cdc_agent_slot_wal_status{slot=\"metrics\",wal_status=\"reserved\"}");
    assert!((slot("active") - 1.0).abs() < 0.1);
    // Tombstones, states and schemas are acknowledged too; one delivery of each batch is timed.
    assert!(get("cdc_agent_acknowledged_records_total") >= 34.0, "{text}");
    assert!(get("cdc_agent_delivery_seconds_count") >= 3.0, "{text}");
    let mean = get("cdc_agent_delivery_seconds_sum") / get("cdc_agent_delivery_seconds_count");
    assert!(mean > 0.0 && mean < 30.0, "{mean}");
    let idle = [get("cdc_agent_source_queue_bytes"), get("cdc_agent_reconnects_total")];
    assert!(idle.iter().all(|value| value.abs() < 0.1), "{idle:?}");

    // Behind, and telling so.
    kafka.freeze();
    postgres.execute(name, "INSERT INTO items SELECT n, 'z' FROM generate_series(100, 9000) n");
    std::thread::sleep(Duration::from_secs(3));
    let scraped = agent.metrics().expect("the port answers");
    let samples = parse_metrics(&scraped.body);
    let slot = |metric: &str| samples[&format!("cdc_agent_slot_{metric}{{slot=\"metrics\"}}")];
    let (bytes, seconds) = (slot("lag_bytes"), slot("lag_seconds"));
    say(name, format_args!("frozen for 3 s: behind by {bytes} bytes and {seconds} s"));
    assert!(bytes > 500_000.0, "{bytes}");
    assert!(seconds > 2.0 && seconds < 30.0, "{seconds}");
    assert!(scraped.metric("cdc_agent_publisher_queue_records") > Some(100.0));
    kafka.thaw();
    source::wait_caught_up(&postgres, &mut agent, name, run::SOON);
    agent
        .wait(run::SOON, "no lag", |agent| agent.metric("cdc_agent_slot_lag_seconds") == Some(0.0));
    agent.stop();

    every_metric_bears_labels(&postgres, &kafka, name);
}

/// What a scrape says of a metric is the manual's sentence.
fn texts_are_those_of_the_manual(scraped: &str) {
    let manual = std::fs::read_to_string("docs/metrics.md").expect("the manual is there");
    for help in scraped.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = help.split_once(' ').expect("a name and a text");
        let row = manual.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the manual")).replace('`', "");
        let sentence = help.trim_end_matches('.');
        assert!(row.contains(&format!("| {sentence}")), "{name}: {help}\n{row}");
    }
}

/// Those that are asked for by `custom.metric.tags`.
fn every_metric_bears_labels(postgres: &Postgres, kafka: &Kafka, name: &str) {
    let options = AgentOptions::new(&postgres.dsn(name), kafka, name);
    let mut agent = Agent::start(options.set("custom.metric.tags", "team=a b"));
    agent.wait_streaming(run::SOON);
    let text = agent.metrics().expect("the port answers").body;
    let labelled = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(labelled > 30, "{text}");
    assert_eq!(text.matches("{team=\"a b\"").count(), labelled, "{text}");
    assert!(
        parse_metrics(&text).contains_key("cdc_agent_source_up{team=\"a b\",slot=\"metrics\"}")
    );
    agent.stop();
}
