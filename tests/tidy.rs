//! Goal: the source keeps the shape that ARCHITECTURE.md promises.
//!
//! Method: reads the tree as text. Each file's module comes from its path; every `crate::x` in it
//! must be an arrow of the table below. Widths, names of files, sizes, banned words and links in the
//! documents are looked at as well.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that ends at the first surprise"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Leaf words: they import nothing of the crate, and everybody may import them.
const LEAVES: &[&str] = &["lsn", "oid", "time", "table", "secret", "position", "stop"];

/// Who may import whom, beside the leaves and itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("position", &["lsn"]),
    ("kafka", &[]),
    ("envelope", &[]),
    ("telemetry", &[]),
    ("lineage", &["envelope", "kafka"]),
    ("capture::wire", &[]),
    ("capture::pgoutput", &["capture::wire"]),
    ("capture::value", &[]),
    ("capture::catalog", &["capture::pgoutput"]),
    ("capture::change", &["capture::pgoutput", "capture::catalog", "capture::value", "envelope"]),
    ("capture::progress", &[]),
    (
        "capture::publisher",
        &["capture::java_regex", "capture::progress", "kafka", "envelope", "telemetry"],
    ),
    ("capture::state", &["capture::publisher", "kafka"]),
    ("capture::postgres", &["capture::wire", "capture::pgoutput", "capture::catalog", "telemetry"]),
    (
        "capture::snapshot",
        &[
            "capture::postgres",
            "capture::catalog",
            "capture::value",
            "capture::change",
            "capture::pgoutput",
            "capture::publisher",
            "capture::root",
            "envelope",
            "telemetry",
        ],
    ),
    // The loops of a capture see all of it.
    ("capture::root", &["capture", "envelope", "lineage", "telemetry", "kafka"]),
    ("apply::merge", &["envelope"]),
    ("apply::warehouse", &["apply::merge", "envelope", "telemetry"]),
    ("apply::consumer", &["apply::applier", "apply::root", "kafka", "telemetry"]),
    ("apply::applier", &["apply::merge", "apply::warehouse", "apply::root", "envelope"]),
    // The loops of an application see all of it.
    ("apply::root", &["apply", "envelope", "telemetry", "kafka"]),
    ("config", &["apply", "capture", "kafka", "envelope", "lineage", "telemetry"]),
    ("error", &["apply", "capture", "config"]),
    ("service", &["error", "telemetry"]),
    // The only place where both meet.
    ("direct", &["apply", "capture", "telemetry"]),
    (
        "agent",
        &[
            "apply",
            "capture",
            "config",
            "direct",
            "envelope",
            "error",
            "lineage",
            "service",
            "sink",
            "telemetry",
        ],
    ),
    ("sink", &["apply", "capture", "config", "error", "kafka", "service", "telemetry"]),
    ("command_line", &["config", "error", "telemetry"]),
    ("cli", &["agent", "capture", "command_line", "config", "error", "service"]),
    ("sink_cli", &["command_line", "config", "error", "sink"]),
];

/// Stages that know bytes and values only: no sockets, files, clocks, randomness, logs, metrics.
const PURE: &[&str] = &[
    "capture::wire",
    "capture::pgoutput",
    "capture::value",
    "capture::catalog",
    "capture::change",
    "capture::progress",
    "apply::merge",
    "envelope",
];

const IMPURE_WORDS: &[&str] = &[
    "std::net",
    "std::fs",
    "std::thread",
    "tokio",
    "tracing::",
    "prometheus",
    "SystemTime",
    "Instant",
    "rdkafka",
    "std::env",
];

/// Buckets that hold everything and mean nothing.
const BANNED_FILES: &[&str] = &["types.rs", "utils.rs", "common.rs", "helpers.rs", "prelude.rs"];

/// `types.rs` of the catalog is about PostgreSQL's types.
const BANNED_EXCEPT: &[&str] = &["src/capture/catalog/types.rs"];

/// Lines after which a file holds two ideas, but for tables and for what only grows with them.
const LINES_MAX: usize = 560;

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

/// The stage that a file belongs to: two levels deep below `capture` and `apply`.
fn stage(path: &Path) -> String {
    let parts: Vec<String> = path
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .skip_while(|part| part != "src")
        .skip(1)
        .collect();
    match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["capture", _file] => "capture::root".to_owned(),
        ["apply", _file] => "apply::root".to_owned(),
        [parent @ ("capture" | "apply"), child, ..] => {
            let stage = format!("{parent}::{child}");
            let known = ARROWS.iter().any(|(name, _)| *name == stage);
            if known { stage } else { format!("{parent}::root") }
        }
        [first, ..] => (*first).to_owned(),
        [] => String::new(),
    }
}

/// What stands behind `crate::` in a line, two levels deep below `capture` and `apply`.
fn imported(rest: &str) -> Vec<String> {
    let path: String =
        rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
    let parts: Vec<&str> = path.split("::").collect();
    match parts.as_slice() {
        [parent @ ("capture" | "apply"), child, ..] => {
            vec![format!("{parent}::{child}"), (*parent).to_owned()]
        }
        [first, ..] => vec![(*first).to_owned()],
        [] => Vec::new(),
    }
}

