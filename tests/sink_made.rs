//! Goal: what no source does on demand ends as it must in every warehouse: halves of a key change
//! in the other order, records that cannot be applied, logs that are not what they were.
//!
//! Method: records made by hand in a real Kafka, `cdc-sink --once`, and what is in the warehouse.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "progress is shown to a person")]

mod run;
mod sink;

#[path = "sink_made/by_hand.rs"]
mod by_hand;
#[path = "sink_made/columns.rs"]
mod columns;
#[path = "sink_made/epochs.rs"]
mod epochs;
#[path = "sink_made/keys.rs"]
mod keys;
#[path = "sink_made/letters.rs"]
mod letters;
#[path = "sink_made/logs.rs"]
mod logs;
#[path = "sink_made/groups.rs"]
mod groups;
#[path = "sink_made/stock.rs"]
mod stock;
#[path = "sink_made/times.rs"]
mod times;
#[path = "sink_made/watermarks.rs"]
mod watermarks;

use sink::Play;
use sink::produce::Made;
use sink::records::LEFT_OUT;
use sink::records::arrive;
use sink::records::create;
use sink::records::delete;
use sink::records::leave;
use sink::records::row;
use sink::records::truncate;
use sink::records::update;
use sink::scene;
use sink::warehouse::KINDS;

#[test]
fn a_key_change_whose_create_half_is_read_first_keeps_its_large_values() {
    for kind in KINDS {
        let made = Play::new("create_first", kind, 3);
        made.apply(&[
            create("1:10:0:0", &row(1, "a", "large")),
            create("1:10:1:0", &row(2, "b", "also")),
        ]);
        // One run that has to wait for the other partition, whose own first record waits too.
        made.apply(&[
            arrive("1:20:0:1", &row(11, "a2", LEFT_OUT)).to(1),
            update("1:21:0:0", &row(11, "a3", LEFT_OUT)).to(1),
            leave("1:22:0:0", &row(11, "a3", LEFT_OUT)).to(1),
            arrive("1:22:0:1", &row(111, "a4", LEFT_OUT)).to(2),
            arrive("1:23:0:1", &row(22, "b2", LEFT_OUT)).to(2),
            leave("1:20:0:0", &row(1, "", "")),
            create("1:20:5:0", &row(1, "new", "other")),
            leave("1:23:0:0", &row(2, "", "")),
        ]);
        assert_eq!(made.large_rows(), ["1 new other", "22 b2 also", "111 a4 large"], "{kind:?}");
        assert_eq!(made.one("SELECT CAST(count(*) AS text) FROM _cdc.moved"), "0", "{kind:?}");
    }
}

/// The key stands last, so that its place among the columns is not its place in the key.
#[test]
fn a_key_change_finds_its_old_row_wherever_the_key_stands() {
    let moved = |made: Made| {
        let id = r#"{"type":"int32","optional":false,"field":"id"}"#;
        let last = r#""optional":true,"field":"big"}"#;
        let value = made.value.map(|value| {
            let without = value.replace(&format!("{id},"), "");
            without.replace(&format!("{last}]"), &format!("{last},{id}]"))
        });
        Made { value, ..made }
    };
    for kind in KINDS {
        let made = Play::new("key_last", kind, 1);
        made.apply(&[moved(create("1:10:0:0", &row(1, "a", "large")))]);
        let halves = [
            moved(leave("1:20:0:0", &row(1, "", ""))),
            moved(arrive("1:20:0:1", &row(2, "b", LEFT_OUT))),
        ];
        made.apply(&halves);
        assert_eq!(made.large_rows(), ["2 b large"], "{kind:?}");
    }
}

