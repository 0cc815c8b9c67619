//! Every reason for which a server refuses UPDATE and DELETE of a published table, and keys of
//! tables that are others by the time that their changes are read.

use super::*;

/// A table for each reason, what changes its row, and a word of why it is left out; none where it
/// is captured.
struct Trap {
    table: &'static str,
    setup: &'static str,
    update: &'static str,
    /// Up to 17, and from 18 on.
    left_out: (Option<&'static str>, Option<&'static str>),
}

const fn trap(
    table: &'static str,
    setup: &'static str,
    update: &'static str,
    left_out: Option<&'static str>,
) -> Trap {
    Trap { table, setup, update, left_out: (left_out, left_out) }
}

/// A generated column in the identity is refused from 18 on, and never sent in a key before.
const fn from_18(table: &'static str, setup: &'static str, update: &'static str) -> Trap {
    Trap { table, setup, update, left_out: (None, Some("generated column \"g\"")) }
}

const GENERATED: Option<&str> = Some("generated column \"g\"");

const TRAPS: &[Trap] = &[
    trap("plain", "CREATE TABLE plain (id int PRIMARY KEY, v int)", "UPDATE plain SET v = 9", None),
    trap(
        "bare",
        "CREATE TABLE bare (id int, v int)",
        "UPDATE bare SET v = 9",
        Some("no primary key"),
    ),
    trap(
        "deferred",
        "CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE, v int)",
        "UPDATE deferred SET v = 9",
        Some("deferrable"),
    ),
    trap(
        "nothing",
        "CREATE TABLE nothing (id int PRIMARY KEY, v int); ALTER TABLE nothing REPLICA IDENTITY NOTHING",
        "UPDATE nothing SET v = 9",
        Some("NOTHING"),
    ),
    trap(
        "lost_index",
        "CREATE TABLE lost_index (id int NOT NULL, v int); \
         CREATE UNIQUE INDEX lost_by ON lost_index (id); \
         ALTER TABLE lost_index REPLICA IDENTITY USING INDEX lost_by; DROP INDEX lost_by",
        "UPDATE lost_index SET v = 9",
        Some("index is missing"),
    ),
    trap(
        "full",
        "CREATE TABLE \"full\" (id int, v int); ALTER TABLE \"full\" REPLICA IDENTITY FULL",
        "UPDATE \"full\" SET v = 9",
        None,
    ),
    trap(
        "included",
        "CREATE TABLE included (id int, v int, g int GENERATED ALWAYS AS (v * 2) STORED, \
         PRIMARY KEY (id) INCLUDE (g))",
        "UPDATE included SET v = 9",
        None,
    ),
    from_18(
        "g_full",
        "CREATE TABLE g_full (id int PRIMARY KEY, v int, g int GENERATED ALWAYS AS (v * 2) STORED); \
         ALTER TABLE g_full REPLICA IDENTITY FULL",
        "UPDATE g_full SET v = 9",
    ),
    trap(
        "g_key",
        "CREATE TABLE g_key (id int, v int, g int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY)",
        "UPDATE g_key SET v = 9",
        GENERATED,
    ),
    trap(
        "g_pair",
        "CREATE TABLE g_pair (id int, v int, g int GENERATED ALWAYS AS (id * 2) STORED, \
         PRIMARY KEY (id, g))",
        "UPDATE g_pair SET v = 9",
        GENERATED,
    ),
    trap(
        "g_index",
        "CREATE TABLE g_index (id int PRIMARY KEY, v int, \
         g int GENERATED ALWAYS AS (id * 2) STORED NOT NULL UNIQUE); \
         ALTER TABLE g_index REPLICA IDENTITY USING INDEX g_index_g_key",
        "UPDATE g_index SET v = 9",
        GENERATED,
    ),
    // Another partition has an identity of its own.
    trap(
        "mixed",
        "CREATE TABLE mixed (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); \
         CREATE TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (10); \
         CREATE TABLE mixed_2 PARTITION OF mixed FOR VALUES FROM (10) TO (20); \
         ALTER TABLE mixed_2 REPLICA IDENTITY NOTHING; INSERT INTO mixed VALUES (11, 1)",
        "UPDATE mixed SET v = 9",
        Some("NOTHING (partition public.mixed_2)"),
    ),
    trap(
        "parts",
        "CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); \
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         ALTER TABLE parts_1 REPLICA IDENTITY FULL",
        "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20); \
         INSERT INTO parts VALUES (11, 1); UPDATE parts SET v = 9",
        None,
    ),
    // A partition that is added later has no identity.
    trap(
        "whole_parts",
        "CREATE TABLE whole_parts (id int, v int) PARTITION BY RANGE (id); \
         CREATE TABLE whole_parts_1 PARTITION OF whole_parts FOR VALUES FROM (0) TO (10); \
         ALTER TABLE whole_parts REPLICA IDENTITY FULL; \
         ALTER TABLE whole_parts_1 REPLICA IDENTITY FULL",
        "CREATE TABLE whole_parts_2 PARTITION OF whole_parts FOR VALUES FROM (10) TO (20); \
         INSERT INTO whole_parts VALUES (11, 1); UPDATE whole_parts SET v = 9",
        Some("partitioned"),
    ),
    // A table that inherits has no primary key of its parent's.
    trap(
        "heir",
        "CREATE TABLE parent (id int PRIMARY KEY, v int); CREATE TABLE heir () INHERITS (parent); \
         INSERT INTO parent VALUES (1, 1)",
        "UPDATE parent SET v = 9; DELETE FROM parent",
        Some("no primary key"),
    ),
];

