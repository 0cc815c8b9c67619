//! Goal: what real servers send is read as it is written down beside it, for every version and
//! every kind of message.
//!
//! Method: each `.bin` of `proto-fixtures/pgoutput` and `proto-fixtures/walsender` is decoded and
//! rendered, one field a line, and compared with its `.txt`. `UPDATE_FIXTURES=1` writes the `.txt`
//! instead; then read the difference. A table of what each version can send keeps fixtures from
//! disappearing.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixtures;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use cdc_agent::capture::pgoutput::Decoded;
use cdc_agent::capture::pgoutput::Framing;
use cdc_agent::capture::pgoutput::Message;
use cdc_agent::capture::pgoutput::OldTuple;
use cdc_agent::capture::pgoutput::Relation;
use cdc_agent::capture::pgoutput::Tuple;
use cdc_agent::capture::pgoutput::TupleValue;
use cdc_agent::capture::value::temporal;
use cdc_agent::capture::value::temporal::Date;
use cdc_agent::capture::value::temporal::Fraction;
use cdc_agent::capture::wire;
use cdc_agent::capture::wire::BackendMessage;
use cdc_agent::capture::wire::ServerError;
use cdc_agent::capture::wire::WalsenderMessage;
use cdc_agent::time::PgTimestamp;
use cdc_agent::time::UnixMicros;
use fixtures::Fixture;

/// Kinds of message, the versions that can send them, and a word that the case must have.
const SENDABLE: &[(&str, std::ops::RangeInclusive<u32>, &str)] = &[
    ("begin", 14..=18, ""),
    ("commit", 14..=18, ""),
    ("origin", 14..=18, ""),
    ("relation", 14..=18, "default"),
    ("relation", 14..=18, "full"),
    ("relation", 14..=18, "types"),
    ("relation", 14..=18, "streamed"),
    ("relation", 18..=18, "index"),
    ("relation", 18..=18, "nothing"),
    ("relation", 18..=18, "odd"),
    ("relation", 18..=18, "many"),
    ("relation", 18..=18, "no"),
    ("type", 14..=18, "enum"),
    ("type", 14..=18, "domain"),
    ("type", 14..=18, "streamed"),
    ("insert", 14..=18, "null"),
    ("insert", 14..=18, "unicode"),
    ("insert", 14..=18, "binary"),
    ("insert", 14..=18, "streamed"),
    ("insert", 14..=18, "subtransaction"),
    ("insert", 16..=18, "parallel"),
    ("update", 14..=18, "no"),
    ("update", 14..=18, "change"),
    ("update", 14..=18, "full"),
    ("update", 14..=18, "toast"),
    ("update", 14..=18, "streamed"),
    ("delete", 14..=18, "key"),
    ("delete", 14..=18, "full"),
    ("delete", 14..=18, "streamed"),
    ("truncate", 14..=18, "one"),
    ("truncate", 14..=18, "several"),
    ("truncate", 14..=18, "cascade"),
    ("truncate", 14..=18, "restart"),
    ("truncate", 14..=18, "streamed"),
    ("logical-message", 14..=18, "transactional"),
    ("logical-message", 14..=18, "not"),
    ("logical-message", 14..=18, "streamed"),
    ("stream-start", 14..=18, "first"),
    ("stream-start", 14..=18, "later"),
    ("stream-stop", 14..=18, ""),
    ("stream-commit", 14..=18, ""),
    ("stream-abort", 14..=18, "subtransaction"),
    ("stream-abort", 14..=18, "transaction"),
    ("stream-abort", 16..=18, "parallel"),
    ("begin-prepare", 15..=18, ""),
    ("prepare", 15..=18, ""),
    ("commit-prepared", 15..=18, ""),
    ("rollback-prepared", 15..=18, ""),
    ("stream-prepare", 15..=18, ""),
];

/// Frames that must be there of every version.
const FRAMES: [&str; 6] = [
    "copy-both-response",
    "error-57p01",
    "keepalive",
    "keepalive-reply-requested",
    "xlogdata-begin",
    "xlogdata-insert",
];

/// `pg<major>-v<protocol>-<message>-<case>`, taken apart.
struct PgoutputName<'a> {
    major: u32,
    protocol: u32,
    message: &'static str,
    case: &'a str,
}

