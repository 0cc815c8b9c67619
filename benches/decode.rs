//! How fast single messages are understood and written, on one core.
//!
//! `cargo bench --bench decode`; messages are those of `proto-fixtures` and a row of an order, as the
//! server sends it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for people that ends at the first surprise"
)]

use std::fs;

use cdc_agent::capture::catalog::Shape;
use cdc_agent::capture::catalog::TypeCatalog;
use cdc_agent::capture::change::ClockText;
use cdc_agent::capture::change::Event;
use cdc_agent::capture::change::Fidelity;
use cdc_agent::capture::change::Output;
use cdc_agent::capture::change::SourceFields;
use cdc_agent::capture::change::SourceName;
use cdc_agent::capture::change::SourceText;
use cdc_agent::capture::change::TableWriter;
use cdc_agent::capture::change::ValueSettings;
use cdc_agent::capture::pgoutput::Framing;
use cdc_agent::capture::pgoutput::Message;
use cdc_agent::capture::pgoutput::Tuple;
use cdc_agent::envelope::Operation;
use cdc_agent::lsn::Lsn;
use cdc_agent::time::UnixMicros;
use divan::Bencher;
use divan::black_box;
use divan::counter::BytesCount;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

const FIXTURES: [&str; 5] = [
    "pg14-v1-insert-types",
    "pg14-v1-update-no-old",
    "pg14-v1-update-old-full",
    "pg14-v1-delete-key",
    "pg14-v1-relation-types",
];

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("proto-fixtures/pgoutput/{name}.bin")).unwrap()
}

/// A message, and every value of its rows looked at.
#[divan::bench(args = FIXTURES)]
fn message(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = fixture(name);
    bencher.counter(BytesCount::new(bytes.len())).counter(ItemsCount::new(1_u32)).bench(|| {
        match Message::decode(black_box(&bytes), Framing::default()).unwrap().message {
            Message::Insert(insert) => insert.new.values().count(),
            Message::Update(update) => update.new.values().count(),
            other => usize::from(matches!(black_box(other), Message::Commit(_))),
        }
    });
}

/// Name and type of each column, and its text.
const ORDER: [(&str, u32, &str); 10] = [
    ("id", 20, "1048576"),
    ("customer_id", 23, "4711"),
    ("placed_at", 1184, "2026-03-14 15:09:26.535897+00"),
    ("due_on", 1082, "2026-04-01"),
    ("total", 1700, "1234567.89"),
    ("weight", 701, "0.30000000000000004"),
    ("paid", 16, "t"),
    ("reference", 2950, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("note", 25, "Zwölf Boxkämpfer jagen Viktor quer über den \"großen\" Sylter Deich"),
    ("address", 3802, "{\"city\": \"Köln\", \"street\": \"Domkloster 4\", \"zip\": \"50667\"}"),
];

fn relation() -> Vec<u8> {
    let mut bytes = b"R\0\0\x40\0public\0orders\0d".to_vec();
    bytes.extend_from_slice(&u16::try_from(ORDER.len()).unwrap().to_be_bytes());
    for (at, (name, type_oid, _)) in ORDER.iter().enumerate() {
        bytes.push(u8::from(at == 0));
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&type_oid.to_be_bytes());
        bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    }
    bytes
}

fn row() -> Vec<u8> {
    let mut bytes = u16::try_from(ORDER.len()).unwrap().to_be_bytes().to_vec();
    for (_, _, text) in &ORDER {
        bytes.push(b't');
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn settings(form: &str) -> ValueSettings {
    let schemas = form == "debezium, schemas";
    let fidelity = if form == "exact" { Fidelity::Exact } else { Fidelity::Debezium };
    ValueSettings {
        fidelity,
        key_schemas: schemas,
        value_schemas: schemas,
        ..ValueSettings::default()
    }
}

/// An order's key and envelope; items are rows, bytes what is written.
#[divan::bench(args = ["exact", "debezium", "debezium, schemas"])]
fn write_row(bencher: Bencher<'_, '_>, form: &str) {
    let relation = relation();
    let Message::Relation(relation) =
        Message::decode(&relation, Framing::default()).unwrap().message
    else {
        unreachable!("it is a relation");
    };
    let shape = Shape::of_relation(&relation, None).with_key(&["id".to_owned()]);
    let writer =
        TableWriter::new(&shape, "shop.public.orders", &TypeCatalog::default(), &settings(form));
    let mut source = SourceText::default();
    let name = SourceName { prefix: "shop".to_owned(), database: "shop".to_owned() };
    let fields = SourceFields {
        time: UnixMicros(1_773_500_966_535_897),
        snapshot: Some("false"),
        last_commit: Some(Lsn(0x1_0000_0000)),
        xid: Some(4711),
        ..SourceFields::default()
    };
    source.render(&name, &fields);
    let mut clock = ClockText::default();
    clock.render(UnixMicros(1_773_500_967_000_000));
    let row = row();
    let row = Tuple::from_bytes(&row).unwrap();
    let event = Event {
        operation: Operation::Create,
        before: None,
        after: Some(&row),
        unchanged: None,
        lsn: Lsn(0x1_0000_0100),
    };
    let mut output = Output::default();
    let write = |output: &mut Output| {
        output.bytes.clear();
        writer.write_key(&row, None, output);
        writer.write_value(&event, &source, &clock, output);
        assert!(output.problems.is_empty());
        output.bytes.len()
    };
    let bytes = write(&mut output);
    bencher
        .counter(BytesCount::new(bytes))
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| write(black_box(&mut output)));
}
