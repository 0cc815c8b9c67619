//! Rows into a temporary table, a chunk of columns at a time.

#![allow(unsafe_code, reason = "calls of DuckDB's C interface")]

use std::ffi::CString;
use std::ptr;

use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::connection::Value;
use crate::apply::warehouse::duckdb::connection::type_number;
use crate::apply::warehouse::duckdb::library::Handle;
use crate::apply::warehouse::duckdb::library::text;

/// Type of a column of a temporary table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// BIGINT.
    Integer,
    /// VARCHAR.
    Text,
}

/// Fills a temporary table; what was not finished is not there.
#[derive(Debug)]
pub(super) struct Appender<'connection> {
    connection: &'connection Connection,
    raw: Handle,
    chunk: Handle,
    kinds: Vec<Kind>,
    row: u64,
    rows_max: u64,
}

impl<'connection> Appender<'connection> {
    /// For a temporary table with columns of these kinds.
    ///
    /// # Errors
    ///
    /// There is no such table.
    pub(super) fn open(
        connection: &'connection Connection,
        table: &str,
        kinds: Vec<Kind>,
    ) -> Result<Self, Fault> {
        let functions = connection.functions();
        let table = CString::new(table).map_err(|_| Fault::new("a NUL in a name"))?;
        let mut appender = Appender {
            connection,
            raw: ptr::null_mut(),
            chunk: ptr::null_mut(),
            kinds,
            row: 0,
            // SAFETY: it takes nothing.
            rows_max: unsafe { (functions.vector_size)() },
        };
        // SAFETY: an open connection and C strings; the place is written by the call.
        let state = unsafe {
            (functions.appender_create_ext)(
                connection.raw(),
                c"temp".as_ptr(),
                c"main".as_ptr(),
                table.as_ptr(),
                &raw mut appender.raw,
            )
        };
        appender.check(state)?;
        appender.new_chunk();
        Ok(appender)
    }

    /// One value of the row that is being written; each column is put once, in any order.
    ///
    /// # Errors
    ///
    /// There is no such column, or it is of another kind.
    pub(super) fn put(&mut self, column: usize, value: Value<'_>) -> Result<(), Fault> {
        let functions = self.connection.functions();
        let wrong = || Fault::new("a value of another kind than its column's");
        let kind = *self.kinds.get(column).ok_or_else(wrong)?;
        let row = usize::try_from(self.row).map_err(|_| wrong())?;
        // SAFETY: the column is one of the chunk's and the row is below its capacity; a vector of
        // BIGINT holds i64; texts are copied by the call.
        unsafe {
            let vector = (functions.data_chunk_get_vector)(self.chunk, column as u64);
            match (kind, value) {
                (Kind::Integer, Value::Integer(number)) => {
                    (functions.vector_get_data)(vector).cast::<i64>().add(row).write(number);
                }
                (Kind::Text, Value::Text(text)) => {
                    let (start, length) = (text.as_ptr().cast(), text.len() as u64);
                    (functions.vector_assign_string_element_len)(vector, self.row, start, length);
                }
                (_, Value::Null) => {
                    (functions.vector_ensure_validity_writable)(vector);
                    let validity = (functions.vector_get_validity)(vector);
                    (functions.validity_set_row_invalid)(validity, self.row);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(())
    }

    /// The row is whole.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    pub(super) fn end_row(&mut self) -> Result<(), Fault> {
        self.row += 1;
        if self.row == self.rows_max { self.send() } else { Ok(()) }
    }

    /// All rows are there.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        self.send()?;
        // SAFETY: an appender that is open.
        let state = unsafe { (self.connection.functions().appender_close)(self.raw) };
        self.check(state)
    }

    fn send(&mut self) -> Result<(), Fault> {
        let functions = self.connection.functions();
        // SAFETY: the chunk's first `row` rows are written, and its types are the table's.
        let state = unsafe {
            (functions.data_chunk_set_size)(self.chunk, self.row);
            (functions.append_data_chunk)(self.raw, self.chunk)
        };
        self.check(state)?;
        self.row = 0;
        // SAFETY: as above; the appender has copied what it was given.
        unsafe { (functions.data_chunk_reset)(self.chunk) };
        Ok(())
    }

    fn new_chunk(&mut self) {
        let functions = self.connection.functions();
        let number = |kind: &Kind| match kind {
            Kind::Integer => type_number::BIGINT,
            Kind::Text => type_number::VARCHAR,
        };
        // SAFETY: types are created and destroyed once; the chunk does not need them any more.
        unsafe {
            let mut types: Vec<Handle> = self
                .kinds
                .iter()
                .map(|kind| (functions.create_logical_type)(number(kind)))
                .collect();
            self.chunk = (functions.create_data_chunk)(types.as_mut_ptr(), types.len() as u64);
            for one in &mut types {
                (functions.destroy_logical_type)(one);
            }
        }
    }

    fn check(&self, state: i32) -> Result<(), Fault> {
        if state == 0 {
            return Ok(());
        }
        // SAFETY: an appender or null; its message is a C string of the library's.
        let message = unsafe { text((self.connection.functions().appender_error)(self.raw)) };
        Err(Fault::new(message))
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        let functions = self.connection.functions();
        // SAFETY: each is destroyed once; null is allowed. Destroying flushes nothing after a
        // close, and before one the transaction is about to be rolled back.
        unsafe {
            (functions.destroy_data_chunk)(&raw mut self.chunk);
            (functions.appender_destroy)(&raw mut self.raw);
        }
    }
}
