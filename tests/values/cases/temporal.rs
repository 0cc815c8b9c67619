//! Dates, times and intervals.

use cdc_agent::capture::change::TimePrecisionMode;
use cdc_agent::capture::change::ValueSettings;
use fastrand::Rng;

use crate::values::Case;
use crate::values::Compare;
use crate::values::cases::Maker;
use crate::values::cases::json;
use crate::values::random;
use crate::values::random::all_quoted;

/// What Debezium writes for the ends of time.
const DATE_ENDS: [i64; 2] = [-2_147_472_692, -2_147_472_691];
const TIMESTAMP_ENDS: [i64; 2] = [9_223_372_036_825_200_000, -9_223_372_036_832_400_000];
const ISO_TIMESTAMP_ENDS: [&str; 2] =
    ["\"+294247-01-10T04:00:25.2Z\"", "\"-290308-12-21T19:59:27.6Z\""];

fn mode(time_precision: TimePrecisionMode) -> ValueSettings {
    ValueSettings { time_precision, ..ValueSettings::debezium() }
}

/// JSON of a finite value, and of the two ends of time.
fn with_ends(ends: [impl ToString; 2], finite: &str) -> String {
    let [plus, minus] = ends.map(|end| end.to_string());
    format!(
        "CASE v::text WHEN 'infinity' THEN '{plus}' WHEN '-infinity' THEN '{minus}' \
         ELSE {finite} END"
    )
}

