//! What is done on the servers, and which of the messages that follow are kept.

use std::ops::RangeInclusive;

/// A message and a case, as they stand in a file's name.
///
/// The case says how the bytes are framed: `streamed` if the message stood between Stream Start and
/// Stream Stop, `streamed-subtransaction` if besides it is of a subtransaction, `parallel` if
/// `streaming 'parallel'` was asked for.
pub(crate) type Keep = (&'static str, &'static str);

/// Tables of their own, then steps on a slot that was created after them.
pub(crate) struct Scenario {
    /// The versions that it is captured from: all that can, or one where a single capture tells
    /// all there is to tell.
    pub(crate) majors: RangeInclusive<u32>,
    pub(crate) protocol: u32,
    /// Options of the plug-in beside protocol and publication.
    options: &'static str,
    pub(crate) two_phase: bool,
    pub(crate) setup: &'static str,
    pub(crate) steps: Vec<Step>,
}

/// Statements, all in the same session, and what is kept of the messages that come of them.
pub(crate) struct Step {
    pub(crate) sql: &'static str,
    pub(crate) keep: &'static [Keep],
}

impl Scenario {
    pub(crate) fn plugin_options(&self) -> String {
        let publication = if self.options.contains("publication_names") {
            ""
        } else {
            ", publication_names 'everything'"
        };
        let separator = if self.options.is_empty() { "" } else { ", " };
        let protocol = self.protocol;
        format!(
            "proto_version '{protocol}', messages 'true'{publication}{separator}{}",
            self.options
        )
    }
}

/// First byte of a message.
pub(crate) fn tag(message: &str) -> u8 {
    match message {
        "begin" => b'B',
        "commit" => b'C',
        "origin" => b'O',
        "relation" => b'R',
        "type" => b'Y',
        "insert" => b'I',
        "update" => b'U',
        "delete" => b'D',
        "truncate" => b'T',
        "logical-message" => b'M',
        "stream-start" => b'S',
        "stream-stop" => b'E',
        "stream-commit" => b'c',
        "stream-abort" => b'A',
        "begin-prepare" => b'b',
        "prepare" => b'P',
        "commit-prepared" => b'K',
        "rollback-prepared" => b'r',
        "stream-prepare" => b'p',
        _ => panic!("no message is called {message}"),
    }
}

/// All versions that are supported.
pub(crate) const EVERY: RangeInclusive<u32> = 14..=NEWEST;

/// Where a capture from one version is enough.
pub(crate) const NEWEST: u32 = 18;

fn step(sql: &'static str, keep: &'static [Keep]) -> Step {
    Step { sql, keep }
}

fn plain(majors: RangeInclusive<u32>, setup: &'static str, steps: Vec<Step>) -> Scenario {
    Scenario { majors, protocol: 1, options: "", two_phase: false, setup, steps }
}

/// Every scenario, on names that no other one uses.
pub(crate) fn all() -> [Scenario; 17] {
    [
        plain_rows(),
        whole_old_rows(),
        unchanged_toast(),
        binary_values(),
        other_identities(),
        types(),
        odd_names(),
        columns(),
        published_parts(),
        truncations(),
        truncation_options(),
        logical_messages(),
        origin(),
        stream(),
        parallel_stream(),
        stream_with_origin(),
        prepared(),
    ]
}

fn plain_rows() -> Scenario {
    plain(
        EVERY,
        "CREATE TABLE plain (id int PRIMARY KEY, name text, note text)",
        vec![
            step(
                "INSERT INTO plain VALUES (1, 'one', NULL)",
                &[
                    ("begin", "insert"),
                    ("relation", "identity-default"),
                    ("insert", "null"),
                    ("commit", "insert"),
                ],
            ),
            step(
                "INSERT INTO plain VALUES (2, '', E'\\u00fcn\\u00efc\\u00f6d\\u00e9 \\U0001F600 \"quoted\" \\\\ \\n\\t\\x01')",
                &[("insert", "empty-and-unicode")],
            ),
            step("UPDATE plain SET name = 'uno' WHERE id = 1", &[("update", "no-old")]),
            step("UPDATE plain SET id = 10 WHERE id = 1", &[("update", "key-change")]),
            step("DELETE FROM plain WHERE id = 10", &[("delete", "key")]),
            step("TRUNCATE plain", &[("truncate", "one")]),
        ],
    )
}

fn whole_old_rows() -> Scenario {
    plain(
        EVERY,
        "CREATE TABLE whole (id int PRIMARY KEY, name text, note text); \
             ALTER TABLE whole REPLICA IDENTITY FULL; \
             INSERT INTO whole VALUES (1, 'one', NULL)",
        vec![
            step(
                "UPDATE whole SET name = 'uno' WHERE id = 1",
                &[("relation", "identity-full"), ("update", "old-full")],
            ),
            step("DELETE FROM whole WHERE id = 1", &[("delete", "full")]),
        ],
    )
}

