//! A Kafka Connect worker with Debezium's PostgreSQL connector: what cdc-agent is measured against.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::kafka::Kafka;
use super::postgres::Postgres;
use super::servers_dir;
use crate::http;
use crate::http::Answer;
use crate::process;
use crate::process::Daemon;

const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Heap and properties of a [`Connect`].
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Largest heap in MiB; default 1024. Debezium at full speed wants 2048.
    pub heap_mib: u32,
    /// Lines of the worker's properties; a later one wins.
    pub properties: Vec<(String, String)>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        let converter = "org.apache.kafka.connect.json.JsonConverter";
        let properties = [
            ("group.id", "connect"),
            ("key.converter", converter),
            ("value.converter", converter),
            ("key.converter.schemas.enable", "false"),
            ("value.converter.schemas.enable", "false"),
            ("config.storage.topic", "_connect_configs"),
            ("config.storage.replication.factor", "1"),
            ("offset.storage.topic", "_connect_offsets"),
            ("offset.storage.replication.factor", "1"),
            ("offset.storage.partitions", "1"),
            ("status.storage.topic", "_connect_status"),
            ("status.storage.replication.factor", "1"),
            ("status.storage.partitions", "1"),
            ("offset.flush.interval.ms", "1000"),
            // Reads the plugins' manifests instead of all their classes: ten seconds sooner.
            ("plugin.discovery", "service_load"),
            // Connectors may tune their producers (`producer.override.*`).
            ("connector.client.config.override.policy", "All"),
        ];
        let properties = properties.map(|(name, value)| (name.into(), value.into()));
        Self { heap_mib: 1024, properties: properties.into() }
    }
}

impl ConnectOptions {
    /// A line of the worker's properties.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Largest heap.
    #[must_use]
    pub fn heap_mib(mut self, heap_mib: u32) -> Self {
        self.heap_mib = heap_mib;
        self
    }
}

/// A worker of its own, with its REST interface on a free loopback port. Killed when dropped; its
/// topics and the slots of its connectors stay.
#[derive(Debug)]
pub struct Connect {
    // Declared first: the worker ends before its folder goes.
    daemon: Daemon,
    _dir: TempDir,
    port: u16,
}

impl Connect {
    /// A worker beside a broker, with the default options.
    ///
    /// # Panics
    ///
    /// If its jars are missing or it does not start.
    pub fn start(kafka: &Kafka) -> Self {
        Self::with(kafka, &ConnectOptions::default())
    }

    /// A worker with these options.
    ///
    /// # Panics
    ///
    /// If its jars are missing or it does not start.
    pub fn with(kafka: &Kafka, options: &ConnectOptions) -> Self {
        let plugins = servers_dir().join("plugins");
        assert!(plugins.is_dir(), "Debezium is missing: run tests/support/install.sh connect");
        let plugins = plugins.canonicalize().expect("the folder is there");
        let dir = process::scratch_dir("connect");
        let port = process::free_port();
        let mut lines = format!(
            "bootstrap.servers={}\nlisteners=http://127.0.0.1:{port}\nplugin.path={}\n",
            kafka.bootstrap(),
            plugins.display()
        );
        for (name, value) in &options.properties {
            lines.push_str(&format!("{name}={value}\n"));
        }
        let properties = dir.path().join("connect.properties");
        fs::write(&properties, lines).expect("the folder is ours");
        let mut command = super::java(options.heap_mib, &servers_dir().join("kafka"), dir.path());
        command.arg("org.apache.kafka.connect.cli.ConnectDistributed").arg(properties);
        let daemon = Daemon::spawn("connect", command, dir.path());
        let mut connect = Self { daemon, _dir: dir, port };
        process::wait_until(START_TIMEOUT, "Kafka Connect to answer", || {
            let alive = connect.daemon.is_running();
            assert!(alive, "Kafka Connect ended at its start:\n{}", connect.daemon.log_tail());
            connect.request("GET", "/connectors", None).is_ok()
        });
        connect
    }

    /// Creates a connector or changes its settings. Right after the start the worker may still be
    /// busy, so a refusal for that reason is tried again.
    ///
    /// # Panics
    ///
    /// If the worker refuses the settings.
    #[track_caller]
    pub fn put_connector(&self, name: &str, config: &Value) {
        let path = format!("/connectors/{name}/config");
        process::wait_until(START_TIMEOUT, "the connector to be taken", || {
            match self.request("PUT", &path, Some(config)) {
                Ok(_) => true,
                Err(Answer { status: 0 | 409 | 500 | 503, .. }) => false,
                Err(refusal) => panic!("{name} is refused: {refusal:?}"),
            }
        });
    }

    /// Deletes a connector; its slot stays unless it has `slot.drop.on.stop`.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    #[track_caller]
    pub fn delete_connector(&self, name: &str) {
        self.request("DELETE", &format!("/connectors/{name}"), None).expect("it is deleted");
        process::wait_until(START_TIMEOUT, "the connector to be gone", || {
            self.status(name).is_null()
        });
    }

    /// Stops a connector's task but keeps its offsets: what is written meanwhile is its backlog.
    ///
    /// # Panics
    ///
    /// If the worker refuses.
    #[track_caller]
    pub fn stop_connector(&self, name: &str) {
        self.request("PUT", &format!("/connectors/{name}/stop"), None).expect("it stops");
        process::wait_until(START_TIMEOUT, "the connector to stop", || {
            let status = self.status(name);
            status["connector"]["state"] == "STOPPED" && status["tasks"] == json!([])
        });
    }

    /// Goes on after [`Connect::stop_connector`].
    ///
    /// # Panics
    ///
    /// If the worker refuses.
    #[track_caller]
    pub fn resume_connector(&self, name: &str) {
        self.request("PUT", &format!("/connectors/{name}/resume"), None).expect("it resumes");
    }

    /// The status of a connector and its tasks, as the worker tells it; null if there is none.
    pub fn status(&self, name: &str) -> Value {
        self.request("GET", &format!("/connectors/{name}/status"), None).unwrap_or(Value::Null)
    }

    /// Waits until a connector and its task run.
    ///
    /// # Panics
    ///
    /// If a task has failed, with its trace, or the time is over.
    #[track_caller]
    pub fn wait_running(&self, name: &str, timeout: Duration) {
        process::wait_until(timeout, "the connector to run", || {
            let status = self.status(name);
            let task = &status["tasks"][0];
            assert!(task["state"] != "FAILED", "{name} has failed: {}", task["trace"]);
            status["connector"]["state"] == "RUNNING" && task["state"] == "RUNNING"
        });
    }

    /// The worker's process.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// URL of the REST interface, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Answer> {
        let unreachable = |body| Answer { status: 0, body };
        let answer = http::request(method, &(self.url() + path), body).map_err(unreachable)?;
        if answer.is_success() { Ok(answer.json()) } else { Err(answer) }
    }
}

/// Settings of a Debezium connector on a database of a scratch server, with a slot and a publication
/// named after the topic prefix, and the value representations that are cdc-agent's defaults.
pub fn debezium(postgres: &Postgres, database: &str, prefix: &str) -> Value {
    json!({
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": "127.0.0.1",
        "database.port": postgres.port().to_string(),
        "database.user": "postgres",
        "database.password": "",
        "database.dbname": database,
        "topic.prefix": prefix,
        "plugin.name": "pgoutput",
        "slot.name": format!("{prefix}_slot"),
        "publication.name": format!("{prefix}_publication"),
        "publication.autocreate.mode": "filtered",
        "decimal.handling.mode": "string",
        "interval.handling.mode": "string",
        "skipped.operations": "none",
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
    })
}
