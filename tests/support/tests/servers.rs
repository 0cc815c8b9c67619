//! The servers themselves: they start, die, freeze and come back with their data.

#![allow(clippy::print_stdout, reason = "timings are for the reader of the log")]

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::kafka::KafkaOptions;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;

#[test]
fn every_postgres_version_starts_and_survives_a_kill() {
    for version in [14, 15, 16, 17, 18] {
        let began = Instant::now();
        let mut server = Postgres::start(version);
        let started = began.elapsed();
        let number = server.query_one("postgres", "SHOW server_version_num").expect("a number");
        assert_eq!(number.parse::<u32>().expect("a number") / 10_000, version);
        assert_eq!(server.query_one("postgres", "SHOW wal_level").as_deref(), Some("logical"));

        server.create_database("shop");
        server
            .execute("shop", "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 99)");
        let slot = "SELECT pg_create_logical_replication_slot('s', 'pgoutput')";
        server.execute("shop", slot);

        let began = Instant::now();
        server.kill();
        assert!(server.try_client("shop").is_err(), "nobody answers after a kill");
        server.start_again();
        let recovered = began.elapsed();
        assert_eq!(server.query_one("shop", "SELECT count(*) FROM t").as_deref(), Some("99"));
        let slots = "SELECT count(*) FROM pg_replication_slots";
        assert_eq!(server.query_one("shop", slots).as_deref(), Some("1"));

        let stopped = server.stop_fast(Duration::from_secs(20)).expect("nothing holds it up");
        println!("PostgreSQL {version}: start {started:?}, again {recovered:?}, stop {stopped:?}");
    }
}

#[test]
fn a_frozen_postgres_is_silent_and_thaws() {
    let server = Postgres::start(15);
    server.execute("postgres", "CREATE TABLE t (a int)");
    server.freeze();
    let (answer, answers) = sync_channel(1);
    let dsn = server.dsn("postgres");
    let asking = thread::spawn(move || {
        let client = postgres::Client::connect(&dsn, postgres::NoTls);
        answer.send(client.is_ok()).expect("the test waits");
    });
    let silence = answers.recv_timeout(Duration::from_secs(1));
    assert!(silence.is_err(), "the kernel takes the connection, the server does not answer");
    server.thaw();
    assert!(answers.recv_timeout(Duration::from_secs(10)).expect("an answer"), "thawed");
    asking.join().expect("it has answered");
    server.execute("postgres", "INSERT INTO t VALUES (1)");
}

#[test]
fn settings_hba_and_tls_take_effect() {
    let options = PostgresOptions::new(15)
        .setting("wal_level", "replica")
        .hba("host all locked_out 127.0.0.1/32 reject")
        .hba("hostssl all by_certificate 127.0.0.1/32 cert")
        .tls();
    let server = Postgres::with(options);
    assert_eq!(server.query_one("postgres", "SHOW wal_level").as_deref(), Some("replica"));
    assert_eq!(server.query_one("postgres", "SHOW ssl").as_deref(), Some("on"));
    server.execute("postgres", "CREATE ROLE locked_out LOGIN");
    let dsn = server.dsn("postgres").replace("postgres@", "locked_out@");
    let refused = postgres::Client::connect(&dsn, postgres::NoTls);
    let error = refused.err().expect("pg_hba.conf rejects it").to_string();
    assert!(error.contains("db error") || error.contains("rejects"), "{error}");
    server.set("work_mem", "123kB");
    assert_eq!(server.query_one("postgres", "SHOW work_mem").as_deref(), Some("123kB"));
    for file in [&server.certificates().ca, &server.certificates().client_key] {
        assert!(file.exists(), "{}", file.display());
    }
}

#[test]
fn nothing_is_left_after_a_drop() {
    let server = Postgres::start(15);
    let (pid, dir) = (server.pid(), server.socket_dir().to_path_buf());
    server.freeze();
    drop(server);
    assert!(!process::is_running(pid), "the postmaster is gone");
    assert!(!dir.exists(), "{} is gone", dir.display());
}

#[test]
fn kafka_keeps_topics_over_a_kill_and_a_freeze() {
    let began = Instant::now();
    let mut kafka = Kafka::with(KafkaOptions::default().property("message.max.bytes", "123456"));
    let started = began.elapsed();
    kafka.create_topic("a.b.c", 3, &[("cleanup.policy", "compact")]);
    kafka.create_topic("gone", 1, &[]);
    kafka.delete_topic("gone");
    let topics: Vec<(String, usize)> = kafka.topics().into_iter().collect();
    assert_eq!(topics, [("a.b.c".to_owned(), 3)]);
    let config = kafka.topic_config("a.b.c");
    assert_eq!(config.get("cleanup.policy").map(String::as_str), Some("compact"));
    assert_eq!(config.get("max.message.bytes").map(String::as_str), Some("123456"));

    let began = Instant::now();
    kafka.kill();
    kafka.start_again();
    let again = began.elapsed();
    assert_eq!(kafka.topics().len(), 1);
    kafka.create_topic("after.a.kill", 1, &[]);
    let ready = began.elapsed();

    kafka.freeze();
    std::thread::sleep(Duration::from_secs(4));
    kafka.thaw();
    kafka.create_topic("after.a.freeze", 1, &[]);
    let began = Instant::now();
    kafka.stop();
    println!(
        "Kafka: start {started:?}, again {again:?} (ready {ready:?}), stop {:?}",
        began.elapsed()
    );
}
