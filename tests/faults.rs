//! Goal: whatever happens to the servers, to the slot and to what belongs to it, nothing is lost in
//! silence: the agent either goes on and brings everything, or it stops with an error that names the
//! object and the remedy, and never makes the user's database worse.
//!
//! Method: real servers, each fault done as an operator or an accident would do it; then either
//! every table rebuilt from its topic equals the source (`run::judge`), or exit status and message
//! are compared. Tests that harm a server have one of their own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "seeds and progress are shown to a person")]

#[path = "faults/identities.rs"]
mod identities;
mod run;

#[path = "faults/failover.rs"]
mod failover;
#[path = "faults/members.rs"]
mod members;
#[path = "faults/owner.rs"]
mod owner;
#[path = "faults/state_topic.rs"]
mod state_topic;
#[path = "faults/sessions.rs"]
mod sessions;

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::process::Signal;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use cdc_testkit::servers::postgres::bin_dir;
use cdc_testkit::shop;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;

use run::Agent;
use run::AgentOptions;
use run::judge::judge;
use run::say;
use run::source;

/// A table of ten rows in a database of its own, captured into the shared broker.
struct Small<'a> {
    postgres: &'a Postgres,
    /// Database, slot, publication and topic prefix.
    name: &'static str,
    agent: Agent,
}

/// The table of [`Small`].
const ITEMS: &str = "public.items";

impl<'a> Small<'a> {
    /// Everything but the agent.
    fn database(postgres: &Postgres, name: &str) {
        postgres.create_database(name);
        postgres.execute(
            name,
            "CREATE TABLE items (id int PRIMARY KEY, v text); \
             INSERT INTO items SELECT n, 'before' FROM generate_series(1, 10) AS n",
        );
    }

    /// The agent has read the table, streams and has confirmed everything.
    fn new(postgres: &'a Postgres, name: &'static str) -> Self {
        Self::with(postgres, name, |options| options)
    }

    fn with(
        postgres: &'a Postgres,
        name: &'static str,
        change: impl FnOnce(AgentOptions) -> AgentOptions,
    ) -> Self {
        Self::database(postgres, name);
        Self::of_database(postgres, name, change)
    }

    /// The same with a database that is there.
    fn of(postgres: &'a Postgres, name: &'static str) -> Self {
        Self::of_database(postgres, name, |options| options)
    }

    fn of_database(
        postgres: &'a Postgres,
        name: &'static str,
        change: impl FnOnce(AgentOptions) -> AgentOptions,
    ) -> Self {
        let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
        let mut small = Self { postgres, name, agent: Agent::start(change(options)) };
        small.agent.wait_streaming(run::SOON);
        small.insert(11, 20);
        small.wait_caught_up();
        small
    }

    fn execute(&self, sql: &str) {
        self.postgres.execute(self.name, sql);
    }

    fn insert(&self, from: u32, to: u32) {
        self.execute(&format!(
            "INSERT INTO items SELECT n, 'x' FROM generate_series({from}, {to}) n"
        ));
    }

    fn wait_caught_up(&mut self) {
        source::wait_caught_up(self.postgres, &mut self.agent, self.name, run::SOON);
    }

    /// Catches up, stops the agent and judges the topics.
    fn assert_equal(mut self, tables: &[&str]) {
        self.wait_caught_up();
        self.agent.stop();
        let verdict = judge(run::shared_kafka(), self.name);
        say(self.name, &verdict);
        verdict.assert_sound_and_equal(self.postgres, self.name, tables);
    }
}

/// The reader has brought the end of one transaction and a change of shape in the next one, about
/// which the catalog is asked just when the server is gone.
#[test]
fn a_question_that_fails_loses_no_transaction_that_has_ended() {
    let name = "failed_question";
    let mut postgres = Postgres::start(15);
    Small::database(&postgres, name);
    postgres.execute(name, "CREATE TABLE other (id int PRIMARY KEY)");
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::SOON);
    postgres.execute(name, "INSERT INTO other VALUES (1)");
    source::wait_caught_up(&postgres, &mut agent, name, run::SOON);

    agent.daemon().freeze();
    postgres.execute(name, "INSERT INTO items VALUES (100, 'in the ledger')");
    postgres.execute(name, "ALTER TABLE other ADD v text; UPDATE other SET v = 'new'");
    let sent = "SELECT sent_lsn >= pg_current_wal_lsn() FROM pg_stat_replication";
    process::wait_until(run::SOON, "both to be sent", || {
        postgres.query_one(name, sent).as_deref() == Some("t")
    });
    postgres.kill();
    agent.daemon().thaw();
    agent.wait(run::SOON, "the agent to notice", |agent| agent.logged("trying again"));
    postgres.start_again();
    postgres.execute(name, "INSERT INTO items VALUES (101, 'later')");
    source::wait_caught_up(&postgres, &mut agent, name, run::SOON);
    agent.stop();
    let verdict = judge(run::shared_kafka(), name);
    verdict.assert_sound_and_equal(&postgres, name, &[ITEMS, "public.other"]);
}

