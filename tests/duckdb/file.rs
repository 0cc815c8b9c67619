use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;

use cdc_agent::apply::merge::ColumnType as T;
use cdc_agent::apply::merge::DeadLetter;
use cdc_agent::apply::merge::LogPlace;
use cdc_agent::apply::merge::Mark;
use cdc_agent::apply::merge::Moved;
use cdc_agent::apply::merge::OffsetPlan;
use cdc_agent::apply::merge::TableId;
use cdc_agent::apply::merge::WatermarkPlan;
use cdc_agent::apply::warehouse::Claim;
use cdc_agent::apply::warehouse::Warehouse;
use cdc_agent::apply::warehouse::WarehouseError;
use cdc_agent::apply::warehouse::duckdb::DuckDb;
use cdc_agent::apply::warehouse::duckdb::Form;
use cdc_agent::apply::warehouse::duckdb::Settings;

use cdc_agent::position::Position;
use cdc_agent::table::TableName;

use crate::plans::Batch;
use crate::plans::File;
use crate::plans::GROUP;
use crate::plans::position;
use crate::plans::target;

/// Where the child of the next test finds its file.
const FILE: &str = "CDC_TEST_DUCKDB_FILE";

/// Not a test of its own: the second process of the next one. It commits a row and waits to be
/// killed.
#[test]
fn child_that_holds_a_file() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let mut warehouse = DuckDb::open(Settings::new(path)).unwrap();
    let target = target(1, &[("id", T::Int32)], &[0]);
    let batch = Batch::new().create(&target).row(5, &[Some("1")]);
    warehouse.load(GROUP, &batch.plan).unwrap();
    println!("holding");
    std::thread::sleep(std::time::Duration::from_secs(600));
}

#[test]
fn a_file_that_another_process_holds_is_refused_and_outlives_its_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.duckdb");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "file::child_that_holds_a_file", "--nocapture"])
        .env(FILE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).any(|line| line.contains("holding"));
    assert!(held, "the child ended before it held the file");
    let refused = DuckDb::open(Settings::new(&path)).unwrap_err();
    let WarehouseError::Unreachable { message } = refused else { panic!("{refused}") };
    assert!(message.contains(&format!("process {}", child.id())), "{message}");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut warehouse = DuckDb::open(Settings::new(&path)).unwrap();
    assert_eq!(warehouse.tables().unwrap().len(), 1);
    let answer = warehouse.query().select(
        "SELECT id FROM shop.t1",
        (9, Form::Json),
        std::time::Duration::from_secs(60),
    );
    assert!(answer.unwrap().text.contains("[[1]]"));
}

#[test]
fn a_file_is_open_once_in_a_process() {
    let file = File::new();
    let twice = DuckDb::open(Settings::new(file.folder.path().join("./shop.duckdb")));
    assert!(matches!(twice, Err(WarehouseError::Configuration { .. })), "{twice:?}");
    let path = file.path();
    drop(file.warehouse);
    DuckDb::open(Settings::new(path)).unwrap();
}

#[test]
fn what_is_no_file_of_duckdb_s_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    std::fs::write(&path, "x".repeat(100_000)).unwrap();
    for path in [path, folder.path().join("no/such/folder.duckdb"), folder.path().to_path_buf()] {
        let refused = DuckDb::open(Settings::new(&path));
        assert!(matches!(refused, Err(WarehouseError::Configuration { .. })), "{refused:?}");
    }
    let mut settings = Settings::new(folder.path().join("shop.duckdb"));
    settings.memory_limit = "plenty".to_owned();
    let refused = DuckDb::open(settings);
    assert!(matches!(refused, Err(WarehouseError::Configuration { .. })), "{refused:?}");
}

fn offset(partition: i32, next_offset: i64, fence: i64) -> OffsetPlan {
    let place = LogPlace { log: "L".to_owned(), begun_at: 3, last_record: "6:ab".to_owned() };
    OffsetPlan { topic: "t".to_owned(), partition, next_offset, fence, place }
}

fn partitions(numbers: &[i32]) -> Vec<(String, i32)> {
    numbers.iter().map(|number| ("t".to_owned(), *number)).collect()
}

