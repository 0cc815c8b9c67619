//! Goal: PostgreSQL to Kafka loses nothing and invents nothing, whoever dies and whenever.
//!
//! Method: a shop on a real server is written to all the time, from before the agent starts. Agent,
//! broker and server are killed with SIGKILL at random moments and started again at once. The kills
//! are aimed: while tables are read, while changes are sent that a second read has overtaken, while a
//! large transaction is received, with records in flight, and with acknowledgements that are not
//! confirmed. At the end every table, rebuilt from its topic alone, equals the source row by row,
//! and every record is well-formed: see `run::judge`. A test prints its kills by phase and fails if
//! a phase was never hit. `SEED=n` repeats its choices.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "seeds, kills and progress are shown to a person")]

mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::http::Answer;
use cdc_testkit::process;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::shop;
use cdc_testkit::shop::Mix;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;

use run::Agent;
use run::AgentOptions;
use run::judge;
use run::say;
use run::source;

/// Slot, publication and topic prefix.
const NAME: &str = "shop_slot";

/// Database.
const DATABASE: &str = "shop";

/// Customers of the shop: enough that the reading of tables lasts some seconds.
const SCALE: u32 = 4_000;

/// Changes a second that the simulator writes.
const RATE: u32 = 1_500;

/// Rows of one large transaction.
const LARGE: u32 = 40_000;

/// Keys are swapped more often than elsewhere: such changes are the hardest to replay over a read.
const SWAPS: u32 = 4;

/// The table without a key is read first, the one with large values last. Killed in between, the
/// agent reads the second again, and changes of its keys are overtaken by that read. Without such an
/// order the table without a key may be unfinished, and everything begins anew.
const ORDER: &str = "shop.page_views, shop.order_lines, shop.orders, shop.customers, \
                     shop.products, shop.carts, shop.samples, shop.documents";

/// What the agent is doing when somebody dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Tables are being read.
    Snapshot,
    /// Changes are sent that an interrupted read has overtaken.
    Overtaken,
    /// Part of a large transaction has been received.
    Transaction,
    /// Records are sent and not acknowledged.
    InFlight,
    /// Records are acknowledged, and their position is not stored or not confirmed.
    Unconfirmed,
}

const PHASES: [Phase; 5] =
    [Phase::Snapshot, Phase::Overtaken, Phase::Transaction, Phase::InFlight, Phase::Unconfirmed];

/// Those of the stream.
const STREAM_PHASES: [Phase; 3] = [Phase::Transaction, Phase::InFlight, Phase::Unconfirmed];

/// In which order tables are read, and so what an interrupted read leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The default.
    ByName,
    /// [`ORDER`].
    KeylessFirst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Agent,
    Broker,
    Server,
}

const VICTIMS: [Victim; 3] = [Victim::Agent, Victim::Broker, Victim::Server];

/// Servers, agent, writer, and who has been killed when.
struct Scene {
    test: String,
    rng: fastrand::Rng,
    postgres: Postgres,
    kafka: Kafka,
    agent: Agent,
    simulator: Option<Simulator>,
    kills: BTreeMap<(Phase, Victim), u32>,
    order: Order,
    large_transactions: i64,
    began: Instant,
}

impl Scene {
    fn new(version: u32, order: Order) -> Self {
        let test = format!("postgres {version}, {order:?}");
        let mut rng = fastrand::Rng::with_seed(process::seed());
        let began = Instant::now();
        let postgres = Postgres::start(version);
        postgres.create_database(DATABASE);
        shop::create(&mut postgres.client(DATABASE), SCALE);
        let kafka = run::kafka_with_append_times();
        let mut options = AgentOptions::new(&postgres.dsn(DATABASE), &kafka, NAME)
            .set("topic.creation.default.partitions", "3");
        if order == Order::KeylessFirst {
            options = options.set("table.include.list", ORDER).set("snapshot.max.threads", "1");
        }
        let agent = Agent::prepared(options);
        let seed = rng.u64(..);
        let mix = Mix { key_swap: SWAPS, ..Mix::default() };
        let options = SimulatorOptions::new(seed).rate(RATE).mix(mix);
        let simulator = Simulator::start(&postgres.dsn(DATABASE), options);
        simulator.wait_for_changes(500, run::SOON);
        let scene = Self {
            test,
            rng,
            postgres,
            kafka,
            agent,
            simulator: Some(simulator),
            kills: BTreeMap::new(),
            order,
            large_transactions: 0,
            began,
        };
        scene.say("servers are up, the simulator writes");
        scene
    }

