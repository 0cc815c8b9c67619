use cdc_agent::apply::merge::ColumnType as T;
use cdc_agent::apply::merge::TableChange;
use cdc_agent::apply::merge::TargetColumn;
use cdc_agent::apply::warehouse::DeleteMode;
use cdc_agent::apply::warehouse::Warehouse;
use cdc_agent::apply::warehouse::WarehouseError;
use cdc_agent::table::TableName;

use crate::plans::Batch;
use crate::plans::File;
use crate::plans::column;
use crate::plans::target;

#[test]
fn an_added_column_gives_old_rows_its_default() {
    let mut file = File::new();
    let mut target = target(1, &[("id", T::Int32)], &[0]);
    file.load(&Batch::new().create(&target).row(5, &[Some("1")])).unwrap();
    let added = |name: &str, one: T, default: Option<&str>| TargetColumn {
        default: default.map(str::to_owned),
        ..column(name, one)
    };
    let columns = [
        added("plain", T::Text, None),
        added("text", T::Text, Some("it's")),
        added("day", T::Date, Some("0044-03-15 (BC)")),
        added("many", T::Array(Box::new(T::Int32)), Some("[\"1\",null]")),
        added("blob", T::Bytes, Some("00ff")),
        added("far", T::Timestamp, Some("294276-01-01 00:00:00")),
        added("round", T::Decimal(5, 1), Some("1.25")),
    ];
    let changes = columns.iter().cloned().map(TableChange::AddColumn).collect();
    target.columns.extend(columns);
    let row = [Some("2"), None, None, None, None, None, None, None];
    file.load(&Batch::new().table(&target, changes).row(6, &row)).unwrap();
    let rows = file.rows(&target, &[&["1"], &["2"]]);
    let texts = |at: usize| rows[at].as_ref().unwrap().1.clone().unwrap();
    let expected = [
        Some("1"),
        None,
        Some("it's"),
        Some("0044-03-15 (BC)"),
        Some("[\"1\",null]"),
        Some("00ff"),
        Some("294276-01-01 00:00:00"),
        Some("1.25"),
    ];
    assert_eq!(texts(0), expected.map(|text| text.map(str::to_owned)));
    assert!(texts(1)[1..].iter().all(Option::is_none), "defaults are for old rows only");
    target.generation = 2;
    assert_eq!(file.warehouse.tables().unwrap()[0].target, target);
}

#[test]
fn columns_are_widened_and_renamed_with_their_values_and_tombstones() {
    let mut file = File::new();
    let mut target = target(
        1,
        &[("id", T::Int32), ("v", T::Decimal(5, 2)), ("f", T::Float32), ("b", T::Boolean)],
        &[0],
    );
    let row = [Some("1"), Some("1.50"), Some("0.1"), Some("t")];
    let gone = [Some("2"), None, None, None];
    file.load(&Batch::new().create(&target).row(5, &row).delete(9, &gone)).unwrap();
    let widen = |target: &mut cdc_agent::apply::merge::Target, at: usize, to: T| {
        let from = std::mem::replace(&mut target.columns[at].column_type, to.clone());
        TableChange::Widen { name: target.columns[at].name.clone(), from, to, in_key: at == 0 }
    };
    let changes = vec![
        widen(&mut target, 0, T::Int64),
        widen(&mut target, 1, T::Numeric),
        widen(&mut target, 2, T::Float64),
        widen(&mut target, 3, T::Text),
        TableChange::Rename { from: "id".to_owned(), to: "number".to_owned(), in_key: true },
        TableChange::Rename { from: "v".to_owned(), to: "w".to_owned(), in_key: false },
        TableChange::AddColumn(column("new", T::Uuid)),
    ];
    target.columns[0].name = "number".to_owned();
    target.columns[1].name = "w".to_owned();
    target.columns.push(column("new", T::Uuid));
    let batch = Batch::new()
        .table(&target, changes)
        .row(8, &[Some("2"), None, None, None, None])
        .row(8, &[Some("9223372036854775807"), Some("1e100"), None, Some("yes"), None]);
    assert_eq!(file.load(&batch).unwrap().upserted, [1]);
    assert_eq!(
        file.ask("SELECT number, w, f, b FROM shop.t1 ORDER BY 1"),
        "[[1,\"1.50\",0.10000000149011612,\"t\"],[\"9223372036854775807\",\"1e100\",null,\"yes\"]]"
    );
}

/// A column that a value has widened already stays as wide when its source's type changes.
#[test]
fn a_source_s_change_does_not_narrow_a_column() {
    let mut file = File::new();
    let array = |element: T| T::Array(Box::new(element));
    let mut target = target(1, &[("id", T::Int32), ("v", array(T::Int32))], &[0]);
    file.load(&Batch::new().create(&target).row(5, &[Some("1"), Some("[[\"1\"]]")])).unwrap();
    target.columns[1].column_type = array(T::Int64);
    let change = TableChange::Widen {
        name: "v".to_owned(),
        from: array(T::Int32),
        to: array(T::Int64),
        in_key: false,
    };
    let row = [Some("2"), Some("[\"9223372036854775807\"]")];
    file.load(&Batch::new().table(&target, vec![change]).row(6, &row)).unwrap();
    assert_eq!(
        file.ask("SELECT v FROM shop.t1 ORDER BY id"),
        "[[\"[[\\\"1\\\"]]\"],[\"[\\\"9223372036854775807\\\"]\"]]"
    );
}

