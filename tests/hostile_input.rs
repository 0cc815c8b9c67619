//! Goal: whatever bytes a peer sends, they become a message, a value or an error: never a panic,
//! never much more memory than the bytes themselves, never a record that is not JSON.
//!
//! Method: hand-made broken messages give exactly the error beside them; every message that was
//! captured from a server is cut, extended and changed at every byte, then changed at random;
//! texts of values likewise, through their readers and through the writer of rows. A counting
//! allocator measures what decoding allocates. `SEED=n` repeats a random run.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic, in its helpers too"
)]
#![allow(clippy::print_stdout, reason = "the seeds of a random test are printed")]

mod fixtures;

use std::cell::Cell;
use std::hint::black_box;

use cdc_agent::capture::catalog::OlderRows;
use cdc_agent::capture::catalog::Shape;
use cdc_agent::capture::catalog::ShapeColumn;
use cdc_agent::capture::catalog::TypeCatalog;
use cdc_agent::capture::catalog::TypeFacts;
use cdc_agent::capture::catalog::TypeKind;
use cdc_agent::capture::change::BinaryMode;
use cdc_agent::capture::change::ClockText;
use cdc_agent::capture::change::DecimalFormat;
use cdc_agent::capture::change::DecimalMode;
use cdc_agent::capture::change::Event;
use cdc_agent::capture::change::Fidelity;
use cdc_agent::capture::change::HstoreMode;
use cdc_agent::capture::change::IntervalMode;
use cdc_agent::capture::change::Output;
use cdc_agent::capture::change::Row;
use cdc_agent::capture::change::SourceFields;
use cdc_agent::capture::change::SourceName;
use cdc_agent::capture::change::SourceText;
use cdc_agent::capture::change::TableWriter;
use cdc_agent::capture::change::TimePrecisionMode;
use cdc_agent::capture::change::ValueSettings;
use cdc_agent::capture::pgoutput::Framing;
use cdc_agent::capture::pgoutput::Message;
use cdc_agent::capture::pgoutput::ReplicaIdentity;
use cdc_agent::capture::pgoutput::Tuple;
use cdc_agent::capture::pgoutput::TupleValue;
use cdc_agent::capture::value::array;
use cdc_agent::capture::value::binary;
use cdc_agent::capture::value::hstore;
use cdc_agent::capture::value::interval;
use cdc_agent::capture::value::number;
use cdc_agent::capture::value::spatial;
use cdc_agent::capture::value::temporal;
use cdc_agent::capture::wire;
use cdc_agent::capture::wire::BackendMessage;
use cdc_agent::capture::wire::DecodeError;
use cdc_agent::capture::wire::WalsenderMessage;
use cdc_agent::envelope::Operation;
use cdc_agent::lsn::Lsn;
use cdc_agent::oid::Oid;
use cdc_agent::oid::types;
use cdc_agent::table::TableName;
use fixtures::Fixture;

/// Bytes that decoding may allocate for each byte that it is given: a mechanism of two bytes
/// becomes a slice of sixteen, in a vector that doubles.
const MEMORY_FACTOR: usize = 16;

/// And besides, however short the input is.
const MEMORY_CONSTANT: usize = 256;

/// Bytes of an Insert before its row: tag, relation and the row's own tag.
const INSERT_HEADER_BYTES: usize = 6;

/// A count of what this thread has allocated.
mod allocation {
    #![allow(
        unsafe_code,
        reason = "an allocator cannot be written without; it counts and forwards"
    )]

    use std::alloc::GlobalAlloc;
    use std::alloc::Layout;
    use std::alloc::System;

    use super::Cell;

    thread_local! {
        static LIVE: Cell<usize> = const { Cell::new(0) };
        static PEAK: Cell<usize> = const { Cell::new(0) };
    }

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    fn add(bytes: usize) {
        let live = LIVE.get().saturating_add(bytes);
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
    }

    fn remove(bytes: usize) {
        LIVE.set(LIVE.get().saturating_sub(bytes));
    }

    // SAFETY: every call is the system allocator's, with the same arguments.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            add(layout.size());
            // SAFETY: the caller keeps the contract.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            remove(layout.size());
            // SAFETY: the caller keeps the contract.
            unsafe { System.dealloc(pointer, layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            add(layout.size());
            // SAFETY: the caller keeps the contract.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            remove(layout.size());
            add(size);
            // SAFETY: the caller keeps the contract.
            unsafe { System.realloc(pointer, layout, size) }
        }
    }

    /// The most bytes that were allocated at once while `run` ran, and what it gave.
    pub(super) fn peak<T>(run: impl FnOnce() -> T) -> (usize, T) {
        LIVE.set(0);
        PEAK.set(0);
        let given = run();
        (PEAK.get(), given)
    }
}

