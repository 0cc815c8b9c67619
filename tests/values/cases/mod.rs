//! Types, their values, and what must be written of them.

mod array;
mod number;
mod other;
mod temporal;
mod text;

use cdc_agent::capture::change::ValueSettings;
use fastrand::Rng;

use crate::values::Case;
use crate::values::Compare;
use crate::values::Expectation;
use crate::values::random::all_quoted;
use crate::values::random::quoted;

/// Every case for a version, with so many random values each.
pub(crate) fn all(major: u32, count: usize, random: &mut Rng) -> Vec<Case> {
    let mut maker = Maker { major, count, random };
    let mut all = maker.numbers();
    all.extend(maker.texts());
    all.extend(maker.moments());
    all.extend(maker.arrays());
    all.extend(maker.others());
    all
}

impl Case {
    fn new(sql_type: impl Into<String>, values: Vec<String>) -> Self {
        Case { sql_type: sql_type.into(), values, expectations: Vec::new() }
    }

    fn under(mut self, settings: ValueSettings, compare: Compare, json: impl Into<String>) -> Self {
        self.expectations.push(Expectation { settings, json: json.into(), compare });
        self
    }

    fn default(self, compare: Compare, json: impl Into<String>) -> Self {
        self.under(ValueSettings::default(), compare, json)
    }

    fn debezium(self, compare: Compare, json: impl Into<String>) -> Self {
        self.under(ValueSettings::debezium(), compare, json)
    }

    /// The same by default and under Debezium's settings.
    fn both(self, compare: Compare, json: &str) -> Self {
        self.default(compare, json).debezium(compare, json)
    }
}

/// A JSON string, number or the like of an SQL expression.
fn json(expression: &str) -> String {
    format!("to_json({expression})::text")
}

/// What the server prints of a value, as a JSON string.
fn printed() -> String {
    json("format('%s', v)")
}

/// Makes values and cases.
struct Maker<'a> {
    major: u32,
    count: usize,
    random: &'a mut Rng,
}

impl Maker<'_> {
    /// Edge cases, and random ones.
    fn values(&mut self, edges: Vec<String>, one: impl Fn(&mut Rng) -> String) -> Vec<String> {
        let mut values = edges;
        values.extend(std::iter::repeat_with(|| one(self.random)).take(self.count));
        values
    }

    /// The same of texts, which are quoted.
    fn quoted(&mut self, edges: &[&str], one: impl Fn(&mut Rng) -> String) -> Vec<String> {
        self.values(all_quoted(edges), |random| quoted(&one(random)))
    }
}
