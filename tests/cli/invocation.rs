//! One invocation of the built `cdc-agent`: in a folder of its own, with nothing of the machine's
//! settings, and with a look for the password in everything that it has written.

#![allow(dead_code, reason = "each test file uses its part of this module")]

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::process::Signal;
use tempfile::TempDir;

/// Part of every password in these tests: it must be in no output.
pub(crate) const SECRET: &str = "N3verSh0wn";

/// For what takes a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How the agent is called.
#[derive(Debug)]
pub(crate) struct Invocation {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    dir: TempDir,
}

impl Invocation {
    /// `cdc-agent` with these arguments, separated by blanks.
    pub(crate) fn new(arguments: &str) -> Self {
        Self {
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            environment: Vec::new(),
            dir: process::scratch_dir("agent"),
        }
    }

    /// One more argument, which may have blanks.
    #[must_use]
    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// `--dsn`.
    #[must_use]
    pub(crate) fn dsn(self, dsn: impl Into<String>) -> Self {
        self.argument("--dsn").argument(dsn)
    }

    /// `--set NAME=VALUE`.
    #[must_use]
    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        self.argument("--set").argument(format!("{name}={value}"))
    }

    /// A variable of its environment.
    #[must_use]
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file below its home, which is the folder that it runs in.
    #[must_use]
    pub(crate) fn file(self, name: &str, content: &str, mode: u32) -> Self {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is ours");
        std::fs::write(&path, content).expect("the folder is ours");
        set_mode(&path, mode);
        self
    }

    /// A copy of a file below its home.
    #[must_use]
    pub(crate) fn copy(self, name: &str, from: &Path, mode: u32) -> Self {
        let content = std::fs::read_to_string(from).expect("the file is there");
        self.file(name, &content, mode)
    }

    /// Its home, which is the folder that it runs in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Another program in the same surroundings.
    pub(crate) fn surroundings(&self, program: &Path) -> Command {
        let mut command = process::command(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let ours = name.starts_with("PG") || name.starts_with("CDC_AGENT_");
            if ours || matches!(&*name, "STATE_DIRECTORY" | "NOTIFY_SOCKET" | "RUST_LOG") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.dir()).env("LC_ALL", "C").current_dir(self.dir());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Ended {
        self.start().wait()
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        let mut command = self.surroundings(Path::new(env!("CARGO_BIN_EXE_cdc-agent")));
        command.args(&self.arguments);
        let daemon = Daemon::spawn("agent", command, self.dir());
        Running { daemon, invocation: self }
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the file is ours");
}

/// An agent that runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    // Declared before its folder, so that it ends first.
    daemon: Daemon,
    invocation: Invocation,
}

impl Running {
    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let status = self.daemon.wait_exit(PATIENCE);
        let ended = Ended {
            code: status.code(),
            stdout: self.daemon.stdout(),
            stderr: self.daemon.log(),
            invocation: self.invocation,
        };
        ended.assert_secret_kept();
        ended
    }

    /// SIGTERM, and waits for its end.
    #[track_caller]
    pub(crate) fn terminate(self) -> Ended {
        self.daemon.signal(Signal::Terminate);
        self.wait()
    }

    /// Waits until it has logged this; it has to run meanwhile.
    #[track_caller]
    pub(crate) fn wait_logged(&mut self, text: &str) {
        let began = Instant::now();
        while !self.daemon.log().contains(text) {
            assert!(self.daemon.is_running(), "it ended, no {text:?}:\n{}", self.daemon.log());
            assert!(began.elapsed() < PATIENCE, "no {text:?} in time:\n{}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it streams.
    #[track_caller]
    pub(crate) fn wait_streaming(&mut self) {
        self.wait_logged(" streaming from=");
    }

    /// Its process.
    pub(crate) fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Its home.
    pub(crate) fn dir(&self) -> &Path {
        self.invocation.dir()
    }
}

/// What an invocation has come to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    invocation: Invocation,
}

impl Ended {
    /// It has ended with this status, and its last message holds all of these.
    #[track_caller]
    pub(crate) fn expect(self, code: i32, parts: &[&str]) -> Self {
        let stderr = &self.stderr;
        assert_eq!(self.code, Some(code), "exit status of {:?}:\n{stderr}", self.invocation);
        for part in parts {
            let message = self.message();
            assert!(message.contains(part), "the message lacks {part:?}: {message}\n{stderr}");
        }
        self
    }

    /// It has ended with this status and this one message: the whole text, in which each pair's
    /// first part, which differs between runs, is replaced by the second. Numbers of processes and
    /// of seconds are `N`.
    #[track_caller]
    pub(crate) fn says(self, code: i32, names: &[(&str, &str)], expected: &str) -> Self {
        let mut found = self.message().trim_end().to_owned();
        for (actual, name) in names {
            found = found.replace(actual, name);
        }
        for (pattern, name) in [
            (r"process \d+", "process N"),
            (r"for \d+ s\b", "for N s"),
            (r"(cannot be resolved: ).*", "${1}REASON"),
        ] {
            let pattern = regex::Regex::new(pattern).expect("the pattern is good");
            found = pattern.replace_all(&found, name).into_owned();
        }
        let expected = format!("cdc-agent: {expected}");
        let (status, stderr) = (self.code, &self.stderr);
        assert!(
            found == expected && status == Some(code),
            "of {:?}\nfound    {status:?} {found}\nexpected {code} {expected}\n\n{stderr}",
            self.invocation
        );
        let messages = stderr.lines().filter(|line| line.starts_with("cdc-agent: ")).count();
        assert_eq!(messages, 1, "one message is enough:\n{stderr}");
        self
    }

    /// The message at the end: what it says after `cdc-agent: `, hint included.
    pub(crate) fn message(&self) -> &str {
        let at = match self.stderr.rfind("\ncdc-agent: ") {
            Some(at) => at + 1,
            None => 0,
        };
        self.stderr.get(at..).expect("the start of a line")
    }

    /// It has left no file but these in its folder, and those that were put there.
    #[track_caller]
    pub(crate) fn expect_files(self, expected: &[&str]) -> Self {
        let entries = std::fs::read_dir(self.invocation.dir()).expect("the folder is ours");
        let mut found: Vec<String> = entries
            .map(|entry| entry.expect("the folder is ours").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| !matches!(&**name, "agent.out" | "agent.err"))
            .collect();
        found.sort();
        assert_eq!(found, expected, "files left behind:\n{}", self.stderr);
        self
    }

    /// The same surroundings again, with other arguments.
    pub(crate) fn again(self, arguments: &str) -> Invocation {
        for name in ["agent.out", "agent.err"] {
            std::fs::remove_file(self.invocation.dir().join(name)).expect("the file is ours");
        }
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Invocation { arguments, ..self.invocation }
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.invocation.dir()
    }

    #[track_caller]
    fn assert_secret_kept(&self) {
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            assert!(!text.contains(SECRET), "a password in {name}:\n{text}");
        }
    }
}
