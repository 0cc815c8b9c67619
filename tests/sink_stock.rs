//! Goal: the topics of a stock Debezium, which know nothing of our headers, end in every warehouse
//! as what the source holds.
//!
//! Method: a real Debezium in a real Kafka Connect, twice on one database: its JSON with schemas,
//! and its JSON without. `cdc-sink --once` learns the columns from the schemas, from tables that a
//! person has made, or from the look of the values. Rows are read, inserted, updated, deleted,
//! emptied and moved to other keys, large values are left out, and Debezium is stopped and goes on.

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
use cdc_testkit::servers::connect;
use cdc_testkit::servers::connect::Connect;
use serde_json::Value;

use sink::SinkOptions;
use sink::Store;
use sink::compare;
use sink::scene;
use sink::warehouse::KINDS;
use sink::warehouse::Kind;

/// The database.
const NAME: &str = "stock";

const SETUP: &str = "
    CREATE SCHEMA s;
    CREATE TABLE s.typed (id int PRIMARY KEY, a text NOT NULL, n numeric(10,2), f double precision,
        seen timestamptz, day date, j jsonb NOT NULL, u uuid, b bytea, ok boolean, l int[]);
    INSERT INTO s.typed SELECT n, 'row ' || n, n / 7.0, n / 3.0, '2024-01-01 00:00:00.123456+00',
        '2024-02-29', '{\"a\": [1, 2]}', md5(n::text)::uuid, '\\x00ff', n % 2 = 0, ARRAY[n, NULL]
        FROM generate_series(1, 30) n;
    INSERT INTO s.typed VALUES (31, '', NULL, 'NaN', 'infinity', NULL, '[]', NULL, '\\x', NULL, '{}');
    CREATE TABLE s.plain (id bigint PRIMARY KEY, a text, f double precision, ok boolean);
    INSERT INTO s.plain SELECT n, CASE WHEN n % 3 > 0 THEN 'row ' || n END, n / 3.0, n % 2 = 0
        FROM generate_series(1, 40) n;
    CREATE TABLE s.pair (a int, b text, v text, PRIMARY KEY (a, b));
    INSERT INTO s.pair VALUES (1, 'x', 'one'), (2, 'x', 'two'), (1, 'é', NULL);
    CREATE TABLE s.large (id int PRIMARY KEY, a text, big text, j jsonb);
    ALTER TABLE s.large ALTER big SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL;
    INSERT INTO s.large SELECT n, 'row ' || n, repeat(md5(n::text), 300),
        jsonb_build_object('k', repeat(md5('j' || n), 300)) FROM generate_series(1, 30) n;
    CREATE TABLE s.emptied (id int PRIMARY KEY, a text);
    INSERT INTO s.emptied SELECT n, 'old' FROM generate_series(1, 20) n;
    CREATE TABLE s.bag (a text, n int); ALTER TABLE s.bag REPLICA IDENTITY FULL;
    INSERT INTO s.bag SELECT 'line ' || n % 3, NULL FROM generate_series(1, 12) n;
    CREATE TABLE s.beat (id bigint PRIMARY KEY)";

