//! `cdc-agent drop`.

use super::*;

fn drop_of(server: &Server, slot: &str, database: &str) -> Invocation {
    Invocation::new("drop --to file:out --state state")
        .argument(format!("--slot={slot}"))
        .dsn(server.dsn("postgres", database))
}

/// What is printed of a slot, with positions and sizes left out.
fn shown(ended: &Ended) -> String {
    let pattern = regex::Regex::new(r"[0-9A-F]+/[0-9A-F]+|[0-9.]+ MiB").expect("it is good");
    pattern.replace_all(&ended.stdout, "N").into_owned()
}

#[test]
fn it_shows_asks_and_removes() {
    let server = server();
    let database = server.database("removal");
    let before = server.postgres.query_one(&database, GUESTS);
    let mut running = server.agent("gone", &database).start();
    running.wait_streaming();
    let port = server.port();
    let in_use = "replication slot \"gone\" is in use by process N (application \"cdc-agent\", role \
        \"postgres\", from 127.0.0.1, for N s)\n  stop it first, or use another slot (--slot)";
    drop_of(server, "gone", &database).argument("--yes").run().says(69, &[(&port, "PORT")], in_use);
    let ended = running.terminate().expect(0, &[]);

    let found = "slot gone: database removal, not in use, confirmed N, keeps N of log (reserved)\n\
        publication gone: ours, 1 tables\n\
        state: epoch 1, position N, 1 tables, reading complete\n";
    let arguments = format!(
        "drop --to file:out --state state --slot gone --dsn {}",
        server.dsn("postgres", &database)
    );
    let ended = ended.again(&arguments).run().says(
        64,
        &[],
        "drop removes for good and asks first, and there is no terminal to ask at\n  give --yes",
    );
    assert_eq!(shown(&ended), found);
    // Asked at a terminal, and answered.
    for (answer, removed) in [("n", false), ("", false), ("y", true)] {
        let (code, said) = at_a_terminal(ended.dir(), &arguments, answer);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("Remove all of this? [y/N]"), "{said}");
        let last = said.lines().last().unwrap_or_default();
        let expected = if removed { "removed" } else { "nothing was removed" };
        assert!(last.ends_with(expected), "{answer}: {said}");
        let now = server.postgres.query_one(&database, GUESTS);
        assert_eq!(now == before, removed, "{now:?}");
    }
    // The epoch stays: what is read next stands above what is in the output already.
    let ended = ended.expect_files(&["out", "state"]);
    let ended = ended.again(&arguments).run().expect(0, &[]);
    let nothing = "slot gone: does not exist\npublication gone: does not exist\nstate: none\n";
    assert_eq!(ended.stdout, nothing);
}

/// `script` gives it a terminal.
fn at_a_terminal(dir: &std::path::Path, arguments: &str, answer: &str) -> (Option<i32>, String) {
    let agent = format!("{} {arguments}", env!("CARGO_BIN_EXE_cdc-agent"));
    let mut command = process::command("/usr/bin/script");
    command.args(["--quiet", "--return", "--command", &agent, "/dev/null"]).current_dir(dir);
    command.env("HOME", dir).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("script is on every Linux");
    let mut input = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut input, format!("{answer}\n").as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn it_leaves_alone_what_is_not_ours() {
    let server = server();
    let database = server.database("foreign");
    server.postgres.execute(&database, "CREATE PUBLICATION kept FOR TABLE t");
    let before = server.postgres.query_one(&database, GUESTS);
    let agent = server.agent("foreign", &database).argument("--publication=kept");
    let mut running = agent.start();
    running.wait_streaming();
    let ended = running.terminate().expect(0, &[]);
    let arguments = format!(
        "drop --yes --to file:out --state state --slot foreign --publication kept --dsn {}",
        server.dsn("postgres", &database)
    );
    let ended = ended.again(&arguments).run().expect(0, &[]);
    let expected = "slot foreign: database foreign, not in use, confirmed N, keeps N of log \
        (reserved)\n\
        publication kept: not created by cdc-agent for this slot; it stays\n\
        state: epoch 1, position N, 1 tables, reading complete\nremoved\n";
    assert_eq!(shown(&ended), expected);
    assert_eq!(server.postgres.query_one(&database, GUESTS), before);
    // A database that is not there.
    drop_of(server, "foreign", "no_such_shop").run().says(
        78,
        &[(&server.port(), "PORT")],
        "PostgreSQL at 127.0.0.1:PORT: FATAL: database \"no_such_shop\" does not exist (3D000)\n  \
         give the name of an existing database (--dsn, PGDATABASE)",
    );
}

/// A destination that is gone must not keep the slot, and with it the server's log, alive.
#[test]
fn it_says_how_to_go_on_without_kafka() {
    let server = server();
    let database = server.database("without_kafka");
    let port = process::free_port().to_string();
    Invocation::new("drop --yes --slot s")
        .argument(format!("--brokers=127.0.0.1:{port}"))
        .dsn(server.dsn("postgres", &database))
        .run()
        .says(
            69,
            &[(&port, "PORT")],
            "cannot reach Kafka at 127.0.0.1:PORT: Connect to ipv4#127.0.0.1:PORT failed: \
             Connection refused\n  \
             check that it runs and can be reached (--brokers, and the broker's \
             advertised.listeners); to drop the slot alone, run in its database: SELECT \
             pg_drop_replication_slot('s')",
        );
}
