//! What happens while events are recorded, step by step.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::servers::postgres::Postgres;
use serde_json::Value;
use serde_json::json;

use super::follow;
use super::follow::Follower;
use super::follow::PATIENCE;
use super::follow::PREFIX;
use super::follow::Side;
use super::receiver::Manner;
use super::receiver::Receiver;

/// Nothing more comes when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(2500);

/// The same when all that is expected has come.
const QUIET_AFTER_ENOUGH: Duration = Duration::from_millis(300);

/// How long what is expected may take.
const ENOUGH: Duration = Duration::from_secs(10);

/// What is done in a step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// The connector starts, and streams.
    Start,
    /// The connector starts and fails.
    StartInVain,
    /// SQL in one session.
    Sql(&'static str),
    /// The connection of the stream is broken.
    Break,
    /// The connector stops, as asked.
    Stop,
    /// It goes on.
    Resume,
}

/// Steps over a database.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Name of its file.
    pub(crate) name: &'static str,
    setup: &'static str,
    settings: &'static [(&'static str, &'static str)],
    steps: &'static [(&'static str, Act)],
}

const SETUP: &str = include_str!("setup.sql");

/// All of them.
pub(crate) fn all() -> [Scene; 3] {
    [
        Scene {
            name: "changes",
            setup: SETUP,
            settings: &[
                ("schema.include.list", "shop"),
                ("publication.autocreate.mode", "all_tables"),
                ("column.exclude.list", "shop.products.hidden"),
                ("openlineage.integration.job.namespace", "stores"),
                ("openlineage.integration.job.description", "What the shop sells"),
                ("openlineage.integration.job.tags", "env=prod, team=cdc"),
                ("openlineage.integration.job.owners", "Mario=maintainer,John Doe=Data scientist"),
                ("column.truncate.to.3.chars", "shop.notes.text"),
            ],
            steps: &[
                ("start", Act::Start),
                ("insert", Act::Sql("INSERT INTO shop.products (name) VALUES ('a')")),
                ("insert again", Act::Sql("INSERT INTO shop.products (name) VALUES ('b')")),
                ("first of another table", Act::Sql("INSERT INTO shop.notes VALUES (1, 'x')")),
                ("partition", Act::Sql("INSERT INTO shop.parted VALUES (1, 'x')")),
                ("add a column", Act::Sql("ALTER TABLE shop.notes ADD COLUMN more shop.mood")),
                ("use it", Act::Sql("INSERT INTO shop.notes VALUES (2, 'x', 'good')")),
                (
                    "change a type, drop, rename",
                    Act::Sql(
                        "ALTER TABLE shop.notes ALTER COLUMN text TYPE varchar(20); \
                         ALTER TABLE shop.notes DROP COLUMN more; \
                         ALTER TABLE shop.notes RENAME COLUMN id TO number; \
                         INSERT INTO shop.notes VALUES (3, 'x')",
                    ),
                ),
                (
                    "a new table",
                    Act::Sql(
                        "CREATE TABLE shop.later (id int PRIMARY KEY, at timestamptz); \
                         INSERT INTO shop.later VALUES (1, now())",
                    ),
                ),
                ("a table that is not captured", Act::Sql("INSERT INTO other.ignored VALUES (2)")),
                ("truncate", Act::Sql("TRUNCATE shop.later")),
                ("stop", Act::Stop),
                ("resume", Act::Resume),
                ("insert after the stop", Act::Sql("INSERT INTO shop.notes VALUES (4, 'y')")),
                ("stop again", Act::Stop),
            ],
        },
        Scene {
            name: "retry",
            setup: "CREATE TABLE t (id int PRIMARY KEY)",
            settings: &[],
            steps: &[
                ("start", Act::Start),
                ("insert", Act::Sql("INSERT INTO t VALUES (1)")),
                ("break", Act::Break),
                ("insert after the break", Act::Sql("INSERT INTO t VALUES (2)")),
                ("stop", Act::Stop),
            ],
        },
        Scene {
            name: "failure",
            setup: "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION lineage FOR TABLE t; \
                    CREATE ROLE weak LOGIN REPLICATION",
            settings: &[
                ("database.user", "weak"),
                ("publication.autocreate.mode", "disabled"),
                ("errors.max.retries", "0"),
            ],
            steps: &[("start in vain", Act::StartInVain), ("stop", Act::Stop)],
        },
    ]
}

/// An event and the step after which it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    /// The step.
    pub(crate) step: &'static str,
    /// The event, masked.
    pub(crate) event: Value,
}

impl Scene {
    /// Whether tables are described from the catalog again after this step.
    pub(crate) fn begins_anew(&self, step: &str) -> bool {
        let act = self.steps.iter().find(|(name, _)| *name == step).map(|(_, act)| act);
        matches!(act, Some(Act::Resume | Act::Break))
    }

    /// Whether this step comes after a stop or a break, so that some of the log may be sent again.
    pub(crate) fn repeats(&self, step: &str) -> bool {
        let at = |what: &dyn Fn(&(&str, Act)) -> bool| self.steps.iter().position(what);
        let broken = at(&|(_, act)| matches!(act, Act::Resume | Act::Break));
        broken.is_some() && at(&|(name, _)| *name == step) >= broken
    }

