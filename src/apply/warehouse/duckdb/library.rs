//! DuckDB's C interface, from a shared library that is loaded when a warehouse is opened.
//!
//! Takes nothing but a file; gives the functions of `duckdb.h` that are used here. Loaded and not
//! linked, so that a build needs neither DuckDB nor its headers and a program that writes to no
//! DuckDB starts without the 70 MB of it. The functions named here are of the part of the interface
//! that DuckDB keeps stable from 1.2 on.
//!
//! Refuses a library of another major version.

#![allow(unsafe_code, reason = "functions of a shared library")]

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::apply::warehouse::WarehouseError;

/// Name of the library's file.
const FILE: &str = "libduckdb.so";

/// A database, connection, statement, appender, chunk, vector or type of DuckDB.
pub(super) type Handle = *mut c_void;

/// Zero is success.
pub(super) type State = c_int;

/// What a query gave.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct RawResult {
    counts: [u64; 3],
    columns: *mut c_void,
    error: *mut c_char,
    internal: *mut c_void,
}

impl RawResult {
    /// Nothing.
    pub(super) const EMPTY: RawResult = RawResult {
        counts: [0; 3],
        columns: std::ptr::null_mut(),
        error: std::ptr::null_mut(),
        internal: std::ptr::null_mut(),
    };
}

