//! Debezium itself, captured from the shop: what it writes adds up to the source.

use std::time::Duration;
use std::time::Instant;

use cdc_testkit::compare::compare;
use cdc_testkit::fold::fold;
use cdc_testkit::process;
use cdc_testkit::servers::connect::Connect;
use cdc_testkit::servers::connect::debezium;
use cdc_testkit::servers::kafka::Kafka;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::shop;
use cdc_testkit::shop::Simulator;
use cdc_testkit::shop::SimulatorOptions;
use cdc_testkit::topics;

/// What Debezium gets right; the table of all types has values that it does not.
const TABLES: [&str; 5] =
    ["shop.orders", "shop.order_lines", "shop.page_views", "shop.carts", "shop.documents"];

#[test]
fn debezium_adds_up_to_the_source() {
    let postgres = Postgres::start(15);
    postgres.create_database("shop");
    shop::create(&mut postgres.client("shop"), 100);
    let kafka = Kafka::start();
    let began = Instant::now();
    let connect = Connect::start(&kafka);
    println!("Kafka Connect: start {:?}", began.elapsed());

    let mut config = debezium(&postgres, "shop", "p");
    config["table.include.list"] = TABLES.join(",").into();
    connect.put_connector("shop", &config);
    connect.wait_running("shop", Duration::from_secs(60));
    println!("Debezium: running {:?}", began.elapsed());
    let streaming = "SELECT active FROM pg_replication_slots WHERE slot_name = 'p_slot' AND active";
    process::wait_until(Duration::from_secs(60), "Debezium to stream", || {
        postgres.query_one("shop", streaming).is_some()
    });

    let options = SimulatorOptions::new(process::seed());
    let simulator = Simulator::start(&postgres.dsn("shop"), options);
    simulator.wait_for_changes(5_000, Duration::from_secs(60));
    println!("{}", simulator.stop());
    postgres
        .execute("shop", "INSERT INTO shop.orders (id, customer_id, total) VALUES (987654, 1, 1)");
    process::wait_until(Duration::from_secs(120), "the last order to be in its topic", || {
        let orders = topics::read_all(&kafka.bootstrap(), r"p\.shop\.orders");
        orders.iter().any(|record| record.key.as_deref() == Some(br#"{"id":987654}"#))
    });

    let fold = fold(&topics::read_all(&kafka.bootstrap(), r"p\.shop\..*"));
    println!("{:?}", fold.counts);
    let comparison = compare(&mut postgres.client("shop"), &TABLES, &fold);
    println!("{comparison}");
    comparison.assert_equal();

    connect.stop_connector("shop");
    connect.resume_connector("shop");
    connect.wait_running("shop", Duration::from_secs(60));
    connect.delete_connector("shop");
    assert!(connect.status("shop").is_null(), "deleted");
}
