//! The fold, with records written by hand: what it must make of good streams, and what it must not
//! overlook in bad ones.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cdc_testkit::fold::Fold;
use cdc_testkit::fold::UNAVAILABLE;
use cdc_testkit::fold::fold;
use cdc_testkit::topics::TopicRecord;
use serde_json::Value;
use serde_json::json;

/// Builds the records of one topic in one partition, offsets rising.
struct Topic {
    records: Vec<TopicRecord>,
}

impl Topic {
    fn new() -> Self {
        Self { records: Vec::new() }
    }

    fn add(&mut self, position: &str, op: &str, key: Value, rows: (Value, Value)) -> &mut Self {
        let (before, after) = rows;
        let source = json!({"schema": "public", "table": "t"});
        let value = json!({"before": before, "after": after, "source": source, "op": op});
        self.push(position, key, Some(value.to_string()))
    }

    fn push(&mut self, position: &str, key: Value, value: Option<String>) -> &mut Self {
        self.records.push(TopicRecord {
            topic: "p.public.t".into(),
            partition: 0,
            offset: i64::try_from(self.records.len()).expect("few"),
            key: (!key.is_null()).then(|| key.to_string().into_bytes()),
            value: value.map(String::into_bytes),
            headers: vec![("cdc.position".into(), position.as_bytes().to_vec())],
            timestamp: None,
        });
        self
    }

    /// A header of the record added last.
    fn header(&mut self, name: &str, value: &Value) -> &mut Self {
        let last = self.records.last_mut().expect("a record");
        last.headers.push((name.into(), value.to_string().into_bytes()));
        self
    }

    fn partition(&mut self, partition: i32) -> &mut Self {
        self.records.last_mut().expect("a record").partition = partition;
        self
    }

    fn read(&mut self, position: &str, row: Value) -> &mut Self {
        self.add(position, "r", json!({"id": row["id"]}), (Value::Null, row))
    }

    fn create(&mut self, position: &str, row: Value) -> &mut Self {
        self.add(position, "c", json!({"id": row["id"]}), (Value::Null, row))
    }

    fn update(&mut self, position: &str, row: Value) -> &mut Self {
        self.add(position, "u", json!({"id": row["id"]}), (Value::Null, row))
    }

    fn delete(&mut self, position: &str, id: i32) -> &mut Self {
        let key = json!({ "id": id });
        self.add(position, "d", key.clone(), (json!({"id": id, "v": null}), Value::Null));
        self.push(position, key, None)
    }

    fn fold(&self) -> Fold {
        fold(&self.records)
    }
}

fn row(fold: &Fold, key: &str) -> Value {
    fold.tables["public.t"].rows.get(key).cloned().unwrap_or(Value::Null)
}