    fn say(&self, text: impl fmt::Display) {
        say(&self.test, format_args!("{:5.1} s: {text}", self.began.elapsed().as_secs_f64()));
    }

    /// Kills while tables are read, the agent last.
    fn kill_while_reading(&mut self, victims: &[Victim]) {
        self.agent.start_again();
        let others = victims.iter().copied().filter(|victim| *victim != Victim::Agent);
        for victim in others.chain([Victim::Agent]) {
            let keyless_first = self.order == Order::KeylessFirst;
            // The table after the one without a key is said to be read when what is known of that
            // one is stored.
            let is_reading = |agent: &Agent| {
                agent.metric("cdc_agent_snapshot_running") == Some(1.0)
                    && (!keyless_first
                        || agent.whole_log().contains("table read table=shop.order_lines"))
            };
            self.agent.wait(run::LONG, "the agent to read tables", |agent| {
                is_reading(agent) || agent.logged(STREAMING)
            });
            std::thread::sleep(Duration::from_millis(self.rng.u64(..300)));
            if !is_reading(&self.agent) {
                self.say("the tables were read too soon");
                break;
            }
            self.kill(Phase::Snapshot, victim);
        }
    }

    /// Kills while changes are sent that an interrupted read has overtaken.
    fn kill_while_overtaken(&mut self, victims: &[Victim]) {
        for victim in victims {
            self.agent.wait(run::LONG, "changes that were overtaken", |agent| {
                is_overtaken(agent) || agent.logged(REACHED) || !was_overtaken(agent)
            });
            std::thread::sleep(Duration::from_millis(self.rng.u64(..400)));
            if !is_overtaken(&self.agent) {
                self.say("the stream reached the reads too soon");
                break;
            }
            self.kill(Phase::Overtaken, *victim);
        }
    }

    /// Waits until the tables are read and the stream has begun.
    fn wait_streaming(&mut self) {
        self.agent.wait_streaming(run::LONG);
        self.say("the tables are read");
    }

    fn kill(&mut self, phase: Phase, victim: Victim) {
        match victim {
            Victim::Agent => self.agent.kill(),
            Victim::Broker => self.kafka.kill(),
            Victim::Server => self.postgres.kill(),
        }
        *self.kills.entry((phase, victim)).or_default() += 1;
        self.say(format_args!("killed: {victim:?} in phase {phase:?}"));
        match (phase, victim) {
            (Phase::Snapshot, Victim::Agent) => {
                // Keys change without their rows' large values, and then the stream takes some time
                // until it has reached the next read.
                self.postgres.execute(DATABASE, MOVE_DOCUMENTS);
                let (sql, _) = self.large_transaction();
                self.postgres.execute(DATABASE, &sql);
            }
            (Phase::Overtaken, Victim::Agent) => {
                self.postgres.execute(DATABASE, REWRITE_DOCUMENTS);
            }
            _ => {}
        }
        match victim {
            Victim::Agent => self.agent.start_again(),
            Victim::Broker => self.kafka.start_again(),
            Victim::Server => self.postgres.start_again(),
        }
    }

    /// Waits for the phase and kills in it.
    fn aim(&mut self, phase: Phase, victim: Victim) {
        std::thread::sleep(Duration::from_millis(self.rng.u64(..700)));
        match phase {
            Phase::Transaction => {
                if !self.aim_at_transaction() {
                    return;
                }
            }
            Phase::InFlight => self.wait_for(|metrics| {
                metrics.metric("cdc_agent_publisher_queue_records") > Some(0.0)
            }),
            Phase::Unconfirmed => self.wait_for(|metrics| {
                let confirmed = format!("cdc_agent_slot_confirmed_flush_lsn{{slot=\"{NAME}\"}}");
                let acknowledged = metrics.metric("cdc_agent_acknowledged_lsn");
                let confirmed = metrics.metric(&confirmed);
                confirmed.is_some() && acknowledged > confirmed
            }),
            Phase::Snapshot | Phase::Overtaken => unreachable!("the tables are read"),
        }
        self.kill(phase, victim);
    }