/// Declares the table of functions and how it is filled; each signature stands once, as in
/// `duckdb.h` without the prefix of the names.
macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// Functions of the library.
        #[derive(Debug)]
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            fn find(library: Handle) -> Result<Self, String> {
                Ok(Functions {
                    $($name: {
                        let found = symbol(library, concat!("duckdb_", stringify!($name)))?;
                        // SAFETY: the library's header gives the function of this name this
                        // signature, and its major version has been found to be ours.
                        unsafe {
                            std::mem::transmute::<
                                *mut c_void,
                                unsafe extern "C" fn($($argument),*) $(-> $result)?,
                            >(found)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    open_ext(*const c_char, *mut Handle, Handle, *mut *mut c_char) -> State;
    close(*mut Handle);
    connect(Handle, *mut Handle) -> State;
    disconnect(*mut Handle);
    interrupt(Handle);
    free(*mut c_void);
    query(Handle, *const c_char, *mut RawResult) -> State;
    destroy_result(*mut RawResult);
    result_error(*mut RawResult) -> *const c_char;
    result_error_type(*mut RawResult) -> c_int;
    rows_changed(*mut RawResult) -> u64;
    column_count(*mut RawResult) -> u64;
    column_type(*mut RawResult, u64) -> c_int;
    fetch_chunk(RawResult) -> Handle;
    prepare(Handle, *const c_char, *mut Handle) -> State;
    prepare_error(Handle) -> *const c_char;
    destroy_prepare(*mut Handle);
    bind_varchar_length(Handle, u64, *const c_char, u64) -> State;
    bind_blob(Handle, u64, *const c_void, u64) -> State;
    bind_int64(Handle, u64, i64) -> State;
    bind_null(Handle, u64) -> State;
    execute_prepared(Handle, *mut RawResult) -> State;
    extract_statements(Handle, *const c_char, *mut Handle) -> u64;
    extract_statements_error(Handle) -> *const c_char;
    prepare_extracted_statement(Handle, Handle, u64, *mut Handle) -> State;
    destroy_extracted(*mut Handle);
    prepared_statement_type(Handle) -> c_int;
    prepared_statement_column_count(Handle) -> u64;
    prepared_statement_column_name(Handle, u64) -> *const c_char;
    prepared_statement_column_type(Handle, u64) -> c_int;
    data_chunk_get_size(Handle) -> u64;
    data_chunk_set_size(Handle, u64);
    data_chunk_get_vector(Handle, u64) -> Handle;
    data_chunk_reset(Handle);
    create_data_chunk(*mut Handle, u64) -> Handle;
    destroy_data_chunk(*mut Handle);
    create_logical_type(c_int) -> Handle;
    destroy_logical_type(*mut Handle);
    vector_size() -> u64;
    vector_get_data(Handle) -> *mut c_void;
    vector_get_validity(Handle) -> *mut u64;
    vector_ensure_validity_writable(Handle);
    vector_assign_string_element_len(Handle, u64, *const c_char, u64);
    validity_row_is_valid(*mut u64, u64) -> bool;
    validity_set_row_invalid(*mut u64, u64);
    appender_create_ext(Handle, *const c_char, *const c_char, *const c_char, *mut Handle) -> State;
    append_data_chunk(Handle, Handle) -> State;
    appender_error(Handle) -> *const c_char;
    appender_close(Handle) -> State;
    appender_destroy(*mut Handle) -> State;
}

/// The library, loaded at the first call; it stays until the process ends.
///
/// # Errors
///
/// There is none, or not one of this major version.
pub(super) fn functions() -> Result<&'static Functions, WarehouseError> {
    static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
    LOADED.get_or_init(load).as_ref().map_err(|message| WarehouseError::Configuration {
        message: message.clone(),
        hint: format!(
            "put {FILE} of DuckDB 1.5 beside the program or into ../lib/cdc-agent, or run \
             tests/support/install.sh duckdb in the source's folder; then start again"
        ),
    })
}

fn load() -> Result<Functions, String> {
    let program = std::env::current_exe().unwrap_or_default();
    let mut files: Vec<PathBuf> =
        places(&program).into_iter().filter(|file| file.is_file()).collect();
    // What the system's own search finds.
    files.push(PathBuf::from(FILE));
    let mut problem = String::new();
    for file in files {
        match open(&file) {
            Ok(library) => return version(library).and_then(|()| Functions::find(library)),
            Err(said) => problem = said,
        }
    }
    Err(format!("the library of DuckDB cannot be loaded: {problem}"))
}

/// Where the library may lie: beside the program, where packages put it, and where a build of the
/// source has it, from `target/release` and `target/debug/deps`.
fn places(program: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut folders = program.ancestors().skip(1);
    if let Some(folder) = folders.next() {
        places.push(folder.join(FILE));
    }
    if let Some(folder) = folders.next() {
        places.push(folder.join("lib/cdc-agent").join(FILE));
        places.push(folder.join("servers/duckdb").join(FILE));
    }
    if let Some(folder) = folders.next() {
        places.push(folder.join("servers/duckdb").join(FILE));
    }
    if let Some(folder) = std::env::var_os("CDC_SERVERS") {
        places.push(Path::new(&folder).join("duckdb").join(FILE));
    }
    places
}

fn open(file: &Path) -> Result<Handle, String> {
    let name = CString::new(file.as_os_str().as_bytes()).map_err(|_| "a name with NUL")?;
    // SAFETY: a C string; the library's initialisers are DuckDB's.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if !library.is_null() {
        return Ok(library);
    }
    // SAFETY: what dlerror gives is a C string until the next call in this thread, or null.
    Err(unsafe { text(libc::dlerror()) })
}

fn version(library: Handle) -> Result<(), String> {
    let found = symbol(library, "duckdb_library_version")?;
    // SAFETY: the signature of this function has not changed since DuckDB 0.3.
    let found = unsafe {
        let version: unsafe extern "C" fn() -> *const c_char =
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *const c_char>(found);
        text(version())
    };
    let number = found.trim_start_matches('v');
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    match (parts.next(), parts.next()) {
        (Some(1), Some(5..)) => Ok(()),
        _ => Err(format!("the library of DuckDB is {found}: expected 1.5 or a later 1.x")),
    }
}

fn symbol(library: Handle, name: &str) -> Result<*mut c_void, String> {
    let c_name = CString::new(name).map_err(|_| "a name with NUL")?;
    // SAFETY: a library that was opened and is never closed, and a C string.
    let found = unsafe { libc::dlsym(library, c_name.as_ptr()) };
    if found.is_null() { Err(format!("the library of DuckDB has no {name}")) } else { Ok(found) }
}

/// A C string's text; empty if it is null.
///
/// # Safety
///
/// It is null or ends in NUL.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_looked_for_beside_the_program_and_below_the_build() {
        let places = places(Path::new("/opt/x/target/release/cdc-sink"));
        for place in ["/opt/x/target/release", "/opt/x/target/lib/cdc-agent"] {
            assert!(places.contains(&Path::new(place).join(FILE)), "{place}");
        }
        assert!(places.contains(&Path::new("/opt/x/target/servers/duckdb").join(FILE)));
        let deps = super::places(Path::new("/opt/x/target/debug/deps/sink-1"));
        assert!(deps.contains(&Path::new("/opt/x/target/servers/duckdb").join(FILE)));
    }
}
