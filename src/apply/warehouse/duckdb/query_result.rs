//! What a query gives, row by row.

#![allow(unsafe_code, reason = "calls of DuckDB's C interface")]

use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::connection::type_number;
use crate::apply::warehouse::duckdb::library::Functions;
use crate::apply::warehouse::duckdb::library::Handle;
use crate::apply::warehouse::duckdb::library::RawResult;
use crate::apply::warehouse::duckdb::library::text;

/// What a query gave; it owns the rows that it has not given yet.
#[derive(Debug)]
pub(super) struct QueryResult {
    functions: &'static Functions,
    raw: RawResult,
}

impl QueryResult {
    /// For a call that writes it.
    pub(super) fn empty(functions: &'static Functions) -> Self {
        QueryResult { functions, raw: RawResult::EMPTY }
    }

    /// The place for that call.
    pub(super) fn raw(&mut self) -> *mut RawResult {
        &raw mut self.raw
    }

    /// How many rows the statement changed.
    pub(super) fn rows_changed(&mut self) -> u64 {
        // SAFETY: a result of this library's.
        unsafe { (self.functions.rows_changed)(&raw mut self.raw) }
    }

    /// The result, or what DuckDB says if the call failed.
    ///
    /// # Errors
    ///
    /// The call failed.
    pub(super) fn checked(mut self, state: i32) -> Result<Self, Fault> {
        if state == 0 {
            return Ok(self);
        }
        // SAFETY: a result of this library's, of a statement that failed.
        let (kind, message) = unsafe {
            let kind = (self.functions.result_error_type)(&raw mut self.raw);
            (kind, text((self.functions.result_error)(&raw mut self.raw)))
        };
        Err(Fault { kind, message })
    }

    /// `visit` sees the rows one by one.
    ///
    /// # Errors
    ///
    /// What `visit` says.
    pub(super) fn each<E: From<Fault>>(
        mut self,
        mut visit: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let functions = self.functions;
        // SAFETY: a result of this library's; places below its count of columns.
        let types: Vec<i32> = unsafe {
            let count = (functions.column_count)(&raw mut self.raw);
            (0..count).map(|index| (functions.column_type)(&raw mut self.raw, index)).collect()
        };
        loop {
            // SAFETY: a result of this library's.
            let raw = unsafe { (functions.fetch_chunk)(self.raw) };
            if raw.is_null() {
                return Ok(());
            }
            let chunk = Chunk { functions, raw };
            let columns = chunk.columns(&types);
            // SAFETY: a chunk of this library's.
            let rows = unsafe { (functions.data_chunk_get_size)(raw) };
            for row in 0..rows {
                visit(Row { functions, columns: &columns, row })?;
            }
        }
    }
}

impl Drop for QueryResult {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { (self.functions.destroy_result)(&raw mut self.raw) };
    }
}

#[derive(Debug)]
struct Chunk {
    functions: &'static Functions,
    raw: Handle,
}

impl Chunk {
    fn columns(&self, types: &[i32]) -> Vec<ChunkColumn> {
        let column = |(index, type_number): (u64, &i32)| {
            // SAFETY: a chunk of this library's with as many columns as there are types.
            unsafe {
                let vector = (self.functions.data_chunk_get_vector)(self.raw, index);
                ChunkColumn {
                    type_number: *type_number,
                    values: (self.functions.vector_get_data)(vector).cast_const(),
                    validity: (self.functions.vector_get_validity)(vector),
                }
            }
        };
        (0..).zip(types).map(column).collect()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { (self.functions.destroy_data_chunk)(&raw mut self.raw) };
    }
}

/// A column of a chunk.
#[derive(Debug)]
struct ChunkColumn {
    type_number: i32,
    values: *const std::ffi::c_void,
    validity: *mut u64,
}

/// A text of at most 12 bytes inside, of a longer one its first 4 bytes and its address.
#[repr(C)]
struct StringValue {
    length: u32,
    inside: [u8; 12],
}

/// A row of a result, while it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'chunk> {
    functions: &'static Functions,
    columns: &'chunk [ChunkColumn],
    row: u64,
}

impl<'chunk> Row<'chunk> {
    fn column(&self, index: usize) -> Option<&'chunk ChunkColumn> {
        let column = self.columns.get(index)?;
        // SAFETY: the mask of a column of this chunk, or null: all are valid.
        let valid = column.validity.is_null()
            || unsafe { (self.functions.validity_row_is_valid)(column.validity, self.row) };
        valid.then_some(column)
    }

    /// Bytes of a VARCHAR or BLOB; `None`: NULL, or another type.
    pub(super) fn bytes(&self, index: usize) -> Option<&'chunk [u8]> {
        let column = self.column(index)?;
        if !matches!(column.type_number, type_number::VARCHAR | type_number::BLOB) {
            return None;
        }
        // SAFETY: the row is below the chunk's size, and a vector of this type holds values of this
        // form; what they point to lives as long as the chunk.
        unsafe {
            let value = &*column.values.cast::<StringValue>().add(usize::try_from(self.row).ok()?);
            let length = usize::try_from(value.length).ok()?;
            let start = if length <= value.inside.len() {
                value.inside.as_ptr()
            } else {
                value.inside.as_ptr().add(4).cast::<*const u8>().read_unaligned()
            };
            Some(std::slice::from_raw_parts(start, length))
        }
    }

    /// Text of a VARCHAR.
    pub(super) fn text(&self, index: usize) -> Option<&'chunk str> {
        self.bytes(index).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Number of a BIGINT; `None`: NULL, or another type.
    pub(super) fn integer(&self, index: usize) -> Option<i64> {
        let column = self.column(index)?;
        if column.type_number != type_number::BIGINT {
            return None;
        }
        // SAFETY: the row is below the chunk's size, and a vector of this type holds such numbers.
        unsafe { Some(column.values.cast::<i64>().add(usize::try_from(self.row).ok()?).read()) }
    }
}
