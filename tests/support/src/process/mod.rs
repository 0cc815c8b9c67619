//! Processes, ports, folders and waiting: what every test with real servers needs first.

mod daemon;
mod keeper;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use tempfile::TempDir;

pub use daemon::Daemon;
pub(crate) use keeper::spawn;

/// What can be sent to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL: ends it without a word.
    Kill,
    /// SIGSTOP: freezes it.
    Stop,
    /// SIGCONT: thaws it.
    Continue,
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hangup,
}

impl Signal {
    fn number(self) -> rustix::process::Signal {
        match self {
            Self::Kill => rustix::process::Signal::KILL,
            Self::Stop => rustix::process::Signal::STOP,
            Self::Continue => rustix::process::Signal::CONT,
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Quit => rustix::process::Signal::QUIT,
            Self::Hangup => rustix::process::Signal::HUP,
        }
    }
}

/// Sends a signal to one process; false if there is none with this id.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    rustix::process::kill_process(pid, signal.number()).is_ok()
}

/// Whether a process is there and not merely waiting to be reaped.
pub fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// The direct children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&child| stat(child).is_some_and(|stat| stat.parent == pid && stat.state != 'Z'))
        .collect()
}

/// Resident memory of a process in bytes; 0 if it is gone.
pub fn rss_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// CPU time that a process has used so far, user and system; zero if it is gone.
pub fn cpu_time(pid: u32) -> Duration {
    // /proc counts in USER_HZ, which is 100 on every Linux that PostgreSQL and Kafka run on.
    stat(pid).map_or(Duration::ZERO, |stat| Duration::from_millis(stat.cpu_ticks * 10))
}

/// A command whose process the kernel kills as soon as this one ends, however it ends.
///
/// Arguments and environment are added to it as to any other. An agent's first snapshot has epoch 1,
/// so that positions can be compared with what is expected. It runs through `setpriv`, which
/// replaces itself by the program, so the process id is the program's.
pub fn command(program: impl AsRef<Path>) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref());
        command
    } else {
        Command::new(program.as_ref())
    };
    command.env("CDC_AGENT_SNAPSHOT_EPOCH", "1");
    command
}

/// A loopback port that nobody listens on, and that this process has not been given before.
///
/// It lies below the ports that Linux takes for outgoing connections, so that a server which is
/// killed and started again finds it free.
///
/// # Panics
///
/// If hundreds of ports in turn are taken.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for _ in 0..1_000 {
        let port = fastrand::u16(12_000..32_000);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.push(port);
            return port;
        }
    }
    panic!("no free port between 12000 and 32000 on 127.0.0.1");
}

/// Asks until the answer is yes.
///
/// # Panics
///
/// If the time is over first, saying what was waited for.
#[track_caller]
pub fn wait_until(timeout: Duration, what: &str, mut question: impl FnMut() -> bool) {
    wait_for(timeout, what, || question().then_some(()));
}

/// Asks until there is an answer, and gives it.
///
/// # Panics
///
/// If the time is over first, saying what was waited for.
#[track_caller]
pub fn wait_for<T>(timeout: Duration, what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(began.elapsed() < timeout, "waited {timeout:?} in vain: {what}");
        thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

/// A fresh folder below the system's temporary one, removed when dropped.
///
/// Its name bears the process id: folders of processes that were killed are removed by the next
/// process that asks for one.
///
/// # Panics
///
/// If the folder cannot be made.
pub fn scratch_dir(name: &str) -> TempDir {
    static SWEPT: OnceLock<()> = OnceLock::new();
    SWEPT.get_or_init(sweep);
    tempfile::Builder::new()
        .prefix(&format!("cdc-testkit.{}.{name}.", std::process::id()))
        .tempdir()
        .expect("the temporary folder must be writable (TMPDIR)")
}

/// The seed of a random test: `SEED` of the environment, else a new one. It is printed.
///
/// # Panics
///
/// If `SEED` is not a number.
pub fn seed() -> u64 {
    let seed = match std::env::var("SEED") {
        Ok(text) => text.parse().expect("SEED is a number from 0 to 18446744073709551615"),
        Err(_) => fastrand::u64(..),
    };
    println!("SEED={seed}");
    seed
}

/// Removes the folders that killed processes of ours have left.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("cdc-testkit."));
        let owner = owner.and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !is_running(pid)) {
            // Another process may be sweeping too.
            let _gone = fs::remove_dir_all(entry.path());
        }
    }
}

/// Waits until `setpriv` has done its work and become the program: only then is the child safe.
fn wait_for_program(pid: u32) {
    let began = Instant::now();
    while stat(pid).is_some_and(|stat| stat.is_setpriv) && began.elapsed() < Duration::from_secs(2)
    {
        thread::sleep(Duration::from_micros(200));
    }
}

struct Stat {
    is_setpriv: bool,
    state: char,
    parent: u32,
    cpu_ticks: u64,
}

/// `/proc/PID/stat`; its second field is a name in brackets that may hold blanks and brackets.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        is_setpriv: name.ends_with("(setpriv"),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_ticks: ticks(11)? + ticks(12)?,
    })
}
