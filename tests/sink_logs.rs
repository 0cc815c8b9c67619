//! Goal: logs with gaps, logs that were cut and records of any size are read for what they are.
//!
//! Method: a real Kafka. Transactions that end, that are aborted and that leave only their marks;
//! a topic that is compacted; records that are deleted before and after they were applied, also
//! while the sink runs; a table of a thousand columns and a value of 20 MB through agent and sink.

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

use cdc_testkit::process::wait_until;
use cdc_testkit::topics;
use rdkafka::ClientConfig;
use rdkafka::message::Header;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer;

use sink::Play;
use sink::Sink;
use sink::SinkOptions;
use sink::Store;
use sink::compare;
use sink::produce::Made;
use sink::records::create;
use sink::records::delete;
use sink::records::row;
use sink::scene;
use sink::scene::Mode;
use sink::scene::Source;
use sink::warehouse::KINDS;
use sink::warehouse::postgres_rows;

const SOON: Duration = Duration::from_secs(60);

impl Play {
    /// Sends records in one transaction of Kafka, and ends or aborts it.
    fn transaction(&self, records: &[Made], commit: bool) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", scene::kafka().bootstrap())
            .set("transactional.id", &self.topic)
            .create()
            .unwrap();
        producer.init_transactions(SOON).unwrap();
        producer.begin_transaction().unwrap();
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (name, value) in &record.headers {
                headers = headers.insert(Header { key: name, value: Some(value) });
            }
            let base = BaseRecord::to(&self.topic).partition(0).headers(headers);
            let base = base.key(record.key.as_deref().unwrap());
            let base = base.payload(record.value.as_deref().unwrap());
            producer.send(base).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(SOON).unwrap();
        if commit {
            producer.commit_transaction(SOON).unwrap();
        } else {
            producer.abort_transaction(SOON).unwrap();
        }
    }

    /// Waits until a running sink says that nothing is left to be applied.
    fn wait_without_lag(&self, sink: &mut Sink) {
        let series = format!("cdc_sink_lag_records{{partition=\"0\",topic=\"{}\"}}", self.topic);
        let batches = "cdc_sink_batches_total";
        wait_until(SOON, "lag of zero", || {
            sink.assert_running();
            let Some(answer) = sink.metrics() else { return false };
            answer.metric(batches) > Some(0.0) && answer.metric(&series) == Some(0.0)
        });
    }

    /// Deletes the records before an offset, as retention does.
    fn delete_before(&self, offset: i64) {
        scene::kafka().delete_records(&self.topic, 0, offset);
    }
}

#[test]
fn marks_of_transactions_are_no_records() {
    for kind in KINDS {
        let made = Play::new("marks", kind, 1);
        made.transaction(&[create("1:10:0:0", &row(1, "a", ""))], true);
        made.transaction(&[create("1:20:0:0", &row(2, "never", ""))], false);
        made.options.once();
        assert_eq!(made.rows(), ["1 a"], "{kind:?}: a mark and an aborted record at the end");
        made.options.once();
        made.transaction(&[create("1:30:0:0", &row(3, "never", ""))], false);
        made.options.once();
        made.transaction(&[create("1:40:0:0", &row(4, "b", ""))], true);
        made.transaction(&[], true);
        made.options.once();
        assert_eq!(made.rows(), ["1 a", "4 b"], "{kind:?}");
        made.transaction(&[create("1:50:0:0", &row(5, "c", ""))], true);
        made.transaction(&[create("1:60:0:0", &row(6, "never", ""))], false);
        let mut sink = Sink::start(made.options.clone());
        made.wait_without_lag(&mut sink);
        sink.stop();
        assert_eq!(made.rows(), ["1 a", "4 b", "5 c"], "{kind:?}");
    }
}

#[test]
fn a_compacted_topic_has_gaps_and_tombstones() {
    for kind in KINDS {
        let compacted = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.0"),
            ("min.compaction.lag.ms", "0"),
        ];
        let made = Play::configured("compacted", kind, (1, &compacted));
        made.send(&[
            create("1:10:0:0", &row(1, "a", "")),
            create("1:11:0:0", &row(2, "b", "")),
            create("1:12:0:0", &row(3, "c", "")),
        ]);
        made.options.once();
        let tombstone =
            |position: &str, id: i32| Made { value: None, ..delete(position, &row(id, "", "")) };
        made.send(&[
            create("1:20:0:0", &row(4, "old", "")),
            create("1:21:0:0", &row(4, "older", "")),
            delete("1:22:0:0", &row(1, "", "")),
            tombstone("1:22:0:0", 1),
            create("1:23:0:0", &row(4, "new", "")),
        ]);
        // Only what is not in the last segment is compacted.
        let mut position = 30;
        wait_until(SOON, "the broker to compact", || {
            std::thread::sleep(Duration::from_millis(150));
            position += 1;
            made.send(&[create(&format!("1:{position}:0:0"), &row(9, "x", ""))]);
            let pattern = format!("^{}$", made.topic);
            let records = topics::read_all(&scene::kafka().bootstrap(), &pattern);
            !records.iter().any(|record| [3, 4, 5].contains(&record.offset))
        });
        made.options.once();
        assert_eq!(made.rows(), ["2 b", "3 c", "4 new", "9 x"], "{kind:?}");
    }
}