#[test]
fn a_create_half_whose_old_row_never_comes_is_marked_until_it_is_filled() {
    for kind in KINDS {
        let made = Play::new("never", kind, 1);
        made.apply(&[arrive("1:20:0:1", &row(5, "a", LEFT_OUT))]);
        assert_eq!(made.large_rows(), ["5 a -"], "{kind:?}");
        let marked = "SELECT CAST(_cdc_incomplete AS text) FROM made.items";
        assert!(made.one(marked).contains("big"), "{kind:?}");
        made.apply(&[update("1:30:0:0", &row(5, "a", "at last"))]);
        assert_eq!(made.large_rows(), ["5 a at last"], "{kind:?}");
        assert_eq!(made.one(marked), "", "{kind:?}");
    }
}

#[test]
fn a_value_that_was_never_received_is_missing_under_a_new_key_too() {
    for kind in KINDS {
        for records in ["100000", "1"] {
            let made = Play::new(&format!("never_{records}"), kind, 1);
            let options = made.options.clone().set("batch.records", records);
            made.send(&[arrive("1:20:0:1", &row(5, "a", LEFT_OUT))]);
            options.once();
            made.send(&[
                leave("1:30:0:0", &row(5, "", "")),
                arrive("1:30:0:1", &row(6, "b", LEFT_OUT)),
            ]);
            options.once();
            assert_eq!(made.large_rows(), ["6 b -"], "{kind:?}");
            let marked = "SELECT CAST(_cdc_incomplete AS text) FROM made.items";
            assert!(made.one(marked).contains("big"), "{kind:?}, {records} at once");
        }
    }
}

#[test]
fn a_truncate_is_the_first_record_of_its_table() {
    for kind in KINDS {
        let made = Play::new("truncate_first", kind, 2);
        made.apply(&[
            truncate("1:20:0:0"),
            create("1:30:0:0", &row(1, "new", "")),
            create("1:10:0:0", &row(2, "old", "")).to(1),
            create("1:40:0:0", &row(3, "newer", "")).to(1),
        ]);
        made.apply(&[update("1:50:0:0", &row(1, "newest", ""))]);
        assert_eq!(made.large_rows(), ["1 newest ", "3 newer "], "{kind:?}");
    }
}

#[test]
fn deleted_rows_stay_where_they_are_wanted() {
    for kind in KINDS {
        let made = Play::new("soft", kind, 1);
        let options = made.options.clone().set("delete.mode", "soft");
        made.send(&[
            create("1:10:0:0", &row(1, "a", "x")),
            create("1:11:0:0", &row(2, "b", "y")),
            create("1:12:0:0", &row(3, "c", "z")),
        ]);
        options.once();
        made.send(&[
            delete("1:20:0:0", &row(1, "", "")),
            delete("1:21:0:0", &row(2, "", "")),
            create("1:22:0:0", &row(2, "again", "w")),
        ]);
        options.once();
        assert_eq!(made.large_rows(), ["1 a x", "2 again w", "3 c z"], "{kind:?}");
        let gone = "SELECT string_agg(CAST(id AS text), ',' ORDER BY id) FROM made.items WHERE _cdc_deleted";
        assert_eq!(made.one(gone), "1", "{kind:?}");
        made.send(&[truncate("1:30:0:0"), create("1:31:0:0", &row(3, "d", "v"))]);
        options.once();
        assert_eq!(made.one(gone), "1,2", "{kind:?}");
        assert_eq!(made.large_rows(), ["1 a x", "2 again w", "3 d v"], "{kind:?}");
    }
}

