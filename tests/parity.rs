//! Goal: who follows a database beside a real Debezium sees no difference.
//!
//! Method: PostgreSQL, two Kafkas, and Kafka Connect with Debezium. Debezium and our agent follow
//! the same database at the same time, through slots of their own, with the same connector JSON
//! and the same topic prefix; then every record of both is compared byte by byte: topic, key,
//! value, headers, order within a partition, partition of records with a key. Only what is not
//! determined is left out: version, wall clocks, the moment of the snapshot, the id of the run, the
//! commit before the first. Known differences are those of `tests/oracle/expected.rs`.
//!
//! The scripts are recorded cases and those of a seeded generator of schemas, transactions and
//! settings. `CASE=name,name` and `SEED=n` run those only; `SEEDS=n` with `--ignored` runs every
//! case on every version and so many seeds; `FOLDER=path` with `--ignored` runs what lies there, as
//! `Script::of_file` reads it; `SHOW=1` prints what both said,
//! `ALL=1` all differences.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    reason = "a test may panic, in its helpers too, and tells what it finds"
)]

// Cases and comparison are the other test's.
#[path = "oracle/json.rs"]
mod json;
#[path = "oracle/records.rs"]
mod records;
#[path = "oracle/case.rs"]
mod case;
#[path = "oracle/run.rs"]
mod run;
#[path = "oracle/compare.rs"]
mod compare;
#[path = "oracle/expected.rs"]
mod expected;
#[path = "parity/mask.rs"]
mod mask;
#[path = "parity/judge.rs"]
mod judge;
#[path = "parity/script.rs"]
mod script;
#[path = "parity/follow.rs"]
mod follow;
#[path = "parity/generator.rs"]
mod generator;
#[path = "parity/columns.rs"]
mod columns;
#[path = "parity/wide.rs"]
mod wide;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics::TopicRecord;
use follow::Run;
use follow::Side;
use script::Script;

/// Scripts that run at the same time.
const THREADS: usize = 3;

/// Differences that are shown of one script.
const SHOWN: usize = 12;

/// Cases of every kind, for every day.
const EVERY_DAY: &[&str] = &[
    "column_mask_hash",
    "events_ddl_midstream_schemas",
    "events_key_change",
    "events_toast",
    "message_key_columns_full",
    "naming_SchemaRegexTopicNamingStrategy",
    "provide_transaction_metadata",
    "types_no_schema",
];

/// Cases whose SQL PostgreSQL 14 does not understand.
const NOT_ON_14: &[&str] = &["events_multi_row_copy", "types_array_unsupported"];

/// Seeds for every day.
const SEEDS_EVERY_DAY: u64 = 4;

/// Start of the names of cases at which Debezium's task stays where it is, without a word.
const STUCK: &str = "edge_interval_far_hours";

/// A case of which Debezium does not read what ours does: a read stands against a change, whose
/// moments are compared here.
const NOT_READ: &str = "edge_table_name_line";

/// Cases that cannot run side by side: they end the worker's task or stop it, or need what is
/// refused. The `oracle` test compares ours with what was recorded of them.
fn is_possible(case: &case::Case) -> bool {
    if case.name.starts_with(STUCK) || case.name == NOT_READ {
        return false;
    }
    let connector = case.connector();
    let refused = ["transforms", "signal.data.collection"];
    !case.is_refused() && !connector.iter().any(|(name, _)| refused.contains(&name.as_str()))
}

#[test]
fn ours_is_debezium() {
    let cases = std::env::var("CASE").unwrap_or_default();
    let seed: Option<u64> = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let wanted = |name: &str| match cases.as_str() {
        "" => seed.is_none() && EVERY_DAY.contains(&name),
        "all" => true,
        names => names.split(',').any(|wanted| wanted == name),
    };
    let mut scripts: Vec<Script> = case::all()
        .iter()
        .filter(|case| wanted(&case.name) && is_possible(case))
        .map(Script::of_case)
        .collect();
    match seed {
        Some(seed) => scripts.push(generator::script(seed)),
        None if cases.is_empty() => scripts.extend((1..=SEEDS_EVERY_DAY).map(generator::script)),
        None => {}
    }
    follow(scripts, 15, &Side::debezium(), &Side::ours());
}

