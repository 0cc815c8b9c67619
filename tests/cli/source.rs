//! Getting into PostgreSQL, and what it must be like.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;

use super::*;

/// What is said of every host that does not answer.
const REACH: &str = "check that it runs and can be reached (--dsn, PGHOST, PGPORT); tried for N s \
    (startup.timeout.ms)";

#[test]
fn nobody_answers() {
    let port = process::free_port().to_string();
    let names = [(&*port, "PORT")];
    let dsn = format!("postgres://postgres@127.0.0.1:{port}/shop");
    to_file("s").dsn(&dsn).run().says(
        69,
        &names,
        &format!(
            "cannot connect to PostgreSQL at 127.0.0.1:PORT: Connection refused (os error 111)\n  \
             {REACH}"
        ),
    );
    let dsn = "postgres://postgres@no.such.host.invalid/shop";
    to_file("s").dsn(dsn).run().says(
        69,
        &[],
        &format!(
            "cannot connect to PostgreSQL at no.such.host.invalid:5432: the name cannot be \
             resolved: REASON\n  {REACH}"
        ),
    );
    let dsn = "host=/no/such/folder dbname=shop user=postgres";
    to_file("s").dsn(dsn).run().says(
        69,
        &[],
        &format!(
            "cannot connect to PostgreSQL at /no/such/folder/.s.PGSQL.5432: No such file or \
             directory (os error 2)\n  {REACH}"
        ),
    );
}

/// PgBouncer before 1.23 refuses what makes a connection one of replication.
#[test]
fn a_connection_pooler_before_the_server_is_named_at_once() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("an address").port().to_string();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            answer_as_a_pooler(client).ok();
        }
    });
    let dsn = format!("postgres://postgres@127.0.0.1:{port}/shop?sslmode=disable");
    to_file("s").dsn(dsn).set("startup.timeout.ms", "20000").run().says(
        78,
        &[(&*port, "PORT")],
        "a connection pooler answers at 127.0.0.1:PORT: FATAL: unsupported startup parameter: \
         replication (08P01)\n  give the server's own address (--dsn, PGHOST, PGPORT): a replication \
         connection cannot be pooled",
    );
}

fn answer_as_a_pooler(mut client: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut startup = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
    client.read_exact(&mut startup)?;
    let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: replication\0\0";
    let mut answer = vec![b'E'];
    answer.extend_from_slice(&u32::try_from(fields.len() + 4).unwrap_or_default().to_be_bytes());
    answer.extend_from_slice(fields);
    client.write_all(&answer)
}

#[test]
fn nobody_is_let_in() {
    let server = server();
    let agent = |role: &str, database: &str| to_file("s").dsn(server.dsn(role, database));
    let refuses = |agent: Invocation, code: i32, message: &str| {
        server.refuses("postgres", agent, code, message).expect_files(&["out"]);
    };
    refuses(
        agent("postgres", "no_such_shop"),
        78,
        "PostgreSQL at 127.0.0.1:PORT: FATAL: database \"no_such_shop\" does not exist (3D000)\n  \
         give the name of an existing database (--dsn, PGDATABASE)",
    );
    refuses(
        agent("nobody_at_all", "postgres"),
        77,
        "PostgreSQL at 127.0.0.1:PORT does not let role \"nobody_at_all\" in: FATAL: role \
         \"nobody_at_all\" does not exist (28000)\n  check the server's pg_hba.conf, sslmode, and that the \
         role exists: CREATE ROLE \"nobody_at_all\" LOGIN REPLICATION",
    );
    let password = "check user and password (--dsn, PGUSER, PGPASSWORD, ~/.pgpass); to set the \
        password, run in psql: \\password";
    refuses(
        agent("scram", "postgres").variable("PGPASSWORD", &format!("{SECRET}-not")),
        77,
        &format!(
            "PostgreSQL at 127.0.0.1:PORT does not let role \"scram\" in: FATAL: password \
             authentication failed for user \"scram\" (28P01)\n  {password}"
        ),
    );
    refuses(
        agent("scram", "postgres"),
        77,
        "PostgreSQL at 127.0.0.1:PORT asks for the password of role \"scram\", and none is given\n  \
         give it in PGPASSWORD, ~/.pgpass (only you may read it: chmod 600) or database.password",
    );
    refuses(
        agent("nobody_enters", "postgres"),
        77,
        "PostgreSQL at 127.0.0.1:PORT does not let role \"nobody_enters\" in: FATAL: \
         pg_hba.conf rejects connection for host \"127.0.0.1\", user \"nobody_enters\", database \
         \"postgres\", no encryption (28000)\n  check the server's pg_hba.conf, sslmode, and that the role \
         exists: CREATE ROLE \"nobody_enters\" LOGIN REPLICATION",
    );
    refuses(
        agent("no_replication", "postgres"),
        77,
        "PostgreSQL at 127.0.0.1:PORT does not let role \"no_replication\" replicate: FATAL: \
         must be superuser or replication role to start walsender (42501)\n  run as a superuser: ALTER ROLE \
         \"no_replication\" REPLICATION",
    );
}

