//! What a person sees: changes by table, lag, the last event; repainted in a terminal, a line every
//! few seconds elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use cdc_testkit::topics::TopicRecord;
use serde_json::Value;

/// How often a terminal is repainted, and how often a line is printed elsewhere.
const REPAINT: Duration = Duration::from_millis(250);
const LINE: Duration = Duration::from_secs(2);

/// Lags that the shown median and maximum are of.
const RECENT: usize = 500;

/// Most of an event that fits a line.
const EVENT_CHARS: usize = 110;

/// Counts of one table: reads, creates, updates, deletes, truncates.
type Counts = [u64; 5];

/// The live view.
pub(crate) struct View {
    tables: BTreeMap<String, Counts>,
    lags: Vec<f64>,
    last: String,
    shown: Instant,
    /// Lines painted last, to be painted over.
    lines: usize,
    terminal: bool,
    begun: Instant,
    total: u64,
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
            total: 0,
        }
    }

    /// Takes in one record.
    pub(crate) fn take(&mut self, record: &TopicRecord) {
        let Some(value) = &record.value else { return };
        let Ok(event) = serde_json::from_slice::<Value>(value) else { return };
        let operation = member(&event, "/op").as_str().unwrap_or_default();
        let Some(place) = "rcudt".find(operation) else { return };
        let table = record.topic.split_once('.').map_or("", |(_, table)| table).to_owned();
        if let Some(count) = self.tables.entry(table.clone()).or_default().get_mut(place) {
            *count += 1;
        }
        self.total += 1;
        if operation != "r" {
            let commit = member(&event, "/source/ts_us").as_f64().unwrap_or_default();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            if self.lags.len() >= RECENT {
                self.lags.remove(0);
            }
            self.lags.push((now.as_secs_f64() * 1e6 - commit) / 1000.0);
        }
        let after = member(&event, "/after");
        let shown = if after.is_null() { member(&event, "/before") } else { after };
        let text: String =
            format!("{operation} {table} {shown}").chars().take(EVENT_CHARS).collect();
        self.last = text;
    }

    /// Shows it, if it is time.
    pub(crate) fn show_if_due(&mut self) {
        if self.shown.elapsed() >= if self.terminal { REPAINT } else { LINE } {
            self.show();
        }
    }

    /// Shows it.
    pub(crate) fn show(&mut self) {
        self.shown = Instant::now();
        let mut sorted = self.lags.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let longest = sorted.last().copied().unwrap_or_default();
        let seconds = self.begun.elapsed().as_secs_f64();
        let lag =
            format!("lag from commit to here: median {median:.0} ms, longest {longest:.0} ms");
        let mut out = std::io::stdout().lock();
        if !self.terminal {
            writeln!(out, "{seconds:6.0} s  {} records  {lag}  last: {}", self.total, self.last)
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
        lines.push(format!("{} records in {seconds:.0} s; {lag}", self.total));
        lines.push(format!("last: {}", self.last));
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

/// A member by its pointer (RFC 6901), null if there is none.
fn member<'a>(event: &'a Value, pointer: &str) -> &'a Value {
    event.pointer(pointer).unwrap_or(&Value::Null)
}
