//! How a scratch server is to be.

use super::binaries;

/// Version, settings and access of a [`super::Postgres`].
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Major version.
    pub version: u32,
    /// Arguments of `initdb` that choose the locale; default `--locale=C`.
    pub locale: Vec<String>,
    /// Lines of `postgresql.conf`, name and value unquoted; a later one wins.
    pub settings: Vec<(String, String)>,
    /// Lines put before `pg_hba.conf`, which otherwise trusts everybody from this machine.
    pub hba: Vec<String>,
    /// Whether it takes TLS connections, with certificates of its own.
    pub tls: bool,
    /// Addresses to listen on; 127.0.0.1 has to be among them. One that the machine does not have
    /// is left out by the server.
    pub listen: String,
    /// A socket folder in Linux' abstract name space, `@NAME`, beside the one on disk.
    pub abstract_socket: Option<String>,
}

impl PostgresOptions {
    /// A server of a major version, ready for logical replication.
    ///
    /// fsync is off: a test that kills the server with SIGKILL takes nothing from the system's page
    /// cache, so what the server has written is there when it starts again. Only a power cut would
    /// tell the difference.
    pub fn new(version: u32) -> Self {
        let settings = [
            ("wal_level", "logical"),
            ("max_wal_senders", "20"),
            ("max_replication_slots", "20"),
            ("max_prepared_transactions", "10"),
            ("max_connections", "100"),
            ("fsync", "off"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_line_prefix", "%m [%p] %a "),
            ("shared_buffers", "64MB"),
            ("max_wal_size", "1GB"),
            // Below the data folder, so that a killed server leaves nothing behind in /dev/shm.
            ("dynamic_shared_memory_type", "mmap"),
        ];
        Self {
            version,
            locale: vec!["--locale=C".into()],
            settings: settings.map(|(name, value)| (name.into(), value.into())).into(),
            hba: Vec::new(),
            tls: false,
            listen: "127.0.0.1".into(),
            abstract_socket: None,
        }
    }

    /// The newest system version from 14 on, or the newest that `install.sh` has downloaded.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn system() -> Self {
        let version = binaries::system_version();
        Self::new(version.expect("no PostgreSQL from 14 on: run tests/support/install.sh postgres"))
    }

    /// A line of `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// A line put before those of `pg_hba.conf`.
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.into());
        self
    }

    /// `initdb --locale`.
    #[must_use]
    pub fn locale(mut self, locale: &str) -> Self {
        self.locale = vec![format!("--locale={locale}")];
        self
    }

    /// TLS with the certificates of [`super::Postgres::certificates`]; client certificates are asked
    /// for where `pg_hba.conf` says so (`hostssl all all all cert`).
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Listens on 127.0.0.1 and, where there is IPv6, on ::1.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.listen = "127.0.0.1,::1".into();
        self
    }

    /// Listens on a socket in Linux' abstract name space too: `host=@NAME` is where.
    #[must_use]
    pub fn abstract_socket(mut self, name: &str) -> Self {
        self.abstract_socket = Some(format!("@{name}"));
        self
    }

    /// Text of `postgresql.auto.conf`-like lines.
    pub(super) fn conf(&self) -> String {
        let line = |(name, value): &(String, String)| {
            format!("{name} = '{}'\n", value.replace('\'', "''"))
        };
        self.settings.iter().map(line).collect()
    }
}
