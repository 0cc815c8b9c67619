//! Goal: whatever happens to the servers, to the slot and to what belongs to it, nothing is lost in
//! silence: the agent either goes on and brings everything, or it stops with an error that names the
//! object and the remedy, and never makes the user's database worse.
//!
//! Method: real servers, each fault done as an operator or an accident would do it; then either
//! every table rebuilt from its topic equals the source (`run::judge`), or exit status and message
//! are compared. Tests that harm a server have one of their own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "seeds and progress are shown to a person")]

mod run;

use cdc_testkit::process;
use cdc_testkit::servers::postgres::Postgres;

use run::Agent;
use run::AgentOptions;
use run::judge::judge;
use run::source;

/// A table of ten rows in a database of its own.
const ITEMS: &str = "public.items";

fn create_items(postgres: &Postgres, name: &str) {
    postgres.create_database(name);
    postgres.execute(
        name,
        "CREATE TABLE items (id int PRIMARY KEY, v text); \
         INSERT INTO items SELECT n, 'before' FROM generate_series(1, 10) AS n",
    );
}

/// The reader has brought the end of one transaction and a change of shape in the next one, about
/// which the catalog is asked just when the server is gone.
#[test]
fn a_question_that_fails_loses_no_transaction_that_has_ended() {
    let name = "failed_question";
    let mut postgres = Postgres::start(15);
    create_items(&postgres, name);
    postgres.execute(name, "CREATE TABLE other (id int PRIMARY KEY)");
    let options = AgentOptions::new(&postgres.dsn(name), run::shared_kafka(), name);
    let mut agent = Agent::start(options);
    agent.wait_streaming(run::SOON);
    postgres.execute(name, "INSERT INTO other VALUES (1)");
    source::wait_caught_up(&postgres, &mut agent, name, run::SOON);

    agent.daemon().freeze();
    postgres.execute(name, "INSERT INTO items VALUES (100, 'in the ledger')");
    postgres.execute(name, "ALTER TABLE other ADD v text; UPDATE other SET v = 'new'");
    let sent = "SELECT sent_lsn >= pg_current_wal_lsn() FROM pg_stat_replication";
    process::wait_until(run::SOON, "both to be sent", || {
        postgres.query_one(name, sent).as_deref() == Some("t")
    });
    postgres.kill();
    agent.daemon().thaw();
    agent.wait(run::SOON, "the agent to notice", |agent| agent.logged("trying again"));
    postgres.start_again();
    postgres.execute(name, "INSERT INTO items VALUES (101, 'later')");
    source::wait_caught_up(&postgres, &mut agent, name, run::SOON);
    agent.stop();
    let verdict = judge(run::shared_kafka(), name);
    verdict.assert_sound_and_equal(&postgres, name, &[ITEMS, "public.other"]);
}

/// With `sslmode=prefer` the agent first asks for TLS, which the server does not have, and then
/// connects without.
#[test]
fn a_server_that_dies_between_two_ways_to_connect_does_not_lack_tls() {
    let name = "two_ways";
    let postgres = run::shared_postgres(15);
    create_items(postgres, name);
    let proxy = run::proxy::Proxy::start(postgres.port());
    proxy.refuse_plain(true);
    let dsn = format!("postgres://postgres@127.0.0.1:{}/{name}", proxy.port());
    let mut agent = Agent::start(AgentOptions::new(&dsn, run::shared_kafka(), name));
    agent.wait(run::SOON, "the agent to try again", |_| proxy.refused() >= 3);
    proxy.refuse_plain(false);
    agent.wait_streaming(run::SOON);
    agent.stop();
}