/// Prints what a test was busy with if it panics.
struct Witness<'a> {
    what: &'a str,
    bytes: &'a [u8],
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("while reading {}: {}", self.what, self.bytes.escape_ascii());
        }
    }
}

/// A seed from `SEED`, or a new one; printed either way.
fn seeded() -> fastrand::Rng {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// How bytes are to be read.
#[derive(Clone, Copy, Debug)]
enum Layer {
    /// One message of the plug-in.
    Pgoutput(Framing),
    /// A frame and what is in it.
    Frame,
    /// The content of a CopyData.
    CopyData,
    /// A row alone.
    Tuple,
}

impl Layer {
    /// Of a hostile fixture, by the first word of its name.
    fn of(name: &str) -> Self {
        match name.split('-').next() {
            Some("pgoutput") => Layer::Pgoutput(fixtures::framing(name)),
            Some("frame" | "backend") => Layer::Frame,
            Some("copydata") => Layer::CopyData,
            Some("tuple") => Layer::Tuple,
            _ => panic!("{name}: not a name of the grammar"),
        }
    }

    /// Reads bytes to the end. `Ok(false)` is a frame that is not complete.
    fn read(self, bytes: &[u8]) -> Result<bool, DecodeError> {
        match self {
            Layer::Pgoutput(framing) => {
                visit(&Message::decode(bytes, framing)?.message);
                Ok(true)
            }
            Layer::Frame => {
                let Some((frame, rest)) = wire::split_frame(bytes)? else { return Ok(false) };
                assert_eq!(rest.len() + frame.body.len() + wire::FRAME_HEADER_BYTES, bytes.len());
                black_box(BackendMessage::decode(frame)?);
                Ok(true)
            }
            Layer::CopyData => {
                black_box(WalsenderMessage::decode(bytes)?);
                Ok(true)
            }
            Layer::Tuple => {
                let tuple = Tuple::from_bytes(bytes)?;
                assert_eq!(tuple.values().count(), tuple.columns());
                Ok(true)
            }
        }
    }

    /// The same, and asserts that it takes little memory.
    fn read_within_bounds(self, what: &str, bytes: &[u8]) -> Result<bool, DecodeError> {
        let witness = Witness { what, bytes };
        let (peak, result) = allocation::peak(|| self.read(bytes));
        let bound = MEMORY_FACTOR * bytes.len() + MEMORY_CONSTANT;
        assert!(peak <= bound, "{what}: {peak} bytes allocated for {} read", bytes.len());
        drop(witness);
        result
    }
}

/// Reads the rows of a message column by column: what was checked once must be there.
fn visit(message: &Message<'_>) {
    let count = |tuple: &Tuple<'_>| assert_eq!(tuple.values().count(), tuple.columns());
    match message {
        Message::Insert(insert) => count(&insert.new),
        Message::Update(update) => {
            update.old.tuple().into_iter().for_each(count);
            count(&update.new);
        }
        Message::Delete(delete) => delete.old.tuple().into_iter().for_each(count),
        other => {
            black_box(other);
        }
    }
}

/// Every captured message and frame, and how it is read.
fn captured() -> Vec<(Fixture, Layer)> {
    let mut all = Vec::new();
    for fixture in fixtures::read("pgoutput") {
        let framing = fixtures::framing(&fixture.name);
        if fixture.name.contains("-insert-") && !framing.in_stream {
            let bytes = fixture.bytes[INSERT_HEADER_BYTES..].to_vec();
            all.push((part(&fixture, bytes), Layer::Tuple));
        }
        all.push((fixture, Layer::Pgoutput(framing)));
    }
    for fixture in fixtures::read("walsender") {
        let is_walsender =
            ["-xlogdata", "-keepalive"].iter().any(|kind| fixture.name.contains(kind));
        if is_walsender {
            let bytes = fixture.bytes[wire::FRAME_HEADER_BYTES..].to_vec();
            all.push((part(&fixture, bytes), Layer::CopyData));
        }
        all.push((fixture, Layer::Frame));
    }
    all
}

/// What lies in a fixture.
fn part(fixture: &Fixture, bytes: Vec<u8>) -> Fixture {
    let name = format!("{}, its content", fixture.name);
    Fixture { name, text_path: fixture.text_path.clone(), bytes }
}

#[test]
fn each_hostile_message_gives_exactly_its_error() {
    for fixture in fixtures::read("hostile") {
        let name = &fixture.name;
        let result = Layer::of(name).read_within_bounds(name, &fixture.bytes);
        let error = result.expect_err(name);
        let expected = std::fs::read_to_string(&fixture.text_path).unwrap_or_default();
        assert_eq!(format!("{error:?}\n{error}\n"), expected, "{name}");
    }
}

#[test]
fn rejects_every_cut_and_every_extra_byte() {
    for (fixture, layer) in captured() {
        let name = &fixture.name;
        let whole = &fixture.bytes;
        // What lies in an XLogData is another layer's, which has no end of its own here; a frame
        // that is cut is one that is still on its way.
        let open_ended = matches!(layer, Layer::CopyData) && name.contains("xlogdata");
        for end in 0..whole.len() {
            let result = layer.read_within_bounds(name, &whole[..end]);
            match layer {
                Layer::Frame => assert_eq!(result, Ok(false), "{name}, cut at {end}"),
                _ if open_ended && end >= 25 => assert_eq!(result, Ok(true), "{name}"),
                _ => assert!(result.is_err(), "{name}, cut at {end}"),
            }
        }
        for byte in 0..=u8::MAX {
            let longer = [whole.as_slice(), &[byte]].concat();
            let result = layer.read_within_bounds(name, &longer);
            if let Layer::Frame = layer {
                assert_eq!(result, Ok(true), "{name}: the byte is the next frame's");
            } else if !open_ended {
                assert!(result.is_err(), "{name} and {byte}");
            }
        }
    }
}

/// Bytes that mean something somewhere, and the ends of their ranges.
const TELLING_BYTES: [u8; 23] = *b"\x00\x01\x04\x0A\x7F\x80\xC3\xFE\xFF\
    NKOtnubIUDTRwk";

#[test]
fn every_changed_byte_gives_a_message_or_an_error() {
    for (fixture, layer) in captured() {
        let mut bytes = fixture.bytes.clone();
        for at in 0..bytes.len() {
            let original = bytes[at];
            let near = [original ^ 1, original ^ 0x80, original.wrapping_sub(1)];
            for byte in TELLING_BYTES.into_iter().chain(near) {
                bytes[at] = byte;
                for layer in framings(layer) {
                    let _either = layer.read_within_bounds(&fixture.name, &bytes);
                }
            }
            bytes[at] = original;
        }
    }
}

/// A message of the plug-in under every framing, anything else as it is.
fn framings(layer: Layer) -> Vec<Layer> {
    let Layer::Pgoutput(_) = layer else { return vec![layer] };
    let all = [(false, false), (false, true), (true, false), (true, true)];
    let framing = |(in_stream, parallel)| Layer::Pgoutput(Framing { in_stream, parallel });
    all.map(framing).to_vec()
}

#[test]
fn random_changes_give_a_message_or_an_error() {
    let mut random = seeded();
    for (fixture, layer) in captured() {
        for _ in 0..300 {
            let bytes = mutated(&fixture.bytes, &mut random);
            for layer in framings(layer) {
                let _either = layer.read_within_bounds(&fixture.name, &bytes);
            }
        }
    }
    for _ in 0..100_000 {
        let bytes = noise(40, &mut random);
        for layer in [Layer::Pgoutput(Framing::default()), Layer::Frame, Layer::CopyData] {
            for layer in framings(layer) {
                let _either = layer.read_within_bounds("noise", &bytes);
            }
        }
    }
}

/// Changes, cuts, repeats or moves some bytes.
fn mutated(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..6) {
        if bytes.is_empty() {
            return noise(8, random);
        }
        let at = random.usize(..bytes.len());
        let until = random.usize(at..bytes.len().min(at + 12));
        match random.u8(..10) {
            0 => bytes.truncate(at),
            1 => {
                bytes.drain(at..until);
            }
            2 => {
                let repeated = bytes[at..until].to_vec();
                bytes.splice(at..at, repeated);
            }
            3 => bytes.insert(at, random.u8(..)),
            4 | 5 => bytes[at] = random.choice(TELLING_BYTES).unwrap(),
            6 => bytes[at] = random.choice(*b"0123456789-+.:{}\"\\,[]()=> e/").unwrap(),
            _ => bytes[at] = random.u8(..),
        }
    }
    bytes
}

