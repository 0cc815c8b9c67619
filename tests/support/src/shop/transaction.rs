//! Transactions planned from a mix.

use std::time::Duration;

use fastrand::Rng;

use super::Mix;
use super::statement::Highest;
use super::statement::ShopTable;
use super::values;

/// What a statement does to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that is counted: control, or work that will be rolled back.
    None,
    Insert,
    Update,
    Delete,
    Truncate,
}

/// One step of a transaction.
#[derive(Debug)]
pub(super) enum Step {
    Statement { sql: String, effect: Effect },
    Copy { sql: String, data: String, effect: Effect },
    Pause(Duration),
}

/// The steps of one transaction, from BEGIN to COMMIT or ROLLBACK.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) steps: Vec<Step>,
    pub(super) commits: bool,
    /// Inside a part that will be rolled back.
    doomed: bool,
}

/// How transactions are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) mix: Mix,
    pub(super) statements_max: u32,
    pub(super) rows_max: u32,
    pub(super) long: Duration,
}

impl Transaction {
    pub(super) fn plan(rng: &mut Rng, highest: &Highest, shape: &Shape) -> Self {
        let mix = &shape.mix;
        let commits = !percent(rng, mix.rollback);
        let mut transaction = Self { steps: Vec::new(), commits, doomed: !commits };
        transaction.control("BEGIN");
        let count = rng.u32(1..=shape.statements_max.max(1));
        let pause_after = percent(rng, mix.long).then(|| rng.u32(..count));
        let savepoint_before = percent(rng, mix.savepoint).then(|| rng.u32(..count));
        for number in 0..count {
            let savepoint = savepoint_before == Some(number);
            if savepoint {
                transaction.part(rng, highest, shape);
            }
            transaction.draw(rng, highest, shape);
            if pause_after == Some(number) {
                transaction.steps.push(Step::Pause(shape.long));
            }
        }
        transaction.control(if commits { "COMMIT" } else { "ROLLBACK" });
        transaction
    }

    /// A savepoint and what follows it, kept or rolled back.
    fn part(&mut self, rng: &mut Rng, highest: &Highest, shape: &Shape) {
        let (kept, doomed) = (rng.bool(), self.doomed);
        self.control("SAVEPOINT part");
        self.doomed |= !kept;
        for _ in 0..rng.u8(1..=3) {
            self.draw(rng, highest, shape);
        }
        self.doomed = doomed;
        self.control(if kept { "RELEASE part" } else { "ROLLBACK TO part" });
    }

    /// One entry of the mix.
    fn draw(&mut self, rng: &mut Rng, highest: &Highest, shape: &Shape) {
        let mix = &shape.mix;
        let rows = rng.u32(1..=shape.rows_max.max(1));
        let mut ticket = rng.u32(..mix.statement_weight().max(1));
        let mut drawn = |weight: u32| {
            let hit = ticket < weight;
            ticket = if hit { u32::MAX } else { ticket - weight.min(ticket) };
            hit
        };
        if drawn(mix.insert) {
            let count = if rng.u8(..4) == 0 { rng.u32(1..=4) } else { 1 };
            self.insert(rng, highest, count);
        } else if drawn(mix.update) {
            self.update(rng, highest, 1);
        } else if drawn(mix.delete) {
            self.delete(rng, highest, 1);
        } else if drawn(mix.multi_row) {
            match rng.u8(..4) {
                0 => self.delete(rng, highest, 1 + rows / 4),
                1 => self.update(rng, highest, rows),
                _ => self.insert(rng, highest, rows),
            }
        } else if drawn(mix.copy) {
            self.copy(rng, rows);
        } else if drawn(mix.key_change) {
            let table = ShopTable::any(rng);
            let condition = table.some(rng, highest, 1);
            let sql = table.change_key(rng, &condition);
            self.statement(sql, Effect::Update);
        } else if drawn(mix.key_swap) {
            self.swap(rng, highest);
        } else if drawn(mix.reinsert) {
            self.reinsert(rng, highest);
        } else if drawn(mix.repeat) {
            self.repeat(rng, highest);
        } else {
            self.truncate();
        }
    }

    fn insert(&mut self, rng: &mut Rng, highest: &Highest, count: u32) {
        let table = ShopTable::any(rng);
        // Documents are large: a few at a time.
        let count = if table == ShopTable::Documents { count.min(3) } else { count };
        self.statement(table.insert(rng, highest, count), Effect::Insert);
    }

    fn update(&mut self, rng: &mut Rng, highest: &Highest, count: u32) {
        let table = ShopTable::any(rng);
        let condition = table.some(rng, highest, count);
        self.statement(table.update(rng, highest, &condition), Effect::Update);
    }

    fn delete(&mut self, rng: &mut Rng, highest: &Highest, count: u32) {
        let table = ShopTable::any(rng);
        let condition = table.some(rng, highest, count);
        self.statement(table.delete(&condition), Effect::Delete);
    }

