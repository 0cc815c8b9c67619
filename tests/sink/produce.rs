//! Records made by hand, for what no agent writes on demand: other orders, other writers, faults.

use std::time::Duration;

use cdc_testkit::servers::kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::message::Header;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer;

/// A record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Made {
    /// A change of a table `made.items (id int, a text, big text)` with its schema embedded.
    pub(crate) fn change(operation: char, position: &str, rows: [Option<&str>; 2]) -> Self {
        let [before, after] = rows.map(|row| row.unwrap_or("null").to_owned());
        let row = if after == "null" { &before } else { &after };
        let id = serde_json::from_str::<serde_json::Value>(row).ok();
        let id = id.and_then(|row| row.get("id").cloned());
        let key = id.map(|id| {
            format!(
                r#"{{"schema":{{"type":"struct","fields":[{{"type":"int32","optional":false,"field":"id"}}],"optional":false}},"payload":{{"id":{id}}}}}"#
            )
        });
        let fields = r#"[{"type":"int32","optional":false,"field":"id"},{"type":"string","optional":true,"field":"a"},{"type":"string","optional":true,"field":"big"}]"#;
        let structure = |field: &str| {
            format!(r#"{{"type":"struct","fields":{fields},"optional":true,"field":"{field}"}}"#)
        };
        let schema = format!(
            r#"{{"type":"struct","fields":[{},{}],"optional":false,"name":"x.Envelope"}}"#,
            structure("before"),
            structure("after")
        );
        let source = r#"{"version":"3.6.1.Final","connector":"postgresql","name":"hand","ts_ms":1700000000000,"snapshot":"false","db":"hand","schema":"made","table":"items","txId":1,"lsn":1,"xmin":null}"#;
        let value = format!(
            r#"{{"schema":{schema},"payload":{{"before":{before},"after":{after},"source":{source},"op":"{operation}","ts_ms":1}}}}"#
        );
        Self {
            partition: 0,
            key: if operation == 't' { None } else { key },
            value: Some(value),
            headers: vec![("cdc.position".to_owned(), position.to_owned())],
        }
    }

    #[must_use]
    pub(crate) fn to(mut self, partition: i32) -> Self {
        self.partition = partition;
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Sends records in their order and waits until the broker has them.
#[track_caller]
pub(crate) fn send(kafka: &Kafka, topic: &str, records: &[Made]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "67108864")
        .create()
        .expect("the settings are good");
    for record in records {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let mut base: BaseRecord<'_, String, String> =
            BaseRecord::to(topic).partition(record.partition).headers(headers);
        if let Some(key) = &record.key {
            base = base.key(key);
        }
        if let Some(value) = &record.value {
            base = base.payload(value);
        }
        producer.send(base).map_err(|(error, _)| error).expect("the queue has room");
    }
    producer.flush(Duration::from_secs(60)).expect("the broker takes them");
}
