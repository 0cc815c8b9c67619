//! Goal: a source, or a table, that is read anew ends in every warehouse as it is, though nobody
//! saw what was deleted in between.
//!
//! Method: an agent follows a database, is stopped and its slot dropped; rows go and come, a table
//! loses all of them; the agent starts again. By way of Kafka and without it, into PostgreSQL and
//! into a DuckDB file: every table is then the source's, and a table whose rows could not be
//! derived is so no longer.

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

use std::time::Duration;

use cdc_testkit::process::wait_until;

use run::Agent;
use run::AgentOptions;
use sink::SinkOptions;
use sink::Store;
use sink::compare;
use sink::scene;
use sink::warehouse::KINDS;

const SETUP: &str = "CREATE SCHEMA s;
    CREATE TABLE s.t (id int PRIMARY KEY, a text); INSERT INTO s.t SELECT n, 'old' FROM \
    generate_series(1, 40) n;
    CREATE TABLE s.emptied (id int PRIMARY KEY, a text); INSERT INTO s.emptied VALUES (1, 'a'), (2, 'b');
    CREATE TABLE s.bag (a text); ALTER TABLE s.bag REPLICA IDENTITY FULL;
    INSERT INTO s.bag VALUES ('x'), ('x'), ('y');
    CREATE TABLE s.computed (id int PRIMARY KEY, a int); INSERT INTO s.computed VALUES (1, 7);
    CREATE TABLE s.part (id int PRIMARY KEY); INSERT INTO s.part VALUES (1), (2);
    CREATE TABLE s.beat (at serial PRIMARY KEY)";

/// While the agent follows.
const FOLLOWED: &[&str] = &[
    "UPDATE s.t SET a = 'new' WHERE id < 10",
    "DELETE FROM s.t WHERE id = 20",
    "ALTER TABLE s.computed ALTER a TYPE text USING 'n' || a",
    "INSERT INTO s.computed VALUES (2, 'm')",
    // No read brings it, and nobody deletes it.
    "UPDATE s.part SET id = id WHERE id = 1",
];

/// While nobody does.
const UNSEEN: &str = "DELETE FROM s.t WHERE id BETWEEN 5 AND 25; INSERT INTO s.t VALUES (7, \
'back'); \
    UPDATE s.t SET a = 'unseen' WHERE id = 30; DELETE FROM s.emptied; \
    DELETE FROM s.bag WHERE a = 'y'; INSERT INTO s.bag VALUES ('z')";

const TABLES: [&str; 5] = ["s.t", "s.emptied", "s.bag", "s.computed", "s.part"];

/// Waits until everything that was committed is delivered.
#[track_caller]
fn deliver(database: &str, agent: &mut Agent) {
    let server = scene::server();
    let end = server.query_one(database, "SELECT pg_current_wal_lsn()::text").expect("a position");
    server.execute(database, "INSERT INTO s.beat DEFAULT VALUES");
    let sql = format!(
        "SELECT (confirmed_flush_lsn > '{end}')::text FROM pg_replication_slots WHERE slot_name = \
         '{database}'"
    );
    wait_until(Duration::from_secs(60), "the agent to deliver", || {
        agent.assert_running();
        server.query_one(database, &sql).as_deref() == Some("true")
    });
}

fn marks(store: &Store) -> Vec<String> {
    let rows = store.query("SELECT CAST(definition AS text) FROM _cdc.tables");
    let definitions = rows.into_iter().map(|mut row| row.remove(0).unwrap_or_default());
    definitions.filter(|definition| definition.contains("\"reread\"")).collect()
}

/// Follows, reads anew and compares; `apply` brings what was delivered into the warehouse.
#[track_caller]
fn play(database: &str, store: &Store, options: AgentOptions, apply: impl Fn()) {
    let server = scene::server();
    let part = "snapshot.select.statement.overrides";
    let options = options
        .set(part, "s.part")
        .set(&format!("{part}.s.part"), "SELECT * FROM s.part WHERE id > 1");
    let mut agent = Agent::start(options);
    agent.wait_streaming(Duration::from_secs(60));
    for sql in FOLLOWED {
        server.execute(database, sql);
    }
    deliver(database, &mut agent);
    agent.stop();
    apply();
    assert_eq!(marks(store).len(), 1, "{database}: the rewritten table is marked");
    assert_eq!(store.one("SELECT CAST(count(*) AS text) FROM s.emptied").as_deref(), Some("2"));
    let (code, said) = agent.drop_everything();
    assert_eq!(code, Some(0), "{said}");
    server.execute(database, UNSEEN);
    agent.start_again();
    agent.wait_streaming(Duration::from_secs(60));
    server.execute(database, "UPDATE s.t SET a = 'after' WHERE id = 31");
    deliver(database, &mut agent);
    agent.stop();
    apply();
    for table in TABLES {
        let found = compare::differences((server, database), table, store, "");
        assert!(found.is_empty(), "{database}: {found:#?}");
    }
    assert_eq!(marks(store), Vec::<String>::new(), "{database}");
    println!("{database}: {} tables are equal", TABLES.len());
}

