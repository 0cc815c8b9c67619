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
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::process::Child;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use cdc_agent::capture::publisher::Batch;
use cdc_agent::capture::publisher::KafkaPublisher;
use cdc_agent::capture::publisher::PublishError;
use cdc_agent::capture::publisher::Publisher;
use cdc_agent::capture::publisher::PublisherSettings;
use cdc_agent::capture::publisher::Receipt;
use cdc_agent::capture::publisher::Record;
use cdc_agent::capture::publisher::Route;
use cdc_agent::capture::publisher::RouteId;
use cdc_agent::capture::publisher::TopicCreation;
use cdc_agent::capture::publisher::TopicGroup;
use cdc_agent::kafka::KafkaSettings;
use cdc_agent::telemetry::Metrics;
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
    let connecting = |line: &String| line.starts_with("STATUS=") && line.contains("connect");
    assert!(heard.iter().any(connecting), "{heard:?}");
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

/// A publisher of the library itself, which holds one record at most.
struct FullPublisher {
    publisher: KafkaPublisher,
    // What its requests run on.
    _runtime: tokio::runtime::Runtime,
}

impl FullPublisher {
    fn connect(kafka: &Kafka) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("there are threads");
        let default = TopicGroup {
            include: Vec::new(),
            exclude: Vec::new(),
            partitions: 1,
            replication_factor: -1,
            config: Vec::new(),
        };
        let settings = PublisherSettings {
            kafka: KafkaSettings { brokers: kafka.bootstrap(), client: Vec::new() },
            producer: Vec::new(),
            queue_bytes: 1,
            topics: TopicCreation { enabled: true, groups: Vec::new(), default },
        };
        let metrics = Metrics::new("full");
        let handle = runtime.handle().clone();
        let publisher = KafkaPublisher::connect(settings, handle, metrics, run::SOON);
        Self { publisher: publisher.expect("the broker answers"), _runtime: runtime }
    }

    fn route(&self, topic: &str, internal: bool) -> RouteId {
        let route = Route { topic: topic.to_owned(), internal, ..Route::default() };
        self.publisher.route(route).expect("the name is good")
    }

    fn send(&self, route: RouteId, go_on: &dyn Fn() -> bool) -> Result<(), PublishError> {
        let receipt = Receipt::Nobody;
        let (key, value, header) = (Some(0..1), Some(1..2), None);
        let record = Record { route, key, value, header, literal: None, position: None, receipt };
        self.publisher.send(Batch { bytes: b"kv", records: &[record] }, go_on)
    }

    /// One thread waits for room, as the encoder and the heartbeat do; another one makes a table
    /// ready, and the one that polls stores state.
    fn a_sender_that_waits_keeps_nobody_else_waiting(&self) {
        let (first, internal) = (self.route("full", false), self.route("full.state", true));
        self.send(first, &|| true).expect("there is room for one");
        let (waits, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                self.send(first, &|| {
                    waits.store(true, Ordering::Relaxed);
                    !stop.load(Ordering::Relaxed)
                })
            });
            process::wait_until(run::SOON, "the sender to wait", || waits.load(Ordering::Relaxed));
            let (done, others) = std::sync::mpsc::sync_channel(2);
            let registered = done.clone();
            scope.spawn(move || {
                self.route("another table", false);
                registered.send(()).ok();
            });
            scope.spawn(move || {
                self.send(internal, &|| true).expect("an internal record needs no room");
                done.send(()).ok();
            });
            for _ in 0..2 {
                others.recv_timeout(run::SOON).expect("nobody waits for the sender that waits");
            }
            stop.store(true, Ordering::Relaxed);
            let ended = waiting.join().expect("no thread panics");
            assert_eq!(ended, Err(PublishError::Stopped));
        });
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

    let full = FullPublisher::connect(&kafka);
    kafka.freeze();
    full.a_sender_that_waits_keeps_nobody_else_waiting();
    drop(full);
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

