//! A source whose cases are followed by two agents: one writes schemas into its own topic and
//! topics of three partitions, the other embeds them and has one partition.

use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

use cdc_testkit::process::wait_until;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::kafka::KafkaOptions;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;

use crate::run::Agent;
use crate::run::AgentOptions;

/// How an agent writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Schemas in `PREFIX.__schemas`; three partitions.
    Plain,
    /// Schemas in every record; one partition.
    Embedded,
}

pub(crate) const MODES: [Mode; 2] = [Mode::Plain, Mode::Embedded];

impl Mode {
    /// Slot, publication and topic prefix.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Mode::Plain => "plain",
            Mode::Embedded => "embedded",
        }
    }
}

/// A broker for all tests of a file, which takes large records.
pub(crate) fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| {
        let options = KafkaOptions::default()
            .property("message.max.bytes", "67108864")
            .property("socket.request.max.bytes", "134217728")
            .property("replica.fetch.max.bytes", "67108864")
            .property("log.cleaner.backoff.ms", "200")
            .property("log.retention.check.interval.ms", "1000");
        Kafka::with(options)
    })
}

/// A server for all tests of a file: sources and warehouses are databases of it.
pub(crate) fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let options = PostgresOptions::system()
            .setting("max_replication_slots", "40")
            .setting("max_wal_senders", "40")
            .setting("max_connections", "200");
        Postgres::with(options)
    })
}

/// A database that agents follow.
pub(crate) struct Source {
    pub(crate) server: &'static Postgres,
    pub(crate) database: String,
    agents: Mutex<Vec<Agent>>,
    slots: Vec<String>,
}

/// Table that nobody compares: its changes show how far agents are.
const SENTINEL: &str = "CREATE SCHEMA sentinel; CREATE TABLE sentinel.beat (at bigint PRIMARY KEY)";

impl Source {
    /// A database after this SQL, its agents in these modes having read it.
    #[track_caller]
    pub(crate) fn new(database: &str, setup: &[(&str, &str)], modes: &[Mode]) -> Self {
        let (server, kafka) = (server(), kafka());
        server.create_database(database);
        server.execute(database, SENTINEL);
        for (schema, sql) in setup {
            server.execute(database, &format!("CREATE SCHEMA \"{schema}\""));
            in_schema(server, database, schema, sql);
        }
        let options = |mode: Mode| {
            let name = if database == "source" {
                mode.prefix().to_owned()
            } else {
                format!("{database}_{}", mode.prefix())
            };
            let options = AgentOptions::new(&server.dsn(database), kafka, &name)
                .set("topic.creation.default.max.message.bytes", "67108864")
                .set("producer.message.max.bytes", "67108864");
            match mode {
                Mode::Plain => options.set("topic.creation.default.partitions", "3"),
                Mode::Embedded => options
                    .set("key.converter.schemas.enable", "true")
                    .set("value.converter.schemas.enable", "true"),
            }
        };
        let all: Vec<AgentOptions> = modes.iter().map(|mode| options(*mode)).collect();
        let slots = all.iter().map(|options| options.slot.clone()).collect();
        let mut agents: Vec<Agent> = all.into_iter().map(Agent::start).collect();
        for agent in &mut agents {
            agent.wait_streaming(Duration::from_secs(180));
        }
        Self { server, database: database.to_owned(), agents: Mutex::new(agents), slots }
    }

    /// Runs SQL in a schema, as one transaction.
    #[track_caller]
    pub(crate) fn execute(&self, schema: &str, sql: &str) {
        in_schema(self.server, &self.database, schema, sql);
    }

    /// Waits until everything that was committed is in the topics.
    #[track_caller]
    pub(crate) fn deliver(&self) {
        let end = self.server.query_one(&self.database, "SELECT pg_current_wal_lsn()::text");
        let end = end.expect("a position");
        let beat = "INSERT INTO sentinel.beat SELECT coalesce(max(at), 0) + 1 FROM sentinel.beat";
        self.server.execute(&self.database, beat);
        for slot in &self.slots {
            let sql = format!(
                "SELECT (confirmed_flush_lsn > '{end}')::text FROM pg_replication_slots WHERE \
                 slot_name = '{slot}'"
            );
            wait_until(Duration::from_secs(120), "the agent to deliver", || {
                let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
                agents.iter_mut().for_each(Agent::assert_running);
                self.server.query_one(&self.database, &sql).as_deref() == Some("true")
            });
        }
    }

    /// Does something to the agents.
    pub(crate) fn with_agents(&self, change: impl FnOnce(&mut Vec<Agent>)) {
        change(&mut self.agents.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[track_caller]
fn in_schema(server: &Postgres, database: &str, schema: &str, sql: &str) {
    let sql = format!("SET search_path TO \"{schema}\", public; {sql}");
    server.execute(database, &sql);
}