    fn wait_for(&mut self, mut yes: impl FnMut(&Answer) -> bool) {
        self.agent.wait(run::LONG, "the phase to be met", |agent| {
            // A scrape and a question to the server take a few milliseconds.
            agent.metrics().is_some_and(|metrics| yes(&metrics))
        });
    }

    /// Writes a large transaction and returns when a part of it has been received; gives whether
    /// that was seen.
    fn aim_at_transaction(&mut self) -> bool {
        for attempt in 0..5 {
            let (sql, series) = self.large_transaction();
            let sent = |agent: &Agent| {
                agent.metrics().map(|metrics| metrics.metric(series).unwrap_or(0.0))
            };
            let before = sent(&self.agent).unwrap_or(0.0);
            self.postgres.execute(DATABASE, &sql);
            let end = source::current_lsn(&self.postgres);
            let part = self.rng.f64() * f64::from(LARGE) / 2.0;
            let mut hit = false;
            self.agent.wait(run::LONG, "the large transaction to be received", |agent| {
                let Some(metrics) = agent.metrics() else { return false };
                // After a restart the agent counts from 0.
                let now = metrics.metric(series).unwrap_or(0.0);
                let received = metrics.metric("cdc_agent_received_lsn").unwrap_or(0.0);
                #[expect(clippy::cast_precision_loss, reason = "logs of tests are short")]
                let over = received >= end as f64;
                hit = !over && (now - before >= part + 1_000.0 || (now < before && now > part));
                hit || over
            });
            if hit {
                return true;
            }
            self.say(format_args!("attempt {attempt}: the transaction came in one go"));
        }
        false
    }

    /// Inserts rows that nobody else touches, then updates them, then deletes them.
    fn large_transaction(&mut self) -> (String, &'static str) {
        let number = self.large_transactions;
        self.large_transactions += 1;
        let order = -1 - number / 3;
        match number % 3 {
            0 => (
                format!(
                    "INSERT INTO shop.order_lines SELECT n, {order}, n, n % 100, n / 4.0 \
                     FROM generate_series(1, {LARGE}) AS n"
                ),
                r#"cdc_agent_records_total{operation="create",table="shop.order_lines"}"#,
            ),
            1 => (
                format!(
                    "UPDATE shop.order_lines SET quantity = -quantity WHERE order_id = {order}"
                ),
                r#"cdc_agent_records_total{operation="update",table="shop.order_lines"}"#,
            ),
            _ => (
                format!("DELETE FROM shop.order_lines WHERE order_id = {order}"),
                r#"cdc_agent_records_total{operation="delete",table="shop.order_lines"}"#,
            ),
        }
    }

    /// The end: everything arrives, the agent stops in good order, and the topics are judged.
    fn finish(mut self) {
        let totals = self.simulator.take().expect("the simulator runs").stop();
        self.say(format_args!("since then: {totals}"));
        source::wait_caught_up(&self.postgres, &mut self.agent, NAME, run::LONG);
        let took = self.agent.stop();
        self.say(format_args!("caught up, and stopped in {took:?}"));
        let verdict = judge::judge(&self.kafka, NAME);
        self.say(&verdict);
        self.show_kills();
        verdict.assert_sound_and_equal(&self.postgres, DATABASE, &shop::TABLES);
        self.say("every table equals the source");
        // Everything begins anew in the default order, when it is the table without a key that is
        // unfinished: nothing is overtaken then.
        let needed =
            |phase: &Phase| *phase != Phase::Overtaken || self.order == Order::KeylessFirst;
        for phase in PHASES.into_iter().filter(needed) {
            let hit = self.kills.keys().any(|(hit, _)| *hit == phase);
            assert!(hit, "nobody was killed in phase {phase:?}");
        }
    }

