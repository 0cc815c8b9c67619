//! A DuckDB file.
//!
//! Takes a plan and does it in one transaction: cells go as text into a temporary table, are
//! guarded against the positions of rows and tombstones, then old rows are deleted and new ones
//! inserted with DuckDB's own casts. There is no index: one would cost more than it saves at
//! every size of batch.
//!
//! Holds the file for itself alone: DuckDB lets one process at a time open one. Who wants to read
//! it meanwhile asks through a [`Reader`]. The file is attached under a name of ours, so that a
//! schema named as the file is not ambiguous, and DuckDB may touch no other file.
//!
//! Refuses, with a [`WarehouseError`]: a file that is held elsewhere, names that differ in case
//! only (they are one to DuckDB), offsets whose fence is not theirs any more.

mod appender;
mod checkpoint;
mod connection;
mod counts;
mod error;
mod guard;
mod layout;
mod library;
mod load;
mod query_result;
mod reader;
mod rows;
mod settings;
mod sql;
mod stage;
mod state;
mod stored_type;
mod table_change;

pub use reader::Answer;
pub use reader::Form;
pub use reader::ReadError;
pub use reader::Reader;
pub use settings::Settings;

use std::collections::HashMap;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::apply::merge::AppliedRange;
use crate::apply::merge::ArrayForm;
use crate::apply::merge::Cell;
use crate::apply::merge::DeadLetter;
use crate::apply::merge::KnownTable;
use crate::apply::merge::Moved;
use crate::apply::merge::NameRules;
use crate::apply::merge::Plan;
use crate::apply::merge::Spelling;
use crate::apply::merge::StoredMark;
use crate::apply::merge::TableId;
use crate::apply::merge::Target;
use crate::apply::merge::Texts;
use crate::apply::warehouse::Claim;
use crate::apply::warehouse::ForeignTable;
use crate::apply::warehouse::Loaded;
use crate::apply::warehouse::StoredRow;
use crate::apply::warehouse::Warehouse;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Database;
use crate::apply::warehouse::duckdb::layout::Layout;
use crate::position::Position;
use crate::table::TableName;

/// Files that this process holds: DuckDB's lock on a file keeps other processes out, not this one.
static HELD: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// The database that readers ask; `None` while it is opened again.
type Shared = Arc<Mutex<Option<Arc<Database>>>>;

/// A DuckDB file, held by this process.
#[derive(Debug)]
pub struct DuckDb {
    settings: Settings,
    /// `None` after an error of the file, until it is opened again.
    connection: Option<Connection>,
    shared: Shared,
    /// What the catalog has of tables; forgotten when a transaction is undone.
    layouts: HashMap<TableId, Layout>,
    /// The log beside the file is to be taken into it.
    is_checkpoint_due: bool,
    _held: Held,
}

impl DuckDb {
    /// Opens the file, or makes it, with what belongs to us in it.
    ///
    /// # Errors
    ///
    /// There is no library of DuckDB, the file is held by another process or is none of DuckDB's.
    pub fn open(settings: Settings) -> Result<Self, WarehouseError> {
        let held = Held::take(&settings.path)?;
        let mut warehouse = DuckDb {
            settings,
            connection: None,
            shared: Arc::default(),
            layouts: HashMap::new(),
            is_checkpoint_due: false,
            _held: held,
        };
        warehouse.connection()?;
        Ok(warehouse)
    }

    /// A handle that reads what is stored while this process writes.
    pub fn query(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Runs any SQL: tests put a file into a state that it could be found in.
    ///
    /// # Errors
    ///
    /// What DuckDB says.
    #[doc(hidden)]
    pub fn execute_for_tests(&mut self, sql: &str) -> Result<(), WarehouseError> {
        let done = self.connection()?.execute(sql);
        done.map(drop).map_err(|fault| WarehouseError::Data { message: fault.message })
    }

    /// The connection; the file is opened again if it has failed.
    fn connection(&mut self) -> Result<&Connection, WarehouseError> {
        if self.connection.is_none() {
            self.layouts.clear();
            self.is_checkpoint_due = checkpoint::has_log(&self.settings.path);
            let database = Database::open()?;
            let connection = database.connect()?;
            self.attach(&connection)?;
            state::prepare(&connection)?;
            *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(database);
            self.connection = Some(connection);
            self.checkpoint_if_due();
        }
        self.connection.as_ref().ok_or_else(|| WarehouseError::Unreachable {
            message: "the file is not open".to_owned(),
        })
    }

    fn attach(&self, connection: &Connection) -> Result<(), WarehouseError> {
        let Settings { path, memory_limit, threads, .. } = &self.settings;
        let file = sql::literal(&path.to_string_lossy());
        connection
            .execute(&format!("ATTACH {file} AS {}", sql::CATALOG))
            .map_err(|fault| error::of_attaching(path, &fault))?;
        let temporary = sql::literal(&format!("{}.tmp", path.to_string_lossy()));
        let settings = format!(
            "SET GLOBAL memory_limit = {};\n\
             SET GLOBAL threads = {threads};\n\
             SET GLOBAL temp_directory = {temporary};\n\
             SET GLOBAL TimeZone = 'UTC';\n\
             SET GLOBAL preserve_insertion_order = false;\n\
             SET GLOBAL autoinstall_known_extensions = false;\n\
             SET GLOBAL autoload_known_extensions = false;\n\
             SET GLOBAL enable_external_access = false;\n\
             SET GLOBAL lock_configuration = true;\n\
             USE {}",
            sql::literal(memory_limit),
            sql::CATALOG
        );
        connection.execute(&settings).map(drop).map_err(|fault| WarehouseError::Configuration {
            message: format!("DuckDB refuses its settings: {}", fault.summary()),
            hint: "give the memory as DuckDB writes it, such as 512MB or 2GB, and at least one \
                   thread"
                .to_owned(),
        })
    }

    /// After an error: everything that was remembered is asked again, and so is the file if it is
    /// the file that failed.
    fn forget(&mut self, fault_is_of_the_file: bool) {
        self.layouts.clear();
        if fault_is_of_the_file {
            *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.connection = None;
        }
    }
}

impl Warehouse for DuckDb {
    fn spelling(&self) -> Spelling {
        Spelling { arrays: ArrayForm::Json, era: " (BC)" }
    }