/// Transactions; Debezium is stopped and goes on between the lists.
const CHANGES: [&[&str]; 2] = [
    &[
        "INSERT INTO s.typed SELECT id + 100, a, n, f, seen, day, j, u, b, ok, l FROM s.typed",
        "UPDATE s.typed SET a = a || '!', n = -0.01 WHERE id < 10",
        "DELETE FROM s.typed WHERE id BETWEEN 20 AND 25",
        "UPDATE s.plain SET f = 1e300, ok = NULL WHERE id < 5; DELETE FROM s.plain WHERE id = 7",
        "INSERT INTO s.plain VALUES (7, 'again', NULL, true), (500, NULL, NULL, NULL)",
        "INSERT INTO s.plain VALUES (501, 'x', 1, true); UPDATE s.plain SET a = 'y' WHERE id = 501; \
         DELETE FROM s.plain WHERE id = 501; INSERT INTO s.plain VALUES (501, 'z', 2, false)",
        "UPDATE s.pair SET v = 'changed' WHERE a = 1",
        "UPDATE s.large SET a = 'touched' WHERE id % 2 = 0",
        "UPDATE s.large SET id = id + 1000 WHERE id BETWEEN 1 AND 10",
        "UPDATE s.large SET a = a || '+' WHERE id > 1000",
        "UPDATE s.large SET id = 0 WHERE id = 12; UPDATE s.large SET id = 12 WHERE id = 13; \
         UPDATE s.large SET id = 13 WHERE id = 0",
        "INSERT INTO s.emptied VALUES (90, 'before')",
        "TRUNCATE s.emptied",
        "INSERT INTO s.emptied SELECT n, 'new' FROM generate_series(1, 10) n",
        "INSERT INTO s.bag VALUES ('line 1', 7)",
        "DELETE FROM s.bag WHERE ctid = (SELECT min(ctid) FROM s.bag WHERE a = 'line 0')",
        "UPDATE s.bag SET n = 1 WHERE ctid = (SELECT min(ctid) FROM s.bag WHERE a = 'line 2')",
    ],
    &[
        "UPDATE s.plain SET id = id + 10000 WHERE id BETWEEN 10 AND 20",
        "UPDATE s.plain SET id = id - 10000 WHERE id BETWEEN 10010 AND 10015",
        "UPDATE s.pair SET b = 'z' WHERE a = 1 AND b = 'x'",
        "UPDATE s.large SET big = 'small now' WHERE id = 14",
        "UPDATE s.large SET id = 5000 WHERE id = 14",
        "DELETE FROM s.large WHERE id = 15",
        "UPDATE s.large SET a = 'late' WHERE id BETWEEN 1001 AND 1005",
        "UPDATE s.emptied SET a = 'newer' WHERE id = 3",
        "INSERT INTO s.emptied VALUES (91, 'x'); TRUNCATE s.emptied; \
         INSERT INTO s.emptied VALUES (92, 'last')",
        "DELETE FROM s.bag WHERE a = 'line 0'",
        "DELETE FROM s.typed WHERE id > 120",
    ],
];

const ALL: &[&str] = &["s.typed", "s.plain", "s.pair", "s.large", "s.emptied", "s.bag"];

/// Tables whose values look like what they are.
const BY_LOOK: &[&str] = &["s.plain", "s.pair", "s.large", "s.emptied", "s.bag"];

/// How the sink learns what columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learnt {
    Schemas,
    Columns,
    Look,
}

impl Learnt {
    fn prefix(self) -> &'static str {
        match self {
            Learnt::Schemas => "said",
            Learnt::Columns | Learnt::Look => "unsaid",
        }
    }

    fn tables(self) -> &'static [&'static str] {
        if self == Learnt::Look { BY_LOOK } else { ALL }
    }
}

/// A person's tables, whose columns say what records mean that say nothing themselves.
fn made_by_hand(kind: Kind) -> String {
    let of_kind = |postgres: &'static str, duckdb: &'static str| match kind {
        Kind::Postgres => postgres,
        Kind::DuckDb => duckdb,
    };
    let json = of_kind("jsonb", "JSON");
    let bytes = of_kind("bytea", "BLOB");
    format!(
        "CREATE SCHEMA s;
         CREATE TABLE s.typed (id int PRIMARY KEY, a text, n numeric(10,2), f double precision,
             seen timestamptz, day date, j {json}, u uuid, b {bytes}, ok boolean, l int[]);
         CREATE TABLE s.plain (id bigint PRIMARY KEY, a text, f double precision, ok boolean);
         CREATE TABLE s.pair (a int, b text, v text, PRIMARY KEY (a, b));
         CREATE TABLE s.large (id int PRIMARY KEY, a text, big text, j {json});
         CREATE TABLE s.emptied (id int PRIMARY KEY, a text);
         CREATE TABLE s.bag (a text, n int);
         CREATE TABLE s.beat (id bigint PRIMARY KEY)"
    )
}

fn connector(prefix: &str, schemas: bool, decimals: &str) -> Value {
    let mut config = connect::debezium(scene::server(), NAME, prefix);
    let converter = "org.apache.kafka.connect.json.JsonConverter";
    let schemas = if schemas { "true" } else { "false" };
    for (name, value) in [
        ("key.converter", converter),
        ("value.converter", converter),
        ("key.converter.schemas.enable", schemas),
        ("value.converter.schemas.enable", schemas),
        ("decimal.handling.mode", decimals),
        ("publication.autocreate.mode", "all_tables"),
        ("topic.creation.groups", "bags"),
        ("topic.creation.default.partitions", "3"),
        // Records of a table without key have none, and would be spread.
        ("topic.creation.bags.include", ".*\\.bag"),
        ("topic.creation.bags.partitions", "1"),
        ("topic.creation.bags.replication.factor", "1"),
    ] {
        config[name] = value.into();
    }
    config
}

