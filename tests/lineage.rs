//! Goal: whoever reads Debezium's lineage events notices no difference, and whoever reads records
//! never notices lineage.
//!
//! Method: scenes of SQL, breaks and stops are followed by our agent, which posts to a receiver of
//! ours; the events are compared, member by member, with what a real Debezium posted in the same
//! scenes (`proto-fixtures/debezium/lineage`). Then receivers that refuse, or never answer, and the
//! other ways out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that ends at the first surprise"
)]

mod lineage {
    pub(crate) mod compare;
    pub(crate) mod follow;
    pub(crate) mod receiver;
    pub(crate) mod scene;
    pub(crate) mod ways;
}

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use lineage::compare;
use lineage::follow;
use lineage::follow::PATIENCE;
use lineage::follow::PREFIX;
use lineage::follow::Side;
use lineage::receiver::Manner;
use lineage::receiver::Receiver;
use lineage::scene;
use lineage::scene::Scene;
use lineage::ways;

/// Debezium's side of the scenes, written down.
#[test]
#[ignore = "records a real Debezium; see proto-fixtures/debezium/lineage/README.md"]
fn record_debezium() {
    let plugins = std::env::var("PLUGINS").unwrap();
    let only = std::env::var("SCENE").ok();
    for scene in scene::all() {
        if only.as_ref().is_some_and(|only| only != scene.name) {
            continue;
        }
        let heard = scene.play(&Side::Debezium((&plugins).into()));
        scene.write(&heard);
    }
    if only.is_none_or(|only| only == "ways") {
        ways::write(&ways::walk(&Side::Debezium(plugins.into())));
    }
}

#[test]
fn events_arrive_as_debeziums_do_by_every_way() {
    assert_eq!(ways::recorded(), ways::walk(&Side::Ours));
}

fn compare_scene(name: &str) {
    let scene: Scene = scene::all().into_iter().find(|scene| scene.name == name).unwrap();
    let ours = scene.play(&Side::Ours);
    compare::compare(&scene, &scene.recorded(), &ours);
}

#[test]
fn changes_of_tables_are_told_as_debezium_tells_them() {
    compare_scene("changes");
}

#[test]
fn a_broken_connection_is_told_as_debezium_tells_it() {
    compare_scene("retry");
}

#[test]
fn a_run_that_fails_ends_with_its_error() {
    compare_scene("failure");
}

#[test]
fn the_comparison_sees_every_member() {
    for scene in scene::all() {
        let recorded = scene.recorded();
        assert_eq!(compare::differences(&scene, &recorded, &compare::as_ours(&recorded)), [""; 0]);
        let ours = compare::as_ours(&recorded);
        // One event of each kind: they are made by the same code, and there are many members.
        let kind = |event: &Value| (event["eventType"].to_string(), event["inputs"][0].is_null());
        let mut seen = BTreeSet::new();
        for (at, heard) in ours.iter().enumerate() {
            if !seen.insert(kind(&heard.event)) {
                continue;
            }
            for path in compare::members(&heard.event) {
                let mut changed = ours.clone();
                *changed[at].event.pointer_mut(&path).unwrap() = json!("changed");
                let found = compare::differences(&scene, &recorded, &changed);
                let masked = compare::is_masked(&path);
                assert_eq!(found.is_empty(), masked, "{} {at} {path}: {found:?}", scene.name);
            }
        }
    }
}

/// An agent over one table, its records in a file, and the rest of its settings.
struct Run {
    server: Postgres,
    folder: TempDir,
    agent: Daemon,
}

impl Run {
    fn start(yaml: &str, more: &[&str]) -> Self {
        let server = Postgres::system();
        server.create_database(PREFIX);
        server.execute(PREFIX, "CREATE TABLE t (id int PRIMARY KEY)");
        let folder = process::scratch_dir("lineage");
        fs::write(folder.path().join("openlineage.yml"), yaml).unwrap();
        let mut config = follow::config(server.port(), PREFIX, "openlineage.yml");
        config["extended.headers.enabled"] = json!("true");
        fs::write(folder.path().join("connector.json"), config.to_string()).unwrap();
        let agent = follow::spawn(&folder, more);
        Run { server, folder, agent }
    }

