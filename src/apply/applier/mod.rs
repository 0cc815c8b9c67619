//! Records to a warehouse: what is asked, what is decided, and the transaction that does it.
//!
//! Takes records in the order of their partitions; gives transactions of the warehouse. A batch
//! grows with [`Applier::push`] and is done by [`Applier::commit`]: rows, offsets and watermarks
//! together. A batch that meets another process's work is made again on the new state; one with a
//! bad value is halved until the bad record is found.

mod commit;
mod record;
mod row;
mod tables;
mod waiting;

pub use record::Header;
pub use record::Record;
pub use record::RecordProblem;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::apply::applier::row::Placeholders;
use crate::apply::applier::row::RowReader;
use crate::apply::applier::tables::Fitted;
use crate::apply::applier::tables::TableProblem;
use crate::apply::applier::tables::Versions;
use crate::apply::error::ApplyError;
use crate::apply::merge::Batch;
use crate::apply::merge::Cell;
use crate::apply::merge::DeadLetter;
use crate::apply::merge::KnownTable;
use crate::apply::merge::Spelling;
use crate::apply::merge::TableId;
use crate::apply::merge::Target;
use crate::apply::merge::fold::Change;
use crate::apply::merge::target;
use crate::apply::merge::version::Version;
use crate::apply::settings::ApplySettings;
use crate::apply::settings::ErrorsTolerance;
use crate::apply::warehouse::Claim;
use crate::apply::warehouse::Warehouse;
use crate::envelope::Operation;
use crate::envelope::read::Envelope;
use crate::envelope::read::NotAChange;
use crate::lsn::Lsn;
use crate::position::Position;
use crate::table::TableName;

/// Where entries of `PREFIX.__schemas` are found.
pub trait Schemas: Send {
    /// The entry of a fingerprint; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The topic cannot be read.
    fn entry(&mut self, prefix: &str, fingerprint: &str) -> Result<Option<Vec<u8>>, ApplyError>;
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the batch, or needs nothing.
    Taken,
    /// Its row's values are still to come in another partition: this one must wait.
    Waits,
}

/// A partition of a topic.
pub type Partition = (Arc<str>, i32);

/// What is known of a partition that is ours.
#[derive(Clone, Debug)]
struct Owned {
    fence: i64,
    /// The next offset that is to come, what is in the batch included.
    next_offset: i64,
    watermark: Option<Position>,
}

/// What is known of a table.
#[derive(Clone, Debug)]
pub struct Known {
    /// Columns and key.
    pub target: Arc<Target>,
    /// Highest epoch of its records.
    pub epoch: u64,
    /// Nothing at or below this position counts.
    pub floor: Option<Position>,
}

impl From<KnownTable> for Known {
    fn from(known: KnownTable) -> Self {
        Known { target: Arc::new(known.target), epoch: known.epoch, floor: known.floor }
    }
}

/// What a batch did, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Records taken.
    pub records: u64,
    /// Changes by table and operation.
    pub changes: BTreeMap<(TableName, Operation), u64>,
    /// Records put aside as bad.
    pub dead_letters: u64,
    /// Rows of tables without key that were to be deleted and were not there, by table.
    pub not_found: Vec<(TableName, u64)>,
    /// Rows with values that were never received.
    pub incomplete: u64,
    /// Milliseconds since 1970 of the latest commit in it.
    pub latest_commit_ms: Option<i64>,
    /// The next offset of each partition.
    pub offsets: Vec<(Partition, i64)>,
}

/// Applies records.
pub struct Applier {
    warehouse: Box<dyn Warehouse>,
    schemas: Box<dyn Schemas>,
    settings: ApplySettings,
    spelling: Spelling,
    placeholders: Placeholders,
    tables: HashMap<TableName, Known>,
    /// Tables as they were before the batch; `None`: not there.
    before: HashMap<TableName, Option<Known>>,
    /// The table that a topic's records were of last.
    topics: HashMap<Arc<str>, TableName>,
    versions: Versions,
    owned: HashMap<Partition, Owned>,
    partition_counts: HashMap<Arc<str>, i32>,
    /// The same before the batch.
    owned_before: HashMap<Partition, Owned>,
    /// Keys whose records wait among the dead letters.
    parked: HashSet<(String, Vec<u8>)>,
    batch: Batch,
    records: Vec<Record>,
    bytes: usize,
    dead_letters: Vec<DeadLetter>,
    dead_letters_done: Vec<(String, i32, i64)>,
    moved_taken: Vec<(TableId, Position)>,
    state: Vec<(String, Option<String>)>,
    done: Done,
}