    /// Plays it and gives what was heard.
    pub(crate) fn play(&self, side: &Side) -> Vec<Heard> {
        let server = Postgres::system();
        server.create_database(PREFIX);
        server.execute(PREFIX, self.setup);
        let receiver = Receiver::start(Manner::Answer(201));
        let folder = process::scratch_dir("lineage-config");
        let file = folder.path().join("openlineage.yml");
        let yaml = format!("transport:\n  type: http\n  url: {}\n", receiver.url());
        fs::write(&file, yaml).unwrap();
        let mut config = follow::config(server.port(), PREFIX, &file.display().to_string());
        for (name, value) in self.settings {
            config[*name] = json!(value);
        }
        let recorded = match side {
            Side::Ours => self.recorded(),
            Side::Debezium(_) => Vec::new(),
        };
        let mut follower: Option<Follower> = None;
        let mut heard = Vec::new();
        for (step, act) in self.steps {
            match act {
                Act::Start | Act::StartInVain => follower = Some(Follower::start(side, &config)),
                Act::Sql(sql) => server.execute(PREFIX, sql),
                Act::Break => server.execute(
                    PREFIX,
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots",
                ),
                Act::Stop => follower.as_mut().unwrap().stop(),
                Act::Resume => follower.as_mut().unwrap().resume(),
            }
            wait_for(&server, follower.as_mut().unwrap(), *act);
            let mut quiet = QUIET;
            if matches!(side, Side::Ours) {
                quiet = QUIET_AFTER_ENOUGH;
                let expected = recorded.iter().filter(|recorded| recorded.step == *step);
                let names: BTreeSet<String> = expected.map(|heard| name(&heard.event)).collect();
                wait_for_events(&receiver, heard.len(), names);
            }
            wait_until_quiet(&receiver, quiet);
            for request in receiver.requests().iter().skip(heard.len()) {
                let mut event = request.body.clone();
                mask(&mut event, server.port(), &file);
                heard.push(Heard { step, event });
            }
        }
        heard
    }

    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("proto-fixtures/debezium/lineage")
            .join(format!("{}.jsonl", self.name))
    }

    /// Writes down what the real one sent.
    pub(crate) fn write(&self, heard: &[Heard]) {
        let lines: String = heard
            .iter()
            .map(|heard| json!({ "step": heard.step, "event": heard.event }).to_string() + "\n")
            .collect();
        fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        fs::write(self.path(), lines).unwrap();
    }

    /// What the real one sent.
    pub(crate) fn recorded(&self) -> Vec<Heard> {
        let text = fs::read_to_string(self.path()).unwrap();
        let heard = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let named = |step: &&(&str, Act)| step.0 == line["step"];
            let step = self.steps.iter().find(named).unwrap().0;
            Heard { step, event: line["event"].take() }
        };
        text.lines().map(heard).collect()
    }
}

/// Waits until the connector is where the step leaves it.
fn wait_for(server: &Postgres, follower: &mut Follower, act: Act) {
    match act {
        Act::Start | Act::Resume | Act::Break => {
            process::wait_until(PATIENCE, "the stream", || {
                let streaming = "SELECT count(*)::text FROM pg_stat_replication \
                                 WHERE state = 'streaming'";
                assert!(!follower.has_ended(), "{}", follower.says());
                server.query_one(PREFIX, streaming).as_deref() == Some("1")
            });
        }
        Act::StartInVain => {
            process::wait_until(PATIENCE, "the failure", || follower.has_ended());
        }
        Act::Sql(_) | Act::Stop => {}
    }
}

/// What an event is about; what fails for good ends in another way with us.
fn name(event: &Value) -> String {
    match event["inputs"][0]["name"].as_str() {
        Some(table) => table.to_owned(),
        None => match event["eventType"].as_str().unwrap() {
            "FAIL" | "COMPLETE" => "end".to_owned(),
            other => other.to_owned(),
        },
    }
}

/// Waits until all that is expected has come, but not for ever: the comparison says what is missing.
fn wait_for_events(receiver: &Receiver, before: usize, mut expected: BTreeSet<String>) {
    let begun = Instant::now();
    while !expected.is_empty() && begun.elapsed() < ENOUGH {
        thread::sleep(Duration::from_millis(20));
        for request in receiver.requests().iter().skip(before) {
            expected.remove(&name(&request.body));
        }
    }
}

fn wait_until_quiet(receiver: &Receiver, quiet: Duration) {
    let mut count = receiver.requests().len();
    let mut since = Instant::now();
    while since.elapsed() < quiet {
        thread::sleep(Duration::from_millis(50));
        let now = receiver.requests().len();
        if now != count {
            (count, since) = (now, Instant::now());
        }
    }
}

/// Puts tokens in the place of what differs from one run to the next.
fn mask(event: &mut Value, port: u16, file: &Path) {
    event["eventTime"] = json!("time");
    event["run"]["runId"] = json!("run");
    let text = event.to_string();
    let text = text.replace(&port.to_string(), "PORT");
    let text = text.replace(&file.display().to_string(), "FILE");
    *event = serde_json::from_str(&text).unwrap();
}
