//! Which table a record belongs to, and what its columns are.

use std::collections::HashMap;
use std::sync::Arc;

use crate::apply::applier::Known;
use crate::apply::applier::Pushed;
use crate::apply::applier::Schemas;
use crate::apply::applier::record::Record;
use crate::apply::applier::record::RecordProblem;
use crate::apply::error::ApplyError;
use crate::apply::merge::ColumnType;
use crate::apply::merge::Spelling;
use crate::apply::merge::TableChange;
use crate::apply::merge::TableId;
use crate::apply::merge::Target;
use crate::apply::merge::TargetColumn;
use crate::apply::merge::target;
use crate::apply::merge::target::Reconciled;
use crate::apply::merge::version;
use crate::apply::merge::version::Learnt;
use crate::apply::merge::version::Version;
use crate::apply::warehouse::ForeignTable;
use crate::apply::warehouse::Warehouse;
use crate::envelope::read::Envelope;
use crate::position::Position;
use crate::table::TableName;

/// Why a record's table cannot be used.
#[derive(Debug)]
pub(super) enum TableProblem {
    /// The record is bad.
    Record(RecordProblem),
    /// Nothing goes on.
    Halt(ApplyError),
    /// It is to be pushed again later.
    Later(Pushed),
}

impl From<RecordProblem> for TableProblem {
    fn from(problem: RecordProblem) -> Self {
        TableProblem::Record(problem)
    }
}

impl From<ApplyError> for TableProblem {
    fn from(error: ApplyError) -> Self {
        TableProblem::Halt(error)
    }
}

/// A version and where its columns stand in its table.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    pub(super) version: Arc<Version>,
    pub(super) places: Arc<[Option<usize>]>,
    generation: u64,
}

impl Fitted {
    /// Of a version whose columns stand at these places.
    pub(super) fn new(version: &Arc<Version>, places: Vec<Option<usize>>, target: &Target) -> Self {
        Fitted {
            version: Arc::clone(version),
            places: places.into(),
            generation: target.generation,
        }
    }

    /// For a record without a row.
    pub(super) fn of_no_row(version: Arc<Version>, target: &Target) -> Self {
        Fitted { version, places: Arc::from([]), generation: target.generation }
    }
}

/// The texts of an embedded schema and of the key's, and what both say.
#[derive(Debug)]
struct Embedded {
    schema: Box<str>,
    key_schema: Option<Box<str>>,
    version: Arc<Version>,
}

/// Versions by what names them.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// By fingerprint.
    entries: HashMap<String, Arc<Version>>,
    /// By the text of the embedded schema and the key, the latest of each topic first.
    embedded: HashMap<Arc<str>, Vec<Embedded>>,
    /// Those that nobody says, by table, the latest first.
    unsaid: HashMap<TableName, Vec<Arc<Version>>>,
    fitted: HashMap<usize, Fitted>,
}

/// Versions of one topic that are kept by their text.
const EMBEDDED_MAX: usize = 8;

/// Versions of one table that are kept though nobody says them: rows that look alike have one.
const UNSAID_MAX: usize = 8;

/// Versions whose columns' places are kept.
const FITTED_MAX: usize = 10_000;

impl Versions {
    /// Forgets what tables look like, not what versions are.
    pub(super) fn unfit(&mut self) {
        self.fitted.clear();
    }

    /// The version that a record's header names, if a prefix has it.
    pub(super) fn entry(
        &mut self,
        record: &Record,
        prefix: &str,
        schemas: &mut dyn Schemas,
    ) -> Result<Option<Arc<Version>>, TableProblem> {
        let Some(fingerprint) = record.schema() else { return Ok(None) };
        if let Some(version) = self.entries.get(fingerprint) {
            return Ok(Some(Arc::clone(version)));
        }
        let Some(entry) = schemas.entry(prefix, fingerprint)? else { return Ok(None) };
        let version = Version::of_entry(&entry).map_err(|expected| {
            RecordProblem::new(format!("schema {fingerprint} cannot be read: expected {expected}"))
        })?;
        let version = Arc::new(version);
        self.entries.insert(fingerprint.to_owned(), Arc::clone(&version));
        Ok(Some(version))
    }

