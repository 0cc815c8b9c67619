//! Records, and what is replaced in ours before they are compared.
//!
//! Whatever differs from run to run is replaced as the recorder of the cases did it: positions,
//! transactions and moments by their ranks, wall clocks by a word. See
//! `proto-fixtures/debezium/README.md`.

use std::collections::BTreeSet;

use super::json::Json;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Topic.
    pub topic: String,
    /// Key.
    pub key: Json,
    /// Value.
    pub value: Json,
    /// Names and values, in order.
    pub headers: Vec<(String, Json)>,
}

impl Record {
    /// From one line.
    pub fn parse(line: &str) -> Self {
        let record = Json::parse(line).unwrap_or_else(|error| panic!("{error}"));
        let member =
            |name: &str| record.get(name).cloned().unwrap_or_else(|| panic!("no {name} in {line}"));
        let text =
            |json: &Json| json.text().unwrap_or_else(|| panic!("{json} is no text")).to_owned();
        Record {
            topic: text(&member("topic")),
            key: member("key"),
            value: member("value"),
            headers: member("headers")
                .items()
                .iter()
                .map(|pair| (text(&pair.items()[0]), pair.items()[1].clone()))
                .collect(),
        }
    }

    /// The value, or what its schema stands beside.
    pub fn payload(&self) -> &Json {
        payload(&self.value)
    }

    fn source(&self) -> Option<&Json> {
        self.payload().get("source")
    }
}

/// Whether this is a value with its schema beside it.
pub fn is_wrapped(json: &Json) -> bool {
    matches!(json, Json::Object(members)
        if members.len() == 2 && members[0].0 == "schema" && members[1].0 == "payload")
}

/// A key or a value without the schema around it.
pub fn payload(json: &Json) -> &Json {
    match json {
        Json::Object(members) if is_wrapped(json) => &members[1].1,
        value => value,
    }
}

fn payload_mut(json: &mut Json) -> &mut Json {
    if is_wrapped(json) {
        return json.get_mut("payload").expect("it is wrapped");
    }
    json
}

/// Whether a record of the transaction topic is the end of a transaction.
fn record_end(value: &Json) -> bool {
    payload(value).get("status").and_then(Json::text) == Some("END")
}

/// Debezium gives them in the order of a Java map.
fn sort_collections(payload: &mut Json) {
    if let Some(Json::Array(collections)) = payload.get_mut("data_collections") {
        for name in collections.iter_mut().filter_map(|item| item.get_mut("data_collection")) {
            if let Some((object, _)) = name.text().and_then(|text| text.split_once("Id@")) {
                *name = Json::string(format!("{object}Id@hash"));
            }
        }
        collections.sort_by_key(ToString::to_string);
    }
}

/// Takes from our records what Debezium has nothing of, and puts the recorder's tokens where values
/// differ from run to run.
pub fn normalised(records: Vec<Record>) -> Vec<Record> {
    let mut records: Vec<Record> =
        records.into_iter().filter(|record| !record.topic.starts_with("P.__")).collect();
    let ranks = Ranks::of(&records);
    for record in &mut records {
        record.headers.retain(|(name, _)| name != "cdc.position" && name != "cdc.schema");
        for (name, value) in &mut record.headers {
            let is_run = name == "__debezium.context.runId";
            if is_run && value.text().is_some_and(is_uuid) {
                *value = Json::string("run");
            }
        }
        let heartbeat = payload(&record.key).get("serverName").is_some();
        let transaction = record.payload().get("data_collections").is_some();
        if transaction {
            ranks.transaction_id(payload_mut(&mut record.key), record_end(&record.value));
        }
        let end = record_end(&record.value);
        let notification = record.payload().get("additional_data").is_some();
        if notification {
            replace_text(payload_mut(&mut record.key), "id", is_uuid, "uuid");
        }
        let payload = payload_mut(&mut record.value);
        if notification {
            replace_text(payload, "id", is_uuid, "uuid");
            if let Some(timestamp) = payload.get_mut("timestamp") {
                *timestamp = Json::string("now");
            }
            if let Some(Json::Object(members)) = payload.get_mut("additional_data") {
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
            }
        } else if heartbeat {
            replace_clock(payload, "now");
        } else if transaction {
            replace_clock(payload, "time");
            ranks.transaction_id(payload, end);
            sort_collections(payload);
        } else if let Some(source) = payload.get("source") {
            let lsn = source.get("lsn").cloned();
            replace_clock(payload, "now");
            ranks.transaction_block(payload, lsn.as_ref());
            if let Some(source) = payload.get_mut("source") {
                ranks.source(source);
            }
        }
    }
    records
}

/// What is ranked, each by size.
#[derive(Debug, Default)]
struct Ranks {
    lsns: BTreeSet<i128>,
    commits: BTreeSet<i128>,
    transactions: BTreeSet<i128>,
    times: BTreeSet<i128>,
}

