//! Goal: PostgreSQL to a warehouse in one process loses nothing and does nothing twice, whoever
//! dies and whenever.
//!
//! Method: a shop that is written to all the time, and two agents with slots of their own, one into
//! PostgreSQL, one into a DuckDB file. Agents, warehouse and source are killed with SIGKILL, while
//! tables are read and while changes are applied. One transaction is open while the first slot is
//! created, and others commit in another order than they write. At the end every table of both
//! warehouses is the source's, row by row and value by value. Kills are counted by phase; the test
//! fails if one is missing. `SEED=n` repeats its choices.

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
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::PostgresOptions;
use cdc_testkit::shop;
use cdc_testkit::shop::Mix;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;

use run::Agent;
use run::AgentOptions;
use sink::SinkOptions;
use sink::Store;
use sink::compare;
use sink::warehouse::KINDS;
use sink::warehouse::Kind;

/// Database of the source and of the warehouse.
const NAME: &str = "shop";

/// Customers of the shop.
const SCALE: u32 = 5000;

/// Changes a second that the simulator writes.
const RATE: u32 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Tables are read.
    Reading,
    /// Changes are applied.
    Applying,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// Both agents.
    Agents,
    Warehouse,
    Source,
}

const APPLYING: [Victim; 4] = [Victim::Warehouse, Victim::Agents, Victim::Source, Victim::Agents];

struct Scene {
    rng: fastrand::Rng,
    began: Instant,
    source: &'static mut Postgres,
    warehouse: &'static mut Postgres,
    stores: Vec<Store>,
    agents: Vec<Agent>,
    kills: BTreeMap<(Phase, Victim), u32>,
}

fn leaked() -> &'static mut Postgres {
    let options = PostgresOptions::system().setting("max_connections", "200");
    Box::leak(Box::new(Postgres::with(options)))
}

fn slot(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "to_postgres",
        Kind::DuckDb => "to_duckdb",
    }
}

impl Scene {
    fn start() -> Self {
        let (source, warehouse) = (leaked(), leaked());
        source.create_database(NAME);
        shop::create(&mut source.client(NAME), SCALE);
        warehouse.create_database(NAME);
        let stores = KINDS.map(|kind| Store::existing(kind, warehouse, NAME));
        let agents = stores.iter().map(|store| {
            let options = AgentOptions::to_lines(&source.dsn(NAME), &store.url(), slot(store.kind));
            Agent::prepared(options.set("batch.time.ms", "100"))
        });
        Self {
            rng: fastrand::Rng::with_seed(process::seed()),
            began: Instant::now(),
            agents: agents.collect(),
            stores: stores.into(),
            source,
            warehouse,
            kills: BTreeMap::new(),
        }
    }

    fn say(&self, text: impl std::fmt::Display) {
        println!("{:5.1} s: {text}", self.began.elapsed().as_secs_f64());
    }

    /// A transaction writes before the slots' consistent points and commits after them.
    fn start_agents_around_a_transaction(&mut self) {
        let mut client = self.source.client(NAME);
        client
            .batch_execute(
                "BEGIN; UPDATE shop.customers SET name = name || ' (early)' WHERE id % 7 = 0",
            )
            .expect("rows can be written");
        self.agents.iter_mut().for_each(Agent::start_again);
        let waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE \
                       'CREATE_REPLICATION_SLOT%'";
        wait_until(Duration::from_secs(60), "the slots' creation to wait", || {
            self.source.query_one("postgres", waiting).as_deref() == Some("2")
        });
        client
            .batch_execute(
                "UPDATE shop.customers SET name = name || ' (late)' WHERE id % 11 = 0; COMMIT",
            )
            .expect("rows can be written");
    }

    fn wait_reading(&mut self) {
        for agent in &mut self.agents {
            agent.wait(Duration::from_secs(60), "tables to be read", |agent| {
                agent.logged(" reading tables")
            });
        }
    }

    /// Waits until each agent has confirmed changes that were written after this was called.
    fn wait_confirmed(&mut self) {
        let end = "SELECT pg_current_wal_lsn()::text";
        let end = self.source.query_one(NAME, end).expect("a position");
        for (agent, store) in self.agents.iter_mut().zip(&self.stores) {
            let sql = format!(
                "SELECT (confirmed_flush_lsn > '{end}')::text FROM pg_replication_slots WHERE \
                 slot_name = '{}'",
                slot(store.kind)
            );
            agent.wait(run::LONG, "the agent to confirm changes", |_| {
                self.source.query_one(NAME, &sql).as_deref() == Some("true")
            });
        }
    }

