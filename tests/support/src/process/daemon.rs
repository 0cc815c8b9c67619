//! A child process with its output in files.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::Signal;

/// A running child: a server, or cdc-agent itself. Killed and reaped when dropped.
///
/// Standard output and standard error go to `NAME.out` and `NAME.err` in the folder given; a child
/// of the same name started later appends to them.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Daemon {
    /// Starts a command, best one of [`super::command`], so that it cannot outlive this process.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[track_caller]
    pub fn spawn(name: &str, mut command: Command, logs: &Path) -> Self {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        command.stdin(Stdio::null()).stdout(append(&stdout)).stderr(append(&stderr));
        let shown = format!("{command:?}");
        let child = match super::spawn(command) {
            Ok(child) => child,
            Err(error) => panic!("{name} does not start: {error}: {shown}"),
        };
        super::wait_for_program(child.id());
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal_if_running();
        self.child.wait().expect("a child of ours can be waited for")
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    ///
    /// If it has not ended by then.
    #[track_caller]
    pub fn terminate(&mut self, timeout: Duration) -> ExitStatus {
        self.signal(Signal::Terminate);
        self.wait_exit(timeout)
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// If it has not ended by then, with the end of its log.
    #[track_caller]
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let began = Instant::now();
        while began.elapsed() < timeout {
            if let Some(status) = self.exit_status() {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{} still runs after {timeout:?}; its log ends:\n{}", self.name, self.log_tail());
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours can be waited for")
    }

    /// Whether it has not ended yet. A frozen one runs.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        super::signal(self.pid(), signal);
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.signal(Signal::Stop);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::Continue);
    }

    /// Resident memory in bytes; 0 once it has ended.
    pub fn rss_bytes(&self) -> u64 {
        super::rss_bytes(self.pid())
    }

    /// CPU time used so far.
    pub fn cpu_time(&self) -> Duration {
        super::cpu_time(self.pid())
    }

    /// All that it has written to standard output.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// All that it has written to standard error: the log of servers and of cdc-agent.
    pub fn log(&self) -> String {
        read(&self.stderr)
    }

    /// The last lines of the log, for a panic message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The file of standard output.
    pub fn stdout_path(&self) -> &Path {
        &self.stdout
    }

    /// The file of standard error.
    pub fn log_path(&self) -> &Path {
        &self.stderr
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal_if_running();
        let _status = self.child.wait();
    }
}

impl Daemon {
    /// A pid that has been waited for may belong to somebody else.
    fn signal_if_running(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::Kill);
        }
    }
}

fn append(path: &Path) -> File {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
