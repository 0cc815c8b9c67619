//! Warehouses as these tests see them: where they are, and what is in them.

use std::path::PathBuf;
use std::time::Duration;

use cdc_agent::apply::warehouse::duckdb::DuckDb;
use cdc_agent::apply::warehouse::duckdb::Form;
use cdc_agent::apply::warehouse::duckdb::Settings;
use cdc_testkit::process;
use cdc_testkit::servers::postgres::Postgres;
use cdc_testkit::servers::postgres::session;
use tempfile::TempDir;
use tokio_postgres::SimpleQueryMessage;

/// Values of one row, as text.
pub(crate) type Row = Vec<Option<String>>;

/// The kinds that every conformance case is run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    DuckDb,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Postgres, Kind::DuckDb];

/// An empty warehouse of a kind. A DuckDB file can be read while no sink runs.
pub(crate) struct Store {
    pub(crate) kind: Kind,
    /// URI of the server, up to the database's name.
    server: String,
    name: String,
    dir: TempDir,
}

impl Store {
    pub(crate) fn new(kind: Kind, server: &Postgres, name: &str) -> Self {
        if kind == Kind::Postgres {
            server.create_database(name);
        }
        Self::existing(kind, server, name)
    }

    /// In a database that is there; the file of a DuckDB is new.
    pub(crate) fn existing(kind: Kind, server: &Postgres, name: &str) -> Self {
        let dir = process::scratch_dir("warehouse");
        Self { kind, server: server.dsn(""), name: name.to_owned(), dir }
    }

    /// What `--to` takes.
    pub(crate) fn url(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("{}{}", self.server, self.name),
            Kind::DuckDb => format!("duckdb:{}", self.path().display()),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("warehouse.duckdb")
    }

    /// The rows of a table, each column as text.
    #[track_caller]
    pub(crate) fn rows(&self, table: &str, columns: &[String], filter: &str) -> Vec<Row> {
        let quoted = columns.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
        let list: Vec<String> = match self.kind {
            Kind::Postgres => quoted.map(|name| format!("{name}::text")).collect(),
            Kind::DuckDb => {
                let types: Vec<Row> = self.query(&format!("DESCRIBE SELECT * FROM {table}"));
                let type_of = |name: &str| {
                    let found = types.iter().find(|row| row[0].as_deref() == Some(name));
                    found.and_then(|row| row[1].clone()).unwrap_or_default()
                };
                let types = columns.iter().map(|name| type_of(name));
                quoted.zip(types).map(|(name, of)| duckdb_text(&name, &of)).collect()
            }
        };
        self.query(&format!("SELECT {} FROM {table} {filter}", list.join(", ")))
    }

    /// Any query whose columns are text.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> Vec<Row> {
        match self.kind {
            Kind::Postgres => rows_of(&self.url(), sql),
            Kind::DuckDb => self.duckdb_rows(sql),
        }
    }

    /// The first value of the first row.
    #[track_caller]
    pub(crate) fn one(&self, sql: &str) -> Option<String> {
        self.query(sql).into_iter().next().and_then(|row| row.into_iter().next().flatten())
    }

    /// Runs SQL that writes.
    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        match self.kind {
            Kind::Postgres => {
                let mut client = session(&self.url()).expect("the warehouse answers");
                client.batch_execute(sql).unwrap_or_else(|error| panic!("{error:?}: {sql}"));
            }
            Kind::DuckDb => {
                let mut warehouse = DuckDb::open(Settings::new(self.path())).expect("it opens");
                warehouse.execute_for_tests(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
            }
        }
    }

    #[track_caller]
    fn duckdb_rows(&self, sql: &str) -> Vec<Row> {
        let warehouse = DuckDb::open(Settings::new(self.path())).expect("it opens");
        let answer =
            warehouse.query().select(sql, (10_000_000, Form::Json), Duration::from_secs(120));
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {sql}"));
        let json: serde_json::Value = serde_json::from_str(&answer.text).expect("it is JSON");
        assert_eq!(json["truncated"], false, "{sql}");
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let rows = json["rows"].as_array().expect("rows").iter();
        rows.map(|row| row.as_array().expect("a row").iter().map(text).collect()).collect()
    }
}

/// Lists as JSON with a mark, blobs as hexadecimal, everything else as DuckDB prints it.
fn duckdb_text(name: &str, type_name: &str) -> String {
    let text = |name: &str, type_name: &str| match type_name {
        "BLOB" => format!("'\\x' || lower(hex({name}))"),
        _ => format!("CAST({name} AS VARCHAR)"),
    };
    match type_name.strip_suffix("[]") {
        Some(element) => {
            let element = text("x", element);
            format!("'list:' || CAST(to_json(list_transform({name}, x -> {element})) AS VARCHAR)")
        }
        None => text(name, type_name),
    }
}

/// A session whose texts do not depend on the server's settings.
pub(crate) const PINNED: &str = "SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'; \
    SET IntervalStyle = 'postgres'; SET extra_float_digits = 3; SET bytea_output = 'hex'; \
    SET lc_monetary = 'C'; ";

/// Rows of a PostgreSQL.
#[track_caller]
pub(crate) fn postgres_rows(server: &Postgres, database: &str, sql: &str) -> Vec<Row> {
    rows_of(&server.dsn(database), sql)
}

#[track_caller]
fn rows_of(uri: &str, sql: &str) -> Vec<Row> {
    let mut client = session(uri).unwrap_or_else(|error| panic!("{error:?}: {uri}"));
    client.batch_execute(PINNED).expect("every server knows these");
    let messages = client.simple_query(sql).unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
        }
        _ => None,
    });
    rows.collect()
}
