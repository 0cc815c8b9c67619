//! Goal: values of properties are read as a real Debezium reads them: what it takes we take, what it
//! refuses we refuse, and its regular expressions match the same names.
//!
//! Method: `proto-fixtures/debezium/properties` holds settings with the verdict of a real Debezium in
//! a real Kafka Connect (`config/validate`), and expressions with the names that Java matches. Both are
//! put to our own reading; each difference stands in a table here with its reason, and a reason
//! that nothing needs is an error. The ignored tests record both files anew.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use cdc_agent::capture::JavaRegex;
use cdc_agent::config::AgentConfig;
use cdc_agent::config::RawConfig;
use cdc_agent::config::file;
use cdc_agent::config::properties::Program;
use cdc_testkit::http;
use cdc_testkit::servers::connect::Connect;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use serde_json::Value;
use serde_json::json;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/debezium/properties")
}

fn read(name: &str) -> String {
    fs::read_to_string(fixtures().join(name)).unwrap()
}

/// Expressions that we refuse and Java takes, or the reverse, and why.
const OTHER_EXPRESSIONS: &[(&str, &str)] = &[
    (r"\p{InGreek}", "blocks of Unicode are refused: scripts have almost the same letters"),
    (r"\p{javaMirrored}", "of Java's own properties only those of letters and digits are known"),
    (r"\1", "a reference to a group that is not there is refused, where Java's never matches"),
    (r"\X", "clusters of characters are refused"),
    (r"\N{LATIN SMALL LETTER A}", "names of characters are refused"),
    ("a{1}{2}", "two repetitions are refused, where Java forgets the second"),
];

