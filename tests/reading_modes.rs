//! Goal: tables are read when `snapshot.mode` and its kin say so, and what the slot's and the
//! stream's options ask for is done.
//!
//! Method: an agent that writes lines, started and stopped again on one database, each test on its
//! own; epochs and operations of the records say what was read and what was streamed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that ends at the first surprise"
)]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::postgres::Client;
use cdc_testkit::servers::postgres::Postgres;
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(15))
}

/// One database, one slot, one file of records.
struct Case {
    name: &'static str,
    server: &'static Postgres,
    folder: TempDir,
}

/// What a record says: operation, epoch, id of the row.
type Said = (String, u64, i64);

impl Case {
    fn new(name: &'static str) -> Self {
        Case::on(server(), name)
    }

    /// With a server of its own, where nobody else's transactions are waited for.
    fn alone(name: &'static str) -> Self {
        Case::on(Box::leak(Box::new(Postgres::start(15))), name)
    }

    fn on(server: &'static Postgres, name: &'static str) -> Self {
        server.create_database(name);
        server.execute(name, "CREATE TABLE t (id int PRIMARY KEY, v text)");
        server.execute(name, "INSERT INTO t VALUES (1, 'a'), (2, 'b')");
        Case { name, server, folder: process::scratch_dir(name) }
    }