fn noise(length_max: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let length = random.usize(..length_max);
    let printable = random.bool();
    let byte = |random: &mut fastrand::Rng| {
        if printable { random.u8(0x20..0x7F) } else { random.u8(..) }
    };
    std::iter::repeat_with(|| byte(random)).take(length).collect()
}

/// Texts as the server prints them, or nearly.
const TEXTS: &[&str] = &[
    "",
    "t",
    "f",
    "0",
    "-1",
    "32767",
    "-9223372036854775808",
    "170141183460469231731687303715884105728",
    "0.00",
    "-12345678901234567890123456789012345678901234567890.000000000000000000001",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e+308",
    "4.9406564584124654e-324",
    "-$92,233,720,368,547,758.08",
    "$0.999",
    "a text with \"quotes\", \\ and \u{e4}\u{20ac}\u{1F600}",
    "\\x00ff10",
    "1010011100101",
    "c0a80101-0000-4000-8000-00000000ffff",
    "{\"a\": [1, null, \"x\"]}",
    "2026-11-21",
    "0044-03-15 BC",
    "5874897-12-31",
    "999999999-12-31 BC",
    "infinity",
    "-infinity",
    "24:00:00",
    "23:59:59.999999-15:59:59",
    "999999999:999999999:999999999-999999999:999999999:999999999",
    "294276-12-31 23:59:59.999999",
    "4714-11-24 00:00:00 BC",
    "999999999-01-01 24:59:60.999999+999999999:59:59 BC",
    "2026-11-21 12:34:56.789012+05:30",
    "1 year 2 mons -3 days +04:05:06.789",
    "-178000000 years -11 mons +2147483647 days -2562047788:00:54.775807",
    "9223372036854775807 years -9223372036854775808 mons 9223372036854775807 days",
    "-9223372036854775807:9223372036854775807:9223372036854775807.999999",
    "{1,2,NULL}",
    "{{1,2},{3,4}}",
    "[-2:-1][5:6]={{a,\"b,c\"},{\"\\\"\",NULL}}",
    "{\"2026-11-21 12:34:56+00\",infinity}",
    "{{{{{{{{1}}}}}}}}",
    "\"a\"=>\"1\", \"b\\\"\\\\\"=>NULL, \"\"=>\"\"",
    "(1.5,-2)",
    "(NaN,Infinity)",
    "0101000020E6100000000000000000F03F0000000000000040",
    "[1,2.5,-3e10]",
    "{1:1.5,3:2}/5",
    "[1,10)",
    "192.168.0.1/24",
];