    /// The version that a record's columns are of, if somebody says it.
    pub(super) fn find(
        &mut self,
        record: &Record,
        envelope: &Envelope<'_>,
        table: &TableName,
        schemas: &mut dyn Schemas,
    ) -> Result<Option<Arc<Version>>, TableProblem> {
        if let Some(schema) = envelope.schema {
            return Ok(Some(self.embedded(record, schema.get(), table)?));
        }
        let Some(fingerprint) = record.schema() else { return Ok(None) };
        let version = self.entry(record, &envelope.source.name, schemas)?;
        let version = version.ok_or_else(|| {
            RecordProblem::new(format!(
                "its header cdc.schema names {fingerprint}, which topic {}.__schemas does not have",
                envelope.source.name
            ))
        })?;
        Ok(Some(version))
    }

    fn embedded(
        &mut self,
        record: &Record,
        schema: &str,
        table: &TableName,
    ) -> Result<Arc<Version>, RecordProblem> {
        let known = self.embedded.entry(Arc::clone(&record.topic)).or_default();
        let key_schema = record.key.as_deref().and_then(version::key_schema);
        // Without one, the key's own columns tell.
        let names = || version::key_names(record.key.as_deref());
        let key = if key_schema.is_none() { names() } else { Vec::new() };
        let is_this = |known: &Embedded| {
            *known.schema == *schema
                && known.key_schema.as_deref() == key_schema
                && (key_schema.is_some() || known.version.key == key)
                && known.version.table == *table
        };
        if let Some(at) = known.iter().position(is_this) {
            known.swap(0, at);
            if let Some(known) = known.first() {
                return Ok(Arc::clone(&known.version));
            }
        }
        let version = Version::of_embedded(table.clone(), schema, names())
            .map_err(|expected| RecordProblem::new(format!("expected {expected}")))?;
        let version = Arc::new(version);
        let (schema, key_schema) = (schema.into(), key_schema.map(Box::from));
        known.insert(0, Embedded { schema, key_schema, version: Arc::clone(&version) });
        known.truncate(EMBEDDED_MAX);
        Ok(version)
    }

    /// The version of a record that says none: the one that is kept, if it is equal.
    pub(super) fn unsaid(
        &mut self,
        known: Option<&Target>,
        row: Option<&str>,
        record: &Record,
        table: &TableName,
    ) -> Result<Arc<Version>, RecordProblem> {
        let kept = self.unsaid.entry(table.clone()).or_default();
        if let Some(target) = known.filter(|target| !target.by_look)
            && let Some(version) = kept.iter().find(|version| version.is_of_target(target))
        {
            return Ok(Arc::clone(version));
        }
        let version = unsaid_version(known, row, record, table)?;
        let version = match kept.iter().position(|kept| **kept == version) {
            Some(at) => kept.remove(at),
            None => Arc::new(version),
        };
        if let Some(gone) = kept.get(UNSAID_MAX - 1) {
            self.fitted.remove(&Arc::as_ptr(gone).addr());
            kept.truncate(UNSAID_MAX - 1);
        }
        kept.insert(0, Arc::clone(&version));
        Ok(version)
    }

    /// How many versions and places are kept.
    #[cfg(test)]
    fn kept(&self) -> usize {
        self.unsaid.values().map(Vec::len).sum::<usize>() + self.fitted.len()
    }

    /// The version that was last embedded in a record of a table in a topic.
    pub(super) fn latest_embedded(
        &self,
        topic: &Arc<str>,
        table: &TableName,
    ) -> Option<Arc<Version>> {
        let known = self.embedded.get(topic)?;
        let latest = known.iter().find(|known| known.version.table == *table);
        latest.map(|known| Arc::clone(&known.version))
    }