/// Only on 18: columns that are generated when they are read.
const VIRTUAL: &[Trap] = &[
    trap(
        "v_full",
        "CREATE TABLE v_full (id int PRIMARY KEY, v int, g int GENERATED ALWAYS AS (v * 2)); \
         ALTER TABLE v_full REPLICA IDENTITY FULL",
        "UPDATE v_full SET v = 9",
        GENERATED,
    ),
    trap(
        "v_plain",
        "CREATE TABLE v_plain (id int PRIMARY KEY, v int, g int GENERATED ALWAYS AS (v * 2))",
        "UPDATE v_plain SET v = 9",
        None,
    ),
    trap(
        "periods",
        "CREATE EXTENSION IF NOT EXISTS btree_gist; \
         CREATE TABLE periods (id int, during daterange, v int, \
         PRIMARY KEY (id, during WITHOUT OVERLAPS))",
        "UPDATE periods SET v = 9",
        None,
    ),
];

fn check_statements(version: u32) {
    let postgres = run::shared_postgres(version);
    let name: &'static str = format!("identities_{version}").leak();
    postgres.create_database(name);
    let newest = version >= 18;
    let traps: Vec<&Trap> = TRAPS.iter().chain(VIRTUAL.iter().filter(|_| newest)).collect();
    for trap in &traps {
        postgres.execute(name, trap.setup);
        let row = match trap.table {
            "periods" => "(id, during, v) VALUES (1, '[2024-01-01,2024-02-01)', 1)",
            _ => "(id, v) VALUES (1, 1)",
        };
        postgres.execute(name, &format!("INSERT INTO \"{}\" {row}", trap.table));
    }
    let mut agent = Agent::start(AgentOptions::to_lines(&postgres.dsn(name), "stdout", name));
    agent.wait_streaming(run::SOON);
    let published = "SELECT string_agg(tablename, ' ') FROM pg_publication_tables";
    let published = postgres.query_one(name, published).unwrap_or_default();
    for trap in &traps {
        // The application's own statements.
        postgres.execute(name, trap.update);
        postgres.execute(name, &format!("DELETE FROM \"{}\"", trap.table));
        let reason = if newest { trap.left_out.1 } else { trap.left_out.0 };
        let is_published = published.split(' ').any(|table| table == trap.table);
        assert_eq!(is_published, reason.is_none(), "{} on {version}", trap.table);
        if let Some(reason) = reason {
            let log = agent.log();
            let named = format!("table=public.{} reason=", trap.table);
            let line = log.lines().find(|line| line.contains(&named));
            let line = line.unwrap_or_else(|| panic!("{} is not named:\n{log}", trap.table));
            assert!(line.replace('\\', "").contains(reason), "{line}");
        }
    }
    // What is published arrives, and nothing else is there to be waited for.
    source::wait_caught_up(postgres, &mut agent, name, run::SOON);
    agent.stop();
}

