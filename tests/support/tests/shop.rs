//! The shop, its simulator, and the comparison: tables compared with themselves must be equal, and
//! with a single wrong value must not.

use std::time::Duration;

use cdc_testkit::compare::Comparison;
use cdc_testkit::compare::compare;
use cdc_testkit::fold::Fold;
use cdc_testkit::fold::fold;
use cdc_testkit::process;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::shop;
use cdc_testkit::shop::Mix;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;
use cdc_testkit::topics::TopicRecord;
use postgres::Client;
use serde_json::Value;
use serde_json::json;

/// One column as JSON, made by PostgreSQL itself: an implementation apart from the comparison's.
fn as_json(name: &str, type_name: &str) -> String {
    let text = format!("to_json(format('%s', {name}))");
    let expression = match type_name {
        "boolean" | "smallint" | "integer" | "bigint" | "integer[]" | "text[]" => {
            format!("to_json({name})")
        }
        "shop.mood[]" => format!("to_json({name}::text[])"),
        "real" | "double precision" => format!(
            "CASE WHEN {name}::text IN ('NaN', 'Infinity', '-Infinity') THEN to_json({name}::text) \
             ELSE to_json({name}) END"
        ),
        "date" => format!("to_json({name} - date '1970-01-01')"),
        "date[]" => format!(
            "(SELECT coalesce(json_agg(e - date '1970-01-01' ORDER BY n), '[]') \
             FROM unnest({name}) WITH ORDINALITY AS part (e, n))"
        ),
        "time without time zone" => {
            format!("to_json((extract(epoch FROM {name}) * 1000000)::bigint)")
        }
        "time(3) without time zone" => {
            format!("to_json((extract(epoch FROM {name}) * 1000)::bigint)")
        }
        "timestamp without time zone" => {
            format!("to_json((extract(epoch FROM {name}) * 1000000)::bigint)")
        }
        "timestamp(3) without time zone" => {
            format!("to_json((extract(epoch FROM {name}) * 1000)::bigint)")
        }
        "timestamp with time zone" => {
            format!(r#"to_json(to_char({name}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))"#)
        }
        "timestamp(0) with time zone" => {
            format!(r#"to_json(to_char({name}, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))"#)
        }
        "interval" => format!(
            "to_json(format('P%sY%sM%sDT%sH%sM%sS', extract(year FROM {name}), \
             extract(month FROM {name}), extract(day FROM {name}), extract(hour FROM {name}), \
             extract(minute FROM {name}), trim_scale(extract(second FROM {name}))))"
        ),
        "bytea" => format!("to_json(translate(encode({name}, 'base64'), E'\\n', ''))"),
        "numeric(8,2)[]" => format!("to_json({name}::text[])"),
        "numeric" => format!("to_json(replace({name}::text, 'NaN', 'NAN'))"),
        _ => text,
    };
    format!("CASE WHEN {name} IS NOT NULL THEN {expression} END")
}

/// Every row of a table as an initial read.
fn reads(client: &mut Client, table: &str, records: &mut Vec<TopicRecord>) {
    let columns = "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum";
    let columns = client.query(columns, &[&table]).expect("the catalog answers");
    let column = |row: &postgres::Row| {
        let (name, type_name): (String, String) = (row.get(0), row.get(1));
        format!("'{name}', {}", as_json(&name, &type_name))
    };
    let members: Vec<String> = columns.iter().map(column).collect();
    let key = match table {
        "shop.page_views" => "NULL::json",
        "shop.order_lines" => "json_build_object('order_id', order_id, 'line_no', line_no)",
        _ => "json_build_object('id', id)",
    };
    let members = members.join(", ");
    let sql = format!("SELECT {key}::text, json_build_object({members})::text FROM {table}");
    let (namespace, name) = table.split_once('.').expect("namespace.table");
    for (number, row) in client.query(&sql, &[]).expect("rows").iter().enumerate() {
        let after = row.get::<_, String>(1);
        let source = json!({"schema": namespace, "table": name});
        let value = format!(r#"{{"before":null,"after":{after},"source":{source},"op":"r"}}"#);
        records.push(TopicRecord {
            topic: format!("p.{table}"),
            partition: 0,
            offset: i64::try_from(number).expect("few"),
            key: row.get::<_, Option<String>>(0).map(String::into_bytes),
            value: Some(value.into_bytes()),
            headers: vec![("cdc.position".into(), format!("1:0:{number}:0").into_bytes())],
            timestamp: None,
        });
    }
}

fn fold_of_source(client: &mut Client) -> Fold {
    let mut records = Vec::new();
    for table in shop::TABLES {
        reads(client, table, &mut records);
    }
    fold(&records)
}

/// What `to_char` and `extract` cannot say; the comparison's own tests have these.
const WITHOUT_EDGES: &str = "UPDATE shop.samples SET d = NULL WHERE NOT isfinite(d); \
     UPDATE shop.samples SET ts = NULL WHERE NOT isfinite(ts); \
     UPDATE shop.samples SET ts3 = NULL WHERE NOT isfinite(ts3); \
     UPDATE shop.samples SET tz = NULL WHERE tz < '0001-01-01' OR tz > '9999-12-31'; \
     UPDATE shop.samples SET tz0 = NULL WHERE NOT isfinite(tz0)";

#[test]
fn tables_equal_themselves_after_much_writing_and_a_kill() {
    let mut server = Postgres::start(15);
    server.create_database("shop");
    shop::create(&mut server.client("shop"), 200);

    let options = SimulatorOptions::new(process::seed());
    let simulator = Simulator::start(&server.dsn("shop"), options);
    simulator.wait_for_changes(5_000, Duration::from_secs(60));
    server.kill();
    server.start_again();
    simulator.wait_for_changes(5_000, Duration::from_secs(60));
    let totals = simulator.stop();
    println!("{totals} {:?}", totals.reasons);
    assert!(totals.inserts > 0 && totals.updates > 0 && totals.deletes > 0, "{totals}");
    assert!(totals.truncates > 0 && totals.rolled_back > 0, "{totals}");
    assert!(totals.unknown <= 3, "one for each connection: {totals}");
    assert!(totals.refused * 20 < totals.transactions, "{totals} {:?}", totals.reasons);

    let mut client = server.client("shop");
    client.batch_execute(WITHOUT_EDGES).expect("the shop can be written");
    let folded = fold_of_source(&mut client);
    let comparison = compare(&mut client, &shop::TABLES, &folded);
    println!("{comparison}");
    comparison.assert_equal();
    assert!(comparison.rows > 2_000, "{comparison}");
}

#[test]
fn every_wrong_value_is_found() {
    let server = Postgres::start(15);
    let mut client = server.client("postgres");
    shop::create(&mut client, 20);
    client.batch_execute(WITHOUT_EDGES).expect("the shop can be written");
    let folded = fold_of_source(&mut client);
    let clean = compare(&mut client, &shop::TABLES, &folded);
    clean.assert_equal();

    // Any change of any value of any column is one difference.
    let shape = "SELECT attname::text, attrelid::regclass::text FROM pg_attribute \
         JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'shop'::regnamespace \
         AND relkind = 'r' AND attnum > 0 ORDER BY 2, attnum";
    let mut spoilt = 0;
    for row in client.query(shape, &[]).expect("the catalog answers") {
        let (column, table): (String, String) = (row.get(0), row.get(1));
        let mut fold = fold_of_source(&mut client);
        let rows = &mut fold.tables.get_mut(&table).expect("it has rows").rows;
        let Some(row) = rows.values_mut().find(|row| !row[&column].is_null()) else { continue };
        row[&column] = spoil(&row[&column]);
        let comparison = compare(&mut client, &[table.as_str()], &fold);
        assert_eq!(comparison.difference_count, 1, "{table}.{column}: {comparison}");
        assert_eq!(comparison.differences[0].column, column);
        spoilt += 1;
    }
    assert!(spoilt > 55, "{spoilt} columns");
}

/// The smallest change that keeps the type.
fn spoil(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::Number(number) if number.is_i64() => json!(number.as_i64().expect("i64") ^ 1),
        Value::Number(number) => {
            let number = number.as_f64().expect("f64");
            json!(f64::from_bits(number.to_bits() ^ 1))
        }
        Value::String(text) => json!(format!("{text} ")),
        Value::Array(elements) => {
            let mut elements = elements.clone();
            elements.push(Value::Null);
            Value::Array(elements)
        }
        other => panic!("{other} in a column"),
    }
}

#[test]
fn wrong_rows_are_found() {
    let server = Postgres::start(15);
    let mut client = server.client("postgres");
    shop::create(&mut client, 20);
    client.batch_execute(WITHOUT_EDGES).expect("the shop can be written");
    let mut compared = |table: &str, spoil: &dyn Fn(&mut Fold)| -> Comparison {
        let mut fold = fold_of_source(&mut client);
        spoil(&mut fold);
        compare(&mut client, &[table], &fold)
    };

    let missing = compared("shop.orders", &|fold| {
        fold.tables.get_mut("shop.orders").expect("orders").rows.pop_first();
    });
    assert_eq!(missing.difference_count, 1, "{missing}");
    assert_eq!(missing.differences[0].found, "missing");

    let stranger = compared("shop.orders", &|fold| {
        let orders = &mut fold.tables.get_mut("shop.orders").expect("orders").rows;
        orders.insert(r#"{"id":77777}"#.into(), json!({"id": 77777}));
    });
    assert_eq!(stranger.difference_count, 1, "{stranger}");
    assert_eq!(stranger.differences[0].key, r#"{"id":77777}"#);

    let member = compared("shop.orders", &|fold| {
        let orders = &mut fold.tables.get_mut("shop.orders").expect("orders").rows;
        let row = orders.values_mut().next().expect("a row").as_object_mut().expect("an object");
        row.remove("comment");
        row.insert("extra".into(), Value::Null);
    });
    assert_eq!(member.difference_count, 2, "{member}");

    let once_too_few = compared("shop.page_views", &|fold| {
        let bag = &mut fold.tables.get_mut("shop.page_views").expect("views").bag;
        let count = bag.values_mut().find(|count| **count == 2).expect("equal rows");
        *count = 1;
    });
    assert_eq!(once_too_few.difference_count, 1, "{once_too_few}");
    let Comparison { differences, .. } = once_too_few;
    assert_eq!((differences[0].expected.as_str(), differences[0].found.as_str()), ("2", "1"));

    let lost = compared("shop.carts", &|fold| {
        fold.tables.remove("shop.carts");
    });
    assert_eq!(lost.difference_count, lost.rows, "{lost}");
}

#[test]
fn a_rate_is_kept_and_a_mix_obeyed() {
    let server = Postgres::start(15);
    shop::create(&mut server.client("postgres"), 50);
    let mix: Mix = "none,insert=1".parse().expect("a good mix");
    let options = SimulatorOptions::new(process::seed()).rate(200).mix(mix);
    let simulator = Simulator::start(&server.dsn("postgres"), options);
    std::thread::sleep(Duration::from_secs(4));
    let totals = simulator.stop();
    assert!((600..=1_000).contains(&totals.changes()), "{totals}");
    assert_eq!(totals.updates + totals.deletes + totals.truncates + totals.rolled_back, 0);
}

#[test]
fn the_shop_runs_on_every_version() {
    for version in [14, 16, 17, 18] {
        let server = Postgres::start(version);
        shop::create(&mut server.client("postgres"), 30);
        let options = SimulatorOptions::new(process::seed());
        let simulator = Simulator::start(&server.dsn("postgres"), options);
        simulator.wait_for_changes(1_000, Duration::from_secs(30));
        let totals = simulator.stop();
        assert!(totals.refused * 20 <= totals.transactions, "{totals} {:?}", totals.reasons);
        assert_eq!(totals.unknown, 0, "{totals}");
        let mut client = server.client("postgres");
        client.batch_execute(WITHOUT_EDGES).expect("the shop can be written");
        let folded = fold_of_source(&mut client);
        compare(&mut client, &shop::TABLES, &folded).assert_equal();
    }
}
