//! A scratch PostgreSQL server.

mod binaries;
mod control;
mod options;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use postgres::NoTls;
use tempfile::TempDir;

use crate::process;
use crate::process::Daemon;
use crate::servers::tls::Certificates;

use binaries::ServerUser;

pub use binaries::bin_dir;
pub use binaries::system_version;
pub use options::PostgresOptions;
pub use postgres::Client;

/// A session by its URI, for who has no server at hand.
///
/// # Errors
///
/// Whatever the server or the socket says.
pub fn session(uri: &str) -> Result<Client, postgres::Error> {
    Client::connect(uri, NoTls)
}

/// How long a server may take to start, crash recovery included.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server of its own data folder, on a free loopback port and a Unix socket.
///
/// The superuser is `postgres`, without a password. It runs as the user `postgres` or `nobody` if
/// we are root. Dropping it stops the server and removes the data.
#[derive(Debug)]
pub struct Postgres {
    options: PostgresOptions,
    bin: PathBuf,
    user: ServerUser,
    dir: TempDir,
    port: u16,
    certificates: Option<Certificates>,
    daemon: Option<Daemon>,
}

impl Postgres {
    /// A fresh server of a major version, with [`PostgresOptions::new`].
    ///
    /// # Panics
    ///
    /// If this version is not installed or does not start.
    pub fn start(version: u32) -> Self {
        Self::with(PostgresOptions::new(version))
    }

    /// A fresh server of the newest system version from 14 on.
    ///
    /// # Panics
    ///
    /// If there is none or it does not start.
    pub fn system() -> Self {
        Self::with(PostgresOptions::system())
    }

    /// A fresh server with these options.
    ///
    /// # Panics
    ///
    /// If it cannot be made or started.
    pub fn with(options: PostgresOptions) -> Self {
        let version = options.version;
        let bin = bin_dir(version).unwrap_or_else(|| {
            panic!("PostgreSQL {version} is missing: run tests/support/install.sh tests")
        });
        let user = ServerUser::choose();
        let dir = process::scratch_dir(&format!("postgres-{version}"));
        user.own(dir.path());
        let mut server = Self {
            bin: user.reachable(bin),
            user,
            dir,
            port: process::free_port(),
            certificates: None,
            daemon: None,
            options,
        };
        server.initialise();
        server.launch();
        server
    }

    fn initialise(&mut self) {
        let mut initdb = process::command(self.bin.join("initdb"));
        initdb.arg("-D").arg(self.data_dir()).args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
        initdb.args(&self.options.locale).args(["--no-sync", "--no-instructions"]);
        initdb.current_dir(self.dir.path());
        self.user.run(&mut initdb);
        let mut daemon = Daemon::spawn("initdb", initdb, self.dir.path());
        let status = daemon.wait_exit(START_TIMEOUT);
        assert!(status.success(), "initdb ended with {status}:\n{}", daemon.log());

        let mut conf = self.options.conf();
        if self.options.tls {
            conf.push_str(&self.make_certificates());
        }
        let data = self.data_dir();
        let default_conf =
            fs::read_to_string(data.join("postgresql.conf")).expect("initdb wrote it");
        fs::write(data.join("postgresql.conf"), default_conf + &conf).expect("we can write it");
        let trust = fs::read_to_string(data.join("pg_hba.conf")).expect("initdb wrote it");
        let hba = self.options.hba.join("\n") + "\n" + &trust;
        fs::write(data.join("pg_hba.conf"), hba).expect("we can write it");
    }

    /// Gives the settings that use them.
    fn make_certificates(&mut self) -> String {
        let certificates = Certificates::generate(self.dir.path(), "postgres");
        self.user.own(&certificates.server_key);
        let conf = format!(
            "ssl = on\nssl_ca_file = '{}'\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
            certificates.ca.display(),
            certificates.server_cert.display(),
            certificates.server_key.display(),
        );
        self.certificates = Some(certificates);
        conf
    }

    /// Runs SQL in a database; several statements are one implicit transaction unless they say
    /// otherwise.
    ///
    /// # Panics
    ///
    /// If a statement fails.
    #[track_caller]
    pub fn execute(&self, database: &str, sql: &str) {
        if let Err(error) = self.client(database).batch_execute(sql) {
            panic!("{error:?} in {database}: {}", sql.chars().take(500).collect::<String>());
        }
    }

    /// The first column of the first row of a query, as text; `None` for no row or NULL.
    ///
    /// # Panics
    ///
    /// If the query fails.
    #[track_caller]
    pub fn query_one(&self, database: &str, sql: &str) -> Option<String> {
        let messages = self.client(database).simple_query(sql);
        let messages = messages.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
        messages.into_iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    }

    /// Creates a database from `template0`.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn create_database(&self, name: &str) {
        self.execute("postgres", &format!("CREATE DATABASE {} TEMPLATE template0", quote(name)));
    }

    /// Drops a database with the sessions in it. Its replication slots have to be dropped before.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn drop_database(&self, name: &str) {
        self.execute("postgres", &format!("DROP DATABASE {} WITH (FORCE)", quote(name)));
    }

    /// Changes a setting and waits until new sessions see it. One that needs a restart changes at the
    /// next [`Postgres::start_again`].
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    #[track_caller]
    pub fn set(&self, name: &str, value: &str) {
        let mut client = self.client("postgres");
        let value = value.replace('\'', "''");
        let changed = client.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        changed.unwrap_or_else(|error| panic!("{name} = {value}: {error:?}"));
        let loaded = "SELECT pg_conf_load_time()::text";
        let before = self.query_one("postgres", loaded);
        client.batch_execute("SELECT pg_reload_conf()").expect("a superuser may reload");
        process::wait_until(Duration::from_secs(10), "the settings to be read again", || {
            self.query_one("postgres", loaded) != before
        });
    }

    /// A superuser's session.
    ///
    /// # Panics
    ///
    /// If the server does not take it.
    #[track_caller]
    pub fn client(&self, database: &str) -> Client {
        self.try_client(database).unwrap_or_else(|error| {
            panic!("no session in {database}: {error:?}; the server's log ends:\n{}", self.tail())
        })
    }

    /// A superuser's session, or why there is none.
    ///
    /// # Errors
    ///
    /// Whatever the server or the socket says.
    pub fn try_client(&self, database: &str) -> Result<Client, postgres::Error> {
        Client::connect(&self.dsn(database), NoTls)
    }

    /// URI of a database over TCP, as the superuser.
    pub fn dsn(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Port on 127.0.0.1; the same after [`Postgres::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Folder of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Major version.
    pub fn version(&self) -> u32 {
        self.options.version
    }

    /// The certificates of a server started with [`PostgresOptions::tls`]; the client's is for the
    /// role `postgres`.
    ///
    /// # Panics
    ///
    /// If it was started without.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("start it with PostgresOptions::tls")
    }

    /// Gives a file to the user that the server runs as, who has to read its keys.
    ///
    /// # Panics
    ///
    /// If it is not ours to give.
    pub fn own(&self, path: &Path) {
        self.user.own(path);
    }

    /// All that the server has logged, over all its starts.
    pub fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("postgres.err")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
