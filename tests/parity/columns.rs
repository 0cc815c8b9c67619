//! Columns of the generator: types, values that both sides write alike, defaults.

use fastrand::Rng;

/// A kind of column.
pub struct ColumnKind {
    /// The type, as SQL.
    pub sql: &'static str,
    /// Values, as SQL.
    pub values: &'static [&'static str],
    /// Defaults, as SQL.
    pub defaults: &'static [&'static str],
    /// Fit for a key.
    pub key: bool,
}

/// A kind of column, in one line.
pub const fn kind(
    sql: &'static str,
    key: bool,
    values: &'static [&'static str],
    defaults: &'static [&'static str],
) -> ColumnKind {
    ColumnKind { sql, values, defaults, key }
}

/// A value that is stored out of line.
pub const LONG_TEXT: &str =
    "(select string_agg(md5(i::text || clock_timestamp()), '') from generate_series(1, 300) i)";

/// What every database of a script has, for the types below.
pub const PREAMBLE: &[&str] = &[
    "create extension hstore",
    "create extension citext",
    "create extension ltree",
    "create type mood as enum ('sad', 'ok', 'very happy')",
    "create domain short as varchar(12)",
    "create domain amount as numeric(12,3)",
    "create domain amount_of_amount as amount",
    "create type pair as (a int, b text)",
];