fn unchanged_toast() -> Scenario {
    plain(
        EVERY,
        "CREATE TABLE toasted (id int PRIMARY KEY, note text, long text); \
             ALTER TABLE toasted ALTER long SET STORAGE EXTERNAL; \
             CREATE TABLE toasted_whole (LIKE toasted INCLUDING ALL); \
             ALTER TABLE toasted_whole REPLICA IDENTITY FULL; \
             INSERT INTO toasted VALUES (1, 'a', repeat('0123456789', 210)); \
             INSERT INTO toasted_whole SELECT * FROM toasted",
        vec![
            step("UPDATE toasted SET note = 'b'", &[("update", "toast-unchanged")]),
            step("UPDATE toasted_whole SET note = 'b'", &[("update", "old-full-toast-unchanged")]),
            step("UPDATE toasted SET id = 2", &[("update", "key-change-toast-unchanged")]),
        ],
    )
}

fn binary_values() -> Scenario {
    Scenario {
        options: "binary 'true'",
        ..plain(
            EVERY,
            "CREATE TABLE in_binary (id int PRIMARY KEY, amount numeric, at timestamptz, \
                    data bytea, note text)",
            vec![
                step(
                    "INSERT INTO in_binary VALUES \
                            (1, 12.50, '2026-01-02 03:04:05.678901+00', '\\x00ff10', NULL)",
                    &[("insert", "binary")],
                ),
                step("DELETE FROM in_binary", &[("delete", "key-binary")]),
            ],
        )
    }
}

fn other_identities() -> Scenario {
    plain(
        NEWEST..=NEWEST,
        "CREATE TABLE by_index (a int NOT NULL, b text NOT NULL, c text, UNIQUE (a, b)); \
             ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a_b_key; \
             CREATE TABLE by_nothing (id int PRIMARY KEY); \
             ALTER TABLE by_nothing REPLICA IDENTITY NOTHING",
        vec![
            step("INSERT INTO by_nothing VALUES (1)", &[("relation", "identity-nothing")]),
            step("INSERT INTO by_index VALUES (1, 'x', 'y')", &[("relation", "identity-index")]),
            step("UPDATE by_index SET b = 'z'", &[("update", "index-key-change")]),
            step("DELETE FROM by_index", &[("delete", "index-key")]),
        ],
    )
}

fn types() -> Scenario {
    plain(
        EVERY,
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); \
             CREATE DOMAIN positive AS int CHECK (VALUE > 0); \
             CREATE DOMAIN price AS numeric(10, 2); \
             CREATE TABLE typed (id int PRIMARY KEY, mood mood, moods mood[], count positive, \
                price price, amount numeric(12, 4), code varchar(20), at timestamptz(3))",
        vec![step(
            "INSERT INTO typed VALUES (1, 'happy', '{sad,NULL}', 3, 4.50, -0.0001, 'c', \
                    '1999-12-31 23:59:59.999+00')",
            &[
                ("relation", "types"),
                ("type", "enum"),
                ("type", "array-of-enum"),
                ("type", "domain"),
                ("insert", "types"),
            ],
        )],
    )
}

fn odd_names() -> Scenario {
    plain(
        NEWEST..=NEWEST,
        "CREATE SCHEMA \"odd \"\"schema\"\" \u{e4}\u{1F600}\"; \
             CREATE TYPE \"odd \"\"schema\"\" \u{e4}\u{1F600}\".\"a.type\" AS (x int); \
             CREATE TABLE \"odd \"\"schema\"\" \u{e4}\u{1F600}\".\"sixty-three bytes of a name, as many as the server keeps of one\" \
                (\"select\" int, \" \" text, \"back\\slash\" text, \"new\nline\" \
                    \"odd \"\"schema\"\" \u{e4}\u{1F600}\".\"a.type\")",
        vec![step(
            "INSERT INTO \"odd \"\"schema\"\" \u{e4}\u{1F600}\".\"sixty-three bytes of a name, as many as the server keeps of one\" \
                    VALUES (1, 'a', 'b', ROW(1))",
            &[("relation", "odd-names"), ("type", "odd-names"), ("insert", "row-type")],
        )],
    )
}

