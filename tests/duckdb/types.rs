use cdc_agent::apply::merge::ColumnType as T;
use cdc_agent::apply::warehouse::WarehouseError;

use crate::plans::Batch;
use crate::plans::File;
use crate::plans::target;

fn array(element: T) -> T {
    T::Array(Box::new(element))
}

fn built_in(name: &str) -> T {
    T::BuiltIn(name.to_owned())
}

/// Types, DuckDB's for them, and texts that must come out as they went in.
fn held() -> Vec<(T, &'static str, Vec<&'static str>)> {
    vec![
        (T::Boolean, "BOOLEAN", vec!["t", "f"]),
        (T::Int16, "SMALLINT", vec!["-32768", "32767", "0"]),
        (T::Int32, "INTEGER", vec!["-2147483648", "2147483647"]),
        (T::Int64, "BIGINT", vec!["-9223372036854775808", "9223372036854775807"]),
        (
            T::Float32,
            "FLOAT",
            vec!["0.1", "1e-45", "3.4028235e+38", "NaN", "Infinity", "-Infinity"],
        ),
        (T::Float64, "DOUBLE", vec!["0.1", "5e-324", "1.7976931348623157e+308", "NaN", "-0.0"]),
        (T::Numeric, "VARCHAR", vec!["1.50", "NaN", "-Infinity", "1e-20"]),
        (T::Decimal(10, 2), "DECIMAL(10,2)", vec!["-99999999.99", "0.05", "12.50"]),
        (
            T::Decimal(38, 38),
            "DECIMAL(38,38)",
            vec![
                "0.12345678901234567890123456789012345678",
                "-0.50000000000000000000000000000000000000",
            ],
        ),
        (T::Decimal(39, 2), "VARCHAR", vec!["1234567890123456789012345678901234567.89"]),
    ]
}

/// The same of the others.
fn held_beside_numbers() -> Vec<(T, &'static str, Vec<&'static str>)> {
    vec![
        (T::Text, "VARCHAR", vec!["", "a'b\"c\\d", "ünïcode 🦀", "line\nline", " padded "]),
        (T::Varchar(3), "VARCHAR", vec!["abc"]),
        (T::Bytes, "BLOB", vec!["", "00ff10", "5c78"]),
        (
            T::Date,
            "DATE",
            vec![
                "2024-02-29",
                "0044-03-15 (BC)",
                "12345-01-01",
                "5874897-12-31",
                "infinity",
                "-infinity",
                "4714-11-24 (BC)",
            ],
        ),
        (T::Time, "TIME", vec!["00:00:00", "24:00:00", "23:59:59.999999", "04:05:06.7"]),
        (T::TimeTz, "TIME WITH TIME ZONE", vec!["04:05:06.7+00", "24:00:00+00", "04:05:06-08:30"]),
        (
            T::Timestamp,
            "TIMESTAMP",
            vec![
                "2024-02-29 04:05:06.123456",
                "0044-03-15 10:00:00 (BC)",
                "294246-12-31 23:59:59.999999",
                "4714-11-24 10:00:00.123456 (BC)",
                "infinity",
                "-infinity",
            ],
        ),
        (
            T::TimestampTz,
            "TIMESTAMP WITH TIME ZONE",
            vec![
                "2024-02-29 04:05:06.123456+00",
                "0044-03-15 10:00:00+00 (BC)",
                "294246-12-31 23:59:59.999999+00",
                "4714-11-24 10:00:00.123456+00 (BC)",
                "infinity",
                "-infinity",
            ],
        ),
        (
            T::Interval,
            "INTERVAL",
            vec![
                "1 year 2 mons 3 days 04:05:06.789",
                "-1 years -2 mons +3 days -04:05:06",
                "-1 days +00:00:01",
                "00:00:00",
                "30 days",
                "1 mon",
                "178956970 years 7 mons",
                "1000:00:00",
            ],
        ),
    ]
}

