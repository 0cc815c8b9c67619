//! A database and its connections: statements in, rows out, nothing of what they mean.
//!
//! The only file that calls the library. Handles are closed when their owners are dropped, and
//! every owner keeps the database it came from.

#![allow(unsafe_code, reason = "calls of DuckDB's C interface")]

use std::ffi::CString;
use std::ffi::c_char;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::library;
use crate::apply::warehouse::duckdb::library::Functions;
use crate::apply::warehouse::duckdb::library::Handle;
use crate::apply::warehouse::duckdb::library::text;
use crate::apply::warehouse::duckdb::query_result::QueryResult;
use crate::apply::warehouse::duckdb::query_result::Row;

/// Numbers of types in `duckdb.h`.
pub(super) mod type_number {
    pub(in crate::apply::warehouse::duckdb) const BOOLEAN: i32 = 1;
    pub(in crate::apply::warehouse::duckdb) const TINYINT: i32 = 2;
    pub(in crate::apply::warehouse::duckdb) const BIGINT: i32 = 5;
    pub(in crate::apply::warehouse::duckdb) const UTINYINT: i32 = 6;
    pub(in crate::apply::warehouse::duckdb) const UBIGINT: i32 = 9;
    pub(in crate::apply::warehouse::duckdb) const FLOAT: i32 = 10;
    pub(in crate::apply::warehouse::duckdb) const DOUBLE: i32 = 11;
    pub(in crate::apply::warehouse::duckdb) const VARCHAR: i32 = 17;
    pub(in crate::apply::warehouse::duckdb) const BLOB: i32 = 18;
    pub(in crate::apply::warehouse::duckdb) const NESTED: [i32; 5] = [24, 25, 26, 28, 33];
}

/// Number of SELECT among the kinds of statements.
const STATEMENT_SELECT: i32 = 1;

/// What DuckDB says is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Number of its kind in `duckdb.h`; 0 if it gave none.
    pub(super) kind: i32,
    /// Its words. They may hold a value of a row.
    pub(super) message: String,
}

impl Fault {
    /// Of no kind.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Fault { kind: 0, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// A database that lives in memory until another is attached to it.
#[derive(Debug)]
pub(super) struct Database {
    functions: &'static Functions,
    raw: Handle,
}

// SAFETY: DuckDB's databases may be used from all threads at once.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// There is no library, or it refuses.
    pub(super) fn open() -> Result<Arc<Self>, WarehouseError> {
        Self::open_file(":memory:")
    }

    /// Opens a file by itself.
    ///
    /// # Errors
    ///
    /// As of [`Database::open`].
    pub(super) fn open_file(file: &str) -> Result<Arc<Self>, WarehouseError> {
        let file = CString::new(file).map_err(|_| Fault::new("a NUL in a name"))?;
        let functions = library::functions()?;
        let (mut raw, mut error) = (ptr::null_mut(), ptr::null_mut::<c_char>());
        // SAFETY: both places are written by the call; no configuration is given.
        let state = unsafe {
            (functions.open_ext)(file.as_ptr(), &raw mut raw, ptr::null_mut(), &raw mut error)
        };
        // SAFETY: a C string of the library's or null, freed once.
        let message = unsafe {
            let message = text(error);
            (functions.free)(error.cast());
            message
        };
        let database = Database { functions, raw };
        if state == 0 {
            return Ok(Arc::new(database));
        }
        Err(WarehouseError::Unreachable { message: format!("DuckDB does not start: {message}") })
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// The library refuses.
    pub(super) fn connect(self: &Arc<Self>) -> Result<Connection, Fault> {
        let mut raw = ptr::null_mut();
        // SAFETY: an open database; the place is written by the call.
        let state = unsafe { (self.functions.connect)(self.raw, &raw mut raw) };
        let connection = Connection { database: Arc::clone(self), raw };
        if state == 0 { Ok(connection) } else { Err(Fault::new("DuckDB refuses a connection")) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: every connection holds the database, so none is left.
        unsafe { (self.functions.close)(&raw mut self.raw) };
    }
}

/// A connection: one transaction at a time.
#[derive(Debug)]
pub(super) struct Connection {
    database: Arc<Database>,
    raw: Handle,
}

// SAFETY: a connection may be used from any thread, by one at a time but for interrupt.
unsafe impl Send for Connection {}

/// Ends what a connection is doing, from another thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interrupt<'connection>(&'connection Connection);

// SAFETY: duckdb_interrupt is the one call that may be made while another is under way; the
// reference keeps the connection open.
unsafe impl Send for Interrupt<'_> {}

impl Interrupt<'_> {
    /// Ends it.
    pub(super) fn interrupt(self) {
        // SAFETY: an open connection.
        unsafe { (self.0.functions().interrupt)(self.0.raw) };
    }
}

impl Connection {
    pub(super) fn functions(&self) -> &'static Functions {
        self.database.functions
    }

    pub(super) fn raw(&self) -> Handle {
        self.raw
    }

