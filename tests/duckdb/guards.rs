use cdc_agent::apply::merge::ColumnType as T;
use cdc_agent::apply::merge::Target;
use cdc_agent::apply::warehouse::DeleteMode;
use cdc_agent::apply::warehouse::Warehouse;

use crate::plans::Batch;
use crate::plans::File;
use crate::plans::MISSING;
use crate::plans::target;

fn customers() -> Target {
    target(1, &[("id", T::Int32), ("name", T::Text), ("note", T::Text)], &[0])
}

/// A file with the table and the row `(1, a, x)` at position 10.
fn one_row(mut file: File) -> File {
    let batch = Batch::new().create(&customers()).row(10, &[Some("1"), Some("a"), Some("x")]);
    file.load(&batch).unwrap();
    file
}

fn again() -> Batch {
    Batch::new().table(&customers(), vec![])
}

const ALL: &str = "SELECT id, name, note, _cdc_incomplete FROM shop.t1 ORDER BY id";

#[test]
fn only_a_newer_change_counts_and_a_read_also_an_equal_one() {
    let mut file = one_row(File::new());
    for (lsn, is_read, wins) in [
        (9, false, false),
        (10, false, false),
        (9, true, false),
        (10, true, true),
        (11, false, true),
    ] {
        let name = format!("{lsn}{is_read}");
        let batch =
            again().row(lsn, &[Some("1"), Some(&name), None]).but(|row| row.is_read = is_read);
        let loaded = file.load(&batch).unwrap();
        assert_eq!(loaded.upserted, [u64::from(wins)], "{name}");
        let found = file.ask("SELECT name FROM shop.t1");
        assert_eq!(found == format!("[[\"{name}\"]]"), wins, "{name}");
    }
    assert_eq!(file.ask("SELECT count(*) FROM shop.t1"), "[[1]]");
}

#[test]
fn a_deleted_row_leaves_a_tombstone_that_only_a_newer_change_passes() {
    let mut file = one_row(File::new());
    let loaded = file.load(&again().delete(20, &[Some("1"), None, None])).unwrap();
    assert_eq!((loaded.deleted, loaded.upserted), (vec![1], vec![0]));
    assert_eq!(file.rows(&customers(), &[&["1"]]), [Some((20, None))]);
    assert_eq!(file.load(&again().row(15, &[Some("1"), Some("old"), None])).unwrap().upserted, [0]);
    assert_eq!(file.ask(ALL), "[]");
    file.load(&again().row(21, &[Some("1"), Some("new"), None])).unwrap();
    assert_eq!(file.ask(ALL), "[[1,\"new\",null,null]]");
    assert_eq!(file.ask("SELECT count(*) FROM _cdc.tombstones_1"), "[[0]]");
    // An older delete changes nothing; one of a row that was never there is remembered.
    let batch = again().delete(20, &[Some("1"), None, None]).delete(30, &[Some("2"), None, None]);
    assert_eq!(file.load(&batch).unwrap().deleted, [0]);
    file.load(&again().row(29, &[Some("2"), Some("old"), None])).unwrap();
    assert_eq!(file.ask(ALL), "[[1,\"new\",null,null]]");
    assert_eq!(file.rows(&customers(), &[&["2"], &["3"]]), [Some((30, None)), None]);
}

#[test]
fn without_tombstones_an_old_row_comes_back() {
    let mut file = one_row(File::with(|settings| settings.broken.without_tombstones = true));
    file.load(&again().delete(20, &[Some("1"), None, None])).unwrap();
    file.load(&again().row(15, &[Some("1"), Some("old"), None])).unwrap();
    assert_eq!(file.ask(ALL), "[[1,\"old\",null,null]]");
}

#[test]
fn a_missing_value_is_kept_from_the_row() {
    let mut file = one_row(File::new());
    let loaded = file.load(&again().row(11, &[Some("1"), Some("b"), MISSING])).unwrap();
    assert_eq!(loaded.incomplete, 0);
    assert_eq!(file.ask(ALL), "[[1,\"b\",\"x\",null]]");
}