    fn kill(&mut self, victim: Victim) {
        std::thread::sleep(Duration::from_millis(self.rng.u64(..200)));
        let streams = self.agents.iter().all(|agent| agent.logged(" streaming "));
        let phase = if streams { Phase::Applying } else { Phase::Reading };
        match victim {
            Victim::Agents => {
                for agent in &mut self.agents {
                    agent.kill();
                    agent.start_again();
                }
            }
            Victim::Warehouse => {
                self.warehouse.kill();
                self.warehouse.start_again();
            }
            Victim::Source => {
                self.source.kill();
                self.source.start_again();
            }
        }
        *self.kills.entry((phase, victim)).or_default() += 1;
        self.say(format_args!("hit: {victim:?} in phase {phase:?}"));
    }

    #[track_caller]
    fn judge(&self) {
        for store in &self.stores {
            let source = (&*self.source, NAME);
            let tables = shop::TABLES.iter();
            let found: Vec<String> =
                tables.flat_map(|table| compare::differences(source, table, store, "")).collect();
            let shown = found[..found.len().min(20)].join("\n");
            assert!(found.is_empty(), "{:?}: {} differences:\n{shown}", store.kind, found.len());
            let letters = store.one("SELECT CAST(count(*) AS text) FROM _cdc.dead_letters");
            assert_eq!(letters.as_deref(), Some("0"), "dead letters");
        }
    }
}

#[test]
fn a_warehouse_without_kafka_equals_its_source_whoever_dies() {
    let mut scene = Scene::start();
    let mix = Mix { key_swap: 3, long: 4, ..Mix::default() };
    let options = SimulatorOptions::new(scene.rng.u64(..)).rate(RATE).mix(mix);
    let simulator = Simulator::start(&scene.source.dsn(NAME), options);
    simulator.wait_for_changes(100, run::SOON);
    scene.start_agents_around_a_transaction();
    for victim in [Victim::Agents, Victim::Warehouse, Victim::Source] {
        scene.wait_reading();
        scene.kill(victim);
    }
    for victim in APPLYING {
        scene.agents.iter_mut().for_each(|agent| agent.wait_streaming(run::LONG));
        scene.wait_confirmed();
        scene.kill(victim);
    }
    scene.wait_confirmed();
    let totals = simulator.stop();
    scene.say(format_args!("{totals}"));
    scene.source.execute(NAME, "UPDATE shop.customers SET name = 'the end' WHERE id = 1");
    let end = run::source::current_lsn(scene.source);
    for (agent, store) in scene.agents.iter_mut().zip(&scene.stores) {
        agent.wait(run::LONG, "the agent to confirm everything", |_| {
            run::source::slot(scene.source, slot(store.kind))
                .is_some_and(|slot| slot.confirmed >= end)
        });
        agent.stop();
    }
    scene.say("everything is applied");
    scene.judge();
    scene.say("both are equal");
    println!("{:?}", scene.kills);
    // Others may hit the end of the reading.
    assert!(scene.kills.contains_key(&(Phase::Reading, Victim::Agents)));
    for victim in APPLYING {
        assert!(scene.kills.contains_key(&(Phase::Applying, victim)), "{victim:?} was never hit");
    }
}

/// A row that the table does not hold is put aside, and so is what follows it; when a person has
/// mended both a replay applies them, though no topic has their schema.
#[test]
fn what_is_put_aside_without_kafka_is_replayed() {
    let server = leaked();
    for kind in KINDS {
        let name = format!("letters_{}", slot(kind));
        server.create_database(&name);
        let sql =
            "CREATE TABLE items (id int PRIMARY KEY, a bigint); INSERT INTO items VALUES (1, 7)";
        server.execute(&name, sql);
        let store = Store::new(kind, server, &format!("copy_{}", slot(kind)));
        store.execute("CREATE SCHEMA IF NOT EXISTS public");
        store.execute("CREATE TABLE public.items (id integer, a integer)");
        let options = AgentOptions::to_lines(&server.dsn(&name), &store.url(), &name);
        let mut agent = Agent::start(options.set("errors.tolerance", "all"));
        agent.wait_streaming(Duration::from_secs(60));
        server.execute(&name, "INSERT INTO items VALUES (2, 5000000000)");
        server.execute(&name, "UPDATE items SET a = 6000000000 WHERE id = 2");
        server.execute(&name, "INSERT INTO items VALUES (3, 9)");
        agent.wait(Duration::from_secs(60), "all to be applied or put aside", |agent| {
            let created = "cdc_sink_records_total{operation=\"c\",table=\"public.items\"}";
            agent.metric("cdc_sink_dead_letters_total") == Some(2.0)
                && agent.metric(created) == Some(1.0)
        });
        agent.stop();
        let rows = || {
            let sql = "SELECT CAST(id AS text), CAST(a AS text) FROM public.items ORDER BY id";
            let rows = store.query(sql).into_iter();
            rows.map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(), ["1 7", "3 9"], "{kind:?}");
        // Nobody answers there.
        let sink = SinkOptions::new("127.0.0.1:1", "none", &store.url());
        sink.replay(0, 2);
        let mended = match kind {
            Kind::Postgres => {
                "convert_to(replace(convert_from(value, 'UTF8'), '000000000', ''), 'UTF8')"
            }
            Kind::DuckDb => "encode(replace(decode(value), '000000000', ''))",
        };
        store.execute(&format!("UPDATE _cdc.dead_letters SET value = {mended}"));
        sink.replay(2, 0);
        assert_eq!(rows(), ["1 7", "2 6", "3 9"], "{kind:?}");
    }
}