impl Ranks {
    fn of(records: &[Record]) -> Self {
        let mut ranks = Ranks::default();
        for source in records.iter().filter_map(Record::source) {
            let number = |name: &str| source.get(name).and_then(Json::integer);
            ranks.lsns.extend(number("lsn"));
            ranks.transactions.extend(number("txId"));
            ranks.times.extend(number("ts_us"));
            if let Some((Some(commit), _)) = sequence(source) {
                ranks.commits.insert(commit);
            }
        }
        ranks
    }

    fn source(&self, source: &mut Json) {
        let number = |name: &str| source.get(name).and_then(Json::integer);
        let micros = number("ts_us");
        let one_moment = micros.is_some_and(|micros| {
            number("ts_ms") == Some(micros.div_euclid(1000))
                && number("ts_ns") == Some(micros * 1000)
        });
        let sequence = sequence(source);
        for (name, ranked, word) in [("lsn", &self.lsns, "lsn"), ("txId", &self.transactions, "tx")]
        {
            if let Some(member) = source.get_mut(name) {
                replace(member, ranked, word);
            }
        }
        if let (true, Some(micros)) = (one_moment, micros) {
            let token = token(&self.times, micros, "time");
            for name in ["ts_ms", "ts_us", "ts_ns"] {
                if let Some(member) = source.get_mut(name) {
                    *member = Json::string(token.clone());
                }
            }
        }
        if let (Some((commit, lsn)), Some(member)) = (sequence, source.get_mut("sequence")) {
            let commit = match commit {
                Some(commit) => format!("\"{}\"", token(&self.commits, commit, "commit")),
                None => "null".to_owned(),
            };
            *member = Json::string(format!("[{commit},\"{}\"]", token(&self.lsns, lsn, "lsn")));
        }
    }

    /// `transaction.id` of an event: the transaction and the event's own position.
    fn transaction_block(&self, payload: &mut Json, lsn: Option<&Json>) {
        let Some(id) = payload.get_mut("transaction").and_then(|block| block.get_mut("id")) else {
            return;
        };
        let Some((xid, at)) = id.text().and_then(|text| text.split_once(':')) else { return };
        let (Ok(xid), Ok(at)) = (xid.parse(), at.parse()) else { return };
        if lsn.and_then(Json::integer) == Some(at) {
            let (xid, at) = (token(&self.transactions, xid, "tx"), token(&self.lsns, at, "lsn"));
            *id = Json::string(format!("{xid}:{at}"));
        }
    }

    /// The id of a key or a value of the transaction topic.
    fn transaction_id(&self, payload: &mut Json, end: bool) {
        let Some(id) = payload.get_mut("id") else { return };
        let Some((xid, at)) = id.text().and_then(|text| text.split_once(':')) else { return };
        let (Ok(xid), Ok(at)) = (xid.parse(), at.parse()) else { return };
        let xid = token(&self.transactions, xid, "tx");
        let at = if end { "end".to_owned() } else { token(&self.lsns, at, "lsn") };
        *id = Json::string(format!("{xid}:{at}"));
    }
}

/// Both halves of `source.sequence`.
fn sequence(source: &Json) -> Option<(Option<i128>, i128)> {
    let text = source.get("sequence")?.text()?;
    let halves = Json::parse(text).ok()?;
    let [commit, lsn] = halves.items() else { return None };
    let commit = match commit {
        Json::Null => None,
        other => Some(other.text()?.parse().ok()?),
    };
    Some((commit, lsn.text()?.parse().ok()?))
}

fn token(ranked: &BTreeSet<i128>, number: i128, word: &str) -> String {
    match ranked.iter().position(|known| *known == number) {
        Some(place) => format!("{word}#{}", place + 1),
        None => format!("{word}#{number}?"),
    }
}

fn replace(member: &mut Json, ranked: &BTreeSet<i128>, word: &str) {
    if let Some(number) = member.integer() {
        *member = Json::string(token(ranked, number, word));
    }
}

/// A member that is a text of a kind, by a word.
fn replace_text(payload: &mut Json, name: &str, is_of_kind: fn(&str) -> bool, word: &str) {
    if let Some(member) = payload.get_mut(name)
        && member.text().is_some_and(is_of_kind)
    {
        *member = Json::string(word);
    }
}

/// The clock of the moment at which a record was made, if its members agree with each other.
fn replace_clock(payload: &mut Json, word: &str) {
    let number = |payload: &Json, name: &str| payload.get(name).and_then(Json::integer);
    let millis = number(payload, "ts_ms");
    let agrees = |name: &str, per_milli: i128| match number(payload, name) {
        Some(number) => Some(number.div_euclid(per_milli)) == millis,
        None => payload.get(name).is_none(),
    };
    if millis.is_none() || !agrees("ts_us", 1_000) || !agrees("ts_ns", 1_000_000) {
        return;
    }
    for name in ["ts_ms", "ts_us", "ts_ns"] {
        if let Some(member) = payload.get_mut(name) {
            *member = Json::string(word);
        }
    }
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
