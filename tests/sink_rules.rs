//! Goal: each rule of the companion is needed, and each is there.
//!
//! Method: records made by hand, in an order that a rule is for: a redelivery, a partition that is
//! behind, a transaction that commits late, a crash. The same scene is played with all rules, where
//! the warehouse must hold what the source holds, and with the one rule turned off, where it must
//! not. A switch that turned nothing off would be seen here, and a rule that nothing needs too.

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

use sink::SinkOptions;
use sink::Store;
use sink::produce;
use sink::produce::Made;
use sink::scene;
use sink::warehouse::KINDS;

/// What is sent, then a run of the sink; several times.
struct Scene {
    /// The rule that it is for.
    rule: &'static str,
    partitions: i32,
    steps: Vec<Step>,
    /// `id a` of every row at the end, sorted.
    expected: &'static [&'static str],
}

enum Step {
    /// Records, then a run until everything is applied.
    Apply(Vec<Made>),
    /// Records, then a run that dies at this point.
    Die(&'static str, Vec<Made>),
}

fn row(id: i32, a: &str) -> String {
    format!(r#"{{"id":{id},"a":"{a}","big":null}}"#)
}

fn create(position: &str, id: i32, a: &str) -> Made {
    Made::change('c', position, [None, Some(&row(id, a))])
}

fn update(position: &str, id: i32, a: &str) -> Made {
    Made::change('u', position, [None, Some(&row(id, a))])
}

fn delete(position: &str, id: i32) -> Made {
    Made::change('d', position, [Some(&row(id, "")), None])
}

fn truncate(position: &str) -> Made {
    Made::change('t', position, [None, None])
}

/// The change's own place in the log, which is not where its transaction committed.
fn with_lsn(mut made: Made, lsn: u64) -> Made {
    made.value = made.value.map(|value| value.replace(r#""lsn":1,"#, &format!(r#""lsn":{lsn},"#)));
    made
}

fn without_key(mut made: Made) -> Made {
    made.key = None;
    made
}

fn scenes() -> Vec<Scene> {
    vec![
        Scene {
            // A long transaction wrote first and committed last.
            rule: "raw_lsn",
            partitions: 1,
            steps: vec![
                Step::Apply(vec![
                    with_lsn(create("1:100:0:0", 1, "first"), 90),
                    with_lsn(create("1:100:1:0", 2, "first"), 95),
                ]),
                Step::Apply(vec![
                    with_lsn(update("1:200:0:0", 1, "of the long transaction"), 50),
                    with_lsn(delete("1:200:1:0", 2), 51),
                ]),
            ],
            expected: &["1 of the long transaction"],
        },
        Scene {
            // The agent sent again after the topic had got another partition.
            rule: "without_tombstones",
            partitions: 2,
            steps: vec![
                Step::Apply(vec![create("1:10:0:0", 1, "x"), create("1:20:0:0", 2, "y")]),
                Step::Apply(vec![delete("1:30:0:0", 1)]),
                Step::Apply(vec![create("1:10:0:0", 1, "x").to(1)]),
            ],
            expected: &["2 y"],
        },
        Scene {
            // A partition that is behind brings rows that were emptied since.
            rule: "without_floor",
            partitions: 2,
            steps: vec![
                Step::Apply(vec![create("1:10:0:0", 1, "x"), truncate("1:30:0:0")]),
                Step::Apply(vec![
                    create("1:20:0:0", 2, "old").to(1),
                    create("1:40:0:0", 3, "new").to(1),
                ]),
            ],
            expected: &["3 new"],
        },
        Scene {
            // The agent died before it had confirmed, and sent again.
            rule: "without_watermark",
            partitions: 1,
            steps: vec![
                Step::Apply(vec![
                    without_key(create("1:10:0:0", 1, "x")),
                    without_key(create("1:20:0:0", 2, "y")),
                ]),
                Step::Apply(vec![
                    without_key(create("1:10:0:0", 1, "x")),
                    without_key(create("1:20:0:0", 2, "y")),
                    without_key(create("1:30:0:0", 2, "y")),
                ]),
            ],
            expected: &["1 x", "2 y", "2 y"],
        },
        Scene {
            // The sink died between two commits.
            rule: "offsets_first",
            partitions: 1,
            steps: vec![
                Step::Apply(vec![create("1:10:0:0", 1, "x")]),
                Step::Die("dies_before_load", vec![create("1:20:0:0", 2, "y")]),
                Step::Apply(vec![create("1:30:0:0", 3, "z")]),
                Step::Die("dies_after_load", vec![update("1:40:0:0", 3, "zz")]),
                Step::Apply(vec![]),
            ],
            expected: &["1 x", "2 y", "3 zz"],
        },
    ]
}

/// What is in the warehouse at the end.
fn play(scene: &Scene, store: &Store, topic: &str, broken: &str) -> Vec<String> {
    let kafka = scene::kafka();
    kafka.create_topic(topic, scene.partitions, &[]);
    // One that has died leaves its group when its session ends.
    let options = SinkOptions::new(&kafka.bootstrap(), topic, &store.url())
        .group(topic)
        .set("consumer.session.timeout.ms", "6000")
        .broken(broken);
    for step in &scene.steps {
        match step {
            Step::Apply(records) => {
                produce::send(kafka, topic, records);
                options.once();
            }
            Step::Die(place, records) => {
                produce::send(kafka, topic, records);
                let options = options.clone().broken(&format!("{broken} {place}"));
                let ended = options.try_once();
                assert_ne!(ended.code, Some(0), "it did not die:\n{}", ended.log);
            }
        }
    }
    let rows = store.query("SELECT id || ' ' || a FROM made.items ORDER BY 1");
    rows.into_iter().map(|mut row| row.remove(0).unwrap_or_default()).collect()
}

#[track_caller]
fn prove(rule: &str) {
    let scene = scenes().into_iter().find(|scene| scene.rule == rule).expect("it is listed");
    for kind in KINDS {
        for broken in ["", rule] {
            let name = format!("{rule}_{kind:?}_{}", broken.len()).to_lowercase();
            let store = Store::new(kind, scene::server(), &name);
            let found = play(&scene, &store, &name, broken);
            println!("{kind:?}, without the rule: {broken:?}, {found:?}");
            if broken.is_empty() {
                assert_eq!(found, scene.expected, "{kind:?}: with all rules");
            } else {
                assert_ne!(found, scene.expected, "{kind:?}: {rule} changes nothing");
            }
        }
    }
}

#[test]
fn a_row_is_as_old_as_the_commit_of_its_change() {
    prove("raw_lsn");
}

#[test]
fn what_is_deleted_leaves_a_tombstone() {
    prove("without_tombstones");
}

#[test]
fn what_is_emptied_leaves_a_floor() {
    prove("without_floor");
}

#[test]
fn what_a_partition_has_brought_it_does_not_bring_again() {
    prove("without_watermark");
}

#[test]
fn offsets_are_stored_with_the_data() {
    prove("offsets_first");
}
