use std::time::Duration;
use std::time::Instant;

use cdc_agent::apply::merge::ColumnType as T;
use cdc_agent::apply::warehouse::duckdb::Form;
use cdc_agent::apply::warehouse::duckdb::ReadError;

use crate::plans::Batch;
use crate::plans::File;
use crate::plans::target;

const LONG: Duration = Duration::from_secs(60);

fn filled() -> File {
    let mut file = File::new();
    let target = target(1, &[("id", T::Int64), ("v", T::Text)], &[0]);
    let batch = Batch::new()
        .create(&target)
        .row(5, &[Some("1"), Some("a\"b")])
        .row(5, &[Some("9007199254740993"), None]);
    file.load(&batch).unwrap();
    file
}

#[test]
fn values_are_json_that_loses_nothing() {
    let file = filled();
    let answer = file
        .warehouse
        .query()
        .select("SELECT id, v AS \"n\"\"m\", v FROM shop.t1 ORDER BY id;", (10, Form::Json), LONG)
        .unwrap();
    assert_eq!(
        answer.text,
        r#"{"columns":["id","n\"m","v"],"rows":[[1,"a\"b","a\"b"],["9007199254740993",null,null]],"truncated":false}"#
    );
    let ask = |query: &str| file.ask(query);
    assert_eq!(
        ask("SELECT 1.50, true, 0.1::FLOAT, 'NaN'::DOUBLE, 1e20"),
        "[[\"1.50\",true,0.1,\"NaN\",1e+20]]".replace("NaN", "nan")
    );
    assert_eq!(
        ask("SELECT [1, NULL], {'a': 'x'}, '00'::BLOB"),
        "[[[1,null],{\"a\":\"x\"},\"3030\"]]"
    );
    assert_eq!(
        ask("FROM (VALUES (DATE '2024-01-01', INTERVAL 1 MONTH))"),
        "[[\"2024-01-01\",\"1 month\"]]"
    );
    assert_eq!(ask("WITH x AS (SELECT 1 AS a) SELECT a FROM x -- and a comment"), "[[1]]");
}

#[test]
fn more_rows_than_asked_for_are_told_of() {
    let file = filled();
    let select =
        |limit| file.warehouse.query().select("FROM range(5)", (limit, Form::Json), LONG).unwrap();
    assert_eq!((select(4).rows, select(4).truncated), (4, true));
    assert_eq!((select(5).rows, select(5).truncated), (5, false));
}

/// Statements that would do more than read, each by another way.
const MORE_THAN_READING: &[&str] = &[
    "PRAGMA enable_logging",
    "PRAGMA enable_profiling",
    "PRAGMA threads=1",
    "SELECT * FROM enable_logging(storage := 'file', storage_path := '/tmp/x')",
    "SELECT * FROM \"ENABLE_LOGGING\"()",
    "SELECT * FROM system.main.enable_logging()",
    "SELECT a FROM (SELECT 1 AS a) t, LATERAL (SELECT * FROM disable_logging())",
    "WITH x AS (FROM enable_profiling()) SELECT * FROM x",
    "SELECT (SELECT count(*) FROM checkpoint())",
    "SELECT 1 WHERE EXISTS (FROM force_checkpoint())",
    "FROM range(1) UNION ALL SELECT count(*) FROM truncate_duckdb_logs()",
    "DESCRIBE FROM enable_logging()",
    "SUMMARIZE FROM enable_logging()",
    "EXPLAIN ANALYZE SELECT * FROM enable_logging()",
    "EXPLAIN DELETE FROM shop.t1",
    "EXPLAIN ANALYZE DELETE FROM shop.t1",
    "EXPLAIN EXPLAIN SELECT 1",
    "FROM query('SELECT * FROM enable_logging()')",
    "FROM query_table(['shop.t1'])",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM enable_logging()'))",
    "FROM duckdb_settings()",
    "FROM duckdb_secrets()",
    "SELECT write_log('x')",
    "SELECT 'x'.write_log()",
    "SELECT current_setting('temp_directory')",
    "SELECT getenv('HOME')",
    "SELECT sleep_ms(1)",
    "SELECT pg_sleep(1)",
    "SELECT length(repeat('x', 900000000))",
    "SELECT list_resize([1], 900000000)",
    "SELECT range(900000000)",
    "EXECUTE x",
    "SET lock_configuration = false",
    "RESET memory_limit",
    "LOAD parquet",
    "INSTALL httpfs",
    "DETACH _warehouse",
    "USE memory",
    "CREATE TEMP MACRO f() AS TABLE FROM range(1)",
    "CREATE TEMP TABLE x (a int)",
    "SET VARIABLE x = 1",
    "EXPORT DATABASE '/tmp/x'",
    "VACUUM",
    "CHECKPOINT",
];

