//! Real servers, each in a folder and on loopback ports of its own.
//!
//! They are quick to start (PostgreSQL in one second, Kafka in three), can be killed, frozen and
//! started again on the same data, and are gone when dropped or when this process ends.

pub mod postgres;
pub mod kafka;
pub mod connect;
pub mod tls;

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// The folder below which `install.sh` puts downloaded servers: `CDC_SERVERS`, else
/// `target/servers` of the repository.
pub fn servers_dir() -> PathBuf {
    match std::env::var_os("CDC_SERVERS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers"),
    }
}

/// A Java of version 17, which everything here runs on: `CDC_JAVA`, else Debian's 17, else the
/// `java` of the path; with a folder for what it unpacks.
pub(crate) fn java(heap_mib: u32, jars: &Path, dir: &Path) -> Command {
    let java = std::env::var_os("CDC_JAVA").map(PathBuf::from);
    let java = java.or_else(debian_java).unwrap_or_else(|| PathBuf::from("java"));
    assert!(
        jars.is_dir(),
        "{} is missing: run tests/support/install.sh kafka connect",
        jars.display()
    );
    let mut command = crate::process::command(java);
    command
        .arg(format!("-Xmx{heap_mib}m"))
        // Libraries that are unpacked stay where they are if the process is killed.
        .arg(format!("-Djava.io.tmpdir={}", dir.display()))
        // The other collectors bring threads that tests on two cores are better without.
        .args(["-XX:+UseSerialGC", "-XX:+PerfDisableSharedMem"])
        .args(["-Djava.awt.headless=true", "-Duser.timezone=UTC", "-Dfile.encoding=UTF-8"])
        .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=info")
        .arg("-cp")
        .arg(jars.join("*"));
    command
}

/// The folder's name ends with the machine's architecture.
fn debian_java() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib/jvm").ok()?.flatten();
    let java = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let java = entry.path().join("bin/java");
        (name.to_str()?.starts_with("java-17-openjdk-") && java.exists()).then_some(java)
    };
    entries.filter_map(java).next()
}
