//! Goal: PostgreSQL to a warehouse by way of Kafka loses nothing and does nothing twice, whoever
//! dies and whenever.
//!
//! Method: a shop that is written to all the time, topics of three partitions, two sinks of one
//! group. Agent, sinks, broker, source and warehouse are killed with SIGKILL; one sink is frozen
//! for longer than its session, so that it wakes as a zombie. One transaction is open while the
//! slot is created, and others commit in another order than they write. At the end every table of
//! the warehouse is the source's, row by row and value by value. The same topics then go to a
//! DuckDB file through a sink that is killed again and again. Kills are counted; a test fails if a
//! victim was never hit. `SEED=n` repeats its choices.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "seeds, kills and progress are shown to a person")]

mod run;
mod sink;

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use cdc_testkit::process;
use cdc_testkit::process::wait_until;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use cdc_testkit::shop;
use cdc_testkit::shop::Mix;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;

use run::Agent;
use run::AgentOptions;
use sink::Sink;
use sink::SinkOptions;
use sink::Store;
use sink::compare;
use sink::warehouse::Kind;

/// Database, slot and topic prefix.
const NAME: &str = "shop";

/// Customers of the shop.
const SCALE: u32 = 800;

/// Changes a second that the simulator writes.
const RATE: u32 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Agent,
    Broker,
    Source,
    Sink,
    Warehouse,
    /// A sink that is frozen until others have its partitions, and then goes on.
    Zombie,
}

const VICTIMS: [Victim; 6] = [
    Victim::Sink,
    Victim::Warehouse,
    Victim::Broker,
    Victim::Zombie,
    Victim::Agent,
    Victim::Source,
];

/// What the sinks were doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The agent reads tables: what it had sent is sent again, in a new epoch.
    Reading,
    /// The group is shared out: a member has just come.
    Joining,
    /// Batches are being applied.
    Applying,
}

struct Scene {
    rng: fastrand::Rng,
    began: Instant,
    source: &'static mut Postgres,
    warehouse: &'static mut Postgres,
    kafka: Kafka,
    agent: Agent,
    sinks: Vec<Sink>,
    kills: BTreeMap<(Phase, Victim), u32>,
}

fn leaked() -> &'static mut Postgres {
    let options = PostgresOptions::system().setting("max_connections", "200");
    Box::leak(Box::new(Postgres::with(options)))
}

impl Scene {
    fn say(&self, text: impl std::fmt::Display) {
        println!("{:5.1} s: {text}", self.began.elapsed().as_secs_f64());
    }

    fn sink_options(&self, to: &str) -> SinkOptions {
        SinkOptions::new(&self.kafka.bootstrap(), "shop\\.shop\\..*", to)
            .set("consumer.session.timeout.ms", "6000")
            .set("consumer.heartbeat.interval.ms", "1000")
            .set("batch.time.ms", "200")
    }