    /// For another thread.
    pub(super) fn interrupt(&self) -> Interrupt<'_> {
        Interrupt(self)
    }

    /// Does a statement, or several; how many rows the last one changed.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    pub(super) fn execute(&self, sql: &str) -> Result<u64, Fault> {
        Ok(self.query(sql)?.rows_changed())
    }

    /// Does a statement with values in the places of `?`.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    pub(super) fn execute_with(&self, sql: &str, values: &[Value<'_>]) -> Result<(), Fault> {
        let statement = Statement::prepare(self, sql)?;
        for (index, value) in (1..).zip(values) {
            statement.bind(index, *value)?;
        }
        statement.execute().map(drop)
    }

    /// Asks; `visit` sees the rows one by one.
    ///
    /// # Errors
    ///
    /// What DuckDB says, or `visit`.
    pub(super) fn each<E: From<Fault>>(
        &self,
        sql: &str,
        visit: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.query(sql)?.each(visit)
    }

    /// Asks for one row of whole numbers.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    pub(super) fn numbers<const N: usize>(&self, sql: &str) -> Result<[i64; N], Fault> {
        let mut numbers = [0; N];
        self.each(sql, |row| {
            for (index, number) in numbers.iter_mut().enumerate() {
                *number = row.integer(index).unwrap_or_default();
            }
            Ok::<(), Fault>(())
        })?;
        Ok(numbers)
    }

    /// Prepares a text that is one SELECT and nothing else.
    ///
    /// # Errors
    ///
    /// It is not, or DuckDB does not understand it.
    pub(super) fn prepare_select(&self, sql: &str) -> Result<Statement<'_>, Fault> {
        let sql = CString::new(sql).map_err(|_| Fault::new("a NUL in the statement"))?;
        let functions = self.functions();
        let mut extracted = ptr::null_mut();
        let mut raw = ptr::null_mut();
        // SAFETY: an open connection, C strings, places that the calls write; what was extracted is
        // destroyed once.
        let (count, message) = unsafe {
            let count = (functions.extract_statements)(self.raw, sql.as_ptr(), &raw mut extracted);
            let message = text((functions.extract_statements_error)(extracted));
            if count == 1 {
                (functions.prepare_extracted_statement)(self.raw, extracted, 0, &raw mut raw);
            }
            (functions.destroy_extracted)(&raw mut extracted);
            (count, message)
        };
        if count == 0 && !message.is_empty() {
            return Err(Fault::new(message));
        }
        if count != 1 {
            return Err(Fault::new(format!("expected one statement, found {count}")));
        }
        let statement = Statement { connection: self, raw };
        statement.check()?;
        // SAFETY: a prepared statement.
        let kind = unsafe { (functions.prepared_statement_type)(raw) };
        if kind == STATEMENT_SELECT {
            Ok(statement)
        } else {
            Err(Fault::new("expected a SELECT, found another statement"))
        }
    }

    fn query(&self, sql: &str) -> Result<QueryResult, Fault> {
        let sql = CString::new(sql).map_err(|_| Fault::new("a NUL in a statement"))?;
        let mut result = QueryResult::empty(self.functions());
        // SAFETY: an open connection and a C string; the result is written by the call.
        let state = unsafe { (self.functions().query)(self.raw, sql.as_ptr(), result.raw()) };
        result.checked(state)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: nothing of it is in use: statements and appenders borrow it.
        unsafe { (self.functions().disconnect)(&raw mut self.raw) };
    }
}

/// A value for a statement or an appender.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Text, or NULL.
    pub(super) fn text(text: Option<&'a str>) -> Self {
        text.map_or(Value::Null, Value::Text)
    }

    /// Bytes, or NULL.
    pub(super) fn bytes(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Value::Null, Value::Bytes)
    }
}

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Statement<'connection> {
    connection: &'connection Connection,
    raw: Handle,
}

impl<'connection> Statement<'connection> {
    fn prepare(connection: &'connection Connection, sql: &str) -> Result<Self, Fault> {
        let sql = CString::new(sql).map_err(|_| Fault::new("a NUL in a statement"))?;
        let mut raw = ptr::null_mut();
        // SAFETY: an open connection and a C string; the place is written by the call.
        unsafe { (connection.functions().prepare)(connection.raw, sql.as_ptr(), &raw mut raw) };
        let statement = Statement { connection, raw };
        statement.check()?;
        Ok(statement)
    }

    fn check(&self) -> Result<(), Fault> {
        // SAFETY: a statement, prepared or not.
        let message = unsafe { text((self.connection.functions().prepare_error)(self.raw)) };
        if message.is_empty() { Ok(()) } else { Err(Fault::new(message)) }
    }

    fn bind(&self, index: u64, value: Value<'_>) -> Result<(), Fault> {
        let functions = self.connection.functions();
        // SAFETY: a prepared statement; lengths are those of the slices, which the call copies.
        let state = unsafe {
            match value {
                Value::Null => (functions.bind_null)(self.raw, index),
                Value::Integer(number) => (functions.bind_int64)(self.raw, index, number),
                Value::Text(text) => {
                    let length = text.len() as u64;
                    (functions.bind_varchar_length)(self.raw, index, text.as_ptr().cast(), length)
                }
                Value::Bytes(bytes) => {
                    let length = bytes.len() as u64;
                    (functions.bind_blob)(self.raw, index, bytes.as_ptr().cast(), length)
                }
            }
        };
        if state == 0 { Ok(()) } else { Err(Fault::new("a value cannot be bound")) }
    }

    fn execute(&self) -> Result<QueryResult, Fault> {
        let functions = self.connection.functions();
        let mut result = QueryResult::empty(functions);
        // SAFETY: a prepared statement; the result is written by the call.
        let state = unsafe { (functions.execute_prepared)(self.raw, result.raw()) };
        result.checked(state)
    }

    /// Names and types of what it gives; types by their numbers in `duckdb.h`.
    pub(super) fn columns(&self) -> Vec<(String, i32)> {
        let functions = self.connection.functions();
        // SAFETY: a prepared statement; places below its count of columns; a name is a C string of
        // the library's, freed once.
        unsafe {
            let count = (functions.prepared_statement_column_count)(self.raw);
            let column = |index| {
                let name = (functions.prepared_statement_column_name)(self.raw, index);
                let owned = text(name);
                (functions.free)(name.cast_mut().cast());
                (owned, (functions.prepared_statement_column_type)(self.raw, index))
            };
            (0..count).map(column).collect()
        }
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { (self.connection.functions().destroy_prepare)(&raw mut self.raw) };
    }
}
