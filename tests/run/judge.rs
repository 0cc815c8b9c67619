//! What the topics hold, judged: nothing lost, nothing torn, nothing promised too early.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use cdc_testkit::compare;
use cdc_testkit::fold::Fold;
use cdc_testkit::fold::Folder;
use cdc_testkit::fold::Position;
use cdc_testkit::fold::canonical;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics;
use cdc_testkit::topics::Isolation;
use cdc_testkit::topics::TopicRecord;
use serde_json::Value;

/// How many faults are shown.
const SHOWN: usize = 20;

/// What reading all topics of a prefix gave.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The tables.
    pub(crate) fold: Fold,
    /// Highest epoch of any record.
    pub(crate) epoch: u64,
    /// What is wrong with single records, the first ones.
    pub(crate) faults: Vec<String>,
    /// How many are wrong.
    pub(crate) fault_count: u64,
}

impl Verdict {
    /// No record is at fault, redeliveries say the same, nothing came too late, and every table is
    /// as in the source.
    #[track_caller]
    pub(crate) fn assert_sound_and_equal(
        &self,
        postgres: &Postgres,
        database: &str,
        tables: &[&str],
    ) {
        let comparison = compare::compare(&mut postgres.client(database), tables, &self.fold);
        let faults = self.faults.join("\n  ");
        assert!(
            self.fault_count == 0 && self.fold.counts.is_sound() && comparison.is_equal(),
            "{} faults of records\n  {faults}\n{:?}\n{comparison}",
            self.fault_count,
            self.fold.counts
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.fold.counts;
        write!(
            formatter,
            "{} records: {} reads, {} changes, {} redelivered, {} tombstones; epoch {}",
            counts.records,
            counts.reads,
            counts.changes,
            counts.duplicates,
            counts.tombstones,
            self.epoch
        )
    }
}

/// Reads every topic of a prefix. The broker has to stamp records with the time of their append.
pub(crate) fn judge(kafka: &Kafka, prefix: &str) -> Verdict {
    let bootstrap = kafka.bootstrap();
    let mut judge = Judge::default();
    let quoted = prefix.replace('.', "\\.");
    for record in topics::read_all(&bootstrap, &format!("{quoted}\\.__schemas")) {
        judge.take_schema(&record);
    }
    let state = topics::read_all(&bootstrap, &format!("{quoted}\\.__state"));
    let tables = format!("{quoted}\\.[^_].*");
    topics::for_each(&bootstrap, &tables, Isolation::Uncommitted, |record| judge.take(&record));
    judge.check_state(prefix, &state);
    judge.finish()
}

#[derive(Debug, Default)]
struct Judge {
    folder: Folder,
    /// Time at which each fingerprint was published first.
    schemas: HashMap<String, i64>,
    /// What each position said, by topic and whether it is a tombstone.
    said: HashMap<(String, Position, bool), Said>,
    /// Highest position of a read in each partition.
    reads: HashMap<(String, i32), Position>,
    /// Commit position of every change, and when it was appended first.
    appended: Vec<(u64, i64)>,
    /// Last append of a read and first append of a change, by epoch and topic.
    epochs: BTreeMap<(u64, String), (i64, i64)>,
    faults: Vec<String>,
    fault_count: u64,
}

/// One delivery of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    digest: u64,
    partition: i32,
}

impl Judge {
    fn fault(&mut self, record: &TopicRecord, what: impl fmt::Display) {
        self.fault_count += 1;
        if self.faults.len() < SHOWN {
            let TopicRecord { topic, partition, offset, .. } = record;
            self.faults.push(format!("{topic}/{partition} at {offset}: {what}"));
        }
    }

    fn take_schema(&mut self, record: &TopicRecord) {
        let key: Value = serde_json::from_slice(record.key.as_deref().unwrap_or_default())
            .unwrap_or(Value::Null);
        match key["fingerprint"].as_str() {
            Some(fingerprint) => {
                let time = record.timestamp.unwrap_or(i64::MAX);
                let first = self.schemas.entry(fingerprint.to_owned()).or_insert(time);
                *first = time.min(*first);
            }
            None => self.fault(record, "a key without a fingerprint"),
        }
    }