#[test]
fn expressions_match_what_java_matches() {
    let names = read("names.txt");
    let names: Vec<&str> = names.lines().collect();
    let mut unused: BTreeSet<&str> = OTHER_EXPRESSIONS.iter().map(|(text, _)| *text).collect();
    let mut wrong = Vec::new();
    let recorded = read("expressions.tsv");
    for line in recorded.lines() {
        let (expression, expected) = line.rsplit_once('\t').unwrap();
        let found = match JavaRegex::new(expression, true) {
            Err(_) => "refused".to_owned(),
            Ok(compiled) => {
                let matched = names.iter().enumerate().filter(|(_, name)| compiled.is_match(name));
                let matched: Vec<String> = matched.map(|(at, _)| at.to_string()).collect();
                matched.join(",")
            }
        };
        if found != expected && !unused.remove(expression) {
            wrong.push(format!("{expression}\n    Java: {expected}\n    ours: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(unused.is_empty(), "no longer different: {unused:?}");
    assert!(recorded.lines().count() > 200, "expressions are missing");
}

/// What every connector of the verdicts has beside the settings in question.
fn base() -> Value {
    json!({
        "name": "x",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": "5432",
        "database.user": "postgres",
        "database.password": "x",
        "database.dbname": "postgres",
        "topic.prefix": "p",
        "plugin.name": "pgoutput",
        "slot.name": "s",
    })
}

fn merged(set: &Value) -> Value {
    let mut all = base().as_object().unwrap().clone();
    all.extend(set.as_object().unwrap().clone());
    Value::Object(all)
}

/// Values that Debezium's validation takes and we refuse, and why; no values: all that are recorded.
/// Names that we refuse altogether, or do not know, are not here: the message has the reason.
const REFUSED: &[(&str, &[&str], &str)] = &[
    ("*.list", &[" ", ","], NOTHING),
    ("*.propagate.source.type", &[" ", ","], NOTHING),
    ("column.mask.with.5.chars", &[" "], NOTHING),
    ("column.mask.with.5.chars", &["("], AT_THE_START),
    ("column.mask.with.-1.chars", &[], IGNORED),
    ("column.truncate.to.*", &[], IGNORED),
    ("column.mask.with.99999999999.chars", &[], "no record holds so many"),
    ("column.mask.hash.*", &[], "no algorithm has the name, or the name has another form"),
    ("notification.enabled.channels", &[], "a channel of that name is not there, or needs a JVM"),
    ("openlineage.integration.config.file.path", &[], "openlineage.yml is missing"),
    ("slot.stream.params", &["proto_version=2"], "the form of the stream is ours to choose"),
    ("slot.stream.params", &[], IGNORED),
    ("snapshot.mode", &["configuration_based", "CONFIGURATION_BASED"], "there is nothing to do"),
    ("slot.retry.delay.ms", &["-1"], NEGATIVE),
    ("snapshot.lock.timeout.ms", &["-1"], NEGATIVE),
    ("topic.cache.size", &["-1"], NEGATIVE),
    ("database.connection.timeout.ms", &["-1"], NEGATIVE),
    ("money.fraction.digits", &["-1", "101", "32767"], "money has no such digits"),
    ("money.fraction.digits", &[], IGNORED),
    ("event.converting.failure.handling.mode", &[], IGNORED),
    ("skip.messages.without.change", &[], IGNORED),
    ("offset.mismatch.strategy", &[], IGNORED),
    ("database.connection.timeout.ms", &[], IGNORED),
    ("snapshot.max.threads.multiplier.public.t", &[], IGNORED),
    ("topic.cache.size", &[], IGNORED),
    ("value.converter.schemas.enable", &["yes"], IGNORED),
    ("topic.naming.strategy", &[], "there is no such class"),
    ("topic.re*", &[], "the strategy by expressions needs both"),
    ("replica.identity.autoset.values", &[], AT_THE_START),
    ("topic.heartbeat.*", &[], AT_THE_START),
    ("topic.transaction", &[], AT_THE_START),
    ("topic.delimiter", &[], AT_THE_START),
    ("unavailable.value.placeholder", &[], "what follows hex: are no digits"),
    ("custom.metric.tags", &[], "a label has a name and stands once"),
    ("custom.sanitize.pattern", &[], AT_THE_START),
    ("key.converter", &[], "JsonConverter is the only converter"),
    ("header.converter", &[], "SimpleHeaderConverter is the only converter of headers"),
    ("topic.creation.b.include", &[], IGNORED),
    ("topic.creation.*", &[], AT_THE_START),
    ("producer.override.acks", &["1"], "the guarantees rest on all"),
    ("plugin.name", &["decoderbufs"], "pgoutput is built into every server"),
];
const NOTHING: &str = "a list that can match nothing is a mistake";
const AT_THE_START: &str = "Debezium or Kafka Connect finds it when the connector starts";
const IGNORED: &str = "Debezium passes over it in silence, which hides a mistake";
const NEGATIVE: &str = "a negative time or number means nothing";

/// Values that Debezium refuses and we take, and why.
const TAKEN: &[(&str, &[&str], &str)] = &[
    ("database.dbname", &[], ELSEWHERE),
    ("database.user", &[], ELSEWHERE),
    ("database.hostname", &["null", "", " "], ELSEWHERE),
    ("database.hostname", &[], "several hosts, addresses and folders of sockets are libpq's"),
    ("internal.*", &["null", "", " "], EMPTY),
    ("memory.management.*", &["", " "], EMPTY),
    ("sourceinfo.struct.maker", &["", " "], EMPTY),
    ("transaction.metadata.factory", &["", " "], EMPTY),
    ("offsets.storage.topic", &[""], EMPTY),
    ("name", &[""], EMPTY),
    ("column.mask.with.5.chars", &["null"], EMPTY),
    ("*.exclude.list", &["", "b"], "an empty list is none: the other one holds"),
];
const ELSEWHERE: &str = "PG* variables and libpq's defaults give what the file does not";
const EMPTY: &str = "an empty value asks for nothing";

/// The settings of the connector with these beside its own.
fn taken(set: &Value) -> AgentConfig {
    let mut raw = RawConfig::new(Program::Agent);
    raw.give_file(file::parse(Path::new("x.json"), &merged(set).to_string()).unwrap());
    AgentConfig::new(raw, |_| None).unwrap()
}

/// Source: what `PostgresConnectorConfig` of 3.6.1.Final answers for them.
#[test]
fn values_mean_what_they_mean_in_debezium() {
    let capture = |set: Value| taken(&set).capture;
    let beats = |set| capture(set).heartbeat.map(|heartbeat| heartbeat.interval.as_millis());
    assert_eq!(beats(json!({})), None);
    assert_eq!(beats(json!({"heartbeat.interval.ms": "+5"})), Some(5));
    let by_driver = " Connector_And_Driver ";
    assert_eq!(beats(json!({"lsn.flush.mode": by_driver})), Some(600_000));
    let told = json!({"lsn.flush.mode": by_driver, "provide.transaction.metadata": "True"});
    assert_eq!(beats(told), None);
    let given = json!({"lsn.flush.mode": by_driver, "heartbeat.interval.ms": 7});
    assert_eq!(beats(given), Some(7));
    assert!(!capture(json!({"flush.lsn.source": " FALSE "})).slot_options.confirms);
    assert!(!capture(json!({"lsn.flush.mode": "MANUAL"})).slot_options.confirms);
    assert_eq!(capture(json!({"slot.max.retries": "+007"})).slot_retries, 7);
    assert_eq!(capture(json!({"slot.max.retries": "-1"})).slot_retries, 0);
    assert!(capture(json!({"skip.messages.without.change": "TRUE"})).skip_unchanged);
    let default = capture(json!({})).source_queue_bytes;
    let unbounded = capture(json!({"max.queue.size.in.bytes": "0"})).source_queue_bytes;
    assert_eq!(unbounded, default);
    let small = capture(json!({"max.queue.size.in.bytes": "1"})).source_queue_bytes;
    assert!(small > 1 && small < default, "{small}");
    assert_eq!(capture(json!({"snapshot.max.threads": "1000000"})).snapshot.threads, 256);
    let keys = capture(json!({"message.key.columns": " a.b:c , d ; e.f : g "})).columns.keys;
    let matched = |name: &str| keys.iter().position(|key| key.matches(name));
    let places = ["a.b.c", "A.B.D", "e.f .g", "e.f.g"].map(matched);
    assert_eq!(places, [Some(0), Some(1), Some(2), None]);
}

/// What we refuse of a connector's file: each property and the reason.
fn refused_here(set: &Value) -> Vec<(String, String)> {
    let mut raw = RawConfig::new(Program::Agent);
    raw.give_file(file::parse(Path::new("x.json"), &merged(set).to_string()).unwrap());
    let errors = AgentConfig::new(raw, |_| None).err().unwrap_or_default();
    errors.into_iter().map(|error| (error.key, error.message)).collect()
}

/// Whether a name is one of those: `*` stands for anything at one of the ends.
fn is_of(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (_, Some(start)) => name.starts_with(start),
        _ => pattern == name,
    }
}

/// The place of the first reason for a difference.
fn reason(all: &[(&str, &[&str], &str)], set: &Value, names: &BTreeSet<&str>) -> Option<usize> {
    let text = |name: &str| match &set[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    all.iter().position(|(pattern, values, _)| {
        let of = |name: &&&str| is_of(pattern, name);
        names
            .iter()
            .filter(of)
            .any(|name| values.is_empty() || values.contains(&text(name).as_str()))
    })
}

#[test]
fn values_are_taken_and_refused_as_debezium_does() {
    let recorded = read("verdicts.jsonl");
    let mut wrong = Vec::new();
    let (mut refused_for, mut taken_for) = (BTreeSet::new(), BTreeSet::new());
    let mut same = 0;
    for line in recorded.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let set = &line["set"];
        let there: BTreeSet<&str> =
            line["refused"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let here = refused_here(set);
        let names: BTreeSet<&str> = here.iter().map(|(name, _)| name.as_str()).collect();
        let known = here.iter().all(|(_, message)| {
            message.starts_with("a property of Debezium that is refused here: ")
                || message.starts_with("no such property; the nearest is ")
        });
        let explained = match (there.is_empty(), here.is_empty()) {
            (true, true) => Some(()),
            // The message names what was given, or what Debezium names.
            (false, false) => {
                let named = names.iter().all(|name| set.get(*name).is_some());
                (named || !names.is_disjoint(&there)).then(|| same += 1)
            }
            (true, false) if known => Some(()),
            (true, false) => {
                reason(REFUSED, set, &names).map(|place| _ = refused_for.insert(place))
            }
            (false, true) => {
                let of_set = set.as_object().unwrap().keys().map(String::as_str).collect();
                reason(TAKEN, set, &of_set).map(|place| _ = taken_for.insert(place))
            }
        };
        if explained.is_none() {
            wrong.push(format!("{set}\n    Debezium refuses: {there:?}\n    we refuse: {here:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    for (all, used) in [(REFUSED, refused_for), (TAKEN, taken_for)] {
        for (place, (name, values, _)) in all.iter().enumerate() {
            assert!(used.contains(&place), "no longer different: {name} {values:?}");
        }
    }
    assert!(same > 400, "only {same} values are refused by both: are verdicts missing?");
}

/// Records what Java says of the expressions.
#[test]
#[ignore = "records fixtures anew: needs Java"]
fn record_expressions() {
    let status = std::process::Command::new("java")
        .current_dir(fixtures())
        .args(["Expressions.java", "names.txt", "expressions.tsv"])
        .status();
    assert!(status.unwrap().success());
}

/// Records what a real Debezium says of the settings, for all lines that are there.
#[test]
#[ignore = "records fixtures anew: needs Kafka Connect with Debezium"]
fn record_verdicts() {
    let (postgres, kafka) = (Postgres::start(15), Kafka::start());
    let connect = Connect::start(&kafka);
    let url = format!("{}/connector-plugins/PostgresConnector/config/validate", connect.url());
    let mut out = String::new();
    for line in read("verdicts.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let mut all = merged(&line["set"]);
        if line["set"].get("database.port").is_none() {
            all["database.port"] = json!(postgres.port().to_string());
        }
        let answer = http::request("PUT", &url, Some(&all)).unwrap();
        let mut refused = BTreeSet::new();
        if answer.is_success() {
            for property in answer.json()["configs"].as_array().unwrap() {
                let value = &property["value"];
                if value["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
                    refused.insert(value["name"].as_str().unwrap().to_owned());
                }
            }
        } else {
            refused.insert("*".to_owned());
        }
        let line = json!({ "set": line["set"], "refused": refused });
        out.push_str(&format!("{line}\n"));
    }
    fs::write(fixtures().join("verdicts.jsonl"), out).unwrap();
}
