//! A server that stores values, and says what they mean.

pub(crate) mod cases;
mod compare;
mod random;

use cdc_agent::capture::catalog::Shape;
use cdc_agent::capture::catalog::TypeCatalog;
use cdc_agent::capture::change::ClockText;
use cdc_agent::capture::change::Event;
use cdc_agent::capture::change::Output;
use cdc_agent::capture::change::Row;
use cdc_agent::capture::change::SourceFields;
use cdc_agent::capture::change::SourceName;
use cdc_agent::capture::change::SourceText;
use cdc_agent::capture::change::TableWriter;
use cdc_agent::capture::change::ValueSettings;
use cdc_agent::capture::pgoutput::TupleValue;
use cdc_agent::capture::postgres::Connection;
use cdc_agent::capture::postgres::Purpose;
use cdc_agent::capture::postgres::SourceSettings;
use cdc_agent::capture::postgres::Sql;
use cdc_agent::capture::postgres::catalog_query;
use cdc_agent::capture::postgres::conninfo::ConnInfo;
use cdc_agent::envelope::Operation;
use cdc_agent::lsn::Lsn;
use cdc_agent::oid::Oid;
use cdc_agent::time::UnixMicros;
use cdc_testkit::servers::postgres::Postgres;
use serde_json::value::RawValue;

pub(crate) use compare::Compare;

/// Values of one type, and what is to come of them.
pub(crate) struct Case {
    /// The column's type, as a column definition has it.
    pub(crate) sql_type: String,
    /// SQL expressions.
    pub(crate) values: Vec<String>,
    /// What must be written, under each of some settings.
    pub(crate) expectations: Vec<Expectation>,
}

/// What must be written of `v`.
pub(crate) struct Expectation {
    pub(crate) settings: ValueSettings,
    /// An SQL expression that gives JSON as text; NULL where the value must be reported as one that
    /// cannot be written, with null in its place.
    pub(crate) json: String,
    pub(crate) compare: Compare,
}

/// What a database may have set, and what must not change a value.
const UNHELPFUL_SETTINGS: &str = "ALTER DATABASE postgres SET DateStyle TO 'SQL, DMY'; \
    ALTER DATABASE postgres SET IntervalStyle TO sql_standard; \
    ALTER DATABASE postgres SET TimeZone TO 'America/St_Johns'; \
    ALTER DATABASE postgres SET extra_float_digits TO -3; \
    ALTER DATABASE postgres SET bytea_output TO escape; \
    ALTER DATABASE postgres SET quote_all_identifiers TO on; \
    ALTER DATABASE postgres SET standard_conforming_strings TO off";

/// Rows that one command stores.
const ROWS_PER_INSERT: usize = 500;

/// Mismatches of one expectation that are told; the others are counted.
const TOLD: usize = 8;

/// A server, our connections to it, and what is known of its types.
pub(crate) struct Oracle {
    connection: Connection,
    sql: Sql,
    /// Serves `sql`.
    _runtime: tokio::runtime::Runtime,
    tables: u32,
    pub(crate) compared: usize,
}

impl Oracle {
    pub(crate) fn new(server: &Postgres) -> Self {
        server.execute("postgres", UNHELPFUL_SETTINGS);
        let info = ConnInfo::parse(&server.dsn("postgres")).unwrap();
        let settings = SourceSettings::new(&info, "value-oracle").unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let sql = Sql::open(&settings, runtime.handle()).unwrap();
        let mut connection = Connection::open(&settings, Purpose::Sql).unwrap();
        connection.query(include_str!("functions.sql")).unwrap();
        if server.version() == 15 {
            connection.query("CREATE EXTENSION postgis SCHEMA public").unwrap();
        }
        Oracle { connection, sql, _runtime: runtime, tables: 0, compared: 0 }
    }

    /// What is written otherwise than expected.
    pub(crate) fn mismatches(&mut self, case: &Case) -> Vec<String> {
        let (table, writers) = self.store(case);
        let mut mismatches = Vec::new();
        for (expectation, writer) in case.expectations.iter().zip(writers) {
            let expected = format!(
                "CASE WHEN v IS NOT DISTINCT FROM NULL THEN 'null' ELSE ({}) END",
                expectation.json
            );
            let select = format!("SELECT v, {expected} FROM {table} ORDER BY n");
            let rows = self.connection.query(&select);
            let rows = rows.unwrap_or_else(|error| panic!("{}: {error}: {select}", case.sql_type));
            let mut wrong = Vec::new();
            for row in &rows {
                self.compared += 1;
                wrong.extend(expectation.mismatch(&writer, row[0].as_deref(), row[1].as_deref()));
            }
            let count = wrong.len();
            wrong.truncate(TOLD);
            if count > 0 {
                mismatches.push(format!(
                    "{}, {:?}, {count} of {} wrong:\n  {}",
                    case.sql_type,
                    expectation.compare,
                    rows.len(),
                    wrong.join("\n  ")
                ));
            }
        }
        mismatches
    }