/// The same of JSON, types without a variant of their own, and arrays.
fn held_of_other_kinds() -> Vec<(T, &'static str, Vec<&'static str>)> {
    vec![
        (T::Uuid, "UUID", vec!["123e4567-e89b-12d3-a456-426614174000"]),
        (T::Json, "JSON", vec!["{\"a\" : 1,\"a\":2}", "1e400", "\"\\u0000\"", "null"]),
        (T::Jsonb, "JSON", vec!["{\"a\": [1, 2.0]}"]),
        (built_in("inet"), "VARCHAR", vec!["10.0.0.1/8"]),
        (array(T::Int32), "INTEGER[]", vec!["[]", "[\"1\",null,\"-3\"]"]),
        (array(T::Text), "VARCHAR[]", vec!["[\"a\\\"b\",null,\"[\",\"\"]"]),
        (array(T::Bytes), "BLOB[]", vec!["[\"00ff\",null]"]),
        (array(T::Boolean), "BOOLEAN[]", vec!["[\"t\",\"f\",null]"]),
        (array(T::Decimal(5, 2)), "DECIMAL(5,2)[]", vec!["[\"1.50\"]"]),
        (array(T::Date), "DATE[]", vec!["[\"0044-03-15 (BC)\",\"infinity\"]"]),
        (
            array(T::TimestampTz),
            "TIMESTAMP WITH TIME ZONE[]",
            vec!["[\"0044-03-15 10:00:00+00 (BC)\"]"],
        ),
        (array(T::Interval), "INTERVAL[]", vec!["[\"-1 days +00:00:01\"]"]),
    ]
}

#[test]
fn every_type_gives_back_what_it_was_given() {
    let mut file = File::new();
    for (id, (column_type, stored, texts)) in
        (1..).zip(held().into_iter().chain(held_beside_numbers()).chain(held_of_other_kinds()))
    {
        let target = target(id, &[("id", T::Int32), ("v", column_type.clone())], &[0]);
        let mut batch = Batch::new().create(&target);
        let ids: Vec<String> = (0..=texts.len()).map(|id| id.to_string()).collect();
        batch = batch.row(5, &[Some(&ids[texts.len()]), None]);
        for (id, text) in ids.iter().zip(&texts) {
            batch = batch.row(5, &[Some(id), Some(text)]);
        }
        file.load(&batch).unwrap();
        let found = file.ask(&format!(
            "SELECT data_type FROM duckdb_columns() WHERE table_name = 't{id}' AND \
             schema_name = 'shop' AND column_name = 'v'"
        ));
        assert_eq!(found, format!("[[\"{stored}\"]]"), "{column_type:?}");
        for (id, text) in ids.iter().zip(texts.iter().map(|text| Some(*text)).chain([None])) {
            let rows = file.rows(&target, &[&[id]]);
            let cells = rows[0].as_ref().unwrap().1.as_ref().unwrap();
            assert_eq!(cells[1].as_deref(), text, "{column_type:?}");
        }
    }
}

#[test]
fn every_type_can_be_a_key_and_a_whole_row() {
    let mut file = File::new();
    for (id, (column_type, _, texts)) in
        (1..).zip(held().into_iter().chain(held_beside_numbers()).chain(held_of_other_kinds()))
    {
        // As key: an update, then a delete, meet the row that is there.
        let keyed = target(id, &[("v", column_type.clone()), ("n", T::Int32)], &[0]);
        let mut batch = Batch::new().create(&keyed);
        for text in &texts {
            batch = batch.row(5, &[Some(text), Some("1")]);
        }
        file.load(&batch).unwrap();
        let mut batch = Batch::new().table(&keyed, vec![]);
        for text in &texts {
            batch = batch.row(6, &[Some(text), Some("2")]);
        }
        file.load(&batch).unwrap();
        let found = file.ask(&format!("SELECT count(*), CAST(sum(n) AS BIGINT) FROM shop.t{id}"));
        assert_eq!(found, format!("[[{},{}]]", texts.len(), 2 * texts.len()), "{column_type:?}");
        // As row of a table without key.
        let bag = target(id + 1000, &[("v", column_type.clone())], &[]);
        let mut batch = Batch::new().create(&bag);
        for text in &texts {
            batch = batch.count(5, 2, &[Some(text)]);
        }
        file.load(&batch).unwrap();
        let mut batch = Batch::new().table(&bag, vec![]);
        for text in &texts {
            batch = batch.count(6, -1, &[Some(text)]);
        }
        let loaded = file.load(&batch).unwrap();
        assert_eq!(loaded.deleted, [texts.len() as u64], "{column_type:?}");
        assert_eq!(loaded.not_found, [0], "{column_type:?}");
    }
}

