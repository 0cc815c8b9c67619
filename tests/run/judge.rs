//! What the topics hold, judged: nothing lost, nothing torn, nothing promised too early.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use cdc_testkit::compare;
use cdc_testkit::fold::Counts;
use cdc_testkit::fold::Fold;
use cdc_testkit::fold::Folder;
use cdc_testkit::fold::Position;
use cdc_testkit::fold::canonical;
use cdc_testkit::fold::is_unavailable;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics;
use cdc_testkit::topics::Isolation;
use cdc_testkit::topics::TopicRecord;
use serde_json::Map;
use serde_json::Value;

/// How many faults are shown.
const SHOWN: usize = 20;

/// Columns of the shop whose values are stored out of line, so that a change of key leaves them out.
const OUT_OF_LINE: [(&str, &str); 4] = [
    ("shop.documents", "body"),
    ("shop.documents", "image"),
    ("shop.documents", "meta"),
    ("shop.documents", "words"),
];

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
    /// Second halves of key changes that were completed otherwise when they came again.
    pub(crate) completed_again: u64,
}

impl Verdict {
    /// No record is at fault, redeliveries say the same but for what [`Judge::check_completed`]
    /// allows, nothing came too late, and every table is as in the source.
    #[track_caller]
    pub(crate) fn assert_sound_and_equal(
        &self,
        postgres: &Postgres,
        database: &str,
        tables: &[&str],
    ) {
        let comparison = compare::compare(&mut postgres.client(database), tables, &self.fold);
        let faults = self.faults.join("\n  ");
        let differing = self.fold.counts.differing_duplicates - self.completed_again;
        let counts = Counts { differing_duplicates: differing, ..self.fold.counts };
        assert!(
            self.fault_count == 0 && counts.is_sound() && comparison.is_equal(),
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
            "{} records: {} reads, {} changes, {} redelivered ({} completed otherwise), {} \
             tombstones; epoch {}",
            counts.records,
            counts.reads,
            counts.changes,
            counts.duplicates,
            self.completed_again,
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
    judge.check_completed(prefix, &state);
    if !judge.completions.is_empty() {
        topics::for_each(&bootstrap, &tables, Isolation::Uncommitted, |record| {
            judge.look_for_completions(&record);
        });
        judge.check_completions_were_found();
    }
    judge.finish()
}

#[derive(Debug, Default)]
struct Judge {
    folder: Folder,
    /// Time at which each fingerprint was published first.
    schemas: HashMap<String, i64>,
    /// What each position said, by topic and whether it is a tombstone.
    said: HashMap<(String, Position, bool), Said>,
    /// Second halves of key changes, as they came first.
    arrivals: HashMap<(String, Position), Arrival>,
    /// Those that came again with another row.
    differing: Vec<Differing>,
    /// Values that such records were completed with, until they are found elsewhere.
    completions: HashMap<Completion, String>,
    completed_again: u64,
    /// Highest position of a read in each partition.
    reads: HashMap<(String, i32), Position>,
    /// Commit position of every change, and when it was appended first.
    appended: Vec<(u64, i64)>,
    /// Last append of a read and first append of a change, by epoch and topic.
    epochs: BTreeMap<(u64, String), (i64, i64)>,
    faults: Vec<String>,
    fault_count: u64,
}

/// The second half of a change of key: all but its row, and its row.
#[derive(Debug, Clone)]
struct Arrival {
    frame: u64,
    partition: i32,
    row: Map<String, Value>,
}

/// A second half of a change of key whose row came again with other values.
#[derive(Debug)]
struct Differing {
    /// Where the later one lies.
    place: String,
    time: i64,
    topic: String,
    position: Position,
    /// Both rows' values where they differ.
    columns: Vec<(String, Value, Value)>,
}

/// A value of a column that is claimed to be some row's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Completion {
    topic: String,
    column: String,
    value: u64,
}

/// One delivery of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    digest: u64,
    partition: i32,
}

impl Judge {
    fn fault(&mut self, record: &TopicRecord, what: impl fmt::Display) {
        let TopicRecord { topic, partition, offset, .. } = record;
        self.fault_at(&format!("{topic}/{partition} at {offset}"), what);
    }

