//! The command line of `cdc-agent`.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::agent;
use crate::capture::CaptureError;
use crate::command_line::SharedFlags;
use crate::command_line::print_config;
use crate::command_line::run_program;
use crate::command_line::write_out;
use crate::config::AgentConfig;
use crate::config::RawConfig;
use crate::config::properties::Program;
use crate::error::Failure;
use crate::error::Status;

/// Change data capture from PostgreSQL to Kafka, with Debezium's envelopes.
#[derive(Debug, Parser)]
#[command(name = "cdc-agent", version, disable_help_subcommand = true)]
#[command(after_help = "Everything has a default or comes from PG* variables: \
    cdc-agent --slot etl_slot")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Capture changes (the default).
    Run,
    /// Show, then remove a slot, its stored state and the publication that was created for it.
    Drop {
        /// Remove without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Snapshot tables again at the next start, in a new epoch of each; stop the agent before.
    Snapshot {
        /// Tables, as SCHEMA.TABLE.
        #[arg(required = true, value_name = "TABLE")]
        tables: Vec<String>,
    },
    /// Print every property with the value that holds and where it comes from.
    Config,
}

#[derive(Args, Debug)]
struct Flags {
    /// Replication slot (slot.name).
    #[arg(long, global = true, value_name = "NAME")]
    slot: Option<String>,
    /// Source: a URI or key=value pairs; what it leaves out comes from PG* and ~/.pgpass.
    ///
    /// Everybody on this machine can see a password in it (ps): better give that in PGPASSWORD,
    /// ~/.pgpass, or the whole string in CDC_AGENT_DSN.
    #[arg(long, global = true, value_name = "CONNINFO")]
    dsn: Option<String>,
    /// Publication (publication.name); by default named as the slot.
    #[arg(long, global = true, value_name = "NAME")]
    publication: Option<String>,
    /// Kafka brokers (bootstrap.servers).
    #[arg(long, global = true, value_name = "HOST:PORT,...")]
    brokers: Option<String>,
    /// Start of every topic's name (topic.prefix); by default the database's name.
    #[arg(long, global = true, value_name = "PREFIX")]
    topic_prefix: Option<String>,
    /// Destination: kafka, stdout, file:PATH, or a warehouse: duckdb:PATH, postgres://….
    #[arg(long, global = true, value_name = "DESTINATION")]
    to: Option<String>,
    /// File for state with --to stdout and --to file:PATH.
    #[arg(long, global = true, value_name = "FILE")]
    state: Option<String>,
    #[command(flatten)]
    shared: SharedFlags,
}

/// Runs `cdc-agent` with these arguments and gives its exit status.
pub fn agent_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_program("cdc-agent", arguments, |cli: Cli| {
        let flags = &cli.flags;
        let raw = flags.shared.gather(
            Program::Agent,
            &[
                ("slot.name", &flags.slot),
                ("dsn", &flags.dsn),
                ("publication.name", &flags.publication),
                ("bootstrap.servers", &flags.brokers),
                ("topic.prefix", &flags.topic_prefix),
                ("to", &flags.to),
                ("state", &flags.state),
            ],
        )?;
        match cli.command.unwrap_or(Command::Run) {
            Command::Run => agent::run(raw),
            Command::Drop { yes } => drop_slot(raw, yes),
            Command::Snapshot { tables } => snapshot_again(raw, &tables),
            Command::Config => {
                check_composed(&raw)?;
                print_config(raw)
            }
        }
    })
}

/// What is wrong with values that were given, also with several together. That a slot is missing
/// is no error as long as nothing starts.
fn check_composed(raw: &RawConfig) -> Result<(), Failure> {
    // Warnings are for those who start it.
    let silence = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    let composed = AgentConfig::new(raw.clone(), |name| std::env::var(name).ok());
    drop(silence);
    let mut errors = composed.err().unwrap_or_default();
    errors.retain(|error| error.key != "slot.name" || raw.given("slot.name").is_some());
    if errors.is_empty() { Ok(()) } else { Err(Failure::from_config(Program::Agent, &errors)) }
}

/// Shows what belongs to a slot and removes it.
fn drop_slot(raw: RawConfig, yes: bool) -> Result<(), Failure> {
    let mut config = AgentConfig::new(raw, |name| std::env::var(name).ok())
        .map_err(|errors| Failure::from_config(Program::Agent, &errors))?;
    let runtime = crate::service::runtime()?;
    agent::place(&mut config, runtime.handle());
    let found = crate::capture::removal::find(&config.capture, runtime.handle())
        .map_err(|error| not_found(error, &config.capture.slot))?;
    write_out(&found.to_string())?;
    if found.is_empty() {
        return Ok(());
    }
    if !yes && !confirmed()? {
        return write_out("nothing was removed\n");
    }
    found.remove().map_err(Failure::from_capture_error)?;
    write_out("removed\n")
}

/// Stores that tables are to be snapshotted again.
fn snapshot_again(raw: RawConfig, tables: &[String]) -> Result<(), Failure> {
    let mut config = AgentConfig::new(raw, |name| std::env::var(name).ok())
        .map_err(|errors| Failure::from_config(Program::Agent, &errors))?;
    let runtime = crate::service::runtime()?;
    agent::place(&mut config, runtime.handle());
    let capture = &config.capture;
    let names = crate::capture::snapshot_again::snapshot_again(capture, runtime.handle(), tables)
        .map_err(Failure::from_capture_error)?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    write_out(&format!(
        "the next start of the agent snapshots again, in a new epoch: {}\n",
        names.join(", ")
    ))
}

/// A destination that is gone must not keep the slot alive.
fn not_found(error: CaptureError, slot: &str) -> Failure {
    let destination = matches!(error, CaptureError::Publish(_));
    let mut failure = Failure::from_capture_error(error);
    if destination {
        failure.hint.push_str(&format!(
            "; to drop the slot alone, run in its database: SELECT \
             pg_drop_replication_slot('{slot}')"
        ));
    }
    failure
}

fn confirmed() -> Result<bool, Failure> {
    use std::io::IsTerminal;
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            Status::Usage,
            "drop removes for good and asks first, and there is no terminal to ask at",
            "give --yes",
        ));
    }
    write_out("Remove all of this? [y/N] ")?;
    std::io::stdout().flush().ok();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok();
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
