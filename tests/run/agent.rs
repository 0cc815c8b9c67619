//! One `cdc-agent` process, started and stopped as a service is.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cdc_testkit::http::Answer;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::kafka::Kafka;

use super::program::Program;

/// What an agent is started with.
#[derive(Debug, Clone)]
pub(crate) struct AgentOptions {
    /// Slot.
    pub(crate) slot: String,
    /// Topic prefix.
    pub(crate) prefix: String,
    dsn: String,
    destination: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    http: bool,
}

impl AgentOptions {
    /// Into Kafka, with a slot and topics of this name.
    pub(crate) fn new(dsn: &str, kafka: &Kafka, name: &str) -> Self {
        let destination = vec!["--brokers".to_owned(), kafka.bootstrap()];
        Self::to(dsn, destination, name)
    }

    /// Into a file or to stdout (`--to ...`), with a slot and topics of this name.
    pub(crate) fn to_lines(dsn: &str, to: &str, name: &str) -> Self {
        Self::to(dsn, vec!["--to".to_owned(), to.to_owned()], name)
    }

    fn to(dsn: &str, destination: Vec<String>, name: &str) -> Self {
        Self {
            slot: name.to_owned(),
            prefix: name.to_owned(),
            dsn: dsn.to_owned(),
            destination,
            arguments: Vec::new(),
            environment: Vec::new(),
            http: true,
        }
    }

    /// `--set NAME=VALUE`.
    #[must_use]
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend(["--set".to_owned(), format!("{name}={value}")]);
        self
    }

    /// Any further argument.
    #[must_use]
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another source.
    #[must_use]
    pub(crate) fn dsn(mut self, dsn: &str) -> Self {
        self.dsn = dsn.to_owned();
        self
    }

    /// Without `--http`: the default address.
    #[must_use]
    pub(crate) fn default_http(mut self) -> Self {
        self.http = false;
        self
    }
}

/// How an agent ended that refused to go on.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Exit status.
    pub(crate) code: Option<i32>,
    /// The message at the end, with its hint.
    pub(crate) message: String,
    /// Everything that it has logged in this run.
    pub(crate) log: String,
}

impl Refusal {
    /// The status is this one, and the message holds all of these.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, parts: &[&str]) {
        let Self { message, log, .. } = self;
        assert_eq!(self.code, Some(code), "exit status, with the log:\n{log}");
        for part in parts {
            assert!(message.contains(part), "the message lacks {part:?}: {message}");
        }
    }
}

/// A process of the agent, or what is left of it. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    options: AgentOptions,
    program: Program,
    /// Bytes of the log that belong to earlier runs.
    logged_before: usize,
}

impl Agent {
    /// Starts it.
    pub(crate) fn start(options: AgentOptions) -> Self {
        let mut agent = Self::prepared(options);
        agent.start_again();
        agent
    }

    /// As it would be started, but not yet.
    pub(crate) fn prepared(options: AgentOptions) -> Self {
        Self { options, program: Program::new("agent"), logged_before: 0 }
    }

