//! Cells of a plan, as text, in a temporary table.

use std::collections::BTreeSet;

use crate::apply::merge::Cell;
use crate::apply::merge::Texts;
use crate::apply::merge::plan::sortable;
use crate::apply::warehouse::WarehouseError;
use crate::apply::warehouse::duckdb::appender::Appender;
use crate::apply::warehouse::duckdb::appender::Kind;
use crate::apply::warehouse::duckdb::connection::Connection;
use crate::apply::warehouse::duckdb::connection::Value;
use crate::apply::warehouse::duckdb::sql::STAGE;
use crate::apply::warehouse::duckdb::sql::STAGE_NAME;
use crate::apply::warehouse::duckdb::stored_type::StoredType;
use crate::position::Position;

/// A row of the temporary table.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagedRow<'a> {
    /// Position of its change.
    pub(super) position: Position,
    /// What the reader of the table wants to know: [`crate::apply::warehouse::duckdb::rows`] has
    /// flags here, [`crate::apply::warehouse::duckdb::counts`] counts.
    pub(super) number: i64,
    /// When it was committed.
    pub(super) committed: Option<&'a str>,
    /// Only the key's cells count.
    pub(super) key_only: bool,
    /// Its cells.
    pub(super) cells: &'a [Cell],
}

/// What is staged.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    /// Columns that are missing in some row.
    pub(super) missing: BTreeSet<usize>,
    /// Columns with a value that a cast would change.
    pub(super) too_narrow: BTreeSet<usize>,
}

/// Columns before those of cells: number of the row, position, number, marks of missing cells.
const LEADING: usize = 4;

/// Fills the temporary table: `n`, `position`, `number`, `missing` (a `0` or `1` for each column,
/// or NULL), `c0`, `c1`, ... for the cells, and `committed`.
///
/// # Errors
///
/// A text is not UTF-8.
pub(super) fn stage<'a>(
    connection: &Connection,
    texts: &Texts,
    types: &[StoredType],
    key: &[usize],
    rows: impl Iterator<Item = StagedRow<'a>>,
) -> Result<Staged, WarehouseError> {
    let mut columns = "n BIGINT, position VARCHAR, number BIGINT, missing VARCHAR".to_owned();
    for index in 0..types.len() {
        columns.push_str(&format!(", c{index} VARCHAR"));
    }
    columns.push_str(", committed VARCHAR");
    connection.execute(&format!("CREATE OR REPLACE TEMP TABLE {STAGE} ({columns})"))?;
    let mut kinds = vec![Kind::Integer, Kind::Text, Kind::Integer, Kind::Text];
    kinds.resize(LEADING + types.len() + 1, Kind::Text);
    let mut appender = Appender::open(connection, STAGE_NAME, kinds)?;
    let mut staged = Staged::default();
    let mut marks = String::new();
    for (number, row) in (0..).zip(rows) {
        appender.put(0, Value::Integer(number))?;
        appender.put(1, Value::Text(&sortable(row.position)))?;
        appender.put(2, Value::Integer(row.number))?;
        let mut has_missing = false;
        marks.clear();
        for (index, stored) in types.iter().enumerate() {
            let counts = !row.key_only || key.contains(&index);
            let cell = row.cells.get(index).copied().filter(|_| counts).unwrap_or(Cell::Null);
            let is_missing = cell == Cell::Missing;
            marks.push(if is_missing { '1' } else { '0' });
            if is_missing {
                has_missing = true;
                staged.missing.insert(index);
            }
            let text = texts.text(cell).map(std::str::from_utf8).transpose();
            let text = text
                .map_err(|_| WarehouseError::Data { message: "a text is not UTF-8".to_owned() })?;
            if text.is_some_and(|text| !stored.holds(text)) {
                staged.too_narrow.insert(index);
            }
            appender.put(LEADING + index, Value::text(text))?;
        }
        appender.put(LEADING + types.len(), Value::text(row.committed))?;
        appender.put(3, if has_missing { Value::Text(&marks) } else { Value::Null })?;
        appender.end_row()?;
    }
    appender.finish()?;
    Ok(staged)
}
