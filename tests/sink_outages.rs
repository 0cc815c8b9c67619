//! Goal: an outage of either side is survived however long it is, and is told for what it is.
//!
//! Method: records made by hand, a real Kafka and a real PostgreSQL that are stopped, for longer than
//! a start may take and for several attempts; readiness and metrics while they are away and after.
//! A load that takes longer than a loop may stand still, and a lock that a reader holds.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "progress is shown to a person")]

mod run;
mod sink;

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process::wait_until;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;

use run::Agent;
use run::AgentOptions;
use sink::Play;
use sink::Sink;
use sink::SinkOptions;
use sink::produce;
use sink::produce::Made;
use sink::records::create;
use sink::records::row;
use sink::scene;
use sink::warehouse::Kind;

const SOON: Duration = Duration::from_secs(60);
const TOPIC: &str = "outages";

fn made(numbers: std::ops::Range<i32>) -> Vec<Made> {
    let one = |id: i32| create(&format!("1:{}:0:0", 1000 + id), &row(id, "x", ""));
    numbers.map(one).collect()
}

fn count(warehouse: &Postgres) -> Option<String> {
    let mut client = warehouse.try_client("warehouse").ok()?;
    let rows = client.query_one("SELECT count(*)::text FROM made.items", &[]).ok()?;
    rows.get(0)
}

fn wait_rows(sink: &mut Sink, warehouse: &Postgres, rows: &str) {
    wait_until(SOON, &format!("{rows} rows in the warehouse"), || {
        sink.assert_running();
        count(warehouse).as_deref() == Some(rows)
    });
}

/// Waits until nothing is behind, and both sides are said to be there.
fn wait_well(sink: &mut Sink) {
    sink.wait_ready(200, SOON);
    wait_until(SOON, "the metrics of a sink that is well", || {
        sink.metric("cdc_sink_kafka_up") == Some(1.0)
            && sink.metric("cdc_sink_warehouse_up") == Some(1.0)
            && sink.metric("cdc_sink_lag_seconds") == Some(0.0)
    });
}

#[test]
fn an_outage_of_the_warehouse_or_of_kafka_is_waited_out_and_told() {
    let mut kafka = Kafka::start();
    kafka.create_topic(TOPIC, 2, &[]);
    let mut warehouse = Postgres::system();
    warehouse.create_database("warehouse");
    let options = SinkOptions::new(&kafka.bootstrap(), TOPIC, &warehouse.dsn("warehouse"))
        .set("startup.timeout.ms", "1000");
    // An outage must not be taken for one of the start, which may take a second.
    let began = Instant::now();
    let mut sink = Sink::start(options);
    produce::send(&kafka, TOPIC, &made(0..5));
    wait_rows(&mut sink, &warehouse, "5");
    wait_well(&mut sink);
    wait_until(SOON, "the time of the start to be over", || {
        began.elapsed() > Duration::from_secs(2)
    });

    warehouse.kill();
    produce::send(&kafka, TOPIC, &made(5..10));
    let reason = sink.wait_ready(503, SOON);
    assert!(reason.contains("warehouse"), "{reason}");
    wait_until(SOON, "several attempts, and a lag that grows", || {
        sink.assert_running();
        let lag = sink.metric("cdc_sink_lag_seconds");
        sink.metric("cdc_sink_retries_total{kind=\"warehouse\"}") >= Some(4.0) && lag > Some(3.0)
    });
    assert_eq!(sink.metric("cdc_sink_warehouse_up"), Some(0.0));
    assert_eq!(sink.metric("cdc_sink_kafka_up"), Some(1.0));
    assert_eq!(sink.ready().map(|ready| ready.0), Some(503));
    warehouse.start_again();
    wait_rows(&mut sink, &warehouse, "10");
    wait_well(&mut sink);
    // A failover: for a while there is only a server that takes no writes.
    warehouse.stop_fast(SOON).expect("it stops");
    let standby = warehouse.data_dir().join("standby.signal");
    std::fs::write(&standby, "").unwrap();
    warehouse.own(&standby);
    warehouse.start_again();
    produce::send(&kafka, TOPIC, &made(10..12));
    wait_until(SOON, "the sink to say that the warehouse is in recovery", || {
        sink.assert_running();
        sink.ready().is_some_and(|(status, text)| status == 503 && text.contains("recovery"))
    });
    warehouse.execute("postgres", "SELECT pg_promote()");
    wait_rows(&mut sink, &warehouse, "12");
    wait_well(&mut sink);
    let log = sink.log();
    assert!(!log.contains("the group is shared out anew"), "it stayed in its group:\n{log}");
    assert!(log.contains("the warehouse takes records again"), "{log}");

    kafka.stop();
    let reason = sink.wait_ready(503, SOON);
    assert!(reason.contains("Kafka"), "{reason}");
    assert_eq!(sink.metric("cdc_sink_kafka_up"), Some(0.0));
    assert_eq!(sink.metric("cdc_sink_warehouse_up"), Some(1.0));
    assert_eq!(sink.metric("cdc_sink_lag_seconds"), None, "nobody knows");
    let lag_of =
        |sink: &Sink| sink.metrics().is_some_and(|all| all.body.contains("\ncdc_sink_lag_"));
    assert!(!lag_of(&sink), "a lag of partitions is shown that nobody knows");
    kafka.start_again();
    produce::send(&kafka, TOPIC, &made(12..15));
    wait_rows(&mut sink, &warehouse, "15");
    wait_well(&mut sink);
    sink.stop();
}