#[test]
fn a_query_changes_nothing_of_the_process() {
    let file = filled();
    for query in MORE_THAN_READING {
        let answer = file.warehouse.query().select(query, (10, Form::Json), LONG);
        assert!(matches!(answer, Err(ReadError::Refused(_))), "{query}: {answer:?}");
    }
    assert_eq!(file.ask("SELECT count(*) FROM shop.t1"), "[[2]]");
}

#[test]
fn only_one_select_is_taken() {
    let file = filled();
    let secret = file.folder.path().join("secret.csv");
    std::fs::write(&secret, "a,b\n1,2\n").unwrap();
    let secret = secret.display().to_string();
    for query in [
        "DELETE FROM shop.t1".to_owned(),
        "INSERT INTO shop.t1 (id) VALUES (5)".to_owned(),
        "SELECT 1; DROP TABLE shop.t1".to_owned(),
        "SELECT 1) AS x; DROP TABLE shop.t1; SELECT * FROM (SELECT 1".to_owned(),
        "DROP TABLE shop.t1".to_owned(),
        "SET memory_limit = '10GB'".to_owned(),
        "PRAGMA database_list".to_owned(),
        "ATTACH ':memory:' AS other".to_owned(),
        "CALL force_checkpoint()".to_owned(),
        "COMMIT".to_owned(),
        "COPY shop.t1 TO '/tmp/x.csv'".to_owned(),
        format!("SELECT * FROM read_csv('{secret}')"),
        format!("SELECT * FROM '{secret}'"),
        format!("SELECT content FROM read_text('{secret}')"),
        format!("SELECT * FROM glob('{secret}')"),
        "SELECT * FROM no_such_table".to_owned(),
        "SELEKT".to_owned(),
        String::new(),
    ] {
        let answer = file.warehouse.query().select(&query, (10, Form::Json), LONG);
        assert!(matches!(answer, Err(ReadError::Refused(_))), "{query}: {answer:?}");
    }
    assert_eq!(file.ask("SELECT count(*) FROM shop.t1"), "[[2]]");
}

#[test]
fn no_function_in_from_is_answered_that_is_not_known_to_read_only() {
    let file = filled();
    let answered = |name: &str| {
        let query = format!("SELECT * FROM {name}()");
        match file.warehouse.query().select(&query, (1, Form::Json), LONG) {
            Err(ReadError::Refused(message)) => {
                !message.contains("is not answered here") && !message.contains("Parser Error")
            }
            _ => true,
        }
    };
    let all = file.ask(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('table', \
         'table_macro', 'pragma') ORDER BY 1",
    );
    let all: Vec<Vec<String>> = serde_json::from_str(&all).unwrap();
    let all: Vec<&String> = all.iter().flatten().filter(|name| answered(name)).collect();
    assert_eq!(
        all,
        [
            "duckdb_columns",
            "duckdb_constraints",
            "duckdb_databases",
            "duckdb_dependencies",
            "duckdb_functions",
            "duckdb_indexes",
            "duckdb_keywords",
            "duckdb_schemas",
            "duckdb_sequences",
            "duckdb_tables",
            "duckdb_types",
            "duckdb_views",
            "generate_series",
            "json_each",
            "json_tree",
            "pg_timezone_names",
            "pragma_collations",
            "pragma_database_size",
            "pragma_platform",
            "pragma_show",
            "pragma_storage_info",
            "pragma_table_info",
            "pragma_version",
            "range",
            "summary",
            "unnest",
        ]
    );
}

