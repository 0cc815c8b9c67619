//! Random schemas, transactions and settings, by a seed.

use fastrand::Rng;

use super::columns::ColumnKind;
use super::columns::KINDS;
use super::columns::PREAMBLE;
use super::script::Script;
use super::wide::Wide;

/// The script of a seed.
pub fn script(seed: u64) -> Script {
    let mut random = Rng::with_seed(seed);
    let connector = settings(&mut random);
    let mut tables: Vec<Table> = (0..random.usize(1..=3))
        .map(|number| Table::new(number, &mut random, &connector))
        .collect();
    let mut setup: Vec<String> = PREAMBLE.iter().map(|sql| (*sql).to_owned()).collect();
    for table in &mut tables {
        setup.extend(table.create());
        for _ in 0..random.usize(0..4) {
            setup.push(table.insert(&mut random));
        }
    }
    let parts = random.usize(2..5);
    let wide = Wide::new(seed, parts, &connector);
    setup.extend(wide.setup);
    let mut work: Vec<Vec<String>> = (0..parts)
        .map(|part| {
            let mut statements = Vec::new();
            if part > 0 && random.bool() {
                let table = random.usize(..tables.len());
                statements.push(tables[table].alter(&mut random));
            }
            for _ in 0..random.usize(2..6) {
                statements.extend(transaction(&mut tables, &mut random));
            }
            statements
        })
        .collect();
    work.iter_mut().zip(wide.work).for_each(|(part, more)| part.extend(more));
    let partitions = if random.bool() { 3 } else { 1 };
    let connector = [connector, wide.settings, notifications(seed, partitions)].concat();
    let name = format!("seed {seed}");
    Script { name, setup, work, connector, partitions, expected: Vec::new() }
}

fn choose<'a>(random: &mut Rng, all: &[&'a str]) -> &'a str {
    all[random.usize(..all.len())]
}

/// Settings, each left out or one of its values.
fn settings(random: &mut Rng) -> Vec<(String, String)> {
    const CHOICES: &[(&str, &[&str])] = &[
        ("decimal.handling.mode", &["precise", "double", "string"]),
        (
            "time.precision.mode",
            &[
                "adaptive",
                "adaptive_time_microseconds",
                "connect",
                "isostring",
                "microseconds",
                "nanoseconds",
            ],
        ),
        ("interval.handling.mode", &["numeric", "string"]),
        ("binary.handling.mode", &["bytes", "base64", "base64-url-safe", "hex"]),
        ("hstore.handling.mode", &["json", "map"]),
        ("include.unknown.datatypes", &["true", "false"]),
        ("tombstones.on.delete", &["true", "false"]),
        ("extended.headers.enabled", &["true", "false"]),
        ("provide.transaction.metadata", &["true", "false"]),
        ("skip.messages.without.change", &["true", "false"]),
        ("skipped.operations", &["none", "t", "u", "c,d"]),
        ("schema.name.adjustment.mode", &["none", "avro", "avro_unicode"]),
        ("field.name.adjustment.mode", &["none", "avro", "avro_unicode"]),
        ("topic.delimiter", &[".", "_"]),
        (
            "topic.naming.strategy",
            &[
                "io.debezium.schema.SchemaTopicNamingStrategy",
                "io.debezium.schema.SchemaUnicodeTopicNamingStrategy",
                "io.debezium.schema.DefaultTopicNamingStrategy",
            ],
        ),
        ("column.exclude.list", &[".*\\.c3", "public\\.t0\\.c[12]"]),
        ("column.truncate.to.3.chars", &[".*\\.c2", ".*\\.c[0-4]"]),
        ("column.mask.with.6.chars", &[".*\\.c1", ".*\\.c5"]),
        ("column.mask.hash.SHA-256.with.salt.pepper", &[".*\\.c4"]),
        ("column.mask.hash.v2.MD5.with.salt.salt", &[".*\\.c6"]),
        ("column.propagate.source.type", &[".*\\.c[0-9]"]),
        ("message.key.columns", &["public.t0:id", "public.t[01]:c1,id"]),
        ("money.fraction.digits", &["0", "2", "4"]),
        ("unavailable.value.placeholder", &["__gone", "hex:00ff41"]),
        ("value.converter.replace.null.with.default", &["true", "false"]),
        ("value.converter.decimal.format", &["NUMERIC", "BASE64"]),
        ("value.converter.schemas.enable", &["true", "false"]),
        ("key.converter.schemas.enable", &["true", "false"]),
    ];
    let mut chosen: Vec<(String, String)> = CHOICES
        .iter()
        .filter(|_| random.u8(..4) == 0)
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(name, values)| ((*name).to_owned(), choose(random, values).to_owned()))
        .collect();
    // In its snapshots Debezium has no value for a key column that is excluded.
    if chosen.iter().any(|(name, _)| name == "message.key.columns") {
        chosen.retain(|(name, _)| name != "column.exclude.list");
    }
    chosen
}