    /// Where a version's columns stand, if the table still is what it was.
    pub(super) fn fitted(&self, version: &Arc<Version>, target: &Target) -> Option<Fitted> {
        let key = Arc::as_ptr(version).addr();
        let fitted = self.fitted.get(&key)?;
        (fitted.generation == target.generation && Arc::ptr_eq(&fitted.version, version))
            .then(|| fitted.clone())
    }

    /// Keeps where a version's columns stand.
    pub(super) fn fit(
        &mut self,
        version: &Arc<Version>,
        places: Vec<Option<usize>>,
        target: &Target,
    ) -> Fitted {
        if self.fitted.len() >= FITTED_MAX {
            self.fitted.clear();
        }
        let fitted = Fitted::new(version, places, target);
        self.fitted.insert(Arc::as_ptr(version).addr(), fitted.clone());
        fitted
    }
}

/// A number for a table that any process would give it.
pub(super) fn table_id(table: &TableName) -> TableId {
    let text = format!("{}\0{}", table.namespace, table.name);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut bytes = [0; 8];
    for (byte, found) in bytes.iter_mut().zip(digest.as_ref()) {
        *byte = *found;
    }
    TableId((u64::from_be_bytes(bytes) >> 1).cast_signed())
}

/// A table that is new to us: created, or taken over if somebody has made it before.
pub(super) fn begin_table(
    warehouse: &mut dyn Warehouse,
    prefix: &str,
    version: Option<&Version>,
    (table, position, spelling): (&TableName, Position, Spelling),
) -> Result<Option<Reconciled>, ApplyError> {
    let foreign = warehouse.foreign_table(table)?;
    let Some(foreign) = foreign else {
        return Ok(version
            .map(|version| target::create(table_id(table), prefix, version, position, spelling)));
    };
    if foreign.has_rows && !foreign.has_position {
        return Err(ApplyError::Configuration {
            message: format!(
                "table {table} of the warehouse has rows that were not written by cdc-sink"
            ),
            hint: "empty it, rename it, or give another database as the warehouse; the captured \
                   database itself cannot be one"
                .to_owned(),
        });
    }
    adopt(&foreign, prefix, version, table).map(Some)
}

fn adopt(
    foreign: &ForeignTable,
    prefix: &str,
    version: Option<&Version>,
    table: &TableName,
) -> Result<Reconciled, ApplyError> {
    let column = |(name, column_type): &(String, ColumnType)| TargetColumn {
        name: name.clone(),
        column_type: column_type.clone(),
        millis: foreign.millis.contains(name),
        ..TargetColumn::default()
    };
    let columns: Vec<TargetColumn> = foreign.columns.iter().map(column).collect();
    let names = match version {
        Some(version) => version.key.clone(),
        None => foreign.key.clone(),
    };
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    let key: Vec<usize> = names.iter().filter_map(place).collect();
    if key.len() != names.len() {
        return Err(ApplyError::Configuration {
            message: format!(
                "table {table} of the warehouse lacks a column of the key ({})",
                names.join(", ")
            ),
            hint: "add it, or drop the table: it is created as it must be".to_owned(),
        });
    }
    let target = Target {
        id: table_id(table),
        table: table.clone(),
        prefix: prefix.to_owned(),
        oid: None,
        columns,
        key,
        is_foreign: true,
        generation: 0,
        by_look: false,
        reread: String::new(),
        reread_at: None,
        has_older: false,
        version_at: None,
        keyed_at: None,
        snapshots: Vec::new(),
        commit_times: false,
        topics: Vec::new(),
    };
    let places = match version {
        Some(version) => {
            let found = |column: &crate::apply::merge::version::VersionColumn| {
                target.columns.iter().position(|known| known.name == column.name)
            };
            version.columns.iter().map(found).collect()
        }
        None => (0..target.columns.len()).map(Some).collect(),
    };
    let changes = vec![TableChange::Adopt];
    Ok(Reconciled { target, changes, places, reread: None, has_new_key: false })
}