/// Values that a type cannot hold, the type that the column gets, and a value that was there
/// before.
#[test]
fn a_value_that_a_type_cannot_hold_widens_its_column() {
    let cases: Vec<(T, &str, &str, &str)> = vec![
        (T::Interval, "infinity", "VARCHAR", "-1 years +3 days"),
        (T::Interval, "2562047788:00:54.775807", "VARCHAR", "1 mon"),
        (T::Timestamp, "294276-12-31 23:59:59", "VARCHAR", "0044-03-15 10:00:00 (BC)"),
        (T::TimestampTz, "294276-12-31 23:59:59+00", "VARCHAR", "2024-01-01 00:00:00+00"),
        (T::Decimal(10, 2), "NaN", "VARCHAR", "12.50"),
        (T::Decimal(10, 2), "1.235", "VARCHAR", "12.50"),
        (T::Decimal(10, 2), "123456789.00", "VARCHAR", "12.50"),
        (T::Int32, "1.5", "VARCHAR", "7"),
        (T::Int32, "2147483648", "VARCHAR", "7"),
        (T::Float32, "1e39", "VARCHAR", "0.1"),
        (T::Json, "\"\\ud800\"", "VARCHAR", "{\"a\": 1}"),
        (array(T::Int32), "[[\"1\"],[\"2\"]]", "JSON", "[\"1\",null]"),
        (array(T::Text), "[[\"a\"],[null]]", "JSON", "[\"a\",null,\"\"]"),
        (array(T::Interval), "[\"infinity\"]", "JSON", "[\"-1 days +00:00:01\"]"),
        (array(T::Json), "[[\"\\\"\\\\ud800\\\"\"]]", "JSON", "[\"{}\"]"),
    ];
    let mut file = File::new();
    for (id, (column_type, text, stored, before)) in (1..).zip(cases) {
        let target = target(id, &[("id", T::Int32), ("v", column_type.clone())], &[0]);
        file.load(&Batch::new().create(&target).row(5, &[Some("1"), Some(before)])).unwrap();
        let batch = Batch::new()
            .table(&target, vec![])
            .row(6, &[Some("2"), Some(text)])
            .row(6, &[Some("3"), None]);
        let loaded = file.load(&batch).unwrap_or_else(|error| panic!("{column_type:?} {error}"));
        assert_eq!(loaded.upserted, [2]);
        let found = file.ask(&format!(
            "SELECT data_type FROM duckdb_columns() WHERE table_name = 't{id}' AND \
             schema_name = 'shop' AND column_name = 'v'"
        ));
        assert_eq!(found, format!("[[\"{stored}\"]]"), "{column_type:?} {text}");
        let rows = file.rows(&target, &[&["1"], &["2"], &["3"]]);
        let value = |at: usize| rows[at].as_ref().unwrap().1.as_ref().unwrap()[1].clone();
        assert_eq!(value(0).as_deref(), Some(before), "{column_type:?} {text}");
        assert_eq!(value(1).as_deref(), Some(text), "{column_type:?}");
        assert_eq!(value(2), None);
    }
}

/// Also in the batch that makes the table, in a table without key, and as a part of the key.
#[test]
fn a_column_is_widened_wherever_it_stands() {
    let mut file = File::new();
    let bag = target(1, &[("v", T::Interval), ("w", array(T::Int16))], &[]);
    let batch = Batch::new().create(&bag).count(5, 2, &[Some("infinity"), Some("[[\"1\"]]")]);
    file.load(&batch).unwrap();
    assert_eq!(
        file.ask("SELECT v, w, count(*) FROM shop.t1 GROUP BY ALL"),
        "[[\"infinity\",\"[[\\\"1\\\"]]\",2]]"
    );
    let keyed = target(2, &[("v", T::Timestamp), ("n", T::Int32)], &[0]);
    let before = [Some("2024-01-01 00:00:00"), Some("1")];
    file.load(&Batch::new().create(&keyed).row(5, &before)).unwrap();
    file.load(&Batch::new().table(&keyed, vec![]).delete(6, &before)).unwrap();
    let far =
        Batch::new().table(&keyed, vec![]).row(7, &[Some("294276-01-01 00:00:00"), Some("2")]);
    file.load(&far).unwrap();
    // The tombstone is met by the same text.
    let loaded = file.load(&Batch::new().table(&keyed, vec![]).row(6, &before)).unwrap();
    assert_eq!(loaded.upserted, [0]);
    assert_eq!(file.ask("SELECT n FROM shop.t2"), "[[2]]");
}

#[test]
fn a_refused_value_is_named_by_its_column_and_not_told() {
    let mut file = File::new();
    let mut target = target(1, &[("id", T::Int32), ("v", T::Int32)], &[0]);
    target.is_foreign = true;
    file.load(&Batch::new().create(&target)).unwrap();
    let batch = Batch::new().table(&target, vec![]).row(5, &[Some("1"), Some("secret")]);
    let Err(WarehouseError::Data { message }) = file.load(&batch) else { panic!("it was taken") };
    assert!(message.contains("shop.t1") && message.contains("column v"), "{message}");
    assert!(!message.contains("secret"), "{message}");
    // And the file goes on.
    file.load(&Batch::new().table(&target, vec![]).row(5, &[Some("1"), Some("2")])).unwrap();
}
