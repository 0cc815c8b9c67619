//! A real Kafka broker of one node.

mod admin;
mod secure;

pub use secure::Secure;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::servers_dir;
use crate::process;
use crate::process::Daemon;

/// How long a broker may take to start, recovery of its logs included.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// Any id does: a cluster of one has nobody to confuse it with.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// Heap and properties of a [`Kafka`].
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// Largest heap in MiB; default 512.
    pub heap_mib: u32,
    /// Lines of `server.properties`; a later one wins.
    pub properties: Vec<(String, String)>,
    is_secure: bool,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        let properties = [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("controller.listener.names", "CONTROLLER"),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ("inter.broker.listener.name", "PLAINTEXT"),
            ("offsets.topic.replication.factor", "1"),
            ("offsets.topic.num.partitions", "4"),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("transaction.state.log.num.partitions", "4"),
            ("share.coordinator.state.topic.replication.factor", "1"),
            ("share.coordinator.state.topic.min.isr", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("num.partitions", "1"),
            ("auto.create.topics.enable", "false"),
            // A broker that was killed is taken back only when its old session is over.
            ("broker.session.timeout.ms", "1500"),
            ("broker.heartbeat.interval.ms", "200"),
        ];
        let properties = properties.map(|(name, value)| (name.into(), value.into()));
        Self { heap_mib: 512, properties: properties.into(), is_secure: false }
    }
}

impl KafkaOptions {
    /// A line of `server.properties`.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Rights are looked at: everything is allowed until [`Kafka::forbid`] forbids it.
    #[must_use]
    pub fn authorizer(self) -> Self {
        let class = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        self.property("authorizer.class.name", class)
            .property("allow.everyone.if.no.acl.found", "true")
            .property("super.users", "User:nobody")
    }

    /// A second listener, for TLS with certificates on both sides and for SASL PLAIN: see
    /// [`Kafka::secure`].
    #[must_use]
    pub fn secure(mut self) -> Self {
        self.is_secure = true;
        self
    }

    /// Largest heap.
    #[must_use]
    pub fn heap_mib(mut self, heap_mib: u32) -> Self {
        self.heap_mib = heap_mib;
        self
    }
}

/// A broker on free loopback ports, in KRaft mode, its data in a folder of its own.
///
/// Topics are not created by themselves unless `auto.create.topics.enable` says so. Dropping it
/// kills the broker and removes the data.
#[derive(Debug)]
pub struct Kafka {
    options: KafkaOptions,
    dir: TempDir,
    port: u16,
    controller_port: u16,
    secure: Option<Secure>,
    daemon: Option<Daemon>,
}

impl Kafka {
    /// A fresh broker with the default options.
    ///
    /// # Panics
    ///
    /// If its jars are missing or it does not start.
    pub fn start() -> Self {
        Self::with(KafkaOptions::default())
    }

    /// A fresh broker with these options.
    ///
    /// # Panics
    ///
    /// If its jars are missing or it does not start.
    pub fn with(options: KafkaOptions) -> Self {
        let mut kafka = Self {
            options,
            dir: process::scratch_dir("kafka"),
            port: process::free_port(),
            controller_port: process::free_port(),
            secure: None,
            daemon: None,
        };
        if kafka.options.is_secure {
            kafka.secure = Some(Secure::make(kafka.dir.path()));
        }
        kafka.format();
        kafka.launch();
        kafka
    }

    fn format(&self) {
        fs::write(self.properties_path(), self.properties()).expect("the folder is ours");
        let mut command = super::java(128, &servers_dir().join("kafka"), self.dir.path());
        command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
        command.arg(self.properties_path());
        let mut daemon = Daemon::spawn("format", command, self.dir.path());
        let status = daemon.wait_exit(START_TIMEOUT);
        assert!(status.success(), "kafka's format ended with {status}:\n{}", daemon.log_tail());
    }

    fn launch(&mut self) {
        let mut command =
            super::java(self.options.heap_mib, &servers_dir().join("kafka"), self.dir.path());
        command.arg("kafka.Kafka").arg(self.properties_path());
        let mut daemon = Daemon::spawn("kafka", command, self.dir.path());
        process::wait_until(START_TIMEOUT, "Kafka to answer a metadata request", || {
            assert!(daemon.is_running(), "Kafka ended at its start:\n{}", daemon.log_tail());
            self.answers()
        });
        self.daemon = Some(daemon);
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        self.daemon.take().expect("the broker runs").kill();
    }

    /// Starts it again after a kill or a stop, on the same ports and data.
    ///
    /// # Panics
    ///
    /// If it runs, or does not start.
    pub fn start_again(&mut self) {
        assert!(self.daemon.is_none(), "the broker runs already");
        self.launch();
    }

    /// A clean stop (SIGTERM).
    ///
    /// # Panics
    ///
    /// If it does not run, or has not ended in half a minute.
    pub fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("the broker runs");
        daemon.terminate(Duration::from_secs(30));
    }

    /// SIGSTOP. Connections stay open and silent.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn freeze(&self) {
        self.daemon().freeze();
    }

    /// SIGCONT.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn thaw(&self) {
        self.daemon().thaw();
    }

    /// `HOST:PORT` for `bootstrap.servers`; the same after [`Kafka::start_again`].
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The listener that [`KafkaOptions::secure`] asks for.
    ///
    /// # Panics
    ///
    /// If nobody asked for it.
    pub fn secure(&self) -> &Secure {
        self.secure.as_ref().expect("KafkaOptions::secure was asked for")
    }

    /// The broker's process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the broker runs")
    }

    /// Whether it has been started and not been stopped or killed.
    pub fn is_running(&self) -> bool {
        self.daemon.is_some()
    }

    /// All that the broker has logged, over all its starts.
    pub fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("kafka.err")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn properties_path(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn properties(&self) -> String {
        let (port, controller_port) = (self.port, self.controller_port);
        let mut lines: String = [
            format!(
                "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n"
            ),
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"),
            format!("controller.quorum.voters=1@127.0.0.1:{controller_port}\n"),
            format!("log.dirs={}\n", self.dir.path().join("data").display()),
        ]
        .concat();
        for (name, value) in &self.options.properties {
            lines.push_str(&format!("{name}={value}\n"));
        }
        if let Some(secure) = &self.secure {
            lines.push_str(&secure.properties((port, controller_port)));
        }
        lines
    }
}
