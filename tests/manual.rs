//! Goal: the manual says what the program does.
//!
//! Method: the page of properties is written from the table that the program reads; this test holds
//! the two equal, and `UPDATE_MANUAL=1 cargo test --test manual` writes the page. Metrics, exit
//! statuses and settings that other pages name must exist.

#![allow(clippy::unwrap_used, reason = "a test that ends at the first surprise")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use cdc_agent::config::properties;
use cdc_agent::config::properties::Property;
use cdc_agent::config::properties::Support;

const PAGE: &str = "docs/properties.md";

const HEAD: &str = "# Properties

Every property by subject, with its values, its default and what becomes of it here. Names are \
Debezium's where it has one. They are given in a file (`--config`), as `--set NAME=VALUE`, or by a \
flag; [configuration](configuration.md) says how files are read and what wins.

Where two defaults are given, the second one holds in a Debezium file (a connector's JSON or a \
Debezium Server's `application.properties`). A name that ends in `.*` stands for all that begin so. \
**Supported** is as in Debezium; **ours** has no such name there; **different** and **refused** say \
how and why. Whatever is not in this list is refused with the nearest name: nothing is ignored.

This page is written from `src/config/properties/table.rs`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for subject in properties::subjects() {
        write!(page, "\n## {}\n\n", subject.title).unwrap();
        page.push_str("| Property | Values | Default | | |\n|---|---|---|---|---|\n");
        for property in subject.properties {
            let meaning = property.meaning;
            let (support, note) = match property.support {
                Support::Supported => ("supported", meaning.to_owned()),
                Support::Ours => ("ours", meaning.to_owned()),
                Support::Different(how) => ("different", format!("{meaning} Here: {how}.")),
                Support::Refused(why) => ("refused", format!("{meaning} Refused: {why}.")),
            };
            let values = match property.support {
                Support::Refused(_) => String::new(),
                _ => property.kind.expected(),
            };
            let default = default(property);
            let row = format!("`{}` | {values} | {default} | {support} | {note}", property.name);
            writeln!(page, "| {} |", row.replace("||", "\\|\\|")).unwrap();
        }
    }
    page
}

fn default(property: &Property) -> String {
    let shown = |text: &str| match text {
        "" => String::new(),
        text => format!("`{text}`"),
    };
    match (property.support, property.debezium) {
        (Support::Refused(_), _) => String::new(),
        (_, Some(debezium)) => format!("{}; `{debezium}`", shown(property.default)),
        (_, None) => shown(property.default),
    }
}

#[test]
fn the_page_of_properties_is_the_table() {
    let page = page();
    if std::env::var_os("UPDATE_MANUAL").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    let found = fs::read_to_string(PAGE).unwrap_or_default();
    assert!(found == page, "{PAGE} is old: UPDATE_MANUAL=1 cargo test --test manual");
}

/// Words in back quotes of a document.
fn quoted(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut words = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        if !in_block {
            words.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

fn documents() -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path()).collect();
    all.push("README.md".into());
    all.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    all.sort();
    all
}

#[test]
fn metrics_of_the_manual_exist_and_all_are_in_it() {
    let source = ["src/telemetry/metrics.rs", "src/agent.rs"]
        .map(|path| fs::read_to_string(path).unwrap())
        .concat();
    let named = |text: &str| -> BTreeSet<String> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        text.split(|c| !word(c))
            .filter(|name| name.starts_with("cdc_agent_") && !name.ends_with('_'))
            .map(str::to_owned)
            .collect()
    };
    let real = named(&source);
    let told = named(&fs::read_to_string("docs/metrics.md").unwrap());
    let missing: Vec<_> = real.difference(&told).collect();
    let invented: Vec<_> = told.difference(&real).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    assert!(invented.is_empty(), "in docs/metrics.md only: {invented:?}");
}

#[test]
fn properties_that_pages_name_exist() {
    let mut wrong = Vec::new();
    let families =
        ["slot.", "publication.", "table.", "snapshot.", "topic.", "database.", "offset."];
    for path in documents().iter().filter(|path| !path.ends_with("properties.md")) {
        for word in quoted(path) {
            let name = word.split(['=', ' ']).next().unwrap_or_default();
            let is_name =
                name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '*' | '-'));
            if is_name
                && families.iter().any(|family| name.starts_with(family))
                && properties::find(name).is_none()
            {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
