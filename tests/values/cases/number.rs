//! Numbers.

use cdc_agent::capture::change::DecimalFormat;
use cdc_agent::capture::change::DecimalMode;
use cdc_agent::capture::change::ValueSettings;
use fastrand::Rng;

use crate::values::Case;
use crate::values::Compare;
use crate::values::cases::Maker;
use crate::values::cases::json;
use crate::values::random;
use crate::values::random::all_quoted;
use crate::values::random::quoted;

/// Whether `v` is one of numeric's special values.
const SPECIAL: &str = "v::text IN ('NaN', 'Infinity', '-Infinity')";

/// A numeric as text.
const NUMERIC_TEXT: &str = "CASE v::text WHEN 'NaN' THEN '\"NAN\"' \
    WHEN 'Infinity' THEN '\"POSITIVE_INFINITY\"' WHEN '-Infinity' THEN '\"NEGATIVE_INFINITY\"' \
    ELSE to_json(v::text)::text END";

/// Unscaled digits of `v` at so many digits after the point, or NULL for what has none.
fn unscaled(scale: u32) -> String {
    format!(
        "CASE WHEN {SPECIAL} THEN NULL \
         ELSE to_json(trunc(v * '1e{scale}'::numeric)::text)::text END"
    )
}

fn decimal(whole: usize, fraction: usize) -> impl Fn(&mut Rng) -> String {
    move |random| random::decimal(whole, fraction, random)
}