/// Waits until both have sent everything that was committed.
fn deliver() {
    let server = scene::server();
    let end = server.query_one(NAME, "SELECT pg_current_wal_lsn()::text").expect("a position");
    // Debezium confirms what stands before the last transaction that it has sent.
    let beat = "INSERT INTO s.beat SELECT coalesce(max(id), 0) + 1 FROM s.beat";
    for prefix in ["said", "unsaid"] {
        let sql = format!(
            "SELECT (confirmed_flush_lsn > '{end}')::text FROM pg_replication_slots WHERE \
             slot_name = '{prefix}_slot'"
        );
        wait_until(Duration::from_secs(90), "Debezium to deliver", || {
            server.execute(NAME, beat);
            std::thread::sleep(Duration::from_millis(300));
            server.query_one(NAME, &sql).as_deref() == Some("true")
        });
    }
}

#[track_caller]
fn check(stores: &[(Learnt, Store)], when: &str) {
    let mut wrong = Vec::new();
    for (learnt, store) in stores {
        let topics = format!("{}\\.s\\..*", learnt.prefix());
        let group = format!("{learnt:?}_{:?}", store.kind);
        let bootstrap = scene::kafka().bootstrap();
        // Without its columns the look of its values says nothing true of the table of all types.
        let topics = match learnt {
            Learnt::Look => format!("{}\\.s\\.(?:plain|pair|large|emptied|bag)", learnt.prefix()),
            _ => topics,
        };
        SinkOptions::new(&bootstrap, &topics, &store.url()).group(&group).once();
        for table in learnt.tables() {
            let found = compare::differences((scene::server(), NAME), table, store, "");
            let place = format!("{when}, {learnt:?}, {:?}", store.kind);
            wrong.extend(found.into_iter().map(|difference| format!("[{place}] {difference}")));
        }
    }
    let shown = wrong[..wrong.len().min(40)].join("\n");
    assert!(wrong.is_empty(), "{} differences:\n{shown}", wrong.len());
}

#[test]
fn the_topics_of_a_stock_debezium_become_the_sources_tables() {
    let server = scene::server();
    server.create_database(NAME);
    server.execute(NAME, SETUP);
    let connect = Connect::start(scene::kafka());
    connect.put_connector("said", &connector("said", true, "precise"));
    connect.put_connector("unsaid", &connector("unsaid", false, "precise"));
    for name in ["said", "unsaid"] {
        connect.wait_running(name, Duration::from_secs(90));
        let sql = format!(
            "SELECT coalesce(bool_and(active), false)::text FROM pg_replication_slots WHERE \
             slot_name = '{name}_slot'"
        );
        wait_until(Duration::from_secs(90), "Debezium to stream", || {
            server.query_one(NAME, &sql).as_deref() == Some("true")
        });
    }
    let learnt = [Learnt::Schemas, Learnt::Columns, Learnt::Look];
    let stores: Vec<(Learnt, Store)> = KINDS
        .into_iter()
        .flat_map(|kind| learnt.map(|learnt| (kind, learnt)))
        .map(|(kind, learnt)| {
            let store = Store::new(kind, server, &format!("stock_{learnt:?}").to_lowercase());
            if learnt == Learnt::Columns {
                store.execute(&made_by_hand(kind));
            }
            (learnt, store)
        })
        .collect();
    deliver();
    check(&stores, "after the snapshot");
    for (at, changes) in CHANGES.iter().enumerate() {
        if at > 0 {
            ["said", "unsaid"].iter().for_each(|name| connect.stop_connector(name));
        }
        changes.iter().for_each(|sql| server.execute(NAME, sql));
        if at > 0 {
            ["said", "unsaid"].iter().for_each(|name| connect.resume_connector(name));
        }
        deliver();
        check(&stores, &format!("after changes {at}"));
    }
}
