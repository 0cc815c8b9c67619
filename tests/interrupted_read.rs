//! Goal: a read that was interrupted and done again under a later snapshot loses no value.
//!
//! Method: stdout is a pipe that nobody empties, so the first read stands still in the middle of a
//! table; the agent is killed there. Then rows swap keys, move and go, which the log records without
//! their out-of-line values, and the agent starts again: once within the window, once killed in it
//! once more. The topic's fold must equal the table.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that ends at the first surprise"
)]

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use cdc_testkit::fold::fold;
use cdc_testkit::process::wait_until;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics::TopicRecord;
use serde_json::Value;

const DATABASE: &str = "papers";
const TABLE: &str = "public.documents";

struct Agent {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Agent {
    fn start(postgres: &Postgres, state: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cdc-agent"))
            .args(["--slot", "papers", "--to", "stdout", "--http", "none"])
            .args(["--topic-prefix", "papers", "--dsn", &postgres.dsn(DATABASE)])
            .arg("--state")
            .arg(state)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Agent { child, lines }
    }

    fn kill(self) {
        drop(self);
    }

    /// Records until one whose value holds a text; a torn line at a dead agent's end is nobody's.
    fn records_until(&mut self, text: &str, records: &mut Vec<TopicRecord>) {
        loop {
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).unwrap();
            assert!(length > 0, "the agent ended before a record with {text}");
            let Some(record) = record(&line, records.len()) else { continue };
            let found = record.value_text().contains(text);
            records.push(record);
            if found {
                return;
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn record(line: &str, number: usize) -> Option<TopicRecord> {
    let line: Value = serde_json::from_str(line).ok()?;
    let bytes = |value: &Value| (!value.is_null()).then(|| value.to_string().into_bytes());
    let headers = line["headers"].as_array()?.iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some(TopicRecord {
        topic: line["topic"].as_str()?.to_owned(),
        partition: 0,
        offset: i64::try_from(number).unwrap(),
        key: bytes(&line["key"]),
        value: bytes(&line["value"]),
        headers: headers.map(|pair| (text(&pair[0]), text(&pair[1]).into_bytes())).collect(),
        timestamp: None,
    })
}

/// 40 documents of 300 kB that lie out of line, uncompressed.
fn set_up(postgres: &Postgres) {
    postgres.create_database(DATABASE);
    postgres.execute(
        DATABASE,
        "CREATE TABLE documents (id int PRIMARY KEY, title text, body text);
         ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
         INSERT INTO documents SELECT n, 'title ' || n, repeat(md5(n::text), 10000)
         FROM generate_series(1, 40) n",
    );
}

/// Stands still in the middle of the first read, and is killed there.
fn interrupt(postgres: &Postgres, state: &Path, records: &mut Vec<TopicRecord>) {
    let mut agent = Agent::start(postgres, state);
    agent.records_until("\"id\":3,", records);
    agent.kill();
}

const SWAPS: &str = "
    BEGIN; UPDATE documents SET id = 99 WHERE id = 1; UPDATE documents SET id = 1 WHERE id = 2;
    UPDATE documents SET id = 2 WHERE id = 99; COMMIT;
    DELETE FROM documents WHERE id = 3; UPDATE documents SET id = 3 WHERE id = 4;
    UPDATE documents SET id = 4 WHERE id = 5; UPDATE documents SET title = 'again' WHERE id = 4;
    UPDATE documents SET id = 60 WHERE id = 40; UPDATE documents SET id = 61 WHERE id = 60;
    UPDATE documents SET id = 62 WHERE id = 39; DELETE FROM documents WHERE id = 62";

fn sentinel(postgres: &Postgres, text: &str) {
    postgres.execute(DATABASE, &format!("INSERT INTO documents VALUES (0, '{text}', '')"));
}

fn check(postgres: &Postgres, records: &[TopicRecord]) {
    let fold = fold(records);
    assert!(fold.counts.is_sound(), "{:?}", fold.counts);
    let table = &fold.tables[TABLE];
    assert!(table.incomplete.is_empty(), "{:?}", table.incomplete);
    let sql = "SELECT id, title, body FROM documents ORDER BY id";
    let rows = postgres.client(DATABASE).query(sql, &[]).unwrap();
    assert_eq!(table.rows.len(), rows.len());
    for row in rows {
        let id: i32 = row.get(0);
        let found = &table.rows[&format!("{{\"id\":{id}}}")];
        assert_eq!(found["title"], row.get::<_, &str>(1), "title of {id}");
        assert!(found["body"] == row.get::<_, &str>(2), "body of {id}");
    }
}

fn wait_until_gone(postgres: &Postgres) {
    wait_until(Duration::from_secs(20), "the dead agent's walsender to go", || {
        let sql = "SELECT count(*)::text FROM pg_replication_slots WHERE active";
        postgres.query_one(DATABASE, sql).as_deref() == Some("0")
    });
}

#[test]
fn rows_that_swap_keys_before_the_second_read_keep_their_values() {
    let postgres = Postgres::system();
    set_up(&postgres);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut records = Vec::new();
    interrupt(&postgres, &state, &mut records);
    wait_until_gone(&postgres);
    postgres.execute(DATABASE, SWAPS);
    sentinel(&postgres, "end");
    let mut agent = Agent::start(&postgres, &state);
    agent.records_until("\"op\":\"c\"", &mut records);
    agent.records_until("\"title\":\"end\"", &mut records);
    check(&postgres, &records);
    // Outside of the window nothing is looked up, and nothing holds the clean-up back.
    postgres.execute(DATABASE, SWAPS);
    postgres.execute(DATABASE, "UPDATE documents SET title = 'far end' WHERE id = 0");
    agent.records_until("\"title\":\"far end\"", &mut records);
    check(&postgres, &records);
    let old = "SELECT count(*)::text FROM pg_stat_activity \
        WHERE application_name LIKE 'cdc-agent%' AND state LIKE 'idle in transaction%'";
    assert_eq!(postgres.query_one(DATABASE, old).as_deref(), Some("0"));
    agent.kill();
}

#[test]
fn a_second_crash_before_the_second_read_is_reached_loses_no_value() {
    let postgres = Postgres::system();
    set_up(&postgres);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut records = Vec::new();
    interrupt(&postgres, &state, &mut records);
    wait_until_gone(&postgres);
    // Enough between the swaps that the pipe stands still among them.
    postgres.execute(DATABASE, SWAPS);
    let rewrite = "UPDATE documents SET body = repeat(md5(id::text || 'x'), 10000) WHERE id > 9";
    postgres.execute(DATABASE, rewrite);
    postgres.execute(DATABASE, rewrite);
    let mut agent = Agent::start(&postgres, &state);
    agent.records_until("\"op\":\"c\"", &mut records);
    agent.kill();
    wait_until_gone(&postgres);
    // Swaps behind the second read, and before the third snapshot.
    postgres.execute(DATABASE, SWAPS);
    sentinel(&postgres, "end");
    let mut agent = Agent::start(&postgres, &state);
    agent.records_until("\"title\":\"end\"", &mut records);
    check(&postgres, &records);
    agent.kill();
}
