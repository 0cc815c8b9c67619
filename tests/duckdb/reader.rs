use std::time::Duration;
use std::time::Instant;

use cdc_agent::apply::merge::ColumnType as T;
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
        .select("SELECT id, v AS \"n\"\"m\", v FROM shop.t1 ORDER BY id;", 10, LONG)
        .unwrap();
    assert_eq!(
        answer.json,
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
    let select = |limit| file.warehouse.query().select("FROM range(5)", limit, LONG).unwrap();
    assert_eq!((select(4).rows, select(4).truncated), (4, true));
    assert_eq!((select(5).rows, select(5).truncated), (5, false));
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
        let answer = file.warehouse.query().select(&query, 10, LONG);
        assert!(matches!(answer, Err(ReadError::Refused(_))), "{query}: {answer:?}");
    }
    assert_eq!(file.ask("SELECT count(*) FROM shop.t1"), "[[2]]");
}

#[test]
fn a_query_that_takes_too_long_is_ended() {
    let file = filled();
    let began = Instant::now();
    let query = "SELECT count(*) FROM range(10000000000) a, range(10000000000) b WHERE a.range = b.range + 1";
    let answer = file.warehouse.query().select(query, 10, Duration::from_millis(200));
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
                let answer =
                    reader.clone().select("SELECT count(*) FROM shop.t1", 1, LONG).unwrap();
                assert!(
                    answer.json.contains("[[2]]") || answer.json.contains("[[3]]"),
                    "{}",
                    answer.json
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
