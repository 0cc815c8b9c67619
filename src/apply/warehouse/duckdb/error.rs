//! What DuckDB says, as errors of a warehouse.

use std::path::Path;

use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::connection::Fault;

/// Kinds of errors in `duckdb.h`: out of range, conversion, decimal, mismatched type, object size,
/// invalid input.
const OF_A_VALUE: [i32; 6] = [1, 2, 4, 5, 7, 32];
const TRANSACTION: i32 = 10;
const OUT_OF_MEMORY: i32 = 33;
const CONSTRAINT: i32 = 18;
/// Connection, interrupt.
const PASSES: [i32; 2] = [21, 29];
/// Something depends on what is to be changed.
const DEPENDENCY: i32 = 37;
/// Input and output, fatal, internal: the database must be opened again.
const OF_THE_FILE: [i32; 3] = [28, 30, 31];

impl Fault {
    /// A value was refused.
    pub(super) fn is_of_a_value(&self) -> bool {
        OF_A_VALUE.contains(&self.kind)
    }

    /// There was too little memory, in whatever words.
    fn is_of_memory(&self) -> bool {
        let words = ["failed to pin block", "failed to allocate"];
        self.kind == OUT_OF_MEMORY || words.iter().any(|words| self.message.contains(words))
    }

    /// The database cannot be used any more as it is open now.
    pub(super) fn is_of_the_file(&self) -> bool {
        OF_THE_FILE.contains(&self.kind) || self.message.contains("database has been invalidated")
    }

    /// Its words without the statement that follows them.
    pub(super) fn summary(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

impl From<Fault> for WarehouseError {
    fn from(fault: Fault) -> Self {
        let message = format!("DuckDB: {}", fault.summary());
        match fault.kind {
            // Its words would tell the value. No table of ours has a constraint.
            CONSTRAINT => WarehouseError::Data {
                message:
                    "a constraint or a unique index that somebody has made in the file refuses \
                          a row: drop it there"
                        .to_owned(),
            },
            _ if fault.is_of_a_value() => {
                WarehouseError::Data { message: "DuckDB refuses a value".to_owned() }
            }
            // A query may have taken it, and then it passes.
            _ if fault.is_of_memory() => WarehouseError::Unreachable {
                message: format!("{message}; raise duckdb.memory.limit or lower batch.records"),
            },
            TRANSACTION => WarehouseError::Conflict { message },
            kind if PASSES.contains(&kind) || OF_THE_FILE.contains(&kind) => {
                WarehouseError::Unreachable { message }
            }
            // A view does not stand in the way, an index does.
            DEPENDENCY => WarehouseError::Configuration {
                message,
                hint:
                    "drop the index that somebody has made on the table, start again, and make it \
                       anew once the table is changed"
                        .to_owned(),
            },
            _ => WarehouseError::Configuration {
                message,
                hint: "undo what was changed in the file by hand, or begin with a new file"
                    .to_owned(),
            },
        }
    }
}

/// Words of the system for what passes: a disk is full, or a folder of the network is away.
const PASSING: [&str; 8] = [
    "No space left on device",
    "Disk quota exceeded",
    "Input/output error",
    "Too many open files",
    "Cannot allocate memory",
    "Stale file handle",
    "Transport endpoint is not connected",
    "Connection timed out",
];

/// The file cannot be attached.
pub(super) fn of_attaching(path: &Path, fault: &Fault) -> WarehouseError {
    let words = &fault.message;
    let file = path.display();
    if words.contains("lock on file") {
        let holder = match (words.split_once("held in "), words.split_once("(PID ")) {
            (Some((_, program)), Some((_, pid))) => format!(
                "process {} ({})",
                pid.split(')').next().unwrap_or_default(),
                program.split(" (PID").next().unwrap_or_default().trim(),
            ),
            _ => "another process".to_owned(),
        };
        return WarehouseError::Unreachable {
            message: format!(
                "{file} is held by {holder}: one process at a time can open a DuckDB file"
            ),
        };
    }
    if words.contains("Permission denied") || words.contains("Read-only file system") {
        return WarehouseError::Permission {
            message: format!("{file} may not be written"),
            hint: "give the user of this process the right to write the file and its folder"
                .to_owned(),
        };
    }
    if PASSING.iter().any(|passing| words.contains(passing)) {
        return WarehouseError::Unreachable {
            message: format!("{file} cannot be opened: {}", fault.summary()),
        };
    }
    WarehouseError::Configuration {
        message: format!("{file} cannot be opened: {}", fault.summary()),
        hint: "name a DuckDB file, or one that does not exist yet in a folder that does".to_owned(),
    }
}
