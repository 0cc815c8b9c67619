//! Frames around the decoded log: signs of life, the end of a connection, how one begins.

use cdc_testkit::servers::postgres::Postgres;

use crate::scenarios::NEWEST;
use crate::walsender::Walsender;

/// Frames that are kept of every version, and their tags.
pub(crate) const REPLICATION: [(&str, u8); 6] = [
    ("copy-both-response", b'W'),
    ("xlogdata-begin", b'd'),
    ("xlogdata-insert", b'd'),
    ("keepalive", b'd'),
    ("keepalive-reply-requested", b'd'),
    ("error-57p01", b'E'),
];

/// Frames that are kept of the newest version only: they have been the same for decades.
pub(crate) const ORDINARY: [(&str, u8); 16] = [
    ("authentication-ok", b'R'),
    ("authentication-sasl", b'R'),
    ("authentication-md5", b'R'),
    ("authentication-cleartext", b'R'),
    ("parameter-status", b'S'),
    ("backend-key-data", b'K'),
    ("ready-for-query", b'Z'),
    ("row-description", b'T'),
    ("data-row-with-null", b'D'),
    ("command-complete", b'C'),
    ("empty-query-response", b'I'),
    ("error-syntax", b'E'),
    ("notice", b'N'),
    ("copy-out-response", b'H'),
    ("copy-data-row", b'd'),
    ("copy-done", b'c'),
];

/// [`REPLICATION`] and, of the newest version, [`ORDINARY`].
pub(crate) fn names(major: u32) -> Vec<(&'static str, u8)> {
    let ordinary = if major == NEWEST { ORDINARY.as_slice() } else { &[] };
    [&REPLICATION, ordinary].concat()
}

/// All that [`names`] says, in order.
pub(crate) fn frames(server: &Postgres) -> Vec<(&'static str, Vec<u8>)> {
    server.execute("postgres", "CREATE TABLE conversation (id int PRIMARY KEY, note text)");
    let mut frames = replication(server);
    if server.version() == NEWEST {
        server.execute(
            "postgres",
            "CREATE ROLE scram LOGIN PASSWORD 'secret'; CREATE ROLE cleartext LOGIN; \
             SET password_encryption TO md5; CREATE ROLE md5 LOGIN PASSWORD 'secret'",
        );
        frames.extend(beginnings(server));
        frames.extend(queries(server));
    }
    let names = names(server.version());
    assert_eq!(names.len(), frames.len());
    for ((name, tag), frame) in names.iter().zip(&frames) {
        assert_eq!(frame[0], *tag, "{name}: {}", frame.escape_ascii());
    }
    names.into_iter().map(|(name, _)| name).zip(frames).collect()
}

fn beginnings(server: &Postgres) -> Vec<Vec<u8>> {
    let port = server.port();
    let start = |user| Walsender::start_up(port, &[("user", user), ("database", "postgres")]);
    let mut welcome = start("postgres").until(b'Z');
    let asked = ["scram", "md5", "cleartext"].map(|user| start(user).frame());
    let ready = welcome.pop().unwrap_or_default();
    let key = welcome.pop().unwrap_or_default();
    let is_version = |frame: &Vec<u8>| frame[5..].starts_with(b"server_version\0");
    let status = welcome.iter().find(|frame| is_version(frame)).cloned().unwrap_or_default();
    let [scram, md5, cleartext] = asked;
    vec![welcome.swap_remove(0), scram, md5, cleartext, status, key, ready]
}

fn queries(server: &Postgres) -> Vec<Vec<u8>> {
    let mut session = Walsender::connect(server.port(), "postgres");
    let mut answer = session.query("SELECT 'ä'::text AS a, NULL::text AS b, ''::text AS c");
    answer.truncate(3);
    answer.push(session.query("").swap_remove(0));
    session.query("SET client_min_messages TO warning");
    session.send_query("SELEC 1");
    answer.push(session.until(b'E').pop().unwrap_or_default());
    session.until(b'Z');
    let warning = "DO $$ BEGIN RAISE WARNING 'careful' \
        USING DETAIL = 'a detail', HINT = 'a hint'; END $$";
    answer.push(session.query(warning).swap_remove(0));
    let mut copied = session.query("COPY (SELECT 1, NULL, E'a\\tb') TO STDOUT");
    copied.truncate(3);
    answer.extend(copied);
    answer
}

fn replication(server: &Postgres) -> Vec<Vec<u8>> {
    let create = "SELECT pg_create_logical_replication_slot('fixtures', 'pgoutput', true)";
    let mut walsender = Walsender::connect(server.port(), "postgres");
    walsender.query("SET wal_sender_timeout TO '2s'");
    walsender.query(create);
    let mut frames =
        vec![walsender.start("fixtures", "proto_version '1', publication_names 'everything'")];
    server.execute("postgres", "INSERT INTO conversation VALUES (1, 'a row')");
    // A CopyData with XLogData has the plug-in's tag after 25 bytes of its own.
    frames.push(next(&mut walsender, |content| content[0] == b'w' && content[25] == b'B'));
    frames.push(next(&mut walsender, |content| content[0] == b'w' && content[25] == b'I'));
    walsender.ask_for_keepalive(0);
    frames.push(next(&mut walsender, |content| content[0] == b'k' && content[17] == 0));
    // Half of the timeout later the server wants to hear from us.
    frames.push(next(&mut walsender, |content| content[0] == b'k' && content[17] == 1));
    server.execute("postgres", "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots");
    frames.push(walsender.until(b'E').pop().unwrap_or_default());
    frames
}

fn next(walsender: &mut Walsender, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    loop {
        let frame = walsender.frame();
        assert!(frame[0] == b'd', "unexpected: {}", frame.escape_ascii());
        if wanted(&frame[5..]) {
            return frame;
        }
    }
}
