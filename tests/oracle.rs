//! Goal: our records are those that a real Debezium wrote.
//!
//! Method: for each case of `proto-fixtures/debezium`, a database of its own, the case's SQL before
//! and during our agent's run with the case's connector JSON, and every record compared with the
//! recorded ones, member by member, in the order of members and in the spelling of numbers. Each case
//! stands in one of three lists: equal, different as expected, not yet possible. `CASE=name,name`
//! runs those only, of whichever list, and `CASE=all` all of them; `SHOW=1` prints the agent's log
//! and raw records. `RECORD=name,name` with `--ignored` records cases from a real Debezium: a new one
//! is written down, an old one must come out as it stands.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test may panic, in its helpers too, and tells what it finds"
)]

/// The parts of the comparison.
mod oracle {
    pub mod json;
    pub mod records;
    pub mod case;
    pub mod run;
    pub mod record;
    pub mod compare;
    pub mod pairs;
    pub mod lists;
    pub mod expected;
}

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use cdc_testkit::servers::connect::Connect;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use oracle::case;
use oracle::case::Case;
use oracle::compare;
use oracle::compare::Difference;
use oracle::expected;
use oracle::json::Json;
use oracle::lists;
use oracle::pairs;
use oracle::record;
use oracle::records::Record;
use oracle::run;

/// Cases that run at the same time.
const THREADS: usize = 2;

/// Differences that are shown of one case, if it was not asked for by its name.
const SHOWN: usize = 10;

