//! A source that was read anew: what the new reads do not bring again goes, and only that.

use crate::sink::Play;
use crate::sink::produce;
use crate::sink::produce::Made;
use crate::sink::records::create;
use crate::sink::records::delete;
use crate::sink::records::row;
use crate::sink::records::update;
use crate::sink::scene;
use crate::sink::warehouse::KINDS;
use crate::sink::warehouse::Kind;

/// A topic of its own prefix, whose state other tests do not see.
pub(crate) struct Source {
    pub(crate) made: Play,
}

impl Source {
    pub(crate) fn new(name: &str, kind: Kind, partitions: i32) -> Self {
        let made = Play::new(name, kind, partitions);
        scene::kafka().create_topic(&format!("{}.__state", made.topic), 1, &[]);
        Self { made }
    }

    pub(crate) fn send(&self, records: Vec<Made>) {
        let prefix = format!("\"name\":\"{}\"", self.made.topic);
        let of_prefix = |mut made: Made| {
            made.value = made.value.map(|value| value.replace("\"name\":\"hand\"", &prefix));
            made
        };
        self.made.send(&records.into_iter().map(of_prefix).collect::<Vec<_>>());
    }

    pub(crate) fn apply(&self, records: Vec<Made>) {
        self.send(records);
        self.made.options.once();
    }

    /// What the agent stores when it has read the table.
    fn read_whole(&self, epoch: u64, ends: &[i64]) {
        self.read_between(epoch, &vec![0; ends.len()], ends);
    }

    /// The same, of reads that begin at these offsets.
    pub(crate) fn read_between(&self, epoch: u64, begins: &[i64], ends: &[i64]) {
        let topic = &self.made.topic;
        let offsets = |offsets: &[i64]| -> String {
            let numbered = offsets.iter().enumerate();
            let all: Vec<String> =
                numbered.map(|(number, offset)| format!("\"{number}\":{offset}")).collect();
            all.join(",")
        };
        let value = format!(
            r#"{{"oid":1,"epoch_begun":{epoch},"epoch_complete":{epoch},"topic":"{topic}","begin_offsets":{{{}}},"end_offsets":{{{}}}}}"#,
            offsets(begins),
            offsets(ends)
        );
        let key = r#"{"slot":"s","schema":"made","table":"items"}"#.to_owned();
        let state = Made { key: Some(key), value: Some(value), ..Made::default() };
        produce::send(scene::kafka(), &format!("{topic}.__state"), &[state]);
    }
}

pub(crate) fn read(position: &str, row: &str) -> Made {
    Made::change('r', position, [None, Some(row)])
}

#[test]
fn rows_that_a_new_read_does_not_bring_again_go_once_all_of_it_is_applied() {
    for kind in KINDS {
        let source = Source::new("anew", kind, 2);
        let rows = || source.made.large_rows();
        source.apply(vec![
            read("1:0:0:0", &row(1, "a", "")),
            read("1:0:1:0", &row(2, "b", "")).to(1),
            create("1:10:0:0", &row(3, "c", "")).to(1),
            delete("1:11:0:0", &row(3, "", "")).to(1),
            create("1:12:0:0", &row(4, "d", "")),
        ]);
        source.read_whole(1, &[1, 1]);
        source.apply(vec![]);
        assert_eq!(rows(), ["1 a ", "2 b ", "4 d "], "{kind:?}: nothing is older than epoch 1");
        // Row 2 is gone at the source, and row 4 was read again.
        source.apply(vec![read("2:0:0:0", &row(4, "d", "")), read("2:0:1:0", &row(1, "a2", ""))]);
        assert_eq!(rows(), ["1 a2 ", "2 b ", "4 d "], "{kind:?}: not said to be whole");
        // It is whole, and its last record is still to come: a row that was deleted and is back.
        source.read_whole(2, &[4, 4]);
        source.apply(vec![]);
        assert_eq!(rows(), ["1 a2 ", "2 b ", "4 d "], "{kind:?}: not all of it is applied");
        source.apply(vec![
            read("2:0:0:0", &row(3, "back", "")).to(1),
            update("2:20:0:0", &row(4, "d2", "")),
        ]);
        assert_eq!(rows(), ["1 a2 ", "3 back ", "4 d2 "], "{kind:?}");
        // What is older does not come back, from a partition that is behind either.
        source.apply(vec![update("1:30:0:0", &row(2, "b2", "")).to(1)]);
        assert_eq!(rows(), ["1 a2 ", "3 back ", "4 d2 "], "{kind:?}");
        source.apply(vec![create("2:30:0:0", &row(2, "new", "")).to(1)]);
        assert_eq!(rows(), ["1 a2 ", "2 new ", "3 back ", "4 d2 "], "{kind:?}");
    }
}

