//! Topics that get more partitions: a change that was never acknowledged comes to a partition that
//! is past its position.

use std::time::Duration;

use cdc_testkit::process::wait_until;

use crate::sink::Play;
use crate::sink::Sink;
use crate::sink::produce::Made;
use crate::sink::records::LEFT_OUT;
use crate::sink::records::create;
use crate::sink::records::row;
use crate::sink::records::update;
use crate::sink::scene;
use crate::sink::warehouse::KINDS;
use crate::sink::warehouse::Kind;

const MARK: &str = "SELECT CAST(definition AS text) FROM _cdc.tables";

/// The change of row 2 at 20 was not acknowledged: its partition is at 11, the other one at 30.
fn before() -> Vec<Made> {
    vec![
        create("1:10:0:0", &row(1, "a", "x")),
        create("1:11:0:0", &row(2, "b", "y")).to(1),
        update("1:30:0:0", &row(1, "a2", "x")),
    ]
}

/// Everything comes again, row 1 in a new partition, and row 2 where row 1 was.
fn again() -> Vec<Made> {
    vec![
        create("1:10:0:0", &row(1, "a", "x")).to(2),
        create("1:11:0:0", &row(2, "b", "y")),
        update("1:20:0:0", &row(2, "b2", LEFT_OUT)),
        update("1:30:0:0", &row(1, "a2", LEFT_OUT)).to(2),
        update("1:40:0:0", &row(1, "a3", LEFT_OUT)).to(2),
    ]
}

#[test]
fn watermarks_are_void_once_a_topic_has_more_partitions() {
    for kind in KINDS {
        let made = Play::new("grown", kind, 2);
        made.apply(&before());
        scene::kafka().grow_topic(&made.topic, 3);
        made.apply(&again());
        assert_eq!(made.large_rows(), ["1 a3 x", "2 b2 y"], "{kind:?}");
        assert!(!made.one(MARK).contains("\"reread\""), "{kind:?}");
        // And they stay so, as long as changes of that epoch may come.
        made.apply(&[create("1:35:0:0", &row(3, "c", ""))]);
        made.apply(&[create("1:32:0:0", &row(4, "d", ""))]);
        assert_eq!(made.large_rows(), ["1 a3 x", "2 b2 y", "3 c ", "4 d "], "{kind:?}");
    }
}

/// It is not told of the new partition before its records come.
#[test]
fn a_running_sink_sees_that_a_topic_has_more_partitions() {
    let made = Play::new("grown_running", Kind::Postgres, 2);
    made.send(&before());
    let mut sink = Sink::start(made.options.clone());
    let table = "SELECT CAST(count(*) AS text) FROM pg_tables WHERE schemaname = 'made'";
    wait_until(Duration::from_secs(60), "the rows", || {
        sink.assert_running();
        made.one(table) == "1" && made.large_rows() == ["1 a2 x", "2 b y"]
    });
    scene::kafka().grow_topic(&made.topic, 3);
    made.send(&again());
    wait_until(Duration::from_secs(60), "what came again", || {
        sink.assert_running();
        made.large_rows() == ["1 a3 x", "2 b2 y"]
    });
    sink.stop();
}

/// Its records are in partition 0 always.
#[test]
fn rows_without_any_key_are_not_counted_twice_when_their_topic_grows() {
    let bare = |made: Made| Made { key: None, ..made };
    for kind in KINDS {
        let made = Play::new("grown_bare", kind, 1);
        let records = [
            bare(create("1:10:0:0", &row(1, "a", ""))),
            bare(create("1:20:0:0", &row(1, "a", ""))),
        ];
        made.apply(&records);
        scene::kafka().grow_topic(&made.topic, 2);
        made.apply(&records);
        assert_eq!(made.large_rows(), ["1 a ", "1 a "], "{kind:?}");
        assert!(!made.one(MARK).contains("\"reread\""), "{kind:?}");
    }
}

/// Records have keys, and rows have none: nobody knows what was applied.
#[test]
fn a_multiset_whose_topic_grows_is_marked_when_changes_come_again() {
    let loose = |mut made: Made| {
        let (key, nullable) = (r#""optional":false,"field""#, r#""optional":true,"field""#);
        made.key = made.key.map(|text| text.replace(key, nullable));
        made
    };
    for kind in KINDS {
        let made = Play::new("grown_loose", kind, 1);
        let records = [loose(create("1:10:0:0", &row(1, "a", "")))];
        made.apply(&records);
        made.apply(&records);
        assert!(!made.one(MARK).contains("\"reread\""), "{kind:?}");
        scene::kafka().grow_topic(&made.topic, 2);
        made.apply(&records);
        assert_eq!(made.large_rows(), ["1 a "], "{kind:?}");
        assert!(made.one(MARK).contains("another number of partitions"), "{kind:?}");
    }
}
