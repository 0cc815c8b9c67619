//! Captures the fixtures of `proto-fixtures/pgoutput` and `proto-fixtures/walsender` from real
//! servers.
//!
//! Writes the `.bin` files that are missing, or all of them with `--all`; the expected readings
//! beside them are written by `UPDATE_FIXTURES=1 cargo test -p cdc-agent --test decode_fixtures`.
//! Nothing here decodes more of a message than its tag, so that the bytes stay the server's.

mod conversation;
mod scenarios;
mod walsender;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use clap::Parser;
use scenarios::Keep;
use scenarios::Scenario;
use walsender::Walsender;

/// Captures protocol fixtures from PostgreSQL 14 to 18
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Replace fixtures that are there already
    #[arg(long)]
    all: bool,
    /// Only from this major version; may be given more than once
    #[arg(long)]
    major: Vec<u32>,
}

fn main() {
    let arguments = Arguments::parse();
    for major in scenarios::EVERY {
        if arguments.major.is_empty() || arguments.major.contains(&major) {
            Capture { major, all: arguments.all, server: None }.run();
        }
    }
}

/// The fixtures of one major version. Its server is started when the first one is needed.
struct Capture {
    major: u32,
    all: bool,
    server: Option<Postgres>,
}

impl Capture {
    fn run(mut self) {
        let scenarios = scenarios::all();
        for scenario in &scenarios {
            let kept = scenario.steps.iter().flat_map(|step| step.keep);
            let paths: Vec<PathBuf> = kept.map(|keep| self.path(scenario, *keep)).collect();
            if scenario.majors.contains(&self.major) && self.wanted(&paths) {
                self.capture(scenario);
            }
        }
        let names = conversation::names(self.major);
        let paths: Vec<PathBuf> = names.iter().map(|(name, _)| self.frame_path(name)).collect();
        if self.wanted(&paths) {
            for (name, frame) in conversation::frames(self.server()) {
                let path = self.frame_path(name);
                self.write(&path, &frame);
            }
        }
    }

    fn wanted(&self, paths: &[PathBuf]) -> bool {
        self.all || paths.iter().any(|path| !path.exists())
    }

    fn server(&mut self) -> &Postgres {
        let start = || {
            let options = PostgresOptions::new(self.major)
                .setting("logical_decoding_work_mem", "64kB")
                // Nothing of its own between the statements of a scenario.
                .setting("autovacuum", "off")
                .hba("host all scram 127.0.0.1/32 scram-sha-256")
                .hba("host all md5 127.0.0.1/32 md5")
                .hba("host all cleartext 127.0.0.1/32 password");
            let server = Postgres::with(options);
            let objects = "CREATE PUBLICATION everything FOR ALL TABLES; CREATE SEQUENCE flush";
            server.execute("postgres", objects);
            server
        };
        self.server.get_or_insert_with(start)
    }

    fn capture(&mut self, scenario: &Scenario) {
        let server = self.server();
        server.execute("postgres", scenario.setup);
        let slot = "SELECT pg_create_logical_replication_slot('fixtures', 'pgoutput', false, ";
        server.execute("postgres", &format!("{slot}{})", scenario.two_phase));
        let mut walsender = Walsender::connect(server.port(), "postgres");
        walsender.start("fixtures", &scenario.plugin_options());
        let mut session = server.client("postgres");
        let mut stream = StreamBlock::default();
        let mut found = Vec::new();
        for step in &scenario.steps {
            session.batch_execute(step.sql).expect(step.sql);
            let end = flushed(server);
            let messages = walsender.messages_until(end);
            let messages: Vec<_> = messages.into_iter().map(|bytes| stream.place(bytes)).collect();
            found.extend(pick(&messages, step.keep).into_iter().zip(step.keep));
        }
        drop(walsender);
        let drop_slot = "DO $$ BEGIN \
            WHILE EXISTS (SELECT FROM pg_replication_slots WHERE active) \
            LOOP PERFORM pg_sleep(0.01); END LOOP; \
            PERFORM pg_drop_replication_slot('fixtures'); END $$";
        server.execute("postgres", drop_slot);
        for (bytes, keep) in found {
            let path = self.path(scenario, *keep);
            self.write(&path, &bytes);
        }
    }

    fn path(&self, scenario: &Scenario, (message, case): Keep) -> PathBuf {
        let name = format!("pg{}-v{}-{message}-{case}.bin", self.major, scenario.protocol);
        fixtures().join("pgoutput").join(name)
    }

    fn frame_path(&self, name: &str) -> PathBuf {
        fixtures().join("walsender").join(format!("pg{}-{name}.bin", self.major))
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        if self.all || !path.exists() {
            fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("we may write");
            fs::write(path, bytes).expect("we may write");
            println!("{}, {} bytes", path.file_name().unwrap_or_default().display(), bytes.len());
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-fixtures")
}

/// End of the log after everything so far, open transactions included, has been flushed: a sequence
/// that is set flushes when it commits, and nothing of it is sent.
fn flushed(server: &Postgres) -> u64 {
    server.execute("postgres", "SELECT setval('flush', 1)");
    let lsn = server.query_one("postgres", "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn");
    lsn.and_then(|lsn| lsn.parse().ok()).expect("the server knows its log's end")
}

/// Where a message stands between Stream Start and Stream Stop.
#[derive(Debug, Default, Clone, Copy)]
struct StreamBlock {
    xid: Option<[u8; 4]>,
}

/// A message and the block that it was sent in.
struct Placed {
    bytes: Vec<u8>,
    block: StreamBlock,
}

impl StreamBlock {
    fn place(&mut self, bytes: Vec<u8>) -> Placed {
        match bytes[0] {
            b'S' => self.xid = bytes[1..5].try_into().ok(),
            b'E' => self.xid = None,
            _ => {}
        }
        Placed { bytes, block: *self }
    }
}

impl Placed {
    /// Whether a message may stand for a case: the case's words tell the reader of the file how the
    /// bytes are framed.
    fn fits(&self, (message, case): Keep) -> bool {
        if scenarios::tag(message) != self.bytes[0] {
            return false;
        }
        let own_xid = self.bytes.get(1..5);
        match self.bytes[0] {
            b'S' | b'E' => true,
            b'A' if case.contains("subtransaction") => own_xid != self.bytes.get(5..9),
            b'A' => own_xid == self.bytes.get(5..9),
            _ if case.contains("streamed-subtransaction") => {
                self.block.xid.is_some_and(|xid| own_xid != Some(xid.as_slice()))
            }
            _ => case.contains("streamed") == self.block.xid.is_some(),
        }
    }
}

/// The first message that fits each case and stands for no other one.
fn pick(messages: &[Placed], keep: &[Keep]) -> Vec<Vec<u8>> {
    let mut taken = vec![false; messages.len()];
    let pick_one = |keep: &Keep| {
        let place = (0..messages.len()).find(|&at| !taken[at] && messages[at].fits(*keep));
        let place = place.unwrap_or_else(|| {
            let tags: Vec<char> = messages.iter().map(|one| char::from(one.bytes[0])).collect();
            panic!("nothing fits {keep:?} among {tags:?}")
        });
        taken[place] = true;
        messages[place].bytes.clone()
    };
    keep.iter().map(pick_one).collect()
}
