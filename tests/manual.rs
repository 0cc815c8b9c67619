//! Goal: the manual says what the program does.
//!
//! Method: the page of properties is written from the table that the program reads, the list of
//! differences from the one that the comparison with Debezium uses; this test holds each pair equal,
//! and `UPDATE_MANUAL=1 cargo test --test manual` writes the pages. Metrics, exit statuses, messages,
//! connection parameters and settings that other pages name must exist, and so must headings that
//! links lead to.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that ends at the first surprise"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use cdc_agent::config::properties::Program;
use cdc_agent::config::properties::Property;
use cdc_agent::config::properties::Support;

const PAGE: &str = "docs/properties.md";
const SINK_PAGE: &str = "docs/sink-properties.md";

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

const SINK_HEAD: &str = "# Properties of cdc-sink

Every property of the [companion](sink.md) by subject, with its values and its default. They are given \
in a TOML file or Java properties (`--config`), in the environment (`batch.records` as \
`CDC_SINK_BATCH_RECORDS`), as `--set NAME=VALUE`, or by a flag; what stands later in this list of \
ways wins. A name that ends in `.*` stands for all that begin so. Whatever is not in this list is \
refused with the nearest name.

`cdc-sink config` prints them with the values that hold. Those of the agent: [properties](properties.md).

This page is written from `src/config/properties/sink_table.rs`.
";

/// The companion's page: every property is ours, and there is one set of defaults.
fn sink_page() -> String {
    let mut page = SINK_HEAD.to_owned();
    for subject in Program::Sink.subjects() {
        write!(page, "\n## {}\n\n", subject.title).unwrap();
        page.push_str("| Property | Values | Default | |\n|---|---|---|---|\n");
        for property in subject.properties {
            let Property { name, meaning, .. } = property;
            assert!(property.support == Support::Ours && property.debezium.is_none(), "{name}");
            let (values, default) = (property.kind.expected(), default(property));
            writeln!(page, "| `{name}` | {values} | {default} | {meaning} |").unwrap();
        }
    }
    page
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(
        "\n## Two sets of defaults\n\nWhere flags, environment and TOML have another default than a \
         Debezium file.\n\n| Property | Ours | A Debezium file's |\n|---|---|---|\n",
    );
    for property in Program::Agent.all().filter(|p| !matches!(p.support, Support::Refused(_))) {
        if let Some(debezium) = property.debezium.filter(|other| *other != property.default) {
            let ours = match property.default {
                "" => "not set".to_owned(),
                ours => format!("`{ours}`"),
            };
            writeln!(page, "| `{}` | {ours} | `{debezium}` |", property.name).unwrap();
        }
    }
    for subject in Program::Agent.subjects() {
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
        (_, Some(debezium)) if debezium != property.default => match property.default {
            "" => format!("not set; `{debezium}`"),
            ours => format!("`{ours}`; `{debezium}`"),
        },
        _ => shown(property.default),
    }
}

#[test]
fn the_pages_of_properties_are_the_tables() {
    for (path, page) in [(PAGE, page()), (SINK_PAGE, sink_page())] {
        if std::env::var_os("UPDATE_MANUAL").is_some() {
            fs::write(path, &page).unwrap();
        }
        let found = fs::read_to_string(path).unwrap_or_default();
        assert!(found == page, "{path} is old: UPDATE_MANUAL=1 cargo test --test manual");
    }
}

const DIFFERENCES: &str = "docs/differences.md";

/// Where the list is, in that page.
const LIST_BEGINS: &str = "<!-- from tests/oracle/expected.rs -->\n";
const LIST_ENDS: &str = "<!-- end -->\n";

/// The reasons of the comparison with Debezium, one a line.
fn reasons() -> String {
    let source = joined(&fs::read_to_string("tests/oracle/expected.rs").unwrap());
    let reasons = source.split("why: \"").skip(1);
    let mut list = String::new();
    for reason in reasons.map(|rest| rest.split("\",").next().unwrap()) {
        // What looks like a link is the name of an array's type.
        let text = reason.replace("[]", "\\[\\]");
        writeln!(list, "- {text}.").unwrap();
    }
    list
}

#[test]
fn the_differences_that_are_told_are_those_of_the_comparison() {
    let page = fs::read_to_string(DIFFERENCES).unwrap();
    let (before, rest) = page.split_once(LIST_BEGINS).unwrap();
    let (list, after) = rest.split_once(LIST_ENDS).unwrap();
    let reasons = reasons();
    assert!(reasons.lines().count() > 10, "{reasons}");
    if std::env::var_os("UPDATE_MANUAL").is_some() {
        let page = [before, LIST_BEGINS, &reasons, LIST_ENDS, after].concat();
        fs::write(DIFFERENCES, page).unwrap();
    } else {
        assert!(list == reasons, "{DIFFERENCES} is old: UPDATE_MANUAL=1 cargo test --test manual");
    }
}