#[test]
fn statements_of_the_application_succeed_on_postgres_14() {
    check_statements(14);
}

#[test]
fn statements_of_the_application_succeed_on_postgres_15() {
    check_statements(15);
}

#[test]
fn statements_of_the_application_succeed_on_postgres_16() {
    check_statements(16);
}

#[test]
fn statements_of_the_application_succeed_on_postgres_17() {
    check_statements(17);
}

#[test]
fn statements_of_the_application_succeed_on_postgres_18() {
    check_statements(18);
}

/// In a publication of the user's, tables whose statements fail are named with the reason, and
/// others are not.
#[test]
fn a_publication_of_the_users_that_makes_statements_fail_is_told() {
    let (name, postgres) = ("refused", run::shared_postgres(15));
    postgres.create_database(name);
    postgres.execute(
        name,
        "CREATE TABLE listed (id int PRIMARY KEY, v int); CREATE TABLE filtered (LIKE listed INCLUDING ALL); \
         CREATE TABLE bare (id int, v int); CREATE TABLE fine (LIKE listed INCLUDING ALL); \
         CREATE PUBLICATION refused FOR TABLE listed (v), filtered WHERE (v > 0), bare, \
         fine (id) WHERE (id > 0)",
    );
    let mut agent = Agent::start(AgentOptions::to_lines(&postgres.dsn(name), "stdout", name));
    agent.wait_streaming(run::SOON);
    for (table, reason) in [
        ("listed", Some("its column list lacks")),
        ("filtered", Some("its row filter has a column")),
        ("bare", Some("it has no primary key")),
        ("fine", None),
    ] {
        // The server itself says whether it is so.
        let update = postgres.client(name).batch_execute(&format!("UPDATE {table} SET id = 9"));
        assert_eq!(update.is_err(), reason.is_some(), "{table}");
        let log = agent.log();
        let named = format!(
            "refuses UPDATE and DELETE of the table because of the publication: \
            take it out, or change its replica identity table=public.{table} reason=\""
        );
        let line = log.split_once(&named).map(|(_, line)| line);
        match (line, reason) {
            (Some(line), Some(reason)) => assert!(line.starts_with(reason), "{line}"),
            (line, reason) => assert_eq!(line, reason, "{table}\n{log}"),
        }
    }
    agent.stop();
}

/// Waits until a query of the warehouse gives this.
#[track_caller]
fn wait_for(agent: &mut Agent, warehouse: (&Postgres, &str), sql: &str, expected: &str) {
    let (postgres, database) = warehouse;
    agent.wait(run::SOON, &format!("{sql} to give {expected}"), |_| {
        let row: Option<String> = postgres.try_client(database).ok().and_then(|mut client| {
            client.query_opt(sql, &[]).ok().flatten().and_then(|row| row.get(0))
        });
        row.as_deref() == Some(expected)
    });
}

/// Tables of [`changes_of_a_table_that_is_another_by_now_keep_their_key`].
const CHANGING: &str = "CREATE TABLE gone (id int PRIMARY KEY, v text); INSERT INTO gone VALUES (1, 'a'); \
         CREATE TABLE whole (id int PRIMARY KEY, v text); ALTER TABLE whole REPLICA IDENTITY FULL; \
         INSERT INTO whole VALUES (1, 'a'); \
         CREATE TABLE renamed (id int PRIMARY KEY, v text); \
         INSERT INTO renamed VALUES (1, 'a'), (2, 'b'), (3, 'c'); \
         CREATE TABLE renamed_full (LIKE renamed INCLUDING ALL); \
         ALTER TABLE renamed_full REPLICA IDENTITY FULL; INSERT INTO renamed_full TABLE renamed; \
         CREATE TABLE included (a int, b int, c int, PRIMARY KEY (a, b) INCLUDE (c)); \
         INSERT INTO included VALUES (1, 2, NULL), (1, 3, 4); \
         CREATE TABLE long_key (k text PRIMARY KEY, part int, v int, big text); \
         ALTER TABLE long_key ALTER k SET STORAGE EXTERNAL, ALTER big SET STORAGE EXTERNAL; \
         INSERT INTO long_key SELECT repeat(md5('k' || n), 70), n, n, repeat(md5('b' || n), 300) \
             FROM generate_series(1, 2) n; \
         CREATE TABLE long_pair (k text, n int, v int, PRIMARY KEY (k, n)); \
         ALTER TABLE long_pair ALTER k SET STORAGE EXTERNAL; \
         INSERT INTO long_pair SELECT repeat(md5('k'), 70), 1, 1; \
         CREATE TABLE going (id int PRIMARY KEY, v text); INSERT INTO going VALUES (1, 'a'); \
         CREATE TABLE beat (id int PRIMARY KEY)";