impl Maker<'_> {
    pub(super) fn numbers(&mut self) -> Vec<Case> {
        let oids = self.quoted(&["0", "4294967295"], |random| random.u32(..).to_string());
        let mut cases = vec![
            self.whole_numbers(16),
            self.whole_numbers(32),
            self.whole_numbers(64),
            Case::new("oid", oids).both(Compare::Exact, "v::text"),
            Case::new("bool", all_quoted(&["t", "f"])).both(Compare::Exact, &json("v")),
            self.doubles(),
            self.floats(),
            self.money(),
        ];
        cases.extend(self.unconstrained_numerics());
        cases.extend(self.numerics());
        if self.major >= 15 {
            cases.extend(self.numerics_of_odd_scale());
        }
        cases
    }

    fn whole_numbers(&mut self, bits: u32) -> Case {
        let edges = [-1_i64 << (bits - 1), -1, 0, 1, i64::MAX >> (64 - bits)];
        let edges = edges.iter().map(|number| quoted(&number.to_string())).collect();
        let one = |random: &mut Rng| quoted(&random::integer(bits, random).to_string());
        let values = self.values(edges, one);
        Case::new(format!("int{}", bits / 8), values).both(Compare::Exact, "v::text")
    }

    fn doubles(&mut self) -> Case {
        let edges = float_edges(&[
            "5e-324",
            "2.2250738585072014e-308",
            "1.7976931348623157e308",
            "2e-3",
            "9007199254740993",
        ]);
        let values = self.values(edges, random::float64);
        Case::new("float8", values).both(Compare::Float64, &json("v"))
    }

    fn floats(&mut self) -> Case {
        let edges =
            float_edges(&["1e-45", "1.17549435e-38", "3.4028235e38", "16777217", "8.5e-39"]);
        let values = self.values(edges, random::float32);
        Case::new("float4", values).both(Compare::Float32, &json("v"))
    }

    fn unconstrained_numerics(&mut self) -> Vec<Case> {
        let mut edges = all_quoted(&[
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "0.0",
            "-0.00",
            "-0.1",
            "100",
            "1e20",
            "1e-20",
            "170141183460469231731687303715884105727",
            "170141183460469231731687303715884105728",
            "-170141183460469231731687303715884105728",
            "99999999999999999999999999999999999999",
            "-99999999999999999999999999999999999999.0",
            "127",
            "128",
            "-128",
            "-129",
            "255",
        ]);
        edges.push("repeat('9', 131072)::numeric".to_owned());
        edges.push("('-0.' || repeat('9', 16383))::numeric".to_owned());
        edges.push("(repeat('1', 131072) || '.' || repeat('7', 16383))::numeric".to_owned());
        // The digits without point and leading zeros: their product would not fit numeric.
        let own_scale = format!(
            "CASE WHEN {SPECIAL} THEN NULL ELSE json_build_array(scale(trim_scale(v)), \
             regexp_replace(replace(trim_scale(v)::text, '.', ''), '^(-?)0+(?=[0-9])', '\\1') \
             )::text END"
        );
        let double = ValueSettings { decimal: DecimalMode::Double, ..ValueSettings::debezium() };
        let values = self.values(edges, |random| quoted(&decimal(60, 40)(random)));
        vec![
            Case::new("numeric", values)
                .default(Compare::Exact, NUMERIC_TEXT)
                .debezium(Compare::VariableScale, own_scale),
            Case::new("numeric", self.quoted(&["NaN", "-Infinity"], decimal(300, 40))).under(
                double,
                Compare::Float64,
                json("v::float8"),
            ),
        ]
    }

    fn numerics(&mut self) -> Vec<Case> {
        let number =
            ValueSettings { decimal_format: DecimalFormat::Numeric, ..ValueSettings::debezium() };
        let shapes = [
            ("numeric(10,2)", 7, 5, 2),
            ("numeric(38,10)", 27, 12, 10),
            ("numeric(39,0)", 38, 2, 0),
            ("numeric(1000,500)", 499, 510, 500),
            ("public.price", 7, 5, 2),
            ("public.cheap", 5, 5, 2),
        ];
        let mut cases = Vec::new();
        for (sql_type, whole, fraction, scale) in shapes {
            let values = self.quoted(&["NaN", "0", "-0.004"], decimal(whole, fraction));
            let text = format!("CASE WHEN {SPECIAL} THEN NULL ELSE v::text END");
            cases.push(
                Case::new(sql_type, values)
                    .default(Compare::Exact, NUMERIC_TEXT)
                    .debezium(Compare::Unscaled, unscaled(scale))
                    .under(number.clone(), Compare::Decimal, text),
            );
        }
        cases
    }

    /// A negative scale, which Debezium reads as unsigned in eleven bits, and one beyond the
    /// precision.
    fn numerics_of_odd_scale(&mut self) -> [Case; 2] {
        let negative = self.quoted(&["0", "99"], decimal(6, 1));
        let small = |random: &mut Rng| decimal(0, 3)(random).replace("0.", "0.00");
        let beyond = self.quoted(&["0", "0.00999"], small);
        [("numeric(5,-2)", negative, 2046), ("numeric(3,5)", beyond, 5)].map(
            |(sql_type, values, scale)| {
                Case::new(sql_type, values)
                    .default(Compare::Exact, NUMERIC_TEXT)
                    .debezium(Compare::Unscaled, unscaled(scale))
            },
        )
    }

    fn money(&mut self) -> Case {
        let cents = |number: i64| {
            let sign = if number < 0 { "-" } else { "" };
            let cents = number.unsigned_abs();
            quoted(&format!("{sign}{}.{:02}", cents / 100, cents % 100))
        };
        let edges = [i64::MIN, i64::MAX, 0, 1, -1, 99, -99, 100, 99_999, 100_000, -12_345_678];
        let edges = edges.map(cents).to_vec();
        let values = self.values(edges, |random| cents(random::integer(64, random)));
        let rounded = |scale: u32| {
            format!("to_json(trunc(round(v::numeric, {scale}) * 1e{scale})::text)::text")
        };
        let digits =
            |digits| ValueSettings { money_fraction_digits: digits, ..ValueSettings::debezium() };
        let double = ValueSettings { decimal: DecimalMode::Double, ..ValueSettings::default() };
        Case::new("money", values)
            .default(Compare::Exact, json("v::numeric::text"))
            .debezium(Compare::Unscaled, rounded(2))
            .under(digits(0), Compare::Unscaled, rounded(0))
            .under(digits(1), Compare::Unscaled, rounded(1))
            .under(digits(4), Compare::Unscaled, rounded(4))
            .under(double, Compare::Float64, json("v::numeric::float8"))
    }
}

/// What both sizes of floats have in common, and more.
fn float_edges(more: &[&str]) -> Vec<String> {
    let common = ["0", "-0", "NaN", "Infinity", "-Infinity", "1", "0.1", "9999999.5", "1e-3"];
    let mut edges = all_quoted(&common);
    edges.extend(all_quoted(more));
    edges.extend((-12..12).map(|power| quoted(&format!("1e{power}"))));
    edges
}
