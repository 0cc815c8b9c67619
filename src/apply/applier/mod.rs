//! Records to a warehouse: what is asked, what is decided, and the transaction that does it.
//!
//! Takes records in the order of their partitions; gives transactions of the warehouse. A batch
//! grows with [`Applier::push`] and is done by [`Applier::commit`]: rows, offsets and watermarks
//! together. A batch that meets another process's work is made again on the new state; one with a
//! bad value is halved until the bad record is found.

mod changes;
mod commit;
mod epochs;
mod fitting;
mod record;
mod rekey;
mod row;
mod stock;
mod tables;
mod waiting;
mod watermarks;

pub use epochs::WholeRead;
pub use record::Header;
pub use record::Record;
pub use record::RecordProblem;
pub use record::place_without_kafka;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::apply::applier::row::Placeholders;
use crate::apply::applier::stock::Stock;
use crate::apply::applier::tables::TableProblem;
use crate::apply::applier::tables::Versions;
use crate::apply::applier::watermarks::Marks;
use crate::apply::error::ApplyError;
use crate::apply::merge::Batch;
use crate::apply::merge::DeadLetter;
use crate::apply::merge::KnownTable;
use crate::apply::merge::LogPlace;
use crate::apply::merge::Spelling;
use crate::apply::merge::TableId;
use crate::apply::merge::Target;
use crate::apply::settings::ApplySettings;
use crate::apply::settings::ErrorsTolerance;
use crate::apply::warehouse::Claim;
use crate::apply::warehouse::Warehouse;
use crate::envelope::Operation;
use crate::envelope::read::Envelope;
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

    /// System identifier and name of the databases that fill a prefix, as far as they are known.
    ///
    /// # Errors
    ///
    /// The topic cannot be read.
    fn sources(&mut self, _prefix: &str) -> Result<Vec<(String, String)>, ApplyError> {
        Ok(Vec::new())
    }

    /// Tables of a prefix that were read wholly, each in its latest epoch of which that is known.
    ///
    /// # Errors
    ///
    /// The topic cannot be read.
    fn whole_reads(&mut self, _prefix: &str) -> Result<Vec<WholeRead>, ApplyError> {
        Ok(Vec::new())
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the batch, or needs nothing.
    Taken,
    /// Its row's values are still to come in another partition: this one must wait.
    Waits,
    /// What was pushed before has to be stored first: commit, and push [`Applier::take_back`].
    CommitFirst,
}

/// Topic and key of records that wait among the dead letters.
type ParkedKey = (String, Vec<u8>);

/// A partition of a topic.
pub type Partition = (Arc<str>, i32);

/// The next offset of a partition among those that a warehouse has stored; 0 if it is not there.
pub fn offset_of(stored: &[(String, i32, i64)], (topic, number): &Partition) -> i64 {
    let is_this = |known: &&(String, i32, i64)| known.0 == **topic && known.1 == *number;
    stored.iter().find(is_this).map_or(0, |known| known.2)
}

