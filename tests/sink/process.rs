//! One `cdc-sink` process.

use std::time::Duration;

use cdc_testkit::http::Answer;
use cdc_testkit::process::Daemon;

use crate::run::program::Program;

/// How long a run with `--once` may take on a busy machine.
const ONCE: Duration = Duration::from_secs(180);

/// What a sink is started with.
#[derive(Debug, Clone)]
pub(crate) struct SinkOptions {
    brokers: String,
    topics: String,
    group: String,
    to: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl SinkOptions {
    pub(crate) fn new(brokers: &str, topics: &str, to: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topics: topics.to_owned(),
            group: "warehouse".to_owned(),
            to: to.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Another consumer group.
    #[must_use]
    pub(crate) fn group(mut self, group: &str) -> Self {
        self.group = group.to_owned();
        self
    }

    /// `--set NAME=VALUE`.
    #[must_use]
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend(["--set".to_owned(), format!("{name}={value}")]);
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A rule of the companion is turned off; none if the name is empty.
    #[must_use]
    pub(crate) fn broken(self, rule: &str) -> Self {
        if rule.is_empty() { self } else { self.variable("CDC_TEST_BROKEN", rule) }
    }

    /// Runs until everything is applied that the topics hold, and ends well.
    #[track_caller]
    pub(crate) fn once(&self) -> String {
        let ended = self.run(&["--once"]);
        assert_eq!(ended.code, Some(0), "exit status of --once, with the log:\n{}", ended.log);
        for line in ended.log.lines().filter(|line| line.contains("WARN")) {
            println!("{}: {line}", self.to);
        }
        ended.log
    }

    /// Runs with `--once` and gives how it ended.
    #[track_caller]
    pub(crate) fn try_once(&self) -> Ended {
        self.run(&["--once"])
    }

    /// Applies the dead letters again: as many are applied, and as many are left.
    #[track_caller]
    pub(crate) fn replay(&self, applied: u64, left: u64) {
        let ended = self.run(&["replay"]);
        ended.expect(if left == 0 { 0 } else { 78 }, &[]);
        assert_eq!(ended.stdout, format!("{applied} applied, {left} left\n"), "{}", ended.log);
    }

    #[track_caller]
    fn run(&self, more: &[&str]) -> Ended {
        Sink::spawn(self.clone(), more).ended(ONCE)
    }
}

/// How a sink ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
    pub(crate) stdout: String,
}

impl Ended {
    /// The status is this one, and the log holds all of these.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "exit status, with the log:\n{}", self.log);
        for part in parts {
            assert!(self.log.contains(part), "the log lacks {part:?}:\n{}", self.log);
        }
    }
}

/// A running sink, or what is left of it. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    options: SinkOptions,
    program: Program,
}

impl Sink {
    /// Starts it.
    pub(crate) fn start(options: SinkOptions) -> Self {
        Self::spawn(options, &[])
    }

    fn spawn(options: SinkOptions, more: &[&str]) -> Self {
        let mut sink = Self { options, program: Program::new("sink") };
        sink.launch(more);
        sink
    }

    fn launch(&mut self, more: &[&str]) {
        let options = &self.options;
        let binary = env!("CARGO_BIN_EXE_cdc-sink");
        let mut command = self.program.command(binary, "CDC_", &options.environment);
        command.args(more);
        command.args(["--brokers", &options.brokers, "--topics", &options.topics]);
        command.args(["--group", &options.group, "--to", &options.to]);
        let http = format!("127.0.0.1:{}", self.program.port());
        command.args(["--http", if more.is_empty() { &http } else { "none" }]);
        command.args(&options.arguments);
        self.program.start(command);
    }

    /// Starts it again after it was killed or stopped.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.launch(&[]);
    }

    /// SIGKILL.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.program.take().kill();
    }

    /// SIGTERM; it has to end with status 0.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let mut daemon = self.program.take();
        let status = daemon.terminate(Duration::from_secs(60));
        assert_eq!(status.code(), Some(0), "after SIGTERM; its log ends:\n{}", daemon.log_tail());
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

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn ended(&mut self, timeout: Duration) -> Ended {
        let mut daemon = self.program.take();
        let code = daemon.wait_exit(timeout).code();
        Ended { code, log: daemon.log(), stdout: daemon.stdout() }
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// Status and text of `/health/ready`; `None` if nobody answers.
    pub(crate) fn ready(&self) -> Option<(u16, String)> {
        let answer = self.program.get("/health/ready").ok()?;
        Some((answer.status, answer.body))
    }

    /// The port that it answers at.
    pub(crate) fn port(&self) -> u16 {
        self.program.port()
    }

    /// Status of `/health/live`; `None` if nobody answers.
    pub(crate) fn live(&self) -> Option<u16> {
        Some(self.program.get("/health/live").ok()?.status)
    }

    /// Waits until `/health/ready` has this status; gives its text.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self, status: u16, timeout: Duration) -> String {
        let began = std::time::Instant::now();
        loop {
            self.assert_running();
            let seen = self.ready();
            if let Some((_, text)) = seen.as_ref().filter(|(found, _)| *found == status) {
                return text.clone();
            }
            let log = self.daemon().log_tail();
            assert!(began.elapsed() < timeout, "{status} was expected, not {seen:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The value of a series; `None` if it is absent.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        self.metrics()?.metric(series)
    }

    /// One scrape; `None` if nobody answers.
    pub(crate) fn metrics(&self) -> Option<Answer> {
        self.program.metrics()
    }
}