#[test]
fn a_table_of_which_a_new_read_finds_no_row_is_empty() {
    for kind in KINDS {
        let source = Source::new("anew_empty", kind, 1);
        source.apply(vec![read("1:0:0:0", &row(1, "a", "")), read("1:0:1:0", &row(2, "b", ""))]);
        source.read_whole(2, &[2]);
        source.apply(vec![]);
        assert!(source.made.large_rows().is_empty(), "{kind:?}: {:?}", source.made.large_rows());
        let epoch = source.made.one("SELECT CAST(epoch AS text) FROM _cdc.tables");
        assert_eq!(epoch, "2", "{kind:?}");
        source.apply(vec![
            update("1:30:0:0", &row(1, "old", "")),
            create("2:10:0:0", &row(2, "new", "")),
        ]);
        assert_eq!(source.made.large_rows(), ["2 new "], "{kind:?}");
    }
}

#[test]
fn rows_that_a_new_read_does_not_bring_again_are_marked_under_soft() {
    for kind in KINDS {
        let mut source = Source::new("anew_soft", kind, 1);
        source.made.options = source.made.options.clone().set("delete.mode", "soft");
        source.apply(vec![read("1:0:0:0", &row(1, "a", "")), read("1:0:1:0", &row(2, "b", ""))]);
        source.read_whole(2, &[3]);
        source.apply(vec![read("2:0:0:0", &row(1, "a", ""))]);
        assert_eq!(source.made.large_rows(), ["1 a ", "2 b "], "{kind:?}");
        let gone = "SELECT string_agg(CAST(id AS text), ',') FROM made.items WHERE _cdc_deleted";
        assert_eq!(source.made.one(gone), "2", "{kind:?}");
    }
}

/// The mark of a table goes when it was read again after what had it marked, not before.
#[test]
fn a_table_that_is_read_anew_loses_its_mark() {
    let wider = |mut made: Made| {
        let (text, number) = (r#""type":"string""#, r#""type":"int32""#);
        made.value = made.value.map(|value| {
            let narrow = value.replace(
                &format!(r#"{{{text},"optional":true,"field":"a"}}"#),
                &format!(r#"{{{number},"optional":true,"field":"a"}}"#),
            );
            narrow.replace("\"a\":\"7\"", "\"a\":7")
        });
        made
    };
    for kind in KINDS {
        let source = Source::new("anew_mark", kind, 1);
        let mark = || {
            let definition = "SELECT CAST(definition AS text) FROM _cdc.tables";
            source.made.one(definition).contains("changed its type")
        };
        // A number becomes a text: what older rows have become is not known.
        source.apply(vec![wider(read("1:0:0:0", &row(1, "7", "")))]);
        source.apply(vec![update("1:10:0:0", &row(1, "seven", ""))]);
        assert!(mark(), "{kind:?}");
        source.read_whole(2, &[3]);
        source.apply(vec![read("2:0:0:0", &row(1, "seven", ""))]);
        assert!(!mark(), "{kind:?}");
        assert_eq!(source.made.large_rows(), ["1 seven "], "{kind:?}");
    }
}