/// Whether a table may be filled by a prefix.
pub(super) fn check_owner(known: &Known, prefix: &str) -> Result<(), ApplyError> {
    if known.target.prefix == prefix {
        return Ok(());
    }
    Err(ApplyError::Configuration {
        message: format!(
            "table {} of the warehouse is filled by topic prefix \"{}\", and \"{prefix}\" brings \
             a table of the same name",
            known.target.table, known.target.prefix
        ),
        hint: "give each source a warehouse of its own, or leave one out with --topics".to_owned(),
    })
}

/// Whether a record that tells rows apart as its table does has what that takes.
pub(super) fn check_key(
    record: &Record,
    said: Option<&Version>,
    known: &Target,
) -> Result<(), RecordProblem> {
    let has_key =
        said.map_or(known.is_foreign && known.is_keyed(), |version| !version.key.is_empty());
    match &record.key {
        None if has_key => Err(RecordProblem::new(format!(
            "it has no key, and rows of table {} are told apart by one",
            known.table
        ))),
        // That one row lacks a value says nothing of the others.
        Some(key)
            if known.is_keyed()
                && record.schema().is_none()
                && said.is_none_or(|version| version.key.is_empty())
                && version::has_null(key) =>
        {
            Err(RecordProblem::new("a column of the key is null"))
        }
        _ => Ok(()),
    }
}

/// The version by which a record is read whose schema nobody says.
pub(super) fn unsaid_version(
    known: Option<&Target>,
    row: Option<&str>,
    record: &Record,
    table: &TableName,
) -> Result<Version, RecordProblem> {
    match (known, row) {
        (Some(target), _) if !target.by_look => Ok(Version::of_target(target)),
        (_, Some(row)) => Version::of_look(table.clone(), row, record.key.as_deref())
            .map_err(|_| RecordProblem::new("expected a row as a JSON object")),
        (Some(target), None) => Ok(Version::of_target(target)),
        (None, None) => Err(RecordProblem::new("it has neither an old nor a new row")),
    }
}

/// Whether a version that nobody says brings nothing that its table cannot hold.
pub(super) fn looks_alike(version: &Version, target: &Target) -> bool {
    version.learnt != Learnt::Look
        || version.columns.iter().all(|column| {
            let known = target.columns.iter().find(|known| known.name == column.name);
            known.is_some_and(|known| {
                column.untyped || known.column_type.common(&column.column_type) == known.column_type
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            topic: Arc::from("topic"),
            partition: 0,
            offset: 0,
            leader_epoch: -1,
            key: Some(br#"{"id":1}"#.as_slice().into()),
            value: None,
            headers: Vec::new(),
        }
    }

    /// A topic without schemas has one version for all rows that look alike, however many come.
    #[test]
    fn records_without_schema_take_no_memory_each() {
        let (mut versions, table) = (Versions::default(), TableName::new("s", "t"));
        let row = |number: u64| format!(r#"{{"id":{number},"a":"text {number}"}}"#);
        let look = Version::of_look(table.clone(), &row(0), Some(br#"{"id":1}"#)).unwrap();
        let spelling = Spelling { arrays: crate::apply::merge::ArrayForm::Json, era: "" };
        let id = table_id(&table);
        let target = target::create(id, "p", &look, Position::default(), spelling).target;
        let made = Target { by_look: false, ..target.clone() };
        for number in 0..1000 {
            for target in [&target, &made] {
                let row = row(number);
                let version = versions.unsaid(Some(target), Some(&row), &record(), &table).unwrap();
                if versions.fitted(&version, target).is_none() {
                    versions.fit(&version, vec![Some(0), Some(1)], target);
                }
            }
        }
        assert_eq!(versions.kept(), 4);
        for number in 0..1000 {
            let row = format!(r#"{{"id":1,"a{number}":1}}"#);
            let version = versions.unsaid(Some(&target), Some(&row), &record(), &table).unwrap();
            versions.fit(&version, vec![Some(0)], &target);
        }
        assert!(versions.kept() <= 2 * UNSAID_MAX, "{}", versions.kept());
    }
}
