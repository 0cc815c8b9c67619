//! The command line of `cdc-agent`.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::agent;
use crate::capture::CaptureError;
use crate::config::AgentConfig;
use crate::config::Origin;
use crate::config::ProcessSettings;
use crate::config::RawConfig;
use crate::config::properties::Support;
use crate::error::Failure;
use crate::error::Status;
use crate::telemetry::log;

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
    /// A TOML file, Java properties or a connector's JSON.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Any property by its name.
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Address of /metrics and /health, or none.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// error, warn, info, debug or trace (log.level).
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json (log.format).
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Runs `cdc-agent` with these arguments and gives its exit status.
pub fn agent_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    exit_on_panic("cdc-agent");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors, and go to stdout.
            error.print().ok();
            let status = if error.use_stderr() { Status::Usage } else { Status::Ok };
            return status.into();
        }
    };
    let result = raw_config(&cli.flags).and_then(|mut raw| {
        let process = ProcessSettings::new(&mut raw);
        if let Err(message) = log::start(process.log_format, &process.log_level) {
            raw.fail("log.level", message);
        }
        match cli.command.unwrap_or(Command::Run) {
            Command::Run => agent::run(raw),
            Command::Drop { yes } => drop_slot(raw, yes),
            Command::Config => print_config(raw),
        }
    });
    match result {
        Ok(()) => Status::Ok.into(),
        Err(failure) => {
            write_error("cdc-agent", &failure);
            failure.status.into()
        }
    }
}

/// One message on stderr, beside whatever the log has said.
pub(crate) fn write_error(program: &str, failure: &Failure) {
    let text = format!("{program}: {failure}\n");
    // There is nowhere else to say it.
    std::io::stderr().write_all(text.as_bytes()).ok();
}

/// A panic in any thread ends the process rather than leave half of it running.
pub(crate) fn exit_on_panic(program: &'static str) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let failure = Failure::new(
            Status::Software,
            format!("internal error: {panic}"),
            format!(
                "this is a bug of {program}: report it with this message; nothing is lost, and a \
                 start goes on from what is stored"
            ),
        );
        write_error(program, &failure);
        std::process::exit(Status::Software as i32);
    }));
}

fn raw_config(flags: &Flags) -> Result<RawConfig, Failure> {
    let mut raw = RawConfig::default();
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
                format!("--set {}: expected NAME=VALUE", name_of(pair)),
                "as in --set decimal.handling.mode=double",
            ));
        };
        raw.give(name.trim(), value, Origin::Set);
    }
    for (name, value) in [
        ("slot.name", &flags.slot),
        ("dsn", &flags.dsn),
        ("publication.name", &flags.publication),
        ("bootstrap.servers", &flags.brokers),
        ("topic.prefix", &flags.topic_prefix),
        ("to", &flags.to),
        ("state", &flags.state),
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

/// What looks like a name; the rest may be a password.
fn name_of(pair: &str) -> &str {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    pair.split(|c| !is_name(c)).next().unwrap_or_default()
}

/// Prints every property: what holds, where it comes from, and what it does.
pub(crate) fn print_config(mut raw: RawConfig) -> Result<(), Failure> {
    let errors = raw.take_errors();
    if !errors.is_empty() {
        return Err(Failure::from_config(&errors));
    }
    let mut text = String::new();
    let effective = raw.effective();
    let program = raw.program();
    for subject in program.subjects() {
        let known: Vec<_> = subject
            .properties
            .iter()
            .filter(|property| !matches!(property.support, Support::Refused(_)))
            .collect();
        if known.is_empty() {
            continue;
        }
        text.push_str(&format!("## {}\n\n", subject.title));
        for property in known {
            let (meaning, expected) = (property.meaning, property.kind.expected());
            let mut print = |origin: &str, name: &str, value: &str| {
                text.push_str(&format!("# {meaning} ({expected}; {origin})\n{name} = {value}\n"));
            };
            // A family is printed by its members.
            let mut held = effective.iter().filter(|(name, _, _)| {
                program.find(name).is_some_and(|known| known.name == property.name)
            });
            match held.next() {
                Some((name, value, origin)) => print(&origin.to_string(), name, value),
                None => print("not set", property.name, ""),
            }
            for (name, value, origin) in held {
                print(&origin.to_string(), name, value);
            }
        }
        text.push('\n');
    }
    write_out(&text)
}

fn write_out(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| {
        Failure::new(Status::Unavailable, format!("stdout cannot be written: {error}"), "")
    })
}

/// Shows what belongs to a slot and removes it.
fn drop_slot(raw: RawConfig, yes: bool) -> Result<(), Failure> {
    let mut config = AgentConfig::new(raw, |name| std::env::var(name).ok())
        .map_err(|errors| Failure::from_config(&errors))?;
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
