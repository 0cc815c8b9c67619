//! Prometheus' own opinion of rules and metrics.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

fn promtool() -> Command {
    Command::new(crate::servers::servers_dir().join("promtool/promtool"))
}

/// Checks a file of rules.
///
/// # Errors
///
/// What is wrong with it.
///
/// # Panics
///
/// If `promtool` cannot be started.
pub fn check_rules(rules: &Path) -> Result<(), String> {
    run(promtool().args(["check", "rules"]).arg(rules), "")
}

/// Runs the tests of a file of rules.
///
/// # Errors
///
/// Which alerts were expected and which fired.
///
/// # Panics
///
/// If `promtool` cannot be started.
pub fn test_rules(tests: &Path) -> Result<(), String> {
    run(promtool().args(["test", "rules"]).arg(tests), "")
}

/// Checks names, units and texts of metrics as they are scraped.
///
/// # Errors
///
/// What is wrong with them.
///
/// # Panics
///
/// If `promtool` cannot be started.
pub fn check_metrics(scraped: &str) -> Result<(), String> {
    run(promtool().args(["check", "metrics"]), scraped)
}

fn run(command: &mut Command, input: &str) -> Result<(), String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed (install.sh checks)");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A program that refuses may end without reading all of it.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    let output = child.wait_with_output().expect("it can be waited for");
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}
