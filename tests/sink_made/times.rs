//! Rows carry the commit time of their last change.

use crate::sink::Play;
use crate::sink::produce::Made;
use crate::sink::records::create;
use crate::sink::records::delete;
use crate::sink::records::row;
use crate::sink::records::truncate;
use crate::sink::records::update;
use crate::sink::warehouse::KINDS;
use crate::sink::warehouse::Kind;

/// Committed so many seconds after the others.
fn later(seconds: u32, made: Made) -> Made {
    let millis = format!("\"ts_ms\":{}", 1_700_000_000_000 + u64::from(seconds) * 1000 + 5);
    let value = made.value.map(|value| value.replacen("\"ts_ms\":1700000000000", &millis, 1));
    Made { value, ..made }
}

/// Number of each row, and how many milliseconds after the first it was committed.
fn times(made: &Play) -> String {
    let millis = match made.store.kind {
        Kind::Postgres => "CAST(extract(epoch FROM _cdc_committed_at) * 1000 AS bigint)",
        Kind::DuckDb => "epoch_ms(_cdc_committed_at)",
    };
    made.one(&format!(
        "SELECT string_agg(CAST(id AS text) || ':' || CAST({millis} - 1700000000000 AS text), ' ' \
         ORDER BY id) FROM made.items"
    ))
}

#[test]
fn a_row_has_the_commit_time_of_its_last_change() {
    for kind in KINDS {
        let made = Play::new("times", kind, 1);
        let options = made.options.clone().set("delete.mode", "soft");
        made.send(&[
            create("1:10:0:0", &row(1, "a", "x")),
            create("1:10:1:0", &row(2, "b", "x")),
            later(1, create("1:11:0:0", &row(3, "c", "x"))),
        ]);
        options.once();
        assert_eq!(times(&made), "1:0 2:0 3:1005", "{kind:?}");
        made.send(&[
            later(2, update("1:20:0:0", &row(1, "a2", "x"))),
            later(3, update("1:21:0:0", &row(1, "a3", "x"))),
            later(4, delete("1:22:0:0", &row(2, "", ""))),
        ]);
        options.once();
        assert_eq!(times(&made), "1:3005 2:4005 3:1005", "{kind:?}");
        made.send(&[later(9, truncate("1:30:0:0"))]);
        options.once();
        assert_eq!(times(&made), "1:9005 2:4005 3:9005", "{kind:?}");
    }
}

#[test]
fn rows_without_key_have_a_commit_time_and_older_tables_none() {
    for kind in KINDS {
        let keyless = |made: Made| Made { key: None, ..made };
        let made = Play::new("times_bag", kind, 1);
        made.apply(&[
            keyless(create("1:10:0:0", &row(1, "a", "x"))),
            keyless(later(1, create("1:11:0:0", &row(1, "a", "x")))),
        ]);
        assert_eq!(times(&made), "1:0 1:1005", "{kind:?}");
        let made = Play::new("times_none", kind, 1);
        made.send(&[create("1:10:0:0", &row(1, "a", "x"))]);
        made.options.clone().set("commit.time.column", "false").once();
        made.apply(&[update("1:20:0:0", &row(1, "b", "x"))]);
        let columns = "SELECT CAST(count(*) AS text) FROM information_schema.columns WHERE \
                       table_name = 'items' AND column_name = '_cdc_committed_at'";
        assert_eq!(made.one(columns), "0", "{kind:?}");
        assert_eq!(made.rows(), ["1 b"], "{kind:?}");
    }
}
