//! Plans and files for the tests beside.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cdc_agent::apply::merge::Cell;
use cdc_agent::apply::merge::ColumnType;
use cdc_agent::apply::merge::CommitTimes;
use cdc_agent::apply::merge::CountPlan;
use cdc_agent::apply::merge::Plan;
use cdc_agent::apply::merge::RowPlan;
use cdc_agent::apply::merge::TableChange;
use cdc_agent::apply::merge::TableId;
use cdc_agent::apply::merge::TablePlan;
use cdc_agent::apply::merge::Target;
use cdc_agent::apply::merge::TargetColumn;
use cdc_agent::apply::merge::Texts;
use cdc_agent::apply::warehouse::Loaded;
use cdc_agent::apply::warehouse::StoredRow;
use cdc_agent::apply::warehouse::Warehouse;
use cdc_agent::apply::warehouse::WarehouseError;
use cdc_agent::apply::warehouse::duckdb::DuckDb;
use cdc_agent::apply::warehouse::duckdb::Form;
use cdc_agent::apply::warehouse::duckdb::Settings;
use cdc_agent::lsn::Lsn;
use cdc_agent::position::Position;
use cdc_agent::table::TableName;

pub(crate) const GROUP: &str = "group";

/// A file of its own, gone with it.
pub(crate) struct File {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) warehouse: DuckDb,
}

impl File {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(folder.path().join("shop.duckdb"));
        change(&mut settings);
        let warehouse = DuckDb::open(settings).unwrap();
        File { folder, warehouse }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("shop.duckdb")
    }

    /// Loads it, its targets with the generations that follow the stored ones.
    pub(crate) fn load(&mut self, batch: &Batch) -> Result<Loaded, WarehouseError> {
        let mut plan = batch.plan.clone();
        let known = self.warehouse.tables()?;
        for table in &mut plan.tables {
            let stored = known.iter().find(|known| known.target.id == table.target.id);
            let stored = stored.map_or(0, |known| known.target.generation);
            Arc::make_mut(&mut table.target).generation = stored + u64::from(table.store_target);
        }
        self.warehouse.load(GROUP, &plan)
    }

    /// Rows of a query, as JSON.
    pub(crate) fn ask(&self, query: &str) -> String {
        let answer = self
            .warehouse
            .query()
            .select(query, (10_000, Form::Json), Duration::from_secs(60))
            .unwrap();
        let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        json["rows"].to_string()
    }

    /// What is stored under these keys: position, then texts (`None` is NULL, `Some("?")` is
    /// missing).
    pub(crate) fn rows(&mut self, target: &Target, keys: &[&[&str]]) -> Vec<Option<Stored>> {
        let mut texts = Texts::default();
        let keys: Vec<Vec<Cell>> = keys
            .iter()
            .map(|key| key.iter().map(|text| Cell::Text(texts.push(text.as_bytes()))).collect())
            .collect();
        let rows = self.warehouse.rows(target, &keys, &mut texts).unwrap();
        rows.into_iter().map(|row| row.map(|row| stored(row, &texts))).collect()
    }
}

pub(crate) type Stored = (u64, Option<Vec<Option<String>>>);

fn stored(row: StoredRow, texts: &Texts) -> Stored {
    let text = |cell| match cell {
        Cell::Missing => Some("?".to_owned()),
        cell => texts.text(cell).map(|text| String::from_utf8(text.to_vec()).unwrap()),
    };
    (row.position.commit_lsn.0, row.cells.map(|cells| cells.into_iter().map(text).collect()))
}

pub(crate) fn position(lsn: u64) -> Position {
    Position { epoch: 1, commit_lsn: Lsn(lsn), ord: 0, sub: 0 }
}

pub(crate) fn column(name: &str, column_type: ColumnType) -> TargetColumn {
    TargetColumn { name: name.to_owned(), column_type, ..TargetColumn::default() }
}

pub(crate) fn target(id: i64, columns: &[(&str, ColumnType)], key: &[usize]) -> Target {
    Target {
        id: TableId(id),
        table: TableName::new("shop", format!("t{id}")),
        prefix: "p".to_owned(),
        oid: None,
        columns: columns.iter().map(|(name, one)| column(name, one.clone())).collect(),
        key: key.to_vec(),
        is_foreign: false,
        generation: 0,
        by_look: false,
        reread: String::new(),
        reread_at: None,
        has_older: false,
        version_at: None,
        keyed_at: None,
        snapshots: Vec::new(),
        commit_times: false,
        topics: Vec::new(),
    }
}

/// A plan that grows.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) plan: Plan,
}

/// Text of a cell that is missing.
pub(crate) const MISSING: Option<&str> = Some("\0missing");

impl Batch {
    pub(crate) fn new() -> Self {
        Batch::default()
    }

    /// The next calls are about this table.
    pub(crate) fn table(mut self, target: &Target, changes: Vec<TableChange>) -> Self {
        self.plan.tables.push(TablePlan {
            target: Arc::new(target.clone()),
            store_target: !changes.is_empty(),
            changes,
            empty: false,
            epoch: None,
            floor: None,
            rows: Vec::new(),
            counts: Vec::new(),
            times: CommitTimes::default(),
        });
        self
    }

    pub(crate) fn create(self, target: &Target) -> Self {
        self.table(target, vec![TableChange::Create])
    }

    pub(crate) fn last(&mut self) -> &mut TablePlan {
        self.plan.tables.last_mut().unwrap()
    }

    fn cells(&mut self, texts: &[Option<&str>]) -> Vec<Cell> {
        let one = |text: &Option<&str>| match *text {
            MISSING => Cell::Missing,
            Some(text) => Cell::Text(self.plan.texts.push(text.as_bytes())),
            None => Cell::Null,
        };
        texts.iter().map(one).collect()
    }

    pub(crate) fn row(mut self, lsn: u64, texts: &[Option<&str>]) -> Self {
        let cells = self.cells(texts);
        let row = RowPlan {
            position: position(lsn),
            is_read: false,
            is_delete: false,
            is_fresh: false,
            cells,
        };
        self.last().rows.push(row);
        self
    }

    /// The last row is changed.
    pub(crate) fn but(mut self, change: impl FnOnce(&mut RowPlan)) -> Self {
        change(self.last().rows.last_mut().unwrap());
        self
    }

    /// Only the key is given.
    pub(crate) fn delete(self, lsn: u64, texts: &[Option<&str>]) -> Self {
        let texts: Vec<Option<&str>> = texts.iter().map(|text| text.or(MISSING)).collect();
        self.row(lsn, &texts).but(|row| row.is_delete = true)
    }

    pub(crate) fn count(mut self, lsn: u64, count: i64, texts: &[Option<&str>]) -> Self {
        let cells = self.cells(texts);
        self.last().counts.push(CountPlan { count, position: position(lsn), cells });
        self
    }

    pub(crate) fn floor(mut self, lsn: u64) -> Self {
        self.last().floor = Some(position(lsn));
        self.last().store_target = true;
        self
    }
}