#[test]
fn a_missing_value_without_a_row_is_named_until_it_comes() {
    let mut file = one_row(File::new());
    let batch = again()
        .row(11, &[Some("1"), MISSING, MISSING])
        .but(|row| row.is_fresh = true)
        .row(11, &[Some("2"), MISSING, Some("y")])
        .row(11, &[Some("3"), Some("c"), Some("z")]);
    assert_eq!(file.load(&batch).unwrap().incomplete, 2);
    assert_eq!(
        file.ask(ALL),
        "[[1,null,null,[\"name\",\"note\"]],[2,null,\"y\",[\"name\"]],[3,\"c\",\"z\",null]]"
    );
    let missing = || Some("?".to_owned());
    let rows = file.rows(&customers(), &[&["1"]]);
    assert_eq!(rows, [Some((11, Some(vec![Some("1".to_owned()), missing(), missing()])))]);
    // Still missing, then one by one filled, also by NULL.
    let batch = again()
        .row(12, &[Some("1"), MISSING, Some("filled")])
        .row(12, &[Some("2"), None, MISSING])
        .row(12, &[Some("3"), MISSING, MISSING]);
    assert_eq!(file.load(&batch).unwrap().incomplete, 1);
    assert_eq!(
        file.ask(ALL),
        "[[1,null,\"filled\",[\"name\"]],[2,null,\"y\",null],[3,\"c\",\"z\",null]]"
    );
    file.load(&again().row(13, &[Some("1"), Some("whole"), MISSING])).unwrap();
    assert_eq!(
        file.ask("SELECT * EXCLUDE _cdc_position FROM shop.t1 WHERE id = 1"),
        "[[1,\"whole\",\"filled\",null]]"
    );
}

/// What a deleted row had is not what the next one of its key has.
#[test]
fn a_missing_value_is_not_taken_from_a_row_that_is_gone() {
    for mode in [DeleteMode::Hard, DeleteMode::Soft] {
        let mut file = one_row(File::with(|settings| settings.delete_mode = mode));
        file.load(&again().delete(20, &[Some("1"), None, None])).unwrap();
        let loaded = file.load(&again().row(21, &[Some("1"), Some("b"), MISSING])).unwrap();
        assert_eq!(loaded.incomplete, 1, "{mode:?}");
        assert_eq!(file.ask(ALL), "[[1,\"b\",null,[\"note\"]]]", "{mode:?}");
    }
}

#[test]
fn soft_deletes_mark_a_row_and_keep_its_values() {
    let mut file = one_row(File::with(|settings| settings.delete_mode = DeleteMode::Soft));
    let loaded = file
        .load(&again().delete(20, &[Some("1"), None, None]).delete(20, &[Some("9"), None, None]))
        .unwrap();
    assert_eq!(loaded.deleted, [1]);
    let all = "SELECT id, name, note, _cdc_deleted FROM shop.t1 ORDER BY id";
    assert_eq!(file.ask(all), "[[1,\"a\",\"x\",true],[9,null,null,true]]");
    assert_eq!(file.rows(&customers(), &[&["1"], &["9"]]), [Some((20, None)), Some((20, None))]);
    let batch = again().row(19, &[Some("1"), None, None]).row(19, &[Some("9"), None, None]);
    assert_eq!(file.load(&batch).unwrap().upserted, [0]);
    // A second delete is newer and changes nothing that a reader sees.
    assert_eq!(file.load(&again().delete(21, &[Some("1"), None, None])).unwrap().deleted, [0]);
    file.load(&again().row(22, &[Some("1"), Some("back"), None])).unwrap();
    assert_eq!(file.ask(all), "[[1,\"back\",null,false],[9,null,null,true]]");
}

#[test]
fn a_floor_removes_what_is_below_it_and_keeps_it_away() {
    for mode in [DeleteMode::Hard, DeleteMode::Soft] {
        let mut file = one_row(File::with(|settings| settings.delete_mode = mode));
        file.load(&again().row(30, &[Some("2"), Some("later"), None])).unwrap();
        file.load(&again().delete(12, &[Some("3"), None, None])).unwrap();
        let batch = again().floor(20).row(25, &[Some("4"), Some("new"), None]);
        assert_eq!(file.load(&batch).unwrap().deleted, [1], "{mode:?}");
        let live = match mode {
            DeleteMode::Hard => "SELECT id FROM shop.t1 ORDER BY id",
            DeleteMode::Soft => "SELECT id FROM shop.t1 WHERE NOT _cdc_deleted ORDER BY id",
        };
        assert_eq!(file.ask(live), "[[2],[4]]", "{mode:?}");
        assert_eq!(file.ask("SELECT count(*) FROM _cdc.tombstones_1"), "[[0]]");
        let known = file.warehouse.tables().unwrap();
        assert_eq!(known[0].floor, Some(crate::plans::position(20)));
        // Nothing from before, be it of a row that was there or not.
        let old = again().row(15, &[Some("1"), None, None]).row(20, &[Some("5"), None, None]);
        assert_eq!(file.load(&old).unwrap().upserted, [0], "{mode:?}");
        assert_eq!(file.ask(live), "[[2],[4]]", "{mode:?}");
    }
}