const COMING_BACK: &str = "CREATE SCHEMA s; CREATE SCHEMA elsewhere;
    CREATE TABLE s.recreated (id int PRIMARY KEY, a text);
    CREATE TABLE s.bag (a text); ALTER TABLE s.bag REPLICA IDENTITY FULL;
    CREATE TABLE s.swapped (id int PRIMARY KEY, a text);
    CREATE TABLE s.swapped_new (id int PRIMARY KEY, a text);
    CREATE TABLE s.renamed (id int PRIMARY KEY, a text);
    CREATE TABLE s.moved (id int PRIMARY KEY, a text);
    CREATE TABLE s.out_and_in (id int PRIMARY KEY, a text);
    CREATE TABLE s.filtered (id int PRIMARY KEY, a text);
    INSERT INTO s.recreated VALUES (1, 'a'), (2, 'b');
    INSERT INTO s.bag VALUES ('x'), ('x'), ('y');
    INSERT INTO s.swapped VALUES (1, 'a'), (2, 'b');
    INSERT INTO s.swapped_new VALUES (2, 'of the new one'), (3, 'c');
    INSERT INTO s.renamed VALUES (1, 'a'), (2, 'b');
    INSERT INTO s.moved VALUES (1, 'a');
    INSERT INTO s.out_and_in VALUES (1, 'a'), (2, 'b');
    INSERT INTO s.filtered VALUES (1, 'a'), (2, 'b');
    CREATE TABLE s.beat (at serial PRIMARY KEY);
    CREATE PUBLICATION back FOR TABLE s.recreated, s.bag, s.swapped, s.swapped_new, s.renamed, \
    s.moved, s.out_and_in, s.filtered, s.beat";

/// What migrations and operators do to tables, with changes before, between and after.
const GOING_AND_COMING: &str = "UPDATE s.recreated SET a = 'of the dropped one';
    INSERT INTO s.recreated VALUES (4, 'of the dropped one');
    DROP TABLE s.recreated; CREATE TABLE s.recreated (id int PRIMARY KEY, a text);
    INSERT INTO s.recreated VALUES (1, 'of the new one');
    ALTER PUBLICATION back ADD TABLE s.recreated;
    DROP TABLE s.bag; CREATE TABLE s.bag (a text); ALTER TABLE s.bag REPLICA IDENTITY FULL;
    INSERT INTO s.bag VALUES ('x'), ('z'); ALTER PUBLICATION back ADD TABLE s.bag;
    INSERT INTO s.swapped VALUES (5, 'e');
    ALTER TABLE s.swapped RENAME TO swapped_old; ALTER TABLE s.swapped_new RENAME TO swapped;
    UPDATE s.renamed SET a = 'before' WHERE id = 1;
    ALTER TABLE s.renamed RENAME TO has_another_name;
    UPDATE s.has_another_name SET a = 'after' WHERE id = 2;
    ALTER TABLE s.moved SET SCHEMA elsewhere;
    ALTER PUBLICATION back DROP TABLE s.out_and_in;
    INSERT INTO s.out_and_in VALUES (3, 'c'); DELETE FROM s.out_and_in WHERE id = 2;
    UPDATE s.out_and_in SET a = 'unseen' WHERE id = 1;
    ALTER PUBLICATION back ADD TABLE s.out_and_in;
    UPDATE s.out_and_in SET a = 'seen' WHERE id = 3";

/// Changes afterwards.
const BACK: &str = "INSERT INTO s.recreated VALUES (2, 'later'); INSERT INTO s.bag VALUES ('w');
    UPDATE s.swapped SET a = 'later' WHERE id = 3; INSERT INTO s.out_and_in VALUES (4, 'later');
    INSERT INTO s.has_another_name VALUES (9, 'later'); INSERT INTO elsewhere.moved VALUES (2, 'b')";

const CAME_BACK: [&str; 7] = [
    "s.recreated",
    "s.bag",
    "s.swapped",
    "s.swapped_old",
    "s.has_another_name",
    "elsewhere.moved",
    "s.out_and_in",
];

