//! Another primary key: the table gets it where the record stands that tells of it.

use crate::sink::Play;
use crate::sink::produce::Made;
use crate::sink::warehouse::KINDS;
use crate::sink::warehouse::Kind;

/// A change of `made.items (id int, a text, big text)` under a key of these columns.
fn keyed(operation: char, position: &str, key: &[&str], row: &str) -> Made {
    let rows = if operation == 'd' { [Some(row), None] } else { [None, Some(row)] };
    let made = Made::change(operation, position, rows);
    let values: serde_json::Value = serde_json::from_str(row).unwrap();
    let fields: Vec<String> = key
        .iter()
        .map(|name| format!(r#"{{"type":"string","optional":false,"field":"{name}"}}"#))
        .collect();
    let payload: serde_json::Map<String, serde_json::Value> =
        key.iter().map(|name| ((*name).to_owned(), values[*name].clone())).collect();
    let text = format!(
        r#"{{"schema":{{"type":"struct","fields":[{}],"optional":false}},"payload":{}}}"#,
        fields.join(","),
        serde_json::Value::Object(payload)
    );
    Made { key: (!key.is_empty()).then_some(text), ..made }
}

fn row(id: i32, a: &str, big: &str) -> String {
    format!(r#"{{"id":{id},"a":"{a}","big":"{big}"}}"#)
}

fn reread(made: &Play) -> String {
    let sql = match made.store.kind {
        Kind::Postgres => "SELECT coalesce(definition->>'reread', '') FROM _cdc.tables",
        Kind::DuckDb => "SELECT coalesce(definition->>'$.reread', '') FROM _cdc.tables",
    };
    made.one(sql)
}

#[test]
fn a_new_key_waits_for_older_changes_in_other_partitions() {
    for kind in KINDS {
        let made = Play::new("key_waits", kind, 3);
        let id = |operation, position, row: &str| keyed(operation, position, &["id"], row);
        let a = |operation, position, row: &str| keyed(operation, position, &["a"], row);
        made.apply(&[
            id('c', "1:10:0:0", &row(1, "x", "one")),
            id('c', "1:11:0:0", &row(2, "y", "two")).to(1),
            id('c', "1:12:0:0", &row(3, "z", "three")).to(2),
        ]);
        made.apply(&[
            a('u', "1:30:0:0", &row(2, "y", "under the new key")).to(2),
            a('c', "1:31:0:0", &row(9, "w", "new")).to(2),
            id('u', "1:20:0:0", &row(1, "moved", "one")),
            id('d', "1:21:0:0", &row(3, "", "")).to(1),
        ]);
        let expected = ["1 moved one", "2 y under the new key", "9 w new"];
        assert_eq!(made.large_rows(), expected, "{kind:?}");
        assert_eq!(reread(&made), "", "{kind:?}");
        // All of it again, record by record, of a group that has applied nothing.
        made.options.clone().group("again").set("batch.records", "1").once();
        assert_eq!(made.large_rows(), expected, "{kind:?}, again");
        assert_eq!(reread(&made), "", "{kind:?}, again");
    }
}

#[test]
fn a_change_under_the_old_key_that_comes_too_late_marks_the_table() {
    for kind in KINDS {
        let made = Play::new("key_late", kind, 2);
        made.apply(&[
            keyed('c', "1:10:0:0", &["id"], &row(1, "x", "one")),
            keyed('u', "1:30:0:0", &["a"], &row(1, "x", "new")),
        ]);
        made.apply(&[keyed('u', "1:20:0:0", &["id"], &row(1, "y", "late")).to(1)]);
        assert_eq!(made.large_rows(), ["1 x new"], "{kind:?}");
        assert!(reread(&made).contains("came after it"), "{kind:?}: {}", reread(&made));
    }
}

#[test]
fn rows_that_a_new_key_does_not_tell_apart_are_marked_until_they_are_read_again() {
    for kind in KINDS {
        let made = Play::new("key_marked", kind, 1);
        made.apply(&[
            keyed('c', "1:10:0:0", &["id"], &row(1, "x", "one")),
            keyed('c', "1:11:0:0", &["id"], &row(2, "x", "two")),
            keyed('c', "1:12:0:0", &["id"], &row(3, "y", "three")),
            keyed('u', "1:20:0:0", &["a"], &row(2, "x", "new")),
            keyed('c', "1:21:0:0", &["a"], &row(4, "w", "four")),
            keyed('d', "1:22:0:0", &["a"], &row(3, "y", "")),
        ]);
        assert_eq!(made.large_rows(), ["2 x new", "4 w four"], "{kind:?}");
        let reason = reread(&made);
        assert!(reason.contains("its key changed from (id) to (a)"), "{kind:?}: {reason}");
        // One more key, in reads of a higher epoch, is not unique either: the table begins anew.
        made.apply(&[
            keyed('u', "1:30:0:0", &["a"], &row(4, "w", "new")),
            keyed('r', "2:0:1:0", &["big"], &row(5, "v", "new")),
            keyed('r', "2:0:2:0", &["big"], &row(5, "v", "five")),
        ]);
        assert_eq!(made.large_rows(), ["5 v five", "5 v new"], "{kind:?}");
    }
}

#[test]
fn a_streamed_change_of_a_new_epoch_does_not_take_its_snapshots_place() {
    for kind in KINDS {
        let made = Play::new("key_streamed_first", kind, 2);
        let id = |operation, position, row: &str| keyed(operation, position, &["id"], row);
        let a = |operation, position, row: &str| keyed(operation, position, &["a"], row);
        made.apply(&[
            id('c', "1:10:0:0", &row(1, "x", "one")),
            id('c', "1:11:0:0", &row(2, "y", "two")).to(1),
        ]);
        // The streamed change is in the warehouse's sight before the snapshot of its epoch.
        made.send(&[a('c', "2:500:0:0", &row(3, "z", "streamed")).to(1)]);
        made.send(&[
            a('r', "2:0:0:0", &row(1, "x", "again")),
            a('r', "2:0:1:0", &row(2, "y", "again")),
        ]);
        made.options.once();
        let expected = ["1 x again", "2 y again", "3 z streamed"];
        assert_eq!(made.large_rows(), expected, "{kind:?}");
    }
}

#[test]
fn rows_that_are_marked_as_deleted_do_not_stand_in_the_way_of_a_new_key() {
    for kind in KINDS {
        let made = Play::new("key_soft", kind, 1);
        let options = made.options.clone().set("delete.mode", "soft");
        made.send(&[
            keyed('c', "1:10:0:0", &["id"], &row(1, "x", "one")),
            keyed('c', "1:11:0:0", &["id"], &row(2, "y", "two")),
            keyed('d', "1:12:0:0", &["id"], &row(1, "", "")),
            keyed('d', "1:13:0:0", &["id"], &row(2, "", "")),
            keyed('c', "1:14:0:0", &["id"], &row(3, "x", "three")),
            keyed('u', "1:20:0:0", &["a"], &row(3, "x", "new")),
        ]);
        options.once();
        let rows = "SELECT string_agg(CAST(id AS text) || ' ' || a || ' ' || CAST(_cdc_deleted AS \
                    text), ', ' ORDER BY id) FROM made.items";
        assert_eq!(made.one(rows), "2 y true, 3 x false", "{kind:?}");
        assert_eq!(reread(&made), "", "{kind:?}");
        made.send(&[keyed('c', "1:30:0:0", &["a"], &row(5, "y", "again"))]);
        options.once();
        assert_eq!(made.one(rows), "3 x false, 5 y false", "{kind:?}");
    }
}

/// Stock topics without schemas: the columns are known by their looks, the key by the records'.
#[test]
fn a_new_key_in_records_without_schema_is_followed() {
    let plain = |made: Made| {
        let payload = |text: Option<String>| {
            let value: serde_json::Value = serde_json::from_str(&text?).ok()?;
            Some(value["payload"].to_string())
        };
        Made { key: payload(made.key), value: payload(made.value), ..made }
    };
    for kind in KINDS {
        let made = Play::new("key_plain", kind, 1);
        made.apply(&[
            plain(keyed('c', "1:10:0:0", &["id"], &row(1, "x", "one"))),
            plain(keyed('c', "1:11:0:0", &["id"], &row(2, "y", "two"))),
            plain(keyed('u', "1:20:0:0", &["a"], &row(7, "x", "new"))),
            plain(keyed('d', "1:21:0:0", &["a"], &row(2, "y", "two"))),
        ]);
        assert_eq!(made.large_rows(), ["7 x new"], "{kind:?}");
        assert_eq!(reread(&made), "", "{kind:?}");
    }
}