    /// Waits until batches are applied: the sinks' own counters rise.
    fn wait_applying(&mut self) {
        let applied = |sinks: &[Sink]| -> f64 {
            let batches = |sink: &Sink| sink.metrics()?.metric("cdc_sink_batches_total");
            sinks.iter().filter_map(batches).sum()
        };
        let before = applied(&self.sinks);
        let began = Instant::now();
        while applied(&self.sinks) == before {
            self.sinks.iter_mut().for_each(Sink::assert_running);
            if began.elapsed() > Duration::from_secs(100) {
                self.sinks.iter().for_each(|sink| println!("sink:\n{}", sink.daemon().log_tail()));
                println!("agent:\n{}", self.agent.daemon().log_tail());
                panic!("no batch was applied for {:?}", began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&mut self, phase: Phase, victim: Victim) {
        let which = self.rng.usize(..self.sinks.len().max(1));
        match victim {
            Victim::Agent => {
                self.agent.kill();
                self.agent.start_again();
            }
            Victim::Broker => {
                self.kafka.kill();
                self.kafka.start_again();
            }
            Victim::Source => {
                self.source.kill();
                self.source.start_again();
            }
            Victim::Warehouse => {
                self.warehouse.kill();
                self.warehouse.start_again();
            }
            Victim::Sink => {
                self.sinks[which].kill();
                self.sinks[which].start_again();
            }
            Victim::Zombie => {
                self.sinks[which].daemon().freeze();
                std::thread::sleep(Duration::from_secs(9));
                self.sinks[which].daemon().thaw();
            }
        }
        *self.kills.entry((phase, victim)).or_default() += 1;
        self.say(format_args!("hit: {victim:?} in phase {phase:?}"));
    }
}

fn start() -> (Scene, Simulator) {
    let rng = fastrand::Rng::with_seed(process::seed());
    let began = Instant::now();
    let (source, warehouse) = (leaked(), leaked());
    source.create_database(NAME);
    shop::create(&mut source.client(NAME), SCALE);
    warehouse.create_database(NAME);
    let kafka = run::kafka_with_append_times();
    let mut rng = rng;
    let options = AgentOptions::new(&source.dsn(NAME), &kafka, NAME)
        .set("topic.creation.default.partitions", "3");
    let agent = Agent::prepared(options);
    let mix = Mix { key_swap: 3, long: 4, ..Mix::default() };
    let options = SimulatorOptions::new(rng.u64(..)).rate(RATE).mix(mix);
    let simulator = Simulator::start(&source.dsn(NAME), options);
    simulator.wait_for_changes(200, run::SOON);
    let kills = BTreeMap::new();
    let sinks = Vec::new();
    (Scene { rng, began, source, warehouse, kafka, agent, sinks, kills }, simulator)
}

/// A transaction writes before the slot's consistent point and commits after it: creation waits.
fn start_agent_around_a_transaction(scene: &mut Scene) {
    let mut client = scene.source.client(NAME);
    client
        .batch_execute(
            "BEGIN; UPDATE shop.customers SET name = name || ' (early)' WHERE id % 7 = 0",
        )
        .expect("rows can be written");
    scene.agent.start_again();
    let waiting =
        "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT%'";
    wait_until(Duration::from_secs(60), "the slot's creation to wait", || {
        scene.source.query_one("postgres", waiting).as_deref() != Some("0")
    });
    std::thread::sleep(Duration::from_millis(500));
    client
        .batch_execute(
            "UPDATE shop.customers SET name = name || ' (late)' WHERE id % 11 = 0; COMMIT",
        )
        .expect("rows can be written");
}

fn differences(scene: &Scene, store: &Store) -> Vec<String> {
    let source = (&*scene.source, NAME);
    shop::TABLES.iter().flat_map(|table| compare::differences(source, table, store, "")).collect()
}

#[track_caller]
fn judge(scene: &Scene, store: &Store) {
    let found = differences(scene, store);
    let shown = found[..found.len().min(20)].join("\n");
    assert!(found.is_empty(), "{:?}: {} differences:\n{shown}", store.kind, found.len());
    let letters = store.one("SELECT CAST(count(*) AS text) FROM _cdc.dead_letters");
    assert_eq!(letters.as_deref(), Some("0"), "dead letters");
    let incomplete =
        "SELECT CAST(count(*) AS text) FROM shop.documents WHERE _cdc_incomplete IS NOT NULL";
    assert_eq!(store.one(incomplete).as_deref(), Some("0"), "rows with values never received");
}

#[test]
fn a_warehouse_equals_its_source_whoever_dies() {
    let (mut scene, simulator) = start();
    start_agent_around_a_transaction(&mut scene);
    scene.agent.wait(run::SOON, "tables to be read", |agent| agent.logged(" reading tables"));
    scene.kill(Phase::Reading, Victim::Agent);
    let store = Store::existing(Kind::Postgres, scene.warehouse, NAME);
    let options = scene.sink_options(&store.url());
    scene.sinks = vec![Sink::start(options.clone()), Sink::start(options)];
    scene.wait_applying();
    scene.kill(Phase::Joining, Victim::Sink);
    for victim in VICTIMS {
        scene.wait_applying();
        std::thread::sleep(Duration::from_millis(scene.rng.u64(..300)));
        scene.kill(Phase::Applying, victim);
    }
    scene.kill(Phase::Joining, Victim::Sink);
    scene.wait_applying();
    let totals = simulator.stop();
    scene.say(format_args!("{totals}"));
    let end =
        scene.source.query_one(NAME, "SELECT pg_current_wal_lsn()::text").expect("a position");
    scene.source.execute(NAME, "UPDATE shop.customers SET name = 'the end' WHERE id = 1");
    let sql = format!("SELECT (confirmed_flush_lsn > '{end}')::text FROM pg_replication_slots");
    let source = &*scene.source;
    scene.agent.wait(Duration::from_secs(100), "the agent to deliver", |_| {
        source.query_one(NAME, &sql).as_deref() == Some("true")
    });
    scene.say("everything is in the topics");
    scene.sinks.iter_mut().for_each(Sink::stop);
    scene.sink_options(&store.url()).once();
    judge(&scene, &store);
    scene.say("PostgreSQL is equal");
    into_duckdb(&mut scene);
    println!("{:?}", scene.kills);
    assert!(scene.kills.contains_key(&(Phase::Reading, Victim::Agent)));
    for victim in VICTIMS {
        assert!(scene.kills.contains_key(&(Phase::Applying, victim)), "{victim:?} was never hit");
    }
}

/// Everything again into a file, by a process that dies again and again.
fn into_duckdb(scene: &mut Scene) {
    let store = Store::existing(Kind::DuckDb, scene.warehouse, NAME);
    let options = scene.sink_options(&store.url()).group("file").set("batch.records", "500");
    let mut sink = Sink::start(options.clone());
    for _ in 0..3 {
        let batches = |sink: &Sink| sink.metrics().and_then(|m| m.metric("cdc_sink_batches_total"));
        let mut died = false;
        wait_until(Duration::from_secs(60), "batches to be applied", || {
            sink.assert_running();
            died = batches(&sink) > Some(2.0);
            died
        });
        std::thread::sleep(Duration::from_millis(scene.rng.u64(..200)));
        sink.kill();
        sink.start_again();
    }
    sink.kill();
    options.once();
    judge(scene, &store);
    scene.say("DuckDB is equal");
}
