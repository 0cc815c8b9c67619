//! Questions to the file while the process that holds it writes.

use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use crate::apply::warehouse::STATE_SCHEMA;
use crate::apply::warehouse::duckdb::Shared;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::connection::type_number;
use crate::apply::warehouse::duckdb::guard;
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

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `{"columns":["id",...],"rows":[[1,...],...],"truncated":false}`. Whole numbers up to 2^53,
    /// floats and booleans are JSON's; lists and structures are JSON too; everything else is a
    /// string.
    #[default]
    Json,
    /// Lines of values separated by commas after one of names; NULL is nothing, an empty text `""`.
    Csv,
}

/// What a question gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In the form that was asked for.
    pub text: String,
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

    /// Runs one statement that reads what is committed, in a transaction that cannot write, and
    /// gives at most `rows_max` rows. Tables are found in every schema of the warehouse.
    ///
    /// # Errors
    ///
    /// As [`ReadError`] says.
    pub fn select(
        &self,
        query: &str,
        (rows_max, form): (usize, Form),
        timeout: Duration,
    ) -> Result<Answer, ReadError> {
        let database =
            self.shared.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Arc::clone);
        let database =
            database.ok_or_else(|| ReadError::Unavailable("the file is not open".to_owned()))?;
        let connection = database.connect()?;
        connection.execute(&format!("USE {}", sql::CATALOG))?;
        connection.execute(&search_path(&connection)?)?;
        connection.execute("BEGIN TRANSACTION READ ONLY")?;
        let (done, wait) = crossbeam_channel::bounded::<()>(1);
        std::thread::scope(|scope| {
            let interrupt = connection.interrupt();
            scope.spawn(move || {
                if wait.recv_timeout(timeout) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                    interrupt.interrupt();
                }
            });
            let answer = understand(&connection, query)
                .and_then(|asked| answer(&connection, &asked, rows_max, form));
            // The other thread sees the channel closed and ends.
            drop(done);
            answer
        })
    }
}

/// Tables of all schemas are known by their names alone.
fn search_path(connection: &Connection) -> Result<String, Fault> {
    let mut schemas = vec![format!("{}.main", sql::CATALOG)];
    let asked = format!(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = {} AND schema_name NOT IN \
         ('main', {}) ORDER BY schema_name <> 'public', schema_name",
        sql::literal(sql::CATALOG),
        sql::literal(STATE_SCHEMA)
    );
    connection.each(&asked, |row| {
        let schema = row.text(0).unwrap_or_default();
        schemas.push(format!("{}.{}", sql::CATALOG, sql::name(schema)));
        Ok::<(), Fault>(())
    })?;
    Ok(format!("SET SESSION search_path = {}", sql::literal(&schemas.join(","))))
}

/// What is asked: a SELECT in its own words, or the plan of one.
struct Asked {
    query: String,
    /// `EXPLAIN ` or `EXPLAIN ANALYZE `, if that is asked.
    explain: Option<&'static str>,
}

/// The word that a statement begins with, if it is this one, is taken from it.
fn after_word<'a>(statement: &'a str, word: &str) -> Option<&'a str> {
    let statement = statement.trim_start();
    let (first, rest) = statement.split_at_checked(word.len())?;
    let ends = rest.starts_with(|c: char| c.is_whitespace() || c == '(');
    (first.eq_ignore_ascii_case(word) && ends).then_some(rest)
}

/// Refuses what does anything but read.
fn understand(connection: &Connection, query: &str) -> Result<Asked, ReadError> {
    let query = query.trim_end().trim_end_matches(';').trim_end();
    let mut asked = Asked { query: query.to_owned(), explain: None };
    if let Some(rest) = after_word(query, "EXPLAIN") {
        let analyzed = after_word(rest, "ANALYZE");
        asked.explain = Some(if analyzed.is_some() { "EXPLAIN ANALYZE " } else { "EXPLAIN " });
        asked.query = analyzed.unwrap_or(rest).trim_start().to_owned();
    } else if let Some(rest) = after_word(query, "PRAGMA") {
        // Those that read are functions, too, and looked at as such.
        let name = rest.trim();
        let call = if name.ends_with(')') { name.to_owned() } else { format!("{name}()") };
        asked.query = match name.to_ascii_lowercase().as_str() {
            "show_tables" => "SHOW TABLES".to_owned(),
            "show_databases" => "SHOW DATABASES".to_owned(),
            _ => format!("SELECT * FROM pragma_{call}"),
        };
    }
    if asked.query.contains('\0') {
        return Err(ReadError::Refused("a NUL in the statement".to_owned()));
    }
    let mut parsed = String::new();
    let parse = format!("SELECT json_serialize_sql({})", sql::literal(&asked.query));
    connection.each(&parse, |row| {
        row.text(0).unwrap_or_default().clone_into(&mut parsed);
        Ok::<(), Fault>(())
    })?;
    if let Ok(failed) = serde_json::from_str::<ParseFailed>(&parsed)
        && failed.error
    {
        return Err(ReadError::Refused(match failed.error_type.as_str() {
            "parser" | "syntax" => format!("Parser Error: {}", failed.error_message),
            _ => "expected one SELECT, SHOW, DESCRIBE, SUMMARIZE, EXPLAIN or reading PRAGMA: \
                  nothing else is answered here"
                .to_owned(),
        }));
    }
    match guard::refusal(&parsed) {
        None => Ok(asked),
        Some(reason) => Err(ReadError::Refused(reason)),
    }
}

