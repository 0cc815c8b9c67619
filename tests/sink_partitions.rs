//! Goal: what lies in several partitions ends as if it had come in one order, whoever reads which
//! of them and when.
//!
//! Method: records made by hand in a real Kafka, in partitions that are read one after the other,
//! and what is in the warehouse.

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

use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process::wait_until;
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer as _;

use sink::Play;
use sink::Sink;
use sink::produce;
use sink::produce::Made;
use sink::records::LEFT_OUT;
use sink::records::arrive;
use sink::records::create;
use sink::records::delete;
use sink::records::leave;
use sink::records::row;
use sink::records::truncate;
use sink::scene;
use sink::warehouse::KINDS;
use sink::warehouse::Kind;

const SOON: Duration = Duration::from_secs(60);

/// A record of a table whose rows nothing tells apart, though its records may have keys: the key's
/// column may be null.
fn loose(mut made: Made) -> Made {
    made.key = made
        .key
        .map(|key| key.replace(r#""optional":false,"field""#, r#""optional":true,"field""#));
    made
}

fn come(position: &str, id: i32) -> Made {
    loose(create(position, &row(id, "x", ""))).to(1)
}

fn go(position: &str, id: i32) -> Made {
    loose(delete(position, &row(id, "x", ""))).to(1)
}

/// Rows of partition 1 that are older than a TRUNCATE in partition 0 go with it, whenever it is
/// read; equal ones that are newer stay.
#[test]
fn a_truncate_of_a_multiset_takes_the_older_of_equal_rows() {
    for kind in KINDS {
        // All at once, and each record in a batch of its own.
        for (name, records) in [("whole", "100000"), ("single", "1")] {
            let made = Play::new(&format!("multiset_{name}"), kind, 2);
            let options = made.options.clone().set("batch.records", records);
            made.send(&[come("1:10:0:0", 1), come("1:10:1:0", 2), come("1:10:2:0", 3)]);
            options.once();
            // The TRUNCATE at 20 is read last: row 1 goes and comes again, row 2 comes once more,
            // row 3 goes after it had come again.
            made.send(&[
                go("1:15:0:0", 1),
                come("1:25:0:0", 1),
                come("1:26:0:0", 2),
                come("1:27:0:0", 3),
                go("1:28:0:0", 3),
                come("1:29:0:0", 4),
                go("1:30:0:0", 4),
                come("1:31:0:0", 4),
            ]);
            options.once();
            made.send(&[loose(truncate("1:20:0:0"))]);
            options.once();
            assert_eq!(made.rows(), ["1 x", "2 x", "4 x"], "{kind:?} {name}");
            // And a partition that is behind it.
            made.send(&[come("1:40:0:0", 5)]);
            made.send(&[loose(truncate("1:39:0:0"))]);
            options.once();
            assert_eq!(made.rows(), ["5 x"], "{kind:?} {name}");
        }
    }
}

/// A new read of everything replaces what an interrupted one has brought, in whatever order the
/// partitions come.
#[test]
fn a_multiset_holds_the_rows_of_the_latest_epoch_of_all_partitions() {
    for kind in KINDS {
        for (name, records) in [("whole", "100000"), ("single", "1")] {
            let made = Play::new(&format!("epochs_{name}"), kind, 3);
            let options = made.options.clone().set("batch.records", records);
            let read = |position: &str, id: i32, partition: i32| {
                let mut made = loose(create(position, &row(id, "x", ""))).to(partition);
                made.value = made.value.map(|value| value.replace(r#""op":"c""#, r#""op":"r""#));
                made
            };
            made.send(&[read("1:0:0:0", 1, 0), read("1:0:1:0", 2, 2)]);
            options.once();
            made.send(&[read("2:0:0:0", 1, 0), read("1:0:2:0", 2, 2)]);
            options.once();
            made.send(&[read("2:0:1:0", 2, 2), read("2:0:2:0", 2, 2), read("1:0:3:0", 9, 1)]);
            options.once();
            assert_eq!(made.rows(), ["1 x", "2 x", "2 x"], "{kind:?} {name}");
        }
    }
}

/// Another member of the group of a topic's name.
fn guest(topic: &str) -> BaseConsumer {
    let guest: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", scene::kafka().bootstrap())
        .set("group.id", topic)
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", "6000")
        .create()
        .unwrap();
    guest.subscribe(&[topic]).unwrap();
    guest
}

/// Another member of the group comes and takes partitions, and goes again without having applied
/// them: `--once` has not ended by then.
#[test]
fn a_run_with_once_ends_only_when_every_partition_is_applied() {
    for kind in KINDS {
        let made = Play::new("guest", kind, 4);
        let records: Vec<Made> = (0..40)
            .map(|id| create(&format!("1:{}:0:0", 10 + id), &row(id, "a", "")).to(id % 4))
            .collect();
        made.send(&records);
        let guest = guest(&made.topic);
        while guest.assignment().unwrap().count() != 4 {
            guest.poll(Duration::from_millis(50));
        }
        let options = made.options.clone();
        let run = std::thread::spawn(move || options.once());
        // It is let in, and then the guest keeps its share for a while.
        let mut shared = None;
        while shared.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(4)) {
            guest.poll(Duration::from_millis(50));
            if shared.is_none() && guest.assignment().unwrap().count() == 2 {
                shared = Some(Instant::now());
            }
        }
        assert!(!run.is_finished(), "{kind:?}: it ended while another had half of the partitions");
        guest.unsubscribe();
        drop(guest);
        run.join().unwrap();
        assert_eq!(made.rows().len(), 40, "{kind:?}");
    }
}

/// A partition that waits for another one is stopped. When the group is shared out anew meanwhile,
/// it goes on all the same.
#[test]
fn a_partition_that_waited_goes_on_after_a_rebalance() {
    let made = Play::new("waited", Kind::Postgres, 2);
    made.apply(&[create("1:10:0:0", &row(1, "a", "large"))]);
    let mut sink = Sink::start(made.options.clone().set("key.change.wait.ms", "600000"));
    made.send(&[arrive("1:20:0:1", &row(11, "b", LEFT_OUT)).to(1)]);
    wait_until(SOON, "the create half to wait", || {
        sink.assert_running();
        sink.metrics().and_then(|all| all.metric("cdc_sink_waiting_partitions")) == Some(1.0)
    });
    let guest = guest(&made.topic);
    while guest.assignment().unwrap().count() != 1 {
        guest.poll(Duration::from_millis(50));
        sink.assert_running();
    }
    guest.unsubscribe();
    drop(guest);
    made.send(&[leave("1:20:0:0", &row(1, "", "")), create("1:21:0:0", &row(5, "c", "")).to(1)]);
    wait_until(SOON, "everything to be applied", || {
        sink.assert_running();
        made.rows() == ["11 b", "5 c"]
    });
    sink.stop();
    let large = "SELECT big FROM made.items WHERE id = 11";
    assert_eq!(made.store.one(large).as_deref(), Some("large"));
}

/// What a delete says of columns other than the key may be no value of theirs.
#[test]
fn a_delete_is_known_by_its_key_alone() {
    for kind in KINDS {
        let made = Play::new("stand_in", kind, 1);
        let typed = |mut made: Made| {
            let old = r#"{"type":"string","optional":true,"field":"a"}"#;
            let new = r#"{"type":"string","optional":false,"name":"io.debezium.data.Json","version":1,"field":"a"}"#;
            made.value = made.value.map(|value| value.replace(old, new));
            made
        };
        made.apply(&[
            typed(create("1:10:0:0", &row(1, "[1]", ""))),
            typed(create("1:11:0:0", &row(2, "[2]", ""))),
        ]);
        made.apply(&[typed(delete("1:20:0:0", &row(1, "", "")))]);
        let rows = made.store.query("SELECT CAST(id AS text) FROM made.items");
        assert_eq!(rows, [[Some("2".to_owned())]], "{kind:?}");
    }
}

/// A row that was deleted while the source was read again, for the second time, is not brought by
/// that read, and no delete says so.
#[test]
fn rows_that_a_new_epoch_does_not_bring_again_are_removed_when_it_is_complete() {
    // In runs of their own, and the older epoch in the batch that makes the table.
    for (kind, whole) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let made = Play::new(&format!("sweep_{whole}"), kind, 2);
        let prefix = format!("swept_{whole}_{kind:?}");
        let state = format!("{prefix}.__state");
        scene::kafka().create_topic(&state, 1, &[("cleanup.policy", "compact")]);
        let ours = |mut made: Made, operation: &str| {
            let own = |value: String| {
                let value = value.replace(r#""name":"hand""#, &format!(r#""name":"{prefix}""#));
                value.replace(r#""op":"c""#, operation)
            };
            made.value = made.value.map(own);
            made
        };
        let read = |position: &str, id: i32, partition: i32| {
            let partition = if whole { 0 } else { partition };
            ours(create(position, &row(id, "x", "")).to(partition), r#""op":"r""#)
        };
        let store = |epoch: u32, ends: [i32; 2]| {
            let [first, second] = ends;
            let record = Made {
                key: Some(r#"{"slot":"s","schema":"made","table":"items"}"#.to_owned()),
                value: Some(format!(
                    r#"{{"oid":1,"epoch_begun":2,"epoch_complete":{epoch},"end_offsets":{{"0":{first},"1":{second}}},"topic":"{}"}}"#,
                    made.topic
                )),
                ..Made::default()
            };
            produce::send(scene::kafka(), &state, &[record]);
        };
        store(1, [2, 2]);
        made.send(&[read("1:0:0:0", 1, 0), read("1:0:1:0", 2, 0)]);
        made.send(&[read("1:0:2:0", 3, 1), read("1:0:3:0", 4, 1)]);
        if !whole {
            made.options.once();
        }
        made.send(&[read("2:0:0:0", 1, 0), read("2:0:1:0", 3, 1)]);
        made.apply(&[ours(create("2:10:0:0", &row(5, "x", "")), r#""op":"c""#)]);
        assert_eq!(made.rows(), ["1 x", "2 x", "3 x", "4 x", "5 x"], "{kind:?}: it goes on");
        store(2, if whole { [6, 0] } else { [3, 3] });
        made.options.once();
        assert_eq!(made.rows(), ["1 x", "3 x", "5 x"], "{kind:?}: it is complete");
        // Nothing at all was there.
        store(3, if whole { [7, 0] } else { [4, 3] });
        made.options.once();
        assert_eq!(made.rows(), [] as [&str; 0], "{kind:?}: the source is empty");
        made.apply(&[ours(create("3:10:0:0", &row(6, "x", "")), r#""op":"c""#)]);
        made.apply(&[ours(create("2:90:0:0", &row(7, "x", "")), r#""op":"c""#)]);
        assert_eq!(made.rows(), ["6 x"], "{kind:?}: and is written again");
    }
}
