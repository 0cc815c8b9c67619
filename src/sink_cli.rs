//! The command line of `cdc-sink`.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::cli::exit_on_panic;
use crate::cli::print_config;
use crate::cli::write_error;
use crate::config::Origin;
use crate::config::ProcessSettings;
use crate::config::RawConfig;
use crate::config::properties::Program;
use crate::error::Failure;
use crate::error::Status;
use crate::sink;
use crate::telemetry::log;

/// Name in messages.
const PROGRAM: &str = "cdc-sink";

/// Change events from Kafka to a warehouse, exactly once in effect.
#[derive(Debug, Parser)]
#[command(name = "cdc-sink", version, disable_help_subcommand = true)]
#[command(after_help = "cdc-sink --brokers localhost:9092 --topics 'shop\\..*' --group warehouse \
    --to duckdb:shop.duckdb")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apply topics (the default).
    Run,
    /// Apply the records in _cdc.dead_letters again.
    Replay,
    /// Print every property with the value that holds and where it comes from.
    Config,
}

#[derive(Args, Debug)]
struct Flags {
    /// Kafka brokers (bootstrap.servers).
    #[arg(long, global = true, value_name = "HOST:PORT,...")]
    brokers: Option<String>,
    /// Regular expression that the whole name of a topic matches (topics.regex).
    #[arg(long, global = true, value_name = "REGEX")]
    topics: Option<String>,
    /// Consumer group (group.id).
    #[arg(long, global = true, value_name = "NAME")]
    group: Option<String>,
    /// The warehouse: postgres://… or duckdb:PATH.
    #[arg(long, global = true, value_name = "WAREHOUSE")]
    to: Option<String>,
    /// Stop when everything is applied that the topics hold now.
    #[arg(long, global = true)]
    once: bool,
    /// A TOML file or Java properties.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Any property by its name.
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Address of /metrics, /health and /v1, or none.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// error, warn, info, debug or trace (log.level).
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json (log.format).
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Runs `cdc-sink` with these arguments and gives its exit status.
pub fn sink_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    exit_on_panic(PROGRAM);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors, and go to stdout.
            error.print().ok();
            let status = if error.use_stderr() { Status::Usage } else { Status::Ok };
            return status.into();
        }
    };
    let once = cli.flags.once;
    let result = raw_config(&cli.flags).and_then(|mut raw| {
        let process = ProcessSettings::new(&mut raw);
        if let Err(message) = log::start(process.log_format, &process.log_level) {
            raw.fail("log.level", message);
        }
        match cli.command.unwrap_or(Command::Run) {
            Command::Run => sink::run(raw, once),
            Command::Config => print_config(raw),
            Command::Replay => {
                let replayed = sink::replay(raw)?;
                let text = format!("{} applied, {} left\n", replayed.applied, replayed.left);
                // What cannot be shown is in the log.
                std::io::stdout().write_all(text.as_bytes()).ok();
                if replayed.left == 0 {
                    return Ok(());
                }
                Err(Failure::new(
                    Status::Config,
                    format!("{} records still cannot be applied", replayed.left),
                    "the log and _cdc.dead_letters say why",
                ))
            }
        }
    });
    match result {
        Ok(()) => Status::Ok.into(),
        Err(failure) => {
            write_error(PROGRAM, &failure);
            failure.status.into()
        }
    }
}

fn raw_config(flags: &Flags) -> Result<RawConfig, Failure> {
    let mut raw = RawConfig::new(Program::Sink);
    for path in &flags.config {
        raw.read_file(path).map_err(|error| {
            Failure::new(
                Status::NoInput,
                format!("configuration file {} cannot be read: {error}", path.display()),
                "give the path of an existing file to --config",
            )
        })?;
    }
    raw.give_environment(std::env::vars());
    for pair in &flags.set {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::new(
                Status::Usage,
                "--set: expected NAME=VALUE",
                "as in --set errors.tolerance=all",
            ));
        };
        raw.give(name.trim(), value, Origin::Set);
    }
    for (name, value) in [
        ("bootstrap.servers", &flags.brokers),
        ("topics.regex", &flags.topics),
        ("group.id", &flags.group),
        ("to", &flags.to),
        ("http", &flags.http),
        ("log.level", &flags.log_level),
        ("log.format", &flags.log_format),
    ] {
        if let Some(value) = value {
            raw.give(name, value.clone(), Origin::Flag);
        }
    }
    Ok(raw)
}