impl<'a> PgoutputName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (major, rest) = name.strip_prefix("pg")?.split_once("-v")?;
        let (protocol, rest) = rest.split_once('-')?;
        // The longest name that fits: `begin-prepare`, not `begin` with a case.
        let messages = SENDABLE.iter().map(|(message, ..)| *message);
        let message =
            messages.filter(|name| rest.starts_with(*name)).max_by_key(|name| name.len())?;
        let case = rest.strip_prefix(message)?.strip_prefix('-')?;
        let (major, protocol) = (major.parse().ok()?, protocol.parse().ok()?);
        Some(PgoutputName { major, protocol, message, case })
    }
}

/// The highest protocol that a version speaks.
fn newest_protocol(major: u32) -> u32 {
    match major {
        14 => 2,
        15 => 3,
        _ => 4,
    }
}

fn updating() -> bool {
    std::env::var_os("UPDATE_FIXTURES").is_some()
}

fn check(fixture: &Fixture, rendered: &str) {
    if updating() {
        fs::write(&fixture.text_path, rendered).unwrap();
    }
    let expected = fs::read_to_string(&fixture.text_path).unwrap_or_default();
    assert_eq!(
        rendered, expected,
        "{} is read differently (left) than its .txt says (right); \
         UPDATE_FIXTURES=1 writes the .txt",
        fixture.name
    );
}

#[test]
fn reads_every_pgoutput_message_as_expected() {
    for fixture in fixtures::read("pgoutput") {
        let name = PgoutputName::parse(&fixture.name)
            .unwrap_or_else(|| panic!("{}: not a name of the grammar", fixture.name));
        assert!((1..=newest_protocol(name.major)).contains(&name.protocol), "{}", fixture.name);
        let framing = fixtures::framing(&fixture.name);
        let decoded = Message::decode(&fixture.bytes, framing)
            .unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        assert_eq!(kind(&decoded.message), name.message, "{}", fixture.name);
        check(&fixture, &rendered(&decoded));
    }
}

#[test]
fn reads_every_frame_as_expected() {
    for fixture in fixtures::read("walsender") {
        check(&fixture, &rendered_frame(&fixture));
    }
}

#[test]
fn every_version_has_a_fixture_of_every_message_that_it_can_send() {
    let fixtures = fixtures::read("pgoutput");
    let names: Vec<PgoutputName<'_>> =
        fixtures.iter().filter_map(|fixture| PgoutputName::parse(&fixture.name)).collect();
    for (message, majors, word) in SENDABLE {
        for major in majors.clone() {
            let found = names.iter().any(|name| {
                let case_fits = word.is_empty() || name.case.split('-').any(|part| part == *word);
                name.major == major && name.message == *message && case_fits
            });
            assert!(found, "PostgreSQL {major}: no fixture of {message} with \"{word}\"");
        }
    }
    let frames: BTreeSet<String> =
        fixtures::read("walsender").into_iter().map(|fixture| fixture.name).collect();
    for major in 14..=18 {
        for frame in FRAMES {
            assert!(frames.contains(&format!("pg{major}-{frame}")), "{major}: no {frame}");
        }
    }
}

#[test]
fn every_bin_has_its_txt_and_every_txt_its_bin() {
    if updating() {
        // The other tests are still writing.
        return;
    }
    for folder in ["pgoutput", "walsender", "hostile"] {
        let stems = |extension| -> BTreeSet<_> {
            let files = fixtures::files(folder, extension);
            files.into_iter().map(|path| path.with_extension("")).collect()
        };
        let (bins, texts) = (stems("bin"), stems("txt"));
        let lonely: Vec<_> = bins.symmetric_difference(&texts).collect();
        assert!(lonely.is_empty(), "without a partner: {lonely:?}");
    }
}

