//! The agent as a service beside real servers: how these tests start it, what they ask of it, and
//! how they judge what it has left in its topics.

#![allow(dead_code, unused_imports, reason = "each test file uses its part of this module")]

pub(crate) mod agent;
pub(crate) mod judge;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod source;

use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::kafka::KafkaOptions;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;

pub(crate) use agent::Agent;
pub(crate) use agent::AgentOptions;
pub(crate) use agent::Refusal;

/// For what takes seconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// For catching up with everything that was written while servers died.
pub(crate) const LONG: Duration = Duration::from_secs(240);

/// A broker that says of every record when it was appended, by its own clock.
pub(crate) fn kafka_with_append_times() -> Kafka {
    Kafka::with(KafkaOptions::default().property("log.message.timestamp.type", "LogAppendTime"))
}

/// A broker for all tests of a file that do it no harm. It ends with the process.
pub(crate) fn shared_kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(kafka_with_append_times)
}

/// A server of a major version for all tests of a file that do it no harm; each test has a database
/// of its own in it.
pub(crate) fn shared_postgres(version: u32) -> &'static Postgres {
    static SERVERS: Mutex<Vec<(u32, &'static Postgres)>> = Mutex::new(Vec::new());
    let mut servers = SERVERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match servers.iter().find(|(known, _)| *known == version) {
        Some((_, server)) => server,
        None => {
            let options = PostgresOptions::new(version).setting("max_replication_slots", "60");
            let options = options.setting("max_wal_senders", "60");
            // It lives as long as the process, and the kernel ends it then.
            let server: &'static Postgres = Box::leak(Box::new(Postgres::with(options)));
            servers.push((version, server));
            server
        }
    }
}

/// A line of progress, with the test that it belongs to.
pub(crate) fn say(test: &str, text: impl std::fmt::Display) {
    println!("[{test}] {text}");
}
