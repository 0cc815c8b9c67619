//! Where ours differs from Debezium on purpose.
//!
//! The rule: schemas, topics, keys, order and spelling are Debezium's, odd ones too. Where it loses,
//! makes up or dies of a legal value, ours gives the right value if the schema can hold it, null in
//! an optional field or a fallback in a required one if it cannot, and never stops.

use super::compare::Difference;

/// Differences of one kind.
pub struct Reason {
    /// What Debezium does, and what ours does instead.
    pub why: &'static str,
    /// Where that shows.
    pub differences: &'static [Expected],
}

/// One difference, in some cases.
pub struct Expected {
    /// The cases.
    pub cases: &'static [&'static str],
    /// See [`Difference::place`]; `*` stands for any number.
    pub place: &'static str,
    /// What Debezium wrote.
    pub debezium: &'static str,
    /// What we write; an ellipsis at the end stands for the rest.
    pub ours: &'static str,
}

impl Expected {
    /// Whether this is the difference that was found.
    pub fn explains(&self, found: &Difference) -> bool {
        fits(self.place, &found.place)
            && self.debezium == found.debezium
            && match self.ours.strip_suffix('…') {
                Some(start) => found.ours.starts_with(start),
                None => self.ours == found.ours,
            }
    }
}

/// Whether a place is the expected one.
fn fits(pattern: &str, place: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == place };
    let Some(after) = place.strip_prefix(start) else { return false };
    fits(rest, after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// All that are expected of a case.
pub fn of_case(case: &str) -> Vec<&'static Expected> {
    REASONS
        .iter()
        .flat_map(|reason| reason.differences)
        .filter(|expected| expected.cases.contains(&case))
        .collect()
}

const fn expected(
    cases: &'static [&'static str],
    place: &'static str,
    debezium: &'static str,
    ours: &'static str,
) -> Expected {
    Expected { cases, place, debezium, ours }
}

/// What stands where there is no record.
const NOTHING: &str = "nothing";