fn columns() -> Scenario {
    plain(
        NEWEST..=NEWEST,
        "CREATE TABLE no_columns (); \
             DO $$ BEGIN EXECUTE 'CREATE TABLE many_columns (' || \
                (SELECT string_agg('c' || g || CASE g % 3 WHEN 0 THEN ' int' WHEN 1 THEN ' text' \
                    ELSE ' numeric' END, ', ' ORDER BY g) FROM generate_series(1, 120) g) || ')'; \
             END $$; \
             CREATE TABLE dropped (a int, b int, c int); ALTER TABLE dropped DROP b; \
             CREATE TABLE computed (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a * 2) STORED)",
        vec![
            step(
                "INSERT INTO no_columns DEFAULT VALUES",
                &[("relation", "no-columns"), ("insert", "no-columns")],
            ),
            step(
                "INSERT INTO many_columns (c1, c3, c120) VALUES ('a', 3, 120)",
                &[("relation", "many-columns"), ("insert", "many-columns")],
            ),
            step(
                "INSERT INTO dropped VALUES (1, 3)",
                &[("relation", "dropped-column"), ("insert", "dropped-column")],
            ),
            step("INSERT INTO computed VALUES (1)", &[("relation", "generated-column-left-out")]),
        ],
    )
}

fn published_parts() -> Scenario {
    Scenario {
        options: "publication_names 'narrow'",
        ..plain(
            NEWEST..=NEWEST,
            "CREATE TABLE listed (id int PRIMARY KEY, secret text, note text); \
                 CREATE TABLE parted (id int PRIMARY KEY, note text) PARTITION BY RANGE (id); \
                 CREATE TABLE parted_low (note text, id int NOT NULL); \
                 ALTER TABLE parted ATTACH PARTITION parted_low FOR VALUES FROM (0) TO (100); \
                 CREATE PUBLICATION narrow FOR TABLE listed (id, note), parted \
                    WITH (publish_via_partition_root = true)",
            vec![
                step(
                    "INSERT INTO listed VALUES (1, 'hidden', 'shown')",
                    &[("relation", "column-list"), ("insert", "column-list")],
                ),
                step(
                    "INSERT INTO parted VALUES (1, 'through the root')",
                    &[("relation", "partition-root"), ("insert", "partition-root")],
                ),
            ],
        )
    }
}

fn truncations() -> Scenario {
    plain(
        EVERY,
        "CREATE TABLE parent (id serial PRIMARY KEY); \
             CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent); \
             CREATE TABLE apart (id serial PRIMARY KEY)",
        vec![
            step(
                "TRUNCATE parent, apart RESTART IDENTITY CASCADE",
                &[("truncate", "several-cascade-restart-identity")],
            ),
            step("TRUNCATE apart, child", &[]),
        ],
    )
}

fn truncation_options() -> Scenario {
    plain(
        NEWEST..=NEWEST,
        "CREATE TABLE emptied (id serial PRIMARY KEY); \
             CREATE TABLE emptied_too (id serial PRIMARY KEY)",
        vec![
            step("TRUNCATE emptied, emptied_too", &[("truncate", "several")]),
            step("TRUNCATE emptied CASCADE", &[("truncate", "cascade")]),
            step("TRUNCATE emptied RESTART IDENTITY", &[("truncate", "restart-identity")]),
        ],
    )
}

fn logical_messages() -> Scenario {
    plain(
        EVERY,
        "",
        vec![
            step(
                "SELECT pg_logical_emit_message(true, 'prefix', 'content')",
                &[("logical-message", "transactional")],
            ),
            step(
                "SELECT pg_logical_emit_message(false, 'prefix', '\\x00ff0a'::bytea)",
                &[("logical-message", "not-transactional-binary")],
            ),
            step(
                "SELECT pg_logical_emit_message(false, '', '')",
                &[("logical-message", "not-transactional-empty")],
            ),
        ],
    )
}

fn origin() -> Scenario {
    plain(
        EVERY,
        "CREATE TABLE replayed (id int PRIMARY KEY); \
             SELECT pg_replication_origin_create('upstream server')",
        vec![
            step("SELECT pg_replication_origin_session_setup('upstream server')", &[]),
            step("BEGIN", &[]),
            step(
                "SELECT pg_replication_origin_xact_setup('16/B374D848', '2026-01-01 00:00+00')",
                &[],
            ),
            step("INSERT INTO replayed VALUES (1)", &[]),
            step("COMMIT", &[("origin", "upstream")]),
            step("SELECT pg_replication_origin_session_reset()", &[]),
        ],
    )
}