/// Every reader of a value's text, one after the other.
fn read_value(text: &[u8]) {
    let _witness = Witness { what: "a value", bytes: text };
    let mut out = Vec::new();
    for delimiter in [b',', b';'] {
        let _either = array::for_each_element(text, delimiter, |element| {
            black_box(element);
            Ok(())
        });
    }
    black_box(array::is_nested(text));
    let _either = binary::bytea(text, &mut out);
    let _either = binary::hex(text, &mut out);
    let _either = binary::bits(text, &mut out);
    let _either = hstore::pairs(text);
    let _either = hstore::pairs_in_java_order(text);
    if let Ok(interval::Span::Finite(interval)) = interval::interval(text) {
        black_box(interval.average_micros());
        interval.print(&mut out);
    }
    if let Ok(number::Decimal::Finite(finite)) = number::Decimal::parse(text) {
        for scale in [0, 2, 38, 2047] {
            let _either = finite.unscaled(scale);
            finite.print_java(scale, &mut out);
        }
        let _either = finite.stripped().unscaled(finite.stripped().scale());
    }
    let _either = number::money_text(text, &mut out);
    if let Ok((x, y)) = spatial::point(text) {
        black_box(spatial::point_wkb(x, y));
    }
    let _either = spatial::float(text);
    let _either = spatial::geometry(text, &mut out);
    let _either = spatial::for_each_number(text, |number| {
        black_box(number);
        Ok(())
    });
    let _either = spatial::sparse_vector(text, |index, number| {
        black_box((index, number));
        Ok(())
    });
    read_moment(text, &mut out);
}

