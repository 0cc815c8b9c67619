//! A standby is promoted: what it has is streamed on, and what it lacks is never passed over.

use super::*;

/// The standby was cut off at a position of the WAL, and is promoted there.
struct Failover {
    primary: Postgres,
    standby: Postgres,
}

impl Failover {
    /// Both servers; agents of these names have read their tables and stream from the primary.
    fn new(names: &[&'static str]) -> (Self, Vec<Agent>) {
        let mut primary = Postgres::start(15);
        let mut agents = Vec::new();
        for name in names {
            Small::database(&primary, name);
            primary.execute(name, "CREATE TABLE noise (id serial, v text)");
            let mut small = Small::of(&primary, name);
            small.agent.stop();
            agents.push(small.agent);
        }
        primary.stop_fast(run::SOON).expect("nobody is connected");
        let standby = primary.standby();
        primary.start_again();
        for (agent, name) in agents.iter_mut().zip(names) {
            let (first, second) = (primary.port(), standby.port());
            let dsn = format!(
                "postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/{name}\
                 ?target_session_attrs=read-write"
            );
            agent.change(|options| options.dsn(&dsn));
            agent.start_again();
            agent.wait_streaming(run::SOON);
        }
        let failover = Failover { primary, standby };
        failover.wait_replayed();
        (failover, agents)
    }

    fn wait_replayed(&self) {
        let end = self.primary.query_one("postgres", "SELECT pg_current_wal_lsn()");
        let end = end.expect("the primary has WAL");
        process::wait_until(run::SOON, "the standby to follow", || {
            let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'");
            self.standby.query_one("postgres", &sql).as_deref() == Some("t")
        });
    }

    /// From here on the standby receives nothing.
    fn cut_off(&self) {
        self.standby.set("primary_conninfo", "");
        process::wait_until(run::SOON, "the standby to be cut off", || {
            let count = self.primary.query_one("postgres", STANDBYS);
            count.as_deref() == Some("0")
        });
    }

    fn promote(&self) {
        self.standby.execute("postgres", "SELECT pg_promote()");
        process::wait_until(run::SOON, "the standby to be promoted", || {
            let recovers = self.standby.query_one("postgres", "SELECT pg_is_in_recovery()");
            recovers.as_deref() == Some("f")
        });
    }
}

const STANDBYS: &str =
    "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walreceiver'";

/// WAL of nothing that is captured: less than what an idle slot stores at once.
const NOISE: &str = "INSERT INTO noise (v) SELECT repeat('x', 100) FROM generate_series(1, 200)";

/// The agent has received WAL that the promoted standby does not have. Without anything of its own
/// in there it goes back to where the timelines part; with a record of it published it stops.
#[test]
fn a_failover_loses_nothing_and_is_refused_if_the_standby_lacks_what_was_published() {
    let (idle, busy) = ("failover_idle", "failover_busy");
    let (mut servers, mut agents) = Failover::new(&[idle, busy]);
    let mut refused = agents.pop().expect("there are two");
    let mut agent = agents.pop().expect("there are two");

    servers.cut_off();
    servers.primary.execute(busy, "INSERT INTO items VALUES (1000, 'lost with the primary')");
    source::wait_caught_up(&servers.primary, &mut refused, busy, run::SOON);
    servers.primary.execute(idle, NOISE);
    let end = source::current_lsn(&servers.primary);
    agent.wait(run::SOON, "the agent to receive it", |agent| {
        agent.metric("cdc_agent_received_lsn").is_some_and(|lsn| lsn >= end as f64)
    });
    servers.promote();
    let insert = "INSERT INTO items VALUES (1001, 'first on the new timeline')";
    servers.standby.execute(idle, insert);
    let inserted = source::current_lsn(&servers.standby);
    assert!(inserted < end, "{inserted} has to be before {end}, which the agent has received");
    servers.primary.kill();

    let refusal = refused.refusal(run::LONG);
    say(busy, refusal.message.trim());
    let lacks = ["lacks changes that were published", "cdc-agent drop --slot failover_busy"];
    refusal.expect(78, &lacks);
    refused.start_again();
    refused.refusal(run::LONG).expect(78, &lacks);

    source::wait_caught_up(&servers.standby, &mut agent, idle, run::LONG);
    // The next connection, and the next process, belong to the new timeline.
    let sessions = agent.log().matches(" streaming ").count();
    servers.standby.execute(
        idle,
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
         WHERE slot_name = 'failover_idle'",
    );
    agent.wait(run::SOON, "the next session", |agent| {
        agent.log().matches(" streaming ").count() > sessions
    });
    agent.stop();
    servers.standby.execute(idle, "INSERT INTO items VALUES (1002, 'between')");
    agent.start_again();
    agent.wait_streaming(run::SOON);
    source::wait_caught_up(&servers.standby, &mut agent, idle, run::SOON);
    agent.stop();
    let verdict = judge(run::shared_kafka(), idle);
    say(idle, &verdict);
    verdict.assert_sound_and_equal(&servers.standby, idle, &[ITEMS]);
}