/// Notifications, with some seeds. Their keys are random, so that several partitions have no order;
/// a generator of their own leaves alone what else a seed means.
fn notifications(seed: u64, partitions: u32) -> Vec<(String, String)> {
    let mut random = Rng::with_seed(seed ^ 0x6E6F_7469_6679);
    if partitions > 1 || random.bool() {
        return Vec::new();
    }
    let order = choose(&mut random, &["disabled", "ascending", "descending"]);
    [
        ("notification.enabled.channels", choose(&mut random, &["sink", "log,sink"])),
        ("notification.sink.topic.name", "P.notifications"),
        ("snapshot.tables.order.by.row.count", order),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// A table and the rows that it has.
struct Table {
    name: String,
    columns: Vec<Column>,
    key: Key,
    full: bool,
    next: i64,
    rows: Vec<i64>,
    next_column: usize,
}

struct Column {
    name: String,
    kind: &'static ColumnKind,
    not_null: bool,
    default: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Primary,
    Composite,
    UniqueIndex,
    None,
}

impl Table {
    fn new(number: usize, random: &mut Rng, connector: &[(String, String)]) -> Self {
        let count = random.usize(1..9);
        let columns = (0..count).map(|at| column(at, random, connector)).collect();
        let key = match random.u8(..8) {
            0 => Key::None,
            1 => Key::UniqueIndex,
            2 | 3 => Key::Composite,
            _ => Key::Primary,
        };
        let name = match random.u8(..6) {
            0 => format!("\"T {number}ü\""),
            _ => format!("t{number}"),
        };
        // Without a primary key the server refuses updates, but for FULL.
        let full = random.u8(..3) == 0 || matches!(key, Key::None | Key::UniqueIndex);
        Table { name, columns, key, full, next: 1, rows: Vec::new(), next_column: count }
    }

    fn create(&self) -> Vec<String> {
        let mut parts = vec!["id int not null".to_owned()];
        parts.extend(self.columns.iter().map(Column::definition));
        match self.key {
            Key::Primary => parts.push("primary key (id)".to_owned()),
            Key::Composite => {
                parts.push("k2 text not null default 'k'".to_owned());
                parts.push("primary key (k2, id)".to_owned());
            }
            Key::UniqueIndex | Key::None => {}
        }
        let name = &self.name;
        let mut all = vec![format!("create table {name} ({})", parts.join(", "))];
        if self.key == Key::UniqueIndex {
            all.push(format!("create unique index on {name} (id)"));
        }
        if self.full {
            all.push(format!("alter table {name} replica identity full"));
        }
        all
    }

    fn insert(&mut self, random: &mut Rng) -> String {
        let mut names = vec!["id".to_owned()];
        let mut values = vec![self.next.to_string()];
        self.rows.push(self.next);
        self.next += 1;
        for column in &self.columns {
            if column.default.is_some() && random.bool() {
                continue;
            }
            names.push(column.name.clone());
            values.push(column.value(random));
        }
        let (names, values) = (names.join(", "), values.join(", "));
        format!("insert into {} ({names}) values ({values})", self.name)
    }

    /// A change of some row, or an insert if there is none.
    fn change(&mut self, random: &mut Rng) -> String {
        if self.rows.is_empty() || random.u8(..3) == 0 {
            return self.insert(random);
        }
        let at = random.usize(..self.rows.len());
        let (name, row) = (&self.name, self.rows[at]);
        match random.u8(..10) {
            0 | 1 => {
                self.rows.swap_remove(at);
                format!("delete from {name} where id = {row}")
            }
            2 => {
                let next = self.next;
                self.next += 1;
                self.rows[at] = next;
                format!("update {name} set id = {next} where id = {row}")
            }
            3 if self.key == Key::Composite => {
                format!("update {name} set k2 = k2 || 'x' where id = {row}")
            }
            4 => format!("update {name} set id = id where id = {row}"),
            _ => {
                let column = &self.columns[random.usize(..self.columns.len())];
                let value = column.value(random);
                format!("update {name} set {} = {value} where id = {row}", column.name)
            }
        }
    }

    fn alter(&mut self, random: &mut Rng) -> String {
        let name = self.name.clone();
        match random.u8(..4) {
            0 if self.columns.len() > 1 => {
                let column = self.columns.remove(random.usize(..self.columns.len()));
                format!("alter table {name} drop column {}", column.name)
            }
            1 => {
                let new = format!("c{}", self.next_column);
                self.next_column += 1;
                let at = random.usize(..self.columns.len());
                let column = &mut self.columns[at];
                let old = std::mem::replace(&mut column.name, new.clone());
                format!("alter table {name} rename column {old} to {new}")
            }
            _ => {
                let mut column = column(self.next_column, random, &[]);
                self.next_column += 1;
                column.not_null &= column.default.is_some();
                let definition = column.definition();
                self.columns.push(column);
                format!("alter table {name} add column {definition}")
            }
        }
    }
}

fn column(at: usize, random: &mut Rng, connector: &[(String, String)]) -> Column {
    let kind = &KINDS[random.usize(..KINDS.len())];
    let nanoseconds = connector.iter().any(|(_, value)| value == "nanoseconds");
    // Debezium ends at an old row that lacks such a timestamp.
    let not_null = random.u8(..4) == 0 && !(nanoseconds && kind.sql.starts_with("timestamp"));
    let default = match kind.defaults {
        [] => None,
        _ if random.bool() => None,
        defaults => Some(defaults[random.usize(..defaults.len())]),
    };
    let name = match random.u8(..12) {
        0 => format!("\"c {at} é\""),
        _ => format!("c{at}"),
    };
    Column { name, kind, not_null, default }
}

impl Column {
    fn definition(&self) -> String {
        let not_null = if self.not_null { " not null" } else { "" };
        let default = self.default.map(|text| format!(" default {text}")).unwrap_or_default();
        format!("{} {}{not_null}{default}", self.name, self.kind.sql)
    }

    fn value(&self, random: &mut Rng) -> String {
        if !self.not_null && random.u8(..4) == 0 {
            return "null".to_owned();
        }
        self.kind.value(random)
    }
}

/// Statements of one transaction, alone or with rolled-back parts, or a truncate or a message.
fn transaction(tables: &mut [Table], random: &mut Rng) -> Vec<String> {
    let table = random.usize(..tables.len());
    match random.u8(..12) {
        0 => {
            tables[table].rows.clear();
            vec![format!("truncate {}", tables[table].name)]
        }
        1 => {
            let transactional = random.bool();
            let content = choose(random, &["x", "", "longer content"]);
            vec![format!("select pg_logical_emit_message({transactional}, 'own', '{content}')")]
        }
        2 | 3 => vec![tables[table].change(random)],
        _ => {
            let mut all = vec!["begin".to_owned()];
            for _ in 0..random.usize(1..7) {
                let table = random.usize(..tables.len());
                if random.u8(..8) == 0 {
                    all.push("savepoint s".to_owned());
                    let (rows, next) = (tables[table].rows.clone(), tables[table].next);
                    all.push(tables[table].change(random));
                    all.push("rollback to savepoint s".to_owned());
                    (tables[table].rows, tables[table].next) = (rows, next);
                } else {
                    all.push(tables[table].change(random));
                }
            }
            all.push("commit".to_owned());
            all
        }
    }
}
