//! The same database followed by two connectors, each into a Kafka of its own.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::connect::Connect;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::topics;
use cdc_testkit::topics::TopicRecord;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::case;
use super::script::Script;

/// How long either may take to start, or to publish a part.
const PATIENCE: Duration = Duration::from_secs(180);

/// Nothing more comes when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(3);

/// Prefix of the message that ends a part.
const MARK: &str = "end of part";

fn is_mark(record: &TopicRecord) -> bool {
    let key = record.key.as_deref().unwrap_or_default();
    key.windows(MARK.len()).any(|part| part == MARK.as_bytes())
}

/// A Kafka and, with a worker, a Debezium beside it; without, our agent.
pub struct Side {
    pub kafka: Kafka,
    pub connect: Option<Connect>,
}

impl Side {
    /// A side of Debezium.
    pub fn debezium() -> Self {
        let kafka = Kafka::start();
        let connect = Some(Connect::start(&kafka));
        Side { kafka, connect }
    }

    /// Ours.
    pub fn ours() -> Self {
        Side { kafka: Kafka::start(), connect: None }
    }

    fn start(&self, run: &Run<'_>, slot: &str) -> Follower<'_> {
        let config = run.config(slot);
        match &self.connect {
            Some(connect) => {
                connect.put_connector(&run.prefix, &config);
                Follower { side: self, running: Running::Connector(connect, run.prefix.clone()) }
            }
            None => {
                let folder = process::scratch_dir("parity");
                fs::write(folder.path().join("connector.json"), config.to_string()).unwrap();
                let mut command = process::command(env!("CARGO_BIN_EXE_cdc-agent"));
                command.current_dir(folder.path()).args(["--config", "connector.json"]);
                command.args(["--brokers", &self.kafka.bootstrap(), "--http", "none"]);
                let agent = Daemon::spawn("agent", command, folder.path());
                Follower { side: self, running: Running::Agent(agent, folder) }
            }
        }
    }
}

/// A connector at work.
struct Follower<'a> {
    side: &'a Side,
    running: Running<'a>,
}

enum Running<'a> {
    Connector(&'a Connect, String),
    Agent(Daemon, TempDir),
}

impl Follower<'_> {
    fn has_ended(&mut self) -> bool {
        match &mut self.running {
            Running::Connector(connect, name) => {
                connect.status(name)["tasks"][0]["state"] == "FAILED"
            }
            Running::Agent(agent, _) => !agent.is_running(),
        }
    }

    fn wait_until_streaming(&mut self, server: &Postgres, slot: &str) {
        let streaming = format!(
            "SELECT count(*)::text FROM pg_replication_slots s JOIN pg_stat_replication r \
             ON r.pid = s.active_pid WHERE s.slot_name = '{slot}' AND r.state = 'streaming'"
        );
        let begun = Instant::now();
        while server.query_one("postgres", &streaming).as_deref() == Some("0") && !self.has_ended()
        {
            std::thread::sleep(Duration::from_millis(50));
            assert!(begun.elapsed() < PATIENCE, "{slot} does not stream: {}", self.says());
        }
    }

    fn count(&self, pattern: &str) -> u64 {
        topics::count(&self.side.kafka.bootstrap(), pattern)
    }

    fn says(&self) -> String {
        match &self.running {
            Running::Connector(connect, name) => connect.status(name).to_string(),
            Running::Agent(agent, _) => agent.log_tail(),
        }
    }

    fn stop(self) -> String {
        match self.running {
            Running::Connector(connect, name) => {
                let trace = connect.status(&name)["tasks"][0]["trace"].to_string();
                connect.delete_connector(&name);
                trace
            }
            Running::Agent(mut agent, _folder) => {
                if agent.is_running() {
                    agent.terminate(PATIENCE);
                }
                agent.log_tail()
            }
        }
    }
}

/// One script on one server.
pub struct Run<'a> {
    pub script: &'a Script,
    pub server: &'a Postgres,
    /// Both sides' prefix, and the database.
    pub prefix: String,
}

