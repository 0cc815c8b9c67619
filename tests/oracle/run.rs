//! One case on real servers: a database, our agent, the case's work, and what came out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cdc_testkit::http;
use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::postgres::Postgres;

use super::case::Case;
use super::json::Json;
use super::records::Record;
use super::records::normalised;

/// How long anything may take that takes well under a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Our records for a case, normalised.
///
/// # Errors
///
/// The agent refused its settings: what it said. Everything else panics.
pub fn run(case: &Case, server: &Postgres) -> Result<Vec<Record>, String> {
    let database = case.database();
    server.create_database(&database);
    let mut session = server.client(&database);
    for statement in case.setup() {
        session.simple_query(&statement).unwrap_or_else(|error| panic!("{error:?}: {statement}"));
    }
    if let Some(publication) = publication(case) {
        session.batch_execute(&publication).unwrap();
    }
    let folder = process::scratch_dir(&case.name);
    let port = process::free_port();
    let mut agent = start(case, server, (&database, port), folder.path());
    let streaming = wait_for_stream(&mut agent, server, &database);
    if streaming.is_none() && !agent.exit_status().is_some_and(|status| status.success()) {
        let log = agent.log();
        drop(session);
        clean(server, &database, &database);
        return Err(log);
    }
    if streaming.is_some() {
        for part in case.work() {
            for statement in part {
                let done = session.simple_query(&statement);
                done.unwrap_or_else(|error| panic!("{error:?}: {statement}"));
            }
            wait_until_published(&mut agent, server, port);
        }
        let status = agent.terminate(PATIENCE);
        assert!(status.success(), "the agent ended with {status}:\n{}", agent.log_tail());
    }
    drop(session);
    clean(server, &database, &database);
    let lines = fs::read_to_string(folder.path().join("records.jsonl")).unwrap_or_default();
    if std::env::var_os("SHOW").is_some() {
        println!("{}\n{lines}", agent.log());
    }
    Ok(normalised(lines.lines().map(Record::parse).collect()))
}

/// What Debezium would create itself by default. Ours would leave out tables without identity, of
/// which Debezium captures the inserts, so the publication is there before.
fn publication(case: &Case) -> Option<String> {
    let connector = case.connector();
    let given = |name: &str| {
        connector.iter().find(|(known, _)| known == name).map(|(_, value)| match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    if given("publication.autocreate.mode").is_some_and(|mode| mode != "all_tables") {
        return None;
    }
    let mut options = Vec::new();
    if given("publish.via.partition.root").is_some_and(|value| value == "true") {
        options.push("publish_via_partition_root = true".to_owned());
    }
    if let Some(skipped) = given("skipped.operations") {
        let published: Vec<&str> =
            [("c", "insert"), ("u", "update"), ("d", "delete"), ("t", "truncate")]
                .iter()
                .filter(|(letter, _)| !skipped.split(',').any(|word| word == *letter))
                .map(|(_, name)| *name)
                .collect();
        options.push(format!("publish = '{}'", published.join(",")));
    }
    let options =
        if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
    Some(format!("CREATE PUBLICATION dbz_publication FOR ALL TABLES{options}"))
}

fn start(case: &Case, server: &Postgres, (database, port): (&str, u16), folder: &Path) -> Daemon {
    let connector = Json::Object(case.connector());
    fs::write(folder.join("connector.json"), connector.to_string()).unwrap();
    let mut command = process::command(env!("CARGO_BIN_EXE_cdc-agent"));
    command.current_dir(folder).args(["--config", "connector.json"]);
    command.args(["--slot", database, "--topic-prefix", "P", "--dsn", &server.dsn(database)]);
    command.args(["--to", "file:records.jsonl", "--state", "state"]);
    command.args(["--http", &format!("127.0.0.1:{port}")]);
    Daemon::spawn("agent", command, folder)
}

/// `None` if the agent ends before.
fn wait_for_stream(agent: &mut Daemon, server: &Postgres, slot: &str) -> Option<()> {
    let mut session = server.client("postgres");
    let question = format!(
        "SELECT count(*)::int4 FROM pg_replication_slots s \
         JOIN pg_stat_replication r ON r.pid = s.active_pid \
         WHERE s.slot_name = '{slot}' AND r.state = 'streaming'"
    );
    process::wait_for(PATIENCE, "the agent streams or ends", || {
        let streams = session.query_one(&question, &[]).unwrap().get::<_, i32>(0) > 0;
        match (streams, agent.is_running()) {
            (true, _) => Some(Some(())),
            (false, false) => Some(None),
            (false, true) => None,
        }
    })
}

/// Waits until the agent has received, and so handed over, all that was written so far.
fn wait_until_published(agent: &mut Daemon, server: &Postgres, port: u16) {
    // A commit elsewhere brings everything before it to the disk, where the walsender reads it.
    server.execute("postgres", "SELECT pg_logical_emit_message(true, '', '')");
    let end = server.query_one("postgres", "SELECT pg_current_wal_flush_lsn() - '0/0'");
    let end: f64 = end.unwrap().parse().unwrap();
    process::wait_until(PATIENCE, "the agent has received everything", || {
        assert!(agent.is_running(), "the agent has ended:\n{}", agent.log_tail());
        let metrics = http::get(&format!("http://127.0.0.1:{port}/metrics"));
        let received = metrics.ok().and_then(|metrics| metrics.metric("cdc_agent_received_lsn"));
        received.is_some_and(|received| received >= end)
    });
}

/// Drops a slot, once nobody uses it, and a database.
pub fn clean(server: &Postgres, database: &str, slot: &str) {
    free_slot(server, slot);
    server.drop_database(database);
}

/// Drops a slot, once nobody uses it.
pub fn free_slot(server: &Postgres, slot: &str) {
    let active =
        format!("SELECT count(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'");
    process::wait_until(PATIENCE, "the slot is free", || {
        server.query_one("postgres", &active).as_deref() == Some("0")
    });
    server.execute(
        "postgres",
        &format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
             WHERE slot_name = '{slot}'"
        ),
    );
}