    fn spawn(&self, settings: &[&str]) -> Daemon {
        let mut command = process::command(env!("CARGO_BIN_EXE_cdc-agent"));
        command.current_dir(self.folder.path());
        command.args(["--slot", self.name, "--dsn", &self.server.dsn(self.name), "--http", "none"]);
        command.args(["--to", "file:records", "--state", "state", "--topic-prefix", "p"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        Daemon::spawn("agent", command, self.folder.path())
    }

    /// Runs an agent until there are so many records, and stops it.
    fn run(&self, settings: &[&str], count: usize) {
        let mut agent = self.spawn(settings);
        process::wait_until(PATIENCE, "the record to come", || {
            assert!(agent.is_running(), "{}", agent.log_tail());
            self.records().len() >= count
        });
        self.wait_until_streaming();
        let status = agent.terminate(PATIENCE);
        assert!(status.success(), "{}", agent.log_tail());
        process::wait_until(PATIENCE, "the slot to be free", || {
            self.slot("active").as_deref() != Some("true")
        });
    }

    fn wait_until_streaming(&self) {
        let question = format!(
            "SELECT count(*)::text FROM pg_replication_slots s JOIN pg_stat_replication r \
             ON r.pid = s.active_pid WHERE s.slot_name = '{}' AND r.state = 'streaming'",
            self.name
        );
        process::wait_until(PATIENCE, "the agent to stream", || {
            self.server.query_one(self.name, &question).as_deref() == Some("1")
        });
    }

    fn execute(&self, sql: &str) {
        self.server.execute(self.name, sql);
    }

    fn values(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("records")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn records(&self) -> Vec<Said> {
        self.values()
            .iter()
            .filter(|record| record["topic"] == "p.public.t")
            .map(|record| {
                let headers = record["headers"].as_array().unwrap();
                let position = headers.iter().find(|pair| pair[0] == "cdc.position").unwrap();
                let (epoch, _) = position[1].as_str().unwrap().split_once(':').unwrap();
                let operation = record["value"]["op"].as_str().unwrap().to_owned();
                let id = record["value"]["after"]["id"].as_i64().unwrap();
                (operation, epoch.parse().unwrap(), id)
            })
            .collect()
    }

    fn slot(&self, column: &str) -> Option<String> {
        let question = format!(
            "SELECT {column}::text FROM pg_replication_slots WHERE slot_name = '{}'",
            self.name
        );
        self.server.query_one(self.name, &question)
    }

    /// The refusal of an agent that ends by itself.
    fn refused(&self, settings: &[&str]) -> (Option<i32>, String) {
        let mut agent = self.spawn(settings);
        let status = agent.wait_exit(PATIENCE);
        (status.code(), agent.log())
    }
}

fn said(all: &[(&str, u64, i64)]) -> Vec<Said> {
    all.iter().map(|(operation, epoch, id)| ((*operation).to_owned(), *epoch, *id)).collect()
}

#[test]
fn always_reads_at_every_start_and_loses_no_change_between() {
    let case = Case::new("always");
    case.run(&["snapshot.mode=always"], 2);
    case.execute("INSERT INTO t VALUES (3, 'while nobody looked')");
    case.run(&["snapshot.mode=always"], 6);
    let expected = [
        ("r", 1, 1),
        ("r", 1, 2),
        ("r", 2, 1),
        ("r", 2, 2),
        ("r", 2, 3),
        // The change itself comes after the reads.
        ("c", 2, 3),
    ];
    assert_eq!(case.records(), said(&expected));
}

#[test]
fn when_needed_starts_over_without_the_slot_and_initial_refuses() {
    let case = Case::new("needed");
    case.run(&["snapshot.mode=when_needed"], 2);
    case.execute("SELECT pg_drop_replication_slot('needed')");
    case.execute("INSERT INTO t VALUES (3, 'lost to the log')");
    let (status, log) = case.refused(&["snapshot.mode=initial"]);
    assert_eq!(status, Some(78), "{log}");
    assert!(log.contains("does not exist any more"), "{log}");
    case.run(&["snapshot.mode=when_needed"], 5);
    let expected = [("r", 1, 1), ("r", 1, 2), ("r", 2, 1), ("r", 2, 2), ("r", 2, 3)];
    assert_eq!(case.records(), said(&expected));
}

#[test]
fn a_slot_that_was_moved_is_read_over_only_if_it_is_trusted() {
    let case = Case::new("moved");
    case.run(&[], 2);
    case.execute("INSERT INTO t VALUES (3, 'skipped')");
    case.execute("SELECT pg_replication_slot_advance('moved', pg_current_wal_lsn())");
    for strategy in ["no_validation", "trust_offset"] {
        let setting = format!("offset.mismatch.strategy={strategy}");
        let (status, log) = case.refused(&[&setting]);
        assert_eq!(status, Some(78), "{log}");
        assert!(log.contains("ahead of the stored position"), "{log}");
    }
    case.run(&["offset.mismatch.strategy=trust_slot"], 5);
    let expected = [("r", 1, 1), ("r", 1, 2), ("r", 2, 1), ("r", 2, 2), ("r", 2, 3)];
    assert_eq!(case.records(), said(&expected));
}

#[test]
fn a_slot_that_is_dropped_at_the_end_means_a_new_read() {
    let case = Case::new("dropped");
    case.run(&["slot.drop.on.stop=true"], 2);
    assert_eq!(case.slot("slot_name"), None);
    case.execute("INSERT INTO t VALUES (3, 'c')");
    case.run(&["slot.drop.on.stop=true"], 5);
    let expected = [("r", 1, 1), ("r", 1, 2), ("r", 2, 1), ("r", 2, 2), ("r", 2, 3)];
    assert_eq!(case.records(), said(&expected));
}

#[test]
fn manual_flushing_confirms_nothing_and_goes_on_where_it_was() {
    let case = Case::new("manual");
    case.run(&["lsn.flush.mode=manual"], 2);
    let before = case.slot("confirmed_flush_lsn");
    for id in 3..6 {
        case.execute(&format!("INSERT INTO t VALUES ({id}, 'x')"));
        case.run(&["lsn.flush.mode=manual"], usize::try_from(id).unwrap());
    }
    assert_eq!(case.slot("confirmed_flush_lsn"), before);
    let streamed: Vec<Said> = case.records().into_iter().skip(2).collect();
    assert_eq!(streamed, said(&[("c", 1, 3), ("c", 1, 4), ("c", 1, 5)]));
}

#[test]
fn initial_only_ends_by_itself() {
    let case = Case::new("only");
    let (status, log) = case.refused(&["snapshot.mode=initial_only"]);
    assert_eq!(status, Some(0), "{log}");
    assert_eq!(case.records(), said(&[("r", 1, 1), ("r", 1, 2)]));
}

#[test]
fn a_publication_of_all_tables_is_made_only_for_who_asks() {
    let case = Case::new("everything");
    case.execute("CREATE TABLE keyless (v int)");
    case.run(&["publication.autocreate.mode=all_tables", "publish.via.partition.root=false"], 2);
    let publication = "SELECT puballtables::text || pubviaroot FROM pg_publication";
    assert_eq!(server().query_one(case.name, publication).as_deref(), Some("truefalse"));
    let log = fs::read_to_string(log_path(case.folder.path())).unwrap();
    assert!(log.contains("UPDATE and DELETE of these tables fail"), "{log}");
}

fn log_path(folder: &Path) -> std::path::PathBuf {
    let is_log = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains("err"))
    };
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.find(is_log).unwrap()
}

#[test]
fn heartbeats_xmin_locks_and_stream_options_do_what_they_say() {
    let case = Case::new("options");
    case.execute("CREATE TABLE beats (n int)");
    case.execute("ALTER TABLE beats REPLICA IDENTITY FULL");
    let settings = [
        "heartbeat.interval.ms=100",
        "heartbeat.action.query=INSERT INTO beats VALUES (1)",
        "table.include.list=public.t",
        "xmin.fetch.interval.ms=1000",
        "snapshot.locking.mode=shared",
        "slot.stream.params=messages=false",
        "snapshot.tables.order.by.row.count=descending",
        "snapshot.delay.ms=50",
        "streaming.delay.ms=50",
    ];
    let mut agent = case.spawn(&settings);
    case.wait_until_streaming();
    case.execute("SELECT pg_logical_emit_message(true, 'unheard', '')");
    case.execute("INSERT INTO t VALUES (3, 'c')");
    process::wait_until(PATIENCE, "records and heartbeats", || {
        assert!(agent.is_running(), "{}", agent.log_tail());
        let beats = "SELECT count(*)::text FROM beats";
        let beats = server().query_one(case.name, beats).and_then(|text| text.parse::<u32>().ok());
        beats.is_some_and(|beats| beats >= 3)
            && case.records().last().is_some_and(|(_, _, id)| *id == 3)
    });
    assert!(agent.terminate(PATIENCE).success());
    let values = case.values();
    let of = |topic: &str| values.iter().filter(|record| record["topic"] == topic).count();
    assert!(of("__debezium-heartbeat.p") >= 3);
    assert_eq!(of("p.message"), 0);
    let last = values.iter().rfind(|record| record["topic"] == "p.public.t").unwrap();
    assert!(last["value"]["source"]["xmin"].is_u64(), "{last}");
}

#[test]
fn too_many_tables_are_refused_if_that_is_asked_for() {
    let case = Case::new("guarded");
    case.execute("CREATE TABLE u (id int PRIMARY KEY)");
    let settings = ["guardrail.collections.max=1", "guardrail.collections.limit.action=fail"];
    let (status, log) = case.refused(&settings);
    assert_eq!(status, Some(78), "{log}");
    assert!(log.contains("2 tables would be captured, expected at most 1"), "{log}");
}

#[test]
fn partitions_of_their_own_names_are_taken_in_once() {
    let case = Case::new("leaves");
    case.execute("CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id)");
    case.execute("CREATE TABLE leaf_1 PARTITION OF root FOR VALUES FROM (0) TO (100)");
    for (start, id) in [1, 2].into_iter().zip(3..) {
        if start == 2 {
            case.execute("CREATE TABLE leaf_2 PARTITION OF root FOR VALUES FROM (100) TO (200)");
        }
        let mut agent = case.spawn(&["publish.via.partition.root=false"]);
        case.wait_until_streaming();
        case.execute(&format!("INSERT INTO root VALUES ({}1)", id - 3));
        case.execute(&format!("INSERT INTO t VALUES ({id}, 'end')"));
        process::wait_until(PATIENCE, "the last record", || {
            case.records().last().is_some_and(|(_, _, last)| *last == id)
        });
        assert!(agent.terminate(PATIENCE).success());
        process::wait_until(PATIENCE, "the slot to be free", || {
            case.slot("active").as_deref() != Some("true")
        });
        let log = agent.log();
        assert!(!log.contains("cannot be changed"), "{log}");
    }
    let values = case.values();
    let of = |topic: &str| values.iter().filter(|record| record["topic"] == topic).count();
    assert_eq!((of("p.public.root"), of("p.public.leaf_1")), (0, 2));
}

/// A session whose transaction has a number.
fn begun(case: &Case) -> (Client, String) {
    let mut client = case.server.client(case.name);
    client.batch_execute("BEGIN").unwrap();
    let row = client.query_one("SELECT pg_current_xact_id()::xid::text", &[]).unwrap();
    let number = row.get(0);
    (client, number)
}

/// The creation of a slot waits for that transaction.
fn wait_until_waited_for(case: &Case, transaction: &str) {
    let question = format!(
        "SELECT count(*)::text FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE NOT l.granted AND l.transactionid = '{transaction}' \
         AND a.backend_type = 'walsender'"
    );
    process::wait_until(PATIENCE, "the creation of the slot to wait", || {
        case.server.query_one(case.name, &question).as_deref() == Some("1")
    });
}

#[test]
fn a_slot_knows_the_changes_of_tables_that_its_creation_missed() {
    let case = Case::alone("missed");
    case.execute("CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE x (id int PRIMARY KEY)");
    let commit = |client: &mut Client| client.batch_execute("COMMIT").unwrap();
    let (mut first, number) = begun(&case);
    let mut agent = case.spawn(&[]);
    wait_until_waited_for(&case, &number);
    // What this one does to the catalogs, the slot's decoding would never learn.
    let (mut changes, number) = begun(&case);
    changes.batch_execute("ALTER TABLE t ADD COLUMN w text; TRUNCATE u").unwrap();
    commit(&mut first);
    wait_until_waited_for(&case, &number);
    let (mut second, number) = begun(&case);
    second.batch_execute("INSERT INTO x VALUES (1)").unwrap();
    commit(&mut changes);
    let given_up = "changed=\"table public.t, table public.u\"";
    process::wait_until(PATIENCE, "the slot to be given up", || agent.log().contains(given_up));
    // The temporary slot waits twice, and then the slot itself meets the same again.
    wait_until_waited_for(&case, &number);
    let (mut third, number) = begun(&case);
    commit(&mut second);
    wait_until_waited_for(&case, &number);
    let (mut fourth, number) = begun(&case);
    commit(&mut third);
    wait_until_waited_for(&case, &number);
    let (mut changes, number) = begun(&case);
    changes.batch_execute("ALTER TABLE t ADD COLUMN z text; TRUNCATE u").unwrap();
    commit(&mut fourth);
    wait_until_waited_for(&case, &number);
    let (mut fifth, _) = begun(&case);
    fifth.batch_execute("INSERT INTO x VALUES (2)").unwrap();
    commit(&mut changes);
    case.wait_until_streaming();
    commit(&mut fifth);
    case.execute("INSERT INTO u VALUES (2)");
    case.execute("INSERT INTO t VALUES (3, 'c', 'seen', 'too')");
    process::wait_until(PATIENCE, "the last record", || case.records().len() >= 3);
    assert!(agent.terminate(PATIENCE).success());
    assert_eq!(case.records(), said(&[("r", 1, 1), ("r", 1, 2), ("c", 1, 3)]));
    let values = case.values();
    let last = values.iter().rfind(|record| record["topic"] == "p.public.t").unwrap();
    let row = &last["value"]["after"];
    assert_eq!((row["w"].as_str(), row["z"].as_str()), (Some("seen"), Some("too")));
    let slots = case.server.query_one(case.name, "SELECT count(*)::text FROM pg_replication_slots");
    assert_eq!(slots.as_deref(), Some("1"));
}

#[test]
fn a_slot_that_somebody_created_after_a_crash_is_never_dropped() {
    let case = Case::alone("unchecked");
    let (mut earlier, first) = begun(&case);
    let agent = case.spawn(&[]);
    wait_until_waited_for(&case, &first);
    drop(agent);
    earlier.batch_execute("COMMIT").unwrap();
    process::wait_until(PATIENCE, "the slot to go", || case.slot("slot_name").is_none());
    case.execute("SELECT pg_create_logical_replication_slot('unchecked', 'pgoutput')");
    case.execute("INSERT INTO t VALUES (3, 'c')");
    case.run(&[], 3);
    assert_eq!(case.records(), said(&[("r", 1, 1), ("r", 1, 2), ("r", 1, 3)]));
    let log = fs::read_to_string(log_path(case.folder.path())).unwrap();
    assert!(log.contains("somebody else has created it since"), "{log}");
    assert!(!log.contains(" slot created "), "{log}");
}

#[test]
fn a_value_that_cannot_be_read_is_named_whoever_else_reads() {
    let case = Case::new("named");
    case.execute("CREATE TABLE a (id int PRIMARY KEY, v text)");
    case.execute("INSERT INTO a SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n");
    case.execute("CREATE TABLE b (id int PRIMARY KEY, n numeric(5, 2))");
    case.execute("INSERT INTO b VALUES (1, 'NaN'), (2, 1.25), (3, 1.5)");
    let settings = ["snapshot.max.threads=2", "decimal.handling.mode=precise"];
    let (status, log) = case.refused(&settings);
    assert_eq!(status, Some(78), "{log}");
    assert!(log.contains("column \"n\""), "{log}");
    assert!(log.contains("public.b"), "{log}");
    assert!(!log.contains("trying again"), "{log}");
}

#[test]
fn initial_statements_begin_each_connection_and_change_no_value() {
    let case = Case::new("initial");
    case.execute("CREATE SCHEMA noted; CREATE TABLE noted.calls (who text, said text)");
    case.execute("ALTER TABLE t ADD COLUMN d timestamptz DEFAULT '2026-11-21 00:00+00'");
    let statements = "database.initial.statements=SET DateStyle TO 'German'; SET TimeZone TO 'Asia/Tokyo';\
        INSERT INTO noted.calls VALUES (current_user, 'a;;b')";
    case.run(&[statements, "table.include.list=public.t"], 2);
    let said = "SELECT DISTINCT said FROM noted.calls";
    assert_eq!(case.server.query_one(case.name, said).as_deref(), Some("a;b"));
    let values = case.values();
    let row = values.iter().find(|record| record["topic"] == "p.public.t").unwrap();
    assert_eq!(row["value"]["after"]["d"], "2026-11-21T00:00:00.000000Z");
    let wrong = "database.initial.statements=SELECT 1; SELEKT 2";
    let (status, log) = case.refused(&[wrong, "table.include.list=public.t"]);
    assert_eq!(status, Some(78), "{log}");
    assert!(log.contains("statement 2 of database.initial.statements: "), "{log}");
}

#[test]
fn notifications_tell_what_each_start_reads() {
    let case = Case::new("told");
    let told = |case: &Case| -> Vec<String> {
        let values = case.values();
        let told = values.iter().filter(|record| record["topic"] == "told");
        told.map(|record| {
            let data = &record["value"]["additional_data"];
            assert_eq!(record["key"]["id"], record["value"]["id"]);
            assert_eq!(data["connector_name"], "p");
            let more = |name: &str| data[name].as_str().map(|text| format!(" {text}"));
            let kind = record["value"]["type"].as_str().unwrap().to_owned();
            kind + &more("status").or(more("data_collections")).unwrap_or_default()
        })
        .collect()
    };
    let settings = [
        "notification.enabled.channels=log,sink",
        "notification.sink.topic.name=told",
        "snapshot.max.threads=1",
        "snapshot.select.statement.overrides=public.t",
    ];
    let with = |statement: &'static str| [&settings[..], &[statement]].concat();
    let (status, log) = case.refused(&with(
        "snapshot.select.statement.overrides.public.t=SELECT id, (1 / (id - 2))::text AS v \
         FROM public.t",
    ));
    assert_eq!(status, Some(78), "{log}");
    let refused = "snapshot.select.statement.overrides.public.t cannot be run: ERROR: division";
    assert!(log.contains(refused), "{log}");
    let aborted =
        ["STARTED", "IN_PROGRESS public.t", "TABLE_SCAN_COMPLETED SQL_EXCEPTION", "ABORTED"];
    assert_eq!(told(&case), aborted, "{log}");
    assert!(log.contains("[Notification Service]  {id='"), "{log}");
    assert!(log.contains("type='ABORTED', additionalData={connector_name=p}"), "{log}");
    let (status, log) =
        case.refused(&with("snapshot.select.statement.overrides.public.t=SELECT id FROM t"));
    assert_eq!(status, Some(78), "{log}");
    assert!(log.contains("cannot be run: ERROR: relation \"t\" does not exist"), "{log}");

    let case = Case::new("told2");
    let all = with("snapshot.select.statement.overrides.public.t=SELECT * FROM public.t");
    case.run(&all, 2);
    let mut expected =
        vec!["STARTED", "IN_PROGRESS public.t", "TABLE_SCAN_COMPLETED SUCCEEDED", "COMPLETED"];
    assert_eq!(told(&case), expected);
    case.run(&all, 2);
    expected.push("SKIPPED");
    assert_eq!(told(&case), expected);
}
