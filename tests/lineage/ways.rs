//! What arrives by each way out, and what becomes of a connector that has none.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use cdc_testkit::process;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics;
use serde_json::Value;
use serde_json::json;

use super::follow;
use super::follow::Follower;
use super::follow::PATIENCE;
use super::follow::PREFIX;
use super::follow::Side;
use super::receiver::Manner;
use super::receiver::Receiver;

const TOPIC: &str = "lineage.events";

/// What is seen of the first event, by way.
pub(crate) fn walk(side: &Side) -> Value {
    let server = Postgres::system();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 3, &[]);
    let folder = process::scratch_dir("lineage-ways");
    let receiver = Receiver::start(Manner::Answer(201));
    let (http, url) = (receiver.requests(), receiver.url());
    assert!(http.is_empty());
    let yaml = format!(
        "transport:\n  type: http\n  url: {url}\n  headers: {{X-Team: cdc}}\n  auth:\n    \
         type: api_key\n    apiKey: k3y\n"
    );
    follow(side, &server, Some(&yaml));
    let first = receiver.requests().swap_remove(0);
    let header = |name: &str| json!([name, first.header(name)]);
    let names = ["accept", "authorization", "content-encoding", "content-type", "x-team"];
    let headers: Vec<Value> = names.into_iter().map(header).collect();

    let file = folder.path().join("made/events.jsonl");
    let yaml = format!("transport:\n  type: file\n  location: {}\n", file.display());
    follow(side, &server, Some(&yaml));
    let text = fs::read_to_string(&file).unwrap();
    let kinds = text.lines().map(|line| kind(&serde_json::from_str(line).unwrap()));
    let kinds: Vec<Value> = kinds.collect();

    let yaml = format!(
        "transport:\n  type: kafka\n  topicName: {TOPIC}\n  properties:\n    bootstrap.servers: {}\n\
         \x20   key.serializer: org.apache.kafka.common.serialization.StringSerializer\n    \
         value.serializer: org.apache.kafka.common.serialization.StringSerializer\n",
        kafka.bootstrap()
    );
    follow(side, &server, Some(&yaml));
    let record = topics::read_all(&kafka.bootstrap(), "lineage\\.events").swap_remove(0);
    let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
    let value: Value = serde_json::from_str(&record.value_text()).unwrap();

    json!({
        "http": { "line": first.line, "headers": headers },
        "file": { "first": kinds.first(), "last": kinds.last() },
        "kafka": { "partition": record.partition, "key": key, "first": kind(&value) },
        "no file": { "starts": follow(side, &server, None) },
    })
}

fn kind(event: &Value) -> Value {
    event["eventType"].clone()
}

/// Starts and stops a connector in a database of its own; gives whether it started.
fn follow(side: &Side, server: &Postgres, yaml: Option<&str>) -> bool {
    server.create_database(PREFIX);
    server.execute(PREFIX, "CREATE TABLE t (id int PRIMARY KEY)");
    let folder = process::scratch_dir("lineage-config");
    let file = folder.path().join("openlineage.yml");
    if let Some(yaml) = yaml {
        fs::write(&file, yaml).unwrap();
    }
    let mut config = follow::config(server.port(), PREFIX, &file.display().to_string());
    config["slot.drop.on.stop"] = json!("true");
    let mut follower = Follower::start(side, &config);
    let streaming = "SELECT count(*)::text FROM pg_stat_replication WHERE state = 'streaming'";
    let mut starts = false;
    process::wait_until(PATIENCE, "the stream, or an end", || {
        starts = server.query_one(PREFIX, streaming).as_deref() == Some("1");
        starts || follower.has_ended()
    });
    assert!(starts || yaml.is_none(), "{}", follower.says());
    follower.stop();
    drop(follower);
    process::wait_until(PATIENCE, "the slot to be gone", || {
        let slots = "SELECT count(*)::text FROM pg_replication_slots";
        server.query_one(PREFIX, slots).as_deref() == Some("0")
    });
    server.drop_database(PREFIX);
    starts
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/debezium/lineage/ways.json")
}

/// Writes down what is seen of the real one.
pub(crate) fn write(seen: &Value) {
    fs::write(path(), format!("{seen:#}\n")).unwrap();
}

/// What was seen of the real one.
pub(crate) fn recorded() -> Value {
    serde_json::from_str(&fs::read_to_string(path()).unwrap()).unwrap()
}
