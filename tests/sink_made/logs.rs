//! Logs that are not the ones of the stored offsets: topics that were created again, under a sink that
//! runs and under one that does not, and snapshots that are gone from their topic.

use std::time::Duration;

use cdc_testkit::process::wait_until;

use crate::epochs::Source;
use crate::epochs::read;
use crate::sink::Play;
use crate::sink::Sink;
use crate::sink::records::create;
use crate::sink::records::row;
use crate::sink::records::update;
use crate::sink::scene;
use crate::sink::warehouse::KINDS;
use crate::sink::warehouse::Kind;

const MARK: &str = "SELECT CAST(definition AS text) FROM _cdc.tables";

/// The topic is deleted and created again, empty.
fn create_again(made: &Play) {
    scene::kafka().delete_topic(&made.topic);
    scene::kafka().create_topic(&made.topic, 1, &[]);
}

#[test]
fn a_topic_created_again_and_grown_past_the_stored_offset_loses_no_record() {
    for kind in KINDS {
        for (name, more) in [("exactly", false), ("past", true)] {
            let made = Play::new(&format!("grown_{name}"), kind, 1);
            made.apply(&[
                create("1:10:0:0", &row(1, "a", "x")),
                create("1:11:0:0", &row(2, "b", "")),
            ]);
            create_again(&made);
            made.send(&[
                update("1:20:0:0", &row(1, "a2", "y")),
                create("1:21:0:0", &row(3, "c", "")),
            ]);
            let mut expected = vec!["1 a2 y", "2 b ", "3 c "];
            if more {
                made.send(&[create("1:22:0:0", &row(4, "d", ""))]);
                expected.push("4 d ");
            }
            made.options.once();
            assert_eq!(made.large_rows(), expected, "{kind:?}, grown {name} to the offset");
        }
    }
}

/// Brokers before topic ids, and logs that lost their end: only the records tell.
#[test]
fn another_record_where_the_last_one_was_applied_is_another_log() {
    for kind in KINDS {
        let made = Play::new("other_record", kind, 1);
        made.apply(&[create("1:10:0:0", &row(1, "a", "")), create("1:11:0:0", &row(2, "b", ""))]);
        create_again(&made);
        made.send(&[update("1:20:0:0", &row(1, "a2", "")), create("1:21:0:0", &row(3, "c", ""))]);
        made.store.execute("UPDATE _cdc.offsets SET log = ''");
        made.options.once();
        assert_eq!(made.large_rows(), ["1 a2 ", "2 b ", "3 c "], "{kind:?}");
    }
}

#[test]
fn a_running_sink_notices_that_its_topic_was_created_again() {
    let made = Play::new("again_running", Kind::Postgres, 1);
    made.send(&[create("1:10:0:0", &row(1, "a", "")), create("1:11:0:0", &row(2, "b", ""))]);
    let mut sink = Sink::start(made.options.clone());
    let table = "SELECT CAST(count(*) AS text) FROM pg_tables WHERE schemaname = 'made'";
    wait_until(Duration::from_secs(60), "the rows", || {
        sink.assert_running();
        made.one(table) == "1" && made.large_rows() == ["1 a ", "2 b "]
    });
    sink.daemon().freeze();
    create_again(&made);
    made.send(&[
        update("1:20:0:0", &row(1, "a2", "")),
        create("1:21:0:0", &row(3, "c", "")),
        create("1:22:0:0", &row(4, "d", "")),
    ]);
    sink.daemon().thaw();
    wait_until(Duration::from_secs(60), "the new topic's records", || {
        sink.assert_running();
        made.large_rows() == ["1 a2 ", "2 b ", "3 c ", "4 d "]
    });
    sink.stop();
}

#[test]
fn a_new_read_in_a_topic_created_again_is_applied_before_anything_is_removed() {
    for kind in KINDS {
        let source = Source::new("again_anew", kind, 1);
        let reads = |epoch: u64, ids: std::ops::RangeInclusive<i32>| {
            let read = |id: i32| read(&format!("{epoch}:0:{id}:0"), &row(id, "read", ""));
            ids.map(read).collect::<Vec<_>>()
        };
        source.apply(reads(1, 1..=5));
        source.read_between(1, &[0], &[5]);
        create_again(&source.made);
        source.send(reads(2, 1..=4));
        source.read_between(2, &[0], &[4]);
        source.send(vec![
            update("2:20:0:0", &row(1, "new", "")),
            update("2:21:0:0", &row(2, "new", "")),
        ]);
        source.apply(vec![]);
        let rows = source.made.large_rows();
        assert_eq!(rows, ["1 new ", "2 new ", "3 read ", "4 read "], "{kind:?}");
    }
}

#[test]
fn nothing_is_removed_for_reads_that_are_gone_from_their_topic() {
    for kind in KINDS {
        let source = Source::new("reads_gone", kind, 1);
        source.apply((1..=4).map(|id| read(&format!("1:0:{id}:0"), &row(id, "a", ""))).collect());
        source.read_between(1, &[0], &[4]);
        source.send((1..=3).map(|id| read(&format!("2:0:{id}:0"), &row(id, "b", ""))).collect());
        source.read_between(2, &[4], &[7]);
        source.send(vec![update("2:20:0:0", &row(1, "c", ""))]);
        scene::kafka().delete_records(&source.made.topic, 0, 7);
        source.made.options.try_once().expect(78, &["3 records were removed"]);
        source.made.options.clone().group(&format!("other_{kind:?}")).once();
        let rows = source.made.large_rows();
        assert_eq!(rows, ["1 c ", "2 a ", "3 a ", "4 a "], "{kind:?}");
        let mark = source.made.one(MARK);
        assert!(mark.contains("were removed from topic"), "{kind:?}: {mark}");
    }
}
