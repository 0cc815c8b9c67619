//! What sessions leave behind, and what they wait for.

use super::*;

/// Sessions of the agent at the server: SQL and replication.
fn sessions_of(postgres: &Postgres, name: &str) -> u32 {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cdc-agent%' \
         AND datname = '{name}'"
    );
    postgres.query_one("postgres", &sql).and_then(|count| count.parse().ok()).expect("a number")
}

fn end_stream(postgres: &Postgres, name: &str) {
    let sql = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
         WHERE slot_name = '{name}' AND active"
    );
    postgres.execute(name, &sql);
}

/// The heartbeat's statement waits for a row that the application has locked, while the connection
/// breaks again and again: the stream goes on each time, and nothing is left at the server.
#[test]
fn a_heartbeats_statement_that_waits_for_a_lock_holds_nothing_up() {
    let name = "heartbeat_lock";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    postgres.execute(name, "CREATE TABLE beats (n int PRIMARY KEY); INSERT INTO beats VALUES (1)");
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name)
        .set("heartbeat.interval.ms", "300")
        .set("heartbeat.action.query", "UPDATE public.beats SET n = n");
    let mut small = Small { postgres, name, agent: Agent::start(options) };
    small.agent.wait_streaming(run::SOON);
    let mut application = postgres.client(name);
    let mut lock = application.transaction().expect("a transaction");
    lock.batch_execute("UPDATE beats SET n = 2").expect("nobody holds it for long");
    small.agent.wait(run::SOON, "the statement to wait", |_| {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'heartbeat_lock' \
             AND wait_event_type = 'Lock' AND query LIKE '%public.beats%'";
        postgres.query_one(name, waits).as_deref() == Some("1")
    });
    for round in 1..=3 {
        let sessions = small.agent.log().matches(" streaming ").count();
        let began = Instant::now();
        end_stream(postgres, name);
        small.agent.wait(Duration::from_secs(10), "the next session", |agent| {
            agent.log().matches(" streaming ").count() > sessions
        });
        say(name, format_args!("round {round}: streams after {:?}", began.elapsed()));
    }
    // A session has three: SQL, the stream, the heartbeat's; an observer's may be beside them.
    small.agent.wait(run::SOON, "older sessions to be gone", |_| sessions_of(postgres, name) <= 4);
    lock.rollback().expect("it is open");
    small.insert(21, 30);
    small.assert_equal(&[ITEMS]);
}

/// A table is locked by its owner just when the stream brings its first change: all other tables go
/// on.
#[test]
fn a_table_that_is_locked_holds_up_no_other_table() {
    let name = "locked_table";
    let postgres = run::shared_postgres(18);
    Small::database(postgres, name);
    postgres.execute(
        name,
        "CREATE TABLE parts (id int, v text DEFAULT 'a', w int DEFAULT 1 + 1, PRIMARY KEY (id)) \
         PARTITION BY RANGE (id); \
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100)",
    );
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let mut small = Small { postgres, name, agent: Agent::start(options) };
    small.agent.wait_streaming(run::SOON);
    small.insert(11, 20);
    small.wait_caught_up();
    small.agent.daemon().freeze();
    small.execute("INSERT INTO parts VALUES (1)");
    small.insert(21, 30);
    let mut owner = postgres.client(name);
    let mut lock = owner.transaction().expect("a transaction");
    lock.batch_execute("LOCK TABLE parts, parts_1 IN ACCESS EXCLUSIVE MODE").expect("it is free");
    let began = Instant::now();
    small.agent.daemon().thaw();
    source::wait_caught_up(postgres, &mut small.agent, name, Duration::from_secs(20));
    say(name, format_args!("caught up after {:?}", began.elapsed()));
    let ready = small.agent.get("/health/ready").expect("the port answers");
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(small.agent.logged("the table is locked"), "nothing was asked of it");
    lock.rollback().expect("it is open");
    small.assert_equal(&[ITEMS, "public.parts"]);
}

/// The stream's session is given up, as when the destination is away: whoever watches the slot sees
/// it all the same.
#[test]
fn the_slot_is_shown_while_there_is_no_session() {
    let name = "observed";
    let mut small = Small::new(run::shared_postgres(15), name);
    let lag = "cdc_agent_slot_lag_bytes";
    assert!(small.agent.metric(lag).is_some(), "{:?}", small.agent.metrics());
    // Another reader of the slot keeps the agent from streaming.
    let holder = {
        let dir = small.agent.dir().to_owned();
        end_stream(small.postgres, name);
        receive_soon(small.postgres, name, &dir)
    };
    small.agent.wait(run::SOON, "the agent to wait", |agent| agent.logged("waiting for the slot"));
    for _ in 0..5 {
        assert!(small.agent.metric(lag).is_some(), "the slot has vanished from the metrics");
        assert_eq!(small.agent.metric("cdc_agent_source_up"), Some(1.0));
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(holder);
    small.insert(21, 30);
    small.wait_caught_up();
}

/// `pg_recvlogical`, as soon as the slot is free.
fn receive_soon(postgres: &Postgres, name: &str, dir: &Path) -> Daemon {
    loop {
        let mut holder = receive(postgres, name, dir);
        let deadline = Instant::now() + Duration::from_secs(3);
        while holder.is_running() && Instant::now() < deadline {
            let sql = format!(
                "SELECT 1 FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid \
                 WHERE slot_name = '{name}' AND application_name = 'stranger'"
            );
            if postgres.query_one(name, &sql).is_some() {
                return holder;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(holder);
        end_stream(postgres, name);
    }
}
