//! Two runs of a scene, compared event by event and member by member.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::json;

use super::scene::Heard;
use super::scene::Scene;

/// Settings that only one side has: what Connect adds, and what our agent is started with.
const CONFIGS_OF_ONE_SIDE: [&str; 5] = ["name=", "task.class=", "http=", "to=", "state="];

/// What cannot be equal in an error: its text, its language, its trace.
const ERROR: &str = "/run/facets/errorMessage";

/// Fails with all differences.
#[track_caller]
pub(crate) fn compare(scene: &Scene, debezium: &[Heard], ours: &[Heard]) {
    let differences = differences(scene, debezium, ours);
    assert!(differences.is_empty(), "{}:\n{}", scene.name, differences.join("\n"));
}

/// What differs, in words.
pub(crate) fn differences(scene: &Scene, debezium: &[Heard], ours: &[Heard]) -> Vec<String> {
    let debezium = by_step(scene, &as_ours(debezium));
    let ours = by_step(scene, ours);
    let mut differences = Vec::new();
    for step in debezium.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        let none = Step::default();
        let (one, other) = (debezium.get(step).unwrap_or(&none), ours.get(step).unwrap_or(&none));
        for (what, one, other) in [
            ("life", one.life.clone(), other.life.clone()),
            (
                "tables",
                one.tables.iter().cloned().collect(),
                other.tables.iter().cloned().collect(),
            ),
        ] {
            for event in one.iter().filter(|event| !other.contains(event)) {
                differences.push(format!("{step}: {what}: only Debezium: {event}"));
            }
            for event in other.iter().filter(|event| !one.contains(event)) {
                differences.push(format!("{step}: {what}: only ours: {event}"));
            }
            if differences.is_empty() && one != other {
                differences.push(format!("{step}: {what}: another order or number"));
            }
        }
    }
    differences
}

/// Debezium's events with the one thing done otherwise that is no chance: a task that fails for good
/// sends COMPLETE, as if it had been asked to stop, and a run of ours that fails sends FAIL.
pub(crate) fn as_ours(debezium: &[Heard]) -> Vec<Heard> {
    let mut heard = debezium.to_vec();
    for heard in &mut heard {
        let event = &mut heard.event;
        if heard.step == "start in vain" && event["eventType"] == "COMPLETE" {
            event["eventType"] = json!("FAIL");
            let facets = event["run"]["facets"].as_object_mut().unwrap();
            let producer = facets["processing_engine"]["_producer"].clone();
            let schema = "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json\
                          #/$defs/ErrorMessageRunFacet";
            let error = json!({
                "_producer": producer, "_schemaURL": schema, "message": "m",
                "programmingLanguage": "l", "stackTrace": "s",
            });
            facets.shift_insert(0, "errorMessage".to_owned(), error);
        }
    }
    heard
}

/// Paths of all members and elements that hold no others.
pub(crate) fn members(event: &Value) -> Vec<String> {
    let under = |name: String, value: &Value| -> Vec<String> {
        members(value).into_iter().map(|rest| format!("/{name}{rest}")).collect()
    };
    match event {
        Value::Object(all) if !all.is_empty() => {
            all.iter().flat_map(|(name, value)| under(name.clone(), value)).collect()
        }
        Value::Array(all) if !all.is_empty() => {
            all.iter().enumerate().flat_map(|(at, value)| under(at.to_string(), value)).collect()
        }
        _ => vec![String::new()],
    }
}

/// Whether a member is not compared. Settings are: one that is changed is missing.
pub(crate) fn is_masked(path: &str) -> bool {
    ["message", "programmingLanguage", "stackTrace"]
        .iter()
        .any(|name| path == format!("{ERROR}/{name}"))
}

/// A step's events: those of the run's life in their order, without repetitions, and what was said of
/// tables, in whatever order a Java map has.
#[derive(Debug, Default)]
struct Step {
    life: Vec<String>,
    tables: BTreeSet<String>,
}

fn by_step(scene: &Scene, heard: &[Heard]) -> BTreeMap<&'static str, Step> {
    let mut steps: BTreeMap<&'static str, Step> = BTreeMap::new();
    // How often a table is described again after a break is decided by what is sent again.
    let mut told: BTreeSet<(String, String)> = BTreeSet::new();
    let mut last = "";
    for heard in heard {
        let event = normalised(&heard.event);
        if std::mem::replace(&mut last, heard.step) != heard.step && scene.begins_anew(heard.step) {
            told.clear();
        }
        let step = steps.entry(heard.step).or_default();
        let table = event["inputs"][0]["name"].as_str().map(str::to_owned);
        let text = event.to_string();
        match table {
            Some(table) => {
                let is_new = told.insert((table, text.clone()));
                if is_new || !scene.repeats(heard.step) {
                    step.tables.insert(text);
                }
            }
            None if step.life.last() == Some(&text) => {}
            None => step.life.push(text),
        }
    }
    steps.retain(|_, step| !step.life.is_empty() || !step.tables.is_empty());
    steps
}

fn normalised(event: &Value) -> Value {
    let mut event = event.clone();
    let sort = |event: &mut Value, path: &str| {
        if let Some(Value::Array(items)) = event.pointer_mut(path) {
            items.sort_by_key(Value::to_string);
        }
    };
    for path in [
        "/run/facets/debezium_config/configs",
        "/job/facets/tags/tags",
        "/job/facets/ownership/owners",
    ] {
        sort(&mut event, path);
    }
    if let Some(Value::Array(configs)) = event.pointer_mut("/run/facets/debezium_config/configs") {
        configs.retain(|config| {
            let text = config.as_str().unwrap();
            !CONFIGS_OF_ONE_SIDE.iter().any(|start| text.starts_with(start))
        });
    }
    if let Some(error) = event.pointer_mut(ERROR) {
        for name in ["message", "programmingLanguage", "stackTrace"] {
            let said = error[name].as_str().is_some_and(|text| !text.is_empty());
            error[name] = json!(if said { "masked" } else { "missing" });
        }
    }
    event
}
