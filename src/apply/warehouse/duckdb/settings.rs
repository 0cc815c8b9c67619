//! Where the file is and what DuckDB may take.

use std::path::PathBuf;

use crate::apply::warehouse::BrokenRules;
use crate::apply::warehouse::DeleteMode;

/// Settings of a DuckDB file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file; made if it is not there.
    pub path: PathBuf,
    /// Memory that DuckDB may use beside what this process uses itself, as DuckDB writes it
    /// (`512MB`, `2GB`). What does not fit goes to `FILE.tmp`.
    pub memory_limit: String,
    /// Threads that DuckDB may use.
    pub threads: u32,
    /// What becomes of deleted rows.
    pub delete_mode: DeleteMode,
    /// Switches of tests.
    pub broken: BrokenRules,
}

impl Settings {
    /// Memory that is enough for batches of a hundred thousand rows and for queries beside them.
    pub const MEMORY_LIMIT: &str = "1GB";

    /// Threads: batches are small, and capture or consumer need the others.
    pub const THREADS: u32 = 2;

    /// A file, everything else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Settings {
            path: path.into(),
            memory_limit: Self::MEMORY_LIMIT.to_owned(),
            threads: Self::THREADS,
            delete_mode: DeleteMode::default(),
            broken: BrokenRules::default(),
        }
    }
}
