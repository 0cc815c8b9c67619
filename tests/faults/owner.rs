//! One owner of a slot and of what is stored of it.

use super::*;

/// Another agent starts while the first one reads tables, one of them without a key: it neither
/// drops the slot nor reads, and takes over when the first one goes.
#[test]
fn a_second_agent_waits_while_the_first_one_reads_tables() {
    let name = "two_agents";
    let postgres = run::shared_postgres(15);
    postgres.create_database(name);
    shop::create(&mut postgres.client(name), 2_000);
    postgres.execute(
        name,
        "CREATE TABLE keyless (v int); ALTER TABLE keyless REPLICA IDENTITY FULL; \
         INSERT INTO keyless SELECT generate_series(1, 100)",
    );
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let mut first = Agent::start(options.clone());
    first.wait(run::SOON, "the first agent to read", |agent| {
        agent.metric("cdc_agent_snapshot_running") == Some(1.0)
    });
    first.daemon().freeze();
    assert!(!first.logged("all tables are read"), "it was too quick:\n{}", first.log());
    let created = slot_of(postgres, name);

    let mut second = Agent::start(options.set("slot.max.retries", "2"));
    second.wait(run::SOON, "the second agent to wait", |agent| {
        agent.logged("waiting for the slot") && agent.logged("is in use by process")
    });
    let (status, output) = second.drop_everything();
    assert_eq!(status, Some(69), "the slot has an owner: {output}");
    assert_eq!(slot_of(postgres, name), created, "the slot is another one");
    first.daemon().thaw();
    first.wait_streaming(run::SOON);
    postgres.execute(name, "INSERT INTO keyless VALUES (101); DELETE FROM keyless WHERE v = 1");
    source::wait_caught_up(postgres, &mut first, name, run::SOON);
    second.assert_running();
    first.kill();
    second.wait_streaming(run::SOON);
    postgres.execute(name, "INSERT INTO keyless VALUES (102)");
    source::wait_caught_up(postgres, &mut second, name, run::SOON);
    second.stop();
    let verdict = judge(run::shared_kafka(), name);
    say(name, &verdict);
    let tables: Vec<&str> = shop::TABLES.iter().copied().chain(["public.keyless"]).collect();
    verdict.assert_sound_and_equal(postgres, name, &tables);
}

/// What tells a slot from another one of its name.
fn slot_of(postgres: &Postgres, name: &str) -> Option<String> {
    let sql = format!(
        "SELECT restart_lsn::text || confirmed_flush_lsn::text FROM pg_replication_slots \
         WHERE slot_name = '{name}'"
    );
    postgres.query_one("postgres", &sql)
}

/// What a publication publishes is the server's to apply at each place of the WAL: it may change at
/// any time, also while nothing is confirmed.
#[test]
fn options_of_the_publication_may_change_while_changes_are_unconfirmed() {
    let name = "options_changed";
    let postgres = run::shared_postgres(15);
    Small::database(postgres, name);
    // Nothing is ever confirmed to the server.
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name)
        .set("lsn.flush.mode", "manual");
    let mut small = Small { postgres, name, agent: Agent::start(options) };
    small.agent.wait_streaming(run::SOON);
    small.insert(11, 20);
    small.agent.wait(run::SOON, "the rows to be stored", |agent| {
        agent.metric("cdc_agent_acknowledged_records_total") >= Some(20.0)
    });
    small.agent.stop();
    small.execute("ALTER PUBLICATION options_changed SET (publish = 'insert, update, delete')");
    small.insert(21, 30);
    for _ in 0..2 {
        small.agent.start_again();
        small.agent.wait_streaming(run::SOON);
        small.agent.kill();
    }
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    small.insert(31, 31);
    let end = source::current_lsn(postgres) as f64;
    small.agent.wait(run::SOON, "all rows to be stored", |agent| {
        agent.metric("cdc_agent_stored_lsn").is_some_and(|stored| stored >= end)
    });
    small.agent.stop();
    let verdict = judge(run::shared_kafka(), name);
    verdict.assert_sound_and_equal(postgres, name, &[ITEMS]);
}

/// A warehouse may remember what state and topics do not.
#[test]
fn an_epoch_does_not_repeat_though_state_and_topics_are_deleted() {
    let name = "epoch_of_the_clock";
    let postgres = run::shared_postgres(15);
    let kafka = run::shared_kafka();
    let mut small = Small::with(postgres, name, |options| options.set("snapshot.epoch", "0"));
    let begun = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let begun = begun.expect("the clock is set").as_secs();
    let first = epoch_of(&small.agent);
    assert!(first <= begun && first + 600 > begun, "{first} is not of the clock: {begun}");
    small.agent.stop();
    small.execute(
        "SELECT pg_drop_replication_slot('epoch_of_the_clock'); \
         DROP PUBLICATION epoch_of_the_clock",
    );
    for topic in ["public.items", "__schemas", "__state"] {
        kafka.delete_topic(&format!("{name}.{topic}"));
    }
    small.agent.start_again();
    small.agent.wait_streaming(run::SOON);
    let second = epoch_of(&small.agent);
    assert!(second > first, "{second} is not above {first}");
    small.insert(21, 30);
    small.assert_equal(&[ITEMS]);
}

/// The epoch that it streams in.
fn epoch_of(agent: &Agent) -> u64 {
    let log = agent.log();
    let (_, said) = log.rsplit_once(" epoch=").expect("it streams");
    let digits = said.split(|letter: char| !letter.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).expect("a number")
}

/// Stopped for so long that a successor may have begun, and woken with records in flight.
#[test]
fn an_agent_that_stood_still_gives_up_what_it_had_in_flight() {
    let name = "stood_still";
    let mut small = Small::new(run::shared_postgres(15), name);
    small.agent.daemon().freeze();
    small.insert(21, 30);
    std::thread::sleep(Duration::from_secs(11));
    small.agent.daemon().thaw();
    small.agent.wait(run::SOON, "the agent to notice", |agent| {
        agent.logged("the process stood still for 1") && agent.logged("trying again")
    });
    small.insert(31, 40);
    small.assert_equal(&[ITEMS]);
}
