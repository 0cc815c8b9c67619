//! Goal: whoever calls `cdc-agent` wrongly, or meets a server that is not ready for it, gets one
//! message that says what was found, what was expected and what to do, and the exit status that
//! goes with it; and nothing is left behind.
//!
//! Method: each situation is made on real servers, and the whole text of the message is compared;
//! only ports, process numbers and seconds are replaced by names. Before and after each refusal the
//! server is asked for its slots, publications and replica identities.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that ends at the first surprise, and says what it leaves out"
)]

#[path = "cli/invocation.rs"]
mod invocation;
#[path = "cli/source.rs"]
mod source;
#[path = "cli/guest.rs"]
mod guest;
#[path = "cli/destination.rs"]
mod destination;
#[path = "cli/settings.rs"]
mod settings;
#[path = "cli/removal.rs"]
mod removal;

use std::sync::OnceLock;

use cdc_testkit::process;
use cdc_testkit::process::Daemon;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use cdc_testkit::servers::postgres::bin_dir;

use invocation::Ended;
use invocation::Invocation;
use invocation::PATIENCE;
use invocation::SECRET;

/// The version that every situation is made on.
const VERSION: u32 = 15;

/// What the server has because of us, or could have: slots, publications, replica identities.
const GUESTS: &str = "SELECT concat_ws('; ', \
    (SELECT string_agg(slot_name, ', ' ORDER BY slot_name) FROM pg_replication_slots WHERE database = current_database()), \
    (SELECT string_agg(pubname || coalesce(obj_description(oid), ''), ', ' ORDER BY pubname) \
     FROM pg_publication), \
    (SELECT string_agg(relname || ' ' || relreplident::text, ', ' ORDER BY relname) FROM pg_class \
     WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace))";

/// A server, and how it is called here.
struct Server {
    postgres: Postgres,
}

impl Server {
    fn with(options: PostgresOptions) -> Self {
        Self { postgres: Postgres::with(options) }
    }

    /// A new database with one table that can be captured.
    fn database(&self, name: &str) -> String {
        self.postgres.create_database(name);
        self.postgres.execute(name, "CREATE TABLE t (id int PRIMARY KEY, v text)");
        name.to_owned()
    }

    fn port(&self) -> String {
        self.postgres.port().to_string()
    }

    fn dsn(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port())
    }

    /// The agent, on a database, into a file of its own folder.
    fn agent(&self, slot: &str, database: &str) -> Invocation {
        to_file(slot).dsn(self.dsn("postgres", database))
    }

    /// What it must say when it is run, beside its exit status; nothing may be left behind.
    #[track_caller]
    fn refuses(&self, database: &str, agent: Invocation, code: i32, message: &str) -> Ended {
        let before = self.postgres.query_one(database, GUESTS);
        let ended = agent.run().says(code, &[(&self.port(), "PORT")], message);
        assert_eq!(self.postgres.query_one(database, GUESTS), before, "left behind: {message}");
        ended
    }

    /// Somebody else who streams from a slot.
    fn stranger(&self, database: &str, slot: &str, publication: &str) -> Daemon {
        let bin = bin_dir(VERSION).expect("PostgreSQL 15 is installed");
        let mut command = process::command(bin.join("pg_recvlogical"));
        command.args(["--start", "--slot", slot, "-f", "/dev/null", "-o", "proto_version=1"]);
        command.args(["-o", &format!("publication_names={publication}")]);
        command.args(["-d", &self.dsn("postgres", database)]);
        let daemon = Daemon::spawn(slot, command, self.postgres.socket_dir());
        let active =
            format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}' AND active");
        process::wait_until(PATIENCE, "the stranger to stream", || {
            self.postgres.query_one(database, &active).is_some()
        });
        daemon
    }
}

/// Arguments of an agent that keeps everything in its own folder and gives up at once.
fn to_file(slot: &str) -> Invocation {
    Invocation::new("--to file:out --state state --http none")
        .argument("--slot")
        .argument(slot)
        .set("startup.timeout.ms", "200")
}

/// The server that most situations are made on.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let options = PostgresOptions::new(VERSION)
            .hba("host all scram all scram-sha-256")
            .hba("host all nobody_enters all reject");
        let server = Server::with(options);
        server.postgres.execute(
            "postgres",
            &format!(
                "CREATE ROLE scram LOGIN REPLICATION PASSWORD '{SECRET}'; \
                 CREATE ROLE nobody_enters LOGIN REPLICATION; \
                 CREATE ROLE no_replication LOGIN; CREATE ROLE guest LOGIN REPLICATION"
            ),
        );
        server
    })
}