/// What both wrote, and what they said at the end.
pub struct Outcome {
    pub left: Vec<TopicRecord>,
    pub right: Vec<TopicRecord>,
    pub said: [String; 2],
    /// The right one was not there any more at the end.
    pub right_ended: bool,
}

impl Run<'_> {
    /// Lets both follow the script.
    pub fn run(&self, left: &Side, right: &Side) -> Outcome {
        let database = &self.prefix;
        self.server.create_database(database);
        let mut session = self.server.client(database);
        for statement in &self.script.setup {
            let done = session.simple_query(statement);
            done.unwrap_or_else(|error| panic!("{error:?}: {statement}"));
        }
        let slots = [format!("{database}_left"), format!("{database}_right")];
        let mut sides = Vec::new();
        for (side, slot) in [left, right].into_iter().zip(&slots) {
            // One after the other: who comes first creates the publication.
            let mut follower = side.start(self, slot);
            if self.script.setting("snapshot.mode") != Some("initial_only") {
                follower.wait_until_streaming(self.server, slot);
            }
            sides.push(follower);
        }
        let own = format!(".*{database}.*");
        for (at, part) in self.script.work.iter().enumerate() {
            for statement in part {
                let done = session.simple_query(statement);
                done.unwrap_or_else(|error| panic!("{error:?}: {statement}"));
            }
            if self.script.has_messages() {
                let mark = format!("SELECT pg_logical_emit_message(true, '{MARK}', '')");
                session.simple_query(&mark).unwrap();
            }
            sides.iter_mut().for_each(|side| self.wait_until_published(side, at + 1, &own));
        }
        drop(session);
        let right_ended = sides.last_mut().is_some_and(Follower::has_ended);
        let said = sides.into_iter().map(Follower::stop).collect::<Vec<_>>();
        let read = |side: &Side| topics::read_all(&side.kafka.bootstrap(), &own);
        let outcome = Outcome {
            left: read(left),
            right: read(right),
            said: said.try_into().expect("there are two sides"),
            right_ended,
        };
        for slot in &slots {
            super::run::free_slot(self.server, slot);
        }
        self.server.drop_database(database);
        outcome
    }

    /// Waits for the message at the end of the part, or for silence where there is none.
    fn wait_until_published(&self, side: &mut Follower<'_>, parts: usize, own: &str) {
        let messages = format!("{}\\.message", self.prefix);
        let marks = |side: &Follower<'_>| {
            let records = topics::read_all(&side.side.kafka.bootstrap(), &messages);
            records.iter().filter(|record| is_mark(record)).count()
        };
        let begun = Instant::now();
        let mut last = (side.count(own), Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(100));
            if self.script.has_messages() && begun.elapsed() < PATIENCE {
                if marks(side) >= parts {
                    return;
                }
                if !side.has_ended() {
                    continue;
                }
            }
            let count = side.count(own);
            if count != last.0 {
                last = (count, Instant::now());
            } else if last.1.elapsed() > QUIET {
                return;
            }
        }
    }

    fn config(&self, slot: &str) -> Value {
        let converter = "org.apache.kafka.connect.json.JsonConverter";
        let mut config = json!({
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "tasks.max": "1",
            "database.hostname": "127.0.0.1",
            "database.port": self.server.port().to_string(),
            "database.user": "postgres",
            "database.password": "",
            "database.dbname": self.prefix,
            "topic.prefix": self.prefix,
            "plugin.name": "pgoutput",
            "slot.name": slot,
            "slot.drop.on.stop": "true",
            "key.converter": converter,
            "value.converter": converter,
            "topic.creation.default.partitions": self.script.partitions.to_string(),
            "topic.creation.default.replication.factor": "1",
        });
        for (name, value) in &self.script.connector {
            config[name] = case::with_prefix(name, value, &self.prefix).into();
        }
        config
    }
}
