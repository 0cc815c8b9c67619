//! One more table of each seed: rarer types, keys of many types, rarer settings.
//!
//! It has a generator of its own, so that what a seed means besides stays what it was.

use fastrand::Rng;

use super::columns::ColumnKind;
use super::columns::kind;

/// Types of keys, and a value for each number.
const KEYS: &[(&str, &str)] = &[
    ("numeric(12,3)", "{n}.5"),
    ("numeric", "{n}.50"),
    ("uuid", "lpad('{n}', 32, '0')::uuid"),
    ("text", "'k{n}'"),
    ("char(6)", "'k{n}'"),
    ("short", "'k{n}'"),
    ("timestamptz", "'2024-01-01'::timestamptz + {n} * interval '1 hour'"),
    ("timestamp(3)", "'2024-01-01'::timestamp + {n} * interval '1 hour'"),
    ("time", "'00:00'::time + {n} * interval '1 second'"),
    ("date", "'2024-01-01'::date + {n}"),
    ("bytea", "decode(lpad(to_hex({n}), 8, '0'), 'hex')"),
    ("inet", "'10.0.0.0'::inet + {n}"),
    ("bit(12)", "{n}::bit(12)"),
    ("pg_lsn", "'0/1'::pg_lsn + {n}"),
    ("interval", "{n} * interval '1 hour'"),
    ("smallint", "{n}"),
    ("money", "{n}::money"),
    ("real", "{n}.25"),
    ("int4range", "int4range({n}, {n} + 1)"),
    ("jsonb", "to_jsonb({n})"),
    ("int[]", "array[{n}]"),
    ("citext", "'K{n}'"),
    ("ltree", "'k{n}'"),
    ("tsvector", "'k{n}'"),
    ("oid", "{n}"),
];

/// Types that the other tables do not have.
const KINDS: &[ColumnKind] = &[
    kind("\"char\"", false, &["'x'", "''"], &[]),
    kind("\"char\"[]", false, &["'{x,NULL}'", "'{}'"], &[]),
    kind("smallint[]", false, &["'{1,NULL}'", "'[2:3]={4,5}'"], &["'{1}'"]),
    kind("oid[]", false, &["'{1,4294967295}'"], &[]),
    kind("real[]", false, &["'{1.5,NULL,-Infinity}'"], &[]),
    kind("numeric[]", false, &["'{1.50,NULL,1e20}'"], &[]),
    kind("varchar(7)[]", false, &["'{a,NULL}'"], &[]),
    kind("char(4)[]", false, &["'{a,NULL}'"], &[]),
    kind("citext[]", false, &["'{aB,NULL}'"], &[]),
    kind("bytea[]", false, &["array['\\x01ff'::bytea, NULL, '\\x']"], &[]),
    kind("json[]", false, &["array['{\"a\": 1}'::json, NULL]"], &[]),
    kind("time(2)[]", false, &["'{12:00:00.12,NULL}'"], &[]),
    kind("timetz[]", false, &["'{12:00:00+01,NULL}'"], &[]),
    kind("timestamp[]", false, &["'{\"2024-01-01 12:00:00.123456\",NULL,infinity}'"], &[]),
    kind("timestamp(2)[]", false, &["'{\"2024-01-01 12:00:00.12\"}'"], &[]),
    kind("timestamptz[]", false, &["'{\"2024-01-01 12:00:00.123456Z\",NULL}'"], &[]),
    kind("timestamptz(1)[]", false, &["'{\"2024-01-01 12:00:00.1Z\"}'"], &[]),
    kind("inet[]", false, &["'{10.0.0.1,NULL}'"], &[]),
    kind("macaddr8[]", false, &["'{08:00:2b:01:02:03:04:05}'"], &[]),
    kind("numrange[]", false, &["'{\"[1.0,2)\",NULL}'"], &[]),
    kind("tstzrange[]", false, &["'{\"[2024-01-01,)\"}'"], &[]),
    kind("hstore[]", false, &["'{\"a=>1\",NULL}'"], &[]),
    kind("ltree[]", false, &["'{a.b,c}'"], &[]),
    kind("tsvector[]", false, &["'{a}'"], &[]),
    kind("box[]", false, &["'{(3,4),(1,2);(5,6),(1,2)}'"], &[]),
    kind("pg_lsn[]", false, &["'{0/1}'"], &[]),
    kind("short[]", false, &["'{a}'"], &[]),
    kind("point[]", false, &["'{\"(1,2)\"}'"], &[]),
    kind("money[]", false, &["'{1.5}'"], &[]),
    kind("int8range", false, &["'[1,5)'"], &[]),
    kind("tstzrange", false, &["'[2024-01-01,2024-02-01)'"], &[]),
    kind("xid", false, &["'7'"], &[]),
    kind("tid", false, &["'(0,1)'"], &[]),
    kind("regclass", false, &["'pg_class'"], &[]),
    kind("jsonpath", false, &["'$.a'"], &[]),
    kind("box", false, &["'((1,2),(3,4))'"], &[]),
    kind("line", false, &["'{1,2,3}'"], &[]),
    kind("lseg", false, &["'[(1,2),(3,4)]'"], &[]),
    kind("path", false, &["'((1,2),(3,4))'"], &[]),
    kind("polygon", false, &["'((1,2),(3,4),(5,6))'"], &[]),
    kind("varbit", false, &["'101'", "''"], &["'1'"]),
    kind("bit(64)", false, &["'1'::bit(64)", "5::bit(64)"], &["5::bit(64)"]),
    kind("numeric(5)", false, &["12", "-99999"], &["-3"]),
    kind("numeric(38,18)", false, &["1.5", "-12345678901234567890.123456789"], &["1e-18"]),
    kind("timestamp(0)", false, &["'2024-02-29 12:34:56'"], &["'infinity'"]),
    kind(
        "timestamp(6)",
        false,
        &["'0001-01-01 00:00'", "'9999-12-31 23:59:59.999999'"],
        &["now()"],
    ),
    kind("timestamptz(3)", false, &["'2024-02-29 12:34:56.789+03'"], &["'infinity'", "now()"]),
    kind("time(0)", false, &["'12:34:56'"], &["'24:00'"]),
    kind("timetz(2)", false, &["'12:34:56.78+05:30'"], &["current_time"]),
    kind("date", false, &["'1582-10-15'"], &["'2020-01-02'"]),
    kind("uuid", false, &["gen_random_uuid()"], &["gen_random_uuid()"]),
    kind(
        "text",
        false,
        &["repeat('ü😀', 700)", "E'\\x01\\x1f\\u2028'"],
        &["'it''s'", "'a' || 'b'"],
    ),
];