fn allowed(stage: &str, target: &[String]) -> bool {
    let own = stage.split("::").next().unwrap();
    let arrows = ARROWS.iter().find(|(name, _)| *name == stage).map_or(&[][..], |(_, to)| to);
    target.iter().any(|name| {
        let root_of_own = format!("{own}::root");
        LEAVES.contains(&name.as_str())
            || name == stage
            || arrows.contains(&name.as_str())
            // Items that lie in a parent's own files, such as capture::CaptureError.
            || (arrows.contains(&root_of_own.as_str())
                && target[0].split("::").nth(1).is_some_and(is_root_item))
    })
}

/// A type or a file of the parent itself rather than a stage below it.
fn is_root_item(child: &str) -> bool {
    child.chars().next().is_some_and(char::is_uppercase)
        || Path::new("src/capture").join(format!("{child}.rs")).exists()
        || Path::new("src/apply").join(format!("{child}.rs")).exists()
}

#[test]
fn every_import_is_an_arrow_of_the_table() {
    let mut wrong = BTreeSet::new();
    for path in files(Path::new("src"), "rs") {
        let stage = stage(&path);
        if stage == "lib" || stage == "bin" || stage.ends_with("::mod") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            // `pub(in crate::x)` says who may see an item, not whom it sees.
            let line = line.replace("(in crate::", "(in ");
            for rest in line.split("crate::").skip(1) {
                let target = imported(rest);
                if !allowed(&stage, &target) {
                    wrong.insert(format!("{}: {stage} -> {}", path.display(), target[0]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_stages_never_reach_out() {
    let mut wrong = Vec::new();
    for path in files(Path::new("src"), "rs") {
        let is_event = path == Path::new("src/lineage/event.rs");
        if !is_event && !PURE.contains(&stage(&path).as_str()) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in IMPURE_WORDS.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Calls that wait for something that another thread has to bring.
const WAITS: &[&str] =
    &["wait_for_room(", ".pause(", "go_on()", "thread::sleep(", "block_on(", ".join()"];

/// The name of a guard that a statement makes, if it makes one.
fn guard(statement: &str) -> Option<&str> {
    let rest = statement.trim_start().strip_prefix("let ")?;
    let (name, value) = rest.strip_prefix("mut ").unwrap_or(rest).split_once(" = ")?;
    let value = value.trim_end().trim_end_matches(';').trim_end();
    let taken = value.strip_suffix(".unwrap_or_else(PoisonError::into_inner)").unwrap_or(value);
    [".lock()", ".read()", ".write()"].iter().any(|call| taken.ends_with(call)).then_some(name)
}

/// Waits in a text while a guard is held, with their lines.
fn waits_under_a_lock(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let (mut depth, mut statement) = (0_usize, String::new());
    let mut held: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default().trim();
        if let Some((_, name)) = held.first()
            && WAITS.iter().any(|wait| code.contains(wait))
        {
            found.push((number + 1, name.clone()));
        }
        held.retain(|(_, name)| {
            let gone = [format!("drop({name})"), format!("({name}, "), format!("({name});")];
            !gone.iter().any(|text| code.contains(text))
        });
        depth += code.matches('{').count();
        depth = depth.saturating_sub(code.matches('}').count());
        held.retain(|(level, _)| *level <= depth);
        statement.push_str(code);
        if code.ends_with([';', '{', '}']) {
            if let Some(name) = guard(&statement) {
                held.push((depth, name.to_owned()));
            }
            statement.clear();
        } else {
            // A chain of calls goes on in the next line.
            statement.push_str(if code.ends_with('=') { " " } else { "" });
        }
    }
    found
}

#[test]
fn no_lock_is_held_while_a_thread_waits_for_another_one() {
    let publisher = "let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);\n\
                     for record in records {\nself.wait_for_room(go_on)?;\n}\n";
    assert_eq!(waits_under_a_lock(publisher), [(3, "routes".to_owned())]);
    let let_go = "{\nlet a = self.b.lock();\n}\nlet c = self.b.lock();\ndrop(c);\nself.pause(x);\n";
    assert_eq!(waits_under_a_lock(let_go), []);
    let mut wrong = Vec::new();
    for path in files(Path::new("src"), "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        for (line, name) in waits_under_a_lock(code) {
            wrong.push(format!("{}:{line}: {name} is held while it waits", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_are_named_sized_and_shaped_as_promised() {
    let mut wrong = Vec::new();
    for path in files(Path::new("src"), "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.display().to_string();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if BANNED_FILES.contains(&name.as_str()) && !BANNED_EXCEPT.contains(&shown.as_str()) {
            wrong.push(format!("{shown}: a name that says nothing"));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{shown}: begins without a module comment"));
        }
        let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().count();
        if lines > LINES_MAX && !shown.ends_with("properties/table.rs") {
            wrong.push(format!("{shown}: {lines} lines, at most {LINES_MAX}"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > 100 && !line.contains("\"") {
                wrong.push(format!("{shown}:{}: wider than 100", number + 1));
            }
            if line.contains("super::super") {
                wrong.push(format!("{shown}:{}: super::super", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut documents = files(Path::new("docs"), "md");
    documents.extend(files(Path::new("proto-fixtures"), "md"));
    documents.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(PathBuf::from));
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            let full = path.parent().unwrap_or(Path::new("")).join(target);
            if !full.exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