/// With `sslmode=prefer` the agent first asks for TLS, which the server does not have, and then
/// connects without.
#[test]
fn a_server_that_dies_between_two_ways_to_connect_does_not_lack_tls() {
    let name = "two_ways";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    let proxy = run::proxy::Proxy::start(postgres.port());
    proxy.refuse_plain(true);
    let dsn = format!("postgres://postgres@127.0.0.1:{}/{name}", proxy.port());
    let mut agent = Agent::start(AgentOptions::new(&dsn, run::shared_kafka(), name));
    agent.wait(run::SOON, "the agent to try again", |_| proxy.refused() >= 3);
    proxy.refuse_plain(false);
    agent.wait_streaming(run::SOON);
    agent.stop();
}

// The broker.

/// It lies frozen while the shop is written to as fast as it can be.
#[test]
fn a_frozen_broker_holds_up_nothing_but_the_records() {
    let test = "frozen broker";
    let options = PostgresOptions::new(15).setting("wal_sender_timeout", "3s");
    let mut postgres = Postgres::with(options);
    postgres.create_database("shop");
    shop::create(&mut postgres.client("shop"), 200);
    let kafka = run::kafka_with_append_times();
    let mut agent = Agent::start(AgentOptions::new(&postgres.dsn("shop"), &kafka, "frozen"));
    agent.wait_streaming(run::SOON);
    let simulator = Simulator::start(&postgres.dsn("shop"), SimulatorOptions::new(process::seed()));
    simulator.wait_for_changes(1_000, run::SOON);

    kafka.freeze();
    std::thread::sleep(Duration::from_secs(1));
    let frozen = Frozen::new(&postgres, &agent);
    let changes = simulator.totals().changes();
    let began = Instant::now();
    let mut unready_after = None;
    while began.elapsed() < Duration::from_secs(36) {
        frozen.check(&postgres, &agent);
        let ready = agent.get("/health/ready").expect("the port answers");
        if ready.status == 503 && unready_after.is_none() {
            say(test, format_args!("not ready after {:?}: {}", began.elapsed(), ready.body));
            assert!(ready.body.contains("acknowledged nothing"), "{}", ready.body);
            unready_after = Some(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let unready_after = unready_after.expect("it is not ready");
    assert!(unready_after < Duration::from_secs(15), "{unready_after:?}");
    let written = simulator.totals().changes() - changes;
    let rss = agent.daemon().rss_bytes() >> 20;
    let queue = agent.metric("cdc_agent_source_queue_bytes").unwrap_or(0.0);
    say(test, format_args!("{written} changes meanwhile, memory {rss} MiB, queue {queue} bytes"));
    assert!(queue > 8e6, "the queues are not full: {queue} bytes before the encoder");

    let took = postgres.stop_fast(Duration::from_secs(20)).expect("a fast stop is not held up");
    say(test, format_args!("the server stopped in {took:?}"));
    assert!(took < Duration::from_secs(8), "{took:?}");
    postgres.start_again();
    std::thread::sleep(Duration::from_secs(3));
    agent.assert_running();
    kafka.thaw();
    agent.wait(run::SOON, "the agent to be ready", |agent| {
        agent.get("/health/ready").is_ok_and(|ready| ready.status == 200)
    });
    let totals = simulator.stop();
    say(test, format_args!("thawed; {totals}"));
    source::wait_caught_up(&postgres, &mut agent, "frozen", run::LONG);
    agent.stop();
    let verdict = judge(&kafka, "frozen");
    say(test, &verdict);
    verdict.assert_sound_and_equal(&postgres, "shop", &shop::TABLES);
}

/// What must not change while the broker is frozen.
struct Frozen {
    confirmed: u64,
    walsenders: Vec<u32>,
}

/// Twice the queues' default, and what the process itself needs.
const MEMORY_MAX: u64 = (64 + 64 + 48) << 20;

impl Frozen {
    fn new(postgres: &Postgres, agent: &Agent) -> Self {
        let confirmed = source::slot(postgres, "frozen").expect("the slot is there").confirmed;
        let frozen = Self { confirmed, walsenders: postgres.walsender_pids() };
        frozen.check(postgres, agent);
        frozen
    }

    #[track_caller]
    fn check(&self, postgres: &Postgres, agent: &Agent) {
        let slot = source::slot(postgres, "frozen").expect("the slot is there");
        assert_eq!(slot.confirmed, self.confirmed, "confirmed while nothing is acknowledged");
        let walsenders = postgres.walsender_pids();
        assert!(
            slot.active && walsenders == self.walsenders,
            "the walsender has gone; the agent's log ends:\n{}\nand the server's:\n{}",
            agent.daemon().log_tail(),
            last_lines(&postgres.log())
        );
        let rss = agent.daemon().rss_bytes();
        assert!(rss < MEMORY_MAX, "the agent has {} MiB", rss >> 20);
        let live = agent.get("/health/live").expect("the port answers");
        assert_eq!(live.status, 200, "not live: {}", live.body);
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Reading tables into a frozen broker is not ready, and still alive after the time in which a loop
/// that hangs is noticed.
#[test]
fn a_broker_frozen_while_tables_are_read_is_told_and_survived() {
    let test = "frozen reading";
    let postgres = run::shared_postgres(15);
    let name = "frozen_reading";
    postgres.create_database(name);
    shop::create(&mut postgres.client(name), 2_000);
    let kafka = run::kafka_with_append_times();
    let mut agent = Agent::start(AgentOptions::new(&postgres.dsn(name), &kafka, name));
    agent.wait(run::SOON, "the agent to read", |agent| {
        agent.metric("cdc_agent_snapshot_running") == Some(1.0)
            && agent.metric("cdc_agent_acknowledged_records_total") > Some(1_000.0)
    });
    kafka.freeze();
    let began = Instant::now();
    let mut unready = None;
    while began.elapsed() < Duration::from_secs(36) {
        let ready = agent.get("/health/ready").expect("the port answers");
        if ready.status == 503 && unready.is_none() {
            unready = Some(began.elapsed());
            say(test, format_args!("not ready after {:?}: {}", began.elapsed(), ready.body));
        }
        let live = agent.get("/health/live").expect("the port answers");
        assert_eq!(live.status, 200, "not live after {:?}: {}", began.elapsed(), live.body);
        std::thread::sleep(Duration::from_millis(500));
    }
    let unready = unready.expect("it is not ready");
    assert!(unready < Duration::from_secs(15), "{unready:?}");
    kafka.thaw();
    agent.wait_streaming(run::SOON);
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    agent.stop();
    let verdict = judge(&kafka, name);
    verdict.assert_sound_and_equal(postgres, name, &shop::TABLES);
}

/// First the broker, then the server is away for some time.
#[test]
fn servers_that_are_away_for_a_while_are_waited_for() {
    let test = "away";
    let mut postgres = Postgres::start(15);
    postgres.create_database("shop");
    shop::create(&mut postgres.client("shop"), 100);
    let mut kafka = run::kafka_with_append_times();
    let mut agent = Agent::start(AgentOptions::new(&postgres.dsn("shop"), &kafka, "away"));
    agent.wait_streaming(run::SOON);
    let options = SimulatorOptions::new(process::seed()).rate(1_000);
    let simulator = Simulator::start(&postgres.dsn("shop"), options);
    simulator.wait_for_changes(1_000, run::SOON);
    kafka.kill();
    say(test, "the broker is away");
    std::thread::sleep(Duration::from_secs(12));
    agent.assert_running();
    let ready = agent.get("/health/ready").expect("the port answers");
    assert_eq!(ready.status, 503, "{}", ready.body);
    kafka.start_again();
    simulator.wait_for_changes(1_000, run::SOON);
    postgres.kill();
    say(test, "the server is away");
    std::thread::sleep(Duration::from_secs(6));
    agent.assert_running();
    let ready = agent.get("/health/ready").expect("the port answers");
    assert_eq!(ready.status, 503, "{}", ready.body);
    postgres.start_again();
    simulator.wait_for_changes(1_000, run::SOON);
    simulator.stop();
    source::wait_caught_up(&postgres, &mut agent, "away", run::SOON);
    agent.stop();
    let verdict = judge(&kafka, "away");
    say(test, &verdict);
    verdict.assert_sound_and_equal(&postgres, "shop", &shop::TABLES);
}

// What is confirmed without records.

/// No writes at all, then much to a table that is not captured, then much to another database: what
/// is confirmed follows, and the server keeps little for us.
fn check_idle(version: u32) {
    let test = format!("idle {version}");
    let postgres = Postgres::start(version);
    postgres.create_database("idle");
    postgres.create_database("other");
    postgres
        .execute("idle", "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)");
    let noise = "CREATE TABLE noise (id bigserial, v text)";
    postgres.execute("idle", noise);
    postgres.execute("other", noise);
    let kafka = run::shared_kafka();
    let name = format!("idle_{version}");
    let options = AgentOptions::new(&postgres.dsn("idle"), kafka, &name);
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::SOON);

    let follows = |agent: &mut Agent, what: &str| {
        let began = Instant::now();
        source::wait_caught_up(&postgres, agent, &name, Duration::from_secs(20));
        say(&test, format_args!("{what}: confirmed after {:?}", began.elapsed()));
    };
    follows(&mut agent, "no writes");
    for _ in 0..2 {
        postgres.execute("postgres", "SELECT pg_switch_wal()");
        follows(&mut agent, "an empty piece of log");
    }
    for database in ["idle", "other"] {
        for _ in 0..3 {
            postgres.execute(
                database,
                "INSERT INTO noise (v) SELECT repeat('x', 1000) FROM generate_series(1, 15000)",
            );
            follows(&mut agent, &format!("15 MB of log in database {database}"));
        }
    }
    // The oldest log that is kept moves with the server's own records of what is running.
    let began = Instant::now();
    agent.wait(run::SOON, "the server to keep little", |_| {
        postgres.execute("postgres", "CHECKPOINT");
        std::thread::sleep(Duration::from_millis(500));
        source::slot(&postgres, &name).is_some_and(|slot| slot.kept() < 1 << 20)
    });
    let kept = source::slot(&postgres, &name).expect("the slot is there").kept();
    say(&test, format_args!("after {:?} {kept} bytes of log are kept", began.elapsed()));
    agent.stop();
    agent.start_again();
    agent.wait_streaming(run::SOON);
    agent.stop();
}

#[test]
fn an_idle_database_keeps_no_log_on_postgres_14() {
    check_idle(14);
}

#[test]
fn an_idle_database_keeps_no_log_on_postgres_15() {
    check_idle(15);
}

#[test]
fn an_idle_database_keeps_no_log_on_postgres_16() {
    check_idle(16);
}

#[test]
fn an_idle_database_keeps_no_log_on_postgres_17() {
    check_idle(17);
}

#[test]
fn an_idle_database_keeps_no_log_on_postgres_18() {
    check_idle(18);
}

// The slot and what belongs to it.

/// Stops the agent, does something, and starts it again: it has to refuse, naming the slot, what is
/// wrong with it and the way out.
fn check_refused(name: &'static str, fault: impl FnOnce(&Small<'_>), parts: &[&str]) {
    check_refused_on(run::shared_postgres(15), name, fault, parts);
}

fn check_refused_on(
    postgres: &Postgres,
    name: &'static str,
    fault: impl FnOnce(&Small<'_>),
    parts: &[&str],
) {
    let mut small = Small::new(postgres, name);
    small.agent.stop();
    small.insert(21, 30);
    fault(&small);
    small.agent.start_again();
    small.assert_refused(parts);
    // Nothing was changed by the attempt: the second one says the same.
    small.agent.start_again();
    small.assert_refused(parts);
}

impl Small<'_> {
    /// It ends by itself with status 78, this message and the way out.
    #[track_caller]
    fn assert_refused(&mut self, parts: &[&str]) {
        let refusal = self.agent.refusal(run::SOON);
        say(self.name, refusal.message.trim());
        let way_out = format!("cdc-agent drop --slot {}", self.name);
        refusal.expect(78, &[parts, &[way_out.as_str()]].concat());
    }

    /// The way out: everything is dropped and read again.
    fn start_over(&mut self) {
        let (status, output) = self.agent.drop_everything();
        assert_eq!(status, Some(0), "{output}");
        self.agent.start_again();
        self.agent.wait_streaming(run::SOON);
        self.wait_caught_up();
    }
}

#[test]
fn a_slot_dropped_behind_our_back_is_an_error() {
    check_refused(
        "slot_dropped",
        |small| small.execute("SELECT pg_drop_replication_slot('slot_dropped')"),
        &["slot \"slot_dropped\" does not exist any more", "changes"],
    );
}

#[test]
fn a_slot_created_anew_is_an_error() {
    check_refused(
        "slot_recreated",
        |small| {
            small.execute("SELECT pg_drop_replication_slot('slot_recreated')");
            small
                .execute("SELECT pg_create_logical_replication_slot('slot_recreated', 'pgoutput')");
        },
        &["slot \"slot_recreated\" is at", "ahead of the stored position", "re-created or moved"],
    );
}

#[test]
fn a_slot_moved_by_somebody_else_is_an_error() {
    check_refused(
        "slot_advanced",
        |small| {
            small.execute(
                "SELECT pg_replication_slot_advance('slot_advanced', pg_current_wal_lsn())",
            );
        },
        &["slot \"slot_advanced\" is at", "ahead of the stored position"],
    );
}

#[test]
fn a_publication_dropped_while_we_are_away_is_an_error() {
    check_refused(
        "publication_dropped",
        |small| small.execute("DROP PUBLICATION publication_dropped"),
        &["publication \"publication_dropped\" does not"],
    );
}

/// PostgreSQL 18 goes on without a missing publication.
#[test]
fn a_publication_dropped_while_we_are_away_is_an_error_on_postgres_18() {
    check_refused_on(
        run::shared_postgres(18),
        "publication_dropped_18",
        |small| small.execute("DROP PUBLICATION publication_dropped_18"),
        &["publication \"publication_dropped_18\" does not"],
    );
}

#[test]
fn a_publication_created_anew_is_an_error() {
    check_refused_on(
        run::shared_postgres(18),
        "publication_recreated",
        |small| {
            small.execute("DROP PUBLICATION publication_recreated");
            small.insert(31, 40);
            small.execute("CREATE PUBLICATION publication_recreated FOR TABLE items");
        },
        &["publication \"publication_recreated\" is not the one", "dropped and created again"],
    );
}

/// While the agent runs: 14 to 17 end the stream, 18 only leaves changes out.
fn check_publication_dropped_while_running(version: u32, name: &'static str) {
    let postgres = run::shared_postgres(version);
    let mut small =
        Small::with(postgres, name, |options| options.set("catalog.interval.ms", "300"));
    small.execute(&format!("DROP PUBLICATION {name}"));
    small.insert(21, 30);
    small.assert_refused(&[&format!("publication \"{name}\" does not")]);
    small.start_over();
    small.assert_equal(&[ITEMS]);
}

#[test]
fn a_publication_dropped_while_we_stream_is_an_error() {
    check_publication_dropped_while_running(15, "publication_dropped_streaming");
}

#[test]
fn a_publication_dropped_while_we_stream_is_an_error_on_postgres_18() {
    check_publication_dropped_while_running(18, "publication_dropped_streaming_18");
}

/// Nothing can be confirmed that nobody has published: the slot has to stay where it was.
#[test]
fn a_publication_created_anew_while_we_stream_is_an_error_on_postgres_18() {
    let name = "publication_recreated_streaming";
    let postgres = run::shared_postgres(18);
    let mut small =
        Small::with(postgres, name, |options| options.set("catalog.interval.ms", "300"));
    small.execute(&format!("DROP PUBLICATION {name}"));
    small.insert(21, 30);
    small.execute(&format!("CREATE PUBLICATION {name} FOR TABLE items"));
    small.assert_refused(&[&format!("publication \"{name}\" is not the one")]);
}

#[test]
fn state_that_is_lost_while_the_slot_is_there_is_an_error() {
    check_refused(
        "state_lost",
        |_| run::shared_kafka().delete_topic("state_lost.__state"),
        &["slot \"state_lost\"", "state_lost.__state"],
    );
}

/// A broker that has just come back does not know its topics for a moment, which is not the same as
/// an agent that has never stored anything.
#[test]
fn a_state_topic_that_is_away_is_not_taken_for_no_state() {
    let name = "state_away";
    let mut small = Small::new(run::shared_postgres(15), name);
    small.agent.daemon().freeze();
    run::shared_kafka().delete_topic("state_away.__state");
    small.execute(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name LIKE 'cdc-agent%' AND datname = '{name}'"
    ));
    small.agent.daemon().thaw();
    small.agent.wait(run::SOON, "the agent to look at the state", |agent| {
        agent.logged("reading topic state_away.__state") || agent.logged("reading tables tables=1 ")
    });
    let readings = small.agent.log().matches("reading tables").count();
    assert_eq!(readings, 1, "the log:\n{}", small.agent.log());
}

/// The same with a publication that an administrator has made: the slot may be somebody else's, as
/// Debezium's that has stopped.
#[test]
fn state_that_is_lost_beside_a_publication_not_of_ours_is_an_error() {
    let name = "state_lost_foreign";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    postgres.execute(name, &format!("CREATE PUBLICATION {name} FOR TABLE items"));
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let mut small = Small { postgres, name, agent: Agent::start(options) };
    small.agent.wait_streaming(run::SOON);
    small.insert(11, 20);
    small.wait_caught_up();
    small.agent.stop();
    run::shared_kafka().delete_topic("state_lost_foreign.__state");
    small.execute("UPDATE items SET v = 'changed while nobody looked'");
    small.agent.start_again();
    let refusal = small.agent.refusal(run::SOON);
    say(name, refusal.message.trim());
    let parts = ["slot \"state_lost_foreign\"", "state_lost_foreign.__state", "connect-offsets"];
    refusal.expect(78, &parts);
    // Nobody but its owner may say that the slot can go: it may be their only way back.
    assert!(!refusal.message.contains("cdc-agent drop"), "{}", refusal.message);
}

/// A slot and a publication that an administrator has prepared are taken over: everything is read.
#[test]
fn a_slot_that_was_prepared_for_us_is_read_into_and_streamed() {
    let name = "prepared";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    postgres.execute(name, &format!("CREATE PUBLICATION {name} FOR TABLE items"));
    let create = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    postgres.execute(name, &create);
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let small = Small { postgres, name, agent: Agent::prepared(options) };
    small.insert(11, 20);
    small.execute("DELETE FROM items WHERE id < 3");
    let mut small = small;
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    small.insert(21, 30);
    small.assert_equal(&[ITEMS]);
}

/// Another server answers at the address.
#[test]
fn another_server_at_the_same_address_is_an_error() {
    let name = "other_system";
    let mut postgres = Postgres::start(15);
    let mut stranger = Postgres::start(15);
    let mut agent = {
        let mut small = Small::new(&postgres, name);
        small.agent.stop();
        small.agent
    };
    Small::database(&stranger, name);
    stranger.execute(name, &format!("CREATE PUBLICATION {name} FOR TABLE items"));
    let create = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    stranger.execute(name, &create);
    for server in [&mut postgres, &mut stranger] {
        server.stop_fast(run::SOON).expect("nobody is connected");
    }
    let aside = postgres.data_dir().with_extension("aside");
    std::fs::rename(postgres.data_dir(), aside).expect("the folder is ours");
    std::fs::rename(stranger.data_dir(), postgres.data_dir()).expect("both are in /tmp");
    postgres.start_again();
    agent.start_again();
    let refusal = agent.refusal(run::SOON);
    say(name, refusal.message.trim());
    refusal.expect(78, &["system identifier", "cdc-agent drop --slot other_system"]);
}

/// The data folder as it was some time ago is put in place of today's.
#[test]
fn an_older_data_folder_that_was_restored_is_an_error() {
    let name = "restored";
    let mut postgres = Postgres::start(15);
    let mut agent = {
        let mut small = Small::new(&postgres, name);
        small.agent.stop();
        small.agent
    };
    postgres.stop_fast(run::SOON).expect("nobody is connected");
    let backup = postgres.data_dir().with_extension("backup");
    copy_folder(&postgres.data_dir(), &backup);
    postgres.start_again();
    agent.start_again();
    agent.wait_streaming(run::SOON);
    let insert = "INSERT INTO items SELECT n, repeat('x', 100) FROM generate_series(1000, 3000) n";
    postgres.execute(name, insert);
    source::wait_caught_up(&postgres, &mut agent, name, run::SOON);
    agent.stop();
    postgres.stop_fast(run::SOON).expect("nobody is connected");
    std::fs::rename(postgres.data_dir(), backup.with_extension("today")).expect("it is ours");
    std::fs::rename(&backup, postgres.data_dir()).expect("it is ours");
    postgres.start_again();
    agent.start_again();
    let refusal = agent.refusal(run::SOON);
    say(name, refusal.message.trim());
    refusal.expect(78, &["before the stored position", "cdc-agent drop --slot restored"]);
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "{} is not copied", from.display());
}

/// Another program streams from the slot: the agent says who, waits, and gives up.
#[test]
fn a_slot_held_by_somebody_else_is_named_and_waited_for() {
    let name = "slot_held";
    let postgres = run::shared_postgres(15);
    let mut small = Small::with(postgres, name, |options| {
        options.set("slot.max.retries", "3").set("slot.retry.delay.ms", "400")
    });
    small.agent.stop();
    let mut holder = receive(postgres, name, small.agent.dir());
    process::wait_until(run::SOON, "the slot to be held", || {
        source::slot(postgres, name).is_some_and(|slot| slot.active)
    });
    let began = Instant::now();
    small.agent.start_again();
    let refusal = small.agent.refusal(run::SOON);
    say(name, format_args!("after {:?}: {}", began.elapsed(), refusal.message.trim()));
    refusal.expect(69, &[name, "application \"stranger\"", "process ", "slot.max.retries"]);
    assert!(began.elapsed() > Duration::from_millis(1_200), "{:?}", began.elapsed());
    // It comes in time if the holder goes meanwhile. What that one has confirmed is gone.
    holder.kill();
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    small.insert(31, 40);
    small.assert_equal(&[ITEMS]);
}

/// `pg_recvlogical` on a slot, confirming nothing.
fn receive(postgres: &Postgres, name: &str, dir: &Path) -> Daemon {
    let program = bin_dir(15).expect("PostgreSQL 15 is installed").join("pg_recvlogical");
    let mut command = process::command(program);
    command.args(["--start", "-f", "-", "-S", name, "-s", "3600", "-F", "0"]);
    command.args(["-o", "proto_version=1", "-o", &format!("publication_names={name}")]);
    command.args(["-d", &format!("{}?application_name=stranger", postgres.dsn(name))]);
    Daemon::spawn("pg_recvlogical", command, dir)
}

/// After a SIGKILL of the agent its walsender hangs on, as behind a line that is cut: it is waited
/// for, and the slot is taken as soon as it goes.
#[test]
fn a_walsender_left_behind_is_named_and_taken_over_from() {
    let name = "left_behind";
    let postgres = run::shared_postgres(15);
    let mut small = Small::with(postgres, name, |options| {
        options.set("slot.max.retries", "0").set("slot.retry.delay.ms", "100")
    });
    let held = postgres.query_one(
        name,
        &format!("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{name}'"),
    );
    let walsender: u32 = held.and_then(|pid| pid.parse().ok()).expect("the slot is held");
    process::signal(walsender, Signal::Stop);
    small.agent.kill();
    small.agent.start_again();
    small.agent.wait(run::SOON, "the agent to wait", |agent| agent.logged("waiting for the slot"));
    assert!(small.agent.logged(&format!("process {walsender}")), "{}", small.agent.log());
    std::thread::sleep(Duration::from_secs(2));
    small.agent.assert_running();
    small.insert(21, 30);
    let began = Instant::now();
    process::signal(walsender, Signal::Continue);
    small.agent.wait_streaming(run::SOON);
    say(name, format_args!("streams {:?} after the walsender went", began.elapsed()));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    small.assert_equal(&[ITEMS]);
}

/// A SIGKILL and a start at once.
#[test]
fn an_agent_started_right_after_its_death_streams_at_once() {
    let name = "at_once";
    let mut small = Small::new(run::shared_postgres(15), name);
    for _ in 0..3 {
        small.agent.kill();
        let began = Instant::now();
        small.agent.start_again();
        small.agent.wait_streaming(run::SOON);
        say(name, format_args!("streams after {:?}", began.elapsed()));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    small.insert(21, 30);
    small.assert_equal(&[ITEMS]);
}

#[test]
fn drop_leaves_nothing_and_a_new_start_reads_everything_in_a_new_epoch() {
    let name = "dropped";
    let mut small = Small::new(run::shared_postgres(15), name);
    let (status, output) = small.agent.drop_everything();
    assert_eq!(status, Some(69), "the slot is in use: {output}");
    assert!(output.contains("is in use by process"), "{output}");
    small.agent.stop();
    let (status, output) = small.agent.drop_everything();
    assert_eq!(status, Some(0), "{output}");
    assert!(
        output.contains("slot dropped:") && output.contains("publication dropped: ours"),
        "{output}"
    );
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'dropped') + \
         (SELECT count(*) FROM pg_publication)";
    assert_eq!(small.postgres.query_one(name, left).as_deref(), Some("0"));
    let (status, output) = small.agent.drop_everything();
    assert_eq!(status, Some(0), "{output}");
    assert!(output.contains("does not exist"), "{output}");
    // Rows that went meanwhile are in the topic still, and changes with it: the new reads stand above
    // them all.
    small.execute("DELETE FROM items WHERE id < 5; UPDATE items SET v = 'unseen' WHERE id = 11");
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    small.insert(21, 30);
    small.wait_caught_up();
    small.agent.stop();
    let verdict = judge(run::shared_kafka(), name);
    assert_eq!(verdict.epoch, 2);
    verdict.assert_sound_and_equal(small.postgres, name, &[ITEMS]);
}

// What the database and its owner do.

/// Every connection of the agent's has the settings that it needs, whatever the database and the
/// role say; they last while tables are read and while the stream runs.
#[test]
fn settings_of_the_database_and_the_role_change_no_value_and_lose_no_row() {
    let name = "settings";
    let postgres = run::shared_postgres(15);
    postgres.create_database(name);
    shop::create(&mut postgres.client(name), 100);
    let of_database = [
        ("datestyle", "'SQL, DMY'"),
        ("intervalstyle", "sql_standard"),
        ("timezone", "'America/St_Johns'"),
        ("extra_float_digits", "-10"),
        ("bytea_output", "escape"),
        ("search_path", "shop"),
        ("quote_all_identifiers", "on"),
    ];
    let of_role = [
        ("statement_timeout", "'30ms'"),
        ("lock_timeout", "'30ms'"),
        ("idle_in_transaction_session_timeout", "'30ms'"),
        ("standard_conforming_strings", "off"),
        ("default_transaction_isolation", "serializable"),
    ];
    for (setting, value) in of_database {
        postgres.execute("postgres", &format!("ALTER DATABASE {name} SET {setting} = {value}"));
    }
    for (setting, value) in of_role {
        let alter = format!("ALTER ROLE postgres IN DATABASE {name} SET {setting} = {value}");
        postgres.execute("postgres", &alter);
    }
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::SOON);
    // The writer needs none of it.
    let reset = format!(
        "ALTER DATABASE {name} RESET ALL; ALTER ROLE postgres IN DATABASE {name} RESET ALL"
    );
    postgres.execute("postgres", &reset);
    postgres.execute(
        name,
        "UPDATE shop.samples SET flag = NOT flag; UPDATE shop.products SET weight = weight / 3",
    );
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    agent.stop();
    let verdict = judge(run::shared_kafka(), name);
    say(name, &verdict);
    verdict.assert_sound_and_equal(postgres, name, &shop::TABLES);
}

/// The stream follows what the owner does to a table, also while the agent is away.
#[test]
fn a_table_that_is_altered_and_truncated_is_followed() {
    let name = "altered";
    let mut small = Small::new(run::shared_postgres(15), name);
    small.execute("ALTER TABLE items ADD w int DEFAULT 5; UPDATE items SET w = id");
    small.execute("INSERT INTO items VALUES (100, 'with a default')");
    small.execute("TRUNCATE items");
    small.insert(1, 5);
    small.wait_caught_up();
    small.agent.stop();
    small.execute("ALTER TABLE items ALTER id TYPE bigint");
    small.insert(6, 8);
    small.execute("ALTER TABLE items RENAME v TO x; ALTER TABLE items DROP w");
    small.execute("UPDATE items SET x = 'renamed'");
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    small.execute("INSERT INTO items VALUES (10000000000, 'wide')");
    small.assert_equal(&[ITEMS]);
}