/// The reader of a pipe takes its time: the agent lives, says why nothing goes on, stops at once, and
/// has torn no line when the reader goes on.
#[test]
fn a_reader_of_stdout_that_pauses_holds_up_nothing_but_its_records() {
    let name = "paused";
    let postgres = run::shared_postgres(15);
    postgres.create_database(name);
    postgres.execute(name, "CREATE TABLE items (id int PRIMARY KEY, v text)");
    let program = run::program::Program::new("paused");
    let state = program.dir().join("state");
    let start = || {
        let mut command = program.command(env!("CARGO_BIN_EXE_cdc-agent"), "CDC_AGENT_", &[]);
        command.args(["--dsn", &postgres.dsn(name), "--slot", name, "--to", "stdout"]);
        command.args(["--state", state.to_str().expect("a plain path")]);
        command.args(["--http", &format!("127.0.0.1:{}", program.port())]);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts")
    };
    let mut agent = start();
    let is_ready = |status: u16, part: &str| {
        program
            .get("/health/ready")
            .is_ok_and(|ready| ready.status == status && ready.body.contains(part))
    };
    process::wait_until(run::SOON, "the stream", || is_ready(200, "streaming"));
    let rows = "INSERT INTO items SELECT n, repeat('x', 200) FROM generate_series(1, 5000) n";
    postgres.execute(name, rows);
    process::wait_until(run::SOON, "it to say what it waits for", || {
        is_ready(503, "stdout has acknowledged nothing")
    });
    let encoder = "cdc_agent_destination_up";
    let scraped = program.metrics().expect("the port answers");
    assert_eq!(scraped.metric(encoder), Some(0.0), "{}", scraped.body);
    assert_eq!(program.get("/health/live").expect("the port answers").status, 200);
    let began = Instant::now();
    terminate(&agent);
    let mut read = String::new();
    let status = wait_exit(&mut agent, Duration::from_secs(5));
    say(name, format_args!("the reader pauses: {:?}, {status}", began.elapsed()));
    assert!(status.success(), "{status}");
    agent.stdout.take().expect("it is piped").read_to_string(&mut read).expect("it is text");
    let ids = |read: &str| -> Vec<u64> {
        let whole = read.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let value =
            |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("a whole line") };
        whole.filter_map(|line| value(line)["value"]["after"]["id"].as_u64()).collect()
    };
    assert!(ids(&read).len() < 5000, "all of it was taken");

    let mut agent = start();
    let mut lines = BufReader::new(agent.stdout.take().expect("it is piped"));
    let mut again = String::new();
    while !ids(&again).contains(&5000) {
        again.clear();
        lines.read_line(&mut again).expect("it is text");
        read.push_str(&again);
    }
    terminate(&agent);
    assert!(wait_exit(&mut agent, Duration::from_secs(10)).success());
    let unique: BTreeSet<u64> = ids(&read).into_iter().collect();
    assert_eq!(unique.len(), 5000);
}

fn terminate(agent: &Child) {
    let done = std::process::Command::new("kill").arg(agent.id().to_string()).status();
    assert!(done.expect("kill is there").success());
}

#[track_caller]
fn wait_exit(agent: &mut Child, timeout: Duration) -> ExitStatus {
    let mut status = None;
    process::wait_until(timeout, "the agent to end", || {
        status = agent.try_wait().expect("it is a child");
        status.is_some()
    });
    status.expect("it has ended")
}

/// Rows of 24 MiB in a column that is left out: what they took is given back.
#[test]
fn memory_of_large_rows_is_given_back() {
    let name = "large";
    let postgres = run::shared_postgres(15);
    postgres.create_database(name);
    postgres.execute(name, "CREATE TABLE items (id int PRIMARY KEY, v text)");
    let options = AgentOptions::to_lines(&postgres.dsn(name), "file:lines", name);
    let mut agent = Agent::start(options.set("column.exclude.list", "public.items.v"));
    agent.wait_streaming(run::SOON);
    let memory = |agent: &Agent| agent.metric("process_resident_memory_bytes").unwrap_or(0.0) / 1e6;
    let before = memory(&agent);
    for id in 1..=12 {
        let row = format!("INSERT INTO items VALUES ({id}, repeat('x', 24 << 20))");
        postgres.execute(name, &row);
    }
    source::wait_caught_up(postgres, &mut agent, name, run::LONG);
    postgres.execute(name, "INSERT INTO items SELECT generate_series(100, 5000), 'x'");
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    let after = memory(&agent);
    say(name, format_args!("{before:.0} MB before 12 rows of 25 MB, {after:.0} MB after"));
    assert!(before > 1.0 && after < before + 80.0, "{before} MB before, {after} MB after");
    agent.stop();
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