/// All of them.
pub const REASONS: &[Reason] = &[
    Reason {
        why: "dates BC lose their era in snapshots and in date[]; ours keep it",
        differences: &[
            expected(
                &["edge_date_bc", "edge_date_bc_time_connect", "edge_date_bc_time_nanoseconds"],
                "P.public.t_edge[*].value.after.v",
                "-703383",
                "-735160",
            ),
            expected(
                &["edge_date_bc", "edge_date_bc_time_connect", "edge_date_bc_time_nanoseconds"],
                "P.public.t_edge[*].value.after.a[0]",
                "-703383",
                "-735160",
            ),
            expected(
                &["edge_date_bc", "edge_date_bc_time_connect", "edge_date_bc_time_nanoseconds"],
                "P.public.t_edge[*].value.after.v",
                "1001860",
                "-2440550",
            ),
            expected(
                &["edge_date_bc_time_isostring"],
                "P.public.t_edge[*].value.after.v",
                r#""0044-03-15Z""#,
                r#""-0043-03-15Z""#,
            ),
            expected(
                &["edge_date_bc_time_isostring"],
                "P.public.t_edge[*].value.after.a[0]",
                r#""0044-03-15Z""#,
                r#""-0043-03-15Z""#,
            ),
            expected(
                &["edge_date_bc_time_isostring"],
                "P.public.t_edge[*].value.after.v",
                r#""4713-01-01Z""#,
                r#""-4712-01-01Z""#,
            ),
        ],
    },
    Reason {
        why: "days from 1582-10-05 to 1582-10-14 are ten days later in a snapshot; ours are what they are",
        differences: &[expected(
            &["edge_date_julian"],
            "P.public.t[*].value.after.v",
            "-141422",
            "-141432",
        )],
    },
    Reason {
        why: "infinite dates have other numbers in a snapshot than in the stream; ours have the stream's in both",
        differences: &[
            expected(
                &[
                    "edge_date_infinity",
                    "edge_date_infinity_time_connect",
                    "edge_date_infinity_time_nanoseconds",
                ],
                "P.public.t_edge[*].value.after.v",
                "-622191234",
                "-2147472692",
            ),
            expected(
                &[
                    "edge_date_infinity",
                    "edge_date_infinity_time_connect",
                    "edge_date_infinity_time_nanoseconds",
                ],
                "P.public.t_edge[*].value.after.n",
                "-622191234",
                "-2147472692",
            ),
            expected(
                &[
                    "edge_date_infinity",
                    "edge_date_infinity_time_connect",
                    "edge_date_infinity_time_nanoseconds",
                ],
                "P.public.t_edge[*].value.after.v",
                "-625821272",
                "-2147472691",
            ),
            expected(
                &[
                    "edge_date_infinity",
                    "edge_date_infinity_time_connect",
                    "edge_date_infinity_time_nanoseconds",
                ],
                "P.public.t_edge[*].value.after.n",
                "-625821272",
                "-2147472691",
            ),
            expected(
                &["edge_date_infinity_time_isostring"],
                "P.public.t_edge[*].value.after.v",
                r#""+292278994-08-16Z""#,
                r#""-5877611-06-21Z""#,
            ),
            expected(
                &["edge_date_infinity_time_isostring"],
                "P.public.t_edge[*].value.after.n",
                r#""+292278994-08-16Z""#,
                r#""-5877611-06-21Z""#,
            ),
            expected(
                &["edge_date_infinity_time_isostring"],
                "P.public.t_edge[*].value.after.v",
                r#""+292269055-12-02Z""#,
                r#""-5877611-06-22Z""#,
            ),
            expected(
                &["edge_date_infinity_time_isostring"],
                "P.public.t_edge[*].value.after.n",
                r#""+292269055-12-02Z""#,
                r#""-5877611-06-22Z""#,
            ),
        ],
    },
    Reason {
        why: "timestamps before 1582 in arrays go through the Julian calendar or lose their era; ours do not",
        differences: &[
            expected(
                &[
                    "edge_timestamp_bc",
                    "edge_timestamp_bc_time_adaptive_time_microseconds",
                    "edge_timestamp_bc_time_microseconds",
                ],
                "P.public.t_edge[*].value.after.a[0]",
                "-63517996800000000",
                "-63517824000000000",
            ),
            expected(
                &[
                    "edge_timestamp_bc",
                    "edge_timestamp_bc_time_adaptive_time_microseconds",
                    "edge_timestamp_bc_time_microseconds",
                ],
                "P.public.t_edge[*].value.after.a[0]",
                "-12218860800000000",
                "-12219724800000000",
            ),
            expected(
                &["edge_timestamp_bc_time_connect"],
                "P.public.t_edge[*].value.after.a[0]",
                "-63517996800000",
                "-63517824000000",
            ),
            expected(
                &["edge_timestamp_bc_time_connect"],
                "P.public.t_edge[*].value.after.a[0]",
                "-12218860800000",
                "-12219724800000",
            ),
            expected(
                &["edge_timestamp_bc_time_isostring"],
                "P.public.t_edge[*].value.after.a[0]",
                r#""-0043-03-13T00:00:00Z""#,
                r#""-0043-03-15T00:00:00Z""#,
            ),
            expected(
                &["edge_timestamp_bc_time_isostring"],
                "P.public.t_edge[*].value.after.a[0]",
                r#""1582-10-20T00:00:00Z""#,
                r#""1582-10-10T00:00:00Z""#,
            ),
            expected(
                &["edge_timestamptz_far"],
                "P.public.t_edge[*].value.after.a[0]",
                r#""0044-03-15T00:00:00.000000Z""#,
                r#""-0043-03-15T00:00:00.000000Z""#,
            ),
        ],
    },
    Reason {
        why: "-infinity in timestamptz[] is a date far in the future; ours is -infinity, as outside of arrays",
        differences: &[expected(
            &["edge_timestamptz_infinity"],
            "P.public.t_edge[*].value.after.a[1]",
            r#""+292269055-12-02T23:00:00.000000Z""#,
            r#""-infinity""#,
        )],
    },
    Reason {
        why: "time[] is cut to milliseconds, timetz[] to seconds, and 24:00 in time[] is 0; ours are whole",
        differences: &[
            expected(
                &["edge_array_fraction"],
                "P.public.t_edge[*].value.after.ti[0]",
                "3723456000",
                "3723456789",
            ),
            expected(
                &["edge_array_fraction"],
                "P.public.t_edge[*].value.after.tz[0]",
                r#""01:02:03Z""#,
                r#""01:02:03.456789Z""#,
            ),
            expected(
                &[
                    "edge_time_24",
                    "edge_time_24_time_adaptive_time_microseconds",
                    "edge_time_24_time_microseconds",
                ],
                "P.public.t_edge[*].value.after.a[0]",
                "0",
                "86400000000",
            ),
            expected(
                &["edge_time_24_time_connect"],
                "P.public.t_edge[*].value.after.a[0]",
                "0",
                "86400000",
            ),
            expected(
                &["edge_time_24_time_nanoseconds"],
                "P.public.t_edge[*].value.after.a[0]",
                "0",
                "86400000000000",
            ),
            expected(
                &[
                    "time_precision_mode_adaptive_time_microseconds",
                    "time_precision_mode_microseconds",
                ],
                "P.public.t_time[*].value.after.ta[0]",
                "45296789000",
                "45296789012",
            ),
            expected(
                &["time_precision_mode_isostring"],
                "P.public.t_time[*].value.after.ta[0]",
                r#""12:34:56.789Z""#,
                r#""12:34:56.789012Z""#,
            ),
            expected(
                &["time_precision_mode_nanoseconds"],
                "P.public.t_time[*].value.after.ta[0]",
                "45296789000000",
                "45296789012000",
            ),
            expected(
                &["types_array", "types_no_schema"],
                "P.public.t_arr[*].value.after.tz[0]",
                r#""10:34:56Z""#,
                r#""10:34:56.789Z""#,
            ),
        ],
    },
    Reason {
        why: "timestamps beyond 64 bits of microseconds wrap around; ours are null, with a warning",
        differences: &[
            expected(
                &[
                    "edge_timestamp_far",
                    "edge_timestamp_far_time_adaptive_time_microseconds",
                    "edge_timestamp_far_time_microseconds",
                ],
                "P.public.t_edge[*].value.after.v",
                "-9223372036853775810",
                "null",
            ),
            expected(
                &["edge_timestamp_far_time_microseconds"],
                "P.public.t_edge[*].value.after.v3",
                "-9223372036853776809",
                "null",
            ),
        ],
    },
    Reason {
        why: "infinite intervals are 0; ours are the largest and smallest number, or the word in string mode",
        differences: &[
            expected(
                &["edge_interval_infinity"],
                "P.public.t_edge[*].value.after.v",
                "0",
                "9223372036854775807",
            ),
            expected(
                &["edge_interval_infinity"],
                "P.public.t_edge[*].value.after.v",
                "0",
                "-9223372036854775808",
            ),
            expected(
                &["edge_interval_infinity_interval_string"],
                "P.public.t_edge[*].value.after.v",
                r#""P0Y0M0DT0H0M0S""#,
                r#""infinity""#,
            ),
            expected(
                &["edge_interval_infinity_interval_string"],
                "P.public.t_edge[*].value.after.v",
                r#""P0Y0M0DT0H0M0S""#,
                r#""-infinity""#,
            ),
        ],
    },
    Reason {
        why: "an excluded key column is 0 in the keys of a snapshot; ours is what it is",
        differences: &[
            expected(&["column_exclude_list_key"], "P.public.t[0].key.id", "0", "1"),
            expected(&["column_exclude_list_key"], "P.public.t[1].key.id", "0", "2"),
        ],
    },
    Reason {
        why: "a domain over an enumeration anywhere in the database stops the connector; ours goes on",
        differences: &[
            expected(
                &["edge_domain_enum"],
                "P.public.t[0]",
                NOTHING,
                r#"key {"id":1} op "r" before null after {"id":1,"m":"a","dm":"a"}"#,
            ),
            expected(
                &["edge_domain_enum"],
                "P.public.t[1]",
                NOTHING,
                r#"key {"id":2} op "r" before null after {"id":2,"m":null,"dm":"b"}"#,
            ),
            expected(
                &["edge_domain_enum"],
                "P.public.t[2]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"m":"a","dm":"a"}"#,
            ),
            expected(
                &["edge_domain_enum"],
                "P.public.t[3]",
                NOTHING,
                r#"key {"id":102} op "c" before null after {"id":102,"m":null,"dm":"b"}"#,
            ),
            expected(
                &["edge_domain_enum"],
                "P.public.t[4]",
                NOTHING,
                r#"key {"id":101} op "d" before {"id":101,"m":null,"dm":""} after null"#,
            ),
            expected(
                &["edge_domain_enum"],
                "P.public.t[5]",
                NOTHING,
                r#"key {"id":101} value null"#,
            ),
        ],
    },
    Reason {
        why: "an interval of more than 2^31 hours stops the snapshot; ours is what it is",
        differences: &[
            expected(
                &["edge_interval_far_hours"],
                "P.public.t_edge[0]",
                NOTHING,
                r#"key {"id":1} op "r" before null after {"id":1,"v":9223372036800000000}"#,
            ),
            expected(
                &["edge_interval_far_hours"],
                "P.public.t_edge[1]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"v":9223372036800000000}"#,
            ),
            expected(
                &["edge_interval_far_hours_interval_string"],
                "P.public.t_edge[0]",
                NOTHING,
                r#"key {"id":1} op "r" before null after {"id":1,"v":"P0Y0M0DT2562047788H0M0S"}"#,
            ),
            expected(
                &["edge_interval_far_hours_interval_string"],
                "P.public.t_edge[1]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"v":"P0Y0M0DT2562047788H0M0S"}"#,
            ),
            expected(
                &["edge_interval_far_hours_stream"],
                "P.public.t_edge[0]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"v":9223372036800000000}"#,
            ),
        ],
    },
    Reason {
        why: "numeric[] with NaN or Infinity is null as a whole also where its elements can hold them; ours is whole",
        differences: &[
            expected(
                &["edge_numeric_infinity_decimal_double"],
                "P.public.t_edge[*].value.after.a",
                "null",
                r#"["Infinity"]"#,
            ),
            expected(
                &["edge_numeric_infinity_decimal_string"],
                "P.public.t_edge[*].value.after.a",
                "null",
                r#"["POSITIVE_INFINITY"]"#,
            ),
            expected(
                &["edge_numeric_nan_decimal_double"],
                "P.public.t_edge[*].value.after.a",
                "null",
                r#"["NaN",1.0]"#,
            ),
            expected(
                &["edge_numeric_nan_decimal_string"],
                "P.public.t_edge[*].value.after.a",
                "null",
                r#"["NAN","1"]"#,
            ),
        ],
    },
    Reason {
        why: "NaN in a NOT NULL numeric stops the task in precise mode; ours is the fallback 0, with a warning",
        differences: &[
            expected(
                &["edge_numeric_nan_not_null"],
                "P.public.t_edge[0]",
                NOTHING,
                r#"key {"id":1} op "r" before null after {"id":1,"n":{"scale":0,"value":"AA=="}}"#,
            ),
            expected(
                &["edge_numeric_nan_not_null"],
                "P.public.t_edge[1]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"n":{"scale":0,"value":"AA=="}}"#,
            ),
            expected(
                &["edge_numeric_nan_not_null_stream"],
                "P.public.t_edge[0]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"n":{"scale":0,"value":"AA=="}}"#,
            ),
            expected(
                &["edge_numeric_p_s_nan_not_null"],
                "P.public.t_edge[0]",
                NOTHING,
                r#"key {"id":1} op "r" before null after {"id":1,"n":"AA=="}"#,
            ),
            expected(
                &["edge_numeric_p_s_nan_not_null"],
                "P.public.t_edge[1]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"n":"AA=="}"#,
            ),
            expected(
                &["edge_numeric_p_s_nan_not_null_stream"],
                "P.public.t_edge[0]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"n":"AA=="}"#,
            ),
        ],
    },
    Reason {
        why: "NULL in a NOT NULL array of an enumeration stops the task; ours is an empty array, with a warning",
        differences: &[expected(
            &["edge_enum_array_null_not_null"],
            "P.public.t[0]",
            NOTHING,
            r#"key {"id":1} op "c" before null after {"id":1,"v":[]}"#,
        )],
    },
    Reason {
        why: "NULL in an array of ltree makes the array null, and stops the task if it is NOT NULL; ours is whole",
        differences: &[
            expected(
                &["edge_ltree_array_null"],
                "P.public.t[*].value.after.v",
                "null",
                r#"["a.b",null]"#,
            ),
            expected(
                &["edge_ltree_array_null_not_null"],
                "P.public.t[0]",
                NOTHING,
                r#"key {"id":1} op "c" before null after {"id":1,"v":["a.b",null]}"#,
            ),
        ],
    },
    Reason {
        why: "a bit[] that is NOT NULL stops the task; ours is the fallback of the schema, which is that of bit",
        differences: &[
            expected(
                &["edge_bit_array_not_null"],
                "P.public.t[0]",
                NOTHING,
                r#"key {"id":1} op "c" before null after {"id":1,"o":false,"b":"","n":null}"#,
            ),
            expected(
                &["edge_bit_array_not_null"],
                "P.public.t[1]",
                NOTHING,
                r#"key {"id":1} op "d" before {"id":1,"o":false,"b":"","n":null} after null"#,
            ),
            expected(
                &["edge_bit_array_not_null"],
                "P.public.t[2]",
                NOTHING,
                r#"key {"id":1} value null"#,
            ),
        ],
    },
    Reason {
        why: "a table with columns that differ only by case stops the snapshot of all tables; ours goes on",
        differences: &[
            expected(
                &["edge_columns_by_case"],
                "P.public.t[0]",
                NOTHING,
                r#"key {"id":1} op "r" before null after {"id":1,"v":"v","V":"V"}"#,
            ),
            expected(
                &["edge_columns_by_case"],
                "P.public.t[1]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"v":"v","V":"V"}"#,
            ),
        ],
    },
    Reason {
        why: "a table with a line break in its name is not read; ours is",
        differences: &[
            expected(&["edge_table_name_line"], "P.public.a_b[0].key.id", "101", "1"),
            expected(&["edge_table_name_line"], "P.public.a_b[0].value.after.id", "101", "1"),
            expected(
                &["edge_table_name_line"],
                "P.public.a_b[0].value.source.snapshot",
                r#""false""#,
                r#""last""#,
            ),
            expected(&["edge_table_name_line"], "P.public.a_b[0].value.op", r#""c""#, r#""r""#),
            expected(
                &["edge_table_name_line"],
                "P.public.a_b[1]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101}"#,
            ),
        ],
    },
    Reason {
        why: "timetz with seconds in its offset is null in the snapshot and stops the stream; ours is right",
        differences: &[
            expected(
                &["edge_timetz_offset_seconds"],
                "P.public.t_edge[*].value.after.v",
                "null",
                r#""23:31:48Z""#,
            ),
            expected(
                &["edge_timetz_offset_seconds"],
                "P.public.t_edge[1]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"v":"23:31:48Z"}"#,
            ),
            expected(
                &["edge_timetz_offset_seconds_stream"],
                "P.public.t_edge[0]",
                NOTHING,
                r#"key {"id":101} op "c" before null after {"id":101,"v":"23:31:48Z"}"#,
            ),
        ],
    },
    Reason {
        why: "columns of type name are null in the stream, or empty if NOT NULL; ours have their value",
        differences: &[
            expected(
                &["not_null_fallback"],
                "P.public.t[*].value.after.c15_name",
                r#""""#,
                r#""a""#,
            ),
            expected(
                &["types_default_more", "types_default_more_modes"],
                "P.public.d_text[*].value.after.t18",
                "null",
                r#""n""#,
            ),
            expected(
                &["types_no_schema", "types_text"],
                "P.public.t_text[*].value.after.nm",
                "null",
                r#""aname""#,
            ),
            expected(
                &["types_no_schema", "types_text"],
                "P.public.t_text[*].value.after.nm",
                "null",
                r#""""#,
            ),
            expected(
                &["types_no_schema", "types_text"],
                "P.public.t_text[*].value.after.nm",
                "null",
                r#""n""#,
            ),
        ],
    },
    Reason {
        why: "an unchanged TOASTed bytea or bytea[] is null in the modes that write text; ours is the placeholder",
        differences: &[
            expected(
                &["events_toast_base64"],
                "P.public.toast_d[*].value.after.by",
                "null",
                r#""__debezium_unavailable_value""#,
            ),
            expected(
                &["events_toast_base64"],
                "P.public.toast_d[*].value.after.ba",
                "null",
                r#"["__debezium_unavailable_value"]"#,
            ),
            expected(
                &["events_toast_modes"],
                "P.public.toast_d[*].value.after.ba",
                "null",
                r#"["GONE"]"#,
            ),
        ],
    },
    Reason {
        why: "an unchanged TOASTed array of most types, or of a domain, is null; ours is the placeholder if the elements can hold it",
        differences: &[
            expected(
                &["events_toast_more_arrays"],
                "P.public.t[*].value.after.s",
                "null",
                "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,…",
            ),
            expected(
                &["events_toast_more_arrays"],
                "P.public.t[*].value.after.o",
                "null",
                "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,…",
            ),
            expected(
                &["events_toast_more_arrays"],
                "P.public.t[*].value.after.d",
                "null",
                "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,…",
            ),
            expected(
                &["events_toast_more_arrays"],
                "P.public.t[*].value.after.n",
                "null",
                r#"["__debezium_unavailable_value"]"#,
            ),
            expected(
                &["events_toast_more_arrays"],
                "P.public.t[*].value.after.c",
                "null",
                r#"["__debezium_unavailable_value"]"#,
            ),
            expected(
                &["events_toast_more_arrays"],
                "P.public.t[*].value.after.m",
                "null",
                r#"["__debezium_unavailable_value"]"#,
            ),
            expected(
                &["events_toast_more_arrays"],
                "P.public.t[*].value.after.l",
                "null",
                r#"["__debezium_unavailable_value"]"#,
            ),
            expected(
                &["events_toast_more_arrays"],
                "P.public.t[*].value.after.r",
                "null",
                r#"["__debezium_unavailable_value"]"#,
            ),
        ],
    },
    Reason {
        why: "an unchanged TOASTed numeric that is NOT NULL stops the task; ours is the placeholder's bytes",
        differences: &[
            expected(
                &["events_toast_numeric_not_null"],
                "P.public.t[0]",
                NOTHING,
                r#"key {"id":1} op "c" before null after {"id":1,"v":"v","nn":{"scale":0,"value":"CovQZL3Ww2rOEvVBOq+blAl8px8X9py…"#,
            ),
            expected(
                &["events_toast_numeric_not_null"],
                "P.public.t[1]",
                NOTHING,
                r#"key {"id":1} op "u" before null after {"id":1,"v":"w","nn":{"scale":0,"value":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}}"#,
            ),
        ],
    },
    Reason {
        why: "a table without columns stops the snapshot of all tables; ours leaves it out",
        differences: &[
            expected(
                &["events_zero_column"],
                "P.public.only_key[0]",
                NOTHING,
                r#"key {"id":1} op "r" before null after {"id":1}"#,
            ),
            expected(
                &["events_zero_column"],
                "P.public.only_key[1]",
                NOTHING,
                r#"key {"id":2} op "c" before null after {"id":2}"#,
            ),
            expected(
                &["events_zero_column"],
                "P.public.only_key[2]",
                NOTHING,
                r#"key {"id":2} op "d" before {"id":2} after null"#,
            ),
            expected(
                &["events_zero_column"],
                "P.public.only_key[3]",
                NOTHING,
                r#"key {"id":2} value null"#,
            ),
            expected(
                &["events_zero_column"],
                "P.public.only_key[4]",
                NOTHING,
                r#"key {"id":3} op "c" before null after {"id":3}"#,
            ),
            expected(
                &["events_zero_column"],
                "P.public.only_key[5]",
                NOTHING,
                r#"key {"id":1} op "d" before {"id":1} after null"#,
            ),
            expected(
                &["events_zero_column"],
                "P.public.only_key[6]",
                NOTHING,
                r#"key {"id":1} value null"#,
            ),
            expected(
                &["events_zero_column"],
                "P.public.only_key[7]",
                NOTHING,
                r#"key {"id":3} op "d" before {"id":3} after null"#,
            ),
            expected(
                &["events_zero_column"],
                "P.public.only_key[8]",
                NOTHING,
                r#"key {"id":3} value null"#,
            ),
        ],
    },
    Reason {
        why: "text[][] is Java's identity of an object; ours is null for each inner array, as Debezium's int[][]",
        differences: &[expected(
            &["include_unknown_datatypes", "types_array_unsupported"],
            "P.public.t_arrx[*].value.after.taa[0]",
            r#""[Ljava.lang.String;@hash""#,
            "null",
        )],
    },
    Reason {
        why: "in nanoseconds mode a delete that lacks a NOT NULL timestamp stops the task; ours has the fallback 0",
        differences: &[
            expected(
                &[
                    "nanoseconds_delete_not_null_timestamp",
                    "nanoseconds_delete_not_null_timestamp3",
                ],
                "P.public.t[1]",
                NOTHING,
                r#"key {"id":1} op "d" before {"id":1,"v":0} after null"#,
            ),
            expected(
                &[
                    "nanoseconds_delete_not_null_timestamp",
                    "nanoseconds_delete_not_null_timestamp3",
                ],
                "P.public.t[2]",
                NOTHING,
                r#"key {"id":1} value null"#,
            ),
        ],
    },
];