#[test]
fn writes_what_debezium_wrote() {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let runs: VecDeque<(Case, u32)> = case::all()
        .into_iter()
        .filter(|case| match wanted.as_str() {
            "" => !lists::NOT_YET.iter().any(|(name, _)| *name == case.name),
            "all" => true,
            names => names.split(',').any(|name| name == case.name),
        })
        .flat_map(|case| {
            let versions = case.versions();
            versions.into_iter().map(move |version| (case.clone(), version))
        })
        .collect();
    assert!(!runs.is_empty(), "no case is named {wanted}");
    let versions: BTreeSet<u32> = runs.iter().map(|(_, version)| *version).collect();
    let servers: BTreeMap<u32, Postgres> =
        versions.into_iter().map(|version| (version, Postgres::start(version))).collect();
    let count = runs.len();
    let queue = Mutex::new(runs);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some((case, version)) = next else { break };
                    let judged = std::panic::catch_unwind(AssertUnwindSafe(|| {
                        judge(&case, version, &servers[&version])
                    }));
                    let verdict = judged.unwrap_or_else(|_| vec!["it panicked, see above".into()]);
                    if !verdict.is_empty() {
                        let name = format!("{} on PostgreSQL {version}", case.name);
                        wrong.lock().unwrap().push((name, verdict));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    println!("{count} runs, {} as they must be", count - wrong.len());
    let text: Vec<String> =
        wrong.iter().map(|(name, verdict)| format!("{name}\n  {}", verdict.join("\n  "))).collect();
    assert!(wrong.is_empty(), "{} runs are not:\n{}", wrong.len(), text.join("\n"));
}

/// What is wrong with one run of a case.
fn judge(case: &Case, version: u32, server: &Postgres) -> Vec<String> {
    let ours = match run::run(case, server) {
        Ok(_) if case.is_refused() => return vec!["Debezium refuses the settings".to_owned()],
        Err(_) if case.is_refused() => return Vec::new(),
        Ok(ours) => ours,
        Err(log) => return vec![format!("the agent ended: {}", log.trim_end())],
    };
    let found = compare::differences(&case.records(version), &ours);
    let expected = expected::of_case(&case.name);
    let mut wrong: Vec<String> = found
        .iter()
        .filter(|difference| !expected.iter().any(|expected| expected.explains(difference)))
        .map(Difference::to_string)
        .collect();
    if wrong.len() > SHOWN && std::env::var_os("CASE").is_none() {
        let more = wrong.split_off(SHOWN).len();
        wrong.push(format!("and {more} more"));
    }
    for expected in expected {
        if !found.iter().any(|difference| expected.explains(difference)) {
            wrong.push(format!("{} is not as different as it was expected", expected.place));
        }
    }
    if lists::holds_pairs(&case.name) {
        wrong.extend(pairs::unequal(&ours));
    }
    wrong
}

#[test]
#[ignore = "starts Kafka Connect, to add a case; see proto-fixtures/debezium/README.md"]
fn records_cases_from_debezium() {
    let wanted = std::env::var("RECORD").expect("RECORD=name,name");
    let cases: Vec<Case> = case::all()
        .into_iter()
        .filter(|case| wanted == "all" || wanted.split(',').any(|name| name == case.name))
        .collect();
    let kafka = Kafka::start();
    let connect = Connect::start(&kafka);
    let versions: BTreeSet<u32> = cases.iter().flat_map(Case::versions).collect();
    let servers: BTreeMap<u32, Postgres> =
        versions.into_iter().map(|version| (version, Postgres::start(version))).collect();
    for case in &cases {
        for version in case.versions() {
            let records = record::record(case, &servers[&version], (&kafka, &connect));
            if !case.is_recorded() {
                record::write(case, &records);
            }
            let found = compare::differences(&case.records(version), &records);
            println!("{} on PostgreSQL {version}: {} differences", case.name, found.len());
            for difference in found {
                println!("  {difference}");
            }
        }
    }
}

#[test]
fn every_case_stands_in_one_list() {
    let known: BTreeSet<String> = case::all().into_iter().map(|case| case.name).collect();
    let mut listed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let different: BTreeSet<&str> = expected::REASONS
        .iter()
        .flat_map(|reason| reason.differences)
        .flat_map(|expected| expected.cases.iter().copied())
        .collect();
    let lists = [
        ("equal", lists::EQUAL.to_vec()),
        ("different", different.into_iter().collect()),
        ("not yet", lists::NOT_YET.iter().map(|(name, _)| *name).collect()),
    ];
    for (list, names) in &lists {
        println!("{} cases: {list}", names.len());
        for name in names {
            listed.entry((*name).to_owned()).or_default().push(list);
        }
    }
    for (name, lists) in &listed {
        assert!(known.contains(name), "{name} is no case");
        assert_eq!(lists.len(), 1, "{name} stands in {lists:?}");
    }
    for reason in expected::REASONS {
        println!("different, as it must be: {}", reason.why);
    }
    let missing: Vec<&String> = known.iter().filter(|name| !listed.contains_key(*name)).collect();
    assert!(missing.is_empty(), "in no list: {missing:?}");
}

/// Cases whose records are changed in every way: with schemas and without, with tombstones, messages
/// and headers of keys.
const CHANGED: [&str; 4] =
    ["events_basic", "events_basic_schemas", "events_key_change", "types_no_schema"];

#[test]
fn the_comparison_notices_every_change() {
    for case in case::all() {
        let records = case.records(case.versions()[0]);
        assert_eq!(compare::differences(&records, &records), [], "{}", case.name);
        if !CHANGED.contains(&case.name.as_str()) {
            continue;
        }
        let mut seen = BTreeSet::new();
        for record in records {
            let operation = record.payload().get("op").map(ToString::to_string);
            if !seen.insert((record.topic.clone(), operation)) {
                continue;
            }
            for changed in changes(&record) {
                let found = compare::differences(
                    std::slice::from_ref(&record),
                    std::slice::from_ref(&changed),
                );
                assert!(!found.is_empty(), "{}: not noticed: {changed:?}", case.name);
            }
        }
    }
}

/// The record with one thing changed, for each thing.
fn changes(record: &Record) -> Vec<Record> {
    let mut all = Vec::new();
    let with = |change: &dyn Fn(&mut Record)| {
        let mut changed = record.clone();
        change(&mut changed);
        changed
    };
    all.push(with(&|changed| changed.topic.push('x')));
    for at in 0..record.headers.len() {
        all.push(with(&|changed| changed.headers[at].0.push('x')));
        all.push(with(&|changed| changed.headers[at].1 = Json::string("x")));
        all.push(with(&|changed| drop(changed.headers.remove(at))));
    }
    let keys = changed_json(&record.key);
    all.extend(keys.into_iter().map(|key| with(&|changed| changed.key = key.clone())));
    let values = changed_json(&record.value);
    all.extend(values.into_iter().map(|value| with(&|changed| changed.value = value.clone())));
    all
}

/// The value with one thing changed, for each thing: every leaf, every name, the order of members.
fn changed_json(json: &Json) -> Vec<Json> {
    match json {
        Json::Null => vec![Json::Bool(false)],
        Json::Bool(value) => vec![Json::Bool(!value)],
        Json::Number(digits) => vec![Json::Number(format!("{digits}0"))],
        Json::String(text) => vec![Json::String(format!("{text}x"))],
        Json::Array(items) => {
            let mut all = vec![Json::Array([items.as_slice(), &[Json::Null]].concat())];
            for (at, item) in items.iter().enumerate() {
                all.extend(changed_json(item).into_iter().map(|changed| {
                    let mut items = items.clone();
                    items[at] = changed;
                    Json::Array(items)
                }));
            }
            all
        }
        Json::Object(members) => {
            let mut all = Vec::new();
            if members.len() > 1 {
                let mut turned = members.clone();
                turned.rotate_left(1);
                all.push(Json::Object(turned));
            }
            for (at, (name, value)) in members.iter().enumerate() {
                let with = |member: (String, Json)| {
                    let mut members = members.clone();
                    members[at] = member;
                    Json::Object(members)
                };
                all.push(with((format!("{name}x"), value.clone())));
                all.extend(changed_json(value).into_iter().map(|v| with((name.clone(), v))));
            }
            all
        }
    }
}