    fn insert(&self, id: u32) {
        self.server.execute(PREFIX, &format!("INSERT INTO t VALUES ({id})"));
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// A run that gives the events of [`LIFE`]: the second row is streamed, whoever brought the first.
    fn live(&mut self) {
        for id in 1..=2 {
            self.insert(id);
            self.wait_for_row(id);
        }
        assert!(self.agent.terminate(PATIENCE).success(), "{}", self.agent.log_tail());
    }

    /// Waits until the row has been written to the records.
    #[track_caller]
    fn wait_for_row(&mut self, id: u32) {
        let row = format!("\"after\":{{\"id\":{id}}}");
        process::wait_until(PATIENCE, "the row among the records", || {
            assert!(self.agent.is_running(), "{}", self.agent.log_tail());
            self.file("records.jsonl").contains(&row)
        });
    }
}

fn http_yaml(receiver: &Receiver, more: &str) -> String {
    format!("transport:\n  type: HTTP\n  url: {}\n{more}", receiver.url())
}

fn event_types(receiver: &Receiver) -> Vec<String> {
    let requests = receiver.requests();
    requests.iter().map(|request| request.body["eventType"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_receiver_that_refuses_costs_events_and_no_record() {
    let receiver = Receiver::start(Manner::Answer(500));
    let mut run = Run::start(&http_yaml(&receiver, ""), &[]);
    run.insert(1);
    run.wait_for_row(1);
    let log = "a lineage event could not be sent; the capture goes on";
    process::wait_until(PATIENCE, "the warning", || run.agent.log().contains(log));
    assert!(run.agent.log().contains("answered 500"), "{}", run.agent.log_tail());
    process::wait_until(PATIENCE, "three attempts", || receiver.requests().len() >= 3);
    receiver.set(Manner::Answer(200));
    run.server.execute(PREFIX, "ALTER TABLE t ADD COLUMN more int");
    run.insert(2);
    process::wait_until(PATIENCE, "the change", || {
        let requests = receiver.requests();
        let last = &requests.last().unwrap().body["inputs"][0]["facets"]["schema"]["fields"];
        last[1] == json!({ "name": "more", "type": "int4" })
    });
    assert!(run.agent.terminate(PATIENCE).success());
    assert_eq!(event_types(&receiver).last().unwrap(), "COMPLETE");
}

#[test]
fn a_receiver_that_never_answers_holds_up_neither_records_nor_the_end() {
    let receiver = Receiver::start(Manner::Silence);
    let mut run = Run::start(&http_yaml(&receiver, "  timeoutInMillis: 60000\n"), &[]);
    for id in 1..=20 {
        run.insert(id);
    }
    run.wait_for_row(20);
    assert_eq!(event_types(&receiver), ["START"]);
    let begun = Instant::now();
    assert!(run.agent.terminate(PATIENCE).success(), "{}", run.agent.log_tail());
    // Far below the receiver's minute.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let log = run.agent.log();
    assert!(log.contains("not all lineage events could be sent before the end"), "{log}");
}

#[test]
fn a_receiver_that_is_not_there_is_no_reason_not_to_start() {
    let nobody = format!("127.0.0.1:{}", process::free_port());
    for transport in [
        format!("{{type: http, url: 'http://{nobody}'}}"),
        format!("{{type: http, url: 'https://{nobody}'}}"),
        format!("{{type: kafka, topicName: t, properties: {{bootstrap.servers: '{nobody}'}}}}"),
        "{type: file, location: /proc/nothing/here}".to_owned(),
    ] {
        let mut run = Run::start(&format!("transport: {transport}"), &[]);
        run.insert(1);
        run.wait_for_row(1);
        assert!(run.agent.terminate(PATIENCE).success(), "{transport}");
        assert!(run.agent.log().contains("lineage event"), "{transport}: {}", run.agent.log());
    }
}

#[test]
fn requests_bear_what_the_file_says() {
    let receiver = Receiver::start(Manner::Answer(201));
    let more = "  endpoint: /a/b\n  compression: gzip\n  urlParams: {\"url.param.x y\": \"1&2\"}\n  \
                headers:\n    X-Team: cdc\n  auth:\n    type: api_key\n    api_key: k3y\n";
    let facets = "facets:\n  debezium_config:\n    disabled: true\n";
    let mut run = Run::start(&(http_yaml(&receiver, more) + facets), &[]);
    run.live();
    let requests = receiver.requests();
    let first = &requests[0];
    assert_eq!(first.line, "POST /a/b?x%20y=1%262 HTTP/1.1");
    for (name, value) in [
        ("x-team", "cdc"),
        ("authorization", "Bearer k3y"),
        ("content-type", "application/json; charset=UTF-8"),
        ("accept", "application/json; charset=UTF-8"),
        ("content-encoding", "gzip"),
    ] {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    let facets = first.body["run"]["facets"].as_object().unwrap();
    assert_eq!(facets.keys().collect::<Vec<_>>(), ["processing_engine"]);
    // All events of a run, and its records, bear one id, of version 7.
    let run_id = first.body["run"]["runId"].as_str().unwrap();
    assert_eq!(run_id.chars().nth(14), Some('7'), "{run_id}");
    assert!(requests.iter().all(|request| request.body["run"]["runId"] == run_id));
    assert!(run.file("records.jsonl").contains(run_id), "{}", run.file("records.jsonl"));
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A start, a connection, its table, the table in the stream, an end.
const LIFE: [&str; 5] = ["START", "RUNNING", "RUNNING", "RUNNING", "COMPLETE"];

#[test]
fn a_file_takes_one_event_a_line() {
    let mut run = Run::start("transport:\n  type: file\n  location: deep/down/events.jsonl\n", &[]);
    run.live();
    let events = lines(&run.file("deep/down/events.jsonl"));
    let types: Vec<&str> =
        events.iter().map(|event| event["eventType"].as_str().unwrap()).collect();
    assert_eq!(types, LIFE);
}

#[test]
fn the_console_is_the_log() {
    let mut run = Run::start("transport:\n  type: console\n", &["--set", "log.format=json"]);
    run.live();
    let told = lines(&run.agent.log());
    let events = told.iter().filter_map(|line| {
        let event = line.get("event").or_else(|| line.pointer("/fields/event"))?;
        Some(serde_json::from_str::<Value>(event.as_str()?).unwrap())
    });
    let types: Vec<String> =
        events.map(|event| event["eventType"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, LIFE);
}

#[test]
fn a_topic_takes_events_under_the_jobs_key() {
    let kafka = Kafka::start();
    kafka.create_topic("lineage.events", 3, &[]);
    let yaml = format!(
        "transport:\n  type: kafka\n  topicName: lineage.events\n  properties:\n    \
         bootstrap.servers: {}\n    key.serializer: x\n    linger.ms: 1\n",
        kafka.bootstrap()
    );
    let mut run = Run::start(&yaml, &[]);
    run.live();
    let records = topics::read_all(&kafka.bootstrap(), "lineage\\.events");
    let types: Vec<Value> = records
        .iter()
        .map(|record| serde_json::from_str::<Value>(&record.value_text()).unwrap())
        .map(|event| event["eventType"].clone())
        .collect();
    assert_eq!(types, LIFE);
    assert!(records.iter().all(|record| record.key.as_deref() == Some(b"run:lineage/lineage.0")));
}

/// What an agent says that is not started.
#[track_caller]
fn refused(yaml: Option<&str>, more: &[&str], expected: &[&str]) {
    let folder = process::scratch_dir("lineage");
    if let Some(yaml) = yaml {
        fs::write(folder.path().join("openlineage.yml"), yaml).unwrap();
    }
    let config = follow::config(1, PREFIX, "openlineage.yml");
    fs::write(folder.path().join("connector.json"), config.to_string()).unwrap();
    let mut agent = follow::spawn(&folder, more);
    let status = agent.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(78), "{}", agent.log());
    for part in expected {
        assert!(agent.log().contains(part), "lacks {part}: {}", agent.log());
    }
    assert!(!agent.log().contains("s3cret"), "{}", agent.log());
}

#[test]
fn what_cannot_work_is_refused_with_what_was_found_and_what_to_do() {
    let file = "openlineage.integration.config.file.path";
    refused(None, &[], &[file, "openlineage.yml does not exist"]);
    refused(Some("transport: ["), &[], &[file, "it is no YAML"]);
    refused(Some("other: 1"), &[], &[file, "transport is missing"]);
    refused(
        Some("transport: {type: amazon_datazone_api}"),
        &[],
        &["found \"amazon_datazone_api\", expected http, console, file or kafka"],
    );
    refused(Some("transport: {type: http}"), &[], &["transport.url is missing"]);
    refused(
        Some("transport: {type: http, url: 'http://u:s3cret@h/x', endpoint: z}"),
        &[],
        &["transport.url has a path, and transport.endpoint is \"z\": give one"],
    );
    refused(
        Some("transport: {type: kafka, topicName: t, properties: {nonsense: s3cret}}"),
        &[],
        &["OpenLineage cannot be started", "nonsense"],
    );
    let tags = "openlineage.integration.job.tags";
    refused(
        Some("transport: {type: console}"),
        &["--set", &format!("{tags}=a=1,b")],
        &[tags, "found \"b\", expected KEY=VALUE between commas"],
    );
    refused(
        Some("transport: {type: console}"),
        &["--set", "openlineage.integration.nonsense=1"],
        &["openlineage.integration.nonsense: no such property"],
    );
}

#[test]
fn the_environment_takes_the_place_of_a_missing_file() {
    let server = Postgres::system();
    server.create_database(PREFIX);
    server.execute(PREFIX, "CREATE TABLE t (id int PRIMARY KEY)");
    let folder = process::scratch_dir("lineage");
    let config = follow::config(server.port(), PREFIX, "not-there.yml");
    fs::write(folder.path().join("connector.json"), config.to_string()).unwrap();
    let events = folder.path().join("events.jsonl");
    let mut command = follow::command(folder.path(), &[]);
    command.env("OPENLINEAGE__TRANSPORT__TYPE", "file");
    command.env("OPENLINEAGE__TRANSPORT__LOCATION", &events);
    let mut agent = Daemon::spawn("agent", command, folder.path());
    process::wait_until(PATIENCE, "an event", || {
        assert!(agent.is_running(), "{}", agent.log_tail());
        // The file is there before signals are listened to.
        fs::metadata(&events).is_ok_and(|file| file.len() > 0)
    });
    let status = agent.terminate(PATIENCE);
    assert!(status.success(), "{status}: {}", agent.log_tail());
}
