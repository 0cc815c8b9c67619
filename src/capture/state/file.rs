//! State in a file, replaced as a whole.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use crate::capture::publisher;
use crate::capture::publisher::PublishError;
use crate::capture::publisher::Receipt;
use crate::capture::state::SlotState;
use crate::capture::state::State;
use crate::capture::state::StateStore;
use crate::capture::state::Stored;
use crate::capture::state::TableState;
use crate::capture::state::unreadable;
use crate::table::TableName;

/// State in a file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    slot: String,
    /// Held as long as this lives; the file itself is replaced at every change.
    _lock: Lock,
    state: Mutex<State>,
}

/// The file's content.
#[derive(Debug, Deserialize, Serialize)]
struct Content {
    #[serde(flatten)]
    slot: SlotState,
    tables: Vec<Entry>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    schema: String,
    table: String,
    #[serde(flatten)]
    state: TableState,
}

impl FileStore {
    /// State of this slot in the file of this path, whose folder must exist.
    ///
    /// # Errors
    ///
    /// Another process keeps its state there, or the folder cannot be written.
    pub fn new(path: PathBuf, slot: String) -> Result<Self, PublishError> {
        let lock = Lock::take(&path)?;
        Ok(FileStore { path, slot, _lock: lock, state: Mutex::new(State::default()) })
    }

    fn failed(&self, error: &io::Error) -> PublishError {
        PublishError::Output { path: self.path.display().to_string(), reason: error.to_string() }
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<Stored, PublishError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let entries = state.tables.iter().map(|(name, table)| Entry {
            schema: name.namespace.clone(),
            table: name.name.clone(),
            state: table.clone(),
        });
        let content = Content { slot: state.slot.clone(), tables: entries.collect() };
        self.replace(&content).map_err(|error| self.failed(&error))?;
        Ok(Stored::Now)
    }

    /// Writes beside the file and renames, so that a crash leaves the old or the new content.
    fn replace(&self, content: &Content) -> io::Result<()> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let mut bytes = serde_json::to_vec_pretty(content)?;
        bytes.push(b'\n');
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(std::path::Path::new(".")))?.sync_all()
    }
}

/// A file beside the state's that only one process has locked; gone when that ends in good order.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(state: &Path) -> Result<Self, PublishError> {
        let mut path = state.as_os_str().to_owned();
        path.push(".lock");
        let (path, name) = (PathBuf::from(path), state.display().to_string());
        let failed = |error: io::Error| PublishError::Output {
            path: name.clone(),
            reason: error.to_string(),
        };
        loop {
            let file = File::create(&path).map_err(failed)?;
            publisher::lock(&file, &name)?;
            // Its holder may have removed it after we had opened it: then ours is another one.
            let ours = file.metadata().map_err(failed)?;
            if std::fs::metadata(&path).is_ok_and(|named| named.ino() == ours.ino()) {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Left behind it does no harm.
        std::fs::remove_file(&self.path).ok();
    }
}

impl StateStore for FileStore {
    fn load(&self) -> Result<Option<State>, PublishError> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        };
        let content: Content = serde_json::from_slice(&bytes)
            .map_err(|error| unreadable(&self.path.display().to_string(), &error.to_string()))?;
        let found = &content.slot;
        if found.slot != self.slot {
            return Err(PublishError::Configuration {
                message: format!(
                    "the state in {} is of slot \"{}\", expected \"{}\"",
                    self.path.display(),
                    found.slot,
                    self.slot
                ),
                hint: "give each slot a file of its own (--state)".to_owned(),
            });
        }
        let tables = content
            .tables
            .into_iter()
            .map(|entry| (TableName::new(entry.schema, entry.table), entry.state))
            .collect();
        let state = State { slot: content.slot, tables };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
        Ok(Some(state))
    }

    fn store_slot(&self, slot: &SlotState, _receipt: Receipt) -> Result<Stored, PublishError> {
        self.change(|state| state.slot = slot.clone())
    }

    fn store_table(
        &self,
        table: &TableName,
        table_state: &TableState,
        _receipt: Receipt,
    ) -> Result<Stored, PublishError> {
        self.change(|state| {
            state.tables.insert(table.clone(), table_state.clone());
        })
    }

    fn forget(&self, state: &State, _receipt: Receipt) -> Result<Stored, PublishError> {
        let dropped = State { slot: state.after_drop(), ..State::default() };
        self.change(|state| *state = dropped)
    }
}
