//! The topic of the state: small, and read on from where reading ended.

use std::collections::BTreeMap;

use cdc_agent::kafka::CompactedTopic;
use cdc_agent::kafka::KafkaSettings;
use rdkafka::ClientConfig;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer;

use super::*;

fn send<'a>(topic: &str, records: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) {
    let bootstrap = run::shared_kafka().bootstrap();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a producer");
    for (key, value) in records {
        let mut record = BaseRecord::<str, str>::to(topic).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, _)| error).expect("the queue has room");
    }
    producer.flush(run::SOON).expect("the broker takes them");
}

fn read(topic: &mut CompactedTopic) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = topic.read().expect("the broker answers");
    found.iter().map(|(key, value)| (text(key), text(value))).collect()
}

fn of<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[test]
fn a_compacted_topic_is_read_on_unless_it_is_another_one() {
    let kafka = run::shared_kafka();
    let name = "read_on.__state";
    kafka.create_topic(name, 1, &[]);
    let settings = KafkaSettings { brokers: kafka.bootstrap(), ..KafkaSettings::default() };
    let mut topic = CompactedTopic::new(settings, name.to_owned());
    assert_eq!(read(&mut topic), of([]));
    send(name, [("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
    assert_eq!(read(&mut topic), of([("a", "1"), ("b", "1"), ("c", "1")]));
    // What was read is gone from the log: it is known all the same, because it is not read again.
    kafka.delete_records(name, 0, 2);
    send(name, [("a", Some("2")), ("c", None), ("d", Some("1"))]);
    assert_eq!(read(&mut topic), of([("a", "2"), ("b", "1"), ("d", "1")]));
    assert_eq!(read(&mut topic), of([("a", "2"), ("b", "1"), ("d", "1")]), "nothing was added");
    // Created again, and longer than it was.
    kafka.delete_topic(name);
    kafka.create_topic(name, 1, &[]);
    let longer = ["1", "2", "3", "4", "5", "6", "7"].map(|value| ("z", Some(value)));
    send(name, longer);
    assert_eq!(read(&mut topic), of([("z", "7")]));
    // And shorter.
    kafka.delete_topic(name);
    kafka.create_topic(name, 1, &[]);
    send(name, [("y", Some("1"))]);
    assert_eq!(read(&mut topic), of([("y", "1")]));
}

#[test]
fn topics_of_ours_have_segments_that_are_compacted_soon() {
    let name = "own_segments";
    let mut small = Small::new(run::shared_postgres(15), name);
    for topic in ["__state", "__schemas"] {
        let config = run::shared_kafka().topic_config(&format!("{name}.{topic}"));
        assert_eq!(config["cleanup.policy"], "compact", "{topic}");
        assert_eq!(config["segment.bytes"], "16777216", "{topic}");
        assert_eq!(config["min.cleanable.dirty.ratio"], "0.1", "{topic}");
    }
    small.agent.stop();
}