fn stream() -> Scenario {
    Scenario {
        protocol: 2,
        options: "streaming 'on'",
        ..plain(
            EVERY,
            "CREATE TYPE streamed_mood AS ENUM ('sad', 'happy'); \
                 CREATE TABLE streamed (id int PRIMARY KEY, mood streamed_mood, note text); \
                 INSERT INTO streamed SELECT g, 'sad', 'before' FROM generate_series(1, 2000) g",
            vec![
                step("BEGIN", &[]),
                step(
                    "INSERT INTO streamed SELECT g, 'happy', 'a note' \
                            FROM generate_series(5000, 7000) g",
                    &[
                        ("stream-start", "first-segment"),
                        ("relation", "streamed"),
                        ("type", "streamed"),
                        ("insert", "streamed"),
                        ("stream-stop", "first-segment"),
                        ("stream-start", "later-segment"),
                    ],
                ),
                step(
                    "UPDATE streamed SET note = NULL, id = id - 2000 WHERE note = 'before'",
                    &[("update", "streamed-key-change")],
                ),
                step("DELETE FROM streamed WHERE note IS NULL", &[("delete", "streamed-key")]),
                step("SAVEPOINT one", &[]),
                step(
                    "INSERT INTO streamed SELECT g, 'sad', 'a subtransaction' \
                            FROM generate_series(8000, 10000) g",
                    &[("insert", "streamed-subtransaction")],
                ),
                step("ROLLBACK TO one", &[("stream-abort", "subtransaction")]),
                step("SELECT pg_logical_emit_message(true, 'prefix', 'streamed')", &[]),
                step("TRUNCATE streamed", &[]),
                step(
                    "INSERT INTO streamed SELECT g, NULL, 'the rest' \
                            FROM generate_series(1, 2000) g",
                    &[("logical-message", "streamed-transactional"), ("truncate", "streamed-one")],
                ),
                step("COMMIT", &[("stream-commit", "after-subtransaction-abort")]),
                step("BEGIN", &[]),
                step(
                    "INSERT INTO streamed SELECT g, NULL, 'in vain' \
                            FROM generate_series(3000, 5000) g",
                    &[],
                ),
                step("ROLLBACK", &[("stream-abort", "transaction")]),
            ],
        )
    }
}

fn parallel_stream() -> Scenario {
    Scenario {
        protocol: 4,
        options: "streaming 'parallel'",
        ..plain(
            16..=NEWEST,
            "CREATE TABLE in_parallel (id int PRIMARY KEY, note text)",
            vec![
                step("BEGIN", &[]),
                step(
                    "INSERT INTO in_parallel SELECT g, 'a note' FROM generate_series(1, 2000) g",
                    &[("stream-start", "parallel-first-segment"), ("insert", "parallel-streamed")],
                ),
                step("SAVEPOINT one", &[]),
                step(
                    "INSERT INTO in_parallel SELECT g, 'a note' FROM generate_series(3000, 5000) g",
                    &[],
                ),
                step("ROLLBACK TO one", &[("stream-abort", "parallel-subtransaction")]),
                step("ROLLBACK", &[("stream-abort", "parallel-transaction")]),
            ],
        )
    }
}

fn stream_with_origin() -> Scenario {
    Scenario {
        protocol: 2,
        options: "streaming 'on'",
        ..plain(
            NEWEST..=NEWEST,
            "CREATE TABLE replayed_long (id int PRIMARY KEY); \
                 SELECT pg_replication_origin_create('upstream, long')",
            vec![
                step("SELECT pg_replication_origin_session_setup('upstream, long')", &[]),
                step("BEGIN", &[]),
                step(
                    "INSERT INTO replayed_long SELECT generate_series(1, 3000)",
                    &[("origin", "streamed")],
                ),
                step("COMMIT", &[("stream-commit", "origin")]),
                step("SELECT pg_replication_origin_session_reset()", &[]),
            ],
        )
    }
}

fn prepared() -> Scenario {
    Scenario {
        protocol: 3,
        options: "streaming 'on', two_phase 'on'",
        two_phase: true,
        ..plain(
            15..=NEWEST,
            "CREATE TABLE prepared (id int PRIMARY KEY, note text)",
            vec![
                step("BEGIN", &[]),
                step("INSERT INTO prepared VALUES (1, 'first')", &[]),
                step(
                    "PREPARE TRANSACTION 'a gid \u{e4}'",
                    &[("begin-prepare", "insert"), ("prepare", "insert")],
                ),
                step("COMMIT PREPARED 'a gid \u{e4}'", &[("commit-prepared", "insert")]),
                step("BEGIN", &[]),
                step("INSERT INTO prepared VALUES (2, 'second')", &[]),
                step("PREPARE TRANSACTION 'in vain'", &[]),
                step("ROLLBACK PREPARED 'in vain'", &[("rollback-prepared", "insert")]),
                step("BEGIN", &[]),
                step("INSERT INTO prepared SELECT g, 'long' FROM generate_series(3, 2000) g", &[]),
                step("PREPARE TRANSACTION 'long'", &[("stream-prepare", "long")]),
                step("COMMIT PREPARED 'long'", &[("commit-prepared", "after-stream")]),
            ],
        )
    }
}
