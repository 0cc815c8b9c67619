//! The file without a log beside it, which any DuckDB opens.
//!
//! DuckDB writes the expression of ALTER … TYPE … USING into its log, and can read that back only
//! where the file is attached to another database (1.5): opened by itself it ends with an internal
//! error. So the log is taken into the file after such a change, and when the file is closed.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;

use crate::apply::merge::Plan;
use crate::apply::merge::TableChange;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::DuckDb;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Database;
use crate::apply::warehouse::duckdb::connection::Fault;
use crate::apply::warehouse::duckdb::error;
use crate::apply::warehouse::duckdb::sql;

/// Whether a plan may write into the log what only an attached file takes back.
pub(super) fn is_due_after(plan: &Plan) -> bool {
    let changes = plan.tables.iter().flat_map(|table| &table.changes);
    changes.into_iter().any(|change| match change {
        TableChange::Widen { .. } => true,
        TableChange::AddColumn(column) => column.default.is_some(),
        _ => false,
    })
}

/// The log beside a file.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".wal");
    PathBuf::from(name)
}

/// Whether there is one with something in it.
pub(super) fn has_log(path: &Path) -> bool {
    std::fs::metadata(log_of(path)).is_ok_and(|found| found.len() > 0)
}

fn run(connection: &Connection) -> Result<(), Fault> {
    connection.execute(&format!("CHECKPOINT {}", sql::CATALOG)).map(drop)
}

impl DuckDb {
    /// Takes the log into the file if that is due; where it cannot be done it stays due.
    pub(super) fn checkpoint_if_due(&mut self) {
        if !self.is_checkpoint_due {
            return;
        }
        let Some(connection) = &self.connection else { return };
        match run(connection) {
            Ok(()) => self.is_checkpoint_due = false,
            Err(fault) => tracing::warn!(
                error = fault.summary(),
                "the file's log cannot be taken into the file now; it is tried again"
            ),
        }
    }

    /// With the memory that DuckDB takes by itself, once nobody has the file any more.
    fn checkpoint_closed(path: &Path) -> Result<(), WarehouseError> {
        let connection = Database::open()?.connect()?;
        let file = sql::literal(&path.to_string_lossy());
        connection
            .execute(&format!("ATTACH {file} AS {}", sql::CATALOG))
            .map_err(|fault| error::of_attaching(path, &fault))?;
        run(&connection)?;
        Ok(())
    }

    /// Opens a file as any other program does, and asks it something.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    #[doc(hidden)]
    pub fn ask_plainly_for_tests(path: &Path, query: &str) -> Result<i64, WarehouseError> {
        let database: Arc<Database> = Database::open_file(&path.to_string_lossy())?;
        let [number] = database.connect()?.numbers(query)?;
        Ok(number)
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        let path = self.settings.path.clone();
        if let Some(connection) = self.connection.take() {
            // What it says, if it fails, is said below.
            run(&connection).ok();
        }
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if !has_log(&path) {
            return;
        }
        let done = Self::checkpoint_closed(&path);
        if has_log(&path) {
            let reason = done.err().map(|error| error.to_string()).unwrap_or_default();
            tracing::error!(
                file = %path.display(), reason,
                "the file is closed with a log beside it: another DuckDB may have to attach it \
                 instead of opening it"
            );
        }
    }
}