#[test]
fn a_row_that_goes_in_the_batch_of_its_last_values_keeps_them_under_soft() {
    for kind in KINDS {
        let made = Play::new("soft_batch", kind, 1);
        let options = made.options.clone().set("delete.mode", "soft");
        made.send(&[
            create("1:10:0:0", &row(2, "b", "y")),
            create("1:10:1:0", &row(4, "d", "w")),
            delete("1:10:2:0", &row(4, "", "")),
        ]);
        options.once();
        made.send(&[
            // Came and went.
            create("1:20:0:0", &row(1, "a", "x")),
            update("1:20:1:0", &row(1, "a2", LEFT_OUT)),
            delete("1:20:2:0", &row(1, "", "")),
            // Was there; what the update leaves out stands in the warehouse.
            update("1:21:0:0", &row(2, "b2", LEFT_OUT)),
            delete("1:21:1:0", &row(2, "", "")),
            // Never came.
            delete("1:22:0:0", &row(3, "", "")),
            // Is gone already.
            delete("1:23:0:0", &row(4, "", "")),
            // Comes and goes under another key than it had.
            create("1:24:0:0", &row(5, "e", "v")),
            leave("1:24:1:0", &row(5, "", "")),
            arrive("1:24:1:1", &row(6, "e2", LEFT_OUT)),
            delete("1:24:2:0", &row(6, "", "")),
        ]);
        options.once();
        let expected = ["1 a2 x", "2 b2 y", "3 - -", "4 d w", "5 e v", "6 e2 v"];
        assert_eq!(made.large_rows(), expected, "{kind:?}");
        let ids = "SELECT string_agg(CAST(id AS text), ',' ORDER BY id) FROM made.items WHERE ";
        assert_eq!(made.one(&format!("{ids} _cdc_deleted")), "1,2,3,4,5,6", "{kind:?}");
        assert_eq!(made.one(&format!("{ids} _cdc_incomplete IS NOT NULL")), "3", "{kind:?}");
        made.send(&[
            create("1:30:0:0", &row(3, "c", "z")),
            update("1:31:0:0", &row(1, "again", LEFT_OUT)),
        ]);
        options.once();
        let expected = ["1 again -", "2 b2 y", "3 c z", "4 d w", "5 e v", "6 e2 v"];
        assert_eq!(made.large_rows(), expected, "{kind:?}: nothing of a deleted row comes back");
        assert_eq!(made.one(&format!("{ids} NOT _cdc_deleted")), "1,3", "{kind:?}");
        assert_eq!(made.one(&format!("{ids} _cdc_incomplete IS NOT NULL")), "1", "{kind:?}");
    }
}

#[test]
fn soft_deletes_begin_and_end_while_the_table_is_there() {
    for kind in KINDS {
        let made = Play::new("soft_later", kind, 2);
        let soft = made.options.clone().set("delete.mode", "soft");
        made.apply(&[
            create("1:10:0:0", &row(1, "a", "x")),
            create("1:11:0:0", &row(2, "b", "y")),
            create("1:12:0:0", &row(3, "c", "z")),
            delete("1:20:0:0", &row(2, "", "")),
        ]);
        // An older change of the row that is gone, from a partition that is behind.
        let late = || create("1:15:0:0", &row(2, "late", "")).to(1);
        made.send(&[delete("1:30:0:0", &row(1, "", "")), late()]);
        soft.once();
        assert_eq!(made.large_rows(), ["1 a x", "3 c z"], "{kind:?}");
        let gone = "SELECT string_agg(CAST(id AS text), ',') FROM made.items WHERE _cdc_deleted";
        assert_eq!(made.one(gone), "1", "{kind:?}");
        made.store.execute("DELETE FROM _cdc.watermarks");
        made.apply(&[
            update("1:40:0:0", &row(3, "c2", "z")),
            update("1:25:0:0", &row(1, "late", "")).to(1),
            late(),
        ]);
        assert_eq!(made.large_rows(), ["3 c2 z"], "{kind:?}: what was marked is gone");
    }
}