/// A session of the warehouse that has written many tables keeps staging tables of a few.
#[test]
fn a_commit_costs_what_it_writes_and_not_what_was_written_before() {
    let server = leaked();
    server.create_database("many");
    let each = |sql: &str| {
        format!("DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format('{sql}', n); END LOOP; END $$")
    };
    server.execute("many", &each("CREATE TABLE t%s (id int PRIMARY KEY, a text)"));
    server.execute("many", &each("INSERT INTO t%s VALUES (1, $a$read$a$)"));
    let store = Store::new(Kind::Postgres, server, "many_copy");
    let options = AgentOptions::to_lines(&server.dsn("many"), &store.url(), "many");
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::LONG);
    server.execute("many", &each("UPDATE t%1$s SET a = $a$streamed$a$"));
    let end = run::source::current_lsn(server);
    agent.wait(run::LONG, "the agent to confirm everything", |_| {
        run::source::slot(server, "many").is_some_and(|slot| slot.confirmed >= end)
    });
    let stages = "SELECT count(*)::text FROM pg_class WHERE relname LIKE 'stage\\_%' AND \
                  relpersistence = 't' AND relkind = 'r'";
    let stages = store.one(stages).and_then(|count| count.parse::<u32>().ok());
    assert!(stages.is_some_and(|count| (1..=64).contains(&count)), "{stages:?} staging tables");
    let all: Vec<String> = (1..=300).map(|n| format!("SELECT a FROM t{n}")).collect();
    let sum = format!(
        "SELECT count(*)::text FROM ({}) AS rows WHERE a = 'streamed'",
        all.join(" UNION ALL ")
    );
    assert_eq!(store.one(&sum).as_deref(), Some("300"));
    agent.stop();
}

/// What was acknowledged under the old key is stored before the table gets another.
#[test]
fn another_primary_key_is_followed_without_kafka() {
    let server = leaked();
    for kind in KINDS {
        let name = format!("rekeyed_{}", slot(kind));
        server.create_database(&name);
        server.execute(
            &name,
            "CREATE TABLE items (id int PRIMARY KEY, code text NOT NULL, a int);
             INSERT INTO items SELECT n, 'code ' || n, n FROM generate_series(1, 50) n",
        );
        let store = Store::new(kind, server, &format!("copy_of_{name}"));
        let options = AgentOptions::to_lines(&server.dsn(&name), &store.url(), &name);
        let mut agent = Agent::start(options);
        agent.wait_streaming(Duration::from_secs(60));
        server.execute(
            &name,
            "UPDATE items SET a = -1 WHERE id < 10; DELETE FROM items WHERE id = 10;
             ALTER TABLE items DROP id, ADD PRIMARY KEY (code);
             UPDATE items SET a = -2 WHERE code = 'code 11';
             INSERT INTO items VALUES ('code 10', 7); DELETE FROM items WHERE code = 'code 1';
             UPDATE items SET code = 'moved' WHERE a = 12",
        );
        server.execute(&name, "INSERT INTO items VALUES ('last', 0)");
        let end = run::source::current_lsn(server);
        agent.wait(run::LONG, "the agent to confirm everything", |_| {
            run::source::slot(server, &name).is_some_and(|slot| slot.confirmed >= end)
        });
        agent.stop();
        let found = compare::differences((server, &name), "public.items", &store, "");
        assert!(found.is_empty(), "{kind:?}: {found:?}");
    }
}
