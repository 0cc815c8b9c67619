//! Types of extensions, and those of which the text is all that is known.

use cdc_agent::capture::change::HstoreMode;
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

/// Types that are text by default and under Debezium's settings.
const TEXTS: &[(&str, &[&str])] = &[
    ("inet", &["192.168.0.1/24", "10.0.0.1", "::1", "fe80::/10"]),
    ("cidr", &["192.168.0.0/24", "::/0"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("int4range", &["[1,10)", "(,5]", "empty", "(,)"]),
    ("int8range", &["[1,10)", "[-9223372036854775808,)"]),
    ("numrange", &["[1.5,2.50)", "(,0]"]),
    ("tsrange", &["[2026-01-01,2026-01-02 03:04:05.678)", "[,infinity]"]),
    ("tstzrange", &["[2026-01-01 00:00+02,)", "empty"]),
    ("daterange", &["[2026-01-01,2026-02-01]", "(,)"]),
    ("tsvector", &["a:1A,2B b", "'it''s' \\\\"]),
    ("public.ltree", &["Top.Science", ""]),
    ("public.isbn", &["978-0-393-04002-9"]),
];

/// Types that Debezium does not know: text by default, left out or bytes there.
const UNKNOWN: &[(&str, &[&str])] = &[
    ("int4multirange", &["{[1,3),[5,6)}", "{}"]),
    ("pg_lsn", &["16/B374D848"]),
    ("tsquery", &["a & !b"]),
    ("jsonpath", &["$.a[*] ? (@ > 1)"]),
    ("pg_snapshot", &["10:20:10,14,15"]),
    ("xid", &["4294967295"]),
    ("tid", &["(1,2)"]),
    ("int2vector", &["1 2 3"]),
    ("oidvector", &["1 2"]),
    ("regclass", &["pg_class"]),
    ("public.pair", &["(1,\"a \"\"quoted\"\" (b), c\")", "(,)", "(1,\"\")"]),
];

/// Types that Debezium does not know either, and of which it takes the driver's text, where every
/// number has a fraction.
const GEOMETRIC: &[(&str, &[&str])] = &[
    ("lseg", &["[(0.5,-0.25),(1.5,1.125)]"]),
    ("box", &["(2.5,2.25),(0.5,0.75)"]),
    ("path", &["[(0.5,-0.25),(1.5,1.125)]", "((0.5,0.5),(1.5,1.5),(2.5,0.5))"]),
    ("polygon", &["((0.5,0.5),(1.5,1.5),(2.5,0.5))"]),
    ("line", &["{1.5,-1.25,0.5}"]),
    ("circle", &["<(0.5,-0.25),1.5>"]),
];

/// Arrays of such types.
const UNKNOWN_ARRAYS: &[(&str, &[&str])] = &[
    ("box[]", &["{(2,2),(0,0);(1,1),(0,0)}"]),
    ("public.pair[]", &["{\"(1,a)\",NULL}"]),
    ("money[]", &["{1.50,NULL}"]),
    ("bit(3)[]", &["{101,000}"]),
    ("varbit[]", &["{1,000,NULL}"]),
    ("public.price[]", &["{1.50,NULL}"]),
    ("name[]", &["{a,NULL}"]),
    ("point[]", &["{\"(1,2)\",NULL}"]),
];

impl Maker<'_> {
    pub(super) fn others(&mut self) -> Vec<Case> {
        let mut cases = vec![self.hstores(), self.points()];
        if self.major == 15 {
            cases.push(self.geometries());
        }
        let text = |(sql_type, values): &(&str, &[&str])| {
            Case::new(*sql_type, all_quoted(values)).default(Compare::Exact, printed())
        };
        cases.extend(TEXTS.iter().map(|known| text(known).debezium(Compare::Exact, printed())));
        let bytes = ValueSettings { include_unknown: true, ..ValueSettings::debezium() };
        let base64 = "public.base64(convert_to(format('%s', v), 'UTF8'))";
        cases.extend(
            UNKNOWN
                .iter()
                .chain(GEOMETRIC)
                .map(|one| text(one).under(bytes.clone(), Compare::Exact, base64)),
        );
        cases.extend(UNKNOWN_ARRAYS.iter().map(text));
        cases
    }

    fn hstores(&mut self) -> Case {
        let edges = all_quoted(&[
            "",
            "a=>1",
            "a=>NULL",
            "a=>\"NULL\"",
            "\"\"=>\"\"",
            "\"=>\"=>\"\\\\\\\"\"",
        ]);
        let pairs = |random: &mut Rng| {
            let count = random.usize(..30);
            let text = |random: &mut Rng| quoted(&random::text(8, random));
            let value = |random: &mut Rng| match random.u8(..5) {
                0 => "NULL".to_owned(),
                _ => text(random),
            };
            let keys: Vec<String> = (0..count).map(|_| text(random)).collect();
            let values: Vec<String> = (0..count).map(|_| value(random)).collect();
            let (keys, values) = (keys.join(","), values.join(","));
            format!("public.hstore(ARRAY[{keys}]::text[], ARRAY[{values}]::text[])")
        };
        let map = ValueSettings { hstore: HstoreMode::Map, ..ValueSettings::default() };
        let object = "public.hstore_to_json(v)::text";
        Case::new("public.hstore", self.values(edges, pairs))
            .both(Compare::Json, &json(object))
            .under(map, Compare::Exact, object)
    }

    fn points(&mut self) -> Case {
        let point = |random: &mut Rng| {
            let (x, y) = (random::float64(random), random::float64(random));
            format!("point({x}::float8, {y}::float8)")
        };
        let edges = all_quoted(&["(0,-0)", "(1e300,5e-324)", "(Infinity,-Infinity)", "(NaN,1)"]);
        let object = "json_build_object('x', v[0], 'y', v[1], 'srid', NULL, 'wkb', \
            public.base64('\\x0101000000'::bytea \
                || public.float_bytes(v[0]) || public.float_bytes(v[1]))::json)::text";
        Case::new("point", self.values(edges, point)).both(Compare::Float64, object)
    }

    fn geometries(&mut self) -> Case {
        let geometry = |random: &mut Rng| {
            let srid = random.choice([0, 4326, 3857]).unwrap_or(0);
            let (x, y) = (random.f64() * 100.0, random.f64() * -50.0);
            let shape = if random.bool() {
                format!("POINT({x} {y})")
            } else {
                format!("LINESTRING({x} {y}, 3 4)")
            };
            format!("public.ST_GeomFromText('{shape}', {srid})")
        };
        let edges = ["'POINT EMPTY'", "'GEOMETRYCOLLECTION(POINT Z (1 2 3))', 4326"];
        let edges = edges.map(|edge| format!("public.ST_GeomFromText({edge})")).to_vec();
        let object = "json_build_object('wkb', public.base64(public.ST_AsEWKB(v))::json, \
            'srid', nullif(public.ST_SRID(v), 0))::text";
        Case::new("public.geometry", self.values(edges, geometry)).both(Compare::Exact, object)
    }
}
