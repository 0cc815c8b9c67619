//! The command line of `cdc-sink`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::command_line::SharedFlags;
use crate::command_line::print_config;
use crate::command_line::run_program;
use crate::command_line::write_out;
use crate::config::RawConfig;
use crate::config::properties::Program;
use crate::error::Failure;
use crate::error::Status;
use crate::sink;

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
    #[command(flatten)]
    shared: SharedFlags,
}

/// Runs `cdc-sink` with these arguments and gives its exit status.
pub fn sink_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_program("cdc-sink", arguments, |cli: Cli| {
        let flags = &cli.flags;
        let raw = flags.shared.gather(
            Program::Sink,
            &[
                ("bootstrap.servers", &flags.brokers),
                ("topics.regex", &flags.topics),
                ("group.id", &flags.group),
                ("to", &flags.to),
            ],
        )?;
        match cli.command.unwrap_or(Command::Run) {
            Command::Run => sink::run(raw, flags.once),
            Command::Config => print_config(raw),
            Command::Replay => replay(raw),
        }
    })
}

/// Applies dead letters again and says what became of them.
fn replay(raw: RawConfig) -> Result<(), Failure> {
    let replayed = sink::replay(raw)?;
    write_out(&format!("{} applied, {} left\n", replayed.applied, replayed.left))?;
    if replayed.left == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Status::Config,
        match replayed.left {
            1 => "1 record still cannot be applied".to_owned(),
            left => format!("{left} records still cannot be applied"),
        },
        "the log and _cdc.dead_letters say why",
    ))
}
