//! Goal: every warehouse holds, row by row and value by value, what the source holds.
//!
//! Method: a real PostgreSQL, `cdc-agent`, a real Kafka and `cdc-sink --once`, each case on every
//! kind of warehouse, from topics with their schemas beside them in three partitions and from
//! topics with embedded schemas in one. PostgreSQL judges the values.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "progress is shown to a person")]

mod run;
mod sink;

use std::sync::OnceLock;

use cdc_testkit::topics;

use sink::SinkOptions;
use sink::Store;
use sink::cases::CASES;
use sink::cases::Case;
use sink::compare;
use sink::scene;
use sink::scene::MODES;
use sink::scene::Mode;
use sink::scene::Source;
use sink::warehouse::KINDS;
use sink::warehouse::Kind;

/// The source of [`CASES`], read and not changed yet.
fn source() -> &'static Source {
    static SOURCE: OnceLock<Source> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let setup: Vec<(&str, &str)> = CASES.iter().map(|case| (case.name, case.setup)).collect();
        Source::new("source", &setup, &MODES)
    })
}

fn options(mode: Mode, store: &Store) -> SinkOptions {
    let names = CASES.iter().map(|case| case.name);
    let names = names.map(|name| name.replace(' ', ".")).collect::<Vec<_>>().join("|");
    let topics = format!("{}\\.({names})\\..*", mode.prefix());
    SinkOptions::new(&scene::kafka().bootstrap(), &topics, &store.url())
}

fn chosen() -> impl Iterator<Item = (Kind, Mode)> {
    KINDS.into_iter().flat_map(|kind| MODES.map(|mode| (kind, mode)))
}

fn check(stores: &[(Mode, Store)], when: &str) {
    let mut wrong = Vec::new();
    for (mode, store) in stores {
        let place = format!("{when}, {:?}, {mode:?}", store.kind);
        for case in CASES {
            let found = differences(case, *mode, store);
            if !found.is_empty() && found.len() < 5 {
                show_topics(*mode, case.name);
            }
            wrong.extend(found.iter().map(|difference| format!("[{place}] {difference}")));
        }
    }
    let shown = wrong[..wrong.len().min(60)].join("\n");
    assert!(wrong.is_empty(), "{} differences:\n{shown}", wrong.len());
}

/// Where the records of a case's smaller topics stand, for whoever has to find out.
fn show_topics(mode: Mode, schema: &str) {
    let pattern = format!("^{}\\.{}\\..*$", mode.prefix(), schema.replace(' ', "."));
    let records = topics::read_all(&scene::kafka().bootstrap(), &pattern);
    for record in records.iter().take(200) {
        let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let position = record.header("cdc.position").unwrap_or_default();
        println!("{} {} {} {position} {key}", record.topic, record.partition, record.offset);
    }
}

fn differences(case: &Case, mode: Mode, store: &Store) -> Vec<String> {
    let source = (source().server, source().database.as_str());
    let exact = if mode == Mode::Plain { case.exact } else { &[] };
    let tables = case.tables.iter().chain(exact);
    tables.flat_map(|table| compare::differences(source, table, store, "")).collect()
}

/// Tables whose rows cannot be derived say so; no other does.
fn check_marks(stores: &[(Mode, Store)]) {
    for (mode, store) in stores.iter().filter(|(mode, _)| *mode == Mode::Plain) {
        let reason = match store.kind {
            Kind::Postgres => "coalesce(definition->>'reread', '')",
            Kind::DuckDb => "coalesce(definition->>'$.reread', '')",
        };
        let sql = format!("SELECT \"schema\", name, {reason} FROM _cdc.tables");
        for row in store.query(&sql) {
            let [Some(schema), Some(name), reason] = &row[..] else { panic!("{row:?}") };
            let reason = reason.as_deref().unwrap_or_default();
            let case = CASES.iter().find(|case| case.name == schema);
            let marked = case.and_then(|case| case.marked.iter().find(|(table, _)| table == name));
            let place = format!("{:?}, {mode:?}, {schema}.{name}: {reason:?}", store.kind);
            match marked {
                Some((_, word)) => assert!(reason.contains(word), "{place}, expected {word:?}"),
                None => assert_eq!(reason, "", "{place}"),
            }
        }
    }
}

#[test]
fn every_table_is_the_same_in_every_warehouse() {
    let source = source();
    let stores: Vec<(Mode, Store)> = chosen()
        .map(|(kind, mode)| {
            let name = format!("store_{}", mode.prefix());
            (mode, Store::new(kind, scene::server(), &name))
        })
        .collect();
    source.deliver();
    for (mode, store) in &stores {
        options(*mode, store).once();
    }
    check(&stores, "after the read");
    for case in CASES {
        for sql in case.changes {
            // Names and keys are followed only while the catalog is not ahead of the log.
            let follows = ["RENAME", "KEY", "CONSTRAINT"].iter().any(|word| sql.contains(word));
            if follows || case.name == "migrations" {
                source.deliver();
            }
            source.execute(case.name, sql);
        }
        source.deliver();
    }
    source.deliver();
    for (mode, store) in &stores {
        options(*mode, store).once();
    }
    check(&stores, "after the changes");
    check_marks(&stores);
    // Batches of one record, of another group, over everything again.
    for (mode, store) in &stores {
        options(*mode, store).group("second").once();
    }
    check(&stores, "after everything again");
    // Warehouses that see all of it for the first time, in batches as large as they come.
    let fresh: Vec<(Mode, Store)> = chosen()
        .map(|(kind, mode)| {
            let name = format!("fresh_{}", mode.prefix());
            (mode, Store::new(kind, scene::server(), &name))
        })
        .collect();
    for (mode, store) in &fresh {
        options(*mode, store).group("fresh").once();
    }
    check(&fresh, "in a fresh warehouse");
    check_marks(&fresh);
}