#[test]
fn offsets_are_stored_with_the_rows_or_neither_is() {
    let mut file = File::new();
    let claim = |partition, next_offset: Option<i64>, fence| Claim {
        topic: "t".to_owned(),
        partition,
        next_offset,
        fence,
        place: next_offset.map(|at| offset(partition, at, fence).place).unwrap_or_default(),
    };
    let claims = file.warehouse.claim(GROUP, &partitions(&[0, 1])).unwrap();
    assert_eq!(claims, [claim(0, None, 1), claim(1, None, 1)]);
    let target = target(1, &[("id", T::Int32)], &[0]);
    let mut batch = Batch::new().create(&target).row(5, &[Some("1")]);
    batch.plan.offsets = vec![offset(0, 7, 1), offset(1, 8, 1)];
    file.load(&batch).unwrap();
    // Another group has its own offsets, and does not fence.
    let other = file.warehouse.claim("other", &partitions(&[0])).unwrap();
    assert_eq!(other, [claim(0, None, 1)]);
    // Somebody takes one partition: our next load is undone as a whole.
    assert_eq!(file.warehouse.claim(GROUP, &partitions(&[1])).unwrap(), [claim(1, Some(8), 2)]);
    let mut batch = Batch::new().table(&target, vec![]).row(6, &[Some("2")]);
    batch.plan.offsets = vec![offset(0, 9, 1), offset(1, 9, 1)];
    batch.plan.state = vec![("k".to_owned(), Some("v".to_owned()))];
    let fenced = WarehouseError::Fenced { partition: "t/1".to_owned() };
    assert_eq!(file.load(&batch), Err(fenced));
    assert_eq!(file.ask("SELECT id FROM shop.t1"), "[[1]]");
    assert_eq!(file.warehouse.state().unwrap(), []);
    assert_eq!(
        file.warehouse.claim(GROUP, &partitions(&[1, 0])).unwrap(),
        [claim(0, Some(7), 2), claim(1, Some(8), 3)]
    );
    // A partition that was never taken is fenced too.
    batch.plan.offsets = vec![offset(2, 1, 1)];
    assert!(matches!(file.load(&batch), Err(WarehouseError::Fenced { .. })));
}

#[test]
fn a_watermark_is_raised_only_from_where_it_was_assumed_to_be() {
    let mut file = File::new();
    let mark = |lsn: u64| Mark { position: position(lsn), offset: 3, ..Mark::default() };
    let watermark = |prefix: &str, before: Option<u64>, lsn| WatermarkPlan {
        topic: "t".to_owned(),
        partition: 0,
        prefix: prefix.to_owned(),
        table: TableName::new("shop", "t1"),
        before: before.map(mark),
        mark: mark(lsn),
    };
    let mut load = |plans: Vec<WatermarkPlan>| {
        let mut batch = Batch::new();
        batch.plan.watermarks = plans;
        file.load(&batch)
    };
    // Two sources may share a topic.
    load(vec![watermark("east", None, 900_000), watermark("west", None, 5)]).unwrap();
    load(vec![watermark("west", Some(5), 7)]).unwrap();
    // Another group had the same records.
    for before in [None, Some(5)] {
        let found = load(vec![watermark("west", before, 8)]);
        assert!(matches!(found, Err(WarehouseError::Conflict { .. })), "{found:?}");
    }
    let found: Vec<(String, Position)> = file
        .warehouse
        .watermarks("t")
        .unwrap()
        .into_iter()
        .map(|stored| (stored.prefix, stored.mark.position))
        .collect();
    assert_eq!(found, [("east".to_owned(), position(900_000)), ("west".to_owned(), position(7))]);
    assert_eq!(file.warehouse.watermarks("u").unwrap(), []);
}

#[test]
fn a_file_of_an_earlier_layout_is_refused() {
    let mut file = File::new();
    let earlier = "DROP TABLE _cdc.watermarks; \
        CREATE TABLE _cdc.watermarks (topic VARCHAR, partition INTEGER, position VARCHAR)";
    file.warehouse.execute_for_tests(earlier).unwrap();
    let path = file.path();
    drop(file.warehouse);
    let refused = DuckDb::open(Settings::new(path));
    let Err(WarehouseError::Configuration { message, .. }) = refused else { panic!("{refused:?}") };
    assert!(message.contains("earlier version"), "{message}");
}