#[test]
fn records_that_were_removed_before_they_were_applied_are_named() {
    for kind in KINDS {
        let made = Play::new("cut", kind, 1);
        let one = |number: i32| create(&format!("1:{number}:0:0"), &row(number, "a", ""));
        made.send(&[one(10), one(11), one(12)]);
        made.options.once();
        // What is applied may go.
        made.delete_before(3);
        made.options.once();
        made.send(&[one(13), one(14)]);
        made.options.once();
        assert_eq!(made.rows().len(), 5, "{kind:?}");
        // Under a running sink, which is asleep meanwhile.
        let mut sink = Sink::start(made.options.clone());
        made.send(&[one(15)]);
        made.wait_without_lag(&mut sink);
        sink.daemon().freeze();
        made.send(&[one(16), one(17), one(18)]);
        made.delete_before(8);
        sink.daemon().thaw();
        let ended = sink.ended(SOON);
        let place = format!("partition 0 of topic {} begins at offset 8", made.topic);
        ended.expect(78, &[&place, "2 records were removed before they were applied"]);
        // And under one that starts.
        made.options.try_once().expect(78, &[&place, "2 records were removed"]);
        assert_eq!(made.rows().len(), 6, "{kind:?}");
    }
}

#[test]
fn a_thousand_columns_and_a_value_of_twenty_megabytes() {
    let columns: Vec<String> = (0..1000)
        .map(|number| match number % 4 {
            0 => format!("c{number} int"),
            1 => format!("c{number} text"),
            2 => format!("c{number} numeric(12,3)"),
            _ => format!("c{number} date"),
        })
        .collect();
    let values: Vec<String> = (0..1000)
        .map(|number| match number % 4 {
            0 => format!("n * {number}"),
            1 => format!("'t{number} ' || n"),
            2 => format!("n / 7.0 + {number}"),
            _ => format!("'2024-01-01'::date + n * {number}"),
        })
        .collect();
    let setup = format!(
        "CREATE TABLE wide (id int PRIMARY KEY, {});
         INSERT INTO wide SELECT n, {} FROM generate_series(1, 50) n;
         CREATE TABLE heavy (id int PRIMARY KEY, a text, t text, b bytea);
         ALTER TABLE heavy ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
         INSERT INTO heavy SELECT 1, 'a', repeat('0123456789', 2000000), NULL;
         INSERT INTO heavy SELECT 2, 'a', NULL, decode(repeat('00ff', 5000000), 'hex')",
        columns.join(", "),
        values.join(", ")
    );
    let source = Source::new("bulk", &[("bulk", &setup)], &[Mode::Plain]);
    let stores = KINDS.map(|kind| Store::new(kind, scene::server(), "bulk_store"));
    let apply = |when: &str| {
        source.deliver();
        for store in &stores {
            let topics = "bulk_plain\\.bulk\\..*";
            // DuckDB takes a block for every column, several times over.
            SinkOptions::new(&scene::kafka().bootstrap(), topics, &store.url())
                .set("duckdb.memory.limit", "3GB")
                .once();
            let found = compare::differences((source.server, "bulk"), "bulk.wide", store, "");
            assert!(found.is_empty(), "{when}, {:?}: {}", store.kind, found.join("\n"));
            let heavy = "SELECT CAST(id AS text), a, CAST(length(t) AS text), md5(t), md5(b) \
                         FROM bulk.heavy ORDER BY 1";
            let expected = postgres_rows(source.server, "bulk", heavy);
            assert_eq!(store.query(heavy), expected, "{when}, {:?}", store.kind);
        }
    };
    apply("after the read");
    source.execute("bulk", "UPDATE wide SET c1 = 'changed', c998 = NULL WHERE id % 3 = 0");
    source.execute("bulk", "DELETE FROM wide WHERE id = 7; UPDATE wide SET id = 1000 WHERE id = 8");
    source.execute("bulk", "UPDATE heavy SET a = 'b'");
    source.execute("bulk", "UPDATE heavy SET id = id + 10");
    source.execute(
        "bulk",
        "INSERT INTO heavy SELECT 5, 'new', repeat(E'\\t\\\\é', 5000000), NULL; \
         UPDATE heavy SET t = t || '!' WHERE id = 11",
    );
    apply("after the changes");
}