    /// A command of the same binary with the same environment and folder.
    pub(crate) fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_cdc-agent");
        self.program.command(binary, "CDC_AGENT_", &self.options.environment)
    }

    fn arguments(&self) -> Vec<String> {
        let options = &self.options;
        let mut arguments = vec!["--slot".to_owned(), options.slot.clone()];
        arguments.extend(["--dsn".to_owned(), options.dsn.clone()]);
        arguments.extend(options.destination.iter().cloned());
        arguments.extend(["--topic-prefix".to_owned(), options.prefix.clone()]);
        if options.http {
            arguments.extend(["--http".to_owned(), format!("127.0.0.1:{}", self.port())]);
        }
        arguments.extend(options.arguments.iter().cloned());
        arguments
    }

    /// Starts it again after it has ended, with the same options.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        let mut command = self.command();
        command.args(self.arguments());
        self.logged_before = self.whole_log().len();
        self.program.start(command);
    }

    /// Other options from the next start on.
    pub(crate) fn change(&mut self, change: impl FnOnce(AgentOptions) -> AgentOptions) {
        self.options = change(self.options.clone());
    }

    /// SIGKILL.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.assert_running();
        self.program.take().kill();
    }

    /// SIGTERM; it has to end with status 0 in the default `shutdown.timeout.ms` and a little.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Duration {
        self.assert_running();
        let mut daemon = self.program.take();
        let began = std::time::Instant::now();
        let status = daemon.terminate(Duration::from_secs(30));
        assert_eq!(status.code(), Some(0), "after SIGTERM; its log ends:\n{}", daemon.log_tail());
        began.elapsed()
    }

    /// Waits until it gives up by itself.
    #[track_caller]
    pub(crate) fn refusal(&mut self, timeout: Duration) -> Refusal {
        let mut daemon = self.program.take();
        let status = daemon.wait_exit(timeout);
        let log = self.log();
        // The last message begins at the start of a line and goes on in indented ones.
        let at = log.rfind("\ncdc-agent: ").map_or(0, |at| at + 1);
        Refusal { code: status.code(), message: log[at..].to_owned(), log }
    }

    /// `cdc-agent drop --yes` with its options: status and output.
    #[track_caller]
    pub(crate) fn drop_everything(&self) -> (Option<i32>, String) {
        let mut command = self.command();
        command.arg("drop").args(self.arguments()).arg("--yes");
        let output = command.output().expect("the agent can be started");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// `cdc-agent snapshot` of these tables with its options: status and output.
    #[track_caller]
    pub(crate) fn snapshot(&self, tables: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command();
        command.arg("snapshot").args(tables).args(self.arguments());
        let output = command.output().expect("the agent can be started");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Its process.
    #[track_caller]
    pub(crate) fn daemon(&self) -> &Daemon {
        self.program.daemon()
    }

    /// Ends the test if it has ended by itself.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        self.program.assert_running();
    }

    /// Asks until the answer is yes; the agent has to run meanwhile.
    #[track_caller]
    pub(crate) fn wait(
        &mut self,
        timeout: Duration,
        what: &str,
        mut yes: impl FnMut(&Self) -> bool,
    ) {
        let began = std::time::Instant::now();
        loop {
            self.assert_running();
            if yes(self) {
                return;
            }
            assert!(
                began.elapsed() < timeout,
                "waited {timeout:?} in vain: {what}; the agent's log ends:\n{}",
                self.daemon().log_tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until this run streams.
    #[track_caller]
    pub(crate) fn wait_streaming(&mut self, timeout: Duration) {
        self.wait(timeout, "the agent to stream", |agent| agent.logged(" streaming "));
    }

    /// Whether this run has logged this.
    pub(crate) fn logged(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// What this run has logged.
    pub(crate) fn log(&self) -> String {
        self.whole_log().split_off(self.logged_before)
    }

    /// What all runs have logged.
    pub(crate) fn whole_log(&self) -> String {
        self.program.log()
    }

    /// The file of its standard output, over all runs.
    pub(crate) fn stdout_path(&self) -> PathBuf {
        self.dir().join("agent.out")
    }

    /// The folder that it runs in.
    pub(crate) fn dir(&self) -> &Path {
        self.program.dir()
    }

    /// `GET` of its HTTP port.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, String> {
        self.program.get(path)
    }

    /// The port that `--http` gives.
    pub(crate) fn port(&self) -> u16 {
        self.program.port()
    }

    /// One scrape; `None` if nobody answers.
    pub(crate) fn metrics(&self) -> Option<Answer> {
        self.program.metrics()
    }

    /// A metric without labels beside `slot`; `None` if it is absent.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let answer = self.metrics()?;
        let labelled = format!("{name}{{slot=\"{}\"}}", self.options.slot);
        answer.metric(name).or_else(|| answer.metric(&labelled))
    }
}