    fn show_kills(&self) {
        for phase in PHASES {
            let by_victim = VICTIMS.map(|victim| {
                format!("{victim:?} {}", self.kills.get(&(phase, victim)).copied().unwrap_or(0))
            });
            self.say(format_args!("kills in phase {phase:?}: {}", by_victim.join(", ")));
        }
    }
}

/// Gives some documents other keys and leaves their large values alone.
const MOVE_DOCUMENTS: &str = "UPDATE shop.documents SET id = id + 1000000 WHERE id % 3 = 0";

/// Changes the large values of those, so that a later snapshot has others.
const REWRITE_DOCUMENTS: &str = "UPDATE shop.documents SET body = body || 'x' WHERE id > 1000000";

/// What the agent logs when its stream begins.
const STREAMING: &str = " streaming ";

/// What the agent logs before it sends changes that an interrupted read has overtaken.
const OVERTAKEN: &str = "changes that were overtaken by an interrupted read are completed";

/// And when it has sent them.
const REACHED: &str = "the stream has reached the reads";

/// Whether the stream begins with what an interrupted read has overtaken, or has not begun.
fn was_overtaken(agent: &Agent) -> bool {
    agent.logged(OVERTAKEN) || !agent.logged(STREAMING)
}

/// Whether changes are sent that an interrupted read has overtaken.
fn is_overtaken(agent: &Agent) -> bool {
    let log = agent.log();
    let Some((_, since)) = log.rsplit_once(OVERTAKEN) else { return false };
    since.contains(STREAMING) && !since.contains(REACHED) && !since.contains("trying again")
}

/// Everybody dies in every phase.
fn check_thoroughly(version: u32, order: Order) {
    let mut scene = Scene::new(version, order);
    let mut victims = VICTIMS;
    scene.rng.shuffle(&mut victims);
    match order {
        Order::ByName => scene.kill_while_reading(&victims),
        Order::KeylessFirst => scene.kill_while_reading(&[]),
    }
    if order == Order::KeylessFirst {
        let mut victims = [Victim::Agent, Victim::Server];
        scene.rng.shuffle(&mut victims);
        // The broker last: its death holds up no more than the records, and the stream goes on.
        scene.kill_while_overtaken(&[victims[0], victims[1], Victim::Broker]);
    }
    scene.wait_streaming();
    let each = STREAM_PHASES.iter().flat_map(|phase| VICTIMS.map(|victim| (*phase, victim)));
    let mut plan: Vec<(Phase, Victim)> = each.collect();
    scene.rng.shuffle(&mut plan);
    for (phase, victim) in plan {
        scene.aim(phase, victim);
    }
    scene.finish();
}

/// Somebody dies in every phase.
fn check_briefly(version: u32, order: Order) {
    let mut scene = Scene::new(version, order);
    let mut victims = VICTIMS;
    scene.rng.shuffle(&mut victims);
    scene.kill_while_reading(&[]);
    if order == Order::KeylessFirst {
        scene.kill_while_overtaken(&[Victim::Agent]);
    }
    scene.wait_streaming();
    let mut plan: Vec<(Phase, Victim)> = STREAM_PHASES.into_iter().zip(victims).collect();
    scene.rng.shuffle(&mut plan);
    for (phase, victim) in plan {
        scene.aim(phase, victim);
    }
    scene.finish();
}

#[test]
fn nothing_is_lost_on_postgres_15() {
    check_thoroughly(15, Order::ByName);
}

/// Keys are swapped in the log that an interrupted read has overtaken, and everybody dies there too.
#[test]
fn nothing_is_lost_by_a_read_that_is_interrupted_on_postgres_15() {
    check_thoroughly(15, Order::KeylessFirst);
}

#[test]
fn nothing_is_lost_on_postgres_14() {
    check_briefly(14, Order::KeylessFirst);
}

#[test]
fn nothing_is_lost_on_postgres_16() {
    check_briefly(16, Order::ByName);
}

#[test]
fn nothing_is_lost_on_postgres_17() {
    check_briefly(17, Order::ByName);
}

#[test]
fn nothing_is_lost_on_postgres_18() {
    check_briefly(18, Order::KeylessFirst);
}