#[test]
fn changes_add_up() {
    let mut topic = Topic::new();
    topic
        .read("1:0:0:0", json!({"id": 1, "v": "a"}))
        .read("1:0:1:0", json!({"id": 2, "v": "b"}))
        .create("1:100:0:0", json!({"id": 3, "v": "c"}))
        .update("1:100:1:0", json!({"id": 1, "v": "aa"}))
        .delete("1:200:0:0", 2);
    let fold = topic.fold();
    assert_eq!(row(&fold, r#"{"id":1}"#), json!({"id": 1, "v": "aa"}));
    assert_eq!(row(&fold, r#"{"id":2}"#), Value::Null);
    assert_eq!(row(&fold, r#"{"id":3}"#), json!({"id": 3, "v": "c"}));
    let counts = fold.counts;
    assert!(counts.is_exact(), "{counts:?}");
    assert_eq!((counts.reads, counts.changes, counts.tombstones), (2, 3, 1));
}

#[test]
fn embedded_schemas_are_taken_off() {
    let mut topic = Topic::new();
    topic.create("1:1:0:0", json!({"id": 1}));
    let value: Value =
        serde_json::from_slice(topic.records[0].value.as_ref().expect("a value")).expect("JSON");
    let wrapped = json!({"schema": {"type": "struct"}, "payload": value});
    topic.records[0].value = Some(wrapped.to_string().into_bytes());
    topic.records[0].key = Some(br#"{"schema":null,"payload":{"id":1}}"#.to_vec());
    assert_eq!(row(&topic.fold(), r#"{"id":1}"#), json!({"id": 1}));
}

#[test]
fn a_redelivery_changes_nothing() {
    let mut topic = Topic::new();
    topic
        .create("1:100:0:0", json!({"id": 1, "v": "a"}))
        .update("1:200:0:0", json!({"id": 1, "v": "b"}))
        .delete("1:300:0:0", 1)
        .create("1:100:0:0", json!({"id": 1, "v": "a"}))
        .update("1:200:0:0", json!({"id": 1, "v": "b"}))
        .delete("1:300:0:0", 1)
        .create("1:300:1:0", json!({"id": 9, "v": "z"}));
    let fold = topic.fold();
    assert_eq!(row(&fold, r#"{"id":1}"#), Value::Null);
    assert_eq!(row(&fold, r#"{"id":9}"#)["v"], json!("z"));
    assert_eq!((fold.counts.changes, fold.counts.duplicates), (4, 3));
    assert!(fold.counts.is_exact(), "{:?}", fold.counts);
}

#[test]
fn a_change_behind_a_later_one_is_late_and_not_a_redelivery() {
    let mut topic = Topic::new();
    topic
        .create("1:200:0:0", json!({"id": 1, "v": "new"}))
        .update("1:100:0:0", json!({"id": 1, "v": "old"}));
    let fold = topic.fold();
    assert_eq!(row(&fold, r#"{"id":1}"#)["v"], json!("new"));
    assert_eq!(fold.counts.late, 1);
    assert!(!fold.counts.is_sound());
}

#[test]
fn positions_compare_as_numbers() {
    let mut topic = Topic::new();
    topic
        .create("1:9:0:0", json!({"id": 1, "v": "nine"}))
        .update("1:10:0:0", json!({"id": 1, "v": "ten"}))
        .update("1:10:10:0", json!({"id": 1, "v": "ten, ten"}));
    let fold = topic.fold();
    assert_eq!(row(&fold, r#"{"id":1}"#)["v"], json!("ten, ten"));
    assert!(fold.counts.is_exact(), "{:?}", fold.counts);
}

#[test]
fn a_redelivery_that_says_something_else_is_found() {
    let mut topic = Topic::new();
    topic
        .create("1:100:0:0", json!({"id": 1, "v": "a"}))
        .create("1:100:0:0", json!({"id": 1, "v": "b"}));
    let counts = topic.fold().counts;
    assert_eq!((counts.duplicates, counts.differing_duplicates), (1, 1));
    assert!(!counts.is_sound());
}

#[test]
fn a_change_that_meets_another_state_is_found() {
    let mut topic = Topic::new();
    topic
        .create("1:1:0:0", json!({"id": 1}))
        .create("1:2:0:0", json!({"id": 1}))
        .update("1:3:0:0", json!({"id": 2}))
        .delete("1:4:0:0", 3);
    let counts = topic.fold().counts;
    assert_eq!(counts.creates_over_row, 1);
    assert_eq!(counts.updates_without_row, 1);
    assert_eq!(counts.deletes_without_row, 1);
    assert!(counts.is_sound() && !counts.is_exact());
}

#[test]
fn a_placeholder_keeps_what_the_row_has() {
    let bytes = STANDARD.encode(UNAVAILABLE);
    let integers: Vec<u8> = UNAVAILABLE.bytes().collect();
    let mut topic = Topic::new();
    topic
        .create("1:1:0:0", json!({"id": 1, "t": "big", "b": "AAEC", "l": ["x"], "i": [7], "n": 1}))
        .update(
            "1:2:0:0",
            json!({
                "id": 1, "t": UNAVAILABLE, "b": bytes, "l": [UNAVAILABLE], "i": integers, "n": 2
            }),
        );
    let fold = topic.fold();
    let expected = json!({"id": 1, "t": "big", "b": "AAEC", "l": ["x"], "i": [7], "n": 2});
    assert_eq!(row(&fold, r#"{"id":1}"#), expected);
    assert!(fold.tables["public.t"].incomplete.is_empty());
}

#[test]
fn a_placeholder_without_a_value_is_told() {
    let mut topic = Topic::new();
    topic.update("1:1:0:0", json!({"id": 1, "t": UNAVAILABLE}));
    let fold = topic.fold();
    let incomplete = &fold.tables["public.t"].incomplete;
    assert_eq!(incomplete[r#"{"id":1}"#], ["t"]);
    topic.update("1:2:0:0", json!({"id": 1, "t": "given"}));
    assert!(topic.fold().tables["public.t"].incomplete.is_empty());
}

/// A change of key whose halves lie in different partitions, the second one read first.
#[test]
fn a_change_of_key_takes_unchanged_values_along() {
    let (old, new) = (json!({"id": 1}), json!({"id": 2}));
    let mut topic = Topic::new();
    topic
        .create("1:20:0:1", json!({"id": 2, "t": UNAVAILABLE, "v": "moved"}))
        .header("__debezium.oldkey", &old)
        .partition(1)
        .create("1:10:0:0", json!({"id": 1, "t": "big", "v": "a"}))
        .delete("1:20:0:0", 1);
    topic.records.pop();
    topic.header("__debezium.newkey", &new);
    let fold = topic.fold();
    assert_eq!(row(&fold, r#"{"id":1}"#), Value::Null);
    assert_eq!(row(&fold, r#"{"id":2}"#), json!({"id": 2, "t": "big", "v": "moved"}));
    assert!(fold.counts.is_exact(), "{:?}", fold.counts);
}

#[test]
fn a_swap_of_two_keys_swaps_unchanged_values() {
    let mut topic = Topic::new();
    topic
        .create("1:1:0:0", json!({"id": 1, "t": "one"}))
        .create("1:1:1:0", json!({"id": 2, "t": "two"}));
    for (ord, (from, to)) in [(1, -1), (2, 1), (-1, 2)].into_iter().enumerate() {
        let position = format!("1:9:{ord}");
        topic.delete(&format!("{position}:0"), from);
        topic.records.pop();
        topic.header("__debezium.newkey", &json!({ "id": to }));
        topic
            .create(&format!("{position}:1"), json!({"id": to, "t": UNAVAILABLE}))
            .header("__debezium.oldkey", &json!({ "id": from }));
    }
    let fold = topic.fold();
    assert_eq!(row(&fold, r#"{"id":1}"#)["t"], json!("two"));
    assert_eq!(row(&fold, r#"{"id":2}"#)["t"], json!("one"));
    assert!(fold.counts.is_exact(), "{:?}", fold.counts);
}

#[test]
fn a_truncate_empties_every_partition() {
    let mut topic = Topic::new();
    topic
        .create("1:1:0:0", json!({"id": 1}))
        .partition(1)
        .create("1:3:0:0", json!({"id": 2}))
        .partition(1)
        .add("1:2:0:0", "t", Value::Null, (Value::Null, Value::Null));
    let fold = topic.fold();
    let keys: Vec<&String> = fold.tables["public.t"].rows.keys().collect();
    assert_eq!(keys, [r#"{"id":2}"#]);
}

#[test]
fn a_table_without_a_key_is_a_multiset() {
    let mut topic = Topic::new();
    let (a, b) = (json!({"x": 1, "y": "n"}), json!({"y": "m", "x": 2}));
    topic
        .add("1:0:0:0", "r", Value::Null, (Value::Null, a.clone()))
        .add("1:0:1:0", "r", Value::Null, (Value::Null, a.clone()))
        .add("1:0:1:0", "r", Value::Null, (Value::Null, a.clone()))
        .add("1:5:0:0", "u", Value::Null, (a.clone(), b.clone()))
        .add("1:5:1:0", "c", Value::Null, (Value::Null, b.clone()))
        .add("1:6:0:0", "d", Value::Null, (b, Value::Null))
        .push("1:6:0:0", Value::Null, None);
    let fold = topic.fold();
    let bag: Vec<(&str, u64)> =
        fold.tables["public.t"].bag.iter().map(|(row, count)| (row.as_str(), *count)).collect();
    assert_eq!(bag, [(r#"{"x":1,"y":"n"}"#, 1), (r#"{"x":2,"y":"m"}"#, 1)]);
    assert_eq!((fold.counts.duplicates, fold.counts.unmatched), (1, 0));
    topic.add("1:7:0:0", "d", Value::Null, (json!({"x": 3}), Value::Null));
    assert_eq!(topic.fold().counts.unmatched, 1);
}

#[test]
fn a_new_epoch_begins_with_an_empty_table() {
    let mut topic = Topic::new();
    topic
        .read("1:0:0:0", json!({"id": 1, "v": "gone since"}))
        .update("1:900:0:0", json!({"id": 2, "v": "old"}))
        .read("2:0:0:0", json!({"id": 2, "v": "read again"}));
    let fold = topic.fold();
    let rows: Vec<&Value> = fold.tables["public.t"].rows.values().collect();
    assert_eq!(rows, [&json!({"id": 2, "v": "read again"})]);
}

#[test]
#[should_panic(expected = "not EPOCH:COMMIT_LSN:ORD:SUB")]
fn a_wrong_position_ends_the_test() {
    Topic::new().create("1:02:3:4", json!({"id": 1})).fold();
}

#[test]
#[should_panic(expected = "Delete with before: false")]
fn a_delete_without_its_old_row_ends_the_test() {
    Topic::new().add("1:2:3:0", "d", json!({"id": 1}), (Value::Null, Value::Null)).fold();
}