/// What is known of a partition that is ours.
#[derive(Clone, Debug)]
struct Owned {
    fence: i64,
    /// The next offset that is to come, what is in the batch included.
    next_offset: i64,
    /// The log that offsets count in.
    place: LogPlace,
    /// This group has applied nothing of that log before.
    is_new_log: bool,
    /// Place of its last record among the batch's.
    last: usize,
    /// Watermarks of the tables that it brings.
    marks: Marks,
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
    /// Tables that hold nothing any more but what their present epoch has brought.
    pub read_anew: Vec<TableName>,
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
    /// Tables that a topic's records are of, as far as they were seen.
    topics: HashMap<Arc<str>, BTreeSet<TableName>>,
    versions: Versions,
    owned: HashMap<Partition, Owned>,
    /// Prefixes that are known not to come from the warehouse itself.
    strangers: HashSet<String>,
    partition_counts: HashMap<Arc<str>, i32>,
    /// Epochs below which watermarks of a topic do not count, because its partitions were others.
    void_below: HashMap<Arc<str>, u64>,
    /// Topics of records that the batch has left out by a watermark.
    relied_on: HashSet<Arc<str>>,
    /// The same before the batch.
    owned_before: HashMap<Partition, Owned>,
    /// Keys whose records wait among the dead letters.
    parked: HashSet<ParkedKey>,
    /// Those of them that the batch has put there first.
    parked_here: Vec<ParkedKey>,
    /// The batch has asked the warehouse which keys wait.
    parked_asked: bool,
    batch: Batch,
    records: Vec<Record>,
    bytes: usize,
    dead_letters: Vec<DeadLetter>,
    dead_letters_done: Vec<(String, i32, i64)>,
    moved_taken: Vec<(TableId, Position)>,
    state: Vec<(String, Option<String>)>,
    /// Tables and epochs in which they were read wholly, all of it applied.
    read_whole: Vec<(TableName, u64)>,
    /// The batch marks a table, though it may have no record.
    marks_only: bool,
    done: Done,
    /// Position of the record that was last told to wait.
    waits_at: Position,
    /// The record for which everything before it is to be committed.
    kept: Option<Record>,
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
            strangers: HashSet::new(),
            partition_counts: HashMap::new(),
            void_below: HashMap::new(),
            relied_on: HashSet::new(),
            owned_before: HashMap::new(),
            parked: HashSet::new(),
            parked_here: Vec::new(),
            parked_asked: false,
            batch: Batch::default(),
            records: Vec::new(),
            bytes: 0,
            dead_letters: Vec::new(),
            dead_letters_done: Vec::new(),
            moved_taken: Vec::new(),
            state: Vec::new(),
            read_whole: Vec::new(),
            marks_only: false,
            done: Done::default(),
            waits_at: Position::default(),
            kept: None,
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
        for known in self.tables.values() {
            for topic in &known.target.topics {
                let tables = self.topics.entry(Arc::from(topic.as_str())).or_default();
                tables.insert(known.target.table.clone());
            }
        }
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
        for claim in &claims {
            let partition = (Arc::from(claim.topic.as_str()), claim.partition);
            let owned = Owned {
                fence: claim.fence,
                next_offset: claim.next_offset.unwrap_or(0),
                place: claim.place.clone(),
                is_new_log: claim.next_offset.is_none(),
                last: 0,
                marks: Marks::new(),
            };
            self.owned.insert(partition, owned);
        }
        for (topic, marks) in self.read_marks()? {
            self.void_if_shared_anew(&topic, &marks)?;
        }
        Ok(claims)
    }

    /// Says where a partition that was claimed goes on, and in which log: it may be another than
    /// the stored offset's, or begin before it.
    pub fn begin_at(&mut self, partition: &Partition, offset: i64, place: LogPlace) {
        if let Some(owned) = self.owned.get_mut(partition) {
            owned.next_offset = offset;
            owned.is_new_log |= owned.place.log != place.log;
            owned.place = place;
        }
    }

    /// A partition without offsets and fences: of the way without Kafka.
    ///
    /// # Errors
    ///
    /// The warehouse cannot be asked.
    pub fn own_without_offsets(&mut self, partition: &Partition) -> Result<(), ApplyError> {
        let owned = Owned {
            fence: NO_OFFSETS,
            next_offset: 0,
            place: LogPlace::default(),
            is_new_log: false,
            last: 0,
            marks: Marks::new(),
        };
        self.owned.insert(partition.clone(), owned);
        self.read_marks_of(&partition.0).map(|_| ())
    }

    /// Says how many partitions a topic has.
    pub fn set_partition_count(&mut self, topic: &Arc<str>, count: i32) {
        self.partition_counts.insert(Arc::clone(topic), count);
    }

    /// Topics of the records that wait to be committed.
    pub fn touched_topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.owned_before.keys().map(|(topic, _)| topic)
    }

    /// Whether a record waits to be committed.
    pub fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Whether as much waits to be committed as one transaction should do.
    pub fn is_full(&self) -> bool {
        self.records.len() >= self.settings.batch_records
            || self.bytes >= self.settings.batch_bytes
            || self.batch.table_count() >= TABLES_MAX
    }

    /// Position of the record that was last told to wait.
    pub fn waits_at(&self) -> Position {
        self.waits_at
    }

    /// Something waits to be committed.
    pub fn has_pending(&self) -> bool {
        !self.records.is_empty()
            || !self.state.is_empty()
            || !self.read_whole.is_empty()
            || self.marks_only
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
        match taken {
            Pushed::Taken => {
                self.bytes += record.bytes();
                self.records.push(record);
            }
            Pushed::CommitFirst => self.kept = Some(record),
            Pushed::Waits => {}
        }
        Ok(taken)
    }

    /// The record that was last told to be pushed again after a commit.
    pub fn take_back(&mut self) -> Option<Record> {
        self.kept.take()
    }

    fn take(&mut self, record: &Record, force: bool) -> Result<Pushed, ApplyError> {
        let partition = (Arc::clone(&record.topic), record.partition);
        let owned = self.owned.get(&partition);
        let next_offset = owned.map_or(0, |owned| owned.next_offset);
        if owned.is_some_and(|owned| owned.fence != NO_OFFSETS) && record.offset < next_offset {
            return Ok(Pushed::Taken);
        }
        let result = match self.is_parked(record)? {
            true => Err(TableProblem::Record(RecordProblem::new(
                "an earlier record of its key waits here",
            ))),
            false => self.interpret(record, &partition, force),
        };
        match result {
            Ok(Pushed::Taken) => {}
            Ok(later) | Err(TableProblem::Later(later)) => return Ok(later),
            Err(TableProblem::Halt(error)) => return Err(error),
            Err(TableProblem::Record(problem)) => self.bad(record, problem)?,
        }
        self.remember(&partition);
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.next_offset = record.offset + 1;
            owned.last = self.records.len();
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

    /// Whether an earlier record of its key waits among the dead letters. A replay may have taken
    /// it from there meanwhile, so that the warehouse is asked, once in a batch.
    fn is_parked(&mut self, record: &Record) -> Result<bool, ApplyError> {
        let Some(key) = &record.key else { return Ok(false) };
        if self.parked.is_empty() || self.settings.tolerance != ErrorsTolerance::All {
            return Ok(false);
        }
        let key = (record.topic.to_string(), key.to_vec());
        if !self.parked_asked && self.parked.contains(&key) {
            self.parked = self.warehouse.parked_keys()?.into_iter().collect();
            self.parked.extend(self.parked_here.iter().cloned());
            self.parked_asked = true;
        }
        Ok(self.parked.contains(&key))
    }

    fn bad(&mut self, record: &Record, problem: RecordProblem) -> Result<(), ApplyError> {
        if self.settings.tolerance == ErrorsTolerance::None {
            return Err(ApplyError::Record { place: record.to_string(), reason: problem.0 });
        }
        tracing::warn!(record = %record, reason = problem.0, "a bad record is put aside");
        if let Some(key) = &record.key {
            let key = (record.topic.to_string(), key.to_vec());
            if self.parked.insert(key.clone()) {
                self.parked_here.push(key);
            }
        }
        let owned = self.owned.get(&(Arc::clone(&record.topic), record.partition));
        let partition = match record.position() {
            Ok(Some(position)) if owned.is_some_and(|owned| owned.fence == NO_OFFSETS) => {
                place_without_kafka(position).0
            }
            _ => record.partition,
        };
        self.dead_letters.push(DeadLetter {
            topic: record.topic.to_string(),
            partition,
            offset: record.offset,
            reason: problem.0,
            key: record.key.as_ref().map(|key| key.to_vec()),
            value: record.value.as_ref().map(|value| value.to_vec()),
            headers: record.headers_json(),
        });
        self.done.dead_letters += 1;
        Ok(())
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
}

/// Tables in one transaction: a server has room for so many locks, and not for many times as many.
const TABLES_MAX: usize = 200;

/// A fence of partitions that have no offsets.
const NO_OFFSETS: i64 = -1;

/// A change event and where it belongs.
struct Event<'a> {
    record: &'a Record,
    envelope: &'a Envelope<'a>,
    table: &'a TableName,
    position: Position,
    partition: &'a Partition,
    /// What is found of a record that a stock Debezium has written.
    stock: Option<Stock>,
}

impl Event<'_> {
    /// Where the source's columns were as the record has them. A snapshot's row has a position
    /// below every change, and the columns of the moment at which the snapshot was taken.
    fn seen_at(&self) -> Position {
        let lsn = self.envelope.source.lsn.unwrap_or_default();
        let is_snapshot = self.envelope.operation == Operation::Read;
        if !is_snapshot || self.position.commit_lsn != Lsn::ZERO || lsn == 0 {
            return self.position;
        }
        // Commits that begin at the snapshot's own LSN are not in it.
        let before = Lsn(lsn - 1);
        Position { commit_lsn: before, ord: u64::MAX, sub: 1, ..self.position }
    }
}

fn empty_target(table: &TableName) -> Target {
    Target::new(tables::table_id(table), table.clone(), "")
}

/// Whether a topic may be one of the agent's own, by its name: so may a table's be.
pub(in crate::apply) fn may_be_internal(topic: &str) -> bool {
    let last = topic.rsplit('.').next().unwrap_or_default();
    matches!(last, "__state" | "__schemas" | "__applied")
}
