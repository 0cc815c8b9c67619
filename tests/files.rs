//! Goal: a file that drives a Debezium drives our agent, as it is.
//!
//! Method: the same connector as Kafka Connect's REST API takes it, as a standalone worker's file has
//! it, as a Debezium Server's `application.properties` has it (the one of its manual, with a sink
//! that is Kafka), and as TOML; each with what people put around it: converters, offsets, Quarkus,
//! serializers, secrets that stand elsewhere. Every one has to read and stream the same table.

#![allow(clippy::unwrap_used, reason = "a test that ends at the first surprise")]

use std::fs;
use std::time::Duration;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::kafka::KafkaOptions;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

struct Place {
    postgres: Postgres,
    kafka: Kafka,
}

impl Place {
    /// Runs an agent by a file of this name and content, in which `@WORD@` stands for what is known
    /// only now; gives the values of the table's records, a read and a change.
    fn run(&self, name: &str, content: &str) -> Vec<Value> {
        let database = name.replace(['.', '-'], "_");
        self.postgres.create_database(&database);
        self.postgres.execute(
            &database,
            "CREATE SCHEMA inventory; CREATE TABLE \
            inventory.customers (id int PRIMARY KEY, name text); CREATE TABLE inventory.left_out \
            (id int PRIMARY KEY); INSERT INTO inventory.customers VALUES (1, 'a')",
        );
        let folder = process::scratch_dir(&database);
        fs::write(folder.path().join("secrets.properties"), "user=postgres\npassword=x\n").unwrap();
        let content = content
            .replace("@PORT@", &self.postgres.port().to_string())
            .replace("@DATABASE@", &database)
            .replace("@BROKERS@", &self.kafka.bootstrap())
            .replace("@SECURE@", &self.kafka.secure().bootstrap)
            .replace("@CA@", &self.kafka.secure().ca.display().to_string())
            .replace("@CLIENT@", &self.kafka.secure().client.display().to_string())
            .replace("@FOLDER@", &folder.path().display().to_string());
        fs::write(folder.path().join(name), content).unwrap();
        let mut command = process::command(env!("CARGO_BIN_EXE_cdc-agent"));
        command.current_dir(folder.path()).args(["--config", name, "--http", "none"]);
        command.env("DB_USER", "postgres").env("CUSTOMERS", "inventory.customers");
        if name.ends_with(".json") || name.starts_with("connect-") {
            command.args(["--brokers", &self.kafka.bootstrap()]);
        }
        let mut agent = Daemon::spawn("agent", command, folder.path());
        let topic = format!("{database}\\.inventory\\..*");
        let mut values = |count: usize| {
            let records = || topics::read_all(&self.kafka.bootstrap(), &topic);
            process::wait_until(PATIENCE, "the record to come", || {
                assert!(agent.is_running(), "{name}: {}", agent.log_tail());
                records().len() >= count
            });
            records()
        };
        values(1);
        self.postgres.execute(&database, "INSERT INTO inventory.customers VALUES (2, 'b')");
        let records = values(2);
        assert!(records.iter().all(|record| record.topic.ends_with(".customers")), "{name}");
        let has_context = |name: &str| name.starts_with("__debezium.context");
        let context = records.iter().filter(|r| r.headers.iter().any(|(n, _)| has_context(n)));
        // Debezium's default, which is not ours.
        let expected = if name.ends_with(".toml") { 0 } else { 2 };
        assert_eq!(context.count(), expected, "{name}");
        let status = agent.terminate(PATIENCE);
        assert!(status.success(), "{name}: {}", agent.log_tail());
        let value = |bytes: &Option<Vec<u8>>| {
            serde_json::from_slice(bytes.as_deref().unwrap_or_default()).unwrap()
        };
        records.iter().map(|record| value(&record.value)).collect()
    }
}

const CONNECTOR: &str = r#"{
  "name": "inventory-connector",
  "config": {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "connector.plugin.version": "3.6.1.Final",
    "tasks.max": "1",
    "tasks.max.enforce": "true",
    "plugin.name": "pgoutput",
    "database.hostname": "127.0.0.1",
    "database.port": "@PORT@",
    "database.user": "${file:@FOLDER@/secrets.properties:user}",
    "database.password": "${file:@FOLDER@/secrets.properties:password}",
    "database.dbname": "@DATABASE@",
    "topic.prefix": "@DATABASE@",
    "slot.name": "from_@DATABASE@",
    "table.include.list": "${env:CUSTOMERS}",
    "transforms": "",
    "errors.tolerance": "none",
    "errors.log.enable": "true",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "false",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "false",
    "value.converter.schemas.cache.size": "100",
    "producer.override.buffer.memory": "33554432",
    "producer.override.max.request.size": "2000000",
    "producer.override.linger.ms": "5"
  }
}"#;

