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

use cdc_testkit::servers::postgres::Postgres;

use run::Agent;
use run::AgentOptions;

fn create_items(postgres: &Postgres, name: &str) {
    postgres.create_database(name);
    postgres.execute(
        name,
        "CREATE TABLE items (id int PRIMARY KEY, v text); \
         INSERT INTO items SELECT n, 'before' FROM generate_series(1, 10) AS n",
    );
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