fn read_moment(text: &[u8], out: &mut Vec<u8>) {
    use temporal::Fraction;
    use temporal::Moment;
    if let Ok(Moment::Finite(date)) = temporal::date(text) {
        black_box(date.days());
        temporal::print_date(date, out);
    }
    for fraction in [Fraction::Shortest, Fraction::Fixed(0), Fraction::Fixed(6)] {
        if let Ok(micros) = temporal::time(text) {
            temporal::print_time(micros, fraction, out);
        }
        if let Ok((micros, offset)) = temporal::time_with_zone(text) {
            temporal::print_time(micros - offset * 1_000_000, fraction, out);
        }
    }
    for moment in [temporal::timestamp(text), temporal::timestamp_with_zone(text)] {
        if let Ok(Moment::Finite(timestamp)) = moment {
            black_box((timestamp.micros(), timestamp.wide_micros()));
            temporal::print_date(timestamp.date, out);
        }
    }
}

#[test]
fn readers_of_values_take_any_bytes() {
    let mut random = seeded();
    for text in TEXTS {
        let text = text.as_bytes();
        for end in 0..=text.len() {
            read_value(&text[..end]);
        }
        for at in 0..text.len() {
            for byte in TELLING_BYTES.into_iter().chain(*b"0129-+.:{}\"\\,[]()=> eE/BCNU") {
                let mut changed = text.to_vec();
                changed[at] = byte;
                read_value(&changed);
            }
        }
        for _ in 0..1000 {
            read_value(&mutated(text, &mut random));
        }
    }
    for _ in 0..50_000 {
        read_value(&noise(60, &mut random));
    }
}

#[test]
fn readers_of_huge_values_take_time_in_proportion_to_their_length() {
    // Each of these would take minutes if it were quadratic.
    let million = 1_000_000;
    let hstore: Vec<String> = (0..100_000).map(|at| format!("\"k{at}\"=>\"v\"")).collect();
    let huge = [
        "9".repeat(131_072) + "." + &"9".repeat(16_383),
        "{".to_owned() + &"1,".repeat(million) + "1}",
        "{".to_owned() + &"\"\\\\\\\"\",".repeat(million) + "1}",
        "{".repeat(million),
        "{".to_owned() + &"{1},".repeat(million) + "{1}}",
        "{{{{{{".to_owned() + &"1,".repeat(million) + "1}}}}}}",
        hstore.join(", "),
        "\"".to_owned() + &"\\\"".repeat(million),
        "1 day ".repeat(million),
        "[".to_owned() + &"1,".repeat(million) + "1]",
        "01".repeat(100_000),
        "\u{1}\u{e4}\"".repeat(million),
    ];
    for text in &huge {
        read_value(text.as_bytes());
    }
}

/// Ids of types that a catalog adds to the built-in ones.
const ENUM: Oid = Oid(20_000);
const DOMAIN: Oid = Oid(20_001);
const DOMAIN_OVER_ITSELF: Oid = Oid(20_002);
const OTHER: Oid = Oid(20_003);
const FIRST_EXTENSION: u32 = 20_010;
const FIRST_ARRAY: u32 = 21_000;

const EXTENSIONS: [&str; 11] = [
    "citext",
    "isbn",
    "ltree",
    "hstore",
    "geometry",
    "geography",
    "vector",
    "halfvec",
    "sparsevec",
    "cube",
    "seg",
];