#[test]
#[ignore = "every case on every version, and as many seeds as SEEDS says"]
fn ours_is_debezium_everywhere() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first = number("FIRST", 1);
    let seeds = first..first + number("SEEDS", 20);
    let (left, right) = (Side::debezium(), Side::ours());
    let scalar = |name: &str| ["types_", "events_"].iter().any(|start| name.starts_with(start));
    for version in [15, 14, 16, 17, 18] {
        let asked = number("VERSION", u64::from(version));
        if asked != u64::from(version) {
            continue;
        }
        let mut scripts: Vec<Script> = case::all()
            .iter()
            .filter(|case| is_possible(case) && number("CASES", 1) > 0)
            // What was recorded on later versions only needs them.
            .filter(|case| match case.versions().iter().min() {
                Some(first) if *first > 15 => version >= *first,
                _ => version == 15 || scalar(&case.name),
            })
            // The packages of the others have no PostGIS, and some SQL came with 15.
            .filter(|case| version == 15 || !case.name.contains("postgis"))
            .filter(|case| version >= 15 || !NOT_ON_14.contains(&&*case.name))
            .map(Script::of_case)
            .collect();
        scripts.extend(seeds.clone().map(generator::script));
        follow(scripts, version, &left, &right);
    }
}

#[test]
#[ignore = "scripts of a folder that FOLDER names, on VERSION"]
fn ours_is_debezium_in_a_folder() {
    let folder = std::env::var("FOLDER").unwrap_or_else(|_| "probes".to_owned());
    let version = std::env::var("VERSION").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let mut files: Vec<std::path::PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let scripts = files.iter().map(|file| Script::of_file(file)).collect();
    follow(scripts, version, &Side::debezium(), &Side::ours());
}

#[test]
#[ignore = "needs a second worker; run it when the comparison was changed"]
fn debezium_is_debezium() {
    let mut scripts: Vec<Script> = case::all()
        .iter()
        .filter(|case| EVERY_DAY.contains(&case.name.as_str()))
        .map(|case| Script { expected: Vec::new(), ..Script::of_case(case) })
        .collect();
    scripts.extend((1..=SEEDS_EVERY_DAY).map(generator::script));
    follow(scripts, 15, &Side::debezium(), &Side::debezium());
}