/// Source with its strings' lines joined and their quotes as they are printed.
fn joined(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.trim_start());
    }
    text.replace("\\\"", "\"")
}

fn all_source(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_source(&path, text);
        } else {
            text.push_str(&joined(&fs::read_to_string(&path).unwrap()));
        }
    }
}

const OPERATIONS: &str = "docs/operations.md";

/// Rows of the tables below a heading, by their cells.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(page).unwrap();
    let section = text.split(&format!("\n## {heading}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("{page} has no heading {heading}"));
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().into()).collect())
        .collect()
}

#[test]
fn messages_of_the_manual_exist() {
    let mut source = String::new();
    all_source(Path::new("src"), &mut source);
    let mut wrong = Vec::new();
    let headings = [
        "What the log says",
        "What it refuses",
        "What cdc-sink's log says",
        "What cdc-sink refuses",
    ];
    let mut all = Vec::new();
    for heading in headings {
        let rows = rows(OPERATIONS, heading);
        assert!(rows.len() > 5, "{heading}: {rows:#?}");
        all.extend(rows);
    }
    for row in all {
        let message = row[0].trim_matches('`');
        // An ellipsis stands for a name or a number.
        for piece in message.split('…').map(str::trim).filter(|piece| piece.len() > 3) {
            if !source.contains(piece) {
                wrong.push(format!("{message}: no \"{piece}\" in src"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn exit_statuses_of_the_manual_are_those_of_the_program() {
    let source = fs::read_to_string("src/error.rs").unwrap();
    let statuses = source.split("pub enum Status {").nth(1).unwrap().split('}').next().unwrap();
    let real: BTreeSet<String> = statuses
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .map(|(_, number)| number.to_owned())
        .collect();
    let told: BTreeSet<String> = rows(OPERATIONS, "Exit status")
        .into_iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    assert!(real.len() > 3, "{real:?}");
    assert_eq!(told, real);
}

#[test]
fn connection_parameters_of_the_manual_are_those_of_the_program() {
    let source = fs::read_to_string("src/capture/postgres/conninfo/parameters.rs").unwrap();
    let real: BTreeSet<String> = source
        .split("    parameter(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    let told: BTreeSet<String> = rows("docs/configuration.md", "PostgreSQL")
        .into_iter()
        .flat_map(|row| {
            row[0]
                .split_whitespace()
                .map(|name| name.trim_matches('`').to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(real.len() > 20, "{real:?}");
    assert_eq!(told, real);
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_to_headings_that_exist() {
    let anchors = |path: &Path| -> BTreeSet<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| anchor(line.trim_start_matches('#').trim()))
            .collect()
    };
    let mut wrong = Vec::new();
    let mut pages = documents();
    pages.extend(["ARCHITECTURE.md", "CHANGELOG.md"].map(std::path::PathBuf::from));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap_or_default();
            let Some((target, name)) = link.split_once('#') else { continue };
            if target.starts_with("http") {
                continue;
            }
            let file = match target {
                "" => page.clone(),
                target => page.parent().unwrap().join(target),
            };
            if !anchors(&file).contains(name) {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
    let source = ["src/telemetry/metrics.rs", "src/telemetry/sink_metrics.rs", "src/agent.rs"]
        .map(|path| fs::read_to_string(path).unwrap())
        .concat();
    let named = |text: &str| -> BTreeSet<String> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_ours = |name: &str| name.starts_with("cdc_agent_") || name.starts_with("cdc_sink_");
        text.split(|c| !word(c))
            .filter(|name| is_ours(name) && !name.ends_with('_'))
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
    let families = [
        "slot.",
        "publication.",
        "table.",
        "snapshot.",
        "topic.",
        "topics.",
        "database.",
        "offset.",
        "duckdb.",
        "group.",
        "delete.",
        "errors.",
        "key.change.",
    ];
    let is_generated = |path: &Path| [PAGE, SINK_PAGE].iter().any(|page| path.ends_with(page));
    for path in documents().iter().filter(|path| !is_generated(path)) {
        for word in quoted(path) {
            let name = word.split(['=', ' ']).next().unwrap_or_default();
            let is_name =
                name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '*' | '-'));
            if is_name
                && families.iter().any(|family| name.starts_with(family))
                && [Program::Agent, Program::Sink]
                    .iter()
                    .all(|program| program.find(name).is_none())
            {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn config_shows_members_of_families_and_hides_their_values() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_cdc-agent"))
        .args(["config", "--set", "producer.linger.ms=5", "--set", "kafka.sasl.password=seCret"])
        .env_clear()
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    for line in ["producer.linger.ms = ***", "kafka.sasl.password = ***", "slot.max.retries = 6"] {
        assert!(shown.lines().any(|found| found == line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("seCret"), "{shown}");
}