/// Tables go and come back: first while the agent is away, or while it streams.
#[track_caller]
fn come_back(database: &str, store: &Store, options: AgentOptions, away: bool, apply: impl Fn()) {
    let server = scene::server();
    let options = options.set("publication.name", "back").set("catalog.interval.ms", "500");
    let mut agent = Agent::start(options);
    agent.wait_streaming(Duration::from_secs(60));
    server.execute(database, "INSERT INTO s.recreated VALUES (3, 'c')");
    deliver(database, &mut agent);
    apply();
    if away {
        agent.stop();
    }
    for sql in GOING_AND_COMING.split_inclusive(';') {
        server.execute(database, sql);
    }
    if away {
        agent.start_again();
        agent.wait_streaming(Duration::from_secs(60));
    }
    agent.wait(Duration::from_secs(60), "the renamed table to be seen", |agent| {
        agent.log().contains("s.renamed renamed_to=s.has_another_name")
    });
    server.execute(database, BACK);
    deliver(database, &mut agent);
    agent.stop();
    apply();
    for table in CAME_BACK {
        let found = compare::differences((server, database), table, store, "");
        assert!(found.is_empty(), "{database}: {table}: {found:#?}");
    }
    for gone in ["s.renamed", "s.moved", "s.swapped_new"] {
        let rows = store.one(&format!("SELECT CAST(count(*) AS text) FROM {gone}"));
        assert_eq!(rows.as_deref(), Some("0"), "{database}: rows of {gone} are gone");
    }
    println!("{database}: {} tables are equal", CAME_BACK.len());
    snapshot_again(database, store, agent, apply);
}

/// A warehouse in which somebody has harmed tables is mended by one command for them.
#[track_caller]
fn snapshot_again(database: &str, store: &Store, mut agent: Agent, apply: impl Fn()) {
    store.execute("DELETE FROM s.bag; DELETE FROM s.recreated WHERE id = 1");
    agent.start_again();
    agent.wait_streaming(Duration::from_secs(60));
    let (code, said) = agent.snapshot(&["s.bag"]);
    assert!(code == Some(69) && said.contains("is in use by"), "{code:?}: {said}");
    agent.stop();
    let (code, said) = agent.snapshot(&["s.nothing"]);
    assert!(code == Some(78) && said.contains("does not capture a table s.nothing"), "{said}");
    let (code, said) = agent.snapshot(&["s.bag", "recreated"]);
    assert!(code == Some(0) && said.contains("s.bag, s.recreated"), "{code:?}: {said}");
    agent.start_again();
    agent.wait_streaming(Duration::from_secs(60));
    deliver(database, &mut agent);
    agent.stop();
    assert!(!agent.logged("table read table=s.swapped "), "only what was asked for");
    apply();
    for table in CAME_BACK {
        let found = compare::differences((scene::server(), database), table, store, "");
        assert!(found.is_empty(), "{database}: {table} after a snapshot: {found:#?}");
    }
}

#[test]
fn tables_that_come_back_under_the_same_name_are_the_sources() {
    let (server, kafka) = (scene::server(), scene::kafka());
    for (kind, away) in KINDS.into_iter().zip([true, false]) {
        let database = format!("back_{kind:?}").to_lowercase();
        server.create_database(&database);
        server.execute(&database, COMING_BACK);
        let store = Store::new(kind, server, &format!("{database}_warehouse"));
        let options = AgentOptions::new(&server.dsn(&database), kafka, &database);
        let topics = format!("{database}\\..*");
        let sink = SinkOptions::new(&kafka.bootstrap(), &topics, &store.url()).group(&database);
        come_back(&database, &store, options, away, || drop(sink.once()));
    }
}

#[test]
fn tables_that_come_back_under_the_same_name_are_the_sources_without_kafka() {
    let server = scene::server();
    for (kind, away) in KINDS.into_iter().zip([false, true]) {
        let database = format!("back_direct_{kind:?}").to_lowercase();
        server.create_database(&database);
        server.execute(&database, COMING_BACK);
        let store = Store::new(kind, server, &format!("{database}_warehouse"));
        let options = AgentOptions::to_lines(&server.dsn(&database), &store.url(), &database);
        come_back(&database, &store, options, away, || {});
    }
}

#[test]
fn what_was_deleted_unseen_is_gone_after_a_new_read() {
    let (server, kafka) = (scene::server(), scene::kafka());
    for kind in KINDS {
        let database = format!("anew_{kind:?}").to_lowercase();
        server.create_database(&database);
        server.execute(&database, SETUP);
        let store = Store::new(kind, server, &format!("{database}_warehouse"));
        let options = AgentOptions::new(&server.dsn(&database), kafka, &database)
            .set("topic.creation.default.partitions", "3");
        let topics = format!("{database}\\..*");
        let sink = SinkOptions::new(&kafka.bootstrap(), &topics, &store.url()).group(&database);
        play(&database, &store, options, || drop(sink.once()));
    }
}

#[test]
fn what_was_deleted_unseen_is_gone_after_a_new_read_without_kafka() {
    let server = scene::server();
    for kind in KINDS {
        let database = format!("direct_{kind:?}").to_lowercase();
        server.create_database(&database);
        server.execute(&database, SETUP);
        let store = Store::new(kind, server, &format!("{database}_warehouse"));
        let options = AgentOptions::to_lines(&server.dsn(&database), &store.url(), &database);
        play(&database, &store, options, || {});
    }
}
