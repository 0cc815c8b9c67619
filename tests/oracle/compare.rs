//! Records against records, member by member and in order.

use std::collections::BTreeSet;
use std::fmt;

use super::json::Json;
use super::records::Record;
use super::records::is_wrapped;
use super::records::payload;

/// One place at which two sets of records differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Topic, place in it from 0, and the path of the member: `P.public.t[2].value.after.v`; what
    /// belongs to a schema, `P.public.t[2].value schema.fields[0].default`.
    pub place: String,
    /// What Debezium wrote there.
    pub debezium: String,
    /// What we wrote.
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}\n      Debezium: {}\n      ours:     {}",
            self.place, self.debezium, self.ours
        )
    }
}

/// What stands where there is nothing.
const NOTHING: &str = "nothing";

/// Every difference between two sets of records; order counts within each topic.
pub fn differences(debezium: &[Record], ours: &[Record]) -> Vec<Difference> {
    let topics: BTreeSet<&str> =
        debezium.iter().chain(ours).map(|record| record.topic.as_str()).collect();
    let mut all = Vec::new();
    for topic in topics {
        let of = |records: &'_ [Record]| -> Vec<Record> {
            records.iter().filter(|record| record.topic == topic).cloned().collect()
        };
        let (theirs, ours) = (of(debezium), of(ours));
        for at in 0..theirs.len().max(ours.len()) {
            let place = format!("{topic}[{at}]");
            match (theirs.get(at), ours.get(at)) {
                (Some(theirs), Some(ours)) => compare_records(&place, theirs, ours, &mut all),
                (theirs, ours) => all.push(Difference {
                    place,
                    debezium: theirs.map_or_else(|| NOTHING.to_owned(), summary),
                    ours: ours.map_or_else(|| NOTHING.to_owned(), summary),
                }),
            }
        }
    }
    all
}

/// A whole record on one line, without what is the same in all of its topic.
fn summary(record: &Record) -> String {
    let value = record.payload();
    let mut text = format!("key {}", payload(&record.key));
    if *value == Json::Null {
        return text + " value null";
    }
    for name in ["op", "before", "after", "message"] {
        if let Some(member) = value.get(name) {
            text += &format!(" {name} {member}");
        }
    }
    text
}

fn compare_records(place: &str, theirs: &Record, ours: &Record, all: &mut Vec<Difference>) {
    compare_wrapped(&format!("{place}.key"), &theirs.key, &ours.key, all);
    compare_wrapped(&format!("{place}.value"), &theirs.value, &ours.value, all);
    let headers = |record: &Record| {
        let pair = |(name, value): &(String, Json)| {
            Json::Array(vec![Json::String(name.clone()), value.clone()])
        };
        Json::Array(record.headers.iter().map(pair).collect())
    };
    compare(&format!("{place}.headers"), &headers(theirs), &headers(ours), all);
}

/// Schema and payload apart, if both have them.
fn compare_wrapped(place: &str, theirs: &Json, ours: &Json, all: &mut Vec<Difference>) {
    if !is_wrapped(theirs) || !is_wrapped(ours) {
        return compare(place, theirs, ours, all);
    }
    let schema = |json: &Json| json.get("schema").cloned().unwrap_or(Json::Null);
    compare(&format!("{place} schema"), &schema(theirs), &schema(ours), all);
    compare(place, payload(theirs), payload(ours), all);
}

fn compare(place: &str, theirs: &Json, ours: &Json, all: &mut Vec<Difference>) {
    if theirs == ours {
        return;
    }
    match (theirs, ours) {
        (Json::Object(theirs), Json::Object(ours)) => {
            compare_objects(place, theirs, ours, all);
        }
        (Json::Array(theirs), Json::Array(ours)) if theirs.len() == ours.len() => {
            for (at, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                compare(&format!("{place}[{at}]"), theirs, ours, all);
            }
        }
        (Json::Array(theirs), Json::Array(ours)) if has_fields(theirs) || has_fields(ours) => {
            compare_fields(place, theirs, ours, all);
        }
        _ => all.push(Difference {
            place: place.to_owned(),
            debezium: theirs.to_string(),
            ours: ours.to_string(),
        }),
    }
}

/// Whether these are the fields of a schema.
fn has_fields(items: &[Json]) -> bool {
    items.first().is_some_and(|item| item.get("field").is_some())
}

/// Fields of a schema of which there are not as many on both sides: by their names.
fn compare_fields(place: &str, theirs: &[Json], ours: &[Json], all: &mut Vec<Difference>) {
    let name = |field: &Json| field.get("field").and_then(Json::text).unwrap_or("?").to_owned();
    let by_name = |fields: &[Json]| -> Vec<(String, Json)> {
        fields.iter().map(|field| (name(field), field.clone())).collect()
    };
    compare_objects(place, &by_name(theirs), &by_name(ours), all);
}

type Members = [(String, Json)];

fn compare_objects(place: &str, theirs: &Members, ours: &Members, all: &mut Vec<Difference>) {
    let names = |members: &Members| -> Vec<String> {
        members.iter().map(|(name, _)| name.clone()).collect()
    };
    let (their_names, our_names) = (names(theirs), names(ours));
    if their_names == our_names {
        for ((name, theirs), (_, ours)) in theirs.iter().zip(ours) {
            compare(&format!("{place}.{name}"), theirs, ours, all);
        }
        return;
    }
    let find = |members: &Members, name: &str| {
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let all_names: BTreeSet<&String> = their_names.iter().chain(&our_names).collect();
    let before = all.len();
    for name in all_names {
        match (find(theirs, name), find(ours, name)) {
            (Some(theirs), Some(ours)) => {
                compare(&format!("{place}.{name}"), &theirs, &ours, all);
            }
            (theirs, ours) => all.push(Difference {
                place: format!("{place}.{name}"),
                debezium: theirs.map_or_else(|| NOTHING.to_owned(), |json| json.to_string()),
                ours: ours.map_or_else(|| NOTHING.to_owned(), |json| json.to_string()),
            }),
        }
    }
    if all.len() == before {
        all.push(Difference {
            place: format!("{place}: order of members"),
            debezium: their_names.join(" "),
            ours: our_names.join(" "),
        });
    }
}
