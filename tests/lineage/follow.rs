//! A database followed by a real Debezium, or by our agent, with the same settings.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::connect::Connect;
use cdc_testkit::servers::connect::ConnectOptions;
use cdc_testkit::servers::kafka::Kafka;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

/// How long a step may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Name of the connector, topic prefix, slot, publication and database.
pub(crate) const PREFIX: &str = "lineage";

/// Whom to run.
pub(crate) enum Side {
    /// Debezium, with its plug-in and the library of OpenLineage in this folder.
    Debezium(PathBuf),
    /// Our agent.
    Ours,
}

/// A connector at work.
pub(crate) enum Follower {
    /// In this worker; its Kafka lives as long.
    Connector(Box<Connect>, #[allow(dead_code, reason = "it only has to live")] Box<Kafka>),
    /// In this process.
    Agent(Daemon, TempDir),
}

impl Follower {
    /// Starts it. `config` is a connector's.
    pub(crate) fn start(side: &Side, config: &Value) -> Self {
        match side {
            Side::Debezium(plugins) => {
                let kafka = Kafka::start();
                let options = ConnectOptions::default();
                let options = options.property("plugin.path", &plugins.display().to_string());
                let connect = Connect::with(&kafka, &options);
                connect.put_connector(PREFIX, config);
                Follower::Connector(Box::new(connect), Box::new(kafka))
            }
            Side::Ours => {
                let folder = process::scratch_dir("lineage");
                fs::write(folder.path().join("connector.json"), config.to_string()).unwrap();
                Follower::Agent(spawn(&folder, &[]), folder)
            }
        }
    }

    /// Whether its task, or its process, has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        match self {
            Follower::Connector(connect, _) => {
                connect.status(PREFIX)["tasks"][0]["state"] == "FAILED"
            }
            Follower::Agent(agent, _) => !agent.is_running(),
        }
    }

    /// The end of its log, for messages of failure.
    pub(crate) fn says(&self) -> String {
        match self {
            Follower::Connector(connect, _) => connect.daemon().log_tail(),
            Follower::Agent(agent, _) => agent.log_tail(),
        }
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        match self {
            Follower::Connector(connect, _) => connect.stop_connector(PREFIX),
            Follower::Agent(agent, _) => {
                // One that has failed has ended already.
                if agent.is_running() {
                    agent.terminate(PATIENCE);
                }
            }
        }
    }

    /// Goes on after a stop.
    pub(crate) fn resume(&mut self) {
        match self {
            Follower::Connector(connect, _) => connect.resume_connector(PREFIX),
            Follower::Agent(agent, folder) => *agent = spawn(folder, &[]),
        }
    }
}

/// Our agent over the `connector.json` of a folder, its records in `records.jsonl` there.
pub(crate) fn spawn(folder: &TempDir, more: &[&str]) -> Daemon {
    Daemon::spawn("agent", command(folder.path(), more), folder.path())
}

/// Its command.
pub(crate) fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = process::command(env!("CARGO_BIN_EXE_cdc-agent"));
    // Events list what is set.
    command.env_remove("CDC_AGENT_SNAPSHOT_EPOCH");
    command.current_dir(folder).args(["--config", "connector.json", "--http", "none"]);
    command.args(["--to", "file:records.jsonl"]).args(more);
    command
}

/// A connector's settings.
pub(crate) fn config(port: u16, database: &str, openlineage: &str) -> Value {
    json!({
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": "127.0.0.1",
        "database.port": port.to_string(),
        "database.user": "postgres",
        "database.password": "secret",
        "database.dbname": database,
        "topic.prefix": PREFIX,
        "plugin.name": "pgoutput",
        "slot.name": PREFIX,
        "publication.name": PREFIX,
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
        "retriable.restart.connector.wait.ms": "1000",
        "openlineage.integration.enabled": "true",
        "openlineage.integration.config.file.path": openlineage,
    })
}