impl Maker<'_> {
    pub(super) fn moments(&mut self) -> Vec<Case> {
        let mut cases = self.dates();
        cases.extend(self.times());
        cases.extend(self.zoned_times());
        cases.extend(self.timestamps());
        cases.extend(self.zoned_timestamps());
        cases.push(self.intervals());
        cases
    }

    fn dates(&mut self) -> Vec<Case> {
        let finite = |random: &mut Rng| {
            format!("'2000-01-01'::date + {}", random::days(-2_451_545, 2_145_031_948, random))
        };
        let edges = all_quoted(&[
            "4713-01-01 BC",
            "0001-01-01 BC",
            "0001-01-01",
            "1969-12-31",
            "1970-01-01",
            "9999-12-31",
            "10000-01-01",
            "5874897-12-31",
            "2000-02-29",
            "1900-02-28",
        ]);
        let edges: Vec<String> = edges.into_iter().map(|text| text + "::date").collect();
        let mut all = edges.clone();
        all.extend(["'infinity'::date".to_owned(), "'-infinity'::date".to_owned()]);
        let days = with_ends(DATE_ENDS, "(v - '1970-01-01'::date)::text");
        let iso = json("public.iso_date(v) || 'Z'");
        vec![
            Case::new("date", self.values(all, finite)).both(Compare::Exact, &days).under(
                mode(TimePrecisionMode::Connect),
                Compare::Exact,
                days,
            ),
            Case::new("date", self.values(edges, finite)).under(
                mode(TimePrecisionMode::IsoString),
                Compare::Exact,
                iso,
            ),
        ]
    }

    fn times(&mut self) -> Vec<Case> {
        use TimePrecisionMode as Mode;
        let edges = ["00:00", "24:00", "23:59:59.999999", "12:00:00.5", "00:00:00.000001"];
        let number = |factor: i64| format!("trunc(extract(epoch FROM v) * {factor})::text");
        let iso = json("CASE WHEN v = '24:00' THEN '00:00:00' ELSE v::text END || 'Z'");
        let types = [
            ("time", 1_000_000),
            ("time(6)", 1_000_000),
            ("time(4)", 1_000_000),
            ("time(3)", 1000),
            ("time(0)", 1000),
        ];
        let case = |(sql_type, adaptive)| {
            let micros = number(1_000_000);
            Case::new(sql_type, self.quoted(&edges, random::time))
                .both(Compare::Exact, &number(adaptive))
                .under(mode(Mode::AdaptiveTimeMicroseconds), Compare::Exact, micros.clone())
                .under(mode(Mode::Microseconds), Compare::Exact, micros)
                .under(mode(Mode::Nanoseconds), Compare::Exact, number(1_000_000_000))
                .under(mode(Mode::Connect), Compare::Exact, number(1000))
                .under(mode(Mode::IsoString), Compare::Exact, iso.clone())
        };
        types.map(case).into()
    }

    fn zoned_times(&mut self) -> Vec<Case> {
        let edges =
            ["00:00+15:59:59", "24:00-15:59:59", "24:00+00", "23:59:59.999999-00:00:01", "0:00-12"];
        let one = |random: &mut Rng| random::time(random) + &random::offset(random);
        let utc = json("(v AT TIME ZONE 'UTC')::time::text || 'Z'");
        let case =
            |sql_type| Case::new(sql_type, self.quoted(&edges, one)).both(Compare::Exact, &utc);
        ["timetz", "timetz(0)", "timetz(3)"].map(case).into()
    }

    /// Values of `timestamp` or `timestamptz`, the edges of the range and of the formats among them.
    pub(super) fn timestamp_values(&mut self, sql_type: &str) -> Vec<String> {
        let edges = all_quoted(&[
            "4714-11-24 00:00:00 BC",
            "0001-12-31 23:59:59.999999 BC",
            "0001-01-01 00:00:00",
            "1969-12-31 23:59:59.999999",
            "1969-12-31 23:59:59.999",
            "1970-01-01 00:00:00",
            "9999-12-31 23:59:59.999999",
            "10000-01-01 00:00:00",
            "294247-01-10 04:00:54.775807",
            "294247-01-10 04:00:54.775808",
            "294276-12-31 23:59:59.999999",
            "infinity",
            "-infinity",
            "2016-12-31 23:59:60",
        ]);
        // A coarser precision would round it to beyond the end of time.
        let coarse = sql_type.contains('(') && !sql_type.contains("(6)");
        let edges = edges.into_iter().filter(|text| !(coarse && text.contains("294276")));
        let base = sql_type.split('(').next().unwrap();
        let edges = edges.map(|text| format!("{text}::{base}")).collect();
        let zone = if base == "timestamptz" { " AT TIME ZONE 'UTC'" } else { "" };
        self.values(edges, |random| random::timestamp(random) + zone)
    }

    fn timestamps(&mut self) -> Vec<Case> {
        use TimePrecisionMode as Mode;
        let micros = with_ends(TIMESTAMP_ENDS, "public.int64(public.micros(v))");
        let millis =
            with_ends(TIMESTAMP_ENDS.map(|end| end / 1000), "floor(public.micros(v) / 1000)::text");
        let nanos = with_ends([i64::MAX, i64::MIN], "public.int64(public.micros(v) * 1000)");
        let iso = with_ends(
            ISO_TIMESTAMP_ENDS,
            &json("public.iso_date(v::date) || 'T' || v::time || 'Z'"),
        );
        let types = [
            ("timestamp", &micros),
            ("timestamp(6)", &micros),
            ("timestamp(4)", &micros),
            ("timestamp(3)", &millis),
            ("timestamp(0)", &millis),
        ];
        let case = |(sql_type, adaptive): (&str, &String)| {
            Case::new(sql_type, self.timestamp_values(sql_type))
                .both(Compare::Exact, adaptive)
                .under(mode(Mode::AdaptiveTimeMicroseconds), Compare::Exact, adaptive)
                .under(mode(Mode::Microseconds), Compare::Exact, &micros)
                .under(mode(Mode::Nanoseconds), Compare::Exact, &nanos)
                .under(mode(Mode::Connect), Compare::Exact, &millis)
                .under(mode(Mode::IsoString), Compare::Exact, &iso)
        };
        types.map(case).into()
    }

    fn zoned_timestamps(&mut self) -> Vec<Case> {
        let types = [
            ("timestamptz", ".FF6"),
            ("timestamptz(6)", ".FF6"),
            ("timestamptz(5)", ".FF5"),
            ("timestamptz(3)", ".FF3"),
            ("timestamptz(1)", ".FF1"),
            ("timestamptz(0)", ""),
        ];
        let case = |(sql_type, fraction)| {
            let local = "v AT TIME ZONE 'UTC'";
            let text = format!(
                "CASE WHEN isfinite(v) THEN public.iso_date(({local})::date) || 'T' || \
                 to_char({local}, 'HH24:MI:SS{fraction}') || 'Z' ELSE v::text END"
            );
            Case::new(sql_type, self.timestamp_values(sql_type)).both(Compare::Exact, &json(&text))
        };
        types.map(case).into()
    }

    fn intervals(&mut self) -> Case {
        let mut edges = vec![
            "0",
            "1 year",
            "-1 year",
            "1 mon -1 day",
            "-00:00:00.000001",
            "00:00:00.5",
            "-1 day +00:00:01",
            "1 year 2 mons -3 days 04:05:06.789",
            "178956970 years 7 mons",
            "-178956970 years -8 mons",
            "2147483647 days",
            "-2147483648 days",
            "2147483647:59:59.999999",
            "-2147483647:59:59.999999",
        ];
        if self.major >= 15 {
            edges.extend(["2562047788:00:54.775807", "-2562047788:00:54.775807"]);
        }
        if self.major >= 17 {
            edges.extend(["infinity", "-infinity"]);
        }
        let values = self.values(all_quoted(&edges), random::interval);
        let text = with_ends(["\"infinity\"", "\"-infinity\""], &json("public.iso_interval(v)"));
        Case::new("interval", values)
            .default(Compare::Exact, text)
            .debezium(Compare::Near, with_ends([i64::MAX, i64::MIN], "public.average_micros(v)"))
    }
}
