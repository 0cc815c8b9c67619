//! A warehouse that a person has changed: each time one message says what is in the way and what to
//! do about it, and nothing is tried again for ever.

use crate::sink::Play;
use crate::sink::produce::Made;
use crate::sink::records::create;
use crate::sink::records::row;
use crate::sink::records::update;
use crate::sink::warehouse::KINDS;
use crate::sink::warehouse::Kind;

/// With a further column, its value as JSON.
pub(super) fn with(made: Made, (name, of): (&str, &str), value: &str) -> Made {
    let big = r#"{"type":"string","optional":true,"field":"big"}"#;
    let field = format!(r#"{{"type":"{of}","optional":true,"field":"{name}"}}"#);
    let text = made.value.map(|text| {
        text.replace(big, &format!("{big},{field}"))
            .replace(r#""big":"x"}"#, &format!(r#""big":"x","{name}":{value}}}"#))
    });
    Made { value: text, ..made }
}

#[test]
fn a_unique_index_that_a_reader_has_made_is_named_and_others_go_on() {
    for kind in KINDS {
        let made = Play::new("reader_index", kind, 1);
        made.apply(&[create("1:10:0:0", &row(1, "a", "x")), create("1:11:0:0", &row(2, "b", "x"))]);
        made.store.execute("CREATE UNIQUE INDEX items_a ON made.items (a)");
        made.send(&[update("1:20:0:0", &row(1, "b", "x")), create("1:21:0:0", &row(3, "c", "x"))]);
        let index = match kind {
            Kind::Postgres => "\"items_a\"",
            Kind::DuckDb => "unique index",
        };
        let ended = made.options.try_once();
        ended.expect(78, &[index, "drop it there", "partition 0 offset 2"]);
        assert!(!ended.log.contains("trying again"), "{}", ended.log);
        made.options.clone().set("errors.tolerance", "all").once();
        assert_eq!(made.rows(), ["1 a", "2 b", "3 c"], "{kind:?}");
        made.store.execute("DROP INDEX made.items_a");
        made.options.replay(1, 0);
        assert_eq!(made.rows(), ["1 b", "2 b", "3 c"], "{kind:?}");
    }
}

#[test]
fn a_column_that_somebody_has_added_and_that_the_source_gets_is_named() {
    for kind in KINDS {
        let made = Play::new("mine", kind, 1);
        made.apply(&[create("1:10:0:0", &row(1, "a", "x"))]);
        made.store.execute("ALTER TABLE made.items ADD COLUMN mine text");
        made.send(&[with(create("1:20:0:0", &row(2, "b", "x")), ("mine", "string"), "\"theirs\"")]);
        let ended = made.options.try_once();
        ended.expect(78, &["made.items", "\"mine\"", "rename or drop that of the"]);
        assert!(!ended.log.contains("trying again"), "{}", ended.log);
        made.store.execute("ALTER TABLE made.items RENAME COLUMN mine TO mine_too");
        made.options.once();
        let found = made.one("SELECT mine FROM made.items WHERE id = 2");
        assert_eq!(found, "theirs", "{kind:?}");
    }
}

#[test]
fn a_table_or_column_dropped_by_hand_is_named_with_the_remedy() {
    for kind in KINDS {
        for dropped in ["TABLE made.items", "COLUMN big"] {
            let name = if dropped.starts_with("TABLE") { "table" } else { "column" };
            let made = Play::new(&format!("dropped_{name}"), kind, 1);
            made.apply(&[create("1:10:0:0", &row(1, "a", "x"))]);
            made.store.execute(&match name {
                "table" => format!("DROP {dropped}"),
                _ => format!("ALTER TABLE made.items DROP {dropped}"),
            });
            made.send(&[update("1:20:0:0", &row(1, "b", "x"))]);
            let ended = made.options.try_once();
            ended.expect(78, &["made.items", "DELETE FROM _cdc.tables WHERE id = "]);
            if name == "column" {
                ended.expect(78, &["\"big\""]);
                made.store.execute("ALTER TABLE made.items ADD COLUMN big text");
                made.options.once();
                assert_eq!(made.large_rows(), ["1 b x"], "{kind:?}");
            }
        }
    }
}

/// DuckDB lets a type be changed under a view.
#[test]
fn what_depends_on_a_column_that_has_to_be_widened_is_named() {
    let made = Play::new("depends", Kind::Postgres, 1);
    let number = |made: Made, of: &str, value: &str| with(made, ("n", of), value);
    made.apply(&[number(create("1:10:0:0", &row(1, "a", "x")), "int32", "5")]);
    made.store.execute("CREATE VIEW made.report AS SELECT n FROM made.items");
    made.send(&[number(create("1:20:0:0", &row(2, "b", "x")), "int64", "5000000000")]);
    let ended = made.options.try_once();
    ended.expect(78, &["made.items", "view made.report", "column \"n\"", "drop what depends on"]);
    made.store.execute("DROP VIEW made.report");
    made.options.once();
    assert_eq!(made.one("SELECT n::text FROM made.items WHERE id = 2"), "5000000000");
}

#[test]
fn a_view_in_a_tables_place_is_named() {
    let made = Play::new("in_place", Kind::Postgres, 1);
    made.store.execute("CREATE SCHEMA made; CREATE VIEW made.items AS SELECT 1 AS id");
    made.send(&[create("1:10:0:0", &row(1, "a", "x"))]);
    made.options.try_once().expect(78, &["a view named made.items", "rename or drop it"]);
}

#[test]
fn names_that_are_the_warehouses_own_are_told_and_other_tables_go_on() {
    for kind in KINDS {
        let made = Play::new("own_names", kind, 1);
        let name = match kind {
            Kind::Postgres => "_cdc_position",
            Kind::DuckDb => "rowid",
        };
        let other = |made: Made| {
            let value = made.value.map(|value| value.replace("\"items\"", "\"others\""));
            Made { value, ..made }
        };
        made.send(&[
            with(create("1:10:0:0", &row(1, "a", "x")), (name, "string"), "\"s\""),
            other(create("1:11:0:0", &row(5, "e", "x"))),
        ]);
        let ended = made.options.try_once();
        ended.expect(78, &[name, "made.items", "column.exclude.list"]);
        assert!(!ended.log.contains("trying again"), "{}", ended.log);
        made.options.clone().set("errors.tolerance", "all").once();
        assert_eq!(made.one("SELECT a FROM made.others"), "e", "{kind:?}");
    }
}