/// Types that are no extension's; the last one is in no catalog.
const SCALARS: [Oid; 40] = [
    types::BOOL,
    types::BYTEA,
    types::CHAR,
    types::NAME,
    types::INT8,
    types::INT2,
    types::INT4,
    types::TEXT,
    types::OID,
    types::JSON,
    types::XML,
    types::POINT,
    types::LSEG,
    types::BOX,
    types::CIDR,
    types::FLOAT4,
    types::FLOAT8,
    types::MONEY,
    types::MACADDR,
    types::INET,
    types::BPCHAR,
    types::VARCHAR,
    types::DATE,
    types::TIME,
    types::TIMESTAMP,
    types::TIMESTAMPTZ,
    types::INTERVAL,
    types::TIMETZ,
    types::BIT,
    types::VARBIT,
    types::NUMERIC,
    types::UUID,
    types::TSVECTOR,
    types::JSONB,
    types::INT4RANGE,
    ENUM,
    DOMAIN,
    DOMAIN_OVER_ITSELF,
    OTHER,
    Oid(30_000),
];

/// Types of columns: each with a modifier, then an array of each.
fn column_types() -> (TypeCatalog, Vec<(Oid, i32)>) {
    let mut catalog = TypeCatalog::default();
    let facts = |oid, name: &str, kind| TypeFacts {
        oid,
        namespace: "public".to_owned(),
        name: name.to_owned(),
        kind,
    };
    let labels = vec!["sad".to_owned(), "hap\"py".to_owned()];
    let below = |base, type_modifier| TypeKind::Domain { base, type_modifier };
    catalog.extend([
        facts(ENUM, "mood", TypeKind::Enum { labels }),
        facts(DOMAIN, "price", below(types::NUMERIC, (10 << 16 | 2) + 4)),
        facts(DOMAIN_OVER_ITSELF, "ring", below(DOMAIN_OVER_ITSELF, -1)),
        facts(OTHER, "pair", TypeKind::Other),
    ]);
    let mut columns: Vec<(Oid, i32)> = SCALARS.map(|oid| (oid, -1)).to_vec();
    for (id, name) in (FIRST_EXTENSION..).zip(EXTENSIONS) {
        catalog.extend([facts(Oid(id), name, TypeKind::Base)]);
        columns.push((Oid(id), -1));
    }
    for (id, (element, modifier)) in (FIRST_ARRAY..).zip(columns.clone()) {
        catalog.extend([facts(Oid(id), "_array", TypeKind::Array { element })]);
        columns.push((Oid(id), modifier));
    }
    // Precision and scale in every direction, lengths and digits, and what no server has.
    for modifier in [(10 << 16 | 2) + 4, (5 << 16 | 0x7FE) + 4, 4, 0, i32::MIN, i32::MAX] {
        columns.push((types::NUMERIC, modifier));
    }
    for oid in [types::TIME, types::TIMESTAMP, types::TIMESTAMPTZ, types::BIT, types::VARBIT] {
        columns.extend([0, 1, 3, 6, 64, i32::MIN].map(|modifier| (oid, modifier)));
    }
    (catalog, columns)
}

/// A writer of rows for each way to write values, columns alternately required and with defaults.
fn writers() -> Vec<TableWriter> {
    let (catalog, columns) = column_types();
    let column = |(at, (type_oid, type_modifier)): (usize, &(Oid, i32))| ShapeColumn {
        name: format!("column \"{at}\""),
        attnum: None,
        type_oid: *type_oid,
        type_modifier: *type_modifier,
        type_name: String::new(),
        not_null: at % 2 == 0,
        default: (at % 3 == 0).then(|| "'12'::text".to_owned()),
        in_identity: at % 5 == 0,
        older: OlderRows::Unknown,
    };
    let columns: Vec<ShapeColumn> = columns.iter().enumerate().map(column).collect();
    let key: Vec<String> = columns.iter().step_by(7).map(|column| column.name.clone()).collect();
    let shape = Shape {
        relation_id: Oid(1),
        table: TableName::new("a \"schema\"", "a\ntable"),
        replica_identity: ReplicaIdentity::Full,
        columns,
        key: Vec::new(),
        key_is_unique: true,
        read: false,
    };
    let shape = shape.with_key(&key);
    let name = "prefix.schema.table";
    let writer = |settings: &ValueSettings| TableWriter::new(&shape, name, &catalog, settings);
    every_settings().iter().map(writer).collect()
}

