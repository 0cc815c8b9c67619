//! Goal: what the program is built from may be shipped with it, and holds no second way to do the
//! same.
//!
//! Method: `deny.toml` is the policy; `cargo metadata` says what is there, for Linux on x86-64 and
//! ARM. Licences, banned crates, crates in two versions and sources are compared. cargo-deny reads
//! the same file, and looks for advisories too.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that ends at the first surprise"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

/// The policy.
fn policy() -> toml::Table {
    fs::read_to_string("deny.toml").unwrap().parse().unwrap()
}

fn texts(list: &toml::Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// What is built for a target.
struct Graph {
    packages: Vec<Value>,
    /// Names of crates that depend on a crate, by its id.
    dependents: BTreeMap<String, BTreeSet<String>>,
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

fn graph(target: &str) -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", target])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let ids: BTreeSet<&str> = nodes.iter().map(|node| text(node, "id")).collect();
    let all = metadata["packages"].as_array().unwrap();
    let packages: Vec<Value> =
        all.iter().filter(|package| ids.contains(text(package, "id"))).cloned().collect();
    let names: BTreeMap<&str, &str> =
        packages.iter().map(|package| (text(package, "id"), text(package, "name"))).collect();
    let mut dependents: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes {
        for dependency in node["dependencies"].as_array().unwrap() {
            let of = dependents.entry(dependency.as_str().unwrap().to_owned()).or_default();
            of.insert(names[text(node, "id")].to_owned());
        }
    }
    Graph { packages, dependents }
}

fn graphs(policy: &toml::Table) -> Vec<Graph> {
    texts(&policy["graph"]["targets"]).into_iter().map(graph).collect()
}

/// Whether an SPDX expression can be satisfied with these licences alone. `/` is the old way to
/// write `OR`; `AND` binds closer than `OR`.
fn satisfied(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    let mut rest = words.as_slice();
    let result = any(&mut rest, allowed);
    rest.is_empty() && result
}

fn any(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut result = all(rest, allowed);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        result |= all(rest, allowed);
    }
    result
}

fn all(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut result = one(rest, allowed);
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        result &= one(rest, allowed);
    }
    result
}

fn one(rest: &mut &[&str], allowed: &[&str]) -> bool {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let result = any(rest, allowed);
            *rest = rest.strip_prefix(&[")"]).unwrap_or_default();
            result
        }
        [licence, "WITH", exception, after @ ..] => {
            *rest = after;
            allowed.contains(&format!("{licence} WITH {exception}").as_str())
        }
        [licence, after @ ..] => {
            *rest = after;
            allowed.contains(licence)
        }
        [] => false,
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND ISC", true),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(GPL-3.0 OR MIT) AND BSL-1.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("", false),
    ] {
        assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_licence_is_allowed_and_every_source_known() {
    let policy = policy();
    let allowed = texts(&policy["licenses"]["allow"]);
    let registries = texts(&policy["sources"]["allow-registry"]);
    let mut wrong = BTreeSet::new();
    for graph in graphs(&policy) {
        for package in &graph.packages {
            let name = format!("{} {}", text(package, "name"), text(package, "version"));
            if !satisfied(text(package, "license"), &allowed) {
                wrong.insert(format!("{name}: licence \"{}\"", text(package, "license")));
            }
            let source = text(package, "source");
            let registry = source.strip_prefix("registry+").unwrap_or(source);
            if !source.is_empty() && !registries.contains(&registry) {
                wrong.insert(format!("{name}: from {source}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn banned_crates_are_not_there() {
    let policy = policy();
    let mut wrong = BTreeSet::new();
    for graph in graphs(&policy) {
        for banned in policy["bans"]["deny"].as_array().unwrap() {
            let name = banned["name"].as_str().unwrap();
            let wrappers = banned.get("wrappers").map(texts).unwrap_or_default();
            for package in graph.packages.iter().filter(|package| text(package, "name") == name) {
                let dependents = &graph.dependents[text(package, "id")];
                let others = dependents.iter().filter(|of| !wrappers.contains(&of.as_str()));
                wrong.extend(others.map(|of| format!("{of} depends on {name}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_crate_is_there_twice_but_for_a_reason() {
    let policy = policy();
    let skipped: Vec<(&str, &str)> = policy["bans"]["skip"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skip| skip["crate"].as_str().unwrap().split_once('@').unwrap())
        .collect();
    let matches = |version: &str, asked: &str| {
        version.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut doubled = BTreeSet::new();
    let mut used = BTreeSet::new();
    for graph in graphs(&policy) {
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for package in &graph.packages {
            versions.entry(text(package, "name")).or_default().push(text(package, "version"));
        }
        for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
            let reason = |version: &str| {
                skipped.iter().find(|(skip, asked)| *skip == name && matches(version, asked))
            };
            used.extend(versions.iter().filter_map(|version| reason(version)).copied());
            let counted = versions.iter().filter(|version| reason(version).is_none()).count();
            if counted > 1 {
                doubled.insert(format!("{name}: {}", versions.join(", ")));
            }
        }
    }
    assert!(doubled.is_empty(), "{doubled:#?}");
    let needless: Vec<_> = skipped.iter().filter(|skip| !used.contains(*skip)).collect();
    assert!(needless.is_empty(), "these stand in deny.toml without need: {needless:#?}");
}
