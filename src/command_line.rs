//! What the command lines of both programs have in common.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;

use crate::config::Origin;
use crate::config::ProcessSettings;
use crate::config::RawConfig;
use crate::config::properties::Program;
use crate::config::properties::Support;
use crate::error::Failure;
use crate::error::Status;
use crate::telemetry::log;

/// Flags of both programs.
#[derive(Args, Debug)]
pub(crate) struct SharedFlags {
    /// A TOML file, Java properties or a connector's JSON.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Any property by its name.
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Address of /metrics, /health and, with a warehouse, /v1; or none.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// error, warn, info, debug or trace (log.level).
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json (log.format).
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl SharedFlags {
    /// Gathers what files, environment and flags give, and starts the log as they say. `own` are
    /// the program's own flags by the properties that they give.
    pub(crate) fn gather(
        &self,
        program: Program,
        own: &[(&str, &Option<String>)],
    ) -> Result<RawConfig, Failure> {
        let mut raw = RawConfig::new(program);
        for path in &self.config {
            raw.read_file(path).map_err(|error| {
                Failure::new(
                    Status::NoInput,
                    format!("configuration file {} cannot be read: {error}", path.display()),
                    "give the path of an existing file to --config",
                )
            })?;
        }
        raw.give_environment(std::env::vars());
        for pair in &self.set {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Failure::new(
                    Status::Usage,
                    format!("--set {}: expected NAME=VALUE", name_of(pair)),
                    "as in --set log.level=debug",
                ));
            };
            raw.give(name.trim(), value, Origin::Set);
        }
        let shared = [
            ("http", &self.http),
            ("log.level", &self.log_level),
            ("log.format", &self.log_format),
        ];
        for (name, value) in own.iter().chain(&shared) {
            if let Some(value) = value {
                raw.give(name, value.clone(), Origin::Flag);
            }
        }
        let process = ProcessSettings::new(&mut raw);
        if let Err(message) = log::start(process.log_format, &process.log_level) {
            raw.fail("log.level", message);
        }
        Ok(raw)
    }
}

/// What looks like a name; the rest may be a password.
fn name_of(pair: &str) -> &str {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    pair.split(|c| !is_name(c)).next().unwrap_or_default()
}

/// Runs a program with these arguments and gives its exit status.
pub(crate) fn run_program<C: Parser>(
    program: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    run: impl FnOnce(C) -> Result<(), Failure>,
) -> ExitCode {
    exit_on_panic(program);
    let cli = match C::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors, and go to stdout.
            error.print().ok();
            let status = if error.use_stderr() { Status::Usage } else { Status::Ok };
            return status.into();
        }
    };
    match run(cli) {
        Ok(()) => Status::Ok.into(),
        Err(failure) => {
            write_error(program, &failure);
            failure.status.into()
        }
    }
}

/// One message on stderr, beside whatever the log has said and in its form.
fn write_error(program: &str, failure: &Failure) {
    if log::is_json() {
        let (status, hint) = (failure.status as i32, &failure.hint);
        tracing::error!(status, hint, "{}", failure.message);
        return;
    }
    let text = format!("{program}: {failure}\n");
    // There is nowhere else to say it.
    std::io::stderr().write_all(text.as_bytes()).ok();
}

/// A panic in any thread ends the process rather than leave half of it running.
fn exit_on_panic(program: &'static str) {
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

/// Prints every property: what holds, where it comes from, and what it does.
pub(crate) fn print_config(mut raw: RawConfig) -> Result<(), Failure> {
    let errors = raw.take_errors();
    if !errors.is_empty() {
        return Err(Failure::from_config(raw.program(), &errors));
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

/// Writes an answer to stdout.
pub(crate) fn write_out(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| {
        Failure::new(Status::Unavailable, format!("stdout cannot be written: {error}"), "")
    })
}
