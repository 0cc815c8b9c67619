//! What a person sees: rows by table and lag; repainted in a terminal, a line every few seconds
//! elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

/// How often a terminal is repainted, and how often a line is printed elsewhere.
const REPAINT: Duration = Duration::from_millis(250);
const LINE: Duration = Duration::from_secs(2);

/// Lags that the shown median and maximum are of.
const RECENT: usize = 40;

/// Operations, by the letters of the envelope.
const OPERATIONS: [&str; 5] = ["r", "c", "u", "d", "t"];

/// Most of an event that fits a line.
const EVENT_CHARS: usize = 110;

/// The live view.
pub(crate) struct View {
    tables: BTreeMap<String, [u64; 5]>,
    lags: Vec<f64>,
    last: String,
    shown: Instant,
    /// Lines painted last, to be painted over.
    lines: usize,
    terminal: bool,
    begun: Instant,
}

impl View {
    /// An empty view.
    pub(crate) fn new() -> Self {
        View {
            tables: BTreeMap::new(),
            lags: Vec::new(),
            last: String::new(),
            shown: Instant::now(),
            lines: 0,
            terminal: std::io::stdout().is_terminal(),
            begun: Instant::now(),
        }
    }

    /// Takes in what the warehouse's process says of its tables: `/v1/tables`.
    pub(crate) fn take_tables(&mut self, answer: &Value) {
        let tables = answer.get("tables").and_then(Value::as_object);
        for (name, table) in tables.into_iter().flatten() {
            let count = |operation: &str| {
                let applied = table.get("applied").and_then(|applied| applied.get(operation));
                applied.and_then(Value::as_u64).unwrap_or_default()
            };
            self.tables.insert(name.clone(), OPERATIONS.map(count));
        }
    }

    /// Takes in how long the latest change was on its way, in milliseconds.
    pub(crate) fn take_lag(&mut self, millis: f64) {
        if self.lags.len() >= RECENT {
            self.lags.remove(0);
        }
        self.lags.push(millis);
    }

    /// Takes in the latest row.
    pub(crate) fn take_last(&mut self, row: &str) {
        self.last = row.chars().take(EVENT_CHARS).collect();
    }

    /// Whether it is time to ask and to show.
    pub(crate) fn is_due(&self) -> bool {
        self.shown.elapsed() >= if self.terminal { REPAINT } else { LINE }
    }

    /// Shows it.
    pub(crate) fn show(&mut self) {
        self.shown = Instant::now();
        let mut sorted = self.lags.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let longest = sorted.last().copied().unwrap_or_default();
        let seconds = self.begun.elapsed().as_secs_f64();
        let total: u64 = self.tables.values().flatten().sum();
        let lag = format!(
            "lag from commit to the warehouse: median {median:.0} ms, longest {longest:.0} ms"
        );
        let mut out = std::io::stdout().lock();
        if !self.terminal {
            writeln!(out, "{seconds:6.0} s  {total} changes applied  {lag}  last: {}", self.last)
                .ok();
            return;
        }
        let mut lines = vec![format!(
            "{:<22}{:>9}{:>9}{:>9}{:>9}{:>10}",
            "table", "reads", "creates", "updates", "deletes", "truncates"
        )];
        for (table, counts) in &self.tables {
            let numbers: Vec<String> =
                counts.iter().zip([9, 9, 9, 9, 10]).map(|(n, w)| format!("{n:>w$}")).collect();
            lines.push(format!("{table:<22}{}", numbers.concat()));
        }
        lines.push(format!("{total} changes applied in {seconds:.0} s; {lag}"));
        lines.push(format!("last order: {}", self.last));
        if self.lines > 0 {
            write!(out, "\x1b[{}A", self.lines).ok();
        }
        for line in &lines {
            writeln!(out, "\x1b[2K{line}").ok();
        }
        out.flush().ok();
        self.lines = lines.len();
    }
}
