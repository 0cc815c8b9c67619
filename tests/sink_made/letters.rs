//! Records that cannot be applied, and what becomes of those that follow them.

use std::time::Duration;

use cdc_testkit::process::wait_until;

use crate::sink::Play;
use crate::sink::Sink;
use crate::sink::SinkOptions;
use crate::sink::produce::Made;
use crate::sink::records::create;
use crate::sink::records::row;
use crate::sink::records::update;
use crate::sink::warehouse::KINDS;
use crate::sink::warehouse::Kind;

fn bad(position: &str, value: &str) -> Made {
    let mut made = create(position, &row(2, "b", ""));
    made.value = Some(value.to_owned());
    made
}

/// A change of row 2 whose key is no number.
fn broken(position: &str) -> Made {
    let value = create(position, &row(2, "b", "")).value.unwrap();
    bad(position, &value.replace("\"id\":2", "\"id\":\"two\""))
}

fn tolerant(made: &Play) -> SinkOptions {
    made.options.clone().set("errors.tolerance", "all")
}

/// A person corrects the bytes of a letter.
fn mend(made: &Play, offset: i64, by: &Made) {
    let value = by.value.as_deref().unwrap();
    let mended: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let stored = match made.store.kind {
        Kind::Postgres => format!("decode('{mended}', 'hex')"),
        Kind::DuckDb => format!("unhex('{mended}')"),
    };
    made.store.execute(&format!(
        "UPDATE _cdc.dead_letters SET value = {stored} WHERE \"offset\" = {offset}"
    ));
}

#[test]
fn a_bad_record_stops_everything_at_its_place() {
    for kind in KINDS {
        let without_op =
            create("1:12:0:0", &row(2, "b", "")).value.unwrap().replace("\"op\":\"c\",", "");
        let wrong_type = create("1:12:0:0", &row(2, "b", ""))
            .value
            .unwrap()
            .replace("\"id\":2", "\"id\":9999999999");
        let faults = [("json", "{\"a\":".to_owned()), ("op", without_op), ("type", wrong_type)];
        for (fault, value) in faults {
            let made = Play::new(&format!("stop_{fault}"), kind, 1);
            made.send(&[
                create("1:10:0:0", &row(1, "a", "")),
                bad("1:12:0:0", &value),
                create("1:14:0:0", &row(3, "c", "")),
            ]);
            let place = format!("{} partition 0 offset 1", made.topic);
            made.options.try_once().expect(78, &[&place]);
            assert!(made.store.query("SELECT name FROM _cdc.tables").len() < 2);
            let ended = made.options.try_once();
            ended.expect(78, &[&place]);
            let keyless = made.one("SELECT CAST(count(*) AS text) FROM _cdc.dead_letters");
            assert_eq!(keyless, "0", "{kind:?} {fault}");
        }
    }
}

#[test]
fn bad_records_are_put_aside_with_what_follows_and_replayed() {
    for kind in KINDS {
        let made = Play::new("aside", kind, 1);
        let options = tolerant(&made);
        made.send(&[
            create("1:10:0:0", &row(1, "a", "")),
            broken("1:12:0:0").header("kept", "as it was"),
            update("1:13:0:0", &row(2, "b2", "")),
            create("1:14:0:0", &row(3, "c", "")),
        ]);
        options.once();
        assert_eq!(made.large_rows(), ["1 a ", "3 c "], "{kind:?}");
        made.send(&[update("1:15:0:0", &row(2, "b3", "")), update("1:16:0:0", &row(3, "c2", ""))]);
        options.once();
        assert_eq!(made.large_rows(), ["1 a ", "3 c2 "], "{kind:?}");
        let letters = "SELECT topic || ' ' || CAST(partition AS text) || ' ' || \
            CAST(\"offset\" AS text) FROM _cdc.dead_letters ORDER BY \"offset\"";
        let places: Vec<String> =
            made.store.query(letters).into_iter().map(|mut row| row.remove(0).unwrap()).collect();
        let expected: Vec<String> =
            [1, 2, 4].iter().map(|at| format!("{} 0 {at}", made.topic)).collect();
        assert_eq!(places, expected, "{kind:?}");
        let reason = made.one("SELECT reason FROM _cdc.dead_letters ORDER BY \"offset\" LIMIT 1");
        assert!(reason.contains("id"), "{kind:?}: {reason}");
        let headers = made
            .one("SELECT CAST(headers AS text) FROM _cdc.dead_letters ORDER BY \"offset\" LIMIT 1");
        assert!(headers.contains("as it was"), "{kind:?}: {headers}");
        options.replay(0, 3);
        mend(&made, 1, &create("1:12:0:0", &row(2, "b", "")));
        options.replay(3, 0);
        assert_eq!(made.large_rows(), ["1 a ", "2 b3 ", "3 c2 "], "{kind:?}");
        made.send(&[update("1:20:0:0", &row(2, "b4", ""))]);
        options.once();
        assert_eq!(made.large_rows(), ["1 a ", "2 b4 ", "3 c2 "], "{kind:?}");
    }
}