/// What `json_serialize_sql` says of a text that it does not take.
#[derive(serde::Deserialize)]
struct ParseFailed {
    error: bool,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error_message: String,
}

fn answer(
    connection: &Connection,
    asked: &Asked,
    rows_max: usize,
    form: Form,
) -> Result<Answer, ReadError> {
    let query = &asked.query;
    let prepared = connection.prepare_select(query).map_err(|fault| hinted(connection, fault))?;
    let (columns, sql) = match asked.explain {
        Some(explain) => {
            let text = |name: &str| (name.to_owned(), type_number::VARCHAR);
            (vec![text("explain_key"), text("explain_value")], format!("{explain}{query}"))
        }
        None => {
            let columns = prepared.columns();
            let sql = printed_columns(&columns, query, rows_max);
            (columns, sql)
        }
    };
    drop(prepared);
    let mut text = head(&columns, form);
    let (mut rows, mut truncated) = (0, false);
    connection.each(&sql, |row| {
        if truncated || rows == rows_max {
            truncated = true;
            return Ok(());
        }
        let before = text.len();
        if write_row(row, &columns, form, (rows == 0, &mut text))? {
            rows += 1;
        } else if rows == 0 {
            return Err(ReadError::Refused(format!(
                "one row is larger than an answer may be ({ANSWER_BYTES_MAX} bytes): ask for fewer \
                 columns, or for parts of them with substr()"
            )));
        } else {
            text.truncate(before);
            truncated = true;
        }
        Ok(())
    })?;
    if form == Form::Json {
        text.push_str(&format!("],\"truncated\":{truncated}}}"));
    }
    Ok(Answer { text, rows, truncated })
}

/// What an answer begins with.
fn head(columns: &[(String, i32)], form: Form) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    match form {
        Form::Json => {
            let names = serde_json::to_string(&names).unwrap_or_default();
            format!("{{\"columns\":{names},\"rows\":[")
        }
        Form::Csv => {
            let mut text = String::new();
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_field(Some(name), &mut text);
            }
            text.push_str("\r\n");
            text
        }
    }
}

/// A SELECT whose columns are the texts of another one's.
fn printed_columns(columns: &[(String, i32)], query: &str, rows_max: usize) -> String {
    let values: Vec<String> =
        columns.iter().enumerate().map(|(index, (_, number))| printed(index, *number)).collect();
    let aliases: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
    format!(
        "SELECT {} FROM (\n{query}\n) AS q({}) LIMIT {}",
        values.join(", "),
        aliases.join(", "),
        rows_max.saturating_add(1)
    )
}

/// Whether the row has room.
fn write_row(
    row: Row<'_>,
    columns: &[(String, i32)],
    form: Form,
    (first, text): (bool, &mut String),
) -> Result<bool, ReadError> {
    if form == Form::Json {
        text.push_str(if first { "[" } else { ",[" });
    }
    for (index, (name, number)) in columns.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let length = row.text(index).map_or(0, str::len);
        if length > guard::VALUE_BYTES_MAX {
            return Err(ReadError::Refused(format!(
                "a value of column {name} has {length} bytes, and an answer takes {} at most: ask \
                 for a part of it with substr()",
                guard::VALUE_BYTES_MAX
            )));
        }
        if text.len() + length > ANSWER_BYTES_MAX {
            return Ok(false);
        }
        match form {
            Form::Json => write_value(row, index, *number, text),
            Form::Csv => write_field(row.text(index), text),
        }
    }
    text.push_str(if form == Form::Json { "]" } else { "\r\n" });
    Ok(true)
}

/// A field of a line, in quotes where it needs them; nothing for NULL.
///
/// Source: RFC 4180, 2.
fn write_field(field: Option<&str>, text: &mut String) {
    match field {
        None => {}
        Some(field) if !field.is_empty() && !field.contains([',', '"', '\r', '\n']) => {
            text.push_str(field);
        }
        Some(field) => {
            text.push('"');
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        }
    }
}

/// What DuckDB says of a table that is not there, with the names of those that are.
fn hinted(connection: &Connection, fault: Fault) -> ReadError {
    let missing = (fault.message.split_once("Table with name "))
        .and_then(|(_, rest)| rest.split_once(" does not exist"));
    let Some((missing, _)) = missing else { return fault.into() };
    let mut names: Vec<String> = Vec::new();
    let nearest = format!(
        "SELECT concat(schema_name, '.', table_name) FROM duckdb_tables() WHERE database_name = {} \
         AND schema_name <> {} ORDER BY jaro_winkler_similarity(lower(table_name), lower({})) \
         DESC, 1 LIMIT 5",
        sql::literal(sql::CATALOG),
        sql::literal(STATE_SCHEMA),
        sql::literal(missing)
    );
    let found = connection.each(&nearest, |row| {
        names.extend(row.text(0).map(str::to_owned));
        Ok::<(), Fault>(())
    });
    if found.is_err() || names.is_empty() {
        return ReadError::Refused(format!("there is no table {missing}: there is none yet"));
    }
    ReadError::Refused(format!(
        "there is no table {missing}: SHOW ALL TABLES lists those that are, such as {}",
        names.join(", ")
    ))
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
