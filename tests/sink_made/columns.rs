//! Versions of a table's columns that come in an order in which they never were.

use crate::sink::Play;
use crate::sink::produce::Made;
use crate::sink::records::create;
use crate::sink::records::row;
use crate::sink::records::update;
use crate::sink::warehouse::KINDS;

/// With a further column, as a snapshot at this LSN reads it.
fn read_with_c(position: &str, lsn: u64, id: i32) -> Made {
    let row = row(id, "read", "x").replace('}', r#","c":"as read"}"#);
    let made = Made::change('r', position, [None, Some(&row)]);
    let big = r#"{"type":"string","optional":true,"field":"big"}"#;
    let c = r#"{"type":"string","optional":true,"default":"given","field":"c"}"#;
    let value = made.value.map(|value| {
        value
            .replace(big, &format!("{big},{c}"))
            .replace(r#""lsn":1,"#, &format!(r#""lsn":{lsn},"#))
    });
    Made { value, ..made }
}

#[test]
fn a_change_older_than_a_snapshot_has_what_a_later_column_gave_to_its_rows() {
    for kind in KINDS {
        let made = Play::new("older_than_read", kind, 1);
        made.apply(&[
            read_with_c("1:0:1:0", 1000, 1),
            read_with_c("1:0:2:0", 1000, 2),
            update("1:500:0:0", &row(1, "older", "x")),
            create("1:600:0:0", &row(3, "older", "x")),
        ]);
        let rows =
            "SELECT string_agg(a || ' ' || coalesce(c, '-'), ', ' ORDER BY id) FROM made.items";
        assert_eq!(made.one(rows), "older given, read as read, older given", "{kind:?}");
        // After the snapshot it is dropped.
        made.apply(&[update("1:1000:0:0", &row(1, "later", "x"))]);
        assert_eq!(made.one(rows), "later -, read as read, older given", "{kind:?}");
    }
}