/// Runs scripts and tells what differs.
fn follow(scripts: Vec<Script>, version: u32, left: &Side, right: &Side) {
    let server = Postgres::start(version);
    let count = scripts.len();
    let queue = Mutex::new(scripts.into_iter().collect::<VecDeque<_>>());
    let wrong = Mutex::new(Vec::new());
    let numbers = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some(script) = queue.lock().unwrap().pop_front() else { break };
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let prefix = format!("side{version}x{number}");
                    let run = Run { script: &script, server: &server, prefix };
                    let judged =
                        std::panic::catch_unwind(AssertUnwindSafe(|| judge_one(&run, left, right)));
                    let found = judged.unwrap_or_else(|_| vec!["it panicked, see above".into()]);
                    if !found.is_empty() {
                        wrong.lock().unwrap().push((script.name.clone(), found));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    println!("PostgreSQL {version}: {} of {count} scripts as they must be", count - wrong.len());
    let text: Vec<String> =
        wrong.iter().map(|(name, found)| format!("{name}\n  {}", found.join("\n  "))).collect();
    assert!(wrong.is_empty(), "{} scripts are not:\n{}", wrong.len(), text.join("\n"));
}

/// What is wrong with one script.
fn judge_one(run: &Run<'_>, left: &Side, right: &Side) -> Vec<String> {
    let outcome = run.run(left, right);
    let verdict = judge::compare(&outcome.left, &outcome.right, &run.prefix);
    let expected = &run.script.expected;
    let ended = outcome.said[0].contains("Exception");
    let mut wrong: Vec<String> = verdict
        .differences
        .iter()
        .filter(|found| !expected.iter().any(|expected| expected.explains(found)))
        // The message at the end of a part comes only from who is still there.
        .filter(|found| !(ended && found.place.starts_with("P.message[")))
        .map(ToString::to_string)
        .collect();
    // Debezium ends at some combinations; what ours does then cannot be compared, but it goes on.
    if outcome.right_ended && run.script.setting("snapshot.mode") != Some("initial_only") {
        return vec![format!("ours ended: {}", outcome.said[1])];
    }
    if ended && run.script.name.starts_with("seed") {
        println!("{}: not compared, Debezium ended: {}", run.script.name, cause(&outcome.said[0]));
        return Vec::new();
    }
    println!(
        "{}: {} records equal, {} differences, {} of them not expected",
        run.script.name,
        verdict.equal,
        verdict.differences.len(),
        wrong.len()
    );
    if std::env::var_os("SHOW").is_some() && !wrong.is_empty() {
        for (side, records) in [("left", &outcome.left), ("right", &outcome.right)] {
            for record in records {
                let text = |bytes: &Option<Vec<u8>>| {
                    let bytes = bytes.as_deref().unwrap_or(b"none");
                    String::from_utf8_lossy(bytes).into_owned()
                };
                let place = (record.partition, record.offset);
                println!("{side} {} {place:?} {}", record.topic, text(&record.key));
                println!("    {}", text(&record.value));
            }
        }
    }
    if std::env::var_os("SHOW").is_some() {
        println!("{}\n---\n{}", outcome.said[0].replace("\\n", "\n"), outcome.said[1]);
    }
    if verdict.equal == 0 && verdict.differences.is_empty() {
        wrong.push(format!("no records at all; ours said: {}", outcome.said[1]));
    }
    if wrong.len() > SHOWN && std::env::var_os("ALL").is_none() {
        let more = wrong.split_off(SHOWN).len();
        wrong.push(format!("and {more} more"));
    }
    wrong
}

/// The last cause of a Java exception.
fn cause(trace: &str) -> &str {
    let cause = trace.rsplit("Caused by: ").next().unwrap_or(trace);
    cause.split("\\n").next().unwrap_or(cause)
}

/// A record as it lies in Kafka, of a line of a recorded case.
fn record_of(line: &str) -> TopicRecord {
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    let bytes =
        |value: &serde_json::Value| (!value.is_null()).then(|| value.to_string().into_bytes());
    TopicRecord {
        topic: record["topic"].as_str().unwrap().to_owned(),
        partition: 0,
        offset: 0,
        key: bytes(&record["key"]),
        value: bytes(&record["value"]),
        headers: vec![("__debezium.context.taskId".into(), b"0".to_vec())],
        timestamp: None,
    }
}

#[test]
fn every_changed_byte_that_is_not_masked_is_noticed() {
    let case = case::all().into_iter().find(|case| case.name == "events_basic_schemas").unwrap();
    let text = std::fs::read_to_string(case.folder.join("records.jsonl")).unwrap();
    let records: Vec<TopicRecord> = text.lines().map(record_of).collect();
    assert_eq!(judge::compare(&records, &records, "none").differences, []);
    let nothing = (0, String::new());
    for (at, record) in records.iter().enumerate().step_by(3) {
        let Some(value) = &record.value else { continue };
        let leaves = mask::leaves(value);
        let unmasked = judge::masked(record, &nothing).value.unwrap();
        for (_, range) in leaves.iter().step_by(7) {
            let mut changed = record.clone();
            changed.value.as_mut().unwrap()[range.end - 1] ^= 1;
            let same = judge::masked(&changed, &nothing).value.unwrap() == unmasked;
            let mut other = records.clone();
            other[at] = changed;
            let found = judge::compare(&records, &other, "none").differences;
            assert_eq!(found.is_empty(), same, "{range:?} of record {at}");
        }
        for part in ["key", "headers", "topic", "partition"] {
            let mut changed = record.clone();
            match part {
                "key" => changed.key.as_mut().unwrap()[1] ^= 1,
                "headers" => changed.headers[0].1[0] ^= 1,
                "topic" => changed.topic.push('x'),
                _ => changed.partition += 1,
            }
            let mut other = records.clone();
            other[at] = changed;
            let found = judge::compare(&records, &other, "none").differences;
            assert!(!found.is_empty(), "the {part} of record {at}");
        }
    }
}

#[test]
#[ignore = "prints the script of SEED"]
fn shows_a_script() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let script = generator::script(seed);
    println!("{:#?}\n{} partitions", script.connector, script.partitions);
    println!("{};\n", script.setup.join(";\n"));
    for part in script.work {
        println!("-- wait\n{};", part.join(";\n"));
    }
}