#[test]
fn the_server_is_not_ready_for_decoding() {
    let server = Server::with(PostgresOptions::new(VERSION).setting("wal_level", "replica"));
    let database = server.database("shop");
    server.refuses(
        &database,
        server.agent("s", &database),
        78,
        "wal_level is replica, expected logical: changes cannot be decoded\n  run as a superuser: \
         ALTER SYSTEM SET wal_level = logical; then restart the server",
    );
}

#[test]
fn we_would_be_a_synchronous_standby() {
    let options = PostgresOptions::new(VERSION);
    let server = Server::with(options);
    let database = server.database("shop");
    server.postgres.set("synchronous_commit", "local");
    server.postgres.set("synchronous_standby_names", "*");
    server.refuses(
        &database,
        server.agent("s", &database),
        78,
        "synchronous_standby_names is '*' and matches our application_name \"cdc-agent\": commits \
         would wait for us, and for Kafka\n  choose another application_name in --dsn, or name the \
         standbys one by one",
    );
}

#[test]
fn slots_and_walsenders_are_used_up() {
    let options = PostgresOptions::new(VERSION)
        .setting("max_replication_slots", "1")
        .setting("max_wal_senders", "1");
    let server = Server::with(options);
    let database = server.database("shop");
    let sql = "SELECT pg_create_logical_replication_slot('other', 'pgoutput')";
    server.postgres.execute(&database, sql);
    server.postgres.execute(&database, "CREATE PUBLICATION p FOR TABLE t");
    server.refuses(
        &database,
        server.agent("s", &database),
        78,
        "a slot cannot be created: ERROR: all replication slots are in use (53400); hint: Free \
         one or increase max_replication_slots.\n  raise max_replication_slots and restart the server, or \
         drop slots that nobody uses (SELECT * FROM pg_replication_slots)",
    );
    let stranger = server.stranger(&database, "other", "p");
    server.refuses(
        &database,
        server.agent("s", &database),
        69,
        "cannot connect to PostgreSQL at 127.0.0.1:PORT: FATAL: number of requested standby \
         connections exceeds max_wal_senders (currently 1) (53300)\n  end a session or a walsender that \
         nobody needs, or raise what the server names and restart it; tried for N s \
         (startup.timeout.ms)",
    );
    drop(stranger);
}

#[test]
fn the_slot_is_in_use() {
    let server = server();
    let database = server.database("in_use");
    server.postgres.execute(&database, "CREATE PUBLICATION held FOR TABLE t");
    let sql = "SELECT pg_create_logical_replication_slot('held', 'pgoutput')";
    server.postgres.execute(&database, sql);
    let stranger = server.stranger(&database, "held", "held");
    let agent = server.agent("held", &database);
    let agent = agent.set("slot.max.retries", "1").set("slot.retry.delay.ms", "50");
    let ended = server.refuses(
        &database,
        agent,
        69,
        "replication slot \"held\" is in use by process N (application \"pg_recvlogical\", role \
         \"postgres\", from 127.0.0.1, for N s)\n  stop it first, or use another slot (--slot); \
         tried 2 times (slot.max.retries, slot.retry.delay.ms)",
    );
    assert!(ended.stderr.contains(&format!("process {} ", walsender(server, "held"))));
    // Nothing was read under a slot that is somebody else's.
    let out = std::fs::read_to_string(ended.path("out")).expect("the file is there");
    assert_eq!(out, "");
    ended.expect_files(&["out"]);
    drop(stranger);
}