/// Without Kafka an outage of the warehouse is told as the warehouse's: the source answers all the
/// time, and how much WAL its slot retains is shown while nothing is released.
#[test]
fn an_outage_of_the_warehouse_without_kafka_is_not_told_as_the_sources() {
    let name = "direct_outage";
    let source = scene::server();
    source.create_database(name);
    source.execute(name, "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)");
    let mut warehouse = Postgres::system();
    warehouse.create_database("warehouse");
    let options = AgentOptions::to_lines(&source.dsn(name), &warehouse.dsn("warehouse"), name);
    let mut agent = Agent::start(options.set("startup.timeout.ms", "1000"));
    agent.wait_streaming(SOON);
    let is_ready = |agent: &Agent, status: u16| {
        agent.get("/health/ready").is_ok_and(|ready| ready.status == status)
    };
    agent.wait(SOON, "readiness", |agent| is_ready(agent, 200));
    assert_eq!(agent.metric("cdc_agent_destination_up"), Some(1.0));
    assert_eq!(agent.metric("cdc_sink_warehouse_up"), Some(1.0));
    assert_eq!(agent.metric("cdc_sink_kafka_up"), None, "there is no Kafka");

    warehouse.kill();
    source.execute(name, "INSERT INTO items SELECT n FROM generate_series(2, 1000) n");
    agent.wait(SOON, "the warehouse to be said to be down", |agent| is_ready(agent, 503));
    let began = Instant::now();
    agent.wait(SOON, "several attempts", |agent| {
        let ready = agent.get("/health/ready").unwrap();
        assert_eq!(ready.status, 503, "nothing was applied since");
        assert!(ready.body.contains("warehouse"), "{}", ready.body);
        assert_eq!(agent.metric("cdc_agent_source_up"), Some(1.0), "the source answers");
        assert_eq!(agent.metric("cdc_agent_destination_up"), Some(0.0));
        assert!(agent.metric("cdc_agent_slot_kept_wal_bytes").is_some(), "the slot is seen");
        let errors =
            agent.metric("cdc_agent_errors_total{kind=\"destination\",slot=\"direct_outage\"}");
        errors >= Some(4.0) && began.elapsed() > Duration::from_secs(5)
    });
    assert_eq!(agent.metric("cdc_sink_warehouse_up"), Some(0.0));
    assert!(agent.metric("cdc_sink_lag_seconds") > Some(4.0), "it grows while nothing is applied");
    warehouse.start_again();
    agent.wait(SOON, "readiness", |agent| is_ready(agent, 200));
    let rows = "SELECT count(*)::text FROM public.items";
    wait_until(SOON, "all rows", || {
        warehouse.query_one("warehouse", rows).as_deref() == Some("1000")
    });
    agent.wait(SOON, "everything to be well", |agent| {
        agent.metric("cdc_sink_lag_seconds") == Some(0.0)
            && agent.metric("cdc_agent_destination_up") == Some(1.0)
            && agent.metric("cdc_sink_warehouse_up") == Some(1.0)
    });
    agent.stop();
}

/// A trigger of the reader's makes a load longer than a loop may stand still and than the group
/// waits for a poll: the process lives, says what it does, and stays in its group.
#[test]
fn a_load_that_takes_long_is_no_reason_to_take_the_process_for_dead() {
    let play = Play::new("long_load", Kind::Postgres, 1);
    let options = (play.options.clone())
        .set("consumer.max.poll.interval.ms", "6000")
        .set("consumer.session.timeout.ms", "6000");
    play.apply(&made(0..1));
    play.store.execute(
        "CREATE FUNCTION made.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM \
         pg_sleep(33); RETURN NEW; END $$; CREATE TRIGGER slow BEFORE INSERT ON made.items FOR \
         EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION made.slow()",
    );
    let mut sink = Sink::start(options);
    sink.wait_ready(200, SOON);
    play.send(&made(1..2));
    wait_until(SOON, "a load of half a minute", || {
        sink.assert_running();
        sink.metric("cdc_sink_load_seconds") > Some(31.0)
    });
    assert_eq!(sink.live(), Some(200));
    let ready = sink.ready().unwrap_or_default();
    assert!(ready.1.contains("loading for 3"), "{ready:?}");
    assert!(sink.metric("cdc_sink_lag_seconds") > Some(25.0), "what is loaded is not applied");
    play.send(&made(2..3));
    wait_until(SOON, "what came while it was loading", || play.rows().len() == 3);
    wait_well(&mut sink);
    let log = sink.log();
    for word in ["shared out anew", "exceeded", "was taken by another"] {
        assert!(!log.contains(word), "it was taken for dead ({word}):\n{log}");
    }
    sink.stop();
}