/// The agent is behind: by the time that it reads a change, the table's key has another name, or
/// there is no such table. Records have the key that rows had then, and a warehouse takes them.
#[test]
fn changes_of_a_table_that_is_another_by_now_keep_their_key() {
    let (name, copy, postgres) = ("keys_then", "keys_then_copy", run::shared_postgres(15));
    postgres.create_database(name);
    postgres.create_database(copy);
    postgres.execute(name, CHANGING);
    let url = postgres.dsn(copy);
    let mut agent = Agent::start(AgentOptions::to_lines(&postgres.dsn(name), &url, name));
    let warehouse = (postgres, copy);
    agent.wait_streaming(run::SOON);
    agent.daemon().freeze();
    for sql in [
        "INSERT INTO gone VALUES (2, 'b'); UPDATE gone SET v = 'A' WHERE id = 1",
        "DROP TABLE gone",
        "INSERT INTO whole VALUES (2, 'b')",
        "ALTER TABLE whole ADD b int; UPDATE whole SET b = 7",
        "DROP TABLE whole",
        "INSERT INTO renamed VALUES (4, 'd'); DELETE FROM renamed WHERE id = 2; \
         UPDATE renamed SET v = 'A' WHERE id = 1; UPDATE renamed SET id = 30 WHERE id = 3",
        "INSERT INTO renamed_full VALUES (4, 'd'); DELETE FROM renamed_full WHERE id = 2",
        "ALTER TABLE renamed RENAME id TO ident; ALTER TABLE renamed_full RENAME id TO ident",
        "UPDATE renamed SET v = v || '!'; UPDATE renamed_full SET v = v || '!'",
        "UPDATE included SET c = 9 WHERE b = 2; DELETE FROM included WHERE b = 3",
        "UPDATE long_key SET v = v + 10; UPDATE long_pair SET v = 5",
        "UPDATE long_pair SET n = 2",
        "INSERT INTO beat VALUES (1)",
    ] {
        postgres.execute(name, sql);
    }
    agent.daemon().thaw();
    wait_for(&mut agent, warehouse, "SELECT id::text FROM beat", "1");
    let expect = |sql: &str, expected: &str| {
        assert_eq!(postgres.query_one(copy, sql).as_deref(), Some(expected), "{sql}");
    };
    let rows = "string_agg(t::text, ' ' ORDER BY t::text)";
    expect("SELECT string_agg(id || v, ' ' ORDER BY id) FROM gone", "1A 2b");
    expect("SELECT string_agg(id || v || b, ' ' ORDER BY id) FROM whole", "1a7 2b7");
    for table in ["renamed", "renamed_full", "included", "long_key", "long_pair"] {
        let names = "SELECT string_agg(column_name::text, ', ' ORDER BY ordinal_position) \
            FROM information_schema.columns WHERE table_name = '";
        let columns = postgres.query_one(name, &format!("{names}{table}'")).expect("a table");
        let sql = format!("SELECT md5({rows}) FROM (SELECT {columns} FROM {table}) t");
        expect(&sql, &postgres.query_one(name, &sql).expect("rows"));
    }
    agent.stop();
    // The same while nobody streams: what comes after the table that is gone arrives.
    for sql in [
        "INSERT INTO going VALUES (2, 'b')",
        "DROP TABLE going",
        "CREATE TABLE passing (id int PRIMARY KEY)",
        "DROP TABLE passing",
        "INSERT INTO beat VALUES (2)",
    ] {
        postgres.execute(name, sql);
    }
    agent.start_again();
    wait_for(&mut agent, warehouse, "SELECT max(id)::text FROM beat", "2");
    agent.stop();
}