    fn copy(&mut self, rng: &mut Rng, rows: u32) {
        let mut data = String::new();
        let views = rng.bool();
        for _ in 0..rows {
            let text = values::copy_text(rng);
            let moment = values::moment(rng);
            data.push_str(&match views {
                true => format!("{moment}\t{}\t/{text}\t{}\n", rng.u16(..), rng.f64()),
                false => format!("{text}\t\\N\t{}\t{moment}+00\n", values::decimal(rng, 2)),
            });
        }
        let sql = match views {
            true => "COPY shop.page_views (at, customer_id, path, took) FROM STDIN",
            false => "COPY shop.customers (name, email, balance, created_at) FROM STDIN",
        };
        let effect = if self.doomed { Effect::None } else { Effect::Insert };
        self.steps.push(Step::Copy { sql: sql.into(), data, effect });
    }

    /// Two rows change keys by way of a third key, which no row has before or after.
    fn swap(&mut self, rng: &mut Rng, highest: &Highest) {
        let table = ShopTable::any_with_id(rng);
        let name = table.name();
        self.remember("a", table, &table.some(rng, highest, 1));
        let other = format!("id <> {A} AND {}", table.some(rng, highest, 2));
        self.remember("b", table, &other);
        let update =
            |to: &str, from: &str| format!("UPDATE {name} SET id = {to} WHERE id = {from}");
        self.statement(update(&format!("-{A}"), A), Effect::Update);
        self.statement(update(A, B), Effect::Update);
        // Without a second row the first one gets its own key back.
        self.statement(update(&format!("coalesce({B}, {A})"), &format!("-{A}")), Effect::Update);
    }

    fn reinsert(&mut self, rng: &mut Rng, highest: &Highest) {
        let table = ShopTable::any_with_id(rng);
        self.remember("a", table, &table.some(rng, highest, 1));
        self.statement(table.delete(&format!("id = {A}")), Effect::Delete);
        let id = format!("coalesce({A}, {})", table.next_id());
        self.statement(table.insert_with_id(rng, highest, &id), Effect::Insert);
    }

    /// A new row or an old one, changed several times and perhaps deleted.
    fn repeat(&mut self, rng: &mut Rng, highest: &Highest) {
        let table = ShopTable::any_with_id(rng);
        if rng.bool() {
            self.set("a", &table.next_id());
            self.statement(table.insert_with_id(rng, highest, A), Effect::Insert);
        } else {
            self.remember("a", table, &table.some(rng, highest, 1));
        }
        let condition = format!("id = {A}");
        for _ in 0..rng.u8(1..=4) {
            self.statement(table.update(rng, highest, &condition), Effect::Update);
        }
        if rng.u8(..3) == 0 {
            self.statement(table.delete(&condition), Effect::Delete);
        }
    }

    /// It waits for all who write carts, but not long: they may be waiting for it.
    fn truncate(&mut self) {
        self.control("SET LOCAL lock_timeout = '500ms'");
        self.statement("TRUNCATE shop.carts".into(), Effect::Truncate);
        self.control("SET LOCAL lock_timeout = 0");
    }

    /// Puts the key of a row that meets a condition into a variable of the transaction.
    fn remember(&mut self, variable: &str, table: ShopTable, condition: &str) {
        let name = table.name();
        self.set(variable, &format!("(SELECT id FROM {name} WHERE {condition} LIMIT 1)"));
    }

    fn set(&mut self, variable: &str, expression: &str) {
        self.control(&format!("SELECT set_config('shop.{variable}', ({expression})::text, true)"));
    }

    fn statement(&mut self, sql: String, effect: Effect) {
        let effect = if self.doomed { Effect::None } else { effect };
        self.steps.push(Step::Statement { sql, effect });
    }

    fn control(&mut self, sql: &str) {
        self.steps.push(Step::Statement { sql: sql.into(), effect: Effect::None });
    }
}

/// The variables of a transaction, NULL while they are not set.
const A: &str = "nullif(current_setting('shop.a', true), '')::bigint";
const B: &str = "nullif(current_setting('shop.b', true), '')::bigint";

fn percent(rng: &mut Rng, share: u32) -> bool {
    rng.u32(..100) < share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(seed: u64) -> String {
        let mut rng = Rng::with_seed(seed);
        let highest = Highest::default();
        highest.set(1_000);
        let shape =
            Shape { mix: Mix::default(), statements_max: 6, rows_max: 10, long: Duration::ZERO };
        let plans = (0..50).map(|_| Transaction::plan(&mut rng, &highest, &shape));
        format!("{:?}", plans.collect::<Vec<_>>())
    }

    #[test]
    fn a_seed_repeats_itself() {
        assert_eq!(plans(7), plans(7));
        assert_ne!(plans(7), plans(8));
    }

    #[test]
    fn work_that_is_rolled_back_is_not_counted() {
        let mut rng = Rng::with_seed(1);
        let mix = Mix { rollback: 100, ..Mix::default() };
        let shape = Shape { mix, statements_max: 6, rows_max: 10, long: Duration::ZERO };
        for _ in 0..50 {
            let plan = Transaction::plan(&mut rng, &Highest::default(), &shape);
            let counted = |step: &Step| match step {
                Step::Statement { effect, .. } | Step::Copy { effect, .. } => {
                    *effect != Effect::None
                }
                Step::Pause(_) => false,
            };
            assert!(!plan.commits && !plan.steps.iter().any(counted), "{plan:?}");
        }
    }
}