/// Settings, one of them with some seeds.
const SETTINGS: &[(&str, &str)] = &[
    ("datatype.propagate.source.type", ".+\\.(TEXT|text|_.*|.*4)"),
    ("column.truncate.to.1.chars", ".*\\.wide\\..*"),
    ("column.mask.with.2.chars", "\\Qpublic.wide.w1\\E,.*\\.w\\d"),
    ("column.mask.hash.v2.SHA-1.with.salt.s", "public\\.wide\\.w[02]"),
    ("table.exclude.list", "public\\.(?!t|.T|wide)\\w+"),
    ("snapshot.fetch.size", "1"),
    ("message.key.columns", "(.*).wide:x,id"),
];

/// What the table adds to a seed's script.
pub struct Wide {
    pub setup: Vec<String>,
    /// By part.
    pub work: Vec<Vec<String>>,
    pub settings: Vec<(String, String)>,
}

impl Wide {
    pub fn new(seed: u64, parts: usize, known: &[(String, String)]) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x0057_6964_6500);
        let key = KEYS[random.usize(..KEYS.len())];
        let columns: Vec<&ColumnKind> =
            (0..random.usize(1..7)).map(|_| &KINDS[random.usize(..KINDS.len())]).collect();
        let definitions: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(at, kind)| {
                let default = match kind.defaults {
                    [] => String::new(),
                    all => format!(" default {}", all[random.usize(..all.len())]),
                };
                format!("w{at} {}{default}", kind.sql)
            })
            .collect();
        let order = if random.bool() { "id" } else { "id, x" };
        let mut setup = vec![format!(
            "create table wide (x int not null, id {} not null, {}, primary key ({order}))",
            key.0,
            definitions.join(", ")
        )];
        match random.u8(..4) {
            0 => setup.push("alter table wide replica identity full".to_owned()),
            1 => {
                setup.push("create unique index wide_x on wide (x)".to_owned());
                setup.push("alter table wide replica identity using index wide_x".to_owned());
            }
            _ => {}
        }
        let mut rows = Rows { key: key.1, columns, next: 1, known: Vec::new() };
        setup.extend((0..random.usize(..3)).map(|_| rows.insert(&mut random)));
        let work = (0..parts)
            .map(|_| (0..random.usize(2..6)).map(|_| rows.change(&mut random)).collect())
            .collect();
        let chosen = SETTINGS[random.usize(..SETTINGS.len())];
        let family = chosen.0.split(".with.").next().unwrap_or_default();
        let given = known.iter().any(|(name, _)| name.starts_with(family));
        let excluded = known.iter().any(|(name, _)| name == "column.exclude.list");
        let settings = if given || excluded || random.bool() {
            Vec::new()
        } else {
            vec![(chosen.0.to_owned(), chosen.1.to_owned())]
        };
        Wide { setup, work, settings }
    }
}

/// The table's rows, by the number that all their keys are made of.
struct Rows {
    key: &'static str,
    columns: Vec<&'static ColumnKind>,
    next: i64,
    known: Vec<i64>,
}

impl Rows {
    fn key(&self, number: i64) -> String {
        self.key.replace("{n}", &number.to_string())
    }

    fn number(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    fn insert(&mut self, random: &mut Rng) -> String {
        let number = self.number();
        self.known.push(number);
        let mut names = vec!["x".to_owned(), "id".to_owned()];
        let mut values = vec![number.to_string(), self.key(number)];
        for (at, kind) in self.columns.iter().enumerate() {
            match random.u8(..4) {
                0 => continue,
                1 => values.push("null".to_owned()),
                _ => values.push(kind.value(random)),
            }
            names.push(format!("w{at}"));
        }
        format!("insert into wide ({}) values ({})", names.join(", "), values.join(", "))
    }

    fn change(&mut self, random: &mut Rng) -> String {
        if self.known.is_empty() || random.u8(..3) == 0 {
            return self.insert(random);
        }
        let at = random.usize(..self.known.len());
        let number = self.known[at];
        match random.u8(..6) {
            0 => {
                self.known.swap_remove(at);
                format!("delete from wide where x = {number}")
            }
            1 => {
                let next = self.number();
                self.known[at] = next;
                let key = self.key(next);
                format!("update wide set id = {key}, x = {next} where x = {number}")
            }
            2 => format!("update wide set x = x where x = {number}"),
            _ => {
                let column = random.usize(..self.columns.len());
                let value = self.columns[column].value(random);
                format!("update wide set w{column} = {value} where x = {number}")
            }
        }
    }
}