impl Applier {
    /// Over a warehouse, with what it knows.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    pub fn new(
        warehouse: Box<dyn Warehouse>,
        schemas: Box<dyn Schemas>,
        settings: ApplySettings,
    ) -> Result<Self, ApplyError> {
        let spelling = warehouse.spelling();
        let mut applier = Applier {
            placeholders: Placeholders::new(&settings.placeholder),
            warehouse,
            schemas,
            settings,
            spelling,
            tables: HashMap::new(),
            before: HashMap::new(),
            topics: HashMap::new(),
            versions: Versions::default(),
            owned: HashMap::new(),
            partition_counts: HashMap::new(),
            owned_before: HashMap::new(),
            parked: HashSet::new(),
            batch: Batch::default(),
            records: Vec::new(),
            bytes: 0,
            dead_letters: Vec::new(),
            dead_letters_done: Vec::new(),
            moved_taken: Vec::new(),
            state: Vec::new(),
            done: Done::default(),
        };
        applier.reload()?;
        Ok(applier)
    }

    /// Asks the warehouse anew what it knows of tables.
    fn reload(&mut self) -> Result<(), ApplyError> {
        let known = self.warehouse.tables()?;
        self.tables = known
            .into_iter()
            .map(|known| (known.target.table.clone(), Known::from(known)))
            .collect();
        self.parked = self.warehouse.parked_keys()?.into_iter().collect();
        self.versions.unfit();
        Ok(())
    }

    /// The warehouse.
    pub fn warehouse(&mut self) -> &mut dyn Warehouse {
        &mut *self.warehouse
    }

    /// All tables that are known.
    pub fn tables(&self) -> impl Iterator<Item = &Known> {
        self.tables.values()
    }

    /// Takes partitions; gives where each goes on. What was pushed and not committed is dropped.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    pub fn claim(&mut self, partitions: &[Partition]) -> Result<Vec<Claim>, ApplyError> {
        self.abandon();
        self.owned.clear();
        self.reload()?;
        let named: Vec<(String, i32)> =
            partitions.iter().map(|(topic, number)| (topic.to_string(), *number)).collect();
        let claims = if named.is_empty() {
            Vec::new()
        } else {
            self.warehouse.claim(&self.settings.group, &named)?
        };
        let mut marks: HashMap<(String, i32), Position> = HashMap::new();
        for topic in named.iter().map(|(topic, _)| topic).collect::<HashSet<_>>() {
            for (partition, position) in self.warehouse.watermarks(topic)? {
                marks.insert((topic.clone(), partition), position);
            }
        }
        for claim in &claims {
            let partition = (Arc::from(claim.topic.as_str()), claim.partition);
            let owned = Owned {
                fence: claim.fence,
                next_offset: claim.next_offset.unwrap_or(0),
                watermark: marks.get(&(claim.topic.clone(), claim.partition)).copied(),
            };
            self.owned.insert(partition, owned);
        }
        Ok(claims)
    }

    /// A partition without offsets and fences: of the way without Kafka.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    pub fn own_without_offsets(&mut self, partition: &Partition) -> Result<(), ApplyError> {
        let marks = self.warehouse.watermarks(&partition.0)?;
        let watermark = marks.iter().find(|(number, _)| *number == partition.1).map(|(_, at)| *at);
        self.owned
            .insert(partition.clone(), Owned { fence: NO_OFFSETS, next_offset: 0, watermark });
        Ok(())
    }

    /// Says how many partitions a topic has.
    pub fn set_partition_count(&mut self, topic: &Arc<str>, count: i32) {
        self.partition_counts.insert(Arc::clone(topic), count);
    }

    /// How many records wait to be committed, and how many bytes they have.
    pub fn pending(&self) -> (usize, usize) {
        (self.records.len(), self.bytes)
    }

    /// Something waits to be committed.
    pub fn has_pending(&self) -> bool {
        !self.records.is_empty() || !self.state.is_empty()
    }

    /// A record of ours, stored with the batch: of the way without Kafka.
    pub fn put_state(&mut self, key: String, value: Option<String>) {
        self.state.push((key, value));
    }

    /// Takes a record into the batch. `force`: nothing more will come, so it must not wait.
    ///
    /// # Errors
    ///
    /// The record is bad and the policy is to stop, or nothing goes on.
    pub fn push(&mut self, record: Record, force: bool) -> Result<Pushed, ApplyError> {
        let taken = self.take(&record, force)?;
        if taken == Pushed::Taken {
            self.bytes += record.bytes();
            self.records.push(record);
        }
        Ok(taken)
    }

    fn take(&mut self, record: &Record, force: bool) -> Result<Pushed, ApplyError> {
        let partition = (Arc::clone(&record.topic), record.partition);
        let owned = self.owned.get(&partition);
        let next_offset = owned.map_or(0, |owned| owned.next_offset);
        if owned.is_some_and(|owned| owned.fence != NO_OFFSETS) && record.offset < next_offset {
            return Ok(Pushed::Taken);
        }
        let result = match self.is_parked(record) {
            true => Err(TableProblem::Record(RecordProblem::new(
                "an earlier record of its key waits here",
            ))),
            false => self.interpret(record, &partition, force),
        };
        match result {
            Ok(Pushed::Waits) => return Ok(Pushed::Waits),
            Ok(Pushed::Taken) => {}
            Err(TableProblem::Halt(error)) => return Err(error),
            Err(TableProblem::Record(problem)) => self.bad(record, problem)?,
        }
        self.remember(&partition);
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.next_offset = record.offset + 1;
        }
        self.done.records += 1;
        Ok(Pushed::Taken)
    }

    /// Keeps what a partition was before the batch.
    fn remember(&mut self, partition: &Partition) {
        if let Some(owned) = self.owned.get(partition) {
            self.owned_before.entry(partition.clone()).or_insert_with(|| owned.clone());
        }
    }

    fn is_parked(&self, record: &Record) -> bool {
        let Some(key) = &record.key else { return false };
        !self.parked.is_empty()
            && self.parked.contains(&(record.topic.to_string(), key.to_vec()))
            && self.settings.tolerance == ErrorsTolerance::All
    }

    fn bad(&mut self, record: &Record, problem: RecordProblem) -> Result<(), ApplyError> {
        if self.settings.tolerance == ErrorsTolerance::None {
            return Err(ApplyError::Record { place: record.to_string(), reason: problem.0 });
        }
        tracing::warn!(record = %record, reason = problem.0, "a bad record is put aside");
        if let Some(key) = &record.key {
            self.parked.insert((record.topic.to_string(), key.to_vec()));
        }
        self.dead_letters.push(DeadLetter {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            reason: problem.0,
            key: record.key.as_ref().map(|key| key.to_vec()),
            value: record.value.as_ref().map(|value| value.to_vec()),
            headers: record.headers_json(),
        });
        self.done.dead_letters += 1;
        Ok(())
    }

    fn interpret(
        &mut self,
        record: &Record,
        partition: &Partition,
        force: bool,
    ) -> Result<Pushed, TableProblem> {
        if is_internal(&record.topic) {
            return Ok(Pushed::Taken);
        }
        let Some(value) = &record.value else { return self.tombstone(record, partition) };
        let envelope = match Envelope::read(value) {
            Ok(envelope) => envelope,
            Err(NotAChange::Notice) => return Ok(Pushed::Taken),
            Err(NotAChange::Malformed { expected }) => {
                return Err(RecordProblem::new(format!("expected {expected}")).into());
            }
        };
        if envelope.operation == Operation::Message {
            return Ok(Pushed::Taken);
        }
        let table = TableName::new(
            envelope.source.schema.as_deref().unwrap_or_default(),
            envelope.source.table.as_ref(),
        );
        if table.name.is_empty() || table.namespace.is_empty() {
            return Err(RecordProblem::new("its source names no schema and table").into());
        }
        let position = self.position(record, &envelope, &table)?;
        let known_topic = self.topics.get(&record.topic).is_some_and(|known| *known == table);
        if !known_topic {
            self.topics.insert(Arc::clone(&record.topic), table.clone());
        }
        self.done.latest_commit_ms = self.done.latest_commit_ms.max(envelope.source.ts_ms);
        let event = Event { record, envelope: &envelope, table: &table, position, partition };
        self.apply(&event, force)
    }

    /// The header's, or what Debezium's own order gives.
    fn position(
        &self,
        record: &Record,
        envelope: &Envelope<'_>,
        table: &TableName,
    ) -> Result<Position, RecordProblem> {
        if let Some(position) = record.position()? {
            if self.settings.broken.raw_lsn
                && let Some(lsn) = envelope.source.lsn
            {
                return Ok(Position { commit_lsn: Lsn(lsn), ord: 0, ..position });
            }
            return Ok(position);
        }
        let epoch = self.tables.get(table).map_or(0, |known| known.epoch);
        let lowest = Position { epoch, ..Position::default() };
        if envelope.operation == Operation::Read {
            return Ok(lowest);
        }
        let sequence = envelope.source.sequence.as_deref().unwrap_or("[]");
        let pair: Vec<Option<String>> = serde_json::from_str(sequence).unwrap_or_default();
        let number = |at: usize| -> Option<u64> { pair.get(at)?.as_ref()?.parse().ok() };
        let change = number(1).or(envelope.source.lsn).ok_or_else(|| {
            RecordProblem::new("it has neither the header cdc.position nor source.sequence")
        })?;
        Ok(Position {
            // Never zero: that is what reads have.
            commit_lsn: Lsn(number(0).unwrap_or(0).max(1)),
            ord: change,
            sub: u8::from(envelope.operation != Operation::Delete),
            ..lowest
        })
    }

    fn apply(&mut self, event: &Event<'_>, force: bool) -> Result<Pushed, TableProblem> {
        let is_ours = event.record.position()?.is_some();
        let is_read = event.position.commit_lsn == Lsn::ZERO;
        let fitted = self.fit(event)?;
        let Some(known) = self.tables.get(event.table) else { return Ok(Pushed::Taken) };
        let (target, epoch) = (Arc::clone(&known.target), known.epoch);
        if self.is_done_before(event, &target, (is_ours, is_read)) {
            return Ok(Pushed::Taken);
        }
        if event.position.epoch < epoch {
            return Ok(Pushed::Taken);
        }
        let target = self.enter_epoch(event, target, epoch);
        let floor = self.tables.get(event.table).and_then(|known| known.floor);
        let below = !self.settings.broken.warehouse.without_floor
            && floor.is_some_and(|floor| event.position <= floor);
        if !below {
            let pushed = self.change(event, &target, &fitted, force)?;
            if pushed == Pushed::Waits {
                return Ok(Pushed::Waits);
            }
        }
        if !is_read || !target.is_keyed() {
            self.raise_watermark(event);
        }
        Ok(Pushed::Taken)
    }

    /// The second layer: a partition brings nothing new at or below its watermark. Debezium's own
    /// order has ties, so that an equal position may be another change.
    fn is_done_before(
        &self,
        event: &Event<'_>,
        target: &Target,
        (is_ours, is_read): (bool, bool),
    ) -> bool {
        if is_read && target.is_keyed() {
            return false;
        }
        let owned = self.owned.get(event.partition);
        let Some(mark) = owned.and_then(|owned| owned.watermark) else { return false };
        if self.settings.broken.without_watermark {
            return false;
        }
        if is_ours { event.position <= mark } else { event.position < mark }
    }

    fn raise_watermark(&mut self, event: &Event<'_>) {
        self.remember(event.partition);
        if let Some(owned) = self.owned.get_mut(event.partition) {
            owned.watermark = owned.watermark.max(Some(event.position));
        }
    }

    /// A table without key is emptied at the first record of a higher epoch.
    fn enter_epoch(&mut self, event: &Event<'_>, target: Arc<Target>, epoch: u64) -> Arc<Target> {
        if event.position.epoch <= epoch {
            return target;
        }
        let target = self.change_target(event.table, |known| known.epoch = event.position.epoch);
        if target.is_keyed() || epoch == 0 {
            self.batch.note_epoch(&target, event.position.epoch);
        } else {
            self.batch.begin_epoch(&target, event.position.epoch);
        }
        target
    }

    /// Changes what is known of a table, and stores it with the batch.
    fn change_target(&mut self, table: &TableName, change: impl FnOnce(&mut Known)) -> Arc<Target> {
        let known = self.tables.get_mut(table);
        let Some(known) = known else { return Arc::new(empty_target(table)) };
        // Raised once in a batch, however much of the record changes.
        if !self.before.contains_key(table) {
            self.before.insert(table.clone(), Some(known.clone()));
            Arc::make_mut(&mut known.target).generation += 1;
        }
        change(known);
        let target = Arc::clone(&known.target);
        self.batch.set_target(&target, []);
        target
    }

    fn change(
        &mut self,
        event: &Event<'_>,
        target: &Arc<Target>,
        fitted: &Fitted,
        force: bool,
    ) -> Result<Pushed, TableProblem> {
        let operation = event.envelope.operation;
        if operation == Operation::Truncate {
            let position = event.position;
            let target = self.change_target(event.table, |known| {
                known.floor = known.floor.max(Some(position));
            });
            self.batch.truncate(&target, position);
            self.count(event.table, operation);
            return Ok(Pushed::Taken);
        }
        let pushed = if target.is_keyed() {
            self.keyed(event, target, fitted, force)?
        } else {
            self.counted(event, target, fitted)?;
            Pushed::Taken
        };
        if pushed == Pushed::Taken {
            self.count(event.table, operation);
        }
        Ok(pushed)
    }

    fn count(&mut self, table: &TableName, operation: Operation) {
        *self.done.changes.entry((table.clone(), operation)).or_default() += 1;
    }

    fn keyed(
        &mut self,
        event: &Event<'_>,
        target: &Arc<Target>,
        fitted: &Fitted,
        force: bool,
    ) -> Result<Pushed, TableProblem> {
        let is_delete = event.envelope.operation == Operation::Delete;
        let row = if is_delete { event.envelope.before } else { event.envelope.after };
        let mut cells = match row {
            Some(row) => self.read_row(row.get(), event.position, fitted, target)?,
            None if is_delete => self.key_row(event.record, event.position, fitted, target)?,
            None => return Err(RecordProblem::new("it has no new row").into()),
        };
        let key = self
            .batch
            .key(target, &cells)
            .ok_or_else(|| RecordProblem::new("a column of the key is null or was left out"))?;
        if is_delete && event.record.leaves_for_new_key() {
            self.batch.put_aside(target, &key, (event.position, cells.clone()));
        }
        let mut base = None;
        if !is_delete && event.record.comes_from_old_key() {
            match self.fill_from_old_key(event, target, &mut cells, force)? {
                waiting::OldKey::Waits => return Ok(Pushed::Waits),
                waiting::OldKey::DoneBefore => return Ok(Pushed::Taken),
                waiting::OldKey::Found(found) => base = found,
            }
        }
        let change = Change {
            position: event.position,
            is_read: event.envelope.operation == Operation::Read,
            is_delete,
            is_fresh: matches!(event.envelope.operation, Operation::Create | Operation::Read),
            cells,
            base,
        };
        self.batch.change(target, key, change);
        Ok(Pushed::Taken)
    }

    fn counted(
        &mut self,
        event: &Event<'_>,
        target: &Arc<Target>,
        fitted: &Fitted,
    ) -> Result<(), RecordProblem> {
        let needs_old = matches!(event.envelope.operation, Operation::Update | Operation::Delete);
        let mut old = None;
        if needs_old {
            let before = event.envelope.before.ok_or_else(|| {
                RecordProblem::new(format!(
                    "table {} has no key, and the record has no old row: at the source, ALTER TABLE \
                     {} REPLICA IDENTITY FULL",
                    event.table,
                    event.table.quoted()
                ))
            })?;
            old = Some(self.read_row(before.get(), event.position, fitted, target)?);
        }
        let mut new = None;
        if event.envelope.operation != Operation::Delete {
            let after = event.envelope.after;
            let after = after.ok_or_else(|| RecordProblem::new("it has no new row"))?;
            let mut cells = self.read_row(after.get(), event.position, fitted, target)?;
            if let Some(old) = &old {
                for (cell, old) in cells.iter_mut().zip(old) {
                    if *cell == Cell::Missing {
                        *cell = *old;
                    }
                }
            }
            new = Some(cells);
        }
        for (cells, count) in [(old, -1), (new, 1)] {
            let Some(cells) = cells else { continue };
            if cells.contains(&Cell::Missing) {
                return Err(RecordProblem::new(
                    "a value of a table without key was left out: its rows cannot be told apart",
                ));
            }
            self.batch.count(target, cells, (count, event.position));
        }
        Ok(())
    }

    fn read_row(
        &mut self,
        json: &str,
        position: Position,
        fitted: &Fitted,
        target: &Target,
    ) -> Result<Vec<Cell>, RecordProblem> {
        let reader = RowReader {
            version: &fitted.version,
            places: &fitted.places,
            target,
            placeholders: &self.placeholders,
            spelling: self.spelling,
        };
        reader.read(json, position, &mut self.batch.texts)
    }

    /// The row that a record's key gives, where there is no other.
    fn key_row(
        &mut self,
        record: &Record,
        position: Position,
        fitted: &Fitted,
        target: &Target,
    ) -> Result<Vec<Cell>, RecordProblem> {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let key = key.ok_or_else(|| RecordProblem::new("it has neither an old row nor a key"))?;
        let value: serde_json::Value =
            serde_json::from_str(key).map_err(|_| RecordProblem::new("its key is no JSON"))?;
        let inner = value.get("payload").filter(|_| value.get("schema").is_some());
        let text = inner.unwrap_or(&value).to_string();
        self.read_row(&text, position, fitted, target)
    }

    /// A record without value: the delete that it follows has done its work, unless the topic was
    /// compacted and lost it.
    fn tombstone(
        &mut self,
        record: &Record,
        partition: &Partition,
    ) -> Result<Pushed, TableProblem> {
        let (Some(position), Some(_)) = (record.position()?, &record.key) else {
            return Ok(Pushed::Taken);
        };
        let version = self.versions.of_tombstone(record);
        let name = match &version {
            Some(version) => Some(version.table.clone()),
            None => self.topics.get(&record.topic).cloned(),
        };
        let Some(known) = name.and_then(|name| self.tables.get(&name)) else {
            return Ok(Pushed::Taken);
        };
        let owned = self.owned.get(partition);
        if owned.and_then(|owned| owned.watermark).is_some_and(|mark| position <= mark) {
            return Ok(Pushed::Taken);
        }
        let target = Arc::clone(&known.target);
        let floor = known.floor;
        if !target.is_keyed() || floor.is_some_and(|floor| position <= floor) {
            return Ok(Pushed::Taken);
        }
        let version = version.unwrap_or_else(|| Arc::new(Version::of_target(&target)));
        let places = version
            .columns
            .iter()
            .map(|column| target.columns.iter().position(|known| known.name == column.name));
        let fitted = self.versions.fit(&version, places.collect(), &target);
        let cells = self.key_row(record, position, &fitted, &target)?;
        if let Some(key) = self.batch.key(&target, &cells) {
            let change = Change {
                position,
                is_read: false,
                is_delete: true,
                is_fresh: false,
                cells,
                base: None,
            };
            self.batch.change(&target, key, change);
        }
        Ok(Pushed::Taken)
    }

    /// Finds the record's version and makes its table fit it.
    fn fit(&mut self, event: &Event<'_>) -> Result<Fitted, TableProblem> {
        let (record, envelope) = (event.record, event.envelope);
        let said = self.versions.find(record, envelope, event.table, &mut *self.schemas)?;
        if let (Some(version), Some(known)) = (&said, self.tables.get(event.table))
            && let Some(fitted) = self.versions.fitted(version, &known.target)
        {
            return Ok(fitted);
        }
        let prefix = envelope.source.name.as_ref();
        if let Some(known) = self.tables.get(event.table) {
            tables::check_owner(known, prefix)?;
        } else {
            let at = (event.table, event.position, self.spelling);
            let row = envelope.after.or(envelope.before).map(|row| row.get());
            let begun = tables::begin_table(&mut *self.warehouse, prefix, said.as_deref(), at)?;
            let begun = match begun {
                Some(begun) => begun,
                None => {
                    let version = tables::unsaid_version(None, row, record, event.table)?;
                    target::create(
                        tables::table_id(event.table),
                        prefix,
                        &version,
                        event.position,
                        self.spelling,
                    )
                }
            };
            self.add_table(begun);
        }
        let Some(known) = self.tables.get(event.table) else {
            return Err(RecordProblem::new("its table is not known").into());
        };
        let version = match said {
            Some(version) => version,
            None => {
                let row = envelope.after.or(envelope.before).map(|row| row.get());
                Arc::new(tables::unsaid_version(Some(&known.target), row, record, event.table)?)
            }
        };
        self.reconcile(event, &version)
    }

    fn add_table(&mut self, begun: target::Reconciled) {
        let table = begun.target.table.clone();
        self.before.insert(table.clone(), None);
        let target = Arc::new(begun.target.clone());
        self.batch.set_target(&target, begun.changes);
        self.tables.insert(table, Known { target, epoch: 0, floor: None });
    }

    fn reconcile(
        &mut self,
        event: &Event<'_>,
        version: &Arc<Version>,
    ) -> Result<Fitted, TableProblem> {
        let Some(known) = self.tables.get(event.table) else {
            return Err(RecordProblem::new("its table is not known").into());
        };
        let result = target::reconcile(&known.target, version, event.position, self.spelling);
        let reconciled = result.map_err(|key| key_changed(event.table, &key))?;
        if let Some(reason) = &reconciled.reread {
            tracing::error!(
                table = %event.table, reason,
                "what the rows of this table have become cannot be derived: read it again"
            );
        }
        let target = &reconciled.target;
        let changed = !reconciled.changes.is_empty()
            || reconciled.reread.is_some()
            || target.columns != known.target.columns;
        let by_look = !tables::looks_alike(version, &known.target);
        let target = if changed || by_look {
            for change in &reconciled.changes {
                tracing::info!(table = %event.table, ?change, "columns of the warehouse change");
            }
            let (new, changes) = (reconciled.target, reconciled.changes);
            let target = self.change_target(event.table, |known| {
                let generation = known.target.generation;
                known.target = Arc::new(Target { generation, ..new });
            });
            self.batch.set_target(&target, changes);
            target
        } else {
            if let Some(known) = self.tables.get_mut(event.table) {
                Arc::make_mut(&mut known.target).version_at = target.version_at;
            }
            Arc::new(reconciled.target)
        };
        Ok(self.versions.fit(version, reconciled.places, &target))
    }
}