    /// Stores the values in a table of their own; gives it and a writer for each expectation.
    fn store(&mut self, case: &Case) -> (String, Vec<TableWriter>) {
        self.tables += 1;
        let table = format!("public.oracle_{}", self.tables);
        let sql_type = &case.sql_type;
        self.run(&format!("CREATE TABLE {table} (n serial, v {sql_type})"));
        self.run(&format!("INSERT INTO {table} (v) VALUES (NULL)"));
        for values in case.values.chunks(ROWS_PER_INSERT) {
            let rows: Vec<String> = values.iter().map(|value| format!("({value})")).collect();
            self.run(&format!("INSERT INTO {table} (v) VALUES {}", rows.join(", ")));
        }
        let oid = self.connection.query(&format!("SELECT '{table}'::regclass::oid")).unwrap();
        let oid = Oid(oid[0][0].as_ref().unwrap().parse().unwrap());
        let facts = catalog_query::tables(&self.sql, &[oid]).unwrap().remove(&oid).unwrap();
        let shape = Shape::of_facts(&facts, facts.column("v"));
        let mut types = TypeCatalog::default();
        let wanted = shape.columns.iter().map(|column| column.type_oid);
        catalog_query::load_types(&self.sql, wanted, &mut types).unwrap();
        let writer =
            |one: &Expectation| TableWriter::new(&shape, "prefix.public.t", &types, &one.settings);
        (table, case.expectations.iter().map(writer).collect())
    }

    fn run(&mut self, sql: &str) {
        if let Err(error) = self.connection.query(sql) {
            panic!("{error}: {}", sql.chars().take(400).collect::<String>());
        }
    }
}

/// A row of one value.
struct OneValue<'a>(Option<&'a str>);

impl Row for OneValue<'_> {
    fn values(&self) -> impl Iterator<Item = TupleValue<'_>> {
        std::iter::once(self.0.map_or(TupleValue::Null, |text| TupleValue::Text(text.as_bytes())))
    }
}

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    payload: Option<Payload<'a>>,
    #[serde(borrow, default)]
    after: Option<After<'a>>,
}

#[derive(serde::Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    after: After<'a>,
}

#[derive(serde::Deserialize)]
struct After<'a> {
    #[serde(borrow)]
    v: &'a RawValue,
}

impl Expectation {
    /// What is wrong with what is written of a value's text, if anything is.
    fn mismatch(
        &self,
        writer: &TableWriter,
        text: Option<&str>,
        expected: Option<&str>,
    ) -> Option<String> {
        let row = OneValue(text);
        let event = Event {
            operation: Operation::Create,
            before: None,
            after: Some(&row),
            unchanged: None,
            lsn: Lsn(1),
        };
        let mut source = SourceText::default();
        let name = SourceName { prefix: "prefix".to_owned(), database: "postgres".to_owned() };
        source.render(&name, &SourceFields::default());
        let mut clock = ClockText::default();
        clock.render(UnixMicros::default());
        let mut out = Output::default();
        writer.write_value(&event, &source, &clock, &mut out);
        let envelope: Envelope<'_> = match serde_json::from_slice(&out.bytes) {
            Ok(envelope) => envelope,
            Err(error) => return Some(format!("{text:?} becomes no JSON: {error}")),
        };
        let after = envelope.payload.map(|payload| payload.after).or(envelope.after);
        let ours = after.unwrap().v.get();
        let right = match (out.problems.first(), expected) {
            (None, Some(expected)) => self.compare.equal(ours, expected),
            (Some(_), None) => ours == "null",
            _ => false,
        };
        let problem = out.problems.first().map(|problem| format!(" ({})", problem.error));
        let problem = problem.unwrap_or_default();
        (!right).then(|| {
            format!(
                "{} becomes {}{problem}, expected {}",
                short(text),
                short(Some(ours)),
                short(expected)
            )
        })
    }
}

fn short(text: Option<&str>) -> String {
    match text {
        None => "none".to_owned(),
        Some(text) if text.chars().count() <= 300 => text.to_owned(),
        Some(text) => {
            format!("{}… ({} bytes)", text.chars().take(300).collect::<String>(), text.len())
        }
    }
}