#[test]
fn an_old_window_changes_nothing() {
    for kind in KINDS {
        let made = Play::new("window", kind, 2);
        made.apply(&[
            create("1:10:0:0", &row(1, "a", "x")),
            create("1:11:0:0", &row(2, "b", "y")).to(1),
            update("1:12:0:0", &row(1, "a2", LEFT_OUT)),
            delete("1:13:0:0", &row(2, "", "")).to(1),
            leave("1:14:0:0", &row(1, "", "")),
            arrive("1:14:0:1", &row(9, "a3", LEFT_OUT)).to(1),
        ]);
        let expected = ["9 a3 x"];
        assert_eq!(made.large_rows(), expected, "{kind:?}");
        made.store.execute("UPDATE _cdc.offsets SET next_offset = 0");
        made.options.once();
        assert_eq!(made.large_rows(), expected, "{kind:?}: after the window again");
        made.store.execute("UPDATE _cdc.offsets SET next_offset = 0");
        made.store.execute("DELETE FROM _cdc.watermarks");
        made.options.once();
        assert_eq!(made.large_rows(), expected, "{kind:?}: without watermarks");
        made.options.clone().group("another").once();
        assert_eq!(made.large_rows(), expected, "{kind:?}: another group");
    }
}

/// Only the rows' own versions are left to tell that both halves were applied.
#[test]
fn the_halves_of_a_key_change_that_come_again_change_nothing() {
    for kind in KINDS {
        for records in ["100000", "1"] {
            let made = Play::new(&format!("halves_{records}"), kind, 1);
            let options = made.options.clone().set("batch.records", records);
            made.send(&[
                create("1:10:0:0", &row(1, "a", "x")),
                leave("1:14:0:0", &row(1, "", "")),
                arrive("1:14:0:1", &row(9, "a3", LEFT_OUT)),
            ]);
            options.once();
            for _ in 0..2 {
                made.store.execute("UPDATE _cdc.offsets SET next_offset = 1");
                made.store.execute("DELETE FROM _cdc.watermarks");
                options.once();
                assert_eq!(made.large_rows(), ["9 a3 x"], "{kind:?}, {records} at once");
                let moved = made.one("SELECT CAST(count(*) AS text) FROM _cdc.moved");
                assert_eq!(moved, "0", "{kind:?}, {records} at once");
            }
        }
    }
}

#[test]
fn a_table_that_is_there_is_taken_only_if_it_is_empty() {
    for kind in KINDS {
        let made = Play::new("there", kind, 1);
        let sql =
            "CREATE SCHEMA made; CREATE TABLE made.items (id integer, a text, big text, own text)";
        made.store.execute(sql);
        made.apply(&[create("1:10:0:0", &row(1, "a", "x")), update("1:11:0:0", &row(1, "b", "x"))]);
        assert_eq!(made.large_rows(), ["1 b x"], "{kind:?}");
        let made = Play::new("there_full", kind, 1);
        made.store.execute(&format!("{sql}; INSERT INTO made.items VALUES (7, 'mine', '', '')"));
        made.send(&[create("1:10:0:0", &row(1, "a", "x"))]);
        made.options.try_once().expect(78, &["made.items", "rows"]);
        assert_eq!(made.large_rows(), ["7 mine "], "{kind:?}");
    }
}

#[test]
fn a_table_belongs_to_one_prefix() {
    for kind in KINDS {
        let made = Play::new("prefixes", kind, 1);
        made.apply(&[create("1:10:0:0", &row(1, "a", "x"))]);
        let mut other = create("1:20:0:0", &row(1, "b", "x"));
        other.value =
            other.value.map(|value| value.replace("\"name\":\"hand\"", "\"name\":\"foot\""));
        made.send(&[other]);
        made.options.try_once().expect(78, &["hand", "foot"]);
        assert_eq!(made.large_rows(), ["1 a x"], "{kind:?}");
    }
}

#[test]
fn a_topic_that_was_created_again_is_read_from_its_beginning() {
    for kind in KINDS {
        let made = Play::new("again", kind, 1);
        made.apply(&[create("1:10:0:0", &row(1, "a", "x")), create("1:11:0:0", &row(2, "b", "x"))]);
        scene::kafka().delete_topic(&made.topic);
        scene::kafka().create_topic(&made.topic, 1, &[]);
        made.apply(&[update("1:20:0:0", &row(1, "a2", "x"))]);
        assert_eq!(made.large_rows(), ["1 a2 x", "2 b x"], "{kind:?}");
    }
}