    fn take(&mut self, record: &TopicRecord) {
        self.folder.push(record);
        let position = record.header("cdc.position").map(str::parse::<Position>);
        let position = match position {
            Some(Ok(position)) => position,
            Some(Err(error)) => return self.fault(record, error),
            None => return self.fault(record, "no cdc.position"),
        };
        let time = record.timestamp.unwrap_or(0);
        match record.header("cdc.schema").map(|name| self.schemas.get(name).copied()) {
            Some(Some(published)) if published <= time => {}
            Some(Some(_)) => self.fault(record, "its cdc.schema was published later"),
            Some(None) => self.fault(record, "its cdc.schema was never published"),
            None => self.fault(record, "no cdc.schema"),
        }
        let epoch = (position.epoch, record.topic.clone());
        let (reads, changes) = self.epochs.entry(epoch).or_insert((0, i64::MAX));
        if position.commit_lsn == 0 {
            *reads = time.max(*reads);
            self.take_read(record, position);
        } else {
            *changes = time.min(*changes);
            self.take_change(record, position, time);
        }
    }

    /// Positions of reads rise in every partition, also over the agent's starts.
    fn take_read(&mut self, record: &TopicRecord, position: Position) {
        let place = (record.topic.clone(), record.partition);
        match self.reads.insert(place, position) {
            Some(before) if before >= position => {
                self.fault(record, format!("a read at {position:?} after one at {before:?}"));
            }
            _ => {}
        }
    }

    fn take_change(&mut self, record: &TopicRecord, position: Position, time: i64) {
        let said = Said { digest: digest(record), partition: record.partition };
        let key = (record.topic.clone(), position, record.value.is_none());
        match self.said.get(&key) {
            None => {
                self.said.insert(key, said);
                self.appended.push((position.commit_lsn, time));
            }
            Some(first) if *first == said => {}
            Some(_) => self.fault(record, "this position said something else before"),
        }
    }

    /// A stored position never passes a change that was not in its topic by then, and reading is
    /// complete only when every read is.
    fn check_state(&mut self, prefix: &str, state: &[TopicRecord]) {
        self.appended.sort_unstable();
        let mut latest = i64::MIN;
        let by_position: Vec<(u64, i64)> = self
            .appended
            .iter()
            .map(|(lsn, time)| {
                latest = latest.max(*time);
                (*lsn, latest)
            })
            .collect();
        for record in state {
            let value =
                record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
            let value: Value = value.unwrap_or(Value::Null);
            let time = record.timestamp.unwrap_or(0);
            if let Some(epoch) = value["epoch_complete"].as_u64() {
                self.check_complete(prefix, record, epoch, time);
            }
            let Some(lsn) = value["lsn"].as_str().map(lsn) else { continue };
            let before = by_position.partition_point(|(commit, _)| *commit < lsn);
            let latest = before.checked_sub(1).map_or(i64::MIN, |at| by_position[at].1);
            if latest > time {
                let late = latest - time;
                self.fault(
                    record,
                    format!("stored {lsn}, and a change before it came {late} ms later"),
                );
            }
        }
    }

    fn check_complete(&mut self, prefix: &str, record: &TopicRecord, epoch: u64, time: i64) {
        let key = record.key.as_deref().and_then(|key| serde_json::from_slice(key).ok());
        let key: Value = key.unwrap_or(Value::Null);
        let name = |member: &str| key[member].as_str().unwrap_or_default().to_owned();
        let topic = format!("{prefix}.{}.{}", name("schema"), name("table"));
        let Some((reads, changes)) = self.epochs.get(&(epoch, topic)).copied() else { return };
        if reads > time {
            self.fault(record, format!("complete, and a read came {} ms later", reads - time));
        }
        if changes < reads {
            self.fault(
                record,
                format!("a change came {} ms before the last read", reads - changes),
            );
        }
    }

    fn finish(self) -> Verdict {
        let epoch = self.epochs.keys().next_back().map_or(0, |(epoch, _)| *epoch);
        let Self { folder, faults, fault_count, .. } = self;
        Verdict { fold: folder.finish(), epoch, faults, fault_count }
    }
}

/// Of what is the same at every delivery: key, operation, both rows, and the other half's key.
fn digest(record: &TopicRecord) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.key.hash(&mut hasher);
    for name in ["__debezium.newkey", "__debezium.oldkey"] {
        record.header(name).hash(&mut hasher);
    }
    if let Some(value) = &record.value {
        let value: Value = serde_json::from_slice(value).unwrap_or(Value::Null);
        for member in ["op", "before", "after"] {
            canonical(&value[member]).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// `16/B374D848` as bytes.
pub(crate) fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap_or(("0", text));
    let part = |digits| u64::from_str_radix(digits, 16).unwrap_or(u64::MAX);
    part(high) << 32 | part(low)
}
