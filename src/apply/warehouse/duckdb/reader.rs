//! Questions to the file while the process that holds it writes.

use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use crate::apply::warehouse::duckdb::Shared;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::connection::type_number;
use crate::apply::warehouse::duckdb::query_result::Row;
use crate::apply::warehouse::duckdb::sql;

/// An answer grows no larger, whatever limit of rows was asked for.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whole numbers above it are strings: readers of JSON keep numbers as 64-bit floats.
const EXACT_MAX: u64 = 1 << 53;

/// DuckDB's number of an interrupted statement.
const INTERRUPTED: i32 = 29;

/// Reads what is stored; its clones ask the same file.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Shared,
}

/// What a question gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `{"columns":["id",...],"rows":[[1,...],...],"truncated":false}`. Whole numbers up to 2^53,
    /// floats and booleans are JSON's; lists and structures are JSON too; everything else is a
    /// string.
    pub json: String,
    /// How many rows are in it.
    pub rows: usize,
    /// There were more.
    pub truncated: bool,
}

/// A question that has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It is no single SELECT, or DuckDB does not understand it; what was said.
    Refused(String),
    /// It took longer than allowed.
    Timeout,
    /// The file is not open.
    Unavailable(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Refused(message) | ReadError::Unavailable(message) => {
                formatter.write_str(message)
            }
            ReadError::Timeout => formatter.write_str("the query took longer than allowed"),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        if fault.kind == INTERRUPTED {
            ReadError::Timeout
        } else if fault.is_of_the_file() {
            ReadError::Unavailable(fault.message)
        } else {
            ReadError::Refused(fault.message)
        }
    }
}

impl Reader {
    pub(super) fn new(shared: Shared) -> Self {
        Reader { shared }
    }

    /// Runs one SELECT over what is committed, in a transaction that cannot write, and gives at
    /// most `rows_max` rows.
    ///
    /// # Errors
    ///
    /// As [`ReadError`] says.
    pub fn select(
        &self,
        query: &str,
        rows_max: usize,
        timeout: Duration,
    ) -> Result<Answer, ReadError> {
        let database =
            self.shared.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Arc::clone);
        let database =
            database.ok_or_else(|| ReadError::Unavailable("the file is not open".to_owned()))?;
        let connection = database.connect()?;
        connection.execute(&format!("USE {}; BEGIN TRANSACTION READ ONLY", sql::CATALOG))?;
        let (done, wait) = crossbeam_channel::bounded::<()>(1);
        std::thread::scope(|scope| {
            let interrupt = connection.interrupt();
            scope.spawn(move || {
                if wait.recv_timeout(timeout) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                    interrupt.interrupt();
                }
            });
            let answer = answer(&connection, query, rows_max);
            // The other thread sees the channel closed and ends.
            drop(done);
            answer
        })
    }
}

fn answer(connection: &Connection, query: &str, rows_max: usize) -> Result<Answer, ReadError> {
    let query = query.trim_end().trim_end_matches(';');
    let columns = connection.prepare_select(query)?.columns();
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let values: Vec<String> =
        columns.iter().enumerate().map(|(index, (_, number))| printed(index, *number)).collect();
    let aliases: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
    let wrapped = format!(
        "SELECT {} FROM (\n{query}\n) AS q({}) LIMIT {}",
        values.join(", "),
        aliases.join(", "),
        rows_max.saturating_add(1)
    );
    let names = serde_json::to_string(&names).unwrap_or_default();
    let mut answer =
        Answer { json: format!("{{\"columns\":{names},\"rows\":["), rows: 0, truncated: false };
    connection.each(&wrapped, |row| {
        if answer.rows == rows_max || answer.json.len() >= ANSWER_BYTES_MAX {
            answer.truncated = true;
            return Ok(());
        }
        answer.json.push_str(if answer.rows == 0 { "[" } else { ",[" });
        for (index, (_, number)) in columns.iter().enumerate() {
            if index > 0 {
                answer.json.push(',');
            }
            write_value(row, index, *number, &mut answer.json);
        }
        answer.json.push(']');
        answer.rows += 1;
        Ok::<(), ReadError>(())
    })?;
    answer.json.push_str(&format!("],\"truncated\":{}}}", answer.truncated));
    Ok(answer)
}

fn is_whole(number: i32) -> bool {
    matches!(number, type_number::TINYINT..=type_number::BIGINT)
        || matches!(number, type_number::UTINYINT..=type_number::UBIGINT)
}

/// SQL of a value's text.
fn printed(index: usize, number: i32) -> String {
    match number {
        number if type_number::NESTED.contains(&number) => {
            format!("CAST(to_json(c{index}) AS VARCHAR)")
        }
        type_number::BLOB => format!("lower(hex(c{index}))"),
        _ => format!("CAST(c{index} AS VARCHAR)"),
    }
}

fn write_value(row: Row<'_>, index: usize, number: i32, json: &mut String) {
    let Some(text) = row.text(index) else {
        json.push_str("null");
        return;
    };
    let bare = match number {
        type_number::BOOLEAN => true,
        type_number::FLOAT | type_number::DOUBLE => text.parse::<f64>().is_ok_and(f64::is_finite),
        number if type_number::NESTED.contains(&number) => true,
        number if is_whole(number) => {
            text.parse::<i64>().is_ok_and(|value| value.unsigned_abs() <= EXACT_MAX)
        }
        _ => false,
    };
    if bare {
        json.push_str(text);
    } else {
        json.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}