#[test]
fn no_statement_changes_a_setting_of_the_process() {
    let mut file = filled();
    for setting in ["SET GLOBAL enable_external_access = true", "SET GLOBAL memory_limit = '9GB'"] {
        let refused = file.warehouse.execute_for_tests(setting);
        assert!(refused.is_err(), "{setting}: {refused:?}");
    }
    assert_eq!(file.ask("SELECT 1"), "[[1]]");
}

#[test]
fn the_first_words_of_an_analyst_are_answered() {
    let file = filled();
    assert_eq!(file.ask("SHOW TABLES"), r#"[["t1"]]"#);
    assert_eq!(file.ask("show tables;"), r#"[["t1"]]"#);
    assert_eq!(file.ask("SELECT count(*) FROM t1"), "[[2]]");
    assert!(file.ask("PRAGMA version").contains("v1."));
    assert!(file.ask("PRAGMA table_info('shop.t1')").contains("\"id\""));
    assert!(file.ask("DESCRIBE t1").contains("BIGINT"));
    assert!(file.ask("SUMMARIZE t1").contains("\"id\""));
    assert!(file.ask("EXPLAIN SELECT * FROM shop.t1").contains("physical_plan"));
    assert!(file.ask("explain analyze SELECT * FROM shop.t1").contains("t1"));
    let missing = file.warehouse.query().select("FROM t2", (1, Form::Json), LONG).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "there is no table t2: SHOW ALL TABLES lists those that are, such as shop.t1"
    );
}

#[test]
fn lines_of_values_lose_nothing_either() {
    let file = filled();
    let query = "SELECT id, v, '' AS empty, 'a,b' AS \"x,y\" FROM shop.t1 ORDER BY id";
    let answer = file.warehouse.query().select(query, (1, Form::Csv), LONG).unwrap();
    assert_eq!(answer.text, "id,v,empty,\"x,y\"\r\n1,\"a\"\"b\",\"\",\"a,b\"\r\n");
    assert!(answer.truncated);
}

#[test]
fn a_value_and_a_row_have_bounds() {
    let file = filled();
    let ask = |query: &str| file.warehouse.query().select(query, (9, Form::Json), LONG);
    let large = ask("SELECT repeat(repeat('x', 10000), 2000) AS big").unwrap_err().to_string();
    assert!(large.contains("column big has 20000000 bytes"), "{large}");
    let wide = ask("SELECT repeat('x', 9000000) AS a, repeat('x', 9000000) AS b").unwrap_err();
    assert!(wide.to_string().contains("one row is larger"), "{wide}");
    let many = ask("SELECT repeat('x', 9000000) FROM range(3)").unwrap();
    assert_eq!((many.rows, many.truncated), (1, true));
    assert!(many.text.len() < 17 << 20);
    serde_json::from_str::<serde_json::Value>(&many.text).unwrap();
}

#[test]
fn a_query_that_takes_too_long_is_ended() {
    let file = filled();
    let began = Instant::now();
    let query = "SELECT count(*) FROM range(10000000000) a, range(10000000000) b WHERE a.range = b.range + 1";
    let answer = file.warehouse.query().select(query, (10, Form::Json), Duration::from_millis(200));
    assert_eq!(answer, Err(ReadError::Timeout));
    assert!(began.elapsed() < LONG, "it went on for {:?}", began.elapsed());
    assert_eq!(file.ask("SELECT 1"), "[[1]]");
}

#[test]
fn reading_and_writing_go_on_side_by_side() {
    let mut file = filled();
    let target = target(1, &[("id", T::Int64), ("v", T::Text)], &[0]);
    let reader = file.warehouse.query();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            for _ in 0..50 {
                let answer = reader
                    .clone()
                    .select("SELECT count(*) FROM shop.t1", (1, Form::Json), LONG)
                    .unwrap();
                assert!(
                    answer.text.contains("[[2]]") || answer.text.contains("[[3]]"),
                    "{}",
                    answer.text
                );
            }
        });
        for lsn in 10..40 {
            let batch = Batch::new().table(&target, vec![]);
            let batch = if lsn % 2 == 0 {
                batch.row(lsn, &[Some("5"), None])
            } else {
                batch.delete(lsn, &[Some("5"), None])
            };
            file.load(&batch).unwrap();
        }
        reading.join().unwrap();
    });
}