#[test]
fn names_that_are_one_to_duckdb_are_refused() {
    let mut file = File::new();
    let refuse = |file: &mut File, batch: &Batch, names: [&str; 2]| match file.load(batch) {
        Err(WarehouseError::Configuration { message, .. }) => {
            assert!(names.iter().all(|name| message.contains(name)), "{message}");
        }
        other => panic!("{other:?}"),
    };
    let columns = target(1, &[("id", T::Int32), ("ID", T::Int32)], &[0]);
    refuse(&mut file, &Batch::new().create(&columns), ["ID", "id"]);
    let ours = target(1, &[("id", T::Int32), ("_CDC_position", T::Int32)], &[0]);
    refuse(&mut file, &Batch::new().create(&ours), ["_CDC_position", "_cdc_position"]);
    // DuckDB's own name of a row's number would be hidden by a column of that name.
    let hidden = target(1, &[("id", T::Int32), ("rowid", T::Int32)], &[0]);
    refuse(&mut file, &Batch::new().create(&hidden), ["rowid", "shop.t1"]);
    let mut one = target(1, &[("id", T::Int32)], &[0]);
    file.load(&Batch::new().create(&one)).unwrap();
    let mut other = target(2, &[("id", T::Int32)], &[0]);
    other.table = TableName::new("Shop", "T1");
    refuse(&mut file, &Batch::new().create(&other), ["Shop.T1", "shop.t1"]);
    let added = column("Id", T::Text);
    one.columns.push(added.clone());
    refuse(&mut file, &Batch::new().table(&one, vec![TableChange::AddColumn(added)]), ["Id", "id"]);
}

/// Names that need quotes, and a schema named as the file and as the catalog.
#[test]
fn names_are_quoted_wherever_they_stand() {
    let mut file = File::new();
    for (id, namespace) in
        (1..).zip(["shop", "we\"ird sch'ema", "main", "temp", "_warehouse", "select"])
    {
        let mut target =
            target(id, &[("ta\"b'le", T::Int32), ("from", T::Text), ("größe", T::Text)], &[0]);
        target.table = TableName::new(namespace, "or\"der's");
        file.load(&Batch::new().create(&target).row(5, &[Some("1"), Some("a"), None])).unwrap();
        let batch = Batch::new()
            .table(&target, vec![])
            .row(6, &[Some("1"), Some("b"), crate::plans::MISSING])
            .row(6, &[Some("2"), Some("b"), crate::plans::MISSING]);
        file.load(&batch).unwrap();
        let rows = file.rows(&target, &[&["1"]]);
        assert_eq!(rows[0].as_ref().unwrap().1.as_ref().unwrap()[1].as_deref(), Some("b"));
        assert!(file.warehouse.foreign_table(&target.table).unwrap().is_some());
    }
    assert_eq!(
        file.ask("SELECT \"from\" FROM shop.\"or\"\"der's\" ORDER BY 1"),
        "[[\"b\"],[\"b\"]]"
    );
}

#[test]
fn soft_deletes_can_begin_later_and_end() {
    let mut file = File::new();
    let target = target(1, &[("id", T::Int32)], &[0]);
    file.load(&Batch::new().create(&target).row(5, &[Some("1")]).row(5, &[Some("2")])).unwrap();
    let path = file.path();
    drop(file.warehouse);
    let mut settings = cdc_agent::apply::warehouse::duckdb::Settings::new(path);
    settings.delete_mode = DeleteMode::Soft;
    file.warehouse = cdc_agent::apply::warehouse::duckdb::DuckDb::open(settings).unwrap();
    file.load(&Batch::new().table(&target, vec![]).delete(6, &[Some("1")])).unwrap();
    assert_eq!(file.ask("SELECT id, _cdc_deleted FROM shop.t1 ORDER BY id"), "[[1,true],[2,null]]");
    let path = file.path();
    drop(file.warehouse);
    let settings = cdc_agent::apply::warehouse::duckdb::Settings::new(path);
    file.warehouse = cdc_agent::apply::warehouse::duckdb::DuckDb::open(settings).unwrap();
    // An older change of the row that was marked, and one of another.
    let batch = Batch::new().table(&target, vec![]).row(5, &[Some("1")]).row(7, &[Some("3")]);
    assert_eq!(file.load(&batch).unwrap().upserted, [1]);
    assert_eq!(file.ask("SELECT id FROM shop.t1 ORDER BY id"), "[[2],[3]]");
}