fn walsender(server: &Server, slot: &str) -> String {
    let sql = format!("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}'");
    server.postgres.query_one("postgres", &sql).expect("the slot is in use")
}

#[test]
fn the_slot_is_of_another_kind() {
    let server = server();
    let (database, other) = (server.database("kinds"), server.database("kinds_other"));
    for (slot, sql, found) in [
        (
            "physical",
            "pg_create_physical_replication_slot('physical')",
            "is a physical slot, expected a logical one",
        ),
        (
            "decoded",
            "pg_create_logical_replication_slot('decoded', 'test_decoding')",
            "has plug-in test_decoding, expected pgoutput",
        ),
        (
            "two_phase",
            "pg_create_logical_replication_slot('two_phase', 'pgoutput', false, true)",
            "was created with TWO_PHASE, which sends prepared transactions before they commit",
        ),
    ] {
        server.postgres.execute(&database, &format!("SELECT {sql}"));
        server.refuses(
            &database,
            server.agent(slot, &database),
            78,
            &format!(
                "slot \"{slot}\" {found}\n  use another slot (--slot); or, if nobody needs this \
                 one: cdc-agent drop --slot {slot}"
            ),
        );
    }
    let sql = "SELECT pg_create_logical_replication_slot('elsewhere', 'pgoutput')";
    server.postgres.execute(&other, sql);
    server.refuses(
        &database,
        server.agent("elsewhere", &database),
        78,
        "slot \"elsewhere\" belongs to database \"kinds_other\", expected \"kinds\"\n  use another \
         slot (--slot); or, if nobody needs this one: cdc-agent drop --slot elsewhere",
    );
    // What was said is done.
    for slot in ["physical", "decoded", "two_phase", "elsewhere"] {
        Invocation::new("drop --yes --to file:out --state state")
            .argument(format!("--slot={slot}"))
            .dsn(server.dsn("postgres", &database))
            .run()
            .expect(0, &[]);
        let left = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}'");
        assert_eq!(server.postgres.query_one(&database, &left), None, "{slot}");
    }
    // A slot that could be ours, if its publication had existed all the time.
    let sql = "SELECT pg_create_logical_replication_slot('bare', 'pgoutput')";
    server.postgres.execute(&database, sql);
    server.refuses(
        &database,
        server.agent("bare", &database),
        78,
        "slot \"bare\" exists, and publication \"bare\" does not: changes since the slot's position \
         were not published\n  if somebody else reads from the slot, name its publication \
         (--publication; Debezium's is dbz_publication) or use another slot (--slot); if nobody needs \
         it: cdc-agent drop --slot bare, then start again",
    );
}

#[test]
fn the_slot_is_lost() {
    let options = PostgresOptions::new(VERSION)
        .setting("min_wal_size", "32MB")
        .setting("max_wal_size", "32MB")
        .setting("max_slot_wal_keep_size", "1MB");
    let server = Server::with(options);
    let database = server.database("shop");
    server.postgres.execute(&database, "CREATE PUBLICATION p FOR TABLE t");
    let sql = "SELECT pg_create_logical_replication_slot('lost', 'pgoutput')";
    server.postgres.execute(&database, sql);
    let status = "SELECT wal_status FROM pg_replication_slots";
    process::wait_until(PATIENCE, "the slot to be lost", || {
        for _ in 0..3 {
            server.postgres.query_one(&database, "SELECT pg_switch_wal()");
            server.postgres.execute(&database, "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING");
        }
        server.postgres.execute(&database, "CHECKPOINT");
        server.postgres.query_one(&database, status).as_deref() == Some("lost")
    });
    server.refuses(
        &database,
        server.agent("lost", &database).argument("--publication=p"),
        78,
        "slot \"lost\" is lost (the log it needs was removed): changes are gone\n  to start over \
         with a new read of all tables: cdc-agent drop --slot lost, then start again",
    );
}
