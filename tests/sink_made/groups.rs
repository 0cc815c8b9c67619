//! Several groups over one topic, and several sources and tables in one: what is new is applied once,
//! and nothing that is not.

use std::time::Duration;

use cdc_testkit::process::wait_until;

use crate::epochs::read;
use crate::sink::Play;
use crate::sink::Sink;
use crate::sink::produce::Made;
use crate::sink::records::LEFT_OUT;
use crate::sink::records::arrive;
use crate::sink::records::create;
use crate::sink::records::delete;
use crate::sink::records::leave;
use crate::sink::records::row;
use crate::sink::records::update;
use crate::sink::warehouse::KINDS;
use crate::sink::warehouse::Kind;

/// A second group that consumes everything, with changes that the first has not had.
#[test]
fn a_change_is_not_folded_onto_a_stale_read_of_a_second_group() {
    for kind in KINDS {
        for mode in ["hard", "soft"] {
            let mut made = Play::new(&format!("stale_{mode}"), kind, 1);
            made.options = made.options.clone().set("delete.mode", mode);
            let first: Vec<Made> = (1..=4)
                .map(|id| read(&format!("1:0:{id}:0"), &row(id, "v0", "OLD")))
                .chain((1..=4).map(|id| update(&format!("1:1{id}:0:0"), &row(id, "v1", "NEW"))))
                .collect();
            made.apply(&first);
            made.send(&[
                update("1:20:0:0", &row(1, "v2", LEFT_OUT)),
                delete("1:21:0:0", &row(2, "", "")),
                leave("1:22:0:0", &row(3, "", "")),
                arrive("1:22:0:1", &row(33, "v2", LEFT_OUT)),
                // One that no group has had: its read is the truth.
                read("1:0:5:0", &row(5, "v0", "only")),
                update("1:23:0:0", &row(5, "v1", LEFT_OUT)),
            ]);
            made.options.clone().group(&format!("second_{mode}_{kind:?}")).once();
            let hard = ["1 v2 NEW", "4 v1 NEW", "5 v1 only", "33 v2 NEW"];
            let soft = ["1 v2 NEW", "2 v1 NEW", "3 v1 NEW", "4 v1 NEW", "5 v1 only", "33 v2 NEW"];
            let expected = if mode == "hard" { &hard[..] } else { &soft[..] };
            assert_eq!(made.large_rows(), expected, "{kind:?} {mode}");
            let incomplete = "SELECT CAST(count(*) AS text) FROM made.items WHERE _cdc_incomplete IS \
                              NOT NULL";
            assert_eq!(made.one(incomplete), "0", "{kind:?} {mode}");
        }
    }
}

/// A key's column may be null, so that nothing tells rows apart.
fn loose(mut made: Made) -> Made {
    let (key, nullable) = (r#""optional":false,"field""#, r#""optional":true,"field""#);
    made.key = made.key.map(|text| text.replace(key, nullable));
    made
}

/// A DuckDB file has one process.
#[test]
fn two_groups_at_once_apply_a_record_of_a_table_without_key_once() {
    const RECORDS: i32 = 3000;
    let made = Play::new("two_groups", Kind::Postgres, 1);
    made.apply(&[loose(create("1:10:0:0", &row(0, "a", "")))]);
    let options = made.options.clone().set("batch.records", "25");
    let mut sinks = ["blue", "green"].map(|group| Sink::start(options.clone().group(group)));
    let records: Vec<Made> = (1..=RECORDS)
        .map(|id| loose(create(&format!("1:{}:0:0", 10 + id), &row(id, "a", ""))))
        .collect();
    made.send(&records);
    let behind = format!(
        "SELECT CAST(count(*) AS text) FROM _cdc.offsets WHERE \"group\" IN ('blue', 'green') AND \
         next_offset = {}",
        RECORDS + 1
    );
    wait_until(Duration::from_secs(120), "both groups to apply everything", || {
        sinks.iter_mut().for_each(Sink::assert_running);
        made.one(&behind) == "2"
    });
    sinks.iter_mut().for_each(Sink::stop);
    let rows = made.one("SELECT CAST(count(*) AS text) FROM made.items");
    assert_eq!(rows, (RECORDS + 1).to_string());
}

/// The same table of another source.
fn of_source(mut made: Made, prefix: &str, table: &str) -> Made {
    made.value = made.value.map(|value| {
        let value = value.replace(r#""name":"hand""#, &format!(r#""name":"{prefix}""#));
        value.replace(r#""table":"items""#, &format!(r#""table":"{table}""#))
    });
    made
}

#[test]
fn several_sources_and_tables_share_a_topic() {
    for kind in KINDS {
        let made = Play::new("shared", kind, 1);
        let west = |made: Made| of_source(made, "west", "west_items");
        let other = |made: Made| of_source(made, "hand", "others");
        made.apply(&[
            create("1:900000:0:0", &row(1, "east", "")),
            west(create("1:500:0:0", &row(1, "west", ""))),
        ]);
        made.apply(&[
            west(create("1:600:0:0", &row(2, "west", ""))),
            // A table that is snapshotted again has an epoch of its own.
            other(read("7:0:0:0", &row(1, "other", ""))),
            other(create("7:900001:0:0", &row(2, "other", ""))),
            create("1:900002:0:0", &row(2, "east", "")),
            loose(of_source(create("1:400:0:0", &row(1, "south", "")), "south", "bag")),
        ]);
        made.store.execute("UPDATE _cdc.offsets SET next_offset = 0");
        made.options.once();
        let rows = |table: &str| {
            made.one(&format!(
                "SELECT string_agg(CAST(id AS text) || a, ' ' ORDER BY id) FROM made.{table}"
            ))
        };
        assert_eq!(rows("items"), "1east 2east", "{kind:?}");
        assert_eq!(rows("west_items"), "1west 2west", "{kind:?}");
        assert_eq!(rows("others"), "1other 2other", "{kind:?}");
        assert_eq!(rows("bag"), "1south", "{kind:?}");
    }
}

#[test]
fn a_table_that_a_person_has_dropped_is_filled_from_its_topic_again() {
    for kind in KINDS {
        let made = Play::new("dropped", kind, 1);
        made.apply(&[create("1:10:0:0", &row(1, "a", "")), update("1:11:0:0", &row(1, "a2", ""))]);
        made.store.execute("DROP TABLE made.items; DELETE FROM _cdc.tables");
        made.options.clone().group(&format!("dropped_{kind:?}")).once();
        assert_eq!(made.large_rows(), ["1 a2 "], "{kind:?}");
    }
}