#[test]
fn without_a_floor_an_old_row_comes_back() {
    let mut file = one_row(File::with(|settings| settings.broken.without_floor = true));
    file.load(&again().floor(20)).unwrap();
    assert_eq!(file.ask(ALL), "[]");
    assert_eq!(file.warehouse.tables().unwrap()[0].floor, None);
    file.load(&again().row(15, &[Some("1"), Some("old"), None])).unwrap();
    assert_eq!(file.ask(ALL), "[[1,\"old\",null,null]]");
}

fn bag() -> Target {
    target(2, &[("a", T::Int32), ("b", T::Interval), ("c", T::Float64)], &[])
}

#[test]
fn rows_without_key_come_and_go_by_number() {
    let mut file = File::new();
    let day = [Some("1"), Some("30 days"), Some("0")];
    let month = [Some("1"), Some("1 mon"), Some("-0")];
    let batch = Batch::new().create(&bag()).count(5, 3, &day).count(5, 1, &month).count(
        5,
        2,
        &[None, None, Some("NaN")],
    );
    assert_eq!(file.load(&batch).unwrap().upserted, [6]);
    let batch = Batch::new()
        .table(&bag(), vec![])
        .count(6, -1, &day)
        .count(6, -2, &month)
        .count(6, -1, &[None, None, Some("NaN")])
        .count(6, -3, &[Some("7"), None, None])
        .count(6, 1, &[Some("8"), None, None]);
    let loaded = file.load(&batch).unwrap();
    assert_eq!((loaded.upserted, loaded.deleted, loaded.not_found), (vec![1], vec![3], vec![4]));
    assert_eq!(
        file.ask("SELECT a, CAST(b AS VARCHAR), count(*) FROM shop.t2 GROUP BY ALL ORDER BY ALL"),
        "[[1,\"30 days\",2],[8,null,1],[null,null,1]]"
    );
}

#[test]
fn a_higher_epoch_empties_a_table_without_key() {
    let mut file = File::new();
    let row = [Some("1"), None, None];
    file.load(&Batch::new().create(&bag()).count(5, 3, &row)).unwrap();
    let mut batch = Batch::new().table(&bag(), vec![]).count(6, 1, &row);
    batch.last().empty = true;
    batch.last().epoch = Some(7);
    batch.last().store_target = true;
    let loaded = file.load(&batch).unwrap();
    assert_eq!((loaded.upserted, loaded.deleted), (vec![1], vec![3]));
    assert_eq!(file.ask("SELECT a FROM shop.t2"), "[[1]]");
    assert_eq!(file.warehouse.tables().unwrap()[0].epoch, 7);
}

#[test]
fn rows_without_key_go_as_many_under_soft_deletes_too() {
    let mut file = File::with(|settings| settings.delete_mode = DeleteMode::Soft);
    let row = [Some("1"), None, None];
    file.load(&Batch::new().create(&bag()).count(5, 3, &row)).unwrap();
    for not_found in [0, 0, 0, 1] {
        let loaded = file.load(&Batch::new().table(&bag(), vec![]).count(6, -1, &row)).unwrap();
        assert_eq!(loaded.not_found, [not_found]);
    }
    assert_eq!(file.ask("SELECT count(*) FROM shop.t2"), "[[0]]");
    file.load(&Batch::new().table(&bag(), vec![]).count(7, 2, &row)).unwrap();
    file.load(&Batch::new().table(&bag(), vec![]).floor(8)).unwrap();
    assert_eq!(file.ask("SELECT count(*) FROM shop.t2"), "[[0]]");
}
