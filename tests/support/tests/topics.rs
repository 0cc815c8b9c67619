//! Topics read to their end, committed or not, and followed live.

use std::time::Duration;

use cdc_testkit::process;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::topics;
use cdc_testkit::topics::Isolation;
use cdc_testkit::topics::Tail;
use rdkafka::ClientConfig;
use rdkafka::message::Header;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer;

const PATIENCE: Duration = Duration::from_secs(30);

fn producer(kafka: &Kafka, transactional_id: Option<&str>) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    if let Some(id) = transactional_id {
        config.set("transactional.id", id);
    }
    config.create().expect("the settings are good")
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &str) {
    let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(partition);
    producer.send(record.payload(value)).map_err(|(error, _)| error).expect("there is room");
}

#[test]
fn a_broker_gives_back_what_it_was_given() {
    let mut kafka = Kafka::start();
    kafka.create_topic("p.shop.a", 3, &[]);
    kafka.create_topic("p.shop.empty", 1, &[]);
    kafka.create_topic("other", 1, &[]);
    let plain = producer(&kafka, None);
    for number in 0..3_000 {
        send(&plain, "p.shop.a", number % 3, &number.to_string());
    }
    send(&plain, "other", 0, "x");
    let headers = OwnedHeaders::new()
        .insert(Header { key: "cdc.position", value: Some("1:2:3:4") })
        .insert(Header { key: "second", value: Some("2") });
    let tombstone: BaseRecord<'_, [u8], [u8]> = BaseRecord::to("p.shop.a").partition(0);
    let tombstone = tombstone.key(b"\x00key").headers(headers).timestamp(1_234);
    plain.send(tombstone).map_err(|(error, _)| error).expect("there is room");
    plain.flush(PATIENCE).expect("the broker takes them");

    let records = topics::read_all(&kafka.bootstrap(), r"p\.shop\..*");
    assert_eq!(records.len(), 3_001);
    assert_eq!(topics::count(&kafka.bootstrap(), r"p\.shop\..*"), 3_001);
    let last = records.iter().find(|record| record.value.is_none()).expect("the tombstone");
    assert_eq!(last.key.as_deref(), Some(b"\x00key".as_slice()));
    assert_eq!(last.header("cdc.position"), Some("1:2:3:4"));
    assert_eq!((last.headers.len(), last.timestamp), (2, Some(1_234)));
    for partition in 0..3 {
        let mut offsets = records.iter().filter(|record| record.partition == partition);
        assert!(offsets.by_ref().map(|record| record.offset).is_sorted(), "in order");
    }

    kafka.kill();
    kafka.start_again();
    assert_eq!(topics::read_all(&kafka.bootstrap(), r"p\.shop\.a").len(), 3_001);

    reads_only_what_is_committed(&kafka);
    follows_topics_that_appear(&kafka);
}

fn reads_only_what_is_committed(kafka: &Kafka) {
    kafka.create_topic("t", 2, &[]);
    let producer = producer(kafka, Some("testkit"));
    producer.init_transactions(PATIENCE).expect("a coordinator");
    for (number, commit) in [true, false, true, false].into_iter().enumerate() {
        producer.begin_transaction().expect("none is open");
        send(&producer, "t", 0, &format!("{number} {commit}"));
        send(&producer, "t", 1, &format!("{number} {commit}"));
        producer.flush(PATIENCE).expect("the broker takes them");
        if commit {
            producer.commit_transaction(PATIENCE).expect("it commits");
        } else {
            producer.abort_transaction(PATIENCE).expect("it aborts");
        }
    }
    producer.begin_transaction().expect("none is open");
    send(&producer, "t", 0, "open");
    producer.flush(PATIENCE).expect("the broker takes it");

    let committed = topics::read_committed(&kafka.bootstrap(), "t");
    assert_eq!(committed.len(), 4);
    assert!(committed.iter().all(|record| record.value_text().ends_with("true")));
    assert_eq!(topics::read_all(&kafka.bootstrap(), "t").len(), 9);
    let mut seen = 0;
    topics::for_each(&kafka.bootstrap(), "t", Isolation::Committed, |_| seen += 1);
    assert_eq!(seen, 4);
}

fn follows_topics_that_appear(kafka: &Kafka) {
    let mut tail = Tail::new(&kafka.bootstrap(), r"live\..*");
    assert_eq!(tail.next(Duration::from_millis(100)), None);
    kafka.create_topic("live.b", 2, &[]);
    let producer = producer(kafka, None);
    for number in 0..10 {
        send(&producer, "live.b", number % 2, &number.to_string());
    }
    producer.flush(PATIENCE).expect("the broker takes them");
    let mut values: Vec<String> =
        (0..10).map(|_| tail.next(PATIENCE).expect("a record").value_text()).collect();
    values.sort();
    assert_eq!(values.concat(), "0123456789");
    kafka.create_topic("live.c", 1, &[]);
    send(&producer, "live.c", 0, "new");
    process::wait_until(PATIENCE, "the new topic's record", || {
        tail.next(Duration::from_secs(1)).is_some_and(|record| record.topic == "live.c")
    });
}