#[test]
fn a_letter_that_was_mended_is_not_put_back_by_its_bad_record() {
    for kind in KINDS {
        let made = Play::new("mended", kind, 1);
        let options = tolerant(&made);
        made.send(&[create("1:10:0:0", &row(1, "a", "")), broken("1:12:0:0")]);
        options.once();
        mend(&made, 1, &create("1:12:0:0", &row(2, "mended", "")));
        // All of it is read again.
        made.store.execute("UPDATE _cdc.offsets SET next_offset = 0");
        options.once();
        assert_eq!(made.one("SELECT CAST(count(*) AS text) FROM _cdc.dead_letters"), "1");
        options.replay(1, 0);
        assert_eq!(made.large_rows(), ["1 a ", "2 mended "], "{kind:?}");
    }
}

/// A DuckDB file cannot be replayed into while a sink has it.
#[test]
fn a_running_sink_notices_that_a_key_waits_no_longer() {
    let made = Play::new("notices", Kind::Postgres, 1);
    let options = tolerant(&made);
    made.send(&[create("1:10:0:0", &row(1, "a", "")), broken("1:12:0:0")]);
    let mut sink = Sink::start(options.clone());
    let letters = "SELECT CAST(count(*) AS text) FROM _cdc.dead_letters";
    // The sink makes the table.
    let has = "SELECT CAST(count(*) AS text) FROM pg_tables WHERE schemaname = 'made'";
    wait_until(Duration::from_secs(60), "the bad record to be put aside", || {
        made.one(has) == "1" && made.one(letters) == "1"
    });
    mend(&made, 1, &create("1:12:0:0", &row(2, "b", "")));
    options.replay(1, 0);
    made.send(&[update("1:13:0:0", &row(2, "b2", ""))]);
    wait_until(Duration::from_secs(60), "the next change of the key", || {
        sink.assert_running();
        made.large_rows() == ["1 a ", "2 b2 "]
    });
    assert_eq!(made.one(letters), "0");
    sink.stop();
}

/// PostgreSQL refuses the batch for its first record: it is made again in halves, by a sink that
/// must not have forgotten which keys wait.
#[test]
fn a_key_that_waits_goes_on_waiting_when_its_batch_is_halved() {
    let made = Play::new("halved", Kind::Postgres, 1);
    let options = tolerant(&made);
    made.send(&[create("1:10:0:0", &row(1, "a", "")), broken("1:12:0:0")]);
    options.once();
    made.send(&[
        create("1:13:0:0", &row(3, r"no \u0000 in a text", "")),
        update("1:14:0:0", &row(2, "b2", "")),
        update("1:15:0:0", &row(1, "a2", "")),
    ]);
    options.once();
    assert_eq!(made.large_rows(), ["1 a2 "]);
    assert_eq!(made.one("SELECT CAST(count(*) AS text) FROM _cdc.dead_letters"), "3");
}
