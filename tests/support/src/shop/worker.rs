//! One connection of the simulator.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use fastrand::Rng;
use postgres::Client;
use postgres::NoTls;
use postgres::SimpleQueryMessage;

use super::simulator::Shared;
use super::transaction::Effect;
use super::transaction::Step;
use super::transaction::Transaction;

/// Waits between attempts to connect: the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A writer that has fallen behind its rate by more than this does not make up for it.
const BACKLOG: Duration = Duration::from_secs(1);

/// Rows changed by one transaction, by effect.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) inserts: u64,
    pub(super) updates: u64,
    pub(super) deletes: u64,
    pub(super) truncates: u64,
}

impl Changes {
    fn add(&mut self, effect: Effect, rows: u64) {
        match effect {
            Effect::None => {}
            Effect::Insert => self.inserts += rows,
            Effect::Update => self.updates += rows,
            Effect::Delete => self.deletes += rows,
            Effect::Truncate => self.truncates += 1,
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.inserts + self.updates + self.deletes + self.truncates
    }
}

/// Writes until it is told to stop, through any number of connections.
pub(super) fn run(shared: &Shared, mut rng: Rng) {
    let mut backoff = BACKOFF.0;
    let mut due = Instant::now();
    while !shared.stopping() {
        let Ok(mut client) = Client::connect(&shared.dsn, NoTls) else {
            shared.sleep(backoff);
            backoff = (backoff * 2).min(BACKOFF.1);
            continue;
        };
        backoff = BACKOFF.0;
        if client.batch_execute("SET application_name = 'shop-simulator'").is_err() {
            continue;
        }
        while !shared.stopping() && !client.is_closed() {
            let transaction = Transaction::plan(&mut rng, &shared.highest, &shared.shape);
            let changes = carry_out(shared, &mut client, &transaction);
            pace(shared, &mut due, changes);
        }
    }
}

/// Gives the number of changes that the transaction has committed.
fn carry_out(shared: &Shared, client: &mut Client, transaction: &Transaction) -> u64 {
    let counters = &shared.counters;
    let mut changes = Changes::default();
    match execute(shared, client, transaction, &mut changes) {
        Ok(()) if transaction.commits => {
            counters.transactions.fetch_add(1, Ordering::Relaxed);
            counters.add(&changes);
            shared.highest.grow(i64::try_from(changes.inserts / 4).unwrap_or(0));
            changes.sum()
        }
        Ok(()) => {
            counters.rolled_back.fetch_add(1, Ordering::Relaxed);
            0
        }
        Err(_) if client.is_closed() => {
            // The commit may have come through without its answer.
            counters.unknown.fetch_add(1, Ordering::Relaxed);
            0
        }
        Err(error) => {
            // A lock that was not to be had, a key that was taken meanwhile.
            shared.note(&error);
            counters.refused.fetch_add(1, Ordering::Relaxed);
            let _ended = client.batch_execute("ROLLBACK");
            0
        }
    }
}

/// Statements between pauses and COPYs go out together.
fn execute(
    shared: &Shared,
    client: &mut Client,
    transaction: &Transaction,
    changes: &mut Changes,
) -> Result<(), postgres::Error> {
    let mut batch: Vec<(&str, Effect)> = Vec::new();
    for step in &transaction.steps {
        match step {
            Step::Statement { sql, effect } => batch.push((sql, *effect)),
            Step::Copy { sql, data, effect } => {
                send(client, &mut batch, changes)?;
                let mut copy = client.copy_in(sql.as_str())?;
                // An error of the socket shows at finish.
                let _written = copy.write_all(data.as_bytes());
                changes.add(*effect, copy.finish()?);
            }
            Step::Pause(pause) => {
                send(client, &mut batch, changes)?;
                shared.sleep(*pause);
            }
        }
    }
    send(client, &mut batch, changes)
}

fn send(
    client: &mut Client,
    batch: &mut Vec<(&str, Effect)>,
    changes: &mut Changes,
) -> Result<(), postgres::Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let sql: Vec<&str> = batch.iter().map(|(sql, _)| *sql).collect();
    let messages = client.simple_query(&sql.join(";\n"))?;
    let completed = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
        _ => None,
    });
    for ((_, effect), rows) in batch.drain(..).zip(completed) {
        changes.add(effect, rows);
    }
    Ok(())
}

/// Waits until this worker's share of the rate allows the next transaction.
fn pace(shared: &Shared, due: &mut Instant, changes: u64) {
    let Some(share) = shared.rate_per_worker else { return };
    #[expect(clippy::cast_precision_loss, reason = "a transaction's changes are few")]
    let earned = Duration::from_secs_f64(changes.max(1) as f64 / share);
    *due = (*due + earned).max(Instant::now().checked_sub(BACKLOG).unwrap_or(*due));
    let wait = due.saturating_duration_since(Instant::now());
    if wait > Duration::from_millis(50) {
        shared.sleep(wait);
    } else {
        thread::sleep(wait);
    }
}