fn with_a_new_column() -> Made {
    let mut made = create("1:2000:0:0", r#"{"id":1,"a":"x","big":"","c":"y"}"#);
    let last = r#""field":"big"}]"#;
    let more = r#""field":"big"},{"type":"string","optional":true,"field":"c"}]"#;
    made.value = made.value.map(|value| value.replace(last, more));
    made
}

/// Who only waits for a lock keeps all others from the table that come later.
#[test]
fn a_change_of_a_table_that_is_being_read_does_not_keep_other_readers_waiting() {
    let play = Play::new("read_meanwhile", Kind::Postgres, 1);
    play.apply(&made(0..1));
    let mut reader = scene::server().client(&play.topic);
    reader.batch_execute("BEGIN; SELECT * FROM made.items").unwrap();
    let mut sink = Sink::start(play.options.clone());
    play.send(&[with_a_new_column()]);
    wait_until(SOON, "the sink to say who is in the way", || {
        sink.assert_running();
        sink.ready().is_some_and(|(status, text)| status == 503 && text.contains("lock"))
    });
    assert_eq!(sink.metric("cdc_sink_warehouse_up"), Some(1.0), "it is only locked");
    let mut other = scene::server().client(&play.topic);
    other.batch_execute("SET statement_timeout = '20s'; SELECT * FROM made.items").unwrap();
    reader.batch_execute("COMMIT").unwrap();
    let columns = "SELECT c FROM made.items WHERE id = 1";
    let has_column = "SELECT count(*)::text FROM pg_attribute WHERE attname = 'c' AND \
                      attrelid = 'made.items'::regclass";
    wait_until(SOON, "the new column", || play.store.one(has_column).as_deref() == Some("1"));
    wait_until(SOON, "its value", || play.store.one(columns).as_deref() == Some("y"));
    wait_well(&mut sink);
    sink.stop();
}

/// Sends a request as it stands and gives the whole answer.
fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn post(port: u16, headers: &str, sql: &str) -> String {
    let length = sql.len();
    raw(
        port,
        &format!(
            "POST /v1/query HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: \
             {length}\r\n\r\n{sql}"
        ),
    )
}

#[test]
fn the_port_of_a_live_file_cannot_be_used_against_its_owner() {
    let play = Play::new("live_file", Kind::DuckDb, 1);
    let mut sink = Sink::start(play.options.clone());
    play.send(&made(0..2));
    wait_until(SOON, "two rows", || sink.metric("cdc_sink_batches_total") >= Some(1.0));
    let port = sink.port();
    let local = "Host: localhost\r\n";
    let ask = |sql: &str| post(port, local, sql);
    let rows = ask("SELECT count(*) FROM made.items");
    assert!(rows.starts_with("HTTP/1.1 200") && rows.contains("[[2]]"), "{rows}");

    for headers in [
        "Host: evil.example\r\n",
        "Host: evil.example:8384\r\nOrigin: http://evil.example:8384\r\n",
        "Host: localhost\r\nOrigin: http://evil.example\r\nContent-Type: text/plain\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        let answer = post(port, headers, "SELECT * FROM made.items");
        assert!(answer.starts_with("HTTP/1.1 403"), "{headers}: {answer}");
        assert!(!answer.contains("rows"), "{answer}");
    }
    let metrics =
        raw(port, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(metrics.starts_with("HTTP/1.1 403") && !metrics.contains("cdc_sink"), "{metrics}");

    let log = "SELECT * FROM enable_logging(storage := 'file', storage_path := '/nowhere')";
    let refused = ask(log);
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(refused.contains(r#"{"error":"enable_logging() is not answered here"#), "{refused}");
    assert!(ask("SELECT 1").contains("[[1]]"), "and nobody after it has to pay");
    let csv =
        post(port, "Host: localhost\r\nAccept: text/csv\r\n", "SELECT id FROM items ORDER BY 1");
    assert!(csv.contains("text/csv") && csv.ends_with("id\r\n0\r\n1\r\n"), "{csv}");

    let get =
        |path: &str| raw(port, &format!("GET {path} HTTP/1.1\r\n{local}Connection: close\r\n\r\n"));
    let index = get("/");
    assert!(index.starts_with("HTTP/1.1 200") && index.contains("/v1/tables"), "{index}");
    let nothing = get("/healthz");
    assert!(nothing.starts_with("HTTP/1.1 404") && nothing.contains("error"), "{nothing}");
    let method = get("/v1/query");
    assert!(method.starts_with("HTTP/1.1 405") && method.contains("POST"), "{method}");
    sink.assert_running();
    sink.stop();
}