    fn name_rules(&self) -> NameRules {
        NameRules {
            warehouse: "DuckDB",
            folds_case: true,
            bytes_max: usize::MAX,
            own_columns: &["rowid"],
        }
    }

    fn tables(&mut self) -> Result<Vec<KnownTable>, WarehouseError> {
        state::tables(self.connection()?)
    }

    fn foreign_table(&mut self, table: &TableName) -> Result<Option<ForeignTable>, WarehouseError> {
        layout::foreign_table(self.connection()?, table)
    }

    fn claim(
        &mut self,
        group: &str,
        partitions: &[(String, i32)],
    ) -> Result<Vec<Claim>, WarehouseError> {
        state::claim(self.connection()?, group, partitions)
    }

    fn offsets(&mut self, group: &str) -> Result<Vec<(String, i32, i64)>, WarehouseError> {
        state::offsets(self.connection()?, group)
    }

    fn watermarks(&mut self, topic: &str) -> Result<Vec<StoredMark>, WarehouseError> {
        state::watermarks(self.connection()?, topic)
    }

    fn applied_ranges(&mut self, topic: &str) -> Result<Vec<AppliedRange>, WarehouseError> {
        state::applied_ranges(self.connection()?, topic)
    }

    fn note_partitions(
        &mut self,
        topic: &str,
        count: i32,
        below: u64,
    ) -> Result<u64, WarehouseError> {
        state::note_partitions(self.connection()?, topic, (count, below))
    }

    fn rows(
        &mut self,
        target: &Target,
        keys: &[Vec<Cell>],
        texts: &mut Texts,
    ) -> Result<Vec<Option<StoredRow>>, WarehouseError> {
        self.stored_rows(target, keys, texts)
    }

    fn tells_apart(
        &mut self,
        target: &Target,
        key: Option<&[usize]>,
    ) -> Result<bool, WarehouseError> {
        self.are_told_apart(target, key)
    }

    fn moved(
        &mut self,
        table: TableId,
        position: Position,
    ) -> Result<Option<Moved>, WarehouseError> {
        state::moved(self.connection()?, table, position)
    }

    fn load(&mut self, group: &str, plan: &Plan) -> Result<Loaded, WarehouseError> {
        self.load_plan(group, plan)
    }

    fn state(&mut self) -> Result<Vec<(String, String)>, WarehouseError> {
        state::records(self.connection()?)
    }

    fn dead_letters(
        &mut self,
        after: Option<&(String, i32, i64)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, WarehouseError> {
        state::dead_letters(self.connection()?, after, limit)
    }

    fn parked_keys(&mut self) -> Result<Vec<(String, Vec<u8>)>, WarehouseError> {
        state::parked_keys(self.connection()?)
    }

    fn identity(&self) -> Option<(String, String)> {
        None
    }

    fn describe(&self) -> String {
        format!("DuckDB file {}", self.settings.path.display())
    }
}

/// The entry of a file in [`HELD`], until it is dropped.
#[derive(Debug)]
struct Held(PathBuf);

impl Held {
    fn take(path: &std::path::Path) -> Result<Self, WarehouseError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => std::path::Path::new("."),
        };
        let file = path.file_name().unwrap_or_default();
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf()).join(file);
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get_or_insert_default().insert(whole.clone()) {
            return Ok(Held(whole));
        }
        Err(WarehouseError::Configuration {
            message: format!("{} is open in this process already", path.display()),
            hint: "name another file".to_owned(),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert_default().remove(&self.0);
    }
}
