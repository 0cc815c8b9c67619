//! Goal: what is shipped to run the agent with, runs it.
//!
//! Method: the shipped configuration, and the arguments in the compose file and in the unit, are
//! given to the program; systemd's own check reads the unit, Prometheus' own runs the alerts' tests.

#![allow(clippy::unwrap_used, reason = "a test that ends at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use cdc_testkit::promtool;

const AGENT: &str = env!("CARGO_BIN_EXE_cdc-agent");
const SINK: &str = env!("CARGO_BIN_EXE_cdc-sink");

fn config(program: &str, arguments: &[String]) -> Output {
    Command::new(program).arg("config").args(arguments).env_clear().output().unwrap()
}

fn check(program: &str, arguments: &[String]) {
    let output = config(program, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
}

#[test]
fn the_shipped_configuration_is_understood() {
    check(AGENT, &["--config".to_owned(), "deploy/agent.toml".to_owned()]);
    check(SINK, &["--config".to_owned(), "deploy/sink.toml".to_owned()]);
}

/// Lines of `command:` below a service.
fn compose_arguments(service: &str) -> Vec<String> {
    let text = fs::read_to_string("docker-compose.yml").unwrap();
    let service = text.split(&format!("\n  {service}:\n")).nth(1).unwrap();
    let command = service.split("    command:\n").nth(1).unwrap();
    let item = |line: &str| line.strip_prefix("      - ").map(str::to_owned);
    command.lines().map_while(item).collect()
}

#[test]
fn the_compose_files_arguments_are_understood() {
    let arguments = compose_arguments("agent");
    assert!(arguments.contains(&"--slot".to_owned()), "{arguments:?}");
    check(AGENT, &arguments);
    let arguments = compose_arguments("sink");
    assert!(arguments.contains(&"--group".to_owned()), "{arguments:?}");
    check(SINK, &arguments);
    let image = fs::read_to_string("Dockerfile").unwrap();
    let toolchain = fs::read_to_string("rust-toolchain.toml").unwrap();
    let channel = toolchain.split('"').nth(1).unwrap();
    assert!(image.contains(&format!("rust:{channel}-")), "the Dockerfile builds with another Rust");
}

fn unit(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_units_arguments_are_understood() {
    for (program, name) in [(AGENT, "cdc-agent"), (SINK, "cdc-sink")] {
        let text = unit(&format!("deploy/{name}.service"));
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let mut arguments: Vec<String> = start.split(' ').skip(1).map(str::to_owned).collect();
        for argument in &mut arguments {
            *argument = argument.replace("/etc/cdc-agent/", "deploy/");
        }
        check(program, &arguments);
    }
}

#[test]
fn systemd_finds_nothing_wrong_in_the_units() {
    for (program, name) in [(AGENT, "cdc-agent"), (SINK, "cdc-sink")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{name}.service"));
        let text = unit(&format!("deploy/{name}.service"));
        let text = text.replace(&format!("/usr/local/bin/{name}"), program);
        fs::write(&path, text).unwrap();
        let analyze = |arguments: &[&str]| {
            let output =
                Command::new("systemd-analyze").args(arguments).arg(&path).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).into_owned())
        };
        let (good, said) = analyze(&["verify"]);
        assert!(good && said.trim().is_empty(), "{said}");
        // A threshold of 2.0: the unit is as closed as a process with sockets can be.
        let (good, said) = analyze(&["security", "--offline=true", "--threshold=20"]);
        assert!(good, "{said}");
    }
}

/// Names behind `key: ` in a file of rules or of their tests.
fn names(text: &str, key: &str) -> Vec<String> {
    let name = |rest: &str| rest.split([',', '\n']).next().unwrap_or_default().trim().to_owned();
    text.split(key).skip(1).map(name).collect()
}

#[test]
fn every_alert_fires_for_what_it_names_and_for_nothing_else() {
    for program in ["cdc-agent", "cdc-sink"] {
        let rules = format!("deploy/alerts/{program}.yml");
        let tests = format!("tests/alerts/{program}.yml");
        promtool::check_rules(Path::new(&rules)).unwrap_or_else(|said| panic!("{said}"));
        promtool::test_rules(Path::new(&tests)).unwrap_or_else(|said| panic!("{said}"));
        let cases = fs::read_to_string(&tests).unwrap();
        // Those that are expected to fire stand in a block of lines, with what they say.
        let fired = names(&cases, "        alertname: ");
        for alert in names(&fs::read_to_string(&rules).unwrap(), "- alert: ") {
            assert!(fired.contains(&alert), "{tests} has no case in which {alert} fires");
        }
    }
}

#[test]
fn alerts_are_about_metrics_that_exist() {
    let told = fs::read_to_string("docs/metrics.md").unwrap();
    for program in ["cdc-agent", "cdc-sink"] {
        let rules = fs::read_to_string(format!("deploy/alerts/{program}.yml")).unwrap();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_metric = |name: &&str| {
            ["cdc_agent_", "cdc_sink_", "process_"].iter().any(|p| name.starts_with(p))
        };
        for name in rules.split(|c| !word(c)).filter(is_metric) {
            assert!(
                told.contains(&format!("`{name}`")),
                "{program}.yml: {name} is not in the manual"
            );
        }
    }
}
