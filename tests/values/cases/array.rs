//! Arrays.

use cdc_agent::capture::change::ValueSettings;
use fastrand::Rng;

use crate::values::Case;
use crate::values::Compare;
use crate::values::cases::Maker;
use crate::values::cases::json;
use crate::values::cases::printed;
use crate::values::random;
use crate::values::random::all_quoted;
use crate::values::random::quoted;

/// JSON of an element `x` that to_json knows.
const JSON: &str = "to_json(x)::text";

/// JSON of an element as text.
const TEXT: &str = "CASE WHEN x IS NOT NULL THEN to_json(format('%s', x))::text END";

/// JSON of an array whose elements `x` become this; NULL becomes null.
fn each(x: &str) -> String {
    format!(
        "coalesce((SELECT '[' || string_agg(coalesce({x}, 'null'), ',' ORDER BY o) || ']' \
         FROM unnest(v) WITH ORDINALITY AS u (x, o)), '[]')"
    )
}

impl Maker<'_> {
    pub(super) fn arrays(&mut self) -> Vec<Case> {
        let mut cases = self.arrays_of_texts();
        cases.extend(self.arrays_of_numbers());
        cases.extend(self.arrays_of_moments());
        cases.extend(self.nested_arrays());
        cases
    }

    /// Arrays of one dimension from values of their elements.
    fn array(&mut self, element: &str, values: &[String]) -> Case {
        let mut arrays = vec!["'{}'".to_owned(), "'{NULL}'".to_owned(), "NULL".to_owned()];
        for _ in 0..self.count / 4 {
            let length = self.random.usize(1..6);
            let one = |random: &mut Rng| match random.u8(..8) {
                0 => "NULL".to_owned(),
                _ => format!("({})::{element}", random.choice(values).unwrap()),
            };
            let elements: Vec<String> =
                std::iter::repeat_with(|| one(self.random)).take(length).collect();
            arrays.push(format!("ARRAY[{}]::{element}[]", elements.join(", ")));
        }
        // Without a type of its own, the first of them would make the column's values text.
        let arrays = arrays.into_iter().map(|array| format!("({array})::{element}[]"));
        Case::new(format!("{element}[]"), arrays.collect())
    }

    fn arrays_of_texts(&mut self) -> Vec<Case> {
        let edges = ["", "NULL", "null", "a,b", "{}", "\"", "\\", " "];
        let text = self.quoted(&edges, |random| random::text(12, random));
        let bytea = self.values(Vec::new(), |random| format!("'\\x{}'", random::hex(12, random)));
        let uuid = self.quoted(&[], |random| format!("{:032x}", random.u128(..)));
        let documents = all_quoted(&["{\"a\": [1, \"b,c\"]}", "null", "\"\\\"\""]);
        let labels = all_quoted(&["sad", "it's \"complicated\", {ä} \\ 😀", " ", "NULL"]);
        let pairs = all_quoted(&["", "a=>1", "\"=>\"=>\"\\\\\\\"\", b=>NULL"]);
        let all = [
            ("text", text.clone(), JSON),
            ("varchar(20)", text.clone(), JSON),
            ("char(12)", text.clone(), JSON),
            ("public.citext", text, JSON),
            ("bytea", bytea, "public.base64(x)"),
            ("uuid", uuid, JSON),
            ("bool", all_quoted(&["t", "f"]), JSON),
            ("jsonb", documents, TEXT),
            ("inet", all_quoted(&["::1", "10.0.0.0/8"]), TEXT),
            ("int4range", all_quoted(&["[1,3)", "empty", "(,)"]), TEXT),
        ];
        let mut cases = Vec::new();
        for (element, values, json) in all {
            cases.push(self.array(element, &values).both(Compare::Exact, &each(json)));
        }
        let object = "to_json(public.hstore_to_json(x)::text)::text";
        let hstores = self.array("public.hstore", &pairs);
        cases.push(hstores.both(Compare::Json, &each(object)));
        // The schema requires elements of an enumeration.
        let required = format!("CASE WHEN array_position(v, NULL) IS NULL THEN {} END", each(JSON));
        cases.push(
            self.array("public.mood", &labels)
                .default(Compare::Exact, each(JSON))
                .debezium(Compare::Exact, required),
        );
        cases
    }

    fn arrays_of_numbers(&mut self) -> Vec<Case> {
        let whole = self.quoted(&["0"], |random| random::integer(64, random).to_string());
        let small = self.quoted(&["0"], |random| random::integer(16, random).to_string());
        let decimal = self.quoted(&["0", "-0.00"], |random| random::decimal(7, 4, random));
        let double = self.values(Vec::new(), random::float64);
        let float = self.values(Vec::new(), random::float32);
        let unscaled = "to_json(trunc(x * 100)::text)::text";
        let own_scale = "CASE WHEN x IS NOT NULL THEN json_build_array(scale(trim_scale(x)), \
            trunc(x * ('1e' || scale(trim_scale(x)))::numeric)::text)::text END";
        vec![
            self.array("int8", &whole).both(Compare::Exact, &each(JSON)),
            self.array("int4", &small).both(Compare::Exact, &each(JSON)),
            self.array("int2", &small).both(Compare::Exact, &each(JSON)),
            self.array("float8", &double).both(Compare::Float64, &each(JSON)),
            self.array("float4", &float).both(Compare::Float32, &each(JSON)),
            self.array("numeric(10,2)", &decimal)
                .default(Compare::Exact, each(TEXT))
                .debezium(Compare::Unscaled, each(unscaled)),
            self.array("numeric", &decimal)
                .default(Compare::Exact, each(TEXT))
                .debezium(Compare::VariableScale, each(own_scale)),
        ]
    }

    fn arrays_of_moments(&mut self) -> Vec<Case> {
        let date = self.values(Vec::new(), |random| {
            format!("'2000-01-01'::date + {}", random::days(-2_451_545, 4_000_000, random))
        });
        let time = self.quoted(&["24:00"], random::time);
        let zoned_time = self.quoted(&[], |random| random::time(random) + &random::offset(random));
        // Only what 64 bits of microseconds hold.
        let mut stamp = self.timestamp_values("timestamp");
        stamp.retain(|value| !value.contains("infinity") && !value.contains("2942"));
        let held = |value: &String| format!("least({value}, '250000-01-01'::timestamp)");
        let stamp: Vec<String> = stamp.iter().map(held).collect();
        let zoned: Vec<String> =
            stamp.iter().map(|value| format!("{value} AT TIME ZONE 'UTC'")).collect();
        let interval = self.values(Vec::new(), random::interval);
        let utc = |fraction| {
            format!(
                "to_json(public.iso_date((x AT TIME ZONE 'UTC')::date) || 'T' || \
                 to_char(x AT TIME ZONE 'UTC', 'HH24:MI:SS{fraction}') || 'Z')::text"
            )
        };
        let utc_time = "to_json((x AT TIME ZONE 'UTC')::time::text || 'Z')::text";
        let micros = "trunc(extract(epoch FROM x) * 1000000)::text";
        let millis = "trunc(extract(epoch FROM x) * 1000)::text";
        let all = [
            ("date", &date, "(x - '1970-01-01'::date)::text".to_owned()),
            ("time", &time, micros.to_owned()),
            ("time(3)", &time, millis.to_owned()),
            ("timetz", &zoned_time, utc_time.to_owned()),
            ("timestamp", &stamp, "public.micros(x)::text".to_owned()),
            ("timestamp(3)", &stamp, "floor(public.micros(x) / 1000)::text".to_owned()),
            ("timestamptz", &zoned, utc(".US")),
            ("timestamptz(0)", &zoned, utc("")),
        ];
        let mut cases = Vec::new();
        for (element, values, json) in all {
            cases.push(self.array(element, values).both(Compare::Exact, &each(&json)));
        }
        // Its elements are not known to Debezium: the whole array's text.
        cases.push(self.array("interval", &interval).default(Compare::Exact, printed()));
        cases
    }

    fn nested_arrays(&mut self) -> Vec<Case> {
        let nulls = "CASE WHEN array_ndims(v) > 1 \
            THEN '[' || rtrim(repeat('null,', array_length(v, 1)), ',') || ']' \
            ELSE to_json(v)::text END";
        let ints = all_quoted(&[
            "{{1,2},{3,NULL}}",
            "{{{1},{2}},{{3},{4}}}",
            "[0:1]={5,6}",
            "[-3:-2][7:8]={{1,2},{3,4}}",
            "{{{{{{1}}}}}}",
            "{}",
            "{1}",
        ]);
        let mut texts =
            all_quoted(&["{{\"}\",\"{\"},{\"\\\\\",\"\\\"\"}}", "[2:2]={\"[0:1]={1}\"}"]);
        for _ in 0..self.count {
            let width = self.random.usize(1..4);
            let element = |random: &mut Rng| match random.u8(..6) {
                0 => "NULL".to_owned(),
                _ => quoted(&random::text(6, random)),
            };
            let row = |random: &mut Rng| {
                let row: Vec<String> = (0..width).map(|_| element(random)).collect();
                format!("[{}]", row.join(","))
            };
            let rows: Vec<String> = (0..3).map(|_| row(self.random)).collect();
            texts.push(format!("ARRAY[{}]::text[]", rows.join(",")));
        }
        let decimals = all_quoted(&["{{1.50,-2},{NULL,0}}", "[5:6]={1,2.00}"]);
        // A schema has no place for them, so they are reported.
        let schemas = ValueSettings { value_schemas: true, ..ValueSettings::default() };
        let flat = "CASE WHEN coalesce(array_ndims(v), 1) = 1 THEN to_json(v)::text END";
        vec![
            Case::new("int4[]", ints.clone())
                .default(Compare::Exact, json("v"))
                .debezium(Compare::Exact, nulls)
                .under(schemas, Compare::Exact, flat),
            Case::new("public.numbers", ints).default(Compare::Exact, json("v")),
            Case::new("text[]", texts)
                .default(Compare::Exact, json("v"))
                .debezium(Compare::Exact, nulls),
            Case::new("numeric[]", decimals).default(Compare::Exact, json("v::text[]")),
        ]
    }
}