/// All kinds.
pub const KINDS: &[ColumnKind] = &[
    kind("smallint", true, &["0", "-32768", "32767", "7"], &["3", "-1"]),
    kind("integer", true, &["0", "-2147483648", "2147483647", "42"], &["5", "-5", "(1+2)"]),
    kind("bigint", true, &["0", "-9223372036854775808", "9223372036854775807", "77"], &["9"]),
    kind("oid", false, &["0", "4294967295", "1259"], &[]),
    kind(
        "real",
        false,
        &["0", "-0.0", "1.5", "3.4028235e38", "1.17549435e-38", "'NaN'", "0.1"],
        &["1.5"],
    ),
    kind(
        "double precision",
        false,
        &["0", "1e300", "5e-324", "'-Infinity'", "0.1", "1234567.891"],
        &["2.5"],
    ),
    kind(
        "numeric",
        false,
        &["0", "1.50", "-12345678901234567890.123456789", "1e-20", "100"],
        &["1.5"],
    ),
    kind("numeric(10,2)", true, &["0", "1.5", "-99999999.99", "0.01"], &["1.25", "3"]),
    kind("numeric(20)", true, &["0", "12345678901234567890", "-1"], &["7"]),
    kind("money", false, &["0", "'1234.56'", "'-0.01'"], &[]),
    kind("boolean", false, &["true", "false"], &["true", "false"]),
    kind(
        "text",
        true,
        &["''", "'a'", "'ünï 😀 \"q\" \\ '", "E'tab\\tnew\\nline'", LONG_TEXT],
        &["'x'", "''", "upper('y')"],
    ),
    kind("varchar(20)", true, &["''", "'short'", "'exactly twenty chars'"], &["'v'"]),
    kind("char(5)", false, &["'a'", "'abcde'", "''"], &["'c'"]),
    kind("citext", false, &["'MiXed'", "''"], &[]),
    kind("short", false, &["'dom'", "''"], &[]),
    kind("amount", false, &["1.5", "-7", "0"], &["2.5"]),
    kind("amount_of_amount", false, &["1.5", "999999999.999"], &[]),
    kind("bytea", true, &["'\\x'", "'\\x00ff10'", "'\\xdeadbeef'"], &[]),
    kind("bit(1)", false, &["'0'", "'1'"], &["'1'"]),
    kind("bit(12)", false, &["'000000000000'", "'100000000001'"], &[]),
    kind("varbit(20)", false, &["'101'", "'0'", "'11111111111111111111'"], &[]),
    kind(
        "uuid",
        true,
        &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"],
        &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'"],
    ),
    kind("json", false, &["'{\"a\": [1, null, \"ü\"]}'", "'null'", "'\"s\"'"], &["'{}'"]),
    kind("jsonb", false, &["'{\"b\": 1, \"a\": {\"c\": 1.50}}'", "'[]'"], &["'{\"d\": 1}'"]),
    kind("xml", false, &["'<a b=\"c\">t</a>'"], &[]),
    kind(
        "date",
        true,
        &["'2024-02-29'", "'1970-01-01'", "'0001-01-01'", "'9999-12-31'"],
        &["'2020-01-02'", "current_date"],
    ),
    kind("time", false, &["'00:00'", "'23:59:59.999999'", "'12:34:56.7'"], &["'10:11'"]),
    kind("time(3)", false, &["'00:00'", "'23:59:59.999'"], &[]),
    kind("timetz", false, &["'12:34:56.789+02'", "'00:00-05:30'"], &[]),
    kind(
        "timestamp",
        true,
        &["'2024-02-29 12:34:56.789012'", "'1969-12-31 23:59:59.999999'", "'infinity'"],
        &["'2020-01-02 03:04:05'", "now()"],
    ),
    kind("timestamp(3)", false, &["'2024-02-29 12:34:56.789'", "'1901-01-01 00:00'"], &[]),
    kind(
        "timestamptz",
        true,
        &["'2024-02-29 12:34:56.789012+03'", "'1970-01-01 00:00+00'", "'-infinity'"],
        &["now()"],
    ),
    kind("timestamptz(0)", false, &["'2024-02-29 12:34:56+03'"], &[]),
    kind(
        "interval",
        false,
        &["'1 year 2 mons 3 days 04:05:06.789'", "'-1 mon'", "'0'"],
        &["'1 day'"],
    ),
    kind("inet", false, &["'10.0.0.1/8'", "'::1'"], &[]),
    kind("cidr", false, &["'10.0.0.0/8'"], &[]),
    kind("macaddr", false, &["'08:00:2b:01:02:03'"], &[]),
    kind("macaddr8", false, &["'08:00:2b:01:02:03:04:05'"], &[]),
    kind("int4range", false, &["'[1,5)'", "'empty'", "'(,3]'"], &[]),
    kind("numrange", false, &["'[1.5,2.5]'"], &[]),
    kind("tsrange", false, &["'[2024-01-01 00:00,2024-02-01 00:00)'"], &[]),
    kind("daterange", false, &["'[2024-01-01,)'"], &[]),
    kind("mood", false, &["'sad'", "'very happy'"], &["'ok'"]),
    kind("hstore", false, &["'a=>1'", "''", "'k=>NULL'"], &[]),
    kind("ltree", false, &["'a.b.c'"], &[]),
    kind("tsvector", false, &["'the quick fox'", "''"], &[]),
    kind("point", false, &["'(1.5,-2)'"], &[]),
    kind("pg_lsn", false, &["'1/ABC'"], &[]),
    kind("tsquery", false, &["'a & b'"], &[]),
    kind("pair", false, &["'(1,x)'"], &[]),
    kind("circle", false, &["'<(1,2),3>'"], &[]),
    kind("int[]", false, &["'{1,NULL,3}'", "'{}'"], &[]),
    kind("bigint[]", false, &["'{9223372036854775807}'"], &[]),
    kind("text[]", false, &["'{a,\"b c\",NULL,\"\"}'", "'{}'"], &[]),
    kind("numeric(6,2)[]", false, &["'{1.5,NULL}'"], &[]),
    kind("boolean[]", false, &["'{t,f}'"], &[]),
    kind("uuid[]", false, &["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"], &[]),
    kind("date[]", false, &["'{2024-02-29,1970-01-01}'"], &[]),
    kind("mood[]", false, &["'{sad,ok}'"], &[]),
    kind("double precision[]", false, &["'{1.5,NaN}'"], &[]),
    kind("jsonb[]", false, &["'{\"{}\"}'"], &[]),
];

impl ColumnKind {
    /// A value that is not NULL.
    pub fn value(&self, random: &mut Rng) -> String {
        self.values[random.usize(..self.values.len())].to_owned()
    }
}