#[test]
fn state_moved_values_and_dead_letters_come_and_go() {
    let mut file = File::new();
    let moved = Moved {
        table: TableId(3),
        position: position(5),
        values: vec![("a".to_owned(), Some("it's".to_owned())), ("b".to_owned(), None)],
    };
    let letter = |offset, reason: &str| DeadLetter {
        topic: "t".to_owned(),
        partition: 0,
        offset,
        reason: reason.to_owned(),
        key: Some(vec![0, 255]),
        value: None,
        headers: "[[\"h\",\"v\"]]".to_owned(),
    };
    let mut batch = Batch::new();
    batch.plan.moved = vec![moved.clone()];
    batch.plan.dead_letters = vec![letter(7, "first"), letter(9, "x"), letter(8, "y")];
    batch.plan.state =
        vec![("k'".to_owned(), Some("1".to_owned())), ("l".to_owned(), Some("2".to_owned()))];
    file.load(&batch).unwrap();
    // A letter is there once, with what was said first.
    batch.plan.dead_letters[0].reason = "second".to_owned();
    batch.plan.state = vec![("k'".to_owned(), Some("3".to_owned())), ("l".to_owned(), None)];
    file.load(&batch).unwrap();
    assert_eq!(file.warehouse.moved(TableId(3), position(5)).unwrap(), Some(moved));
    assert_eq!(file.warehouse.moved(TableId(3), position(6)).unwrap(), None);
    assert_eq!(file.warehouse.state().unwrap(), [("k'".to_owned(), "3".to_owned())]);
    let letters = file.warehouse.dead_letters(None, 2).unwrap();
    assert_eq!(letters, [letter(7, "first"), letter(8, "y")]);
    let after = ("t".to_owned(), 0, 8);
    assert_eq!(file.warehouse.dead_letters(Some(&after), 9).unwrap(), [letter(9, "x")]);
    assert_eq!(file.warehouse.parked_keys().unwrap(), [("t".to_owned(), vec![0, 255])]);
    let mut batch = Batch::new();
    batch.plan.moved_taken = vec![(TableId(3), position(5))];
    batch.plan.dead_letters_done = (7..10).map(|offset| ("t".to_owned(), 0, offset)).collect();
    file.load(&batch).unwrap();
    assert_eq!(file.warehouse.moved(TableId(3), position(5)).unwrap(), None);
    assert_eq!(file.warehouse.dead_letters(None, 9).unwrap(), []);
}

/// Two programs with different pictures of a table: the older one is told to look again.
#[test]
fn an_old_picture_of_a_table_is_a_conflict() {
    let mut file = File::new();
    let mut target = target(1, &[("id", T::Int32)], &[0]);
    target.generation = 1;
    let load = |file: &mut File, batch: &Batch| file.warehouse.load(GROUP, &batch.plan);
    load(&mut file, &Batch::new().create(&target).row(5, &[Some("1")])).unwrap();
    load(&mut file, &Batch::new().table(&target, vec![]).row(6, &[Some("1")])).unwrap();
    target.generation = 3;
    for store_target in [false, true] {
        let mut batch = Batch::new().table(&target, vec![]).row(7, &[Some("2")]);
        batch.last().store_target = store_target;
        let refused = load(&mut file, &batch);
        assert!(matches!(refused, Err(WarehouseError::Conflict { .. })), "{refused:?}");
    }
    target.generation = 2;
    load(&mut file, &Batch::new().table(&target, vec![]).floor(4)).unwrap();
    assert_eq!(file.ask("SELECT id FROM shop.t1"), "[[1]]");
}

/// As an analyst does, once the process has ended: not attached to another database.
#[test]
fn any_duckdb_opens_the_file_after_a_kill_and_after_a_clean_end() {
    let mut file = File::new();
    let list = T::Array(Box::new(T::Int32));
    let kinds = [(list, "[\"1\"]", "[[\"1\"],[\"2\"]]"), (T::Interval, "1 mon", "infinity")];
    for (id, (kind, before, wider)) in (1..).zip(kinds) {
        let target = target(id, &[("id", T::Int32), ("v", kind)], &[0]);
        file.load(&Batch::new().create(&target).row(5, &[Some("1"), Some(before)])).unwrap();
        file.load(&Batch::new().table(&target, vec![]).row(6, &[Some("2"), Some(wider)])).unwrap();
    }
    // What a process leaves behind that is killed now.
    let left = file.folder.path().join("left.duckdb");
    std::fs::copy(file.path(), &left).unwrap();
    if let Ok(log) = std::fs::read(file.path().with_extension("duckdb.wal")) {
        std::fs::write(left.with_extension("duckdb.wal"), log).unwrap();
    }
    let rows = "SELECT (SELECT count(*) FROM shop.t1) + (SELECT count(*) FROM shop.t2)";
    assert_eq!(DuckDb::ask_plainly_for_tests(&left, rows).unwrap(), 4);
    // More tables than DuckDB takes into the file under the usual limit of memory.
    for id in 3..63 {
        let target = target(id, &[("id", T::Int32), ("v", T::Text)], &[0]);
        file.load(&Batch::new().create(&target).row(5, &[Some("1"), Some("a")])).unwrap();
    }
    let (path, folder) = (file.path(), file.folder);
    drop(file.warehouse);
    assert!(!path.with_extension("duckdb.wal").exists());
    let rows = rows.replace(" shop.", " shop.shop.");
    assert_eq!(DuckDb::ask_plainly_for_tests(&path, &rows).unwrap(), 4);
    drop(folder);
}