const STANDALONE: &str = "\
name=inventory-connector
connector.class=io.debezium.connector.postgresql.PostgresConnector
tasks.max=1
plugin.name=pgoutput
database.hostname=127.0.0.1
database.port=@PORT@
database.user=${env:DB_USER}
database.password=${dir:@FOLDER@:secrets.properties}
database.dbname=@DATABASE@
topic.prefix=@DATABASE@
slot.name=from_@DATABASE@
table.include.list=inventory\\\\.customers
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
";

const SERVER: &str = "\
debezium.sink.type=kafka
debezium.sink.kafka.producer.bootstrap.servers=@BROKERS@
debezium.sink.kafka.producer.key.serializer=org.apache.kafka.common.serialization.StringSerializer
debezium.sink.kafka.producer.value.serializer=org.apache.kafka.common.serialization.StringSerializer
debezium.sink.kafka.wait.message.delivery.timeout.ms=30000
debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector
debezium.source.offset.storage=org.apache.kafka.connect.storage.FileOffsetBackingStore
debezium.source.offset.storage.file.filename=data/offsets.dat
debezium.source.offset.flush.interval.ms=0
debezium.source.schema.history.internal=io.debezium.storage.file.history.FileSchemaHistory
debezium.source.schema.history.internal.file.filename=data/history.dat
debezium.source.database.hostname=${DB_HOST:127.0.0.1}
debezium.source.database.port=@PORT@
debezium.source.database.user=${db.user}
debezium.source.database.password=postgres
debezium.source.database.dbname=@DATABASE@
debezium.source.topic.prefix=@DATABASE@
debezium.source.slot.name=from_@DATABASE@
debezium.source.plugin.name=pgoutput
debezium.source.table.include.list=inventory.customers
debezium.format.key=json
debezium.format.value=json
debezium.format.schemas.enable=false
debezium.transforms=
quarkus.log.console.json=false
quarkus.log.level=INFO
quarkus.http.port=8081
";

/// What the server above says of the brokers.
const PLAIN: &str = "debezium.sink.kafka.producer.bootstrap.servers=@BROKERS@\n";

/// Brokers that know only who shows a certificate and a password.
const SECURE: &str = "\
debezium.sink.kafka.producer.bootstrap.servers=@SECURE@
debezium.sink.kafka.producer.security.protocol=SASL_SSL
debezium.sink.kafka.producer.sasl.mechanism=PLAIN
debezium.sink.kafka.producer.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required \\
    username=\"etl\" \\
    password=\"pass word;\";
debezium.sink.kafka.producer.ssl.truststore.type=PEM
debezium.sink.kafka.producer.ssl.truststore.location=@CA@
debezium.sink.kafka.producer.ssl.keystore.type=PEM
debezium.sink.kafka.producer.ssl.keystore.location=@CLIENT@
";

const TOML: &str = "\
slot.name = \"from_@DATABASE@\"
topic.prefix = \"@DATABASE@\"
table.include.list = [\"inventory\\\\.customers\"]
bootstrap.servers = \"@BROKERS@\"
[database]
hostname = \"127.0.0.1\"
port = @PORT@
user = \"postgres\"
dbname = \"@DATABASE@\"
";

#[test]
fn files_of_debezium_are_taken_as_they_are() {
    let place = Place {
        postgres: Postgres::start(15),
        kafka: Kafka::with(KafkaOptions::default().secure()),
    };
    assert!(SERVER.contains(PLAIN));
    for (name, content) in [
        ("connector.json", CONNECTOR),
        ("connect-standalone.properties", STANDALONE),
        ("application.properties", SERVER),
        ("secure.properties", &SERVER.replace(PLAIN, SECURE)),
        ("agent.toml", TOML),
    ] {
        let values = place.run(name, content);
        let seen: Vec<String> =
            values.iter().map(|value| format!("{} {}", value["op"], value["after"])).collect();
        assert_eq!(seen, [r#""r" {"id":1,"name":"a"}"#, r#""c" {"id":2,"name":"b"}"#], "{name}");
    }
}