/// The word for a message in file names.
fn kind(message: &Message<'_>) -> &'static str {
    match message {
        Message::Begin(_) => "begin",
        Message::Commit(_) => "commit",
        Message::Origin(_) => "origin",
        Message::Relation(_) => "relation",
        Message::Type(_) => "type",
        Message::Insert(_) => "insert",
        Message::Update(_) => "update",
        Message::Delete(_) => "delete",
        Message::Truncate(_) => "truncate",
        Message::LogicalMessage(_) => "logical-message",
        Message::StreamStart(_) => "stream-start",
        Message::StreamStop => "stream-stop",
        Message::StreamCommit(_) => "stream-commit",
        Message::StreamAbort(_) => "stream-abort",
        Message::BeginPrepare(_) => "begin-prepare",
        Message::Prepare(_) => "prepare",
        Message::CommitPrepared(_) => "commit-prepared",
        Message::RollbackPrepared(_) => "rollback-prepared",
        Message::StreamPrepare(_) => "stream-prepare",
    }
}

/// The reading of a whole frame and, if it is a walsender's, of what lies in it.
fn rendered_frame(fixture: &Fixture) -> String {
    let name = &fixture.name;
    let (frame, rest) = wire::split_frame(&fixture.bytes).unwrap().unwrap();
    assert!(rest.is_empty(), "{name}: {} bytes too many", rest.len());
    let message = BackendMessage::decode(frame).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut page = Page::default();
    match message {
        BackendMessage::CopyData(content) if !name.contains("copy-data") => {
            page.walsender(WalsenderMessage::decode(content).unwrap());
        }
        message => page.backend(&message),
    }
    page.0
}

fn rendered(decoded: &Decoded<'_>) -> String {
    let mut page = Page::default();
    page.field("message", kind(&decoded.message));
    if let Some(xid) = decoded.xid {
        page.field("xid", xid.0);
    }
    page.message(&decoded.message);
    page.0
}

/// One field a line.
#[derive(Default)]
struct Page(String);

impl Page {
    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{name}: {value}").unwrap();
    }

    /// Microseconds of the server's epoch, and the moment that they mean.
    fn time(&mut self, name: &str, time: PgTimestamp) {
        let micros = UnixMicros::from(time).0;
        let mut moment = Vec::new();
        temporal::print_date(Date::from_days(micros.div_euclid(temporal::DAY_MICROS)), &mut moment);
        moment.push(b'T');
        let of_day = micros.rem_euclid(temporal::DAY_MICROS);
        temporal::print_time(of_day, Fraction::Fixed(6), &mut moment);
        self.field(name, format!("{} ({}Z)", time.0, String::from_utf8(moment).unwrap()));
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.field(name, format!("{text:?}")),
            Err(_) => self.field(name, format!("\"{}\"", bytes.escape_ascii())),
        }
    }

    fn tuple(&mut self, name: &str, tuple: &Tuple<'_>) {
        self.field(name, format!("{} columns", tuple.columns()));
        for (at, value) in tuple.values().enumerate() {
            match value {
                TupleValue::Null => self.field(&format!("  {at}"), "null"),
                TupleValue::UnchangedToast => self.field(&format!("  {at}"), "unchanged"),
                TupleValue::Text(text) => self.bytes(&format!("  {at} text"), text),
                TupleValue::Binary(bytes) => {
                    self.field(&format!("  {at} binary"), format!("{bytes:02x?}"));
                }
            }
        }
    }

    fn old(&mut self, old: &OldTuple<'_>) {
        match old {
            OldTuple::None => self.field("old", "none"),
            OldTuple::Key(tuple) => self.tuple("old key", tuple),
            OldTuple::Full(tuple) => self.tuple("old row", tuple),
        }
    }

    fn relation(&mut self, relation: &Relation<'_>) {
        self.field("id", relation.id);
        self.bytes("namespace", relation.namespace.as_bytes());
        self.bytes("name", relation.name.as_bytes());
        self.field("replica_identity", format!("{:?}", relation.replica_identity));
        for (at, column) in relation.columns.iter().enumerate() {
            let key = if column.is_key { ", key" } else { "" };
            self.field(
                &format!("column {at}"),
                format!(
                    "{:?}, type {}, modifier {}{key}",
                    column.name, column.type_oid, column.type_modifier
                ),
            );
        }
    }

    fn message(&mut self, message: &Message<'_>) {
        match message {
            Message::Begin(begin) => {
                self.field("final_lsn", begin.final_lsn);
                self.time("commit_time", begin.commit_time);
                self.field("xid", begin.xid.0);
            }
            Message::Commit(commit) => {
                self.field("commit_lsn", commit.commit_lsn);
                self.field("end_lsn", commit.end_lsn);
                self.time("commit_time", commit.commit_time);
            }
            Message::Origin(origin) => {
                self.field("commit_lsn", origin.commit_lsn);
                self.bytes("name", origin.name.as_bytes());
            }
            Message::Relation(relation) => self.relation(relation),
            Message::Type(found) => {
                self.field("id", found.id);
                self.bytes("namespace", found.namespace.as_bytes());
                self.bytes("name", found.name.as_bytes());
            }
            Message::Insert(insert) => {
                self.field("relation_id", insert.relation_id);
                self.tuple("new", &insert.new);
            }
            Message::Update(update) => {
                self.field("relation_id", update.relation_id);
                self.old(&update.old);
                self.tuple("new", &update.new);
            }
            Message::Delete(delete) => {
                self.field("relation_id", delete.relation_id);
                self.old(&delete.old);
            }
            Message::Truncate(truncate) => {
                self.field("cascade", truncate.cascade);
                self.field("restart_identity", truncate.restart_identity);
                for id in &truncate.relation_ids {
                    self.field("relation_id", id);
                }
            }
            Message::LogicalMessage(message) => {
                self.field("transactional", message.transactional);
                self.field("lsn", message.lsn);
                self.bytes("prefix", message.prefix.as_bytes());
                self.bytes("content", message.content);
            }
            other => self.transaction_message(other),
        }
    }

    /// Messages of streamed and of prepared transactions.
    fn transaction_message(&mut self, message: &Message<'_>) {
        match message {
            Message::StreamStart(start) => {
                self.field("xid", start.xid.0);
                self.field("first_segment", start.first_segment);
            }
            Message::StreamCommit(commit) => {
                self.field("xid", commit.xid.0);
                self.field("commit_lsn", commit.commit_lsn);
                self.field("end_lsn", commit.end_lsn);
                self.time("commit_time", commit.commit_time);
            }
            Message::StreamAbort(abort) => {
                self.field("xid", abort.xid.0);
                self.field("subxid", abort.subxid.0);
                if let Some((lsn, time)) = abort.abort {
                    self.field("abort_lsn", lsn);
                    self.time("abort_time", time);
                }
            }
            Message::BeginPrepare(begin) => {
                self.field("prepare_lsn", begin.prepare_lsn);
                self.field("end_lsn", begin.end_lsn);
                self.time("prepare_time", begin.prepare_time);
                self.field("xid", begin.xid.0);
                self.bytes("gid", begin.gid.as_bytes());
            }
            Message::Prepare(prepare) | Message::StreamPrepare(prepare) => {
                self.field("prepare_lsn", prepare.prepare_lsn);
                self.field("end_lsn", prepare.end_lsn);
                self.time("prepare_time", prepare.prepare_time);
                self.field("xid", prepare.xid.0);
                self.bytes("gid", prepare.gid.as_bytes());
            }
            Message::CommitPrepared(commit) => {
                self.field("commit_lsn", commit.commit_lsn);
                self.field("end_lsn", commit.end_lsn);
                self.time("commit_time", commit.commit_time);
                self.field("xid", commit.xid.0);
                self.bytes("gid", commit.gid.as_bytes());
            }
            Message::RollbackPrepared(rollback) => {
                self.field("prepare_end_lsn", rollback.prepare_end_lsn);
                self.field("rollback_end_lsn", rollback.rollback_end_lsn);
                self.time("prepare_time", rollback.prepare_time);
                self.time("rollback_time", rollback.rollback_time);
                self.field("xid", rollback.xid.0);
                self.bytes("gid", rollback.gid.as_bytes());
            }
            // Stream Stop has no fields; the others are rendered elsewhere.
            _ => {}
        }
    }

    fn walsender(&mut self, message: WalsenderMessage<'_>) {
        match message {
            WalsenderMessage::XLogData(data) => {
                self.field("frame", "XLogData");
                self.field("wal_start", data.wal_start);
                self.field("wal_end", data.wal_end);
                self.time("send_time", data.send_time);
                let inner = Message::decode(data.payload, Framing::default()).unwrap();
                self.0.push_str(&rendered(&inner));
            }
            WalsenderMessage::PrimaryKeepalive(keepalive) => {
                self.field("frame", "PrimaryKeepalive");
                self.field("wal_end", keepalive.wal_end);
                self.time("send_time", keepalive.send_time);
                self.field("reply_requested", keepalive.reply_requested);
            }
        }
    }

    fn server_error(&mut self, frame: &str, error: &ServerError) {
        self.field("frame", frame);
        self.field("severity", &error.severity);
        self.field("sqlstate", &error.sqlstate);
        self.bytes("message", error.message.as_bytes());
        self.bytes("detail", error.detail.as_bytes());
        self.bytes("hint", error.hint.as_bytes());
    }

    fn backend(&mut self, message: &BackendMessage<'_>) {
        match message {
            BackendMessage::ErrorResponse(error) => self.server_error("ErrorResponse", error),
            BackendMessage::NoticeResponse(notice) => self.server_error("NoticeResponse", notice),
            BackendMessage::DataRow(values) => {
                self.field("frame", "DataRow");
                for value in values {
                    match value {
                        Some(text) => self.bytes("value", text),
                        None => self.field("value", "null"),
                    }
                }
            }
            BackendMessage::CopyData(content) => {
                self.field("frame", "CopyData");
                self.bytes("content", content);
            }
            other => self.field("frame", format!("{other:?}")),
        }
    }
}