fn every_settings() -> Vec<ValueSettings> {
    use TimePrecisionMode as Time;
    let debezium = ValueSettings::debezium();
    let mut all = vec![
        ValueSettings::default(),
        ValueSettings { value_schemas: true, key_schemas: true, ..ValueSettings::default() },
        ValueSettings { include_unknown: true, ..debezium.clone() },
        ValueSettings {
            include_unknown: true,
            binary: BinaryMode::Hex,
            hstore: HstoreMode::Map,
            decimal: DecimalMode::Double,
            ..debezium.clone()
        },
        ValueSettings { binary: BinaryMode::Base64UrlSafe, ..debezium.clone() },
        ValueSettings {
            decimal_format: DecimalFormat::Numeric,
            fidelity: Fidelity::Exact,
            interval: IntervalMode::String,
            money_fraction_digits: 5,
            ..debezium.clone()
        },
    ];
    let modes = [
        Time::AdaptiveTimeMicroseconds,
        Time::Connect,
        Time::IsoString,
        Time::Microseconds,
        Time::Nanoseconds,
    ];
    all.extend(modes.map(|time_precision| ValueSettings { time_precision, ..debezium.clone() }));
    all
}

/// A row of any values.
struct AnyRow(Vec<Option<Vec<u8>>>);

impl Row for AnyRow {
    fn values(&self) -> impl Iterator<Item = TupleValue<'_>> {
        self.0.iter().map(|value| match value {
            Some(text) if text == b"\xFF toast" => TupleValue::UnchangedToast,
            Some(text) if text == b"\xFF binary" => TupleValue::Binary(text),
            Some(text) => TupleValue::Text(text),
            None => TupleValue::Null,
        })
    }
}

/// Writes a row whose columns take these texts in turn, as every part of a record.
fn write_row(writer: &TableWriter, texts: &[Vec<u8>], out: &mut Output) -> Result<(), String> {
    let row = |skip: usize| {
        let values = texts.iter().cycle().skip(skip).take(writer.columns());
        AnyRow(values.map(|text| (text != b"\xFF null").then(|| text.clone())).collect())
    };
    let (old, new) = (row(0), row(1));
    let mut source = SourceText::default();
    let name = SourceName { prefix: "prefix".to_owned(), database: "data\"base".to_owned() };
    source.render(&name, &SourceFields::default());
    let clock = ClockText::default();
    for unchanged in [None, Some(&old)] {
        out.bytes.clear();
        let event = Event {
            operation: Operation::Update,
            before: Some(&old),
            after: Some(&new),
            unchanged,
            lsn: Lsn(1),
        };
        writer.write_value(&event, &source, &clock, out);
        check_json(&out.bytes)?;
        out.bytes.clear();
        writer.write_key(&new, unchanged, out);
        check_json(&out.bytes)?;
    }
    black_box(writer.key_differs(&old, &new));
    out.problems.clear();
    Ok(())
}

fn check_json(bytes: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(_) => Ok(()),
        Err(error) => {
            let start = error.column().saturating_sub(80).min(bytes.len());
            let around = &bytes[start..(start + 120).min(bytes.len())];
            Err(format!("{error}: {}", around.escape_ascii()))
        }
    }
}

#[test]
fn rows_of_any_bytes_are_written_as_json() {
    let mut random = seeded();
    let writers = writers();
    let mut out = Output::default();
    let special = [b"\xFF null".to_vec(), b"\xFF toast".to_vec(), b"\xFF binary".to_vec()];
    for round in 0..1500 {
        let text = |random: &mut fastrand::Rng| match random.u8(..12) {
            0 => noise(30, random),
            1 => random.choice(&special).unwrap().clone(),
            2..5 => random.choice(TEXTS).unwrap().as_bytes().to_vec(),
            _ => mutated(random.choice(TEXTS).unwrap().as_bytes(), random),
        };
        let texts: Vec<Vec<u8>> = std::iter::repeat_with(|| text(&mut random)).take(7).collect();
        let writer = &writers[round % writers.len()];
        let written = write_row(writer, &texts, &mut out);
        let texts: Vec<String> = texts.iter().map(|text| text.escape_ascii().to_string()).collect();
        assert_eq!(written, Ok(()), "settings {}, {texts:#?}", round % writers.len());
    }
}
