//! The process itself, by the names that Prometheus' own client libraries give it.
//!
//! Source: Prometheus, "Writing client libraries", "Process metrics"; proc(5).

use std::fmt::Write;
use std::fs;

/// Units of time in `/proc/self/stat` and `/proc/stat`: a second has so many for every program,
/// whatever the kernel's own are.
const TICKS: f64 = 100.0;

/// Appends the metrics in Prometheus' text format; what the system does not tell is absent.
pub(super) fn write(out: &mut String) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let own = read("/proc/self/stat");
    let stat = Stat::parse(&own);
    let booted = number_after(&read("/proc/stat"), "btime ");
    let started = stat.as_ref().zip(booted).map(|(stat, booted)| booted + stat.started / TICKS);
    let memory =
        |name: &str| number_after(&read("/proc/self/status"), name).map(|kib| kib * 1024.0);
    let count = |entries: fs::ReadDir| u32::try_from(entries.count()).ok().map(f64::from);
    let mut metric = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        let Some(value) = value else { return };
        // Writing to a string does not fail.
        write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n").ok();
    };
    metric(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since 1970.",
        started,
    );
    metric(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of user and system.",
        stat.map(|stat| stat.cpu / TICKS),
    );
    metric("process_resident_memory_bytes", "gauge", "Memory that is resident.", memory("VmRSS:"));
    metric("process_virtual_memory_bytes", "gauge", "Memory that is mapped.", memory("VmSize:"));
    metric(
        "process_open_fds",
        "gauge",
        "File descriptors that are open.",
        fs::read_dir("/proc/self/fd").ok().and_then(count),
    );
    metric(
        "process_max_fds",
        "gauge",
        "File descriptors that may be open.",
        number_after(&read("/proc/self/limits"), "Max open files"),
    );
}

/// What is wanted of `/proc/self/stat`.
struct Stat {
    /// Ticks of user and system.
    cpu: f64,
    /// Ticks from boot to the start.
    started: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything; after it comes the third field.
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Stat { cpu: field(14)? + field(15)?, started: field(22)? })
    }
}

/// The number after a word at the start of a line.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Stat;
    use super::number_after;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_passed_over() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 4711 1 2 3";
        let stat = Stat::parse(text).unwrap();
        assert!((stat.cpu - 300.0).abs() < 0.1 && (stat.started - 4711.0).abs() < 0.1);
        assert!(Stat::parse("7 (a").is_none());
    }

    #[test]
    fn numbers_stand_after_their_word() {
        let text = "VmPeak:\t 9 kB\nVmRSS:\t    12 kB\nMax open files   1024  4096 files\n";
        assert_eq!(number_after(text, "VmRSS:"), Some(12.0));
        assert_eq!(number_after(text, "Max open files"), Some(1024.0));
        assert_eq!(number_after(text, "VmSwap:"), None);
    }
}
