//! Records a case from a real Debezium.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::servers::connect::Connect;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics;
use cdc_testkit::topics::TopicRecord;
use serde_json::Value;
use serde_json::json;

use super::case::Case;
use super::case::with_prefix;
use super::json::Json;
use super::records::Record;
use super::records::normalised;

/// Nothing more comes when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(4);

/// How long Debezium may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debezium's records for a case, normalised.
pub fn record(case: &Case, server: &Postgres, (kafka, connect): (&Kafka, &Connect)) -> Vec<Record> {
    let database = case.database();
    let prefix = format!("prefix{}", fastrand::u32(100_000..1_000_000));
    server.create_database(&database);
    let mut session = server.client(&database);
    for statement in case.setup() {
        session.simple_query(&statement).unwrap_or_else(|error| panic!("{error:?}: {statement}"));
    }
    connect.put_connector(&prefix, &config(case, server, (&database, &prefix)));
    let streaming = "SELECT count(*)::text FROM pg_replication_slots s JOIN pg_stat_replication r \
                     ON r.pid = s.active_pid WHERE r.state = 'streaming'";
    process::wait_until(PATIENCE, "Debezium streams or fails", || {
        connect.status(&prefix)["tasks"][0]["state"] == "FAILED"
            || server.query_one("postgres", streaming).as_deref() != Some("0")
    });
    let pattern = format!(".*{prefix}.*");
    wait_for_quiet(&kafka.bootstrap(), &pattern);
    for part in case.work() {
        for statement in part {
            let done = session.simple_query(&statement);
            done.unwrap_or_else(|error| panic!("{error:?}: {statement}"));
        }
        wait_for_quiet(&kafka.bootstrap(), &pattern);
    }
    let status = connect.status(&prefix);
    if status["tasks"][0]["state"] == "FAILED" {
        println!("{}: the task failed: {}", case.name, status["tasks"][0]["trace"]);
    }
    let mut records = topics::read_all(&kafka.bootstrap(), &pattern);
    records.sort_by(|one, other| (&one.topic, one.offset).cmp(&(&other.topic, other.offset)));
    connect.delete_connector(&prefix);
    drop(session);
    super::run::clean(server, &database, "record");
    normalised(records.iter().map(|record| read(record, &prefix)).collect())
}

fn wait_for_quiet(bootstrap: &str, pattern: &str) {
    let mut count = topics::count(bootstrap, pattern);
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(250));
        let now = topics::count(bootstrap, pattern);
        if now != count {
            (count, since) = (now, Instant::now());
        }
    }
}

fn config(case: &Case, server: &Postgres, (database, prefix): (&str, &str)) -> Value {
    let converter = "org.apache.kafka.connect.json.JsonConverter";
    let mut config = json!({
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": "127.0.0.1",
        "database.port": server.port().to_string(),
        "database.user": "postgres",
        "database.password": "",
        "database.dbname": database,
        "topic.prefix": prefix,
        "plugin.name": "pgoutput",
        "slot.name": "record",
        "slot.drop.on.stop": "true",
        "key.converter": converter,
        "value.converter": converter,
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
    });
    for (name, value) in case.connector() {
        let text = value.text().map_or_else(|| value.to_string(), str::to_owned);
        config[&name] = with_prefix(&name, &text, prefix).into();
    }
    config
}

fn read(record: &TopicRecord, prefix: &str) -> Record {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(prefix, "P");
    let json = |bytes: &Option<Vec<u8>>| match bytes.as_deref() {
        None => Json::Null,
        Some(b"null") => Json::Object(vec![("$text".to_owned(), Json::string("null"))]),
        Some(bytes) => Json::parse(&text(bytes)).unwrap_or_else(|error| panic!("{error}")),
    };
    Record {
        topic: text(record.topic.as_bytes()),
        key: json(&record.key),
        value: json(&record.value),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Json::String(text(value))))
            .collect(),
    }
}

/// Writes records as a case has them.
pub fn write(case: &Case, records: &[Record]) {
    let mut lines = String::new();
    for record in records {
        let header = |(name, value): &(String, Json)| {
            Json::Array(vec![Json::String(name.clone()), value.clone()])
        };
        let members = [
            ("topic", Json::String(record.topic.clone())),
            ("key", record.key.clone()),
            ("value", record.value.clone()),
            ("headers", Json::Array(record.headers.iter().map(header).collect())),
        ];
        let members = members.map(|(name, value)| (name.to_owned(), value));
        lines += &format!("{}\n", Json::Object(members.into()));
    }
    fs::write(case.folder.join("records.jsonl"), lines).unwrap();
}
