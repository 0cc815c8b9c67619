//! Children: their output, their end, and that none of them outlives a killed test.

use std::process::Command;
use std::thread;
use std::time::Duration;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::process::Signal;

const PATIENCE: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Command {
    let mut command = process::command("/bin/sh");
    command.args(["-c", script]);
    command
}

#[test]
fn output_and_status_are_kept() {
    let dir = process::scratch_dir("test");
    let mut daemon = Daemon::spawn("a", shell("echo out; echo err >&2; exit 7"), dir.path());
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(7));
    assert_eq!((daemon.stdout().as_str(), daemon.log().as_str()), ("out\n", "err\n"));
    let mut again = Daemon::spawn("a", shell("echo more"), dir.path());
    again.wait_exit(PATIENCE);
    assert_eq!(again.stdout(), "out\nmore\n");
}

#[test]
fn a_child_is_frozen_thawed_and_ended() {
    let dir = process::scratch_dir("test");
    let script = "trap 'exit 3' TERM; while :; do echo x; sleep 0.01; done";
    let mut daemon = Daemon::spawn("loop", shell(script), dir.path());
    process::wait_until(PATIENCE, "output", || !daemon.stdout().is_empty());
    daemon.freeze();
    thread::sleep(Duration::from_millis(50));
    let before = daemon.stdout();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(daemon.stdout(), before, "frozen");
    assert!(daemon.is_running() && daemon.rss_bytes() > 0);
    daemon.thaw();
    process::wait_until(PATIENCE, "more output", || daemon.stdout() != before);
    assert_eq!(daemon.terminate(PATIENCE).code(), Some(3));
    assert!(!daemon.is_running());
}

#[test]
fn a_dropped_child_is_gone() {
    let dir = process::scratch_dir("test");
    let daemon = Daemon::spawn("sleep", shell("exec sleep 1000"), dir.path());
    let pid = daemon.pid();
    assert!(process::is_running(pid));
    drop(daemon);
    assert!(!process::is_running(pid));
}

#[test]
fn a_child_outlives_the_thread_that_started_it() {
    let dir = process::scratch_dir("test");
    let logs = dir.path().to_path_buf();
    let start = move || Daemon::spawn("sleep", shell("exec sleep 1000"), &logs);
    let daemon = thread::spawn(start).join().expect("it starts");
    thread::sleep(Duration::from_millis(200));
    assert!(process::is_running(daemon.pid()));
}

/// Run by [`a_child_does_not_outlive_a_killed_test`] in a process of its own.
#[test]
#[ignore = "half of another test"]
fn hold_a_child() {
    let dir = process::scratch_dir("held");
    let daemon = Daemon::spawn("held", shell("exec sleep 1000"), dir.path());
    println!("pid={} dir={}", daemon.pid(), dir.path().display());
    thread::sleep(Duration::from_secs(1_000));
}

#[test]
fn a_child_does_not_outlive_a_killed_test() {
    let dir = process::scratch_dir("test");
    let mut test = Command::new(std::env::current_exe().expect("this program"));
    test.args(["--exact", "hold_a_child", "--ignored", "--nocapture"]);
    let mut holder = Daemon::spawn("holder", test, dir.path());
    let (pid, held) = process::wait_for(PATIENCE, "the child's pid", || {
        let output = holder.stdout();
        let (_, rest) = output.split_once("pid=")?;
        let (pid, held) = rest.lines().next()?.split_once(" dir=")?;
        Some((pid.parse::<u32>().ok()?, held.to_owned()))
    });
    assert!(process::is_running(pid));
    holder.kill();
    process::wait_until(PATIENCE, "the kernel to kill the child", || !process::is_running(pid));
    assert!(std::path::Path::new(&held).exists(), "a killed test leaves its folder to the next");
    std::fs::remove_dir_all(held).expect("the folder is ours");
}

#[test]
#[should_panic(expected = "in vain: the moon")]
fn waiting_in_vain_says_for_what() {
    process::wait_until(Duration::from_millis(20), "the moon", || false);
}

#[test]
fn ports_are_not_given_twice() {
    let mut ports: Vec<u16> = (0..200).map(|_| process::free_port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 200);
}

#[test]
fn nobody_answers_to_a_wrong_pid() {
    assert!(!process::signal(u32::MAX, Signal::Continue));
    assert!(!process::is_running(u32::MAX));
}
