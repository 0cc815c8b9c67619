//! Records as a stock Debezium writes them, without positions: in a partition the order of offsets is
//! the truth, also after a connector was created again, restarted or replaced.

use crate::sink::Play;
use crate::sink::produce::Made;
use crate::sink::records::row;
use crate::sink::records::update;
use crate::sink::warehouse::KINDS;

/// A record with `sequence` and what the source says of a snapshot.
fn stock(operation: char, (commit, lsn): (Option<u64>, u64), text: &str) -> Made {
    let rows = if operation == 'd' { [Some(text), None] } else { [None, Some(text)] };
    let rows = if operation == 't' { [None, None] } else { rows };
    let mut made = Made::change(operation, "", rows);
    made.headers.clear();
    let commit = commit.map_or("null".to_owned(), |lsn| format!(r#"\"{lsn}\""#));
    let sequence = format!(r#""[{commit},\"{lsn}\"]""#);
    made.value = made.value.map(|value| {
        value.replace(r#""lsn":1,"#, &format!(r#""lsn":{lsn},"sequence":{sequence},"#))
    });
    made
}

/// A row of a snapshot that was taken at this LSN.
fn snapshot(lsn: u64, text: &str) -> Made {
    marked(stock('r', (None, lsn), text), "true")
}

fn marked(mut made: Made, marker: &str) -> Made {
    let marker = format!(r#""snapshot":"{marker}""#);
    made.value = made.value.map(|value| value.replace(r#""snapshot":"false""#, &marker));
    made
}

/// Read by the connector so many milliseconds later.
fn later(mut made: Made, ms: u64) -> Made {
    let read = format!(r#""ts_ms":{}}}}}"#, 1 + ms);
    made.value = made.value.map(|value| value.replace(r#""ts_ms":1}}"#, &read));
    made
}

/// Nothing tells rows apart.
fn loose(mut made: Made) -> Made {
    made.key = None;
    made
}

/// Without the schema that Connect's converter embeds.
fn bare(mut made: Made) -> Made {
    let payload = |text: String| {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["payload"].to_string()
    };
    made.value = made.value.map(payload);
    made.key = made.key.map(payload);
    made
}

/// In runs of their own, all at once, and all again by another group.
#[track_caller]
fn check(name: &str, runs: &[Vec<Made>], expected: &[&str]) {
    for kind in KINDS {
        let made = Play::new(&format!("{name}_steps"), kind, 1);
        runs.iter().for_each(|records| made.apply(records));
        assert_eq!(made.large_rows(), expected, "{kind:?}, in steps");
        made.options.clone().group(&format!("{name}_{kind:?}_second")).once();
        assert_eq!(made.large_rows(), expected, "{kind:?}, by a second group");
        let made = Play::new(&format!("{name}_whole"), kind, 1);
        made.apply(&runs.concat());
        assert_eq!(made.large_rows(), expected, "{kind:?}, at once");
    }
}

#[test]
fn a_connector_created_again_is_a_new_epoch_of_its_tables() {
    let runs = [
        vec![snapshot(100, &row(1, "v0", "a")), snapshot(100, &row(2, "w0", "b"))],
        vec![
            stock('c', (None, 110), &row(4, "x", "")),
            stock('u', (Some(115), 120), &row(1, "v1", "a")),
            stock('u', (Some(125), 130), &row(2, "w1", "b")),
        ],
        // Row 4 was deleted meanwhile, and row 1 changed.
        vec![snapshot(500, &row(1, "v2", "a")), snapshot(500, &row(2, "w1", "b"))],
        // Its first transaction does not know the commit before it.
        vec![stock('c', (None, 510), &row(3, "new", ""))],
        vec![stock('u', (Some(520), 530), &row(2, "w2", "b"))],
    ];
    check("created_again", &runs, &["1 v2 a", "2 w2 b", "3 new ", "4 x "]);
}

#[test]
fn a_tombstone_alone_deletes() {
    let tombstone = |id: i32| Made { value: None, ..stock('d', (None, 1), &row(id, "", "")) };
    let runs = [
        vec![snapshot(100, &row(1, "a", "")), snapshot(100, &row(2, "b", ""))],
        vec![tombstone(1), stock('c', (Some(105), 110), &row(3, "c", ""))],
        vec![
            stock('c', (Some(115), 120), &row(4, "d", "")),
            tombstone(4),
            stock('d', (Some(125), 130), &row(3, "", "")),
            tombstone(3),
            stock('c', (Some(135), 140), &row(3, "again", "")),
        ],
    ];
    check("tombstone", &runs, &["2 b ", "3 again "]);
}

#[test]
fn rows_without_key_that_come_again_after_a_restart_are_counted_once() {
    let one =
        |commit: u64, lsn: u64, id: i32| loose(stock('c', (Some(commit), lsn), &row(id, "x", "")));
    let runs = [
        // Two equal rows of one statement, and a third.
        vec![one(10, 20, 1), one(10, 20, 1), one(10, 21, 2)],
        // The connector is restarted: its last record comes again.
        vec![later(one(10, 21, 2), 5000)],
        // It was killed: more comes again, and then what is new.
        vec![
            later(one(10, 20, 1), 9000),
            later(one(10, 20, 1), 9000),
            later(one(10, 21, 2), 9000),
            later(one(10, 21, 2), 9001),
            later(one(30, 40, 3), 9002),
        ],
    ];
    check("counted", &runs, &["1 x ", "1 x ", "2 x ", "2 x ", "3 x "]);
}

#[test]
fn a_snapshot_taken_again_replaces_the_rows_of_a_table_without_key() {
    let one = |lsn: u64, id: i32, marker: &str| {
        loose(marked(stock('r', (None, lsn), &row(id, "x", "")), marker))
    };
    let runs = [
        vec![one(100, 1, "first"), one(100, 1, "true")],
        // It was interrupted.
        vec![one(150, 1, "first"), one(150, 1, "true"), one(150, 2, "last")],
        // Of an idle database, at the same LSN.
        vec![one(150, 1, "first"), one(150, 1, "true"), one(150, 2, "last")],
        vec![loose(stock('c', (None, 160), &row(3, "x", "")))],
    ];
    check("taken_again", &runs, &["1 x ", "1 x ", "2 x ", "3 x "]);
}

#[test]
fn a_chunk_of_an_incremental_snapshot_replaces_what_stands_before_it() {
    let chunk = |lsn: u64, text: &str| marked(stock('r', (Some(lsn), lsn), text), "incremental");
    let runs = [
        vec![snapshot(100, &row(1, "a", "")), snapshot(100, &row(2, "b", ""))],
        vec![stock('u', (Some(105), 110), &row(1, "stale", ""))],
        vec![chunk(110, &row(1, "right", "")), chunk(110, &row(2, "right", ""))],
        vec![stock('u', (Some(115), 120), &row(2, "later", ""))],
    ];
    check("chunk", &runs, &["1 right ", "2 later "]);
}

#[test]
fn a_second_group_after_the_agent_took_over_changes_nothing() {
    let runs = [
        vec![snapshot(100, &row(1, "v0", "a")), snapshot(100, &row(2, "w0", "b"))],
        vec![stock('u', (Some(105), 110), &row(1, "v1", "a"))],
        vec![update("7:200:0:0", &row(2, "w1", "b"))],
    ];
    check("taken_over", &runs, &["1 v1 a", "2 w1 b"]);
}

/// Records in another partition that were sent before the agent took over.
#[test]
fn records_from_before_a_take_over_are_applied_when_they_are_late() {
    for kind in KINDS {
        let made = Play::new("take_over_late", kind, 2);
        made.apply(&[snapshot(100, &row(1, "v0", "")), update("7:200:0:0", &row(1, "v1", ""))]);
        made.apply(&[
            snapshot(100, &row(2, "w0", "")).to(1),
            stock('u', (Some(105), 110), &row(2, "w1", "")).to(1),
        ]);
        assert_eq!(made.large_rows(), ["1 v1 ", "2 w1 "], "{kind:?}");
    }
}

/// LSNs begin low again; the commits are later.
#[test]
fn a_database_that_was_restored_goes_on_at_lower_positions() {
    let at = |made: Made, ms: u64| {
        let value = made.value.map(|value| value.replace("1700000000000", &ms.to_string()));
        Made { value, ..made }
    };
    let day = 86_400_000;
    let runs = [
        vec![at(stock('c', (Some(900), 910), &row(1, "a", "")), 1_700_000_000_000)],
        vec![at(stock('u', (Some(100), 110), &row(1, "restored", "")), 1_700_000_000_000 + day)],
        vec![at(stock('c', (Some(115), 120), &row(2, "b", "")), 1_700_000_000_001 + day)],
    ];
    check("restored", &runs, &["1 restored ", "2 b "]);
}

#[test]
fn a_truncate_without_schema_is_the_first_record_of_its_table() {
    let runs = [
        vec![bare(stock('t', (Some(100), 110), ""))],
        vec![bare(stock('c', (Some(115), 120), &row(1, "a", "b")))],
    ];
    check("bare_truncate", &runs, &["1 a b"]);
}