    fn fault_at(&mut self, place: &str, what: impl fmt::Display) {
        self.fault_count += 1;
        if self.faults.len() < SHOWN {
            self.faults.push(format!("{place}: {what}"));
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
        if record.header("__debezium.oldkey").is_some() {
            return self.take_arrival(record, position, time);
        }
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

    /// The second half of a change of key says the same at every delivery, but its row may differ
    /// in what [`Judge::check_completed`] looks at.
    fn take_arrival(&mut self, record: &TopicRecord, position: Position, time: i64) {
        let (frame, row) = arrival(record);
        let Some(row) = row else { return self.fault(record, "a new key without a row") };
        let Some(first) = self.arrivals.get(&(record.topic.clone(), position)) else {
            let arrival = Arrival { frame, partition: record.partition, row };
            self.arrivals.insert((record.topic.clone(), position), arrival);
            self.appended.push((position.commit_lsn, time));
            return;
        };
        let same_columns = first.row.keys().eq(row.keys());
        if first.frame != frame || first.partition != record.partition || !same_columns {
            return self.fault(record, "this position said something else before");
        }
        let columns: Vec<(String, Value, Value)> = first
            .row
            .iter()
            .zip(&row)
            .filter(|((_, before), (_, after))| canonical(before) != canonical(after))
            .map(|((name, before), (_, after))| (name.clone(), before.clone(), after.clone()))
            .collect();
        if !columns.is_empty() {
            let TopicRecord { topic, partition, offset, .. } = record;
            self.differing.push(Differing {
                place: format!("{topic}/{partition} at {offset}"),
                time,
                topic: topic.clone(),
                position,
                columns,
            });
        }
    }

    /// A change of key that an interrupted read has overtaken is completed from the snapshot of its
    /// session, and after a crash from a later one: where it may be so, only in values that are
    /// stored out of line, and only with values that some row has had.
    fn check_completed(&mut self, prefix: &str, state: &[TopicRecord]) {
        let windows: Vec<(String, u64, i64)> =
            state.iter().filter_map(|record| window(prefix, record)).collect();
        for differing in std::mem::take(&mut self.differing) {
            let Differing { place, time, topic, position, columns } = differing;
            let overtaken = windows.iter().any(|(of, until, since)| {
                *of == topic && position.commit_lsn < *until && *since <= time
            });
            if !overtaken {
                self.fault_at(
                    &place,
                    "this position said something else before, and no read has overtaken it",
                );
                continue;
            }
            self.completed_again += 1;
            for (column, before, after) in columns {
                if !OUT_OF_LINE.contains(&(topic_table(prefix, &topic), column.as_str())) {
                    self.fault_at(
                        &place,
                        format!("{column} differs, and is not stored out of line"),
                    );
                }
                for value in [before, after].iter().filter(|value| !is_unavailable(value)) {
                    let completion = Completion {
                        topic: topic.clone(),
                        column: column.clone(),
                        value: hash(value),
                    };
                    self.completions.entry(completion).or_insert_with(|| place.clone());
                }
            }
        }
    }

    /// Values of records that are not completed from a snapshot are some row's.
    fn look_for_completions(&mut self, record: &TopicRecord) {
        if record.header("__debezium.oldkey").is_some() {
            return;
        }
        let value = record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        let value: Value = value.unwrap_or(Value::Null);
        for (column, value) in value["after"].as_object().into_iter().flatten() {
            let topic = record.topic.clone();
            self.completions.remove(&Completion {
                topic,
                column: column.clone(),
                value: hash(value),
            });
        }
    }

    fn check_completions_were_found(&mut self) {
        for (completion, place) in std::mem::take(&mut self.completions) {
            let Completion { column, .. } = completion;
            self.fault_at(&place, format!("{column} was completed with a value of no row"));
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
        let timelines = timelines(state);
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
            let mut latest = before.checked_sub(1).map_or(i64::MIN, |at| by_position[at].1);
            // Another timeline has other changes at these positions.
            let timeline = value["timeline"].as_u64().unwrap_or(u64::MAX);
            let next = timelines.range(timeline.saturating_add(1)..).next();
            if let Some((_, end)) = next {
                let of_this = |(commit, at): &&(u64, i64)| *commit < lsn && at < end;
                let times = self.appended.iter().filter(of_this).map(|(_, at)| *at);
                latest = times.max().unwrap_or(i64::MIN);
            }
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
        let Self { folder, faults, fault_count, completed_again, .. } = self;
        Verdict { fold: folder.finish(), epoch, faults, fault_count, completed_again }
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

/// Of a second half of a change of key: all but its row, and its row.
fn arrival(record: &TopicRecord) -> (u64, Option<Map<String, Value>>) {
    let mut hasher = DefaultHasher::new();
    record.key.hash(&mut hasher);
    for name in ["__debezium.newkey", "__debezium.oldkey"] {
        record.header(name).hash(&mut hasher);
    }
    let value = record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
    let mut value: Value = value.unwrap_or(Value::Null);
    for member in ["op", "before"] {
        canonical(&value[member]).hash(&mut hasher);
    }
    match value["after"].take() {
        Value::Object(row) => (hasher.finish(), Some(row)),
        _ => (hasher.finish(), None),
    }
}

/// From a table's state: its topic, until where its changes were overtaken, and since when.
fn window(prefix: &str, record: &TopicRecord) -> Option<(String, u64, i64)> {
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    let key: Value = serde_json::from_slice(record.key.as_deref()?).ok()?;
    let until = lsn(value["overtaken_until"].as_str()?);
    let (namespace, table) = (key["schema"].as_str()?, key["table"].as_str()?);
    Some((format!("{prefix}.{namespace}.{table}"), until, record.timestamp?))
}

/// `namespace.table` of a topic.
fn topic_table<'a>(prefix: &str, topic: &'a str) -> &'a str {
    topic.strip_prefix(prefix).and_then(|table| table.strip_prefix('.')).unwrap_or(topic)
}

/// When each timeline was first stored.
fn timelines(state: &[TopicRecord]) -> BTreeMap<u64, i64> {
    let mut begun = BTreeMap::new();
    for record in state {
        let value = record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        let value: Value = value.unwrap_or(Value::Null);
        if let Some(timeline) = value["timeline"].as_u64().filter(|timeline| *timeline > 0) {
            begun.entry(timeline).or_insert(record.timestamp.unwrap_or(0));
        }
    }
    begun
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    canonical(value).hash(&mut hasher);
    hasher.finish()
}

/// `16/B374D848` as bytes.
pub(crate) fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap_or(("0", text));
    let part = |digits| u64::from_str_radix(digits, 16).unwrap_or(u64::MAX);
    part(high) << 32 | part(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second half of a change of key at commit 50, in the topic of documents.
    fn arrival(offset: i64, time: i64, title: &str, body: &str) -> TopicRecord {
        let row = serde_json::json!({"id": 7, "title": title, "body": body});
        let source = serde_json::json!({"schema": "shop", "table": "documents"});
        let value = serde_json::json!({"op": "c", "before": null, "after": row, "source": source});
        let headers = [("cdc.position", "1:50:0:1"), ("__debezium.oldkey", "{\"id\":3}")];
        TopicRecord {
            topic: "p.shop.documents".to_owned(),
            partition: 0,
            offset,
            key: Some(b"{\"id\":7}".to_vec()),
            value: Some(value.to_string().into_bytes()),
            headers: headers.map(|(name, value)| (name.to_owned(), value.into())).to_vec(),
            timestamp: Some(time),
        }
    }

    fn judged(second: (&str, &str), overtaken_until: &str, known: &str) -> (u64, Vec<String>) {
        let mut judge = Judge::default();
        judge.take_arrival(&arrival(0, 10, "t", "first"), "1:50:0:1".parse().unwrap(), 10);
        let again = arrival(1, 30, second.0, second.1);
        judge.take_arrival(&again, "1:50:0:1".parse().unwrap(), 30);
        let mut state = arrival(0, 20, "", "");
        state.key = Some(br#"{"slot":"s","schema":"shop","table":"documents"}"#.to_vec());
        state.value = Some(format!("{{\"overtaken_until\":\"{overtaken_until}\"}}").into_bytes());
        judge.check_completed("p", &[state]);
        for body in ["first", known] {
            let mut other = arrival(2, 40, "t", body);
            other.headers.clear();
            judge.look_for_completions(&other);
        }
        judge.check_completions_were_found();
        (judge.completed_again, judge.faults)
    }

    #[test]
    fn only_what_a_read_has_overtaken_may_be_completed_otherwise() {
        let placeholder = cdc_testkit::fold::UNAVAILABLE;
        assert_eq!(judged(("t", "later"), "0/33", "later"), (1, vec![]));
        assert_eq!(judged(("t", placeholder), "0/33", ""), (1, vec![]));
        assert_eq!(judged(("t", "first"), "0/0", ""), (0, vec![]), "nothing differs");
        // Beyond the window, in a column that is never left out, and with a value of nobody.
        assert_eq!(judged(("t", "later"), "0/32", "later").1.len(), 1);
        assert!(!judged(("other", "first"), "0/33", "").1.is_empty());
        assert_eq!(judged(("t", "made up"), "0/33", "later").1.len(), 1);
    }
}