/// A fence of partitions that have no offsets.
const NO_OFFSETS: i64 = -1;

/// A change event and where it belongs.
struct Event<'a> {
    record: &'a Record,
    envelope: &'a Envelope<'a>,
    table: &'a TableName,
    position: Position,
    partition: &'a Partition,
}

fn key_changed(table: &TableName, key: &target::KeyChanged) -> ApplyError {
    let shown = |names: &[String]| {
        if names.is_empty() { "no key".to_owned() } else { format!("key ({})", names.join(", ")) }
    };
    ApplyError::Configuration {
        message: format!(
            "table {table} has {} in the warehouse and {} at the source: its rows cannot be told \
             apart as before",
            shown(&key.had),
            shown(&key.has)
        ),
        hint: format!(
            "drop it in the warehouse with its row in _cdc.tables, and read it again: DROP TABLE {}",
            table.quoted()
        ),
    }
}

fn empty_target(table: &TableName) -> Target {
    Target {
        id: tables::table_id(table),
        table: table.clone(),
        prefix: String::new(),
        columns: Vec::new(),
        key: Vec::new(),
        is_foreign: false,
        generation: 0,
        by_look: false,
        reread: String::new(),
        version_at: None,
    }
}

/// Topics of ours that are no tables.
fn is_internal(topic: &str) -> bool {
    let last = topic.rsplit('.').next().unwrap_or_default();
    matches!(last, "__state" | "__schemas" | "__applied")
}
